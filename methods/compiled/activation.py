"""Compiled loops for maps of a CPU: batch normalisation, activation and dropout in one go, forward and backward.

A map is a matrix of rows (positions) and lanes (channels; narrow maps show several positions as one row, so that a row
fills the vectors of the processor). Its numbers are float32, or bfloat16 given as uint16; they are computed with as
float32 and written with one rounding, to the nearest even.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiling import kernel, mixed, narrow, piece, wide

_BLOCK = 64
"""Rows that are summed in float32 before their sum is added to the others in float64."""


@piece
def _stays(index: Any, seeds: Any, dropped: Any) -> Any:
    """Whether a number stays: 32 bits mixed from its place and two seeds, against a share."""
    return mixed(index, seeds) >= dropped


@piece
def moments(maps: Any, pivot: Any, total: Any, squares: Any) -> None:
    """Add up, per lane, what numbers exceed ``pivot`` (float32) by, and its squares, into float64."""
    rows, lanes = maps.shape
    some, more = np.zeros(lanes, np.float32), np.zeros(lanes, np.float32)
    for start in range(0, rows, _BLOCK):
        some[:] = 0
        more[:] = 0
        for i in range(start, min(start + _BLOCK, rows)):
            for j in range(lanes):
                value = wide(maps[i, j]) - pivot[j]
                some[j] += value
                more[j] += value * value
        for j in range(lanes):
            total[j] += some[j]
            squares[j] += more[j]


@piece
def activate(maps: Any, found: Any, scale: Any, shift: Any, slope: Any, seeds: Any, dropped: Any, kept: Any) -> None:
    """Write ``leaky_relu(maps * scale + shift)`` into ``found``; with ``seeds``, dropped, or times ``kept``."""
    rows, lanes = maps.shape
    for i in range(rows):
        for j in range(lanes):
            value = wide(maps[i, j]) * scale[j] + shift[j]
            value = value if value > 0 else value * slope
            if seeds is not None:
                value = value * kept if _stays(i * lanes + j, seeds, dropped) else np.float32(0)
            found[i, j] = narrow(value, maps[i, j])


@piece
def _before(gradient: Any, value: Any, slope: Any, index: Any, seeds: Any, dropped: Any, kept: Any) -> Any:
    """The gradient that arrives before dropout and activation, at a place where the activation was given ``value``."""
    if seeds is not None:
        gradient = gradient * kept if _stays(index, seeds, dropped) else np.float32(0)
    return gradient if value > 0 else gradient * slope


@piece
def gradient_moments(
    maps: Any, gradient: Any, scale: Any, shift: Any, mean: Any, slope: Any, seeds: Any, dropped: Any, kept: Any,
    total: Any, products: Any,
) -> None:  # fmt: skip
    """Add up, per lane, the gradient before the activation, and its product with what maps exceed ``mean`` by."""
    rows, lanes = maps.shape
    some, more = np.zeros(lanes, np.float32), np.zeros(lanes, np.float32)
    for start in range(0, rows, _BLOCK):
        some[:] = 0
        more[:] = 0
        for i in range(start, min(start + _BLOCK, rows)):
            for j in range(lanes):
                value, index = wide(maps[i, j]), i * lanes + j
                given = value * scale[j] + shift[j]
                arriving = _before(wide(gradient[i, j]), given, slope, index, seeds, dropped, kept)
                some[j] += arriving
                more[j] += arriving * (value - mean[j])
        for j in range(lanes):
            total[j] += some[j]
            products[j] += more[j]


@piece
def gradient_of_maps(
    maps: Any, gradient: Any, found: Any, scale: Any, shift: Any, slope: Any, seeds: Any, dropped: Any, kept: Any,
    by_map: Any, constant: Any,
) -> None:  # fmt: skip
    """Write the gradient with respect to the maps, ``arriving * scale + maps * by_map + constant``, into ``found``."""
    rows, lanes = maps.shape
    for i in range(rows):
        for j in range(lanes):
            value, index = wide(maps[i, j]), i * lanes + j
            given = value * scale[j] + shift[j]
            arriving = _before(wide(gradient[i, j]), given, slope, index, seeds, dropped, kept)
            found[i, j] = narrow(arriving * scale[j] + value * by_map[j] + constant[j], maps[i, j])


@piece
def _of_batch(seeds: Any, b: Any) -> Any:
    """The seeds of a batch, if there are any."""
    return None if seeds is None else seeds[b]


@piece
def _by_channel(sums: Any, channels: Any) -> None:
    """Add the lanes of a channel up, into the first of them."""
    for j in range(channels, sums.size):
        sums[j % channels] += sums[j]


@kernel
def normalise_and_activate(
    maps: Any, found: Any, ends: Any, weight: Any, bias: Any, running_mean: Any, running_variance: Any,
    momentum: Any, eps: Any, slope: Any, seeds: Any, dropped: Any, kept: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Batch normalisation, activation and dropout, forward; the running statistics move towards those of each batch.

    Args:
        maps, found: ``(rows, lanes)``; lanes are the channels, once or several times.
        ends: ``(batches,)`` int64: rows before the end of each batch, which has statistics of its own.
        weight, bias, running_mean, running_variance: ``(channels,)`` float32; the last two are written.
        momentum, eps, slope: of normalisation and activation.
        seeds, dropped, kept: as in :func:`activate`; a pair of seeds for each batch.

    Returns:
        ``(batches, 3, lanes)`` float32: scale, shift and mean; and ``(batches, 2, channels)`` float64: mean, and
        inverse deviation.
    """
    lanes, channels, start = maps.shape[1], weight.size, 0
    pivot, total, squares = np.empty(lanes, np.float32), np.zeros(lanes), np.zeros(lanes)
    by_lane, by_channel = np.empty((ends.size, 3, lanes), np.float32), np.empty((ends.size, 2, channels))
    for b in range(ends.size):
        some, written, end = maps[start : ends[b]], found[start : ends[b]], ends[b]
        count = (end - start) * (lanes // channels)
        for j in range(lanes):
            pivot[j] = wide(some[0, j % channels])
        total[:] = 0
        squares[:] = 0
        moments(some, pivot, total, squares)
        _by_channel(total, channels)
        _by_channel(squares, channels)
        for c in range(channels):
            offset = total[c] / count
            variance = max(squares[c] / count - offset * offset, 0.0)
            mean, inverse = pivot[c] + offset, 1 / math.sqrt(variance + eps)
            by_channel[b, 0, c], by_channel[b, 1, c] = mean, inverse
            running_mean[c] += momentum * (mean - running_mean[c])
            running_variance[c] += momentum * (variance * (count / max(count - 1, 1)) - running_variance[c])
        for j in range(lanes):
            mean, scale = by_channel[b, 0, j % channels], weight[j % channels] * by_channel[b, 1, j % channels]
            by_lane[b, 0, j], by_lane[b, 1, j], by_lane[b, 2, j] = scale, bias[j % channels] - mean * scale, mean
        activate(some, written, by_lane[b, 0], by_lane[b, 1], slope, _of_batch(seeds, b), dropped, kept)
        start = end
    return by_lane, by_channel


@kernel
def gradients(
    maps: Any, gradient: Any, found: Any, ends: Any, by_lane: Any, by_channel: Any, of_weight: Any, of_bias: Any,
    slope: Any, seeds: Any, dropped: Any, kept: Any,
) -> None:  # fmt: skip
    """The way back through :func:`normalise_and_activate`, which gave ``by_lane`` and ``by_channel``.

    Args:
        maps: what was given.
        gradient: what arrives.
        found: the gradient with respect to maps, written.
        of_weight, of_bias: ``(channels,)`` float32, written.
        ends, slope, seeds, dropped, kept: as on the way forth.
    """
    lanes, channels, start = maps.shape[1], of_weight.size, 0
    total, products = np.zeros(lanes), np.zeros(lanes)
    by_map, constant = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    of_weight[:] = 0
    of_bias[:] = 0
    for b in range(ends.size):
        some, arriving, written, end = maps[start : ends[b]], gradient[start : ends[b]], found[start : ends[b]], ends[b]
        scale, shift, means = by_lane[b, 0], by_lane[b, 1], by_lane[b, 2]
        count = (end - start) * (lanes // channels)
        total[:] = 0
        products[:] = 0
        rest = slope, _of_batch(seeds, b), dropped, kept
        gradient_moments(some, arriving, scale, shift, means, *rest, total, products)
        _by_channel(total, channels)
        _by_channel(products, channels)
        for c in range(channels):
            mean, inverse = by_channel[b, 0, c], by_channel[b, 1, c]
            steep = -scale[c] * inverse * inverse * products[c] / count
            flat = -scale[c] * total[c] / count - steep * mean
            for j in range(c, lanes, channels):
                by_map[j], constant[j] = steep, flat
            of_weight[c] += np.float32(products[c] * inverse)
            of_bias[c] += np.float32(total[c])
        gradient_of_maps(some, arriving, written, scale, shift, *rest, by_map, constant)
        start = end


@kernel
def scale_and_activate(maps: Any, found: Any, scale: Any, shift: Any, slope: Any) -> None:
    """Normalisation by statistics that are given, and activation: write ``leaky_relu(maps * scale + shift)``.

    Args:
        maps, found: ``(rows, lanes)``.
        scale, shift: ``(lanes,)`` float32.
        slope: of the activation.
    """
    activate(maps, found, scale, shift, slope, None, np.uint32(0), np.float32(1))


@kernel
def gradient_of_scaled(maps: Any, gradient: Any, found: Any, scale: Any, shift: Any, slope: Any) -> None:
    """The way back through :func:`scale_and_activate`: the gradient with respect to the maps, into ``found``."""
    none = np.zeros(maps.shape[1], np.float32)
    gradient_of_maps(maps, gradient, found, scale, shift, slope, None, np.uint32(0), np.float32(1), none, none)


@kernel
def drop(values: Any, seeds: Any, dropped: Any, kept: Any, found: Any) -> None:
    """Write numbers ``(numbers,)`` into ``found``, times ``kept`` or dropped by place and seeds ``(2,)``."""
    for i in range(values.size):
        value = wide(values[i]) * kept if _stays(i, seeds, dropped) else np.float32(0)
        found[i] = narrow(value, values[i])


def warm_up() -> None:
    """Compile, or load from disk, everything."""
    for kind in (np.float32, np.uint16):
        drop(np.zeros(1, kind), np.zeros(2, np.uint32), np.uint32(0), np.float32(1), np.zeros(1, kind))
        maps, values = np.zeros((1, 1), kind), np.ones((6, 1), np.float32)
        scale_and_activate(maps, maps.copy(), *values[:2], np.float32(1))
        gradient_of_scaled(maps, maps, maps.copy(), *values[:2], np.float32(1))
        ends = np.ones(1, np.int64)
        for seeds in (None, np.zeros((1, 2), np.uint32)):
            rest = np.float32(1), seeds, np.uint32(0), np.float32(1)
            kept = normalise_and_activate(maps, maps.copy(), ends, *values[:4], 0.1, 1e-5, *rest)
            gradients(maps, maps, maps.copy(), ends, *kept, *values[4:], *rest)
