"""Compiled loops for what ends a critic of single pixels on a CPU: batch normalisation, leaky ReLU, one product.

Maps are matrices ``(positions, channels)``, float32, or bfloat16 given as uint16; what arrives ``(positions,)`` and
what is given per channel, such as ``scale`` and ``shift`` of the normalisation, is float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import activation
from .compiling import kernel, kernel_of_sums, narrow, wide

_BLOCK = 64
"""Positions that are summed in float32 before their sum is added to the others in float64."""


@kernel
def leaky(maps: Any, slope: Any) -> None:
    """Leaky ReLU, in place."""
    for i in range(len(maps)):
        for j in range(maps.shape[1]):
            value = wide(maps[i, j])
            maps[i, j] = narrow(value if value > 0 else value * slope, maps[i, j])


@kernel
def through_leaky(gradient: Any, found: Any, slope: Any) -> None:
    """The way back through leaky ReLU, which has given ``found``: multiply the gradient by its slopes, in place."""
    for i in range(len(gradient)):
        for j in range(gradient.shape[1]):
            value = wide(gradient[i, j])
            gradient[i, j] = narrow(value if wide(found[i, j]) > 0 else value * slope, gradient[i, j])


@kernel
def moments(maps: Any, pivot: Any, total: Any, squares: Any) -> None:
    """Add up, per channel, what numbers exceed ``pivot`` by, and its squares, into float64."""
    activation.moments(maps, pivot, total, squares)


@kernel_of_sums
def verdicts(maps: Any, found: Any, scale: Any, shift: Any, slope: Any, weight: Any, bias: Any) -> None:
    """Write ``leaky_relu(maps * scale + shift) @ weight + bias`` into ``found`` ``(positions,)``."""
    for i in range(len(maps)):
        verdict = np.float32(0)
        for j in range(maps.shape[1]):
            value = wide(maps[i, j]) * scale[j] + shift[j]
            verdict += (value if value > 0 else value * slope) * weight[j]
        found[i] = narrow(verdict + bias, found[i])


@kernel_of_sums
def verdicts_and_slopes(
    maps: Any, found: Any, scale: Any, shift: Any, slope: Any, weight: Any, bias: Any, high: Any, low: Any
) -> None:
    """:func:`verdicts`; and in place of maps, ``high`` where leaky ReLU is given more than 0, else ``low``.

    Both are ``(channels,)`` of the type of maps.
    """
    for i in range(len(maps)):
        verdict = np.float32(0)
        for j in range(maps.shape[1]):
            value = wide(maps[i, j]) * scale[j] + shift[j]
            verdict += (value if value > 0 else value * slope) * weight[j]
            above, below = high[j], low[j]  # loaded first, as a vector
            maps[i, j] = above if value > 0 else below
        found[i] = narrow(verdict + bias, found[i])


@kernel
def gradient_sums(
    maps: Any, arriving: Any, scale: Any, shift: Any, slope: Any, mean: Any, total: Any, products: Any
) -> None:
    """Add up, per channel, what arrives times the slope there, and its product with what maps exceed ``mean`` by.

    Sums are float64; what arrives is not yet multiplied by the weight of the last product.
    """
    positions, channels = maps.shape
    some, more = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for start in range(0, positions, _BLOCK):
        some[:] = 0
        more[:] = 0
        for i in range(start, min(start + _BLOCK, positions)):
            high, low = arriving[i], arriving[i] * slope
            for j in range(channels):
                value = wide(maps[i, j])
                part = high if value * scale[j] + shift[j] > 0 else low
                some[j] += part
                more[j] += part * (value - mean[j])
        for j in range(channels):
            total[j] += some[j]
            products[j] += more[j]


@kernel
def gradient_of_maps(
    maps: Any, arriving: Any, scale: Any, shift: Any, slope: Any, factor: Any, by_map: Any, constant: Any
) -> None:
    """Write, in place of maps, what arrives times the slope there and ``factor``, plus ``maps * by_map + constant``."""
    for i in range(len(maps)):
        high, low = arriving[i], arriving[i] * slope
        for j in range(maps.shape[1]):
            value = wide(maps[i, j])
            part = high if value * scale[j] + shift[j] > 0 else low
            maps[i, j] = narrow(part * factor[j] + (value * by_map[j] + constant[j]), maps[i, j])


def warm_up() -> None:
    """Compile, or load from disk, everything."""
    one, sums = np.ones(1, np.float32), np.zeros(1)
    for kind in (np.float32, np.uint16):
        maps, of_norm = np.zeros((1, 1), kind), (one, one, np.float32(1))
        leaky(maps.copy(), np.float32(1))
        through_leaky(maps.copy(), maps, np.float32(1))
        moments(maps, one, sums, sums.copy())
        for found in (maps[0].copy(), one.copy()):
            verdicts(maps, found, *of_norm, one, np.float32(1))
        verdicts_and_slopes(maps, maps[0].copy(), *of_norm, one, np.float32(1), maps[0], maps[0])
        gradient_sums(maps, one, *of_norm, one, sums, sums.copy())
        gradient_of_maps(maps, one, *of_norm, one, one, one)
