"""How compiled loops are made, and how they read and write numbers of float32, or bfloat16 given as uint16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_WORD, _HALF = ir.IntType(32), ir.IntType(16)


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
