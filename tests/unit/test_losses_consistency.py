"""Squared difference of two predictions: hand-computed values, a slow reference, masks and their edges."""

from __future__ import annotations

import pytest
import torch

from methods.losses.consistency import squared_difference
from tests.reference import losses as reference


def test_mean_runs_over_classes_and_pixels():
    # differences of .2 and -.2 in one of two pixels: 2 * .04 / 4
    first = torch.tensor([[[0.7, 0.5], [0.3, 0.5]]])
    second = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]])
    assert squared_difference(first, second).item() == pytest.approx(0.02, rel=1e-5)


def test_a_mask_leaves_the_mean_to_the_pixels_that_count():
    # the same, but only the pixel that differs counts: 2 * .04 / 2
    first = torch.tensor([[[0.7, 0.5], [0.3, 0.5]]])
    second = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]])
    assert squared_difference(first, second, torch.tensor([[True, False]])).item() == pytest.approx(0.04, rel=1e-5)


@pytest.mark.parametrize("space", [(6,), (4, 3), (2, 3, 4)])
def test_agrees_with_the_slow_reference(space: tuple[int, ...]):
    first, second = (torch.softmax(torch.randn(3, 4, *space), dim=1) for _ in range(2))
    mask = torch.rand(3, *space) < 0.5
    arrays = first.numpy(), second.numpy()
    assert squared_difference(first, second).item() == pytest.approx(reference.squared_difference(*arrays), rel=1e-5)
    expected = reference.squared_difference(*arrays, mask.numpy())
    assert squared_difference(first, second, mask).item() == pytest.approx(expected, rel=1e-5)


def test_a_mask_without_pixels_gives_zero_with_zero_gradient():
    first = torch.rand(2, 3, 4, requires_grad=True)
    loss = squared_difference(first, torch.rand(2, 3, 4), torch.zeros(2, 4))
    loss.backward()
    assert loss.item() == 0
    assert first.grad.abs().max().item() == 0


def test_gradient_flows_into_both_arguments_unless_one_is_detached():
    first, second = torch.rand(2, 3, 4, requires_grad=True), torch.rand(2, 3, 4, requires_grad=True)
    squared_difference(first, second).backward()
    torch.testing.assert_close(first.grad, -second.grad)
