"""Normalisation, activation and dropout in one go where that pays: on one thread of a CPU.

One after the other, PyTorch's own read and write a map six times on the way forth and as often on the way back, and on
a CPU memory is what these layers wait for; drawing the zeros of dropout, one by one, takes longer still. Together they
read it twice and write it once each way, and zeros are computed from a place and a seed whenever they are needed.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ..compiled import channels_last, flat, loops, numbers, takes, takes_flat
from .apart import parts

LANES = 64
"""A row of numbers should be so long that the processor's vectors are full."""

_EPS = 1e-5
_MOST = 2**32
"""Numbers of a map whose places differ in 32 bits."""

_compiled = partial(loops, "activation")


def activated(maps: Tensor, norm: nn.Module, activation: nn.Module, dropout: nn.Module | None = None) -> Tensor:
    """``dropout(activation(norm(maps)))``, with one rounding instead of three in bfloat16, or as these modules do it.

    Args:
        maps: ``(n, channels, *space)``.
        norm: any; batch normalisation in training mode and :class:`InstanceNorm` may go together with what follows.
        activation: ``nn.ReLU`` or ``nn.LeakyReLU``.
        dropout: ``nn.Dropout``; None = none. Zeros are drawn anew by every call, from a seed of torch's generator.
    """
    share = dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0
    if isinstance(norm, _BatchNorm) and _fits(maps, norm):
        weight, bias = norm.weight, norm.bias
        if norm.training and share < 1:
            return _normalised(maps, weight, bias, norm, _slope(activation), share)
        if not norm.training and not share and not (torch.is_grad_enabled() and weight.requires_grad):
            return _Scaled.apply(maps, *_affine(norm), _slope(activation))
    if isinstance(norm, InstanceNorm) and share < 1 and _fits_alone(maps):
        return _normalised(maps, None, None, norm, _slope(activation), share)
    found = activation(norm(maps))
    return found if dropout is None else dropout(found)


class InstanceNorm(nn.Module):
    """Instance normalisation without parameters or running statistics, of images or volumes of any channels."""

    def forward(self, maps: Tensor) -> Tensor:
        if maps.shape[2:].numel() == 1:
            if not self.training:
                return maps * 0
            raise ValueError(
                f"instance normalisation needs maps of more than one position, got {tuple(maps.shape)}: take a bigger "
                "patch or fewer levels"
            )
        if _fits_alone(maps):
            return _normalised(maps, None, None, self, 1.0, 0.0)
        return F.instance_norm(maps, eps=_EPS)


class LeakyReLU(nn.LeakyReLU):
    """PyTorch's own takes several times as long in bfloat16 on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        if not (takes(input) and input.numel() and _compiled() is not None):
            return super().forward(input)
        one, zero = torch.ones(input.shape[1]), torch.zeros(input.shape[1])
        found: Tensor = _Scaled.apply(input, one, zero, self.negative_slope)
        return found


class Dropout(nn.Dropout):
    """PyTorch's own draws its zeros one by one on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        fits = takes_flat(input) and 0 < input.numel() < _MOST and _compiled() is not None
        if not (self.training and 0 < self.p < 1 and fits):
            return super().forward(input)
        found: Tensor = _Dropped.apply(input, *_drops(self.p, 1))
        return found


