"""Disagreement of neighbouring pixels that look alike: the pairwise term of a conditional random field."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..compiled import loops, takes_any

_compiled = partial(loops, "pairs")

_LEAST_KERNEL = 1e-3
"""Of the nearest neighbour: below it, the term has no gradient that is worth the name."""


def gated_crf(probs: Tensor, image: Tensor, *, radius: int, sigma_xy: float, sigma_intensity: float) -> Tensor:
    """Mean over pixels i of Σ_j k_ij (1 - p_i · p_j), over the other pixels j of a window of side 2 · radius + 1.

    k_ij = exp(-½ (distance² / sigma_xy² + |I_i - I_j|² / sigma_intensity²)), the squared intensities summed over the
    image's channels. Neighbours outside the image do not count. Computed in float32 (float64 where that is given).

    The kernel is symmetric, so one pass over half of the window gives the loss and its exact gradient in the
    probabilities, -2/n Σ_j k_ij p_j, with three maps of memory and none per neighbour. No gradient in the image. On one
    thread of a CPU a compiled loop makes this pass (``compiled``).

    Source: Obukhov et al., arXiv:1906.04651, without gates, as in WSL4MIS.

    Args:
        probs: ``(n, c, *space)``.
        image: ``(n, channels, *space)``; sigma_intensity is in its units.
        radius: in pixels; 60 neighbours of half the window in 2-D at 5, 665 in 3-D.

    Raises:
        ValueError: ``sigma_xy`` is so small that no neighbour counts.
    """
    if math.exp(-0.5 / sigma_xy**2) < _LEAST_KERNEL:
        raise ValueError(f"sigma_xy = {sigma_xy:g} pixels leaves the nearest neighbour no weight; take 0.3 or more")
    wide = torch.promote_types(probs.dtype, torch.float32)
    return _Disagreement.apply(probs.to(wide), image.to(wide), radius, sigma_xy, sigma_intensity)


def padding_constant(image: Tensor, *, radius: int, sigma_xy: float, sigma_intensity: float) -> Tensor:
    """What the released code adds to :func:`gated_crf`, a constant in the probabilities.

    It pads with zeros, so a neighbour outside the image is a black pixel at the coordinates of the first corner, of no
    class: it disagrees with every pixel near that corner.

    Source: https://github.com/HiLab-git/WSL4MIS/tree/a594da8, on the original's
    https://github.com/LEONOB2014/GatedCRFLoss.
    """
    image = image.float()
    square = [torch.arange(side, dtype=image.dtype, device=image.device).square() for side in image.shape[2:]]
    distance = sum(torch.meshgrid(*square, indexing="ij"))
    kernel = torch.exp(-0.5 * (distance / sigma_xy**2 + image.square().sum(dim=1) / sigma_intensity**2))
    side = 2 * radius + 1
    pool = (F.avg_pool2d, F.avg_pool3d)[image.ndim - 4]
    inside = pool(torch.ones_like(kernel), side, stride=1, padding=radius, divisor_override=1)
    return ((side ** (image.ndim - 2) - inside) * kernel).mean()


class _Disagreement(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probs: Tensor, image: Tensor, radius: int, sigma_xy: float, sigma_intensity: float) -> Tensor:
        pulled = _pulled_by_loops if _fits(probs, image) else _pulled
        pull, disagreement = pulled(probs, image, radius, sigma_xy, sigma_intensity)
        ctx.pixels = probs.numel() // probs.shape[1]
        ctx.save_for_backward(pull)
        return disagreement / ctx.pixels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (pull,) = ctx.saved_tensors
        return pull * (-2 / ctx.pixels * gradient), None, None, None, None


def _fits(probs: Tensor, image: Tensor) -> bool:
    """Whether the compiled loop can take them."""
    alike = probs.dtype == torch.float32 and probs.ndim in (4, 5) and probs[:, 0].shape == image[:, 0].shape
    return alike and takes_any(probs) and _compiled() is not None


def _pulled(
    probs: Tensor, image: Tensor, radius: int, sigma_xy: float, sigma_intensity: float
) -> tuple[Tensor, Tensor]:
    """Σ_j k_ij p_j of every pixel i, and the sum over all pairs of k_ij (1 - p_i · p_j)."""
    probs = probs.contiguous()
    pull = torch.zeros_like(probs)
    kernels = probs.new_zeros(())
    for squared, here, there in _half_window(probs.shape[2:], radius):
        contrast = (image[here] - image[there]).square().sum(dim=1, keepdim=True)
        kernel = contrast.mul_(-0.5 / sigma_intensity**2).sub_(0.5 * squared / sigma_xy**2).exp_()
        kernels += 2 * kernel.sum()
        pull[here].addcmul_(kernel, probs[there])
        pull[there].addcmul_(kernel, probs[here])
    return pull, kernels - (pull * probs).sum()


def _pulled_by_loops(
    probs: Tensor, image: Tensor, radius: int, sigma_xy: float, sigma_intensity: float
) -> tuple[Tensor, Tensor]:
    """:func:`_pulled` of float32 images and volumes on a CPU."""
    *rows, side = probs.shape[2:]
    margin = min(radius, side - 1)
    given = [_with_margins(maps, margin) for maps in (probs, image, torch.ones_like(probs[:1, :1]))]
    space = (*(1,) * (2 - len(rows)), *rows, side + margin)
    by = np.float32(-0.5 / sigma_xy**2), np.float32(-0.5 / sigma_intensity**2)
    pull = torch.zeros_like(given[0])
    flat, seen, inside = (maps.numpy() for maps in given)
    kernels = _compiled().pull_of_neighbours(flat, seen, inside[0, 0], space, margin, radius, by, pull.numpy())
    return _rows(pull, probs.shape[2:], margin).contiguous(), kernels - (pull * given[0]).sum()


def _with_margins(maps: Tensor, margin: int) -> Tensor:
    """Flat maps ``(n, channels, pixels)``, with zeros after every row and once more after the last."""
    *rows, side = maps.shape[2:]
    found = maps.new_zeros(*maps.shape[:2], math.prod(rows) * (side + margin) + margin)
    _rows(found, maps.shape[2:], margin).copy_(maps)
    return found


def _rows(flat: Tensor, space: torch.Size, margin: int) -> Tensor:
    """The maps that :func:`_with_margins` was given, of this memory."""
    *rows, side = space
    return flat[..., : flat.shape[2] - margin].unflatten(2, (*rows, side + margin))[..., :side]


def _half_window(space: torch.Size, radius: int) -> Iterator[tuple[int, tuple[Any, ...], tuple[Any, ...]]]:
    """Squared distance and slices of both ends of every offset that comes after its opposite and fits the image."""
    for offset in itertools.product(range(-radius, radius + 1), repeat=len(space)):
        steps = list(zip(offset, space, strict=True))
        if offset > (0,) * len(space) and all(abs(d) < side for d, side in steps):
            here = (slice(max(0, -d), side - max(0, d)) for d, side in steps)
            there = (slice(max(0, d), side - max(0, -d)) for d, side in steps)
            yield sum(d * d for d in offset), (..., *here), (..., *there)
