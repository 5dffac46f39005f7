"""TraCoCo: terms by slow references, what moves where, what is mixed, who teaches whom, and who is shown what."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.types import Batch
from methods.base import Clock
from methods.losses.confident_regional import confident_regional_cross_entropy
from methods.semi import tracoco
from tests.reference import losses as reference
from tests.unit.semi_toys import END, assert_terms, logits_of, method, moved, ramp, reached, supervised, toy_batch
from tests.unit.strong_toys import assert_same_gradients, watched


# The loss of what is sure and what is ruled out -----------------------------------------------------------------------
def regional(logits: np.ndarray, target: np.ndarray, sure: float, ruled_out: float, label_too: bool = False) -> float:
    """Pixel by pixel."""
    probs, learnt, avoided = reference.softmax(logits), [], []
    for n, *at in np.ndindex(logits.shape[0], *logits.shape[2:]):
        p, t = probs[(n, slice(None), *at)], target[(n, slice(None), *at)]
        label = int(t.argmax())
        if t[label] >= sure:
            learnt.append(-t[label] * math.log(p[label]))
        if t.min() < ruled_out:
            others = [-math.log(1 - p[k]) for k in range(len(p)) if k != label]
            if label_too:
                others += [-2 * math.log(1 - p[label])]
            avoided.append(t.min() * sum(others) / len(others))
    return sum(learnt) / max(1, len(learnt)) + sum(avoided) / max(1, len(avoided))


def test_a_sure_pixel_of_two_classes_by_hand():
    # -0.95 ln 0.8 - 0.05 ln(1 - 0.2); the second pixel is neither sure nor does it rule out anything
    logits = torch.tensor([[[math.log(4.0), 5.0], [0.0, 0.0]]])
    target = torch.tensor([[[0.95, 0.6], [0.05, 0.4]]])
    found = confident_regional_cross_entropy(logits, target, sure=0.65, ruled_out=0.1)
    assert found.item() == pytest.approx(-math.log(0.8), rel=1e-5)


@pytest.mark.parametrize("label_too", [False, True])
@pytest.mark.parametrize("shape", [(2, 2, 5, 6), (2, 4, 3, 4, 3)])
def test_the_regional_cross_entropy_equals_the_slow_reference(shape: tuple[int, ...], label_too: bool):
    logits, target = 2 * torch.randn(shape), torch.softmax(2 * torch.randn(shape), dim=1)
    least = target.amin(dim=1)
    assert 0 < (least < 0.02).float().mean() < 1
    assert 0 < (target.amax(dim=1) >= 0.65).float().mean() < 1
    found = confident_regional_cross_entropy(logits, target, sure=0.65, ruled_out=0.02, label_too=label_too)
    expected = regional(logits.double().numpy(), target.double().numpy(), 0.65, 0.02, label_too)
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_nothing_sure_and_nothing_ruled_out_costs_nothing_and_certainty_stays_finite():
    logits = torch.tensor([[[200.0], [0.0]]], requires_grad=True)
    torn = torch.full((1, 2, 1), 0.5)
    assert confident_regional_cross_entropy(logits, torn, sure=0.65, ruled_out=0.1) == 0
    wrong = torch.tensor([[[0.01], [0.99]]])
    loss = confident_regional_cross_entropy(logits, wrong, sure=0.65, ruled_out=0.1)
    assert loss.item() == pytest.approx(0.99 * 200 + 0.01 * math.log(1e6), rel=1e-4)  # ln(1 - p) ends at 1e-6
    loss.backward()
    assert torch.isfinite(logits.grad).all()


def test_the_target_is_not_taught():
    logits, target = torch.randn(1, 2, 4, requires_grad=True), torch.rand(1, 2, 4, requires_grad=True)
    confident_regional_cross_entropy(logits, target, sure=0.0, ruled_out=1.0).backward()
    assert logits.grad is not None
    assert target.grad is None


# Moving ---------------------------------------------------------------------------------------------------------------
def test_each_sample_moves_by_its_own_and_comes_back():
    maps, shift = torch.randn(3, 2, 5, 6, 4), torch.tensor([[2, -1, 0], [-3, 0, 3], [0, 0, 0]])
    found = tracoco._moved(maps, shift)
    for one, way, original in zip(found, shift.tolist(), maps, strict=True):
        torch.testing.assert_close(one, original.roll(way, (1, 2, 3)))
    assert torch.equal(tracoco._moved(found, -shift), maps)


@pytest.mark.parametrize("space", [(6, 7), (5, 4, 6)])
def test_both_views_show_what_did_not_come_in_on_the_other_side(space: tuple[int, ...]):
    shift = torch.tensor([[2, -3, 1][: len(space)], [-1, 0, 0][: len(space)]])
    both = tracoco._shown_by_both(shift, space)
    for n, *at in np.ndindex(2, *space):
        there = [a + int(s) for a, s in zip(at, shift[n], strict=True)]
        assert both[(n, *at)] == all(0 <= t < side for t, side in zip(there, space, strict=True))


# The terms ------------------------------------------------------------------------------------------------------------
class Drawn:
    """What a method drew: moves of the second view, and the mixture."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shift = torch.empty(0)
        self.given: tuple[Tensor, Tensor, int] = torch.empty(0), torch.empty(0), 0
        self.cut: tuple[Tensor, Tensor] = torch.empty(0), torch.empty(0)
        both, cut = tracoco._shown_by_both, tracoco._cut

        def shown(shift: Tensor, space: tuple[int, ...]) -> Tensor:
            self.shift = shift.clone()
            return both(shift, space)

        def mixed(images: Tensor, probs: Tensor, n: int) -> tuple[Tensor, Tensor]:
            self.given, self.cut = (images, probs, n), cut(images, probs, n)
            return self.cut

        monkeypatch.setattr(tracoco, "_shown_by_both", shown)
        monkeypatch.setattr(tracoco, "_cut", mixed)


