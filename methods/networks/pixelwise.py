"""The critic of single pixels on one thread of a CPU, some thousand of them at a time.

Layer by layer its widest maps travel to memory and back again and again, which is what takes the time. Here they stay
in the cache: a critic that judges goes through each block once, its gradient found on the way; one that learns keeps
the map of its first layer, and computes the second anew whenever it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..compiled import loops, numbers, takes_any
from .apart import parts
from .trust import in_bfloat16

_BLOCK = 16384
"""Pixels at a time."""

_compiled = partial(loops, "verdicts")


def fits(maps: Tensor, layers: nn.Sequential) -> bool:
    """Whether :func:`verdicts` can take them."""
    norm: Any = layers[3]
    learns = torch.is_grad_enabled() and any(p.requires_grad for p in layers.parameters())
    return (
        maps.ndim in (4, 5)
        and maps.numel() > maps.shape[1]
        and takes_any(maps)
        and (in_bfloat16() or (maps.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")))
        and norm.weight.dtype == torch.float32
        and (norm.training or not learns)
        and len(parts(maps)) == 1
        and _compiled() is not None
    )


def verdicts(maps: Tensor, layers: nn.Sequential) -> Tensor:
    """What convolution, leaky ReLU, convolution, batch normalisation, leaky ReLU and convolution make of ``maps``.

    Args:
        maps: ``(n, channels, *space)``.
        layers: these six: kernels of 1, equal slopes, and one channel in the end.

    Returns:
        ``(n, 1, *space)``, bfloat16 under autocast to it, else float32.
    """
    norm: Any = layers[3]
    return _applied(_Learning if norm.training else _Judging, maps, layers)


def taken_for_made(maps: Tensor, layers: nn.Sequential) -> Tensor:
    """Mean ``softplus`` of :func:`verdicts`, for layers that learn: what comes back to a verdict is known with it.

    Maps get no gradient.
    """
    return _applied(_LearningMade, maps, layers)


def _applied(function: type[torch.autograd.Function], maps: Tensor, layers: nn.Sequential) -> Tensor:
    """``function`` of maps, the normalisation, the slope, and weight and bias of the four layers that have them."""
    first, activation, second, norm, _, last = layers
    of_layers = (p for layer in (first, second, norm, last) for p in (layer.weight, layer.bias))
    found: Tensor = function.apply(maps, norm, activation.negative_slope, *of_layers)
    return found


class _Judging(torch.autograd.Function):
    """With statistics that are given, and without gradients of parameters."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, norm: Any, slope: float, *parameters: Tensor) -> Tensor:
        given = _pixels(maps)
        products = _Products(given.dtype, slope, *parameters[:3])
        second_bias, weight, bias, last, last_bias = parameters[3:]
        scale = weight * torch.rsqrt(norm.running_var + norm.eps)
        factor = last.flatten() * scale
        of_norm = *_arrays(scale, bias + (second_bias - norm.running_mean) * scale), products.slope
        ending = *_arrays(last.flatten()), np.float32(last_bias.item())
        slopes = [numbers((factor * each).to(given.dtype)) for each in (1, slope)]
        found, of_maps = given.new_empty(len(given)), given.new_empty(len(given), maps.shape[1])
        seen = given.new_empty(_BLOCK, len(products.stem))
        for some, verdict, target in _blocks(given, found, of_maps):
            narrow = products.seen(some, seen[: len(some)])
            wide = products.wide(narrow)
            _compiled().verdicts_and_slopes(numbers(wide), numbers(verdict), *of_norm, *ending, *slopes)
            if ctx.needs_input_grad[0]:
                torch.mm(products.back(wide, narrow), products.stem[:, :-1], out=target)
        ctx.save_for_backward(_as_map(of_maps, maps))
        return _as_map(found, maps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (of_maps,) = ctx.saved_tensors
        return gradient.float() * of_maps, *[None] * 10


class _Learning(torch.autograd.Function):
    """With the statistics of the batch."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, norm: Any, slope: float, *parameters: Tensor) -> Tensor:
        products, given, seen, ending = _normalised(ctx, maps, norm, slope, *parameters)
        found = given.new_empty(len(given))
        for some, verdict in _blocks(seen, found):
            _compiled().verdicts(numbers(products.wide(some)), numbers(verdict), *ctx.of_norm, *ending)
        ctx.save_for_backward(given, seen, *parameters)
        return _as_map(found, maps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        _, seen, *parameters = ctx.saved_tensors
        products = _Products(seen.dtype, ctx.of_norm[-1], *parameters[:3])
        arriving, mean = gradient.float().contiguous().flatten(), _arrays(ctx.mean)
        sums = np.zeros((2, len(products.second)))
        for some, verdict in _blocks(seen, arriving):
            _compiled().gradient_sums(numbers(products.wide(some)), numbers(verdict), *ctx.of_norm, *mean, *sums)
        of_maps, *found = _gradients(ctx, products, arriving, torch.from_numpy(sums))
        return _as_map(of_maps, gradient), None, None, *found


class _LearningMade(torch.autograd.Function):
    """Also the mean ``softplus`` of the verdicts: its gradient is summed up in the pass that finds them."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, norm: Any, slope: float, *parameters: Tensor) -> Tensor:
        products, given, seen, ending = _normalised(ctx, maps, norm, slope, *parameters)
        ctx.arriving, mean = torch.empty(len(given)), _arrays(ctx.mean)
        sums, cost = np.zeros((2, len(products.second))), 0.0
        for some, verdict in _blocks(seen, ctx.arriving):
            wide = numbers(products.wide(some))
            _compiled().verdicts(wide, numbers(verdict), *ctx.of_norm, *ending)
            cost += float(F.softplus(verdict).sum())
            _compiled().gradient_sums(wide, numbers(verdict.sigmoid_()), *ctx.of_norm, *mean, *sums)
        ctx.sums = torch.from_numpy(sums)
        ctx.save_for_backward(given, seen, *parameters)
        return maps.new_tensor(cost / len(given), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        _, seen, *parameters = ctx.saved_tensors
        products, each = _Products(seen.dtype, ctx.of_norm[-1], *parameters[:3]), gradient / len(seen)
        _, *found = _gradients(ctx, products, ctx.arriving * each, ctx.sums * each)
        return None, None, None, *found


def _normalised(ctx: Any, maps: Tensor, norm: Any, slope: float, *parameters: Tensor) -> tuple[Any, ...]:
    """What a learner's passes begin with: its products, pixels, what the second layer sees, and the last product.

    The statistics of the batch are found, kept in ``ctx`` and added to the running ones.
    """
    given = _pixels(maps)
    products = _Products(given.dtype, slope, *parameters[:3])
    second_bias, weight, bias, last, last_bias = parameters[3:]
    seen = given.new_empty(len(given), len(products.stem))
    mean, variance = _moments(products, given, seen)
    norm.running_mean.lerp_(mean.float() + second_bias, norm.momentum)
    norm.running_var.lerp_((variance * (len(seen) / (len(seen) - 1))).float(), norm.momentum)
    norm.num_batches_tracked += 1
    ctx.mean, ctx.inverse = mean, torch.rsqrt(variance + norm.eps)
    scale = weight * ctx.inverse
    ctx.of_norm = *_arrays(scale, bias - mean * scale), products.slope
    return products, given, seen, (*_arrays(last.flatten()), np.float32(last_bias.item()))


def _gradients(ctx: Any, products: _Products, arriving: Tensor, sums: Tensor) -> Iterator[Tensor]:
    """Of maps, as pixels (unset if they need none), and of every parameter.

    Args:
        ctx: of a learner.
        products: its own.
        arriving: ``(pixels,)``, at the verdicts.
        sums: ``(2, channels)`` of ``gradient_sums``.
    """
    given, seen, *parameters = ctx.saved_tensors
    _, weight, bias, last, _ = parameters[3:]
    scale, ending, (total, along) = weight * ctx.inverse, last.flatten(), sums
    along, factor = along * ctx.inverse, ending * scale
    by_map = -factor * ctx.inverse * along / len(seen)
    rest = _arrays(factor, by_map, -factor * total / len(seen) - by_map * ctx.mean)
    of_stem, of_second = (torch.zeros(each.T.shape) for each in (products.stem, products.second))
    of_maps = torch.empty_like(given[:, 1:])
    for inputs, some, verdict, target in _blocks(given, seen, arriving, of_maps):
        wide = products.wide(some)
        _compiled().gradient_of_maps(numbers(wide), numbers(verdict), *ctx.of_norm, *rest)
        of_second += some.T @ wide
        back = products.back(wide, some)
        of_stem += inputs.T @ back
        if ctx.needs_input_grad[0]:
            torch.mm(back, products.stem[:, :-1], out=target)
    found = (
        of_stem[:-1].T, of_stem[-1], of_second.T, torch.zeros_like(total),
        ending * along, ending * total, weight * along + bias * total, arriving.sum(),
    )  # fmt: skip
    yield of_maps
    yield from (each.reshape(like.shape).to(like.dtype) for each, like in zip(found, parameters, strict=True))


class _Products:
    """The first two layers of a block of pixels, and the way back from the second, in memory that is used again."""

    def __init__(self, dtype: torch.dtype, slope: float, first: Tensor, bias: Tensor, second: Tensor) -> None:
        self.slope = np.float32(slope)
        self.stem = torch.cat((first.flatten(1), bias.unsqueeze(1)), dim=1).to(dtype)
        self.second = second.flatten(1).to(dtype)
        self._narrow = torch.empty(_BLOCK, len(first), dtype=dtype)
        self._wide = torch.empty(_BLOCK, len(second), dtype=dtype)

    def seen(self, given: Tensor, found: Tensor) -> Tensor:
        """What the second layer sees, written into ``found``."""
        torch.mm(given, self.stem.T, out=found)
        _compiled().leaky(numbers(found), self.slope)  # PyTorch's own takes twice as long in bfloat16
        return found

    def wide(self, seen: Tensor) -> Tensor:
        """The second product, without its bias."""
        return torch.mm(seen, self.second.T, out=self._wide[: len(seen)])

    def back(self, arriving: Tensor, seen: Tensor) -> Tensor:
        """The gradient of the first product, from that of the second."""
        found = torch.mm(arriving, self.second, out=self._narrow[: len(seen)])
        _compiled().through_leaky(numbers(found), numbers(seen), self.slope)
        return found


def _moments(products: _Products, given: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance ``(channels,)`` of the second product, float64; what the second layer sees is written."""
    pivot = products.wide(products.seen(given[:1], seen[:1]))[0].to(torch.float32, copy=True)
    total, squares = np.zeros((2, len(pivot)))
    for some, target in _blocks(given, seen):
        wide = products.wide(products.seen(some, target))
        _compiled().moments(numbers(wide), numbers(pivot), total, squares)
    offset = torch.from_numpy(total / len(seen))
    return pivot + offset, (torch.from_numpy(squares / len(seen)) - offset.square()).clamp_min(0)


def _pixels(maps: Tensor) -> Tensor:
    """``(pixels, channels + 1)``, as products take them; the last column is 1, for the bias."""
    dtype = torch.bfloat16 if in_bfloat16() else torch.float32
    return F.pad(maps.movedim(1, -1).flatten(0, -2).to(dtype), (0, 1), value=1.0)


def _as_map(pixels: Tensor, like: Tensor) -> Tensor:
    """``(n, channels, *space)`` of ``(pixels, channels)``; n and space are those of ``like``."""
    return pixels.view(len(like), *like.shape[2:], -1).movedim(-1, 1)


def _blocks(*pixels: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(each.split(_BLOCK) for each in pixels), strict=True)


def _arrays(*values: Tensor) -> list[Any]:
    """As the compiled loops take what is given per channel."""
    return [numbers(each.detach().float()) for each in values]
