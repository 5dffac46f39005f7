"""Compiled loops for maps of a CPU: max-pooling, sums, dropout of channels, and skip connections beside what is raised.

Images are ``(n, height, width, channels)``, of float32, or bfloat16 given as uint16; maps have an axis before height.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import kernel, narrow, piece, wide


@kernel
def join(skip: Any, corners: Any, found: Any) -> None:
    """Write a skip connection, and what was raised to its size, side by side into ``found``; bits are copied as are.

    Args:
        skip: ``(n, height, width, channels)``.
        corners: ``(n, height / 2, width / 2, 2, 2, channels_2)``: of each position, the four that it becomes.
        found: ``(n, height, width, channels + channels_2)``, written.
    """
    count, height, width, first = skip.shape
    second = found.shape[3] - first
    for n in range(count):
        for y in range(height):
            for x in range(width):
                for k in range(first):
                    found[n, y, x, k] = skip[n, y, x, k]
                for k in range(second):
                    found[n, y, x, first + k] = corners[n, y // 2, x // 2, y % 2, x % 2, k]


@kernel
def part(joined: Any, skip: Any, corners: Any) -> None:
    """The other way: write ``skip`` and ``corners``."""
    count, height, width, first = skip.shape
    second = joined.shape[3] - first
    for n in range(count):
        for y in range(height):
            for x in range(width):
                for k in range(first):
                    skip[n, y, x, k] = joined[n, y, x, k]
                for k in range(second):
                    corners[n, y // 2, x // 2, y % 2, x % 2, k] = joined[n, y, x, first + k]


@kernel
def pool(maps: Any, found: Any, codes: Any) -> None:
    """Write the largest of every four or eight neighbours, and which it is; of equal ones the first, NaN before others.

    Args:
        maps: ``(n, depth or 2 * depth, 2 * height, 2 * width, channels)``.
        found, codes: ``(n, depth, height, width, channels)``, as maps and uint8, written.
    """
    count, depth, height, width, channels = found.shape
    for n in range(count):
        for plane in range(maps.shape[1]):
            z, later = plane * depth // maps.shape[1], plane % (maps.shape[1] // depth)
            corner = np.uint8(4 * later)
            for y in range(height):
                for x in range(width):
                    first, second = maps[n, plane, 2 * y, 2 * x], maps[n, plane, 2 * y, 2 * x + 1]
                    third, fourth = maps[n, plane, 2 * y + 1, 2 * x], maps[n, plane, 2 * y + 1, 2 * x + 1]
                    into, code = found[n, z, y, x], codes[n, z, y, x]
                    for k in range(channels):
                        best, which = first[k], corner
                        if later:
                            best, which = _larger(best, which, into[k], code[k])
                        best, which = _larger(second[k], np.uint8(corner + 1), best, which)
                        best, which = _larger(third[k], np.uint8(corner + 2), best, which)
                        best, which = _larger(fourth[k], np.uint8(corner + 3), best, which)
                        into[k], code[k] = best, which


@piece
def _larger(number: Any, own: Any, best: Any, which: Any) -> Any:
    value = wide(number)
    taken = value > wide(best) or value != value
    return number if taken else best, own if taken else which


@kernel
def gradient_of_pool(codes: Any, pooled: Any, others: Any, found: Any) -> None:
    """Write the gradient of what :func:`pool` was given: ``pooled`` where the largest was, and ``others`` everywhere.

    Args:
        codes: as :func:`pool` wrote them.
        pooled: the gradient that arrives from what was pooled.
        others: the gradient from elsewhere, such as a skip connection; None = nothing.
        found: written.
    """
    count, depth, height, width, channels = pooled.shape
    for n in range(count):
        for plane in range(found.shape[1]):
            z, later = plane * depth // found.shape[1], plane % (found.shape[1] // depth)
            for y in range(height):
                for x in range(width):
                    arriving, code = pooled[n, z, y, x], codes[n, z, y, x]
                    for corner in range(4):
                        row, column, own = 2 * y + corner // 2, 2 * x + corner % 2, np.uint8(4 * later + corner)
                        into = found[n, plane, row, column]
                        for k in range(channels):
                            more = arriving[k] if code[k] == own else narrow(np.float32(0), arriving[k])
                            if others is not None:
                                more = narrow(wide(others[n, plane, row, column, k]) + wide(more), more)
                            into[k] = more


@kernel
def add(first: Any, second: Any, found: Any) -> None:
    """Write the sum of two maps ``(numbers,)`` that lie alike."""
    for i in range(first.size):
        found[i] = narrow(wide(first[i]) + wide(second[i]), first[i])


@kernel
def scale(rows: Any, factor: Any, found: Any) -> None:
    """Write ``rows`` ``(n, positions, lanes)`` times ``factor`` ``(n, lanes)`` float32 into ``found``."""
    count, positions, lanes = rows.shape
    for n in range(count):
        for p in range(positions):
            for k in range(lanes):
                found[n, p, k] = narrow(wide(rows[n, p, k]) * factor[n, k], rows[n, p, k])


def warm_up() -> None:
    """Compile, or load from disk, everything."""
    bits = [np.zeros(shape, np.uint16) for shape in ((1, 2, 2, 1), (1, 1, 1, 2, 2, 1), (1, 2, 2, 2))]
    join(*bits)
    part(bits[2], *bits[:2])
    for kind in (np.float32, np.uint16):
        maps, codes = np.zeros((1, 1, 2, 2, 1), kind), np.zeros((1, 1, 1, 1, 1), np.uint8)
        pooled = codes.astype(kind)
        add(pooled.reshape(-1), pooled.reshape(-1), pooled.reshape(-1).copy())
        scale(pooled[0, 0], np.ones((1, 1), np.float32), pooled[0, 0].copy())
        pool(maps, pooled, codes)
        for others in (None, maps):
            gradient_of_pool(codes, pooled, others, maps.copy())
