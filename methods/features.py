"""What methods read off a network beside its logits: its last map before dropout, and vectors made of it.

Of vectors the direction counts. On one thread of a CPU compiled loops read it off them in one pass (``compiled``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .compiled import flat, loops, numbers, takes, takes_any
from .networks.apart import passes
from .networks.base import SegmentationNetwork

_LEAST = 1e-12
"""Lengths below it count as it."""

_BLOCK = 32768
"""Vectors that are projected at a time on a CPU."""

_compiled = partial(loops, "directions")


def with_last_map(network: SegmentationNetwork, image: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the decoder's last map as it is before its dropout; where it has none, what the head sees.

    After dropout of whole channels, two pixels differ by what was dropped more than by what they are.
    """
    (logits,), (last,) = with_last_maps(network, image)
    return logits, last


def with_last_maps(network: SegmentationNetwork, *batches: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """:func:`with_last_map` of several batches, in one pass where that pays (see ``networks.apart``)."""
    seen: list[Tensor] = []
    last = getattr(network.decoder, "dropout", network.head)
    handle = last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        logits = passes(network, *batches)
    finally:
        handle.remove()
    return logits, seen if len(seen) == len(batches) else seen[0].split([len(batch) for batch in batches])


def cosines(vectors: Tensor, units: Tensor, where: Tensor | None = None) -> Tensor:
    """Cosines ``(n, c, v)`` of vectors ``(n, v, d)``, of any length, to unit vectors ``(c, d)``; without gradient.

    ``where`` ``(n, v)``: the vectors that count, if not all; of the others it may be 0.
    """
    vectors, units = vectors.detach(), units.detach()
    if not _fits(vectors, units):
        vectors = _not_in_bfloat16(vectors)
        return units @ vectors.transpose(1, 2) / _lengths(vectors).unsqueeze(1)
    found = torch.zeros(len(vectors), len(units), vectors.shape[1])
    counts = torch.ones(vectors.shape[:2], dtype=torch.bool) if where is None else where
    _compiled().cosines(numbers(vectors), numbers(units), np.float32(_LEAST), counts.numpy(), numbers(found))
    return found


def directions_sum(weight: Tensor, vectors: Tensor) -> Tensor:
    """Weighted sums ``(n, c, d)`` of the unit vectors along ``vectors`` ``(n, v, d)``, which are never made.

    Args:
        weight: ``(n, c, v)``, without gradient.
        vectors: of any length.
    """
    weight = weight.detach()
    if _fits(vectors, weight):
        found: Tensor = _DirectionsSum.apply(weight, vectors)
        return found
    vectors = _not_in_bfloat16(vectors)
    return (weight / _lengths(vectors).unsqueeze(1)) @ vectors


class _DirectionsSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, vectors: Tensor) -> Tensor:
        total = np.zeros((*weight.shape[:2], vectors.shape[2]))
        _compiled().sums_of_directions(numbers(weight), numbers(vectors.detach()), np.float32(_LEAST), total)
        ctx.save_for_backward(weight, vectors)
        return torch.from_numpy(total.astype(np.float32))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        weight, vectors = ctx.saved_tensors
        found = torch.empty_like(vectors)
        arrays = (numbers(each) for each in (gradient.contiguous(), found))
        _compiled().gradient_of_directions(numbers(weight), numbers(vectors.detach()), np.float32(_LEAST), *arrays)
        return None, found


def _fits(vectors: Tensor, others: Tensor) -> bool:
    """Whether the compiled loops can take them."""
    contiguous = vectors.is_contiguous() and others.is_contiguous()
    return contiguous and others.dtype == torch.float32 and takes_any(vectors) and _compiled() is not None


def _lengths(vectors: Tensor) -> Tensor:
    """``(n, v)`` of ``(n, v, d)``; never 0, so that what is divided by it is finite."""
    return torch.linalg.vector_norm(vectors, dim=-1).clamp_min(_LEAST)


def _not_in_bfloat16(vectors: Tensor) -> Tensor:
    return vectors.float() if vectors.dtype == torch.bfloat16 else vectors


