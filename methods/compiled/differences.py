"""Compiled loops for the squared difference of two predictions on a CPU: read once each way, in their own types."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import kernel_of_sums, narrow, wide

_BLOCK = 1024
"""Numbers whose squares are summed in float32 before their sum is added to the others in float64."""


@kernel_of_sums
def sum_of_squares(first: Any, second: Any) -> Any:
    """Of the differences of two arrays ``(numbers,)``, each float32, or bfloat16 given as uint16."""
    total: Any = 0.0
    for start in range(0, first.size, _BLOCK):
        some = np.float32(0)
        for i in range(start, min(start + _BLOCK, first.size)):
            difference = wide(first[i]) - wide(second[i])
            some += difference * difference
        total += some
    return total


@kernel_of_sums
def differences(first: Any, second: Any, scale: Any, found: Any) -> None:
    """Write ``scale`` times ``first - second`` into ``found``, of the type of ``first``; ``scale`` is float32."""
    for i in range(first.size):
        found[i] = narrow(scale * (wide(first[i]) - wide(second[i])), first[i])


def warm_up() -> None:
    """Compile, or load from disk, both."""
    kinds = [np.zeros(1, kind) for kind in (np.float32, np.uint16)]
    for first in kinds:
        for second in kinds:
            sum_of_squares(first, second)
            differences(first, second, np.float32(1), first.copy())
