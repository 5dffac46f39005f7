"""ShapePU: estimated shares, which pixels they exclude, and the cut and turned image, against slow references."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datasets.types import IGNORE, Batch, Labelled
from methods.base import Clock, Method
from methods.losses.cosine import cosine_distance
from methods.losses.proportions import beyond_share, class_shares, marginal_loss
from methods.scribble import shape_pu
from tests.reference import losses as reference

from .scribble_toys import MIDDLE, logits_of, method, scribbled


# slow references ------------------------------------------------------------------------------------------------------
def slow_shares(probs: np.ndarray, label: np.ndarray, among: np.ndarray, rounds: int) -> list[float]:
    """π_k <- mean over the pixels of (π_k p_k / q_k) / Σ_j (π_j p_j / q_j), q the shares of the annotated pixels."""
    classes = range(probs.shape[1])
    known = [int(k) for k in label.flatten() if k != IGNORE]
    q = [known.count(k) / max(1, len(known)) for k in classes]
    shares = list(q)
    for _ in range(rounds):
        total, pixels = [0.0 for _ in classes], 0
        for n, *at in np.argwhere(among):
            joint = [shares[k] * float(probs[(n, k, *at)]) / q[k] if q[k] else 0.0 for k in classes]
            total = [total[k] + joint[k] / sum(joint) for k in classes]
            pixels += 1
        shares = [t / pixels for t in total]
    return shares


def slow_exclusions(probs: np.ndarray, shares: list[float], unlabelled: np.ndarray) -> np.ndarray:
    """As released: below the probability at place int(n (1 - share)) - 1, at least 0, of n in rising order."""
    excluded = np.zeros(probs.shape, dtype=bool)
    for k in range(1, probs.shape[1]):
        if shares[k] == 0:
            continue
        rising = sorted(float(probs[(n, k, *at)]) for n, *at in np.argwhere(unlabelled))
        threshold = rising[max(int(len(rising) * (1 - shares[k])) - 1, 0)]
        for n, *at in np.argwhere(unlabelled):
            excluded[(n, k, *at)] = probs[(n, k, *at)] < threshold
    return excluded


def slow_marginal(probs: np.ndarray, excluded: np.ndarray) -> float:
    """Mean of -ln of what is left, over the pixels with an excluded class."""
    found = []
    for n, *at in np.argwhere(excluded.any(axis=1)):
        left = sum(float(probs[(n, k, *at)]) for k in range(probs.shape[1]) if not excluded[(n, k, *at)])
        found.append(-math.log(left))
    return sum(found) / max(1, len(found))


def slow_distance(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> float:
    """Mean of one minus the cosine over the pixels of the mask."""
    found = []
    for n, *at in np.argwhere(mask):
        a, b = (p[(n, slice(None), *at)].astype(np.float64) for p in (first, second))
        found.append(1 - (a @ b) / math.sqrt((a @ a) * (b @ b)))
    return sum(found) / max(1, len(found))


def random_probs(*shape: int) -> Tensor:
    return torch.softmax(2 * torch.randn(shape), dim=1)


# the losses -----------------------------------------------------------------------------------------------------------
def test_shares_are_those_of_expectation_and_maximisation():
    probs, label = random_probs(2, 3, 11, 5), scribbled().labelled.label[:, 3:14, :5]  # 1, 1 and 2 rows of the classes
    for among in (label == IGNORE, label != IGNORE):
        for rounds in (1, 2, 20):
            found = class_shares(probs, label, among, rounds)
            expected = slow_shares(probs.numpy(), label.numpy(), among.numpy(), rounds)
            assert found.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-7)
            assert sum(found.tolist()) == pytest.approx(1, rel=1e-5)


def test_shares_of_unlabelled_pixels_are_found_where_scribbles_have_others():
    # bright pixels are .8 of class 0 and .3 of class 1; scribbled half and half, so p(0|bright) = .8 / 1.1 and
    # p(0|dark) = .2 / .9. Of 100 unlabelled pixels of which .9 are of class 0, .9 * .8 + .1 * .3 = .75 are bright
    bright = torch.arange(100) < 75
    p0 = torch.where(bright, 0.8 / 1.1, 0.2 / 0.9)
    probs = torch.stack([p0, 1 - p0])[None]
    probs = torch.cat([probs, torch.full((1, 2, 100), 0.5)])
    label = torch.full((2, 100), IGNORE)
    label[1, :50], label[1, 50:] = 0, 1
    assert class_shares(probs, label, label == IGNORE, 200).tolist() == pytest.approx([0.9, 0.1], abs=1e-3)


def test_a_class_without_scribbles_has_no_share_and_excludes_nothing():
    probs = random_probs(1, 3, 4, 4)
    label = torch.full((1, 4, 4), IGNORE)
    label[0, 0], label[0, 1] = 0, 2
    share = class_shares(probs, label, label == IGNORE, 5)
    assert share[1] == 0
    assert share.sum().item() == pytest.approx(1)
    beyond = beyond_share(probs, share, label == IGNORE)
    assert not beyond[:, 1].any()
    assert beyond[:, 2].any()


def test_without_any_scribble_nothing_is_excluded_and_nothing_is_lost():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    label = torch.full((1, 4, 4), IGNORE)
    probs = torch.softmax(logits, dim=1)
    share = class_shares(probs, label, label == IGNORE, 5)
    assert share.tolist() == [0, 0, 0]
    term = marginal_loss(logits, beyond_share(probs, share, label == IGNORE))
    term.backward()
    assert term.item() == 0
    assert logits.grad.abs().max() == 0


def test_pixels_are_excluded_from_a_class_below_the_probabilities_that_fill_its_share():
    probs, among = random_probs(2, 4, 5, 5), torch.rand(2, 5, 5) > 0.4
    share = torch.tensor([0.5, 0.3, 0.0, 0.2])
    found = beyond_share(probs, share, among)
    assert torch.equal(found, torch.from_numpy(slow_exclusions(probs.numpy(), share.tolist(), among.numpy())))
    assert not found[:, 0].any()
    assert not (found & ~among[:, None]).any()


def test_a_share_of_all_pixels_excludes_none_of_them():
    probs = random_probs(1, 2, 4, 4)
    assert not beyond_share(probs, torch.tensor([0.0, 1.0]), torch.ones(1, 4, 4, dtype=torch.bool)).any()


def test_the_marginal_loss_by_hand():
    # (.5 .3 .2) without class 2: -ln .8; without classes 1 and 2: -ln .5; the third pixel does not count
    logits = torch.tensor([[0.5, 0.3, 0.2]] * 3).log().T[None].requires_grad_()
    excluded = torch.tensor([[False, False, True], [False, True, True], [False, False, False]]).T[None]
    term = marginal_loss(logits, excluded)
    term.backward()
    assert term.item() == pytest.approx(-(math.log(0.8) + math.log(0.5)) / 2, rel=1e-5)
    # d/dz of -ln(left): p minus p / left where left; over 2 pixels
    gradient = torch.tensor([[0.5 - 0.625, 0.3 - 0.375, 0.2], [0.5 - 1, 0.3, 0.2], [0, 0, 0]]).T[None] / 2
    torch.testing.assert_close(logits.grad, gradient)


def test_the_cosine_distance_is_that_of_the_pixels_that_count():
    first, second, mask = random_probs(2, 3, 4, 4), random_probs(2, 3, 4, 4), torch.rand(2, 4, 4) > 0.5
    expected = slow_distance(first.numpy(), second.numpy(), mask.numpy())
    assert cosine_distance(first, second, mask).item() == pytest.approx(expected, rel=1e-4)
    assert cosine_distance(first, second, torch.zeros_like(mask)).item() == 0
    a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
    cosine_distance(a, b, mask).backward()
    assert min(a.grad.abs().max(), b.grad.abs().max()) > 0


# the method -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def _holes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter turn, and a hole of its own for every sample."""
    boxes: Iterator[Tensor] = iter([hole(k) for k in range(2)])
    monkeypatch.setattr(shape_pu, "random_box", lambda space, share, device: next(boxes))
    monkeypatch.setattr(shape_pu, "random_turn", lambda image: lambda maps: torch.rot90(maps, 1, (2, 3)))


