"""Batch normalisation, activation and dropout in one go where that pays: in training, on one thread of a CPU.

One after the other, PyTorch's own read and write a map six times on the way forth and as often on the way back, and on
a CPU memory is what these layers wait for; drawing the zeros of dropout, one by one, takes longer still. Together they
read it twice and write it once each way, and zeros are computed from a place and a seed whenever they are needed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from ..compiled import channels_last, loops, numbers, takes

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
    if isinstance(norm, _BatchNorm) and norm.training and _fits(maps, norm):
        slope = getattr(activation, "negative_slope", 0.0)
        share = dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0
        if share < 1:
            return _Activated.apply(maps, norm.weight, norm.bias, norm, slope, share)
    found = activation(norm(maps))
    return found if dropout is None else dropout(found)


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
        and maps.shape[1] < maps.numel() < _MOST
        and _compiled() is not None
    )


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


def _rows(maps: Tensor) -> Any:
    """A channels-last map as a matrix ``(rows, lanes)``."""
    channels, times = maps.shape[1], 1
    while channels * times < LANES and maps.numel() // channels % (2 * times) == 0:
        times *= 2
    return numbers(maps.detach().movedim(1, -1).view(-1, channels * times))


def _drops(share: float) -> tuple[Any, Any, Any]:
    """Seeds, the share that is dropped in 32 bits, and what the others are multiplied by; no seeds = nothing."""
    if not share:
        return None, np.uint32(0), np.float32(1)
    seeds = torch.randint(2**32, (2,)).numpy().astype(np.uint32)
    return seeds, np.uint32(round(share * 2**32)), np.float32(1 / (1 - share))
