"""How compiled loops are made, and how they read and write numbers of float32, or bfloat16 given as uint16."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_WORD, _HALF = ir.IntType(32), ir.IntType(16)
_WHOLE = ir.Constant(ir.FloatType(), 1.5 * 2**23)
"""Added to a smaller float32, it rounds that to a whole number, which then is in the lowest bits."""

_LINE, _AHEAD = 64, 2048  # bytes

_LEAST, _PER_LN_2 = np.float32(-87), np.float32(1 / math.log(2))
_LN_2_HIGH = np.float32(0.693359375)  # of few bits, so that its products with small whole numbers are exact
_LN_2_LOW = np.float32(math.log(2) - 0.693359375)
_POWERS = tuple(np.float32(1 / math.factorial(k)) for k in range(8))  # of the exponential's series
_ODD = tuple(np.float32(1 / (2 * k + 1)) for k in range(5))  # of that of the inverse hyperbolic tangent

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def kernel(function: Callable[..., Any]) -> Any:
    """Compiled, free of the interpreter lock, and kept on disk where a folder for it can be written."""
    return _cached(function, _OPTIONS)


def kernel_of_sums(function: Callable[..., Any]) -> Any:
    """:func:`kernel` whose sums along one vector may be added up in any order, so that they fill the processor's."""
    return _cached(function, _OPTIONS | {"fastmath": {"contract", "reassoc"}})


def piece(function: Callable[..., Any]) -> Any:
    """Compiled into every kernel that calls it.

    A process that compiles would otherwise call the piece as it stands, and one that loads the kernel from disk the
    copy in it; the two are contracted to multiply-adds in other places, and round otherwise.
    """
    return njit(forceinline=True, **_OPTIONS)(function)


def _cached(function: Callable[..., Any], options: dict[str, Any]) -> Any:
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


@_inline
def _fetch(typing_context: Any, array: Any, place: Any) -> Any:
    """Ask for the memory at a flat place of an array; past its end nothing happens."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, _WORD, _WORD, _WORD])
        asked = builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        builder.call(asked, [address, *(ir.Constant(_WORD, number) for number in (0, 3, 1))])
        return context.get_dummy_value()

    return types.none(array, types.int64), build


@piece
def fetch_ahead(rows: Any, i: Any) -> None:
    """Ask for a row that will be read 2 KiB after row ``i`` of a contiguous array, its last axis.

    Where rows are short and much is computed of each, a core waits for memory row by row otherwise.
    """
    width = rows.shape[-1]
    place = i * width + _AHEAD // rows.itemsize
    for j in range(0, width, _LINE // rows.itemsize):
        _fetch(rows, place + j)


@_inline
def _nearest(typing_context: Any, value: Any) -> Any:
    """The whole number nearest to a float32 of less than 2**22, as float32."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fsub(builder.fadd(arguments[0], _WHOLE), _WHOLE)

    return types.float32(value), build


@_inline
def _power_of_two(typing_context: Any, value: Any) -> Any:
    """2 to the power of a whole number in [-126, 127], given as float32."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(builder.fadd(arguments[0], _WHOLE), _WORD)
        biased = builder.add(bits, ir.Constant(_WORD, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(_WORD, 23)), ir.FloatType())

    return types.float32(value), build


@_inline
def _exponent(typing_context: Any, value: Any) -> Any:
    """The whole number n, as float32, for which a positive float32 is 2**n times a number in [sqrt(1/2), sqrt(2))."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.sub(builder.bitcast(arguments[0], _WORD), ir.Constant(_WORD, 0x3F3504F3))
        return builder.sitofp(builder.ashr(bits, ir.Constant(_WORD, 23)), ir.FloatType())

    return types.float32(value), build


@piece
def exponential(value: Any) -> Any:
    """The exponential of a float32 of at most 88, to 2e-7 of it; 0 below -87, NaN of NaN. Its loops are vectorised."""
    times = _nearest(max(value, _LEAST) * _PER_LN_2)
    rest = (max(value, _LEAST) - times * _LN_2_HIGH) - times * _LN_2_LOW
    power = _POWERS[7]
    for k in range(6, -1, -1):
        power = _POWERS[k] + rest * power
    return np.float32(0) if value < _LEAST else power * _power_of_two(times)


@piece
def logarithm(value: Any) -> Any:
    """The natural logarithm of a float32 from 1e-37 to 1e37, to 2e-7; NaN of NaN."""
    times = _exponent(value)
    part = value * _power_of_two(-times)
    ratio = (part - _POWERS[0]) / (part + _POWERS[0])
    square = ratio * ratio
    series = _ODD[4]
    for k in range(3, -1, -1):
        series = _ODD[k] + square * series
    found = times * _LN_2_LOW + ((ratio + ratio) * series + times * _LN_2_HIGH)
    return found if value == value else value


@piece
def logarithm_of_one_and(value: Any) -> Any:
    """The logarithm of one and a float32 from 0 to 1e37, as near to it as :func:`logarithm`, however small it is."""
    whole = _POWERS[0] + value
    return logarithm(whole) * (value / (whole - _POWERS[0])) if whole > _POWERS[0] else value


@piece
def mixed(index: Any, seeds: Any) -> Any:
    """32 bits mixed from a place and two seeds, uint32: random numbers that need not be drawn one after the other.

    The mixer is "lowbias32" of C. Wellons, https://nullprogram.com/blog/2018/07/31/, with a seed before each product.
    """
    bits = np.uint32(index) ^ seeds[0]
    bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D)) ^ seeds[1]
    bits = np.uint32((bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(bits ^ (bits >> np.uint32(16)))