def overlap(plain: Tensor, elsewhere: Tensor, way: list[int]) -> tuple[Tensor, Tensor]:
    """Of one sample's two maps ``(c, *space)``, the parts that show the same, cut out of either."""
    here = [slice(max(0, -s), side - max(0, s)) for s, side in zip(way, plain.shape[1:], strict=True)]
    there = [slice(max(0, s), side - max(0, -s)) for s, side in zip(way, plain.shape[1:], strict=True)]
    return plain[(slice(None), *here)], elsewhere[(slice(None), *there)]


def compared(run: Callable[[Tensor], Tensor], batch: Batch, shift: Tensor, variant: str) -> tuple[Tensor, Tensor]:
    """Divergence and entropy, sample by sample, on parts that are cut out."""
    rolled = torch.stack(
        [one.roll(s, tuple(range(1, one.ndim))) for one, s in zip(batch.images, shift.tolist(), strict=True)]
    )
    plain, elsewhere = run(batch.images), run(rolled)
    divergences, entropies = [], []
    for one, other, way in zip(plain, elsewhere, shift.tolist(), strict=True):
        a, b = overlap(one, other, way)
        if variant == "released":
            a, b = a.clamp(1e-6, 1), b.clamp(1e-6, 1)
        axis = 1 if variant == "released" else 0
        p, q = torch.softmax(a, dim=axis), torch.softmax(b, dim=axis)
        each = q * torch.log(q / p)
        divergences.append(each.mean() if variant == "released" else each.sum(dim=0).mean())
        for view in (a, b):
            r = torch.softmax(view, dim=0)
            entropies.append(-(r * r.log()).sum(dim=0).mean())
    divergence = torch.stack(divergences)
    return divergence.sum() if variant == "released" else divergence.mean(), torch.stack(entropies).mean()


WEIGHED = {"noise": 0.0, "weight": 2.0, "ramp": 1.0, "translation": 0.5, "entropy": 0.2, "threshold": 0.6}


