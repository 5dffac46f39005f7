"""Compiled loops for exact Euclidean distances in masks on a CPU: axis by axis, squared, in whole numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiling import kernel, piece

_FAR = np.int32(2**30)
"""Squared distance to what is not there, which is further than all that sides below 2**14 hold."""

_BLOCK = 64
"""Neighbouring lines that are looked at together."""


@piece
def _along_rows(mask: Any, squared: Any) -> None:
    """Write the squared distance of every True to the nearest False of its row; both are ``(rows, side)``."""
    rows, side = mask.shape
    for row in range(rows):
        some = False
        for x in range(side):
            some |= mask[row, x]
        if not some:
            squared[row] = 0
            continue
        steps = side
        for x in range(side):
            steps = min(steps + 1, side) if mask[row, x] else 0
            squared[row, x] = steps
        steps = side
        for x in range(side - 1, -1, -1):
            steps = min(steps + 1, squared[row, x])
            squared[row, x] = steps * steps if steps < side else _FAR


@piece
def _along_columns(squared: Any, before: Any, least: Any, best: Any) -> None:
    """Replace numbers ``(side, columns)`` by the lowest of all in their column plus squared distances to these.

    Rows are looked at from near to far, and those passed over that cannot be better in any of a block's columns.

    Args:
        squared: int32.
        before: ``(side, _BLOCK)`` int32 for the numbers of a block as they were.
        least: ``(side,)`` int32 for the least of each of its rows.
        best: ``(_BLOCK,)`` int32, of one row.
    """
    side, columns = squared.shape
    for start in range(0, columns, _BLOCK):
        some = min(_BLOCK, columns - start)
        lowest, highest = _FAR, np.int32(0)
        for y in range(side):
            low = _FAR
            for x in range(some):
                before[y, x] = squared[y, start + x]
                low, highest = min(low, before[y, x]), max(highest, before[y, x])
            least[y] = low
            lowest = min(lowest, low)
        if lowest == highest:
            continue
        for y in range(side):
            most = np.int32(0)
            for x in range(some):
                best[x] = before[y, x]
                most = max(most, best[x])
            step = 1
            while step * step + lowest < most and step <= max(y, side - 1 - y):
                above, below, more = max(y - step, 0), min(y + step, side - 1), np.int32(step * step)
                step += 1
                if min(least[above], least[below]) + more >= most:
                    continue
                one, other = before[above], before[below]
                most = np.int32(0)
                for x in range(some):
                    best[x] = min(best[x], np.int32(min(one[x], other[x]) + more))
                    most = max(most, best[x])
            for x in range(some):
                squared[y, start + x] = best[x]


@kernel
def distances(mask: Any, found: Any) -> None:
    """Write the distance in pixels of every True to the nearest False of its sample; inf without one.

    Args:
        mask: ``(n, depth, height, width)`` booleans.
        found: of this shape, float32, written.
    """
    count, depth, height, width = mask.shape
    squared, best = np.empty((depth, height, width), np.int32), np.empty(_BLOCK, np.int32)
    before, least = np.empty((max(depth, height), _BLOCK), np.int32), np.empty(max(depth, height), np.int32)
    for i in range(count):
        _along_rows(mask[i].reshape(-1, width), squared.reshape(-1, width))
        for z in range(depth):
            _along_columns(squared[z], before, least, best)
        _along_columns(squared.reshape(depth, -1), before, least, best)
        own, flat = found[i].reshape(-1), squared.reshape(-1)
        for at in range(own.size):
            own[at] = math.sqrt(np.float32(flat[at])) if flat[at] < _FAR else np.float32(np.inf)


def warm_up() -> None:
    """Compile, or load from disk."""
    distances(np.zeros((1, 1, 1, 1), np.bool_), np.zeros((1, 1, 1, 1), np.float32))
