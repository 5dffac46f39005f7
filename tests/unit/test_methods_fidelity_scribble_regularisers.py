"""Partial cross-entropy with a regulariser of (probabilities, image): each against a slow reference of its formula."""

from __future__ import annotations

import math

import pytest
import torch

from datasets.types import Batch, Labelled
from methods.base import Clock
from tests.reference import losses
from tests.reference import regularisers as reference

from .scribble_toys import MIDDLE, logits_of, method, require_equal_networks, scribbled, trained


def term_and_inputs(name: str, batch: Batch, clock: Clock = MIDDLE, **hyper):
    """The regulariser's value, the network's probabilities and the image; the other term is the partial CE."""
    m = method(name, **hyper)
    terms = m.losses(batch, clock)
    logits = logits_of(m.network, batch.labelled.image).numpy()
    expected = losses.cross_entropy(logits, batch.labelled.label.numpy())
    assert terms.pop("partial_ce").item() == pytest.approx(expected, rel=1e-4)
    (value,) = terms.values()
    return value.item(), losses.softmax(logits), batch.labelled.image.numpy()


# boundary length -----------------------------------------------------------------------------------------------------
def test_pce_tv_adds_a_hundredth_of_the_contours_of_the_foreground_of_all_samples():
    value, probs, _ = term_and_inputs("pce_tv", scribbled())
    assert value == pytest.approx(0.01 * reference.contour_length(probs[:, 1:]), rel=1e-4)


def test_pce_tv_can_use_the_anisotropic_variation_instead():
    value, probs, _ = term_and_inputs("pce_tv", scribbled(), length="variation")
    assert value == pytest.approx(0.01 * reference.total_variation(probs[:, 1:]), rel=1e-4)


def test_pce_tv_as_released_drops_the_first_sample_and_keeps_the_background():
    value, probs, _ = term_and_inputs("pce_tv", scribbled(n=3), variant="released")
    assert value == pytest.approx(0.01 * reference.contour_length(probs[1:]), rel=1e-4)
    value, _, _ = term_and_inputs("pce_tv", scribbled(n=1), variant="released")
    assert value == 0


# Gated CRF -----------------------------------------------------------------------------------------------------------
CRF = {"radius": 2, "sigma_xy": 3.0, "sigma_intensity": 0.2}


@pytest.mark.parametrize("variant", ["intended", "released"])
def test_pce_gated_crf_adds_a_tenth_of_the_disagreement_of_like_neighbours(variant: str):
    value, probs, image = term_and_inputs("pce_gated_crf", scribbled(n=1), variant=variant, **CRF)
    expected = 0.1 * reference.gated_crf(probs, image, **CRF, padded=variant == "released")
    assert value == pytest.approx(expected, rel=1e-4)


def test_pce_gated_crf_learns_the_same_in_both_variants():
    batch = scribbled()
    states = [trained("pce_gated_crf", batch, variant=variant) for variant in ("intended", "released")]
    require_equal_networks(*states)


# Mumford-Shah --------------------------------------------------------------------------------------------------------
def test_pce_mumford_shah_weighs_fit_and_length_per_pixel():
    value, probs, image = term_and_inputs("pce_mumford_shah", scribbled(), smoothness=0.5)
    expected = reference.fit(probs, image) / image.size + 0.5 * reference.total_variation(probs)
    assert value == pytest.approx(0.8 * expected, rel=1e-4)


def test_pce_mumford_shah_as_released_swaps_image_and_prediction_and_sums_over_the_batch():
    value, probs, image = term_and_inputs("pce_mumford_shah", scribbled(), variant="released")
    expected = reference.fit(image, probs) + reference.total_variation(probs) * image.size
    assert value == pytest.approx(1e-6 * expected, rel=1e-4)


# intensity variance --------------------------------------------------------------------------------------------------
def test_pce_intensity_variance_is_a_tenth_of_the_variance_within_foreground_from_half_of_training_on():
    for progress, ramp in ((0, math.exp(-5)), (25, math.exp(-5 / 4)), (50, 1), (100, 1)):
        value, probs, image = term_and_inputs("pce_intensity_variance", scribbled(), Clock(progress, 101))
        expected = reference.within_class_variance(probs, image, floor=0.001)
        assert value == pytest.approx(0.1 * ramp * expected, rel=1e-4)


def test_pce_intensity_variance_can_push_the_means_apart():
    value, probs, image = term_and_inputs("pce_intensity_variance", scribbled(), between=2.0)
    within, between = (
        reference.within_class_variance(probs, image, floor=0.001), reference.between_class_variance(probs, image)
    )  # fmt: skip
    assert value == pytest.approx(0.1 * (within - 2 * between), rel=1e-4)


def test_pce_intensity_variance_as_released_has_the_sign_inverted():
    value, probs, image = term_and_inputs("pce_intensity_variance", scribbled(), variant="released")
    assert value == pytest.approx(0.1 * reference.spread_difference(probs, image), rel=1e-3)


# all of them ---------------------------------------------------------------------------------------------------------
NO_WEIGHT = [
    (name, zero | {"variant": variant})
    for name, zero in {
        "pce_tv": {"weight": 0.0},
        "pce_gated_crf": {"weight": 0.0},
        "pce_mumford_shah": {"weight": 0.0, "released_weight": 0.0},
        "pce_intensity_variance": {"weight": 0.0},
    }.items()
    for variant in ("intended", "released")
]


@pytest.mark.parametrize(
    ("name", "hyper"), [*NO_WEIGHT, ("pce_entropy", {"weight": 0.0}), ("scribble2label", {"weight": 0.0})]
)
def test_weight_zero_trains_the_network_of_plain_partial_cross_entropy_bit_for_bit(name: str, hyper: dict):
    batch = scribbled()
    pseudo = torch.ones_like(batch.labelled.label)  # of no weight either
    with_pseudo = Batch(Labelled(batch.labelled.image, batch.labelled.label, pseudo))
    require_equal_networks(trained(name, with_pseudo, **hyper), trained("pce", batch))


@pytest.mark.parametrize(("name", "hyper"), NO_WEIGHT)
def test_without_contrast_in_the_image_everything_stays_finite(name: str, hyper: dict):
    m = method(name, variant=hyper["variant"], weight=1.0)
    flat = Batch(Labelled(torch.zeros(2, 1, 16, 16), scribbled().labelled.label))
    sum(m.losses(flat, MIDDLE).values()).backward()
    assert all(p.grad.isfinite().all() for p in m.parameters() if p.grad is not None)
