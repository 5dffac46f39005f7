"""ZScribbleSeg: energies, excluded classes, and every term of both variants against slow references."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datasets.types import IGNORE, Batch, Labelled
from methods.base import Clock, Method, Terms
from methods.losses.cosine import cosine_distance
from methods.losses.spatial_prior import exclusion_loss, spatial_energy
from methods.puzzle import saliency
from methods.scribble import zscribbleseg
from tests.reference import losses as reference

from .scribble_toys import END, MIDDLE, logits_of, method, scribbled
from .test_methods_fidelity_scribble_cycle_mix import largest, slow_mixed, three
from .test_methods_fidelity_scribble_shape_pu import Fixed, random_probs, slow_distance, slow_marginal, slow_shares


# slow references ------------------------------------------------------------------------------------------------------
def slow_energy(probs: np.ndarray, image: np.ndarray, radius: int, sigma_xy: float, contrast: float) -> np.ndarray:
    """p_ik Σ_j exp(-½ |i - j|² / sigma_xy² - ½ |I_i - I_j|² / contrast²) p_jk over the other pixels of the window."""
    found, (n, _, *space) = np.zeros(probs.shape), probs.shape
    offsets = [o for o in product(range(-radius, radius + 1), repeat=len(space)) if any(o)]
    for sample, *at in np.ndindex(n, *space):
        for offset in offsets:
            there = [a + o for a, o in zip(at, offset, strict=True)]
            if all(0 <= t < side for t, side in zip(there, space, strict=True)):
                difference = image[(sample, slice(None), *at)] - image[(sample, slice(None), *there)]
                apart = sum(o * o for o in offset) / sigma_xy**2 + float((difference**2).sum()) / contrast**2
                found[(sample, slice(None), *at)] += math.exp(-apart / 2) * probs[(sample, slice(None), *there)]
    return found * probs


def slow_beyond(energy: np.ndarray, shares: list[float], among: np.ndarray, classes: range) -> np.ndarray:
    """Below the energy at place int(n (1 - share)) - 1, at least 0, of the n counted pixels in rising order."""
    excluded = np.zeros(energy.shape, dtype=bool)
    for k in classes:
        rising = sorted(float(energy[(n, k, *at)]) for n, *at in np.argwhere(among))
        threshold = rising[max(int(len(rising) * (1 - shares[k])) - 1, 0)]
        for n, *at in np.argwhere(among):
            excluded[(n, k, *at)] = shares[k] > 0 and energy[(n, k, *at)] < threshold
    return excluded


def slow_exclusion(probs: np.ndarray, excluded: np.ndarray) -> float:
    """-ln (1 - p) of every excluded class, over all pixels."""
    total = sum(-math.log(1 - probs[(n, k, *at)]) for n, k, *at in np.argwhere(excluded))
    return total / excluded[:, 0].size


def slow_whole_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean over samples of one minus the cosine of all classes and pixels as one vector."""
    pairs = [(a.ravel(), b.ravel()) for a, b in zip(first, second, strict=True)]
    return sum(1 - (a @ b) / math.sqrt((a @ a) * (b @ b)) for a, b in pairs) / len(pairs)


# the losses -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("space", [(6, 5), (4, 3, 5)])
def test_energies_are_those_of_neighbours_near_and_alike(space: tuple[int, ...]):
    torch.manual_seed(0)
    probs, image = random_probs(2, 3, *space), torch.rand(2, 2, *space)
    found = spatial_energy(probs.requires_grad_(), image, radius=2, sigma_xy=1.5, sigma_intensity=0.4)
    expected = slow_energy(probs.detach().double().numpy(), image.double().numpy(), 2, 1.5, 0.4)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-6)
    assert not found.requires_grad


def test_the_exclusion_loss_by_hand():
    # (.5 .3 .2) without classes 0 and 2: -ln .5 - ln .8; without class 1: -ln .7; the third pixel counts as nothing
    logits = torch.tensor([[0.5, 0.3, 0.2]] * 3).log().T[None].requires_grad_()
    excluded = torch.tensor([[True, False, True], [False, True, False], [False, False, False]]).T[None]
    term = exclusion_loss(logits, excluded)
    term.backward()
    assert term.item() == pytest.approx(-(math.log(0.5) + math.log(0.8) + math.log(0.7)) / 3, rel=1e-5)
    # d/dz_j of -ln(1 - p_k): p_k at k; -p_k p_j / (1 - p_k) elsewhere
    first = [0.5 - 0.2 * 0.5 / 0.8, -0.5 * 0.3 / 0.5 - 0.2 * 0.3 / 0.8, 0.2 - 0.5 * 0.2 / 0.5]
    second = [-0.3 * 0.5 / 0.7, 0.3, -0.3 * 0.2 / 0.7]
    torch.testing.assert_close(logits.grad, torch.tensor([first, second, [0.0, 0.0, 0.0]]).T[None] / 3)