@pytest.mark.parametrize("variant", ["intended", "released"])
@pytest.mark.parametrize(("ndim", "classes"), [(2, 3), (3, 3), (2, 2)])
def test_terms_are_those_of_the_definition(ndim: int, classes: int, variant: str, monkeypatch: pytest.MonkeyPatch):
    side = 16 if ndim == 2 else 8
    m = method("tracoco", ndim=ndim, side=side, classes=classes, variant=variant, **WEIGHED)
    batch, drawn = toy_batch(ndim=ndim, side=side, classes=classes), Drawn(monkeypatch)
    found = m.losses(batch, Clock(50, 101))
    u = batch.unlabelled.image
    first, second = (logits_of(network, batch.images) for network in (m.network, m.network2))
    on_cut = logits_of(m.network2, drawn.cut[0])
    assert torch.equal(drawn.given[0], batch.images)
    np.testing.assert_allclose(drawn.given[1].numpy(), reference.softmax(first), rtol=1e-4)
    assert drawn.given[2] == len(u)
    assert not torch.equal(drawn.cut[0], u)
    slip = variant == "released" and classes > 2
    sure = (
        regional(first[-len(u) :], reference.softmax(logits_of(m.network2, u)), 0.6, 0.1, slip),
        regional(on_cut, drawn.cut[1].double().numpy(), 0.6, 0.1, slip),
    )
    expected = {}
    for k, (network, logits) in enumerate(((m.network, first), (m.network2, second))):
        for name, value in supervised(logits[: -len(u)], batch.labelled.label).items():
            expected[f"{name}_{k + 1}"] = value
        with torch.no_grad():
            divergence, entropy = compared(network, batch, drawn.shift, variant)
        assert divergence > 1e-3
        expected[f"pseudo_{k + 1}"] = 2.0 * ramp() * sure[k]
        expected[f"translation_{k + 1}"] = 2.0 * ramp() * 0.5 * divergence.item()
        expected[f"entropy_{k + 1}"] = -2.0 * ramp() * 0.2 * entropy.item()
    assert_terms(found, expected)


@pytest.mark.parametrize("variant", ["intended", "released"])
def test_gradient_flows_into_both_views(variant: str, monkeypatch: pytest.MonkeyPatch):
    m, batch, drawn = method("tracoco", variant=variant, **WEIGHED), toy_batch(), Drawn(monkeypatch)
    terms = m.losses(batch, END)
    divergence, entropy = compared(m.network, batch, drawn.shift, variant)
    assert_same_gradients(terms["translation_1"], 2.0 * 0.5 * divergence, m)
    assert_same_gradients(terms["entropy_1"], -2.0 * 0.2 * entropy, m)


def test_every_term_teaches_one_network_and_what_it_is_taught_is_no_way_back():
    terms = (m := method("tracoco")).losses(toy_batch(), END)
    assert len(terms) == 10
    for name, term in terms.items():
        assert (reached(term, m.network), reached(term, m.network2)) == (name.endswith("1"), name.endswith("2"))


def test_two_views_of_which_none_is_moved_agree_and_moved_ones_do_not():
    batch = toy_batch()
    terms = {shift: method("tracoco", shift=shift, noise=0.0).losses(batch, END) for shift in (0.0, 0.25)}
    assert terms[0.0]["translation_1"].item() == pytest.approx(0, abs=1e-6)
    assert terms[0.25]["translation_1"] > 1e-3


def test_moves_are_each_samples_own_along_each_axis_and_reach_their_limit(monkeypatch: pytest.MonkeyPatch):
    m, batch, drawn = method("tracoco", shift=0.25), toy_batch(unlabelled=30), Drawn(monkeypatch)
    m.losses(batch, END)
    assert drawn.shift.shape == (32, 2)
    for along in drawn.shift.T.tolist():
        assert {min(along), max(along)} == {-4, 4}  # a quarter of 16
        assert len(set(along)) > 5
    assert not torch.equal(*drawn.shift.T)


