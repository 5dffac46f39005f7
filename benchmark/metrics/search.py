"""The nearest set bit of a bit map: the loop in which nearly all the time of a case is spent."""

from __future__ import annotations

import numpy as np

from .bits import kernel, leading_zeros, trailing_zeros

_NONE = 1 << 30
"""Steps to a bit that does not exist: more than any row has, and its square still fits."""


@kernel
def _steps_beyond_word(rows, first, last, word, bit, steps, room, step2):
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
            if gap + trailing_zeros(rows[following]) < abs(steps):
                steps = gap + trailing_zeros(rows[following])
            break
        gap += 64
    gap = bit + 1
    for before in range(first + word - 1, first - 1, -1):
        if gap >= abs(steps) or gap * gap * step2 >= room:
            break
        if rows[before]:
            if gap + leading_zeros(rows[before]) < abs(steps):
                steps = -(gap + leading_zeros(rows[before]))
            break
        gap += 64
    return steps


@kernel
def _steps_in_word(word, bit):
    """Signed steps from a bit to the nearest set bit of a word, `_NONE` if it has none."""
    if word == 0:
        return _NONE
    # Both counts are 64 where there is no bit on that side.
    ahead, behind = trailing_zeros(word >> np.uint64(bit)), leading_zeros(word << np.uint64(63 - bit))
    return ahead if ahead <= behind else -behind


@kernel
def search_near(start, goal, filled, dz, dy, cost, spacing, reach2, bound2, found2, lost):
    """Squared distance from every set bit of ``start``, in order, to the nearest set bit of ``goal``.

    The rows of ``goal`` are visited from the nearest outwards. The goal of the previous voxel gives the first upper
    bound: neighbours on a surface have nearby goals.

    Args:
        start, goal: bit maps of equal shape.
        filled: ``(depth, height)`` bool: rows of ``goal`` with any bit.
        dz, dy, cost: int64, int64 and float64 offsets of rows and their squared distances, ascending.
        spacing: ``(3,)`` float64.
        reach2: rows beyond this squared distance are not among the offsets.
        bound2: squared distance from which on nobody asks; infinite for no bound.
        found2: float64, filled; ``bound2`` where nothing closer was found.
        lost: ``(most, 4)`` int64, filled with what `search_far` needs to know of voxels whose goal may lie beyond the
            reach: the position in ``found2``, z, y and x. The search stops when it is full: then there are better ways.

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
                    bit = trailing_zeros(bits)
                    bits &= bits - np.uint64(1)
                    x = (word << 6) + bit
                    edge = min(bit + 1, 64 - bit) if words > 1 else _NONE
                    best = bound2
                    if hinted:
                        to_z, to_y, to_x = hint_z - z, hint_y - y, hint_x - x
                        best = min(best, to_z * to_z * sz2 + to_y * to_y * sy2 + to_x * to_x * sx2)
                    for offset in range(cost.size):
                        room = best - cost[offset]
                        if room <= 0:
                            break
                        row_z, row_y = z + dz[offset], y + dy[offset]
                        if row_z < 0 or row_z >= depth or row_y < 0 or row_y >= height or not filled[row_z, row_y]:
                            continue
                        first = (row_z * height + row_y) * words
                        steps = _steps_in_word(rows[first + word], bit)
                        if abs(steps) > edge and edge * edge * sx2 < room:
                            steps = _steps_beyond_word(rows, first, first + words, word, bit, steps, room, sx2)
                        if steps * steps * sx2 < room:
                            best = cost[offset] + steps * steps * sx2
                            hinted, hint_z, hint_y, hint_x = True, row_z, row_y, x + steps
                    found2[position] = best
                    if best > reach2:
                        if n_lost == len(lost):
                            return n_lost + 1
                        lost[n_lost, 0], lost[n_lost, 1], lost[n_lost, 2], lost[n_lost, 3] = position, z, y, x
                        n_lost += 1
                    position += 1
    return n_lost


@kernel
def search_far(lost, goal, filled_y, ends, columns, spacing, found2):
    """Finish what `search_near` gave up: look at all rows with any bit, from the nearest plane outwards.

    Args:
        lost, goal, spacing, found2: as there; ``found2`` holds an upper bound for each, or infinity.
        filled_y: int64, the ``y`` of all rows with any bit, plane after plane.
        ends: int64, how many of them there are up to and with each plane.
        columns: first and last ``x`` of any set bit of ``goal``.
    """
    depth, height, words = goal.shape
    rows = goal.reshape(-1)
    sz2, sy2, sx2 = spacing[0] ** 2, spacing[1] ** 2, spacing[2] ** 2
    hinted, hint_z, hint_y, hint_x = False, 0, 0, 0
    for place in range(len(lost)):
        position, z, y, x = lost[place]
        word, bit = x >> 6, x & 63
        edge = min(bit + 1, 64 - bit) if words > 1 else _NONE
        best = found2[position]
        if hinted:
            to_z, to_y, to_x = hint_z - z, hint_y - y, hint_x - x
            best = min(best, to_z * to_z * sz2 + to_y * to_y * sy2 + to_x * to_x * sx2)
        # No goal is nearer than this along the row.
        aside = max(columns[0] - x, x - columns[1], 0)
        for turn in range(2 * depth):
            away = (turn + 1) // 2
            cost_z = away * away * sz2 + aside * aside * sx2
            if cost_z >= best:
                break
            row_z = z + away if turn % 2 else z - away
            if row_z < 0 or row_z >= depth:
                continue
            for entry in range(ends[row_z - 1] if row_z else 0, ends[row_z]):
                row_y = filled_y[entry]
                if cost_z + (row_y - y) * (row_y - y) * sy2 >= best:
                    continue
                cost = away * away * sz2 + (row_y - y) * (row_y - y) * sy2
                first = (row_z * height + row_y) * words
                steps = _steps_in_word(rows[first + word], bit)
                if abs(steps) > edge and edge * edge * sx2 < best - cost:
                    steps = _steps_beyond_word(rows, first, first + words, word, bit, steps, best - cost, sx2)
                if cost + steps * steps * sx2 < best:
                    best = cost + steps * steps * sx2
                    hinted, hint_z, hint_y, hint_x = True, row_z, row_y, x + steps
        found2[position] = best
