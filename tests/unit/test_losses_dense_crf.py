"""All pairs of pixels: by hand, the naive double loop, finite differences, and how far the features are off."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from methods.losses import dense_crf as home
from methods.losses.dense_crf import FINEST, dense_crf
from tests.reference import regularisers as reference

WIDE = {"sigma_xy": 100.0, "sigma_intensity": 15 / 255, "reduction": 1}
NARROW = {"sigma_xy": 1.5, "sigma_intensity": 0.4, "reduction": 1}
SHARP = {"sigma_xy": 6.0, "sigma_intensity": 0.01, "reduction": 1}  # a 30th of the range below
HALVED = {"sigma_xy": 4.0, "sigma_intensity": 0.1, "reduction": 2}
THIRDS = {"sigma_xy": 9.0, "sigma_intensity": 0.1, "reduction": 3}

OFF = 3e-4
"""The most that the features' kernel may differ from the kernel, whose largest value is 1; measured: 2.2e-4."""


def kernels(image: Tensor, *, sigma_xy: float, sigma_intensity: float) -> Tensor:
    """All kernels ``(n, pixels, pixels)`` in float64."""
    places = torch.cartesian_prod(*(torch.arange(side) for side in image.shape[2:])).double()
    distance = (places.view(len(places), 1, -1) - places.view(1, len(places), -1)).square().sum(dim=-1)
    grey = image.double().flatten(2)
    contrast = (grey[..., :, None] - grey[..., None, :]).square().sum(dim=1)
    return torch.exp(-0.5 * (distance / sigma_xy**2 + contrast / sigma_intensity**2))


def test_two_pixels_that_disagree_by_hand():
    # of 4 pairs two are of different pixels: k = exp(-½ (1/10² + 0.1²/0.2²)), of sum 2k / 4
    probs = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None, :, None]
    image = torch.tensor([0.5, 0.6])[None, None, None]
    kernel = {"sigma_xy": 10.0, "sigma_intensity": 0.2, "reduction": 1}
    k = math.exp(-0.5 * (1 / 10**2 + 0.1**2 / 0.2**2))
    assert dense_crf(probs, image, **kernel).item() == pytest.approx(k / 2, rel=2e-4)
    # those that agree cost nothing; half and half disagree with themselves as well: (2k + 2) / 4 · ½
    assert dense_crf(torch.eye(2)[:1, :, None, None].expand(1, 2, 1, 2), image, **kernel).item() == pytest.approx(0)
    half = torch.full((1, 2, 1, 2), 0.5)
    assert dense_crf(half, image, **kernel).item() == pytest.approx((k + 1) / 4, rel=2e-4)


@pytest.mark.parametrize("kernel", [WIDE, NARROW, SHARP, HALVED, THIRDS])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("space", [(6, 6), (7, 4)])  # 7 pixels are blocks of 2, 2, 2 and 1
def test_equals_the_naive_double_loop(kernel: dict, channels: int, space: tuple[int, int]):
    probs, image = torch.randn(2, 3, *space).softmax(dim=1), 0.3 * torch.rand(2, channels, *space)
    expected = reference.dense_crf(probs.numpy(), image.numpy(), **kernel)
    # features are an approximation, all pairs are not
    assert dense_crf(probs, image, **kernel).item() == pytest.approx(expected, rel=OFF if channels == 1 else 1e-5)


@pytest.mark.parametrize("breadth", [0.0, 0.3, 1.0, 10.0])
@pytest.mark.parametrize("sigma_xy", [0.5, 3.0, 100.0])
def test_the_kernel_of_every_pair_is_known_to_three_in_ten_thousand(breadth: float, sigma_xy: float):
    image = 5 + breadth * torch.rand(1, 1, 9, 13)
    image[0, 0, 0, :2] = torch.tensor([5.0, 5 + breadth])
    every = torch.eye(9 * 13).view(1, 9 * 13, 9, 13)  # a class for each pixel: what it reads is the kernel
    sigma = max(0.06, breadth / FINEST)
    found = home._by_features(every, image, sigma_xy, sigma).flatten(2)
    exact = kernels(image, sigma_xy=sigma_xy, sigma_intensity=sigma)
    assert (found - exact).abs().max() < OFF


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (1, 2, 3, 4, 3), (2, 3, 9)])
def test_gradient_is_that_of_finite_differences(shape: tuple[int, ...], channels: int):
    probs = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    image = 0.3 * torch.rand(shape[0], channels, *shape[2:], dtype=torch.float64)
    for kernel in (NARROW, HALVED):
        assert torch.autograd.gradcheck(lambda p, kernel=kernel: 3 * dense_crf(p, image, **kernel), probs)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(2, 4, 19, 23), (1, 2, 1, 25), (1, 2, 1, 1), (2, 2, 5, 7, 6)])
