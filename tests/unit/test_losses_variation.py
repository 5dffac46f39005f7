"""Boundary lengths: shapes counted by hand, a slow reference, and edges."""

from __future__ import annotations

import pytest
import torch

from methods.losses.variation import contour_length, total_variation
from tests.reference import oracles
from tests.reference import regularisers as reference


def block(side: int, rows: slice, columns: slice) -> torch.Tensor:
    probs = torch.zeros(1, 1, side, side)
    probs[..., rows, columns] = 1
    return probs


def test_contour_of_a_three_by_three_block_is_its_eight_outer_pixels():
    # eroded: its middle pixel; opened: the block; the difference: 8 of 25 pixels
    assert contour_length(block(5, slice(1, 4), slice(1, 4))).item() == pytest.approx(8 / 25)


def test_a_block_that_touches_the_border_has_no_contour_there():
    # rows 0..2 of a side of 5, full width: the erosion looks at nothing outside, and removes row 2 only: 5 pixels of 25
    assert contour_length(block(5, slice(0, 3), slice(0, 5))).item() == pytest.approx(5 / 25)
    assert contour_length(torch.ones(1, 1, 5, 5)).item() == 0


def test_what_the_erosion_deletes_has_no_contour():
    assert contour_length(block(5, slice(1, 3), slice(1, 3))).item() == 0


def test_total_variation_of_a_step_is_its_length_over_the_pixels():
    # two rows with one step of 1 each, in 6 pixels; a second class with the opposite step doubles it
    step = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])[None, None]
    assert total_variation(step).item() == pytest.approx(2 / 6)
    assert total_variation(torch.cat([step, 1 - step], dim=1)).item() == pytest.approx(4 / 6)
    # twice the sample: the same, as it is over the pixels of the batch
    assert total_variation(step.repeat(2, 1, 1, 1)).item() == pytest.approx(2 / 6)


def test_a_cube_has_its_surface_as_contour():
    # 3³ in 5³: eroded to 1 voxel, so 26 of 125
    probs = torch.zeros(1, 1, 5, 5, 5)
    probs[..., 1:4, 1:4, 1:4] = 1
    assert contour_length(probs).item() == pytest.approx(26 / 125)
    # each of 6 faces of 9 voxels is a step of 1
    assert total_variation(probs).item() == pytest.approx(54 / 125)


@pytest.mark.parametrize("length", ["contour_length", "total_variation"])
def test_agrees_with_the_slow_reference(length: str):
    probs = torch.rand(2, 3, 6, 7)
    ours = {"contour_length": contour_length, "total_variation": total_variation}[length](probs)
    assert ours.item() == pytest.approx(getattr(reference, length)(probs.numpy()), rel=1e-5)


@pytest.mark.parametrize("length", [contour_length, total_variation])
def test_no_sample_costs_nothing_and_sends_zero_gradient(length):
    probs = torch.rand(1, 3, 6, 6, requires_grad=True)
    value = length(probs[1:])
    value.backward()
    assert value.item() == 0
    assert probs.grad.abs().max() == 0


@pytest.mark.parametrize("length", [contour_length, total_variation])
def test_half_precision_is_computed_in_float32(length):
    probs = torch.rand(1, 2, 8, 8).bfloat16()
    assert length(probs).dtype == torch.float32
    assert length(probs).item() == length(probs.float()).item()


def test_contour_agrees_with_the_released_one_on_its_slice():
    logits, value, gradient = oracles.load("logits", "tv_released", "grad_tv_released")
    logits.requires_grad_()
    oracles.close_with_gradient(contour_length(logits.softmax(dim=1)[1:]), logits, value, gradient)
