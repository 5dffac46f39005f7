"""The pairwise term: two pixels by hand, the naive double loop, finite differences, and what it keeps in memory."""

from __future__ import annotations

import math

import pytest
import torch

from methods.losses.crf import gated_crf, padding_constant
from tests.reference import oracles
from tests.reference import regularisers as reference

KERNEL = {"radius": 5, "sigma_xy": 6.0, "sigma_intensity": 0.1}
NARROW = {"radius": 2, "sigma_xy": 1.5, "sigma_intensity": 0.4}


def test_two_neighbours_that_disagree_by_hand():
    # one pair at distance 1 with contrast 0.1: k = exp(-½ (1/36 + 1)), seen from both ends and divided by 2 pixels
    probs = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None, :, None]
    image = torch.tensor([0.5, 0.6])[None, None, None]
    assert gated_crf(probs, image, **KERNEL).item() == pytest.approx(math.exp(-0.5 * (1 / 36 + 1)), rel=1e-5)
    # those that agree cost nothing, and half and half costs half
    assert gated_crf(torch.eye(2)[:1, :, None, None].expand(1, 2, 1, 2), image, **KERNEL).item() == pytest.approx(0)
    half = torch.full((1, 2, 1, 2), 0.5)
    assert gated_crf(half, image, **KERNEL).item() == pytest.approx(0.5 * math.exp(-0.5 * (1 / 36 + 1)), rel=1e-5)


@pytest.mark.parametrize("kernel", [KERNEL, NARROW])
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_the_naive_double_loop(kernel: dict, channels: int):
    probs, image = torch.rand(2, 3, 6, 6).softmax(dim=1), 0.3 * torch.rand(2, channels, 6, 6)
    expected = reference.gated_crf(probs.numpy(), image.numpy(), **kernel)
    assert gated_crf(probs, image, **kernel).item() == pytest.approx(expected, rel=1e-5)


def test_the_window_may_be_larger_than_the_image():
    # a radius of 5 in 2 x 3 pixels: every pair of pixels, the slow reference agrees
    probs, image = torch.rand(1, 2, 2, 3).softmax(dim=1), 0.2 * torch.rand(1, 1, 2, 3)
    expected = reference.gated_crf(probs.numpy(), image.numpy(), **KERNEL)
    assert gated_crf(probs, image, **KERNEL).item() == pytest.approx(expected, rel=1e-5)


def test_gradient_is_that_of_finite_differences():
    logits = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    image = 0.3 * torch.rand(2, 1, 6, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: 3 * gated_crf(z.softmax(dim=1), image, **NARROW), logits)


def test_a_volume_of_one_slice_is_that_slice():
    probs, image = torch.rand(2, 3, 6, 6).softmax(dim=1), torch.rand(2, 1, 6, 6)
    flat = gated_crf(probs, image, **NARROW)
    for axis in (2, 3, 4):
        assert gated_crf(probs.unsqueeze(axis), image.unsqueeze(axis), **NARROW).item() == pytest.approx(flat.item())


def test_gradient_in_a_volume_is_that_of_finite_differences():
    logits = torch.randn(1, 2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    image = 0.3 * torch.rand(1, 1, 3, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: gated_crf(z.softmax(dim=1), image, **NARROW), logits)


def test_backward_keeps_one_map_and_nothing_per_neighbour():
    kept = []
    probs = torch.rand(2, 3, 12, 12, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        gated_crf(probs, torch.rand(2, 1, 12, 12), **KERNEL)
    assert kept == [probs.numel()]


def test_the_layout_of_memory_does_not_matter():
    probs, image = torch.rand(2, 3, 8, 8).softmax(dim=1), torch.rand(2, 3, 8, 8)
    last = {"memory_format": torch.channels_last}
    expected = gated_crf(probs, image, **NARROW)
    assert gated_crf(probs.to(**last), image.to(**last), **NARROW).item() == pytest.approx(expected.item())


def test_half_precision_is_computed_in_float32():
    probs, image = torch.rand(1, 2, 8, 8).bfloat16(), torch.rand(1, 1, 8, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = gated_crf(probs, image, **KERNEL)
    assert value.dtype == torch.float32
    assert value.item() == gated_crf(probs.float(), image.float(), **KERNEL).item()


def test_the_released_padding_adds_a_constant():
    probs, image = torch.rand(2, 3, 6, 7).softmax(dim=1), 0.3 * torch.rand(2, 1, 6, 7)
    padded = reference.gated_crf(probs.numpy(), image.numpy(), **KERNEL, padded=True)
    ours = gated_crf(probs, image, **KERNEL) + padding_constant(image, **KERNEL)
    assert ours.item() == pytest.approx(padded, rel=1e-5)


def test_the_released_constant_of_a_black_pixel_by_hand():
    # 1 x 1 pixel at coordinates (0, 0): all 120 neighbours are outside, k = 1 for each
    assert padding_constant(torch.zeros(1, 1, 1, 1), **KERNEL).item() == pytest.approx(120)


def test_agrees_with_the_released_code_in_value_and_gradient():
    logits, image, value, gradient = oracles.load("logits_square", "image_square", "gated_crf", "grad_gated_crf")
    logits.requires_grad_()
    term = gated_crf(logits.softmax(dim=1), image, **KERNEL) + padding_constant(image, **KERNEL)
    oracles.close_with_gradient(term, logits, value, gradient)