def test_value_and_gradient_are_those_of_all_pairs_in_double(shape: tuple[int, ...], channels: int):
    probs, image = torch.randn(shape).softmax(dim=1), 0.4 * torch.rand(shape[0], channels, *shape[2:])
    probs.requires_grad_()
    value = dense_crf(probs, image, **NARROW)
    (gradient,) = torch.autograd.grad(value, probs)
    exact = kernels(image, sigma_xy=1.5, sigma_intensity=0.4)
    flat = probs.detach().double().flatten(2)
    # Σ_c p_c' K (1 - p_c) and 2 K (1 - p_c), over the number of pairs
    pull = (1 - flat) @ exact
    assert value.item() == pytest.approx((flat * pull).sum().item() / exact.numel(), rel=OFF)
    expected = (2 * pull / exact.numel()).view(shape)
    torch.testing.assert_close(gradient.double(), expected, rtol=OFF, atol=OFF * expected.abs().max().item())


def test_the_released_loss_differs_by_a_constant_and_has_the_same_gradient_in_logits():
    logits, image = torch.randn(3, 2, 6, 8, requires_grad=True), torch.rand(3, 1, 6, 8)
    kernel = {"sigma_xy": 20.0, "sigma_intensity": 0.2}
    flat = logits.softmax(dim=1).flatten(2)
    released = -(flat @ kernels(image, **kernel).float() * flat).sum() / 3  # no 1 - p, a mean over images alone
    ours = 48**2 * dense_crf(logits.softmax(dim=1), image, **kernel, reduction=1)
    (expected,), (found,) = torch.autograd.grad(released, logits), torch.autograd.grad(ours, logits)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=OFF * expected.abs().max().item())
    assert (ours - released).item() == pytest.approx(kernels(image, **kernel).sum().item() / 3, rel=OFF)


def test_a_contrast_finer_than_a_part_of_the_range_is_not_told_apart():
    probs, image = torch.rand(2, 3, 8, 8).softmax(dim=1), torch.rand(2, 1, 8, 8)
    for each in image:  # two ranges: the scale is each image's own
        each -= each.min()
        each /= each.max()
    image[1] *= 4
    first, second = (
        dense_crf(probs[b : b + 1], image[b : b + 1], sigma_xy=9.0, sigma_intensity=breadth / FINEST, reduction=1)
        for b, breadth in enumerate((1, 4))
    )
    finer = dense_crf(probs, image, sigma_xy=9.0, sigma_intensity=1e-3, reduction=1)
    assert finer.item() == pytest.approx(((first + second) / 2).item(), rel=1e-5)


def test_an_image_without_contrast_compares_places_alone():
    probs = torch.rand(1, 2, 6, 6).softmax(dim=1).requires_grad_()
    value = dense_crf(probs, torch.full((1, 1, 6, 6), 0.7), **NARROW)
    value.backward()
    expected = reference.dense_crf(probs.detach().numpy(), torch.zeros(1, 1, 6, 6).numpy(), **NARROW)
    assert value.item() == pytest.approx(expected, rel=OFF)
    assert probs.grad.isfinite().all()


def test_both_ways_agree_on_an_image_whose_second_channel_is_constant(monkeypatch: pytest.MonkeyPatch):
    probs, image = torch.randn(2, 3, 20, 14).softmax(dim=1), torch.rand(2, 1, 20, 14)
    one = dense_crf(probs, image, **WIDE)
    monkeypatch.setattr(home, "_MOST_KERNELS", 2 * 280 * 37)  # 37 rows of kernels at a time, of 280
    two = dense_crf(probs, torch.cat([image, torch.full_like(image, 3.0)], dim=1), **WIDE)
    assert two.item() == pytest.approx(one.item(), rel=OFF)


def test_a_volume_of_one_slice_is_that_slice():
    probs, image = torch.rand(2, 3, 7, 6).softmax(dim=1), torch.rand(2, 1, 7, 6)
    flat = dense_crf(probs, image, **HALVED)
    for axis in (2, 3, 4):
        deep = dense_crf(probs.unsqueeze(axis), image.unsqueeze(axis), **HALVED)
        assert deep.item() == pytest.approx(flat.item(), rel=OFF)


def test_backward_keeps_one_map_of_the_reduced_grid():
    kept: list[int] = []
    probs = torch.rand(2, 3, 12, 12, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        dense_crf(probs, torch.rand(2, 1, 12, 12), **HALVED)
    assert sorted(kept) == [2 * 3 * 6 * 6, probs.numel()]  # and the pooling its argument


def test_the_layout_of_memory_does_not_matter():
    for channels in (1, 3):
        probs, image = torch.rand(2, 3, 8, 8).softmax(dim=1), torch.rand(2, channels, 8, 8)
        last = {"memory_format": torch.channels_last}
        expected = dense_crf(probs, image, **HALVED)
        assert dense_crf(probs.to(**last), image.to(**last), **HALVED).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("channels", [1, 3])
def test_half_precision_is_computed_in_float32(channels: int):
    probs, image = torch.rand(1, 2, 8, 8).bfloat16(), torch.rand(1, channels, 8, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = dense_crf(probs, image, **WIDE)
    assert value.dtype == torch.float32
    assert value.item() == dense_crf(probs.float(), image.float(), **WIDE).item()
