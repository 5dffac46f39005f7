"""The compiled inner loops: census of labels, nearest set bit, areas of surface elements.

Masks are bit maps ``(depth, height, words)`` uint64: bit ``x & 63`` of word ``x >> 6`` of a row is the voxel at ``x``.
A 2-D image has depth 1. Only this file imports numba, and only `compiled` imports this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


def _kernel(function: Callable[..., Any]) -> Any:
    """Compile, free of the interpreter lock, and keep the machine code on disk where a folder for it can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found neither __pycache__ nor the user's cache folder writable
        return njit(nogil=True)(function)


_BYTE = np.uint64(0xFF)
_EVERY_BYTE = np.uint64(0x0101010101010101)
_MIXED = np.uint64(1)  # stands for the voxels that do not fill a word
_NONE = 1 << 30
"""Steps to a bit that does not exist: more than any row has, and its square still fits."""


@intrinsic
def _trailing_zeros(typing_context: Any, word: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), build


@intrinsic
def _leading_zeros(typing_context: Any, word: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), build


@_kernel
def census(pred, gt, pred_words, gt_words, width, counts, rows_seen, columns_seen):  # type: ignore[no-untyped-def]
    """Count labels and mark where they are, in one pass that takes eight equal voxels at a time.

    Args:
        pred, gt: flat uint8 label maps.
        pred_words, gt_words: the same memory as uint64, without what is left over.
        width: length of a row.
        counts: ``(3, classes)`` int64, filled with voxels in the prediction, in the reference and in both.
        rows_seen: ``(classes, rows)`` uint8, set where a label is in either map.
        columns_seen: ``(classes, width)`` uint8, set at least where a label is first and last met.
    """
    for block in range(pred_words.size + 1):
        word = true_word = _MIXED
        if block < pred_words.size:
            word, true_word = pred_words[block], gt_words[block]
            if word | true_word == 0:
                continue
        start = 8 * block
        row = start // width
        column = start - row * width
        same = word == (word & _BYTE) * _EVERY_BYTE and true_word == (true_word & _BYTE) * _EVERY_BYTE
        run = 8 if same and column + 8 <= width else 1
        for voxel in range(start, min(start + 8, pred.size), run):
            label, true_label = pred[voxel], gt[voxel]
            if label | true_label:
                counts[0, label] += run
                counts[1, true_label] += run
                counts[2, label] += run * (label == true_label)
                rows_seen[label, row] = 1
                rows_seen[true_label, row] = 1
                for end in (column, column + run - 1):
                    columns_seen[label, end] = 1
                    columns_seen[true_label, end] = 1
            column += 1
            if column == width:
                column = 0
                row += 1


@_kernel
def _steps_beyond_word(rows, first, last, word, bit, steps, room, step2):  # type: ignore[no-untyped-def]
    """Signed steps to the nearest set bit of the row ``rows[first:last]``, where the other words may hold a nearer one.

    Args:
        word, bit: where the voxel is in the row.
        steps: signed steps to the nearest set bit of its own word, `_NONE` for none.
        room: squared distance from which on nobody asks.
        step2: squared distance of one step.
    """
    gap = 64 - bit
    for following in range(first + word + 1, last):
        if gap >= abs(steps) or gap * gap * step2 >= room:
            break
        if rows[following]:
            if gap + _trailing_zeros(rows[following]) < abs(steps):
                steps = gap + _trailing_zeros(rows[following])
            break
        gap += 64
    gap = bit + 1
    for before in range(first + word - 1, first - 1, -1):
        if gap >= abs(steps) or gap * gap * step2 >= room:
            break
        if rows[before]:
            if gap + _leading_zeros(rows[before]) < abs(steps):
                steps = -(gap + _leading_zeros(rows[before]))
            break
        gap += 64
    return steps


