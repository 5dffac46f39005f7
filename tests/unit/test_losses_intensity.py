"""Spread of intensities within and between classes: by hand, slow references, and classes that are not there."""

from __future__ import annotations

import math

import pytest
import torch

from methods.losses.intensity import between_class_variance, class_means, spread_difference, within_class_variance
from tests.reference import oracles
from tests.reference import regularisers as reference

# background on the first pixel, class 1 on the next two, class 2 on the last; intensities 0 .2 .6 1
PROBS = torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]])[None, :, None]
IMAGE = torch.tensor([0, 0.2, 0.6, 1])[None, None, None]


def test_means_and_variances_by_hand():
    assert class_means(PROBS, IMAGE)[0, :, 0].tolist() == pytest.approx([0, 0.4, 1])
    # class 1: Σ p (I - .4)² = .08 over 2 + .5 · 4; class 2: 0; mean of the two
    assert within_class_variance(PROBS, IMAGE, floor=0.5).item() == pytest.approx(0.08 / 4 / 2, rel=1e-5)
    # of 0 .4 1: mean 7/15; squares (49 + 1 + 64) / 225 = 114 / 225, a third of it
    assert between_class_variance(PROBS, IMAGE).item() == pytest.approx(114 / 225 / 3, rel=1e-5)


def test_released_spreads_by_hand():
    # products: 0 0 0 0 | 0 .2 .6 0 | 0 0 0 1: means 0 .2 .25, their std (n - 1): mean .15, (.0225 + .0025 + .01) / 2
    between = math.sqrt(0.035 / 2)
    # within (n - 1 = 3): 0; (3 · .04 ... ) about .2: .04 + 0 + .16 + .04 = .24; about .25: 3 · .0625 + .5625 = .75
    within = (0 + math.sqrt(0.24 / 3) + math.sqrt(0.75 / 3)) / 3
    # the first class has variance 0, cut off at 1e-12, so 1e-6 / 3 off
    assert spread_difference(PROBS, IMAGE).item() == pytest.approx(between - within, abs=1e-6)


def test_agree_with_the_slow_references():
    probs, image = torch.rand(2, 4, 6, 7).softmax(dim=1), torch.rand(2, 1, 6, 7)
    inputs = probs.numpy(), image.numpy()
    ours = within_class_variance(probs, image, floor=0.01).item()
    assert ours == pytest.approx(reference.within_class_variance(*inputs, floor=0.01), rel=1e-5)
    between = reference.between_class_variance(*inputs)
    assert between_class_variance(probs, image).item() == pytest.approx(between, rel=1e-4)
    assert spread_difference(probs, image).item() == pytest.approx(reference.spread_difference(*inputs), rel=1e-4)


def test_an_absent_class_costs_nothing_where_its_variance_would_be_noise():
    probs = PROBS.clone()
    probs[:, 2] = 1e-7  # a trace everywhere: its variance is that of the image, its mass 4e-7 against .004
    value = within_class_variance(probs, IMAGE, floor=0.001)
    alone = within_class_variance(PROBS[:, :2], IMAGE, floor=0.001) / 2
    assert value.item() == pytest.approx(alone.item(), rel=1e-3)


def test_several_channels_are_averaged():
    probs, image = torch.rand(2, 3, 5, 5).softmax(dim=1), torch.rand(2, 2, 5, 5)
    for spread in (lambda i: within_class_variance(probs, i, floor=0.01), lambda i: spread_difference(probs, i)):
        apart = (spread(image[:, :1]) + spread(image[:, 1:])) / 2
        assert spread(image).item() == pytest.approx(apart.item(), rel=1e-5)


def test_gradient_is_that_of_finite_differences_although_the_mean_carries_none():
    logits, image, along = torch.randn(1, 3, 6, 6), torch.rand(1, 1, 6, 6), torch.randn(1, 3, 6, 6)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(within_class_variance(logits.softmax(1), image, floor=0.01), logits)
    ends = [within_class_variance((logits + h * along).softmax(1), image, floor=0.01).item() for h in (-0.01, 0.01)]
    assert (gradient * along).sum().item() == pytest.approx((ends[1] - ends[0]) / 0.02, rel=2e-2)


@pytest.mark.parametrize(
    "spread", [lambda p, i: within_class_variance(p, i, floor=0.001), between_class_variance, spread_difference]
)
def test_a_black_image_and_a_class_of_no_mass_are_finite(spread):
    logits = torch.tensor([200.0, 0.0, 0.0])[None, :, None, None].repeat(1, 1, 4, 4).requires_grad_()
    value = spread(logits.softmax(dim=1), torch.zeros(1, 1, 4, 4))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_half_precision_is_computed_in_float32():
    probs, image = torch.rand(1, 3, 8, 8).bfloat16(), torch.rand(1, 1, 8, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        means = class_means(probs, image)
    assert torch.equal(means, class_means(probs.float(), image.float()))


def test_spread_difference_agrees_with_the_released_code():
    logits, image, value, gradient = oracles.load(
        "logits", "image", "intensity_variance_released", "grad_intensity_variance_released"
    )
    logits.requires_grad_()
    oracles.close_with_gradient(spread_difference(logits.softmax(dim=1), image), logits, value, gradient)
