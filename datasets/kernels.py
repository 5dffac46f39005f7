"""Compiled loops for samples on a CPU: pictures and label maps rotated in the plane, a row at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

_ONE, _HALF = np.float32(1), np.float32(0.5)
_WHOLE = np.float32(1.5 * 2**23)
"""A float32 that this is added to, and taken from again, becomes the nearest whole number, even where two are."""


def _kernel(function: Callable[..., Any]) -> Any:
    """Compiled, free of the interpreter lock, and kept on disk where a folder for it can be written."""
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # numba found neither __pycache__ nor the user's cache folder writable
        return _piece(function)


def _piece(function: Callable[..., Any]) -> Any:
    """Compiled into every kernel that calls it."""
    return njit(nogil=True, error_model="numpy", forceinline=True)(function)


@_piece
def _bordered(picture: Any, fill: Any) -> Any:
    """The picture with one pixel of ``fill`` before and two after it on both axes: what lies outside."""
    height, width = picture.shape
    found = np.empty((height + 3, width + 3), picture.dtype)
    found[:] = fill
    for i in range(height):
        found[i + 1, 1 : width + 1] = picture[i]
    return found


@_piece
def _inside(place: Any, most: Any) -> Any:
    """A coordinate, or the next one that lies just outside."""
    place = place if place > -_ONE else -_ONE
    return place if place < most else most


@_piece
def _read(column: Any, line: Any, turn: Any, size: Any) -> tuple[Any, Any]:
    """The place, in pixels from the first, that the output pixel with this centre reads: along the row, and down.

    Args:
        column, line: float32, where the picture spans -1 to 1.
        turn: cosine of the angle, and its sine times height / width and times width / height.
        size: height and width.
    """
    (cosine, along, across), (height, width) = turn, size
    here = _inside((cosine * column - along * line + _ONE) * (width * _HALF) - _HALF, width)
    there = _inside((across * column + cosine * line + _ONE) * (height * _HALF) - _HALF, height)
    return here, there


@_piece
def _corners(x: Any, line: Any, turn: Any, size: Any, at: Any, right: Any, down: Any) -> None:
    """Where a row of output pixels lies between four pixels of a bordered picture: the first, and the shares.

    Args:
        x: ``(width,)`` float32, centres of the columns.
        line: centre of the row.
        turn, size: as :func:`_read` takes them.
        at: ``(width,)`` uint32, written: place of the upper left of four pixels.
        right, down: ``(width,)`` float32, written: share of the two pixels on the right, and of the two below.
    """
    step = np.int32(size[1] + 3)
    for j in range(x.size):
        here, there = _read(x[j], line, turn, size)
        column, row = np.int32(here + _ONE), np.int32(there + _ONE)
        right[j] = here - (np.float32(column) - _ONE)
        down[j] = there - (np.float32(row) - _ONE)
        at[j] = row * step + column


@_piece
def _nearest(x: Any, line: Any, turn: Any, size: Any, at: Any) -> None:
    """As :func:`_corners`: the nearest pixel."""
    step = np.int32(size[1] + 3)
    for j in range(x.size):
        here, there = _read(x[j], line, turn, size)
        column, row = np.int32((here + _WHOLE) - _WHOLE), np.int32((there + _WHOLE) - _WHOLE)
        at[j] = (row + np.int32(1)) * step + column + np.int32(1)


@_piece
def _blend(above: Any, below: Any, at: Any, right: Any, down: Any, found: Any) -> None:
    following = np.uint32(1)
    for j in range(at.size):
        first, share = at[j], right[j]
        second, rest = first + following, _ONE - share
        top = above[first] * rest + above[second] * share
        found[j] = top * (_ONE - down[j]) + (below[first] * rest + below[second] * share) * down[j]


@_piece
def _take(picture: Any, at: Any, found: Any) -> None:
    for j in range(at.size):
        found[j] = picture[at[j]]


@_kernel
def rotate_picture(picture: Any, x: Any, y: Any, turn: Any, outside: Any, found: Any) -> None:
    """Write a rotated picture into ``found``, linearly interpolated; float32, ``(height, width)``, as is ``picture``.

    Args:
        picture: of any strides.
        x, y: float32, centres of columns and rows, where the picture spans -1 to 1.
        turn: float32, cosine of the angle, and its sine times height / width and times width / height.
        outside: what lies around the picture.
        found: written; may be ``picture``.
    """
    height, width = picture.shape
    size = (np.float32(height), np.float32(width))
    above = _bordered(picture, outside).ravel()
    below = above[width + 3 :]
    at, right, down = np.empty(width, np.uint32), np.empty(width, np.float32), np.empty(width, np.float32)
    for i in range(height):
        _corners(x, y[i], turn, size, at, right, down)
        _blend(above, below, at, right, down, found[i])


@_kernel
def rotate_labels(labels: Any, x: Any, y: Any, turn: Any, outside: Any, found: Any) -> None:
    """The same for a label map of uint8: the nearest pixel, even ones where two are."""
    height, width = labels.shape
    size = (np.float32(height), np.float32(width))
    bordered, at = _bordered(labels, outside).ravel(), np.empty(width, np.uint32)
    for i in range(height):
        _nearest(x, y[i], turn, size, at)
        _take(bordered, at, found[i])


def warm_up() -> None:
    """Compile, or load from disk, both."""
    line, turn = np.zeros(1, np.float32), (_ONE, _ONE, _ONE)
    rotate_picture(np.zeros((1, 1), np.float32), line, line, turn, _ONE, np.zeros((1, 1), np.float32))
    rotate_labels(np.zeros((1, 1), np.uint8), line, line, turn, np.uint8(0), np.zeros((1, 1), np.uint8))
