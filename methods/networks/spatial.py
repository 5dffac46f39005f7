"""Max-pooling, and skip connections beside what is raised to their size, with as few passes over maps as there can be.

On a CPU memory is what these wait for; PyTorch's own lays every part out as a map of its own first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..along import interpolation
from ..compiled import TYPES, channels_last, loops, numbers, takes, watched

_compiled = partial(loops, "pictures")

_ENOUGH_CHANNELS = 32
"""From so many on, PyTorch's own interpolation is as fast."""
_MANY_NEIGHBOURS = 2**22
"""Most numbers that are laid out for a convolution: 8 MiB in bfloat16."""
_SHORT_ROW = 512
"""Numbers of a row of positions with their channels, up to which one product takes all of it."""


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


def convolved_as_product(maps: Tensor, layer: nn.Conv3d) -> Tensor | None:
    """``layer(maps)`` of kernel 3 as one matrix product of every position's 27 neighbours, where these are not many.

    oneDNN takes several times as long for the smallest volumes of a network, for which weights are most of the work.

    Args:
        maps: ``(n, channels, *space)`` of a CPU.

    Returns:
        None where it is another convolution, or the neighbours would take much memory.
    """
    plain = layer.kernel_size == (3, 3, 3) and layer.stride == layer.padding == layer.dilation == (1, 1, 1)
    if not plain or layer.groups > 1 or 27 * maps.numel() > _MANY_NEIGHBOURS or watched():
        return None
    rows = maps.movedim(1, -1)
    near = _Neighbours.apply(rows.reshape(-1, maps.shape[1]), _places(len(maps), tuple(maps.shape[2:])))
    found = F.linear(near, layer.weight.movedim(1, -1).flatten(1), layer.bias)
    return found.view(*rows.shape[:-1], layer.out_channels).movedim(-1, 1)


def pooled(maps: Tensor, pool: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """``pool(maps)``, and ``maps`` for other uses; their gradients are added while that of pooling is written.

    Args:
        maps: ``(n, channels, *space)``.
        pool: max-pooling of kernel and stride 2.
    """
    even = not any(side % 2 for side in maps.shape[2:])
    if not (even and takes(maps) and _compiled() is not None):
        return pool(maps), maps
    if not (maps.requires_grad and torch.is_grad_enabled()):
        return _largest(maps)[0], maps
    found: tuple[Tensor, Tensor] = _Pooled.apply(maps)
    return found


def interpolated(maps: Tensor, space: Sequence[int], *, align_corners: bool) -> Tensor:
    """Linear interpolation to ``space``; of few channels on a CPU as matrix products, with a rounding per axis.

    PyTorch's own is vectorised over channels there, and of three takes thirty times as long.

    Args:
        maps: ``(n, channels, *sides)``.
        space: as many sides.
        align_corners: whether the outermost positions keep their place, or the outermost edges.
    """
    last = maps.is_contiguous(memory_format=channels_last(maps))  # what is found is, too
    few = maps.shape[1] < _ENOUGH_CHANNELS and maps.dtype in TYPES
    if last and few and maps.device.type == "cpu" and not watched():
        with torch.autocast("cpu", enabled=False):
            return _by_products(maps, tuple(space), align_corners)
    return F.interpolate(
        maps, size=tuple(space), mode=("bilinear", "trilinear")[maps.ndim - 4], align_corners=align_corners
    )


def _by_products(maps: Tensor, space: tuple[int, ...], align_corners: bool) -> Tensor:
    found = maps.movedim(1, -1)
    for axis, target in enumerate(space, start=1):
        before, side, after = found.shape[:axis], found.shape[axis], found.shape[axis + 1 :]
        inner = after.numel()
        matrix = _weights(side, target, align_corners).to(maps.dtype)
        if axis == len(space) and target * inner <= _SHORT_ROW:
            matrix = torch.kron(matrix, torch.eye(inner, dtype=maps.dtype))
            found = F.linear(found.reshape(-1, side * inner), matrix)
        else:
            found = matrix @ found.reshape(-1, side, inner)
        found = found.view(*before, target, *after)
    return found.movedim(-1, 1)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept may be saved for a backward pass
def _weights(side: int, target: int, align_corners: bool) -> Tensor:
    # a copy: of one column, what is contiguous already has strides that torch.kron does not take
    return interpolation(side, target, align_corners=align_corners).clone(memory_format=torch.contiguous_format)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept may be saved for a backward pass
def _places(count: int, space: tuple[int, ...]) -> Tensor:
    """The flat positions of all 27 neighbours of every position, one after the other; outside = one past the last."""
    positions = count * math.prod(space)
    padded = F.pad(torch.arange(positions).view(count, *space), [1, 1] * 3, value=positions)
    return padded.unfold(1, 3, 1).unfold(2, 3, 1).unfold(3, 3, 1).reshape(-1)


class _Neighbours(torch.autograd.Function):
    """Rows ``(positions * 27, channels)`` of rows ``(positions, channels)``, given as a matrix of 27 to a row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        nothing_outside = torch.cat((rows, rows.new_zeros(1, rows.shape[1])))
        return nothing_outside.index_select(0, places).view(len(rows), -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        each = gradient.reshape(len(places), -1)
        found = each.new_zeros(len(gradient) + 1, each.shape[1], dtype=torch.float32)
        return found.index_add_(0, places, each.float())[:-1].to(gradient.dtype), None


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
        ctx.set_materialize_grads(False)
        found, ctx.codes = _largest(maps)
        ctx.space = maps.shape[2:]
        return found, maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_pooled: Tensor | None, of_maps: Tensor | None) -> Tensor | None:
        if of_pooled is None:
            return of_maps
        found = of_pooled.new_empty(len(of_pooled), *ctx.space, of_pooled.shape[1]).movedim(-1, 1)
        pooled, others = (None if each is None else _planes(_last(each)) for each in (of_pooled, of_maps))
        _compiled().gradient_of_pool(ctx.codes, pooled, others, _planes(found))
        return found


def _largest(maps: Tensor) -> tuple[Tensor, Any]:
    """What is pooled, and which of four or eight neighbours it was."""
    space = [side // 2 for side in maps.shape[2:]]
    found = maps.new_empty(len(maps), *space, maps.shape[1]).movedim(-1, 1)
    codes = np.empty(_planes(found).shape, np.uint8)
    _compiled().pool(_planes(maps.detach()), _planes(found), codes)
    return found, codes


def _last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=channels_last(maps))


def _planes(maps: Tensor) -> Any:
    """Channels-last maps as the loops see them: an image is one plane."""
    rows = maps.movedim(1, -1)
    return numbers(rows if maps.ndim == 5 else rows.unsqueeze(1))


def _by_corner(corners: Tensor) -> Tensor:
    return corners.unflatten(-1, (2, 2, -1))
