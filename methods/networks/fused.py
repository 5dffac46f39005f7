"""Batch normalisation, activation and dropout in one go where that pays: in training, on one thread of a CPU.

One after the other, PyTorch's own read and write a map six times on the way forth and as often on the way back, and on
a CPU memory is what these layers wait for; drawing the zeros of dropout, one by one, takes longer still. Together they
read it twice and write it once each way, and zeros are computed from a place and a seed whenever they are needed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import _get_current_dispatch_mode

LANES = 64
"""A row of numbers should be so long that the processor's vectors are full."""

_MOST = 2**32
"""Numbers of a map whose places differ in 32 bits."""


def activated(maps: Tensor, norm: nn.Module, activation: nn.Module, dropout: nn.Module | None = None) -> Tensor:
    """``dropout(activation(norm(maps)))``, with one rounding instead of three in bfloat16, or as these modules do it.

    Args:
        maps: ``(n, channels, *space)``.
        norm: any; batch normalisation in training mode may go together with what follows.
        activation: ``nn.ReLU`` or ``nn.LeakyReLU``.
        dropout: ``nn.Dropout``; None = none. Zeros are drawn anew by every call, from a seed of torch's generator.
    """
    if isinstance(norm, _BatchNorm) and norm.training and _fits(maps, norm):
        slope = getattr(activation, "negative_slope", 0.0)
        share = dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0
        if share < 1:
            return _Activated.apply(maps, norm.weight, norm.bias, norm, slope, share)
    found = activation(norm(maps))
    return found if dropout is None else dropout(found)


def joined(*maps: Tensor) -> Tensor:
    """``torch.cat(maps, dim=1)``; on a CPU each gets its part of the gradient as a map of its own.

    PyTorch's own hands out windows into the gradient of the whole, and adding one of those to another gradient of a
    skip connection takes seven times as long as adding two maps.
    """
    if all(each.device.type == "cpu" and each.is_contiguous(memory_format=channels_last(each)) for each in maps):
        return _Joined.apply(*maps)
    return torch.cat(maps, dim=1)


def joined_corners(skip: Tensor, corners: Tensor) -> Tensor | None:
    """A skip connection beside what was raised to its size, without that being laid out as a map first.

    Args:
        skip: ``(n, channels, height, width)``.
        corners: ``(n, height / 2, width / 2, 4 * channels_2)``: of each position, the four that it becomes, by rows.

    Returns:
        ``(n, channels + channels_2, height, width)``, or None where the compiled loops cannot take it.
    """
    fits = skip.device.type == "cpu" and skip.dtype == corners.dtype == torch.bfloat16 and skip.ndim == 4
    fits = fits and skip.is_contiguous(memory_format=torch.channels_last) and corners.is_contiguous()
    fits = fits and tuple(skip.shape[2:]) == (2 * corners.shape[1], 2 * corners.shape[2])
    return _JoinedCorners.apply(skip, corners) if fits and _compiled() is not None else None


def channels_last(maps: Tensor) -> torch.memory_format:
    """The layout of images, or of volumes, with the channels innermost."""
    return torch.channels_last_3d if maps.ndim == 5 else torch.channels_last


def watched() -> bool:
    """Whether something looks at every operation, to count them, say: those are to be PyTorch's own, then."""
    return _get_current_dispatch_mode() is not None


def _fits(maps: Tensor, norm: _BatchNorm) -> bool:
    """Whether the compiled loops can take it."""
    if maps.device.type != "cpu" or maps.dtype not in (torch.float32, torch.bfloat16) or torch.get_num_threads() != 1:
        return False
    return (
        norm.affine
        and norm.momentum is not None
        and norm.running_mean is not None
        and norm.weight.dtype == torch.float32
        and maps.ndim in (4, 5)
        and maps.shape[1] < maps.numel() < _MOST
        and maps.is_contiguous(memory_format=channels_last(maps))
        and not watched()
        and _compiled() is not None
    )


@cache
def _compiled() -> Any:
    try:
        from . import kernels
    except (ImportError, OSError):  # no numba, or one that does not fit NumPy: PyTorch's own, then
        return None
    return kernels


class _Activated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, norm: _BatchNorm, slope: float, share: float
    ) -> Tensor:
        found, rest = torch.empty_like(maps), (np.float32(slope), *_drops(share))
        parts: tuple[Any, ...] = (weight, bias, norm.running_mean, norm.running_var)
        arrays = _rows(maps), _rows(found), *(part.detach().numpy() for part in parts)
        kept = _compiled().normalise_and_activate(*arrays, norm.momentum, norm.eps, *rest)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked += 1
        ctx.save_for_backward(maps)
        ctx.kept, ctx.rest = kept, rest
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        (maps,) = ctx.saved_tensors
        gradient = gradient.to(maps.dtype).contiguous(memory_format=channels_last(maps))
        found, of_weight, of_bias = torch.empty_like(maps), *torch.empty(2, maps.shape[1])
        arrays = _rows(maps), _rows(gradient), _rows(found), *ctx.kept, of_weight.numpy(), of_bias.numpy()
        _compiled().gradients(*arrays, *ctx.rest)
        return found, of_weight, of_bias, None, None, None


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *maps: Tensor) -> Tensor:
        ctx.channels = [each.shape[1] for each in maps]
        return torch.cat(maps, dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        parts = gradient.split(ctx.channels, dim=1)
        return tuple(part.contiguous(memory_format=channels_last(part)) for part in parts)


class _JoinedCorners(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, skip: Tensor, corners: Tensor) -> Tensor:
        count, channels, height, width = skip.shape
        ctx.shapes = skip.shape, corners.shape
        found = skip.new_empty(count, height, width, channels + corners.shape[-1] // 4)
        _compiled().join(_bits(skip.detach().movedim(1, -1)), _bits(_by_corner(corners.detach())), _bits(found))
        return found.movedim(-1, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        (count, channels, height, width), of_corners = ctx.shapes
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        skip, corners = gradient.new_empty(count, height, width, channels), gradient.new_empty(of_corners)
        _compiled().part(_bits(gradient.movedim(1, -1)), _bits(skip), _bits(_by_corner(corners)))
        return skip.movedim(-1, 1), corners


def _by_corner(corners: Tensor) -> Tensor:
    return corners.unflatten(-1, (2, 2, -1))


def _bits(maps: Tensor) -> Any:
    """A contiguous bfloat16 tensor as uint16."""
    return maps.view(torch.int16).numpy().view(np.uint16)


def _rows(maps: Tensor) -> Any:
    """A channels-last map as the compiled loops see it: ``(rows, lanes)``, of float32 or, bfloat16, uint16."""
    channels, times = maps.shape[1], 1
    while channels * times < LANES and maps.numel() // channels % (2 * times) == 0:
        times *= 2
    flat = maps.detach().permute(0, *range(2, maps.ndim), 1).view(-1, channels * times)
    return _bits(flat) if maps.dtype == torch.bfloat16 else flat.numpy()


def _drops(share: float) -> tuple[Any, Any, Any]:
    """Seeds, the share that is dropped in 32 bits, and what the others are multiplied by; no seeds = nothing."""
    if not share:
        return None, np.uint32(0), np.float32(1)
    seeds = torch.randint(2**32, (2,)).numpy().astype(np.uint32)
    return seeds, np.uint32(round(share * 2**32)), np.float32(1 / (1 - share))
