"""FixMatch: each term against a slow reference, who is shown what, and what carries gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datasets.types import IGNORE, Batch, Labelled, Unlabelled
from methods.labels import confident_labels
from methods.semi import fixmatch
from tests.reference import losses as reference
from tests.unit.semi_toys import (
    END,
    MIDDLE,
    assert_terms,
    logits_of,
    method,
    ramp,
    reached,
    require_equal_networks,
    supervised,
    trained,
)
from tests.unit.strong_toys import assert_same_gradients, dice, strongly, sure, toys, watched

NDIMS = pytest.mark.parametrize("ndim", [2, 3])


# confident labels -----------------------------------------------------------------------------------------------------
@NDIMS
def test_a_label_is_confident_where_its_probability_reaches_the_threshold(ndim: int):
    logits = 2 * torch.randn(2, 3, *(4,) * ndim, requires_grad=True)
    found = confident_labels(logits, 0.7)
    assert 0 < (found == IGNORE).sum() < found.numel()
    assert torch.equal(found, sure(logits.detach().numpy(), 0.7))
    assert not found.requires_grad


def test_a_probability_of_exactly_the_threshold_is_enough():
    assert confident_labels(torch.zeros(1, 2, 3), 0.5).tolist() == [[0, 0, 0]]
    assert confident_labels(torch.zeros(1, 2, 3), 0.5001).tolist() == [[IGNORE] * 3]


# FixMatch -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def fixed_jitter(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """FixMatch's strong views draw nothing; what was asked of them is remembered."""
    asked: list[dict[str, float]] = []
    monkeypatch.setattr(fixmatch, "jittered", lambda image, **how: (asked.append(how), strongly(image))[1])
    return asked


@NDIMS
def test_fixmatch_learns_sure_predictions_on_the_strong_view_and_counts_unsure_pixels_as_zero(
    ndim: int, fixed_jitter: list[dict[str, float]]
):
    m, batch = toys("fixmatch", ndim, weight=2.0, threshold=0.8)
    pseudo = sure(logits_of(m.network, batch.unlabelled.image), 0.8)
    known = (pseudo != IGNORE).float().mean().item()
    assert 0.2 < known < 0.8
    strong = logits_of(m.network, strongly(batch.unlabelled.image))
    log_probs = np.log(reference.softmax(strong))
    total = 0.0
    for at in np.ndindex(*pseudo.shape):
        total -= log_probs[(at[0], int(pseudo[at]), *at[1:])] if pseudo[at] != IGNORE else 0
    expected = supervised(logits_of(m.network, batch.labelled.image), batch.labelled.label)
    expected["pseudo_ce"] = 2.0 * ramp() * 0.5 * total / pseudo.numel()
    expected["pseudo_dice"] = 2.0 * ramp() * 0.5 * dice(strong, pseudo)
    assert_terms(m.losses(batch, MIDDLE), expected)
    assert fixed_jitter == [{"p": 1.0, "brightness": 0.8, "contrast": 0.8}]


@NDIMS
def test_released_fixmatch_calls_unsure_pixels_background_and_avoids_the_least_probable_class(
    ndim: int, fixed_jitter: list[dict[str, float]]
):
    m, batch = toys("fixmatch", ndim, variant="released", weight=2.0, released_threshold=0.9)
    weak = reference.softmax(logits_of(m.network, batch.images))
    strong_logits = logits_of(m.network, strongly(batch.images))
    strong = reference.softmax(strong_logits)
    unlabelled = weak[2:]
    pseudo = np.zeros(unlabelled[:, 0].shape, dtype=np.int64)
    for at in np.ndindex(*pseudo.shape):
        column = unlabelled[(at[0], slice(None), *at[1:])]
        kept = np.where((column - column.min()) / column.max() > 0.9, column, 0)  # of every class by itself
        pseudo[at] = kept.argmax()  # of only zeros: background
    changed = pseudo != unlabelled.argmax(axis=1)
    assert 0 < changed.sum() < changed.size / 2
    weights, entropies = [], 0.0
    positions = pseudo[0].size
    for sample in strong:
        for probs in sample:
            spread = probs / probs.sum()
            weights.append(1 + (spread * np.log(spread)).sum() / np.log(positions))
    for at in np.ndindex(*weak[:, 0].shape):
        inverse = 1 - strong[(at[0], slice(None), *at[1:])]
        least = weak[(at[0], slice(None), *at[1:])].argmin()
        entropies -= np.log(np.exp(inverse[least]) / np.exp(inverse).sum())
    complementary = np.mean(weights) ** 2 * entropies / weak[:, 0].size
    assert complementary > 1e-3
    expected = supervised(logits_of(m.network, batch.labelled.image), batch.labelled.label)
    guessed = supervised(strong_logits[2:], torch.from_numpy(pseudo))
    expected["complementary"] = 2.0 * ramp() * 0.5 * complementary
    expected |= {f"pseudo_{name}": 2.0 * ramp() * value for name, value in guessed.items()}
    assert_terms(m.losses(batch, MIDDLE), expected)


