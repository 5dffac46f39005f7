"""Rectified consistency and symmetric divergence: by hand, by slow references, by the released number, and at edges."""

from __future__ import annotations

import math

import pytest
import torch

from methods.losses.consistency import rectified_consistency, symmetric_divergence
from tests.reference import agreement as reference
from tests.reference import oracles


def test_rectified_consistency_of_two_scales_by_hand():
    # one pixel, two classes: p = (3/4, 1/4) and (1/4, 3/4), mean (1/2, 1/2)
    # v = ½ ln(½/¾) + ½ ln(½/¼) = ½ ln(4/3) for both; a single pixel's weight e^-v cancels
    # mean square (1/4)² = 1/16, so each scale has 1/16 + ½ ln(4/3)
    three = torch.tensor([[[math.log(3.0)], [0.0]]])
    found = rectified_consistency([three, three.flip(1)])
    assert found.item() == pytest.approx(1 / 16 + math.log(4 / 3) / 2, rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 2, 3, 2)])
def test_rectified_consistency_equals_the_slow_reference(shape: tuple[int, ...]):
    scales = [3 * torch.randn(shape) for _ in range(3)]
    expected = reference.rectified_consistency([s.numpy() for s in scales])
    assert rectified_consistency(scales).item() == pytest.approx(expected, rel=1e-4)


def test_rectified_consistency_and_its_gradient_are_the_released_ones():
    logits, value, gradient = oracles.load("urpc_logits", "urpc_released", "grad_urpc_released")
    logits.requires_grad_()
    oracles.close_with_gradient(rectified_consistency(list(logits)), logits, value, gradient)


def test_scales_that_agree_have_no_inconsistency():
    logits = torch.randn(1, 3, 4, 4)
    assert rectified_consistency([logits, logits + 5, logits]).item() == pytest.approx(0, abs=1e-6)


def test_probabilities_of_zero_are_harmless():
    # the released code takes the logarithm of a softmax that is 0 here
    scales = [
        torch.tensor([[[200.0], [0.0]]], requires_grad=True),
        torch.tensor([[[0.0], [200.0]]], requires_grad=True),
    ]
    loss = rectified_consistency(scales)
    loss.backward()
    assert loss.isfinite()
    assert all(s.grad.isfinite().all() for s in scales)


def test_symmetric_divergence_by_hand():
    # p = (3/4, 1/4), q = (1/2, 1/2): ½ Σ (p - q) ln(p/q) = ½ [¼ ln 3/2 - ¼ ln 1/2] = ⅛ ln 3; mean over 2 elements: 1/16
    p, q = torch.tensor([[[math.log(3.0)], [0.0]]]), torch.zeros(1, 2, 1)
    assert symmetric_divergence(p, q).item() == pytest.approx(math.log(3) / 16, rel=1e-5)


@pytest.mark.parametrize("axis", [1, -1])
def test_symmetric_divergence_equals_the_slow_reference(axis: int):
    first, second = 2 * torch.randn(2, 3, 4, 5), 2 * torch.randn(2, 3, 4, 5)
    expected = reference.symmetric_divergence(first.numpy(), second.numpy(), axis)
    assert symmetric_divergence(first, second, axis).item() == pytest.approx(expected, rel=1e-4)
    assert symmetric_divergence(second, first, axis).item() == pytest.approx(expected, rel=1e-4)


def test_divergence_over_classes_does_not_care_where_pixels_lie_and_over_the_last_axis_does():
    first, second = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    order = torch.randperm(20)

    def shuffled(logits: torch.Tensor) -> torch.Tensor:
        return logits.flatten(2)[..., order].view_as(logits)

    found = symmetric_divergence(first, second).item()
    assert symmetric_divergence(shuffled(first), shuffled(second)).item() == pytest.approx(found, rel=1e-5)
    found = symmetric_divergence(first, second, -1).item()
    assert symmetric_divergence(shuffled(first), shuffled(second), -1).item() != pytest.approx(found, rel=1e-2)
