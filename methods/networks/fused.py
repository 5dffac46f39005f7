"""Batch normalisation, activation and dropout in one go where that pays: in training, on one thread of a CPU.

One after the other, PyTorch's own read and write a map six times on the way forth and as often on the way back, and on
a CPU memory is what these layers wait for; drawing the zeros of dropout, one by one, takes longer still. Together they
read it twice and write it once each way, and zeros are computed from a place and a seed whenever they are needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from ..compiled import channels_last, loops, numbers, takes
from .apart import parts

LANES = 64
"""A row of numbers should be so long that the processor's vectors are full."""

_MOST = 2**32
"""Numbers of a map whose places differ in 32 bits."""

_compiled = partial(loops, "activation")


def activated(maps: Tensor, norm: nn.Module, activation: nn.Module, dropout: nn.Module | None = None) -> Tensor:
    """``dropout(activation(norm(maps)))``, with one rounding instead of three in bfloat16, or as these modules do it.

    Args:
        maps: ``(n, channels, *space)``.
        norm: any; batch normalisation in training mode may go together with what follows.
        activation: ``nn.ReLU`` or ``nn.LeakyReLU``.
        dropout: ``nn.Dropout``; None = none. Zeros are drawn anew by every call, from a seed of torch's generator.
    """
    share = dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0
    if isinstance(norm, _BatchNorm) and _fits(maps, norm):
        if norm.training and share < 1:
            if not (torch.is_grad_enabled() and (maps.requires_grad or norm.weight.requires_grad)):
                return _forth(maps, norm, _slope(activation), share)[
                    0
                ]  # autograd's own part takes as long as a small map
            return _Activated.apply(maps, norm.weight, norm.bias, norm, _slope(activation), share)
        if not norm.training and not share and not (torch.is_grad_enabled() and norm.weight.requires_grad):
            return _Scaled.apply(maps, *_affine(norm), _slope(activation))
    found = activation(norm(maps))
    return found if dropout is None else dropout(found)


class LeakyReLU(nn.LeakyReLU):
    """PyTorch's own takes several times as long in bfloat16 on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        if not (takes(input) and input.numel() and _compiled() is not None):
            return super().forward(input)
        one, zero = torch.ones(input.shape[1]), torch.zeros(input.shape[1])
        found: Tensor = _Scaled.apply(input, one, zero, self.negative_slope)
        return found


class Once(nn.Sequential):
    """Convolution, normalisation, activation."""

    def forward(self, maps: Tensor) -> Tensor:
        convolution, norm, activation = self
        return activated(convolution(maps), norm, activation)


class Twice(nn.Sequential):
    """Convolution, normalisation, activation, dropout if there is one; convolution, normalisation, activation."""

    def forward(self, maps: Tensor) -> Tensor:
        first, norm, activation, *dropout, second, norm_2, activation_2 = self
        return activated(second(activated(first(maps), norm, activation, *dropout)), norm_2, activation_2)


def _fits(maps: Tensor, norm: _BatchNorm) -> bool:
    """Whether the compiled loops can take it."""
    return (
        takes(maps)
        and norm.affine
        and norm.momentum is not None
        and norm.running_mean is not None
        and norm.weight.dtype == torch.float32
        and maps.shape[1] < maps[0].numel() * min(parts(maps))
        and maps.numel() < _MOST
        and _compiled() is not None
    )


def _forth(maps: Tensor, norm: Any, slope: float, share: float) -> tuple[Tensor, tuple[int, ...], list[Any]]:
    """What becomes of ``maps``, the sizes of the batches in them, and of each what its way back needs."""
    found, sizes, kept = torch.empty_like(maps), parts(maps), []
    arrays = [each.detach().numpy() for each in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
    for given, written in _batches(sizes, maps.detach(), found):
        rest = np.float32(slope), *_drops(share)
        settings = (*arrays, norm.momentum, norm.eps, *rest)
        kept.append((_compiled().normalise_and_activate(_rows(given), _rows(written), *settings), rest))
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
    return found, sizes, kept


class _Activated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, norm: _BatchNorm, slope: float, share: float
    ) -> Tensor:
        found, ctx.sizes, ctx.kept = _forth(maps, norm, slope, share)
        ctx.save_for_backward(maps)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, gradient, found = _on_the_way_back(ctx, gradient)
        by_part = torch.empty(len(ctx.sizes), 2, maps.shape[1])
        split = _batches(ctx.sizes, maps, gradient, found)
        for (kept, rest), parameters, arrays in zip(ctx.kept, by_part.numpy(), split, strict=True):
            _compiled().gradients(*map(_rows, arrays), *kept, *parameters, *rest)
        return found, *(by_part.sum(dim=0) if len(by_part) > 1 else by_part[0]), None, None, None


class _Scaled(torch.autograd.Function):
    """Activation of maps times a scale plus a shift per channel, which get no gradient."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, scale: Tensor, shift: Tensor, slope: float) -> Tensor:
        found, given = torch.empty_like(maps), _rows(maps)
        times = given.shape[1] // maps.shape[1]
        ctx.rest = *(np.tile(each.detach().numpy(), times) for each in (scale, shift)), np.float32(slope)
        _compiled().scale_and_activate(given, _rows(found), *ctx.rest)
        ctx.save_for_backward(maps)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, gradient, found = _on_the_way_back(ctx, gradient)
        _compiled().gradient_of_scaled(_rows(maps), _rows(gradient), _rows(found), *ctx.rest)
        return found, None, None, None


def _on_the_way_back(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The maps that were given, what arrives, and room for their gradient, all of one layout and type."""
    (maps,) = ctx.saved_tensors
    arriving = gradient.to(maps.dtype).contiguous(memory_format=channels_last(maps))
    return maps, arriving, torch.empty_like(maps)


def _affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Scale and shift by which a batch normalisation of known statistics maps every channel."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _slope(activation: nn.Module) -> float:
    return getattr(activation, "negative_slope", 0.0)


def _batches(sizes: tuple[int, ...], *maps: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """The maps of each batch that they are made of."""
    return zip(*(each.split(sizes) for each in maps), strict=True) if len(sizes) > 1 else (maps,)


def _rows(maps: Tensor) -> Any:
    """A channels-last map, of which no gradient is asked, as a matrix ``(rows, lanes)``."""
    lanes, count = maps.shape[1], maps.numel()
    while lanes < LANES and count % (2 * lanes) == 0:
        lanes *= 2
    return numbers(maps.as_strided((count // lanes, lanes), (lanes, 1)))


def _drops(share: float) -> tuple[Any, Any, Any]:
    """Seeds, the share that is dropped in 32 bits, and what the others are multiplied by; no seeds = nothing."""
    if not share:
        return None, np.uint32(0), np.float32(1)
    seeds = torch.randint(2**32, (2,)).numpy().astype(np.uint32)
    return seeds, np.uint32(round(share * 2**32)), np.float32(1 / (1 - share))