def hole(k: int) -> Tensor:
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[2 + 5 * k : 9 + 5 * k, 1:8] = True
    return inside


def with_a_lively_network(**hyper) -> Method:
    """Whose predictions differ much from pixel to pixel, as those of one just initialised do not."""
    m = method("shape_pu", **hyper)
    m.network = nn.Conv2d(1, 3, kernel_size=3, padding=1)
    with torch.no_grad():
        m.network.weight.mul_(8)
    return m


@pytest.mark.usefixtures("_holes")
@pytest.mark.parametrize("variant", ["intended", "released"])
@pytest.mark.parametrize("shares", ["annotated", "unlabelled"])
def test_every_term_is_that_of_its_slow_reference(variant: str, shares: str):
    m, batch = with_a_lively_network(variant=variant, shares=shares), scribbled()
    image, label = batch.labelled.image, batch.labelled.label
    holes = torch.stack([hole(0), hole(1)])
    cut = torch.rot90(torch.where(holes[:, None], 0.0, image), 1, (2, 3))
    logits, cut_logits = (logits_of(m.network, shown).numpy() for shown in (image, cut))
    terms = m.losses(batch, MIDDLE)
    assert list(terms) == ["partial_ce", "partial_ce_cut", "exclusion", "consistency"]
    assert terms["partial_ce"].item() == pytest.approx(reference.cross_entropy(logits, label.numpy()), rel=1e-4)
    in_holes = 0 if variant == "released" else IGNORE
    cut_label = np.rot90(np.where(holes.numpy(), in_holes, label.numpy()), 1, (1, 2))
    assert terms["partial_ce_cut"].item() == pytest.approx(reference.cross_entropy(cut_logits, cut_label), rel=1e-4)
    probs, cut_probs = reference.softmax(logits), reference.softmax(cut_logits)
    unlabelled = label.numpy() == IGNORE
    among = ~unlabelled if shares == "annotated" else unlabelled
    excluded = slow_exclusions(probs, slow_shares(probs, label.numpy(), among, 20), unlabelled)
    assert terms["exclusion"].item() == pytest.approx(slow_marginal(probs, excluded), rel=1e-3)
    other = np.stack([cut_probs[0], cut_probs[0]]) if variant == "released" else cut_probs
    visible = np.rot90(~holes.numpy(), 1, (1, 2))
    expected = 0.05 * slow_distance(np.rot90(probs, 1, (2, 3)), other, visible)
    assert terms["consistency"].item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.usefixtures("_holes")