def test_the_noise_is_uniform_relative_to_the_range_of_each_image_and_labels_are_made_without_it(
    monkeypatch: pytest.MonkeyPatch,
):
    m, batch, drawn = method("tracoco", noise=0.2), toy_batch(), Drawn(monkeypatch)
    batch.unlabelled.image[0].mul_(50)
    shown, shown_2 = watched(m.network), watched(m.network2)
    m.losses(batch, END)
    (clean_1, *mode_1), (noisy_1, *_) = shown
    (clean_2, *mode_2), (noisy_2, *_) = shown_2
    assert torch.equal(clean_1, batch.images)
    assert torch.equal(clean_2, batch.unlabelled.image)
    assert (mode_1, mode_2) == ([False, False], [False, False])  # without gradient
    shifted = tracoco._moved(batch.images, drawn.shift)
    noises = []
    for seen, images in (
        (noisy_1, torch.cat([batch.images, shifted])),
        (noisy_2, torch.cat([batch.images, shifted, drawn.cut[0]])),
    ):
        extent = (images.flatten(1).amax(dim=1) - images.flatten(1).amin(dim=1)).view(-1, 1, 1, 1)
        noises.append(((seen - images) / extent).flatten(1))
    together = torch.cat(noises)
    assert together.abs().max().item() == pytest.approx(0.2, abs=2e-3)
    assert together.std().item() == pytest.approx(0.4 / math.sqrt(12), rel=0.03)  # uniform in ±0.2
    assert len({round(row[0].item(), 6) for row in together}) == 10 + 13  # each its own


def test_what_is_mixed_is_an_image_with_its_target_and_the_box_holds_the_other_ones():
    images = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 20, 20)
    probs = torch.cat([images, -images], dim=1)
    shares, partners = [], set()
    for _ in range(40):
        cut, target = tracoco._cut(images, probs, 3)
        assert torch.equal(target, torch.cat([cut, -cut], dim=1))
        for own, one in enumerate(cut, start=2):
            values = set(one.unique().tolist())
            assert len(values) <= 2
            other = values - {float(own)}
            partners |= other
            if other:
                shares.append((one != own).float().mean().item())
                rows, columns = (one[0] != own).nonzero().T
                height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
                assert len(rows) == height * width  # a box
    assert partners == {0.0, 1.0, 2.0, 3.0, 4.0}
    # 1 - Beta(4, 4) is ½ on average; a box at a uniform place loses a quarter and more of it at the borders
    assert 0.15 < np.mean(shares) < 0.45


def test_weights_ramp_up_over_their_share_of_training_and_the_supervised_ones_do_not():
    found = {}
    for k, clock in (("early", Clock(0, 101)), ("half", Clock(25, 101)), ("late", END)):
        torch.manual_seed(0)
        found[k] = method("tracoco", ramp=0.5, noise=0.0)
        torch.manual_seed(1)
        batch = toy_batch()
        found[k] = {name: term.item() for name, term in found[k].losses(batch, clock).items()}
    for name, late in found["late"].items():
        shares = (1, 1) if name.startswith(("ce", "dice")) else (math.exp(-5), math.exp(-5 / 4))
        assert (found["early"][name], found["half"][name]) == pytest.approx(
            [share * late for share in shares], rel=1e-4
        )


def test_the_first_network_predicts_and_the_second_is_scored_beside_it():
    m, image = method("tracoco"), torch.rand(2, 1, 16, 16)
    moved(m.network2)
    with torch.no_grad():
        torch.testing.assert_close(m.predict(image), torch.softmax(m.network(image), dim=1))
        (name, second), *others = m.other_predictions().items()
        torch.testing.assert_close(second(image), torch.softmax(m.network2(image), dim=1))
    assert (name, others) == ("second", [])


@pytest.mark.parametrize("space", [(8, 8), (4, 4, 4)])
def test_the_share_that_is_cut_is_drawn_of_the_space_in_any_dimension(
    space: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
):
    asked, known = [], tracoco.cut_boxes

    def noted(n: int, space: tuple[int, ...], share: Tensor, device: torch.device) -> Tensor:
        asked.append(float(share))
        return known(n, space, share, device)

    monkeypatch.setattr(tracoco, "cut_boxes", noted)
    images = torch.rand(3, 1, *space)
    for _ in range(400):
        tracoco._cut(images, images, 2)
    cut = np.array(asked) ** len(space)
    assert cut.mean() == pytest.approx(0.5, abs=0.03)
    assert cut.std() == pytest.approx(1 / 6, abs=0.02)  # of Beta(4, 4)