class _Dropped(torch.autograd.Function):
    """What numbers are multiplied by, their gradients are as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, *drops: Any) -> Tensor:
        ctx.layout = torch.contiguous_format if values.is_contiguous() else channels_last(values)
        ctx.drops = drops
        return _dropped(values, *drops)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _dropped(gradient.contiguous(memory_format=ctx.layout), *ctx.drops), None, None, None


def _dropped(values: Tensor, seeds: Any, dropped: Any, kept: Any) -> Tensor:
    found = torch.empty_like(values)
    _compiled().drop(flat(values), seeds[0], dropped, kept, flat(found))
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
    count = maps.numel()
    return (
        takes(maps)
        and norm.affine
        and norm.momentum is not None
        and norm.running_mean is not None
        and norm.weight.dtype == torch.float32
        and maps.shape[0] * maps.shape[1] < count * min(parts(maps))
        and count < _MOST
        and _compiled() is not None
    )


def _fits_alone(maps: Tensor) -> bool:
    """Whether the compiled loops can take it sample by sample."""
    more = maps.shape[0] * maps.shape[1] < maps.numel() < _MOST
    return takes(maps) and more and _compiled() is not None


def _normalised(
    maps: Tensor, weight: Tensor | None, bias: Tensor | None, norm: nn.Module, slope: float, share: float
) -> Tensor:
    """Normalisation, activation and dropout; instance normalisation has no weight and no bias."""
    learns = maps.requires_grad or (weight is not None and weight.requires_grad)
    if not (learns and torch.is_grad_enabled()):
        return _forth(maps, norm, slope, share)[0]  # autograd's part takes as long as a small map
    found: Tensor = _Activated.apply(maps, weight, bias, norm, slope, share)
    return found


def _forth(maps: Tensor, norm: Any, slope: float, share: float) -> tuple[Tensor, tuple[Any, ...], tuple[Any, ...]]:
    """What becomes of ``maps``, what its way back needs of the batches in them, and of the activation."""
    found = torch.empty_like(maps)
    if isinstance(norm, InstanceNorm):  # each sample is a batch, and nothing is known of others
        sizes, momentum, eps = (1,) * len(maps), 0.0, _EPS
        one, nothing = (np.full(maps.shape[1], number, np.float32) for number in (1, 0))
        arrays = [one, nothing, nothing, one]
    else:
        sizes, momentum, eps = parts(maps), norm.momentum, norm.eps
        arrays = [numbers(each.detach()) for each in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(len(sizes))
    lanes = _lanes(maps, math.gcd(*sizes))
    ends = _ends(sizes, maps.numel() // len(maps), lanes)
    rest = np.float32(slope), *_drops(share, len(sizes))
    kept = _compiled().normalise_and_activate(
        _rows(maps, lanes), _rows(found, lanes), ends, *arrays, momentum, eps, *rest
    )
    return found, (ends, *kept), rest


@lru_cache(maxsize=256)
def _ends(sizes: tuple[int, ...], each: int, lanes: int) -> Any:
    """Rows before the end of every batch, of samples of ``each`` numbers."""
    return np.cumsum(sizes, dtype=np.int64) * each // lanes


class _Activated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor | None, bias: Tensor | None, norm: nn.Module, slope: float, share: float
    ) -> Tensor:
        found, ctx.kept, ctx.rest = _forth(maps, norm, slope, share)
        ctx.save_for_backward(maps)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, gradient, found = _on_the_way_back(ctx, gradient)
        lanes = ctx.kept[1].shape[-1]
        parameters = [torch.empty(maps.shape[1]) for _ in range(2)]
        arrays = [_rows(each, lanes) for each in (maps, gradient, found)]
        _compiled().gradients(*arrays, *ctx.kept, *map(numbers, parameters), *ctx.rest)
        of_parameters = parameters if ctx.needs_input_grad[1] else (None, None)
        return found, *of_parameters, None, None, None


class _Scaled(torch.autograd.Function):
    """Activation of maps times a scale plus a shift per channel, which get no gradient."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, scale: Tensor, shift: Tensor, slope: float) -> Tensor:
        found, lanes = torch.empty_like(maps), _lanes(maps)
        times = lanes // maps.shape[1]
        ctx.rest = *(np.tile(each.detach().numpy(), times) for each in (scale, shift)), np.float32(slope)
        _compiled().scale_and_activate(_rows(maps, lanes), _rows(found, lanes), *ctx.rest)
        ctx.save_for_backward(maps)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, gradient, found = _on_the_way_back(ctx, gradient)
        arrays = [_rows(each, ctx.rest[0].size) for each in (maps, gradient, found)]
        _compiled().gradient_of_scaled(*arrays, *ctx.rest)
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


def _lanes(maps: Tensor, samples: int = 1) -> int:
    """Numbers of a row: its channels, as many times as fill a row and divide so many samples."""
    lanes, count = maps.shape[1], maps.numel() // max(len(maps), 1) * samples
    while lanes < LANES and count % (2 * lanes) == 0:
        lanes *= 2
    return lanes


def _rows(maps: Tensor, lanes: int) -> Any:
    """A channels-last map, of which no gradient is asked, as a matrix ``(rows, lanes)``."""
    return flat(maps).reshape(-1, lanes)


def _drops(share: float, batches: int) -> tuple[Any, Any, Any]:
    """Seeds of each batch, the share dropped in 32 bits, and what the others are multiplied by; no seeds = nothing."""
    if not share:
        return None, np.uint32(0), np.float32(1)
    seeds = torch.randint(2**32, (batches, 2)).numpy().astype(np.uint32)
    return seeds, np.uint32(round(share * 2**32)), np.float32(1 / (1 - share))
