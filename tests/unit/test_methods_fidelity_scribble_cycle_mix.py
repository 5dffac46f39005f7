"""CycleMix: every term against a slow reference, and what its mixture is asked for (see test_puzzle)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from datasets.types import IGNORE, Batch, Labelled
from methods.base import Method, Terms
from methods.losses.mixed import mixed_cross_entropy
from methods.networks.base import SegmentationNetwork
from methods.puzzle import saliency
from methods.scribble import cycle_mix
from tests.reference import losses as reference

from .scribble_toys import MIDDLE, logits_of, method, scribbled
from .test_methods_fidelity_scribble_shape_pu import slow_distance


# the losses -----------------------------------------------------------------------------------------------------------
def slow_mixed(logits: np.ndarray, first: np.ndarray, second: np.ndarray, share: np.ndarray) -> tuple[float, float]:
    probs, total, known = reference.softmax(logits), 0.0, 0.0
    for label, weights in ((first, share), (second, 1 - share)):
        for n, at, k in reference.pixels(label):
            weight = float(weights[(n, *at)])
            total, known = total - weight * math.log(probs[(n, k, *at)]), known + weight
    return total / max(1.0, known), known / share.size


def test_mixed_cross_entropy_weighs_both_labels_by_their_shares():
    logits, share = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4)) / 2
    first, second = (torch.randint(0, 4, (2, 4, 4)) for _ in range(2))
    first[first == 3], second[second == 3] = IGNORE, IGNORE
    found = mixed_cross_entropy(logits, first, second, share)
    expected = slow_mixed(logits.numpy(), first.numpy(), second.numpy(), share.numpy())
    assert [value.item() for value in found] == pytest.approx(expected, rel=1e-4)
    nothing = torch.full_like(first, IGNORE)
    assert [value.item() for value in mixed_cross_entropy(logits, nothing, nothing, share)] == [0, 0]


# the method -----------------------------------------------------------------------------------------------------------
def share_of_first() -> Tensor:
    share = torch.zeros(3, 1, 16, 16)
    share[0, :, :8], share[1, :, :, 4:9], share[2, :, 6:] = 1, 0.5, 1
    return share


def hole(k: int) -> Tensor:
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4 + 2 * k : 9 + 2 * k, 3:10] = True
    return inside


@pytest.fixture
def given_to_puzzle(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """A quarter turn, a hole of its own per sample, partners 1, 2, 0 and fixed shares; what is asked of the mixture."""
    asked: list[Tensor] = []

    def mixture(first: Tensor, second: Tensor, share: Tensor, **_: float) -> Tensor:
        asked.extend([first, second, share])
        return share_of_first()

    boxes: Iterator[Tensor] = iter([hole(k) for k in range(3)])
    monkeypatch.setattr(cycle_mix, "puzzle", mixture)
    monkeypatch.setattr(cycle_mix, "random_box", lambda space, share, device: next(boxes))
    monkeypatch.setattr(cycle_mix, "random_turn", lambda image: lambda maps: torch.rot90(maps, 1, (2, 3)))
    return asked


def largest(probs: np.ndarray) -> np.ndarray:
    """One-hot maps of the most probable class, its largest component alone, the rest background."""
    found = np.zeros_like(probs)
    for n, label in enumerate(probs.argmax(axis=1)):
        kept = np.zeros_like(label)
        for k in range(1, probs.shape[1]):
            parts, count = ndimage.label(label == k, structure=np.ones((3, 3)))
            if count:
                sizes = [(parts == i).sum() for i in range(1, count + 1)]
                kept[parts == 1 + int(np.argmax(sizes))] = k
        for at in np.ndindex(*kept.shape):
            found[(n, kept[at], *at)] = 1
    return found


def three() -> Batch:
    """Three images, scribbled in different places."""
    label = scribbled(n=3).labelled.label
    label[1], label[2] = label[1].T.clone(), label[2].flip(0)
    return Batch(Labelled(torch.rand(3, 1, 16, 16), label))


def with_a_lively_network(**hyper) -> Method:
    """Whose predictions differ much from pixel to pixel, as those of one just initialised do not."""
    m = method("cycle_mix", **hyper)
    m.network = nn.Conv2d(1, 3, kernel_size=3, padding=1)
    with torch.no_grad():
        m.network.weight.mul_(8)
    return m


def losses_of(m: Method, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> Terms:
    """With the partners 1, 2 and 0: where these numbers lie in rising order."""
    monkeypatch.setattr(torch, "rand", lambda n, **_: torch.tensor([0.9, 0.1, 0.5]))
    return m.losses(batch, MIDDLE)


@pytest.mark.parametrize("variant", ["intended", "released"])
@pytest.mark.usefixtures("given_to_puzzle")
def test_every_term_is_that_of_its_slow_reference(variant: str, monkeypatch: pytest.MonkeyPatch):
    batch = three()
    m = with_a_lively_network(variant=variant)
    image, label = batch.labelled.image.clone(), batch.labelled.label.numpy()
    partner = [1, 2, 0]
    share, holes = share_of_first().numpy(), np.stack([hole(k).numpy() for k in range(3)])
    mixture = np.where(holes[:, None], 0, share * image.numpy() + (1 - share) * image.numpy()[partner])
    shown = np.rot90(mixture, 1, (2, 3)).astype(np.float32)
    logits, mixed_logits = (logits_of(m.network, x).numpy() for x in (image, torch.from_numpy(shown.copy())))
    terms = losses_of(m, batch, monkeypatch)
    assert list(terms) == ["partial_ce", "partial_ce_mixed", "invariance", "integrity"]

    released = variant == "released"
    expected = reference.cross_entropy(logits, label) * ((label != IGNORE).mean() if released else 1)
    assert terms["partial_ce"].item() == pytest.approx(expected, rel=1e-4)
    seen = [np.rot90(np.where(holes, IGNORE, one), 1, (1, 2)) for one in (label, label[partner])]
    expected, known = slow_mixed(mixed_logits, *seen, np.rot90(share[:, 0], 1, (1, 2)))
    assert terms["partial_ce_mixed"].item() == pytest.approx(expected * (known if released else 1), rel=1e-4)

    probs, mixed_probs = reference.softmax(logits), reference.softmax(mixed_logits)
    expected_probs = np.rot90(share * probs + (1 - share) * probs[partner], 1, (2, 3))
    expected = 0.1 * slow_distance(mixed_probs, expected_probs, np.rot90(~holes, 1, (1, 2)))
    assert terms["invariance"].item() == pytest.approx(expected, rel=1e-3)
    expected = 0.1 * slow_distance(probs, largest(probs), np.ones(label.shape, dtype=bool))
    assert terms["integrity"].item() == pytest.approx(expected, rel=1e-3)


def test_the_mixture_is_asked_for_by_the_gradients_of_both_images(
    given_to_puzzle: list[Tensor], monkeypatch: pytest.MonkeyPatch
):
    batch, m = three(), method("cycle_mix")
    losses_of(m, batch, monkeypatch)
    image = batch.labelled.image.clone().requires_grad_(True)
    loss = nn.functional.cross_entropy(m.network(image), batch.labelled.label, ignore_index=IGNORE)
    (gradient,) = torch.autograd.grad(loss, image)
    first, second, share = given_to_puzzle
    found, expected = first / first.sum(), gradient.abs() / gradient.abs().sum()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-7)
    assert torch.equal(second, first[[1, 2, 0]])
    assert share.shape == ()
    assert 0 <= share.item() <= 1


def test_saliency_leaves_no_gradient_on_the_network_and_no_trace_in_its_statistics():
    m, batch = method("cycle_mix").train(), three()
    assert isinstance(m.network, SegmentationNetwork)
    before = {name: value.clone() for name, value in m.network.state_dict().items()}
    saliency(m.network, batch.labelled)
    assert all(p.grad is None and p.requires_grad for p in m.network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in m.network.state_dict().items())
    assert m.network.training
    assert not batch.labelled.image.requires_grad


def test_batch_normalisation_sees_images_and_mixtures_apart_and_saliency_not_at_all():
    m = method("cycle_mix").train()
    m.losses(scribbled(), MIDDLE)
    assert m.network.encoder.levels[0][1].num_batches_tracked == 2


@pytest.mark.parametrize("alpha", [0.02, 50.0])
def test_the_drawn_share_is_of_a_beta_distribution(alpha: float, monkeypatch: pytest.MonkeyPatch):
    drawn: list[float] = []

    def mixture(first: Tensor, second: Tensor, share: Tensor, **_: float) -> Tensor:
        drawn.append(share.item())
        return torch.ones_like(first)

    monkeypatch.setattr(cycle_mix, "puzzle", mixture)
    m = method("cycle_mix", alpha=alpha)
    for _ in range(20):
        m.losses(scribbled(), MIDDLE)
    middling = sum(0.2 < share < 0.8 for share in drawn)
    assert middling == 20 if alpha > 1 else middling <= 3
    assert len(set(drawn)) > 5 or alpha < 1


@pytest.mark.parametrize("term", ["invariance", "integrity"])
def test_a_consistency_is_proportional_to_its_weight_and_teaches_the_network(term: str):
    found = []
    for weight in (1.0, 3.0):
        torch.manual_seed(1)
        m, batch = method("cycle_mix", **{term: weight}), scribbled()
        value = m.losses(batch, MIDDLE)[term]
        value.backward()
        assert max(p.grad.abs().max() for p in m.network.parameters()) > 0
        found.append(value.item())
    assert found[1] == pytest.approx(3 * found[0], rel=1e-5)


def test_images_are_shown_whole_and_mixed_and_partners_change():
    m, batch = method("cycle_mix", hole=0.25), scribbled(n=4)
    shown: list[Tensor] = []
    m.network.encoder.register_forward_pre_hook(lambda _, given: shown.append(given[0].detach().clone()))
    m.losses(batch, MIDDLE)
    saliency, *rest = shown
    whole, mixture = torch.cat(rest).chunk(2)
    assert torch.equal(saliency, batch.labelled.image)
    assert torch.equal(whole, batch.labelled.image)
    assert (mixture == 0).flatten(1).sum(dim=1).tolist() == [4 * 4] * 4
    partners = {tuple(torch.rand(4).argsort().tolist()) for _ in range(20)}
    assert len(partners) > 5