def test_the_whole_image_and_the_cut_and_turned_one_are_shown():
    m, batch = method("shape_pu"), scribbled()
    shown: list[Tensor] = []
    m.network.encoder.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    m.losses(batch, MIDDLE)
    whole, cut = torch.cat(shown).chunk(2)
    assert torch.equal(whole, batch.labelled.image)
    assert torch.equal(torch.rot90(cut, -1, (2, 3)) == 0, torch.stack([hole(0), hole(1)])[:, None])


def test_batch_normalisation_sees_whole_and_cut_images_apart():
    m = method("shape_pu").train()
    m.losses(scribbled(), MIDDLE)
    assert m.network.encoder.levels[0][1].num_batches_tracked == 2


def test_nothing_is_excluded_before_the_warm_up_ends():
    m, batch = method("shape_pu", warm_up=0.25), scribbled()
    assert m.losses(batch, Clock(24, 101))["exclusion"].item() == 0
    assert m.losses(batch, Clock(25, 101))["exclusion"].item() > 0


@pytest.mark.parametrize("term", ["exclusion", "consistency"])
def test_a_term_is_proportional_to_its_weight(term: str):
    found = []
    for weight in (1.0, 3.0):
        torch.manual_seed(1)
        m, batch = method("shape_pu", **{term: weight}), scribbled()
        found.append(m.losses(batch, MIDDLE)[term].item())
    assert found[1] == pytest.approx(3 * found[0], rel=1e-5)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_holes_have_their_share_of_every_side_and_lie_elsewhere_in_every_sample(share: float):
    m, batch = method("shape_pu", hole=share), scribbled(n=8)
    shown: list[Tensor] = []
    m.network.encoder.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    m.losses(batch, MIDDLE)
    holes = torch.cat(shown)[8:, 0] == 0
    assert holes.flatten(1).sum(dim=1).tolist() == [int(16 * share) ** 2] * 8
    assert len({tuple(hole.flatten().tolist()) for hole in holes}) > 1


class Fixed(nn.Module):
    """Predicts free logits, the same for every sample and whatever it is shown."""

    def __init__(self, *space: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(1, 3, *space))

    def forward(self, image: Tensor) -> Tensor:
        return self.logits.expand(len(image), *self.logits.shape[1:])


def test_exclusion_lowers_the_class_where_it_is_excluded_and_leaves_scribbled_pixels_alone():
    m, batch = method("shape_pu"), scribbled(n=1)
    m.network = Fixed(16, 16)
    m.losses(batch, MIDDLE)["exclusion"].backward()
    probs, label = torch.softmax(m.network.logits.detach(), dim=1), batch.labelled.label
    beyond = beyond_share(probs, class_shares(probs, label, label != IGNORE, 20), label == IGNORE)
    gradient = m.network.logits.grad
    assert (gradient[beyond] > 0).all()
    assert gradient.movedim(1, -1)[label != IGNORE].abs().max() == 0


def test_volumes_are_cut_and_turned_as_well():
    volume = Labelled(torch.rand(1, 1, 8, 8, 8), torch.randint(0, 3, (1, 8, 8, 8)))
    m = method("shape_pu", hole=0.5)
    m.network = Fixed(8, 8, 8)
    terms = m.losses(Batch(volume), MIDDLE)
    assert all(term.isfinite() for term in terms.values())
