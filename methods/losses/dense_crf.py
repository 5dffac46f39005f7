"""Disagreement of all pairs of pixels that look alike, however far apart: a dense conditional random field.

The sum over all pairs is never formed for images of one channel. A Gaussian of a difference is an integral of products,
``exp(-½ (a - b)² / σ²) = √(2/π) / σ ∫ exp(-(a - t)² / σ²) exp(-(b - t)² / σ²) dt``, and the sum over points t that are
a part of σ apart is all but equal to it. So the kernel is a product of features, one set for each axis of the image and
one for intensity: probabilities are gathered on the grid of all t and read from there, which is a few small matrix
products. This is the bilateral grid of Chen, Paris and Durand (SIGGRAPH 2007) with Gaussians in place of hats, whose
error is not some per cent but some 1e-4 of the largest kernel.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LEVELS = 64
"""Points t on the axis of intensity, over the range of each image."""
FINEST = 40
"""Scales of contrast that fit into the range of an image: 64 points at most 0.7 apart, less the margins of 2."""
_APART = 0.7
"""Of two points t, in scales: the sum is off by 2 exp(-½ (π / 0.7)²) = 8e-5 of the integral."""
_MARGIN = 2.0
"""Of the points beyond the first and last value, in scales: the integral beyond is 3e-5 of the whole."""
_MOST_KERNELS = 2**20
"""Kernels that are held at once where all pairs are formed."""
_NOTHING = -80.0
"""The least exponent: what is less has an exponential below normal float32 numbers, and a CPU computes those slowly."""


def dense_crf(probs: Tensor, image: Tensor, *, sigma_xy: float, sigma_intensity: float, reduction: int) -> Tensor:
    """Mean over all pairs of pixels (i, j) of k_ij (1 - p_i · p_j), that is Σ_c p_c' K (1 - p_c) over their number.

    k_ij = exp(-½ (distance² / sigma_xy² + |I_i - I_j|² / sigma_intensity²)), the squared intensities summed over the
    image's channels. A pixel is a pair with itself, too. Computed in float32 (float64 where that is given), with the
    exact gradient of what is computed, 2 K Σ_{d≠c} p_d in p_c, and none in the image.

    One channel: within 3e-4 of the largest kernel, in time linear in the number of pixels; a contrast finer than the
    40th part of an image's range (:data:`FINEST`) is not told apart: sigma_intensity is that part at least. Several
    channels: all pairs are formed, in blocks; 16 times as fast at twice the reduction.

    Source: Tang et al., arXiv:1803.09569; the reduced grid as in https://github.com/meng-tang/rloss/tree/e0ea018, where
    the sum over pairs, less the constant Σ k_ij, comes from a permutohedral lattice.

    Args:
        probs: ``(n, c, *space)``, of sum 1 over classes.
        image: ``(n, channels, *space)``; sigma_intensity is in its units.
        sigma_xy: in pixels of the image.
        reduction: pixels per axis that are one: the mean of their probabilities, the first of their intensities.
    """
    wide = torch.promote_types(probs.dtype, torch.float32)
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[probs.ndim - 3]
    block = tuple(min(reduction, side) for side in probs.shape[2:])
    with torch.autocast(probs.device.type, enabled=False):
        coarse = pool(probs.to(wide), block, ceil_mode=True)  # the last pixels of an odd side are a smaller mean
        first: tuple[Any, ...] = (..., *(slice(None, None, reduction),) * (image.ndim - 2))
        return _Disagreement.apply(coarse, image[first].to(wide), sigma_xy / reduction, sigma_intensity)


class _Disagreement(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probs: Tensor, image: Tensor, sigma_xy: float, sigma_intensity: float) -> Tensor:
        weighed = _by_features if image.shape[1] == 1 else _by_pairs
        pull = weighed(probs, image, sigma_xy, sigma_intensity)
        push = pull.sum(dim=1, keepdim=True) - pull  # of all other classes
        ctx.pairs = len(probs) * probs[0, 0].numel() ** 2
        ctx.save_for_backward(push)
        return (push * probs).sum() / ctx.pairs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (push,) = ctx.saved_tensors
        return push * (2 / ctx.pairs * gradient), None, None, None


def _by_features(probs: Tensor, image: Tensor, sigma_xy: float, sigma_intensity: float) -> Tensor:
    """Σ_j k_ij p_j of every pixel i, of images of one channel, through the grid of all t."""
    n, classes, *rows, side = probs.shape
    levels = _of_intensity(image, sigma_intensity).view(-1, side, LEVELS)
    across, *along = (_of_place(length, sigma_xy, probs) for length in (side, *rows))
    kinds = classes * across.shape[1]
    grid = (probs.movedim(1, -2).unsqueeze(-2) * across.T).reshape(-1, kinds, side) @ levels
    before = n
    for features in along:
        grid = features.T @ grid.reshape(before, len(features), -1)
        before *= features.shape[1]
    for features in reversed(along):
        before //= features.shape[1]
        grid = features @ grid.reshape(before, features.shape[1], -1)
    read = grid.reshape(-1, kinds, LEVELS) @ levels.transpose(1, 2)
    read = read.view(n, *rows, classes, -1, side)
    return (read * across.T).sum(dim=-2).movedim(-2, 1)


def _by_pairs(probs: Tensor, image: Tensor, sigma_xy: float, sigma_intensity: float) -> Tensor:
    """The same of images of any number of channels, from all kernels, some rows of them at a time."""
    axes = (torch.arange(length, device=probs.device, dtype=probs.dtype) for length in probs.shape[2:])
    places = torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(len(image), *(-1,) * (probs.ndim - 1))
    found = torch.cat([places / sigma_xy, image / sigma_intensity], dim=1).flatten(2)
    found = found - found.mean(dim=2, keepdim=True)  # squares of small numbers are better known
    half = -0.5 * found.square().sum(dim=1, keepdim=True)
    one = torch.ones_like(half)
    # f_i · f_j - ½ |f_i|² - ½ |f_j|² is one product of vectors
    here, there = torch.cat([found, half, one], dim=1).transpose(1, 2), torch.cat([found, one, half], dim=1)
    flat = probs.flatten(2).transpose(1, 2)
    rows = max(1, _MOST_KERNELS // (len(probs) * flat.shape[1]))
    pulls = [(part @ there).clamp_min_(_NOTHING).exp_() @ flat for part in here.split(rows, dim=1)]
    return torch.cat(pulls, dim=1).transpose(1, 2).reshape(probs.shape)


def _of_place(length: int, sigma: float, like: Tensor) -> Tensor:
    """Features ``(length, points)`` of the positions 0, 1, 2, ... of one axis."""
    breadth = length - 1 + 2 * _MARGIN * sigma
    points = math.ceil(breadth / (_APART * sigma)) + 1
    step = breadth / (points - 1)
    places, grid = (torch.arange(count, dtype=like.dtype, device=like.device) for count in (length, points))
    away = places[:, None] - (step * grid - _MARGIN * sigma)
    return (-((away / sigma) ** 2)).clamp_min(_NOTHING).exp() * math.sqrt(step / sigma * math.sqrt(2 / math.pi))


def _of_intensity(image: Tensor, sigma: float) -> Tensor:
    """Features ``(n, 1, *space, LEVELS)`` of intensities; how many there are must not depend on values on a device."""
    axes = tuple(range(1, image.ndim))
    low, high = image.amin(dim=axes, keepdim=True), image.amax(dim=axes, keepdim=True)
    scale = ((high - low) / FINEST).clamp_min(sigma)
    step = (high - low + 2 * _MARGIN * scale) / (LEVELS - 1)
    points = torch.arange(LEVELS, dtype=image.dtype, device=image.device)
    # in scales: (value - low) / scale + margin is how far a value is from the first point
    away = ((image - low) / scale + _MARGIN).unsqueeze(-1) - (step / scale).unsqueeze(-1) * points
    height = (step / scale * math.sqrt(2 / math.pi)).sqrt().unsqueeze(-1)
    return away.square_().neg_().clamp_min_(_NOTHING).exp_().mul_(height)