def test_a_pixel_that_is_sure_of_an_excluded_class_is_told_so():
    logits = torch.tensor([[60.0, 0.0, -60.0]]).T[None].requires_grad_()
    term = exclusion_loss(logits, torch.tensor([[True, False, False]]).T[None])
    term.backward()
    assert term.item() == pytest.approx(60, rel=1e-4)
    torch.testing.assert_close(logits.grad.flatten(), torch.tensor([1.0, -1.0, 0.0]))


# the method -----------------------------------------------------------------------------------------------------------
LABEL_OF_THREE = three().labelled.label
FIRST, SECOND = {"intended": [1, 2], "released": [1, 2, 0]}, {"intended": [0, 2], "released": [0, 2, 1]}


def share_of_first(n: int) -> Tensor:
    share = torch.zeros(3, 1, 16, 16)
    share[0, :, :8], share[1, :, :, 4:9], share[2, :, 6:] = 1, 0.5, 1
    return share[:n]


def hole(k: int) -> Tensor:
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4 + 2 * k : 9 + 2 * k, 3:10] = True
    return inside


@pytest.fixture
def _drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order 1, 2, 0 of three images, fixed shares, holes of their own, and a quarter turn."""
    boxes: Iterator[Tensor] = iter([hole(k) for k in range(3)])
    monkeypatch.setattr(torch, "rand", lambda n, **_: torch.tensor([0.9, 0.1, 0.5]))
    monkeypatch.setattr(zscribbleseg, "puzzle", lambda first, *_, **__: share_of_first(len(first)))
    monkeypatch.setattr(zscribbleseg, "random_box", lambda space, share, device: next(boxes))
    monkeypatch.setattr(zscribbleseg, "random_turn", lambda image: lambda maps: torch.rot90(maps, 1, (2, 3)))


def with_a_lively_network(**hyper) -> Method:
    """Whose predictions differ much from pixel to pixel, as those of one just initialised do not."""
    torch.manual_seed(5)
    m = method("zscribbleseg", **hyper)
    m.network = nn.Conv2d(1, 3, kernel_size=3, padding=1)
    with torch.no_grad():
        m.network.weight.mul_(8)
    return m


@pytest.mark.usefixtures("_drawn")
@pytest.mark.parametrize("variant", ["intended", "released"])
def test_every_term_is_that_of_its_slow_reference(variant: str):
    torch.manual_seed(4)
    batch, released = Batch(Labelled(torch.empty(3, 1, 16, 16).uniform_(), LABEL_OF_THREE)), variant == "released"
    m = with_a_lively_network(variant=variant, radius=2, released_radius=1, consistency=0.2, spatial=0.7, shape=0.3)
    image, label = batch.labelled.image.numpy().copy(), batch.labelled.label.numpy()
    one, two = FIRST[variant], SECOND[variant]
    once, share = len(one), share_of_first(len(one)).numpy()
    holes = np.stack([hole(k).numpy() for k in range(once)])
    labels = [np.where(holes, 0, label[who]) for who in (one, two)]  # holes are background
    if not released:  # the same pairs the other way round
        one, two = one + two, two + one
        share, holes = np.concatenate([share, share]), np.concatenate([holes, holes])

    def turned(maps: np.ndarray, axes: tuple[int, int] = (2, 3)) -> np.ndarray:
        return np.rot90(maps, 1, axes) if released else maps

    def mixed(maps: np.ndarray) -> np.ndarray:
        return turned(np.where(holes[:, None], 0, share * maps[one] + (1 - share) * maps[two]))

    shown = torch.from_numpy(mixed(image).astype(np.float32).copy())
    logits, mixed_logits = (logits_of(m.network, x).numpy() for x in (batch.labelled.image, shown))
    terms = m.losses(batch, MIDDLE)
    assert list(terms) == ["partial_ce", "partial_ce_mixed", "consistency", "spatial", "shape"]
    assert terms["partial_ce"].item() == pytest.approx(reference.cross_entropy(logits, label), rel=1e-4)
    given = [turned(each, (1, 2)) for each in (*labels, share[:once, 0])]
    expected, known = slow_mixed(mixed_logits[:once], *given)
    assert terms["partial_ce_mixed"].item() == pytest.approx(expected * (known if released else 1), rel=1e-4)

    probs, mixed_probs = reference.softmax(logits), reference.softmax(mixed_logits)
    seen = ~turned(holes, (1, 2))
    if released:
        expected = slow_distance(mixed(probs), mixed_probs, seen)
    else:
        expected = slow_whole_distance(mixed(probs), mixed_probs * seen[:, None])
    assert terms["consistency"].item() == pytest.approx(0.2 * expected, rel=1e-3)

    unlabelled = label == IGNORE
    learnt = label if released else np.concatenate([each.ravel() for each in (label, *labels)])
    shares = slow_shares(probs, learnt, ~unlabelled if released else unlabelled, rounds=20)
    energy = slow_energy(probs, image.astype(np.float64), 1 if released else 2, 6.0, 0.1)
    excluded = slow_beyond(energy, shares, unlabelled, range(0 if released else 1, 3))
    if released:  # all classes at once say nothing of a pixel
        excluded &= ~excluded.all(axis=1, keepdims=True)
        expected = slow_marginal(probs, excluded) * excluded.any(axis=1).mean()
    else:
        expected = slow_exclusion(probs, excluded)
    assert 0 < excluded.mean() < 0.7
    assert terms["spatial"].item() == pytest.approx(0.7 * expected, rel=1e-3)

    whole = np.where(unlabelled, largest(probs).argmax(axis=1), IGNORE)
    assert (whole != np.where(unlabelled, probs.argmax(axis=1), IGNORE)).any(), "no component is dropped"
    assert terms["shape"].item() == pytest.approx(0.3 * reference.cross_entropy(logits, whole), rel=1e-4)


def shown_to(m: Method, batch: Batch) -> Tensor:
    """The mixtures that the network is given."""
    given: list[Tensor] = []
    handle = m.network.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0].detach()))
    m.losses(batch, MIDDLE)
    handle.remove()
    return torch.cat(given[1:])[len(batch.labelled.image) :]  # after the pass for saliency, and the images


@pytest.mark.parametrize("n", [1, 4, 5])
def test_both_mixtures_of_a_pair_add_up_to_its_images_and_their_holes_are_alike(n: int):
    torch.manual_seed(n)
    m, image = with_a_lively_network(hole=0.25), 0.1 + torch.rand(n, 1, 16, 16)
    mixtures = shown_to(m, Batch(Labelled(image, scribbled(n).labelled.label)))
    ahead, behind = mixtures.chunk(2)
    assert len(ahead) == -(-n // 2)
    holes = mixtures == 0
    assert holes.flatten(1).sum(dim=1).tolist() == [4 * 4] * len(mixtures)
    assert torch.equal(*holes.chunk(2))
    used: list[int] = []
    for total, inside in zip(ahead + behind, holes[: len(ahead)], strict=True):
        off = [[(a + b - total)[~inside].abs().max().item() for b in image] for a in image]
        i, j = divmod(int(np.argmin(off)), n)
        assert off[i][j] < 1e-6
        used += {i, j}
    assert sorted(used) == list(range(n)), "each image is in one pair"


def test_partners_change_and_the_drawn_share_reaches_the_mixture(monkeypatch: pytest.MonkeyPatch):
    asked: list[float] = []
    seen: list[tuple[Tensor, Tensor]] = []

    def mixture(first: Tensor, second: Tensor, share: Tensor, *, smooth: float, prior: float) -> Tensor:
        asked.append(share.item())
        seen.append((first, second))
        assert (smooth, prior) == (0.6, 0.3)
        return torch.ones_like(first)

    monkeypatch.setattr(zscribbleseg, "puzzle", mixture)
    m = with_a_lively_network(alpha=50.0, smooth=0.6, prior=0.3)
    batch = scribbled(4)
    found = {tuple(shown_to(m, batch).flatten(1)[:, 0].tolist()) for _ in range(12)}
    assert len(found) > 3
    assert all(0.2 < share < 0.8 for share in asked)
    assert len(set(asked)) == 12
    first, second, *_ = m._mixing(batch.labelled)
    salient = saliency(m.network, batch.labelled)
    torch.testing.assert_close(seen[-1][0], salient[first[: len(seen[-1][0])]])
    torch.testing.assert_close(seen[-1][1], salient[second[: len(seen[-1][1])]])


@pytest.mark.parametrize(("variant", "start"), [("intended", 0.1), ("released", 0.01)])
def test_the_spatial_prior_waits_for_the_warm_up(variant: str, start: float):
    m, batch = with_a_lively_network(variant=variant), scribbled()
    for step, active in ((round(1000 * start) - 1, False), (round(1000 * start), True)):
        torch.manual_seed(0)
        assert (m.losses(batch, Clock(step, 1001))["spatial"].item() > 0) is active
        assert m.losses(batch, Clock(step, 1001))["shape"].item() > 0


@pytest.mark.parametrize("variant", ["intended", "released"])
@pytest.mark.parametrize("term", ["consistency", "spatial", "shape"])
def test_a_term_is_proportional_to_its_weight_and_teaches_the_network(term: str, variant: str):
    found = []
    for weight in (1.0, 3.0):
        m, batch = with_a_lively_network(variant=variant, **{term: weight}), scribbled()
        batch.labelled.image.copy_(torch.linspace(0, 1, 512).view(2, 1, 16, 16))
        torch.manual_seed(1)
        value = m.losses(batch, END)[term]
        value.backward()
        assert max(p.grad.abs().max() for p in m.network.parameters()) > 0
        found.append(value.item())
    assert found[1] == pytest.approx(3 * found[0], rel=1e-5)


class Deaf(Fixed):
    """Predicts free logits to which the image adds nothing."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) + 0 * image


