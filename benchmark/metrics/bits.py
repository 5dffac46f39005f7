"""What the compiled loops have in common: how they are compiled, and how they read bit maps.

Masks are bit maps ``(depth, height, words)`` uint64: bit ``x & 63`` of word ``x >> 6`` of a row is the voxel at ``x``. A
2-D image has depth 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


def kernel(function: Callable[..., Any]) -> Any:
    """Compile, free of the interpreter lock, and keep the machine code on disk where a folder for it can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found neither __pycache__ nor the user's cache folder writable
        return njit(nogil=True)(function)


@intrinsic
def trailing_zeros(typing_context: Any, word: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), build


@intrinsic
def leading_zeros(typing_context: Any, word: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), build