class _Projected(torch.autograd.Function):
    """Two products with a ReLU between, block by block, so that what lies between them never leaves the cache."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, first: Tensor, second: Tensor) -> Tensor:
        ctx.save_for_backward(vectors, first, second)
        first, second = first.to(vectors.dtype), second.to(vectors.dtype)
        found = vectors.new_empty(*vectors.shape[:2], len(second))
        for some, target in zip(*(each.flatten(0, 1).split(_BLOCK) for each in (vectors, found)), strict=True):
            torch.mm(_positive_(F.linear(some, first)), second.T, out=target)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        vectors, *weights = ctx.saved_tensors
        first, second = (weight.to(vectors.dtype) for weight in weights)
        found, of_first, of_second = torch.empty_like(vectors), *map(torch.zeros_like, weights)
        blocks = (each.flatten(0, 1).split(_BLOCK) for each in (vectors, gradient.to(vectors.dtype), found))
        for some, arriving, target in zip(*blocks, strict=True):
            between = _positive_(F.linear(some, first))
            of_second += arriving.T @ between
            before = _where_positive_(torch.mm(arriving, second), between)
            of_first += before.T @ some
            torch.mm(before, first, out=target)
        return found, of_first, of_second


def _positive_(maps: Tensor) -> Tensor:
    """ReLU in place; PyTorch's own goes from bfloat16 to float32 and back. Either is below 0 as a whole number, too."""
    maps.view(torch.int16 if maps.dtype == torch.bfloat16 else torch.int32).clamp_min_(0)
    return maps


def _where_positive_(gradient: Tensor, result: Tensor) -> Tensor:
    """The gradient of :func:`_positive_`, in place."""
    if _compiled() is None:
        return torch.ops.aten.threshold_backward(gradient, result, 0)
    _compiled().where_positive(flat(result), flat(gradient))
    return gradient


class _Pixels(torch.autograd.Function):
    """Vectors of single pixels of maps; a gather's gradient would be added up number by number."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows, ctx.dtype = rows.shape, rows.dtype
        return rows.gather(1, index.unsqueeze(2).expand(-1, -1, rows.shape[2])).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        sample = torch.arange(len(index), device=index.device).unsqueeze(1)
        found = gradient.new_zeros(ctx.rows, dtype=ctx.dtype)
        return found.index_put_((sample, index), gradient.to(ctx.dtype), accumulate=True), None


class Projection(nn.Module):
    """Vectors of single pixels, of which the direction counts: two layers of ``width`` channels that see one pixel.

    The layers are matrix products, which on a CPU take a fraction of the time of convolutions with a kernel of 1.
    Without biases, which would be a common direction of all vectors and make them alike before any training.

    Args:
        channels: of the maps.
        width: length of the vectors.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        first, second = nn.Conv1d(channels, width, 1, bias=False), nn.Conv1d(width, width, 1, bias=False)
        self.layers = nn.Sequential(first, nn.ReLU(inplace=True), second)

    def forward(self, maps: Tensor) -> Tensor:
        """``(n, v, width)`` of ``(n, channels, *space)``, pixels in raster order; of any length, of the maps' type."""
        first, second = (weight.squeeze(2) for weight in self.parameters())
        rows = maps.movedim(1, -1).flatten(1, -2)
        if takes(maps):
            found: Tensor = _Projected.apply(rows, first, second)
            return found
        first, second = first.to(maps.dtype), second.to(maps.dtype)
        return F.linear(F.relu(F.linear(rows, first), inplace=True), second)

    def at(self, maps: Tensor, index: Tensor) -> Tensor:
        """``(n, k, width)`` float32 at flat positions ``(n, k)``: what :meth:`forward` gives of these pixels alone."""
        rows = maps.movedim(1, -1).flatten(1, -2)
        if takes(maps):
            chosen: Tensor = _Pixels.apply(rows, index)
        else:
            chosen = rows.gather(1, index.unsqueeze(2).expand(-1, -1, rows.shape[2])).float()
        return self(chosen.transpose(1, 2))

    @torch.no_grad()
    def cosines(self, maps: Tensor, units: Tensor, where: Tensor) -> Tensor:
        """``(n, c, v)`` :func:`cosines` of what :meth:`forward` gives, for the pixels in ``where`` ``(n, v)``.

        On a CPU pixels that do not count are not projected; on a GPU, the host would have to wait to leave them out.
        """
        if not takes(maps):
            return cosines(self(maps), units)
        rows = maps.movedim(1, -1).flatten(0, -2)
        place = where.flatten().nonzero().squeeze(1)
        found = torch.zeros(len(units), where.numel())
        found[:, place] = cosines(self(rows[place].T.unsqueeze(0)), units).squeeze(0)
        return found.view(len(units), *where.shape).transpose(0, 1)