def spatial_gradient(probs: Tensor, label: Tensor, image: Tensor) -> Tensor:
    m = method("zscribbleseg", radius=1, sigma_xy=10.0)
    m.network = Deaf(*probs.shape[2:])
    with torch.no_grad():
        m.network.logits.copy_(probs.log())
    m.losses(Batch(Labelled(image, label)), END)["spatial"].backward()
    return m.network.logits.grad


def test_a_lone_pixel_gives_way_before_one_among_its_like():
    # one row of each class is scribbled; of the rest, one pixel by itself is as sure of class 1 as a block is
    label = torch.full((1, 16, 16), IGNORE)
    label[:, 0], label[:, 1, :5], label[:, 15, :2] = 0, 1, 2
    likely = torch.full((16, 16), 0.02)
    likely[4:9, 4:9], likely[12, 12] = 0.8, 0.8
    probs = torch.stack([0.97 - likely, likely, torch.full_like(likely, 0.03)])[None]
    gradient = spatial_gradient(probs, label, torch.full((1, 1, 16, 16), 0.5))[0, 1]
    assert gradient[12, 12] > 0, "the lone pixel is excluded from its class"
    assert gradient[6, 6] <= 0, "the middle of the block is not"
    assert gradient[label[0] != IGNORE].abs().max() == 0, "scribbled pixels are left alone"


def test_consistency_vanishes_where_the_mixture_is_seen_as_its_parts_are():
    u = random_probs(2, 3, 4, 4)
    flat = u.flatten(1).unsqueeze(2)
    assert cosine_distance(flat, 3 * flat, torch.ones(2, 1, dtype=torch.bool)).item() == pytest.approx(0, abs=1e-6)


def all_finite(terms: Terms) -> bool:
    return all(bool(term.isfinite()) for term in terms.values())


@pytest.mark.parametrize("variant", ["intended", "released"])
def test_volumes_and_batches_without_scribbles_are_taken_as_well(variant: str):
    m = method("zscribbleseg", hole=0.5, variant=variant, radius=1, released_radius=1)
    m.network = nn.Conv3d(1, 3, kernel_size=3, padding=1)
    volume = Labelled(torch.rand(1, 1, 8, 8, 8), torch.randint(0, 3, (1, 8, 8, 8)))
    assert all_finite(m.losses(Batch(volume), MIDDLE))
    terms = m.losses(Batch(Labelled(volume.image, torch.full_like(volume.label, IGNORE))), MIDDLE)
    assert all_finite(terms)
    assert terms["partial_ce"].item() == 0
