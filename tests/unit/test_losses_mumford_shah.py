"""The Mumford-Shah functional: four pixels by hand, slow references, and the released one with swapped roles."""

from __future__ import annotations

import pytest
import torch

from methods.losses.mumford_shah import deviation, mumford_shah, mumford_shah_swapped
from tests.reference import oracles
from tests.reference import regularisers as reference


def test_four_pixels_by_hand():
    # class 0: weights 1 1 0 0 on intensities 0 .2 .6 1: mean .1, deviation 2 · .01; class 1: mean .8, 2 · .04
    probs = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])[None, :, None]
    image = torch.tensor([0, 0.2, 0.6, 1])[None, None, None]
    assert deviation(probs, image).item() == pytest.approx(0.1, rel=1e-5)
    # each class has one step of 1; 4 pixels
    assert mumford_shah(probs, image, smoothness=0.5).item() == pytest.approx(0.1 / 4 + 0.5 * 2 / 4, rel=1e-5)


def test_swapped_roles_by_hand():
    # the image weighs: Σ I = 1.8; class 0 has mean .2 / 1.8 = 1/9 under it, class 1 has 8/9; each deviates by
    # .2 (8/9)² + 1.6 (1/9)² = 1.44 / 8.1 = .17777; two classes; the variation is 2 in sum
    probs = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])[None, :, None]
    image = torch.tensor([0, 0.2, 0.6, 1])[None, None, None]
    expected = 2 * (0.2 * (8 / 9) ** 2 + 1.6 * (1 / 9) ** 2) + 0.5 * 2
    assert mumford_shah_swapped(probs, image, smoothness=0.5).item() == pytest.approx(expected, rel=1e-5)


def test_agrees_with_the_slow_reference_and_does_not_grow_with_the_batch():
    probs, image = torch.rand(2, 3, 6, 7).softmax(dim=1), torch.rand(2, 1, 6, 7)
    variation = reference.total_variation(probs.numpy())
    expected = reference.fit(probs.numpy(), image.numpy()) / (2 * 6 * 7) + 0.3 * variation
    assert mumford_shah(probs, image, smoothness=0.3).item() == pytest.approx(expected, rel=1e-5)
    twice = mumford_shah(probs.repeat(2, 1, 1, 1), image.repeat(2, 1, 1, 1), smoothness=0.3)
    assert twice.item() == pytest.approx(expected, rel=1e-5)
    swapped = reference.fit(image.numpy(), probs.numpy()) + 0.3 * variation * 2 * 6 * 7
    assert mumford_shah_swapped(probs, image, smoothness=0.3).item() == pytest.approx(swapped, rel=1e-5)


def test_channels_of_the_image_add_up():
    probs, image = torch.rand(2, 3, 5, 5).softmax(dim=1), torch.rand(2, 2, 5, 5)
    apart = deviation(probs, image[:, :1]) + deviation(probs, image[:, 1:])
    assert deviation(probs, image).item() == pytest.approx(apart.item(), rel=1e-5)


def test_gradient_is_that_of_finite_differences_although_the_means_carry_none():
    # float32 inside, so a central difference of 1e-2 along a random direction, not gradcheck
    logits, image, along = torch.randn(1, 3, 6, 6), torch.rand(1, 1, 6, 6), torch.randn(1, 3, 6, 6)
    logits.requires_grad_()
    for functional in (mumford_shah, mumford_shah_swapped):
        (gradient,) = torch.autograd.grad(functional(logits.softmax(1), image, smoothness=0.0), logits)
        ends = [functional((logits + h * along).softmax(1), image, smoothness=0.0).item() for h in (-0.01, 0.01)]
        assert (gradient * along).sum().item() == pytest.approx((ends[1] - ends[0]) / 0.02, rel=1e-2)


@pytest.mark.parametrize("functional", [mumford_shah, mumford_shah_swapped])
def test_a_black_image_and_an_absent_class_are_finite(functional):
    logits = torch.tensor([200.0, 0.0])[None, :, None, None].repeat(1, 1, 4, 4).requires_grad_()  # class 1: exp(-200)
    value = functional(logits.softmax(dim=1), torch.zeros(1, 1, 4, 4), smoothness=1.0)
    value.backward()
    assert value.item() == 0
    assert logits.grad.isfinite().all()


def test_swapped_roles_agree_with_the_released_code():
    logits, image, value, gradient = oracles.load(
        "logits", "image", "mumford_shah_released", "grad_mumford_shah_released"
    )
    logits.requires_grad_()
    term = mumford_shah_swapped(logits.softmax(dim=1), image, smoothness=1.0)
    oracles.close_with_gradient(term, logits, value, gradient)


def test_right_roles_agree_with_the_original_class_up_to_the_variation_that_it_takes_of_the_image():
    logits, image, value, gradient = oracles.load(
        "logits", "image", "mumford_shah_right_roles", "grad_mumford_shah_right_roles"
    )
    logits.requires_grad_()
    constant = sum(image.diff(dim=axis).abs().sum() for axis in (2, 3))
    term = mumford_shah(logits.softmax(dim=1), image, smoothness=0.0) * image.numel() + constant
    oracles.close_with_gradient(term, logits, value, gradient)
