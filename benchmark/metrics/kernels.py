"""The other compiled loops: census of labels, distance map of a box, areas of surface elements."""

from __future__ import annotations

import numpy as np

from .bits import kernel, trailing_zeros

_BYTE = np.uint64(0xFF)
_EVERY_BYTE = np.uint64(0x0101010101010101)
_MIXED = np.uint64(1)  # stands for the voxels that do not fill a word


@kernel
def census(pred, gt, pred_words, gt_words, width, rows_seen, columns_seen):
    """Mark where each label is in either map, in one pass that takes eight equal voxels at a time.

    Args:
        pred, gt: flat uint8 label maps.
        pred_words, gt_words: the same memory as uint64, without what is left over.
        width: length of a row.
        rows_seen: ``(classes, rows)`` uint8, set where a label is.
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
            for label in (pred[voxel], gt[voxel]):
                rows_seen[label, row] = 1
                columns_seen[label, column] = 1
                columns_seen[label, column + run - 1] = 1
            column += 1
            if column == width:
                column = 0
                row += 1


@kernel
def _lower_envelope(heights, step2, bottoms, borders, lowest):
    """Squared distance transform of a line: the lowest of the parabolas that stand at ``heights``, at every position.

    Felzenszwalb and Huttenlocher, "Distance transforms of sampled functions" (Theory of Computing 8, 2012). ``bottoms``
    and ``borders`` are working memory; ``lowest`` is filled.
    """
    count = 0
    for position in range(heights.size):
        if heights[position] == np.inf:
            continue
        border = -np.inf
        while count:
            before = bottoms[count - 1]
            rise = (heights[position] - heights[before]) / step2 + (position * position - before * before)
            border = rise / (2 * (position - before))
            if border > borders[count - 1]:
                break
            count -= 1
            border = -np.inf
        bottoms[count], borders[count] = position, border
        count += 1
    current = 0
    for position in range(heights.size):
        if count == 0:
            lowest[position] = np.inf
            continue
        while current + 1 < count and borders[current + 1] < position:
            current += 1
        steps = position - bottoms[current]
        lowest[position] = heights[bottoms[current]] + steps * steps * step2


@kernel
def distance_map(goal, spacing, squared):
    """Squared distance of every voxel to the nearest set bit of ``goal``, which has one.

    Args:
        goal: bit map.
        spacing: ``(3,)`` float64.
        squared: ``(depth, height, width)`` float64, filled; the width may leave out unset bits at the ends of rows.
    """
    depth, height, width = squared.shape
    longest = max(depth, height)
    bottoms, borders, lowest = np.empty(longest, np.int64), np.empty(longest), np.empty(longest)
    for z in range(depth):
        for y in range(height):
            steps = np.inf
            for x in range(width):
                steps = 0.0 if goal[z, y, x >> 6] >> np.uint64(x & 63) & np.uint64(1) else steps + 1.0
                squared[z, y, x] = steps
            for x in range(width - 1, -1, -1):
                steps = min(steps + 1.0, squared[z, y, x])
                squared[z, y, x] = (steps * spacing[2]) ** 2
        for x in range(width):
            _lower_envelope(squared[z, :, x], spacing[1] ** 2, bottoms, borders, lowest)
            for y in range(height):
                squared[z, y, x] = lowest[y]
    if depth > 1:
        for y in range(height):
            for x in range(width):
                _lower_envelope(squared[:, y, x], spacing[0] ** 2, bottoms, borders, lowest)
                for z in range(depth):
                    squared[z, y, x] = lowest[z]


@kernel
def _pair(rows, z, y, word, bit):
    """The two voxels of a row beside a corner point: 1 for the one before it, 2 for the one after it."""
    after = rows[z, y, word] >> np.uint64(bit)
    if bit:
        return np.int64(rows[z, y, word] >> np.uint64(bit - 1) & np.uint64(3))
    before = rows[z, y, word - 1] >> np.uint64(63) if word else np.uint64(0)
    return np.int64(before | (after & np.uint64(1)) << np.uint64(1))


@kernel
def surface_areas(rows, start, goal, table, planar, areas):
    """Areas of the corner points of one mask that are not corner points of the other one, in order.

    Args:
        rows: bit map of the mask's voxels with an empty row on either side, and an empty plane unless ``planar``.
        start, goal: bit maps of the corner points of the mask and of the other one; the point ``(z, y, x)`` lies
            between the rows ``y`` and ``y + 1``, the planes ``z`` and ``z + 1``, and the voxels ``x - 1`` and ``x``.
        table: what `surfels.area_table` gives.
        planar: a 2-D image, whose single plane of points has no depth.
        areas: float64, filled.

    Returns:
        The area of the corner points that both masks have.
    """
    position, shared = 0, 0.0
    for z in range(start.shape[0]):
        for y in range(start.shape[1]):
            for word in range(start.shape[2]):
                bits = start[z, y, word]
                while bits:
                    bit = trailing_zeros(bits)
                    bits &= bits - np.uint64(1)
                    code = _pair(rows, z, y, word, bit) | _pair(rows, z, y + 1, word, bit) << 2
                    if not planar:
                        code |= _pair(rows, z + 1, y, word, bit) << 4 | _pair(rows, z + 1, y + 1, word, bit) << 6
                    if goal[z, y, word] >> np.uint64(bit) & np.uint64(1):
                        shared += table[code]
                    else:
                        areas[position] = table[code]
                        position += 1
    return shared
