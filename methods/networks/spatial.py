"""Max-pooling, and skip connections beside what is raised to their size, with as few passes over maps as there can be.

On a CPU memory is what these wait for; PyTorch's own lays every part out as a map of its own first.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..compiled import channels_last, loops, numbers, takes

_compiled = partial(loops, "pictures")


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
    fits = takes(skip) and skip.dtype == corners.dtype and corners.is_contiguous()
    fits = fits and tuple(skip.shape[2:]) == tuple(2 * side for side in corners.shape[1:3])
    return _JoinedCorners.apply(skip, corners) if fits and _compiled() is not None else None


def pooled(maps: Tensor, pool: nn.Module) -> tuple[Tensor, Tensor]:
    """``pool(maps)``, and ``maps`` for other uses; their gradients are added while that of pooling is written.

    Args:
        maps: ``(n, channels, *space)``.
        pool: max-pooling of kernel and stride 2.
    """
    even = maps.ndim == 4 and not any(side % 2 for side in maps.shape[2:])
    if not (even and takes(maps) and _compiled() is not None):
        return pool(maps), maps
    if not (maps.requires_grad and torch.is_grad_enabled()):
        return _largest(maps)[0], maps
    found: tuple[Tensor, Tensor] = _Pooled.apply(maps)
    return found


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
        _compiled().join(numbers(skip.detach().movedim(1, -1)), numbers(_by_corner(corners.detach())), numbers(found))
        return found.movedim(-1, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        (count, channels, height, width), of_corners = ctx.shapes
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        skip, corners = gradient.new_empty(count, height, width, channels), gradient.new_empty(of_corners)
        _compiled().part(numbers(gradient.movedim(1, -1)), numbers(skip), numbers(_by_corner(corners)))
        return skip.movedim(-1, 1), corners


class _Pooled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> tuple[Tensor, Tensor]:
        found, ctx.codes = _largest(maps)
        return found, maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_pooled: Tensor, of_maps: Tensor) -> Tensor:
        arriving = of_pooled, of_maps
        pooled, others = (each.contiguous(memory_format=torch.channels_last).movedim(1, -1) for each in arriving)
        found = torch.empty_like(others)
        _compiled().gradient_of_pool(ctx.codes, *(numbers(each) for each in (pooled, others, found)))
        return found.movedim(-1, 1)


def _largest(maps: Tensor) -> tuple[Tensor, Any]:
    """What is pooled, and which of four neighbours it was."""
    count, channels, height, width = maps.shape
    found = maps.new_empty(count, height // 2, width // 2, channels)
    codes = np.empty(found.shape, np.uint8)
    _compiled().pool(numbers(maps.detach().movedim(1, -1)), numbers(found), codes)
    return found.movedim(-1, 1), codes


def _by_corner(corners: Tensor) -> Tensor:
    return corners.unflatten(-1, (2, 2, -1))