def test_fixmatch_looks_at_labelled_and_unlabelled_images_together_and_at_strong_views_of_its_own(
    fixed_jitter: list[dict[str, float]],
):
    for variant in ("intended", "released"):
        m, batch = toys("fixmatch", 2, variant=variant)
        shown = watched(m.network)
        m.losses(batch, END)
        views = strongly(batch.images if variant == "released" else batch.unlabelled.image)
        torch.testing.assert_close(torch.cat([image for image, _, _ in shown]), torch.cat([batch.images, views]))


@pytest.mark.parametrize("variant", ["intended", "released"])
def test_fixmatch_learns_through_the_strong_view_alone(variant: str, fixed_jitter: list[dict[str, float]]):
    """Gradients of the written-out terms, whose pseudo labels and weak views are fixed."""
    m, batch = toys("fixmatch", 2, variant=variant, weight=2.0, threshold=0.6)
    terms = m.losses(batch, END)
    strong = m.network(strongly(batch.images))
    weak = m.network(batch.images).detach()
    if variant == "released":
        probs = torch.softmax(weak[2:], dim=1)
        passes = 1 - probs.amin(1) / probs.amax(1) > 0.8
        target = torch.where(passes, probs.argmax(1), 0)
        spread = torch.softmax(strong, dim=1).flatten(2)
        spread = spread / spread.sum(2, keepdim=True)
        gathered = (1 + (spread * spread.log()).sum(2) / np.log(256)).mean()
        inverse = torch.log_softmax(1 - torch.softmax(strong, dim=1), dim=1)
        expected = -(gathered**2) * inverse.gather(1, weak.argmin(1, keepdim=True)).mean()
        assert_same_gradients(terms["complementary"], expected, m)
    else:
        target = sure(weak[2:].numpy(), 0.6)
    picked = torch.log_softmax(strong[2:], dim=1).gather(1, target.clamp(max=2).unsqueeze(1)).squeeze(1)
    assert_same_gradients(terms["pseudo_ce"], -(picked * (target != IGNORE)).mean(), m)
    assert reached(terms["pseudo_dice"], m.network)


# both -----------------------------------------------------------------------------------------------------------------
def test_nothing_sure_teaches_fixmatch_and_unimatch_nothing():
    for name, terms in (("fixmatch", ("pseudo_ce", "pseudo_dice")), ("unimatch", ("image", "feature"))):
        m, batch = toys(name, 2, threshold=1.0)
        with torch.no_grad():
            m.network.head.weight.mul_(0.01)
        found = m.losses(batch, END)
        for term in terms:
            assert found[term].item() == 0
            assert not reached(found[term], m.network)


@NDIMS
@pytest.mark.parametrize(
    ("name", "hyper", "terms"),
    [
        ("fixmatch", {"weight": 0.0, "threshold": 0.4}, ["pseudo_ce", "pseudo_dice"]),
        (
            "fixmatch",
            {"weight": 0.0, "variant": "released"},
            ["pseudo_ce", "pseudo_dice", "complementary"],
        ),
        ("unimatch", {"image_weight": 0.0, "feature_weight": 0.0, "threshold": 0.4}, ["image", "feature"]),
    ],
)
def test_terms_without_weight_are_as_if_they_were_not_there(name: str, hyper: dict, terms: list[str], ndim: int):
    ends = []
    for leave_out in ((), terms):
        torch.manual_seed(1)
        ends.append(trained(*toys(name, ndim, **hyper), leave_out=leave_out))
    require_equal_networks(*ends, prefix="", within=1e-7)  # zeros are summed in another order


@pytest.mark.parametrize("name", ["fixmatch", "unimatch"])
def test_real_views_of_any_channels_and_scale_give_the_same_losses_but_for_the_network(name: str):
    """A network that normalises its input first sees the same views of an image on any scale."""
    found = []
    for gain, shift in ((1.0, 0.0), (200.0, -1000.0)):
        m, batch = toys(name, 2, threshold=0.5)
        torch.manual_seed(7)
        again = Batch(
            Labelled(gain * torch.randn(2, 1, 16, 16) + shift, batch.labelled.label.zero_()),
            Unlabelled(gain * torch.randn(3, 1, 16, 16) + shift),
        )
        torch.manual_seed(3)
        m = method(name, threshold=0.5)
        m.network.encoder.register_forward_pre_hook(lambda _, x, a=gain, b=shift: ((x[0] - b) / a,))
        torch.manual_seed(4)
        found.append({term: value.item() for term, value in m.losses(again, END).items()})
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert all(value > 0 for value in found[0].values())
