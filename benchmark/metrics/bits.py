"""What the compiled loops have in common: how they are compiled, and how they read bit maps.

Masks are bit maps ``(depth, height, words)`` uint64: bit ``x & 63`` of word ``x >> 6`` of a row is the voxel at ``x``.
A 2-D image has depth 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.extending import intrinsic


def kernel(function: Callable[..., Any]) -> Any:
    """Compile, free of the interpreter lock, and keep the machine code on disk where a folder for it can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found neither __pycache__ nor the user's cache folder writable
        return njit(nogil=True)(function)


def _bit_count(instruction: str) -> Any:
    """A processor's instruction on one uint64 word."""

    def typed(typing_context: Any, word: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            defined_for_zero = context.get_constant(types.boolean, False)
            return getattr(builder, instruction)(arguments[0], defined_for_zero)

        return types.int64(types.uint64), build

    return intrinsic(typed)


trailing_zeros = _bit_count("cttz")
"""How many unset bits come before the first set one; 64 for none."""
leading_zeros = _bit_count("ctlz")
"""How many unset bits come after the last set one; 64 for none."""
