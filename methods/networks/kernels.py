"""Compiled loops for maps of a CPU: batch normalisation, activation and dropout in one go, forward and backward.

A map is a matrix of rows (positions) and lanes (channels; narrow maps show several positions as one row, so that a row
fills the vectors of the processor). Its numbers are float32, or bfloat16 given as uint16; they are computed with as
float32 and written with one rounding, to the nearest even.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_BLOCK = 64
"""Rows that are summed in float32 before their sum is added to the others in float64."""

_WORD, _HALF = ir.IntType(32), ir.IntType(16)


def kernel(function: Callable[..., Any]) -> Any:
    """Compiled, free of the interpreter lock, and kept on disk where a folder for it can be written."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # numba found neither __pycache__ nor the user's cache folder writable
        return njit(**options)(function)


def _inline(typed: Callable[..., Any]) -> Any:
    """Instructions of the processor, given as LLVM's."""
    return intrinsic(typed)


@_inline
def wide(typing_context: Any, value: Any) -> Any:
    """A number of a map as float32."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (number,) = arguments
        if signature.args[0] == types.float32:
            return number
        return builder.bitcast(builder.shl(builder.zext(number, _WORD), ir.Constant(_WORD, 16)), ir.FloatType())

    return types.float32(value), build


@_inline
def narrow(typing_context: Any, value: Any, like: Any) -> Any:
    """A float32 as a number of a map; what is not finite stays so."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = arguments[0]
        if signature.return_type == types.float32:
            return number
        bits = builder.bitcast(number, _WORD)
        odd = builder.and_(builder.lshr(bits, ir.Constant(_WORD, 16)), ir.Constant(_WORD, 1))
        rounded = builder.add(builder.add(bits, ir.Constant(_WORD, 0x7FFF)), odd)
        return builder.trunc(builder.lshr(rounded, ir.Constant(_WORD, 16)), _HALF)

    return like(types.float32, like), build


@kernel
def _stays(index: Any, seeds: Any, dropped: Any) -> Any:
    """Whether a number stays: 32 bits mixed from its place and two seeds, against a share.

    The mixer is "lowbias32" of C. Wellons, https://nullprogram.com/blog/2018/07/31/, with a seed before each product.
    """
    bits = np.uint32(index) ^ seeds[0]
    bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D)) ^ seeds[1]
    bits = np.uint32((bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(bits ^ (bits >> np.uint32(16))) >= dropped


@kernel
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


@kernel
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


@kernel
def _before(gradient: Any, value: Any, slope: Any, index: Any, seeds: Any, dropped: Any, kept: Any) -> Any:
    """The gradient that arrives before dropout and activation, at a place where the activation was given ``value``."""
    if seeds is not None:
        gradient = gradient * kept if _stays(index, seeds, dropped) else np.float32(0)
    return gradient if value > 0 else gradient * slope


@kernel
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


@kernel
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


def warm_up() -> None:
    """Compile, or load from disk, everything."""
    values, sums = np.ones(1, np.float32), np.zeros(1)
    one = np.float32(1)
    for kind in (np.float32, np.uint16):
        maps, found = np.zeros((1, 1), kind), np.zeros((1, 1), kind)
        moments(maps, values, sums, sums)
        for seeds in (None, np.zeros(2, np.uint32)):
            drops = seeds, np.uint32(0), one
            activate(maps, found, values, values, one, *drops)
            gradient_moments(maps, maps, values, values, values, one, *drops, sums, sums)
            gradient_of_maps(maps, maps, found, values, values, one, *drops, values, values)