@_kernel
def search(start, goal, dz, dy, cost, spacing, reach2, bound2, found2, lost):  # type: ignore[no-untyped-def]
    """Squared distance from every set bit of ``start``, in order, to the nearest set bit of ``goal``.

    The rows of ``goal`` are visited from the nearest outwards. The goal of the previous voxel gives the first upper
    bound: neighbours on a surface have nearby goals.

    Args:
        start, goal: bit maps of equal shape.
        dz, dy, cost: int64, int64 and float64 offsets of rows and their squared distances, ascending.
        spacing: ``(3,)`` float64.
        reach2: rows beyond this squared distance are not among the offsets.
        bound2: squared distance from which on nobody asks; infinite for no bound.
        found2: float64, filled; ``bound2`` where nothing closer was found.
        lost: int64, filled with the positions, in ``found2``, of the voxels whose goal may lie beyond the reach.

    Returns:
        How many are lost.
    """
    depth, height, words = start.shape
    rows = goal.reshape(-1)
    sz2, sy2, sx2 = spacing[0] ** 2, spacing[1] ** 2, spacing[2] ** 2
    position, n_lost = 0, 0
    hinted, hint_z, hint_y, hint_x = False, 0, 0, 0
    for z in range(depth):
        for y in range(height):
            for word in range(words):
                bits = start[z, y, word]
                while bits:
                    bit = _trailing_zeros(bits)
                    bits &= bits - np.uint64(1)
                    x = (word << 6) + bit
                    best = bound2
                    if hinted:
                        to_z, to_y, to_x = hint_z - z, hint_y - y, hint_x - x
                        best = min(best, to_z * to_z * sz2 + to_y * to_y * sy2 + to_x * to_x * sx2)
                    for offset in range(cost.size):
                        room = best - cost[offset]
                        if room <= 0:
                            break
                        row_z, row_y = z + dz[offset], y + dy[offset]
                        if row_z < 0 or row_z >= depth or row_y < 0 or row_y >= height:
                            continue
                        first = (row_z * height + row_y) * words
                        own = rows[first + word]
                        # Both counts are 64 where there is no bit on that side.
                        ahead = _trailing_zeros(own >> np.uint64(bit))
                        behind = _leading_zeros(own << np.uint64(63 - bit))
                        steps = ahead if ahead <= behind else -behind
                        if own == 0:
                            steps = _NONE
                        if words > 1:
                            steps = _steps_beyond_word(rows, first, first + words, word, bit, steps, room, sx2)
                        reached = steps * steps * sx2
                        if reached < room:
                            best = cost[offset] + reached
                            hinted, hint_z, hint_y, hint_x = True, row_z, row_y, x + steps
                    if best > reach2:
                        lost[n_lost] = position
                        n_lost += 1
                    found2[position] = best
                    position += 1
    return n_lost


@_kernel
def _pair(rows, z, y, word, bit):  # type: ignore[no-untyped-def]
    """The two voxels of a row beside a corner point: 1 for the one before it, 2 for the one after it."""
    after = rows[z, y, word] >> np.uint64(bit)
    if bit:
        return np.int64(rows[z, y, word] >> np.uint64(bit - 1) & np.uint64(3))
    before = rows[z, y, word - 1] >> np.uint64(63) if word else np.uint64(0)
    return np.int64(before | (after & np.uint64(1)) << np.uint64(1))


@_kernel
def surface_areas(rows, start, goal, table, planar, areas):  # type: ignore[no-untyped-def]
    """Areas of the corner points of one mask that are not corner points of the other one, in order.

    Args:
        rows: bit map of the mask's voxels with an empty row on either side, and an empty plane unless ``planar``.
        start, goal: bit maps of the corner points of the mask and of the other one; the point ``(z, y, x)`` lies
            between the rows ``y`` and ``y + 1``, the planes ``z`` and ``z + 1``, and the voxels ``x - 1`` and ``x``.
        table: what `surfels.area_table` gives.
        planar: a 2-D image, whose single plane of points has no depth.
        areas: float64, filled.

    Returns:
        The area of all corner points of the mask.
    """
    position, total = 0, 0.0
    for z in range(start.shape[0]):
        for y in range(start.shape[1]):
            for word in range(start.shape[2]):
                bits = start[z, y, word]
                while bits:
                    bit = _trailing_zeros(bits)
                    bits &= bits - np.uint64(1)
                    code = _pair(rows, z, y, word, bit) | _pair(rows, z, y + 1, word, bit) << 2
                    if not planar:
                        code |= _pair(rows, z + 1, y, word, bit) << 4 | _pair(rows, z + 1, y + 1, word, bit) << 6
                    total += table[code]
                    if goal[z, y, word] >> np.uint64(bit) & np.uint64(1) == 0:
                        areas[position] = table[code]
                        position += 1
    return total
