"""Compiled loops that choose voxels for a contrast on a CPU: all classes and kinds in one pass over each sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets.types import IGNORE

from .compiling import kernel, mixed, piece

_UNIT = np.float32(2**-32)
_NONE = np.int16(-(2**15))
"""Below every label and its negative."""


@piece
def _spread(values: Any, between: Any) -> None:
    """Turn every value of a volume into the largest of the 3 x 3 x 3 around it, axis by axis."""
    depth, height, width = values.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                between[z, y, x] = values[z, y, x]
            for x in range(1, width):
                between[z, y, x] = max(between[z, y, x], values[z, y, x - 1])
            for x in range(width - 1):
                between[z, y, x] = max(between[z, y, x], values[z, y, x + 1])
    for z in range(depth):
        for y in range(height):
            above, below = max(y - 1, 0), min(y + 1, height - 1)
            for x in range(width):
                values[z, y, x] = max(between[z, y, x], max(between[z, above, x], between[z, below, x]))
    for z in range(depth):
        above, below = max(z - 1, 0), min(z + 1, depth - 1)
        for y in range(height):
            for x in range(width):
                between[z, y, x] = max(values[z, y, x], max(values[above, y, x], values[below, y, x]))
    values[:] = between


@kernel
def differences(label: Any, predicted: Any, found: Any) -> None:
    """Write where a known voxel is predicted wrong, or touches a known one of another label.

    Args:
        label, predicted: ``(n, depth, height, width)`` int64 below 32768; a label may be IGNORE.
        found: as these, booleans, written.
    """
    highest, lowest = np.empty(label.shape[1:], np.int16), np.empty(label.shape[1:], np.int16)
    between = np.empty(label.shape[1:], np.int16)
    count, depth, height, width = label.shape
    for n in range(count):
        for z in range(depth):
            for y in range(height):
                for x in range(width):
                    own = label[n, z, y, x]
                    highest[z, y, x] = own if own != IGNORE else _NONE
                    lowest[z, y, x] = -own if own != IGNORE else _NONE
        _spread(highest, between)
        _spread(lowest, between)
        for z in range(depth):
            for y in range(height):
                for x in range(width):
                    own = label[n, z, y, x]
                    edge = highest[z, y, x] > -lowest[z, y, x]
                    found[n, z, y, x] = own != IGNORE and (edge or own != predicted[n, z, y, x])


@piece
def _offer(score: Any, place: Any, scores: Any, places: Any) -> None:
    """Put a place among the best, which are sorted, if its score is higher than the last one's."""
    last = len(scores) - 1
    if last < 0 or not score > scores[last]:
        return
    while last > 0 and score > scores[last - 1]:
        scores[last], places[last] = scores[last - 1], places[last - 1]
        last -= 1
    scores[last], places[last] = score, place


@kernel
def choose(
    label: Any, predicted: Any, hard: Any, similarity: Any, starts: Any, seeds: Any, position: Any, found: Any
) -> None:
    """Choose, per class k from 1, random agreed and hard voxels of it, and random agreed and hard ones of others.

    Args:
        label, predicted: ``(n, v)`` int64; where the label is IGNORE nothing is chosen.
        hard: ``(n, v)`` booleans; the lowest ``similarity`` to the class is hardest in it, outside of it the highest.
        similarity: ``(n, c, v)`` float32.
        starts: ``(5,)`` where each of the four kinds begins among the voxels of a class, and how many these are.
        seeds: ``(2,)`` uint32 of the random ones.
        position, found: ``(n, (c - 1) * starts[4])`` int64, written: places and their labels, or IGNORE: where nothing
            is chosen, and from the second time on that a sample's voxel is.
    """
    count, voxels = label.shape
    each, classes = starts[4], similarity.shape[1]
    scores, seen = np.empty((classes - 1) * each, np.float32), np.zeros(voxels, np.bool_)
    for n in range(count):
        scores[:] = -np.inf
        position[n] = 0
        for v in range(voxels):
            own = label[n, v]
            if own == IGNORE:
                continue
            agreed = own == predicted[n, v]
            if not (agreed or hard[n, v]):
                continue
            for k in range(1, classes):
                kind, first = 0 if own == k else 2, (k - 1) * each
                if agreed:
                    bits = mixed((n * classes + k) * voxels + v, seeds)
                    start, stop = first + starts[kind], first + starts[kind + 1]
                    _offer(np.float32(bits) * _UNIT, v, scores[start:stop], position[n, start:stop])
                if hard[n, v]:
                    score = similarity[n, k, v]
                    start, stop = first + starts[kind + 1], first + starts[kind + 2]
                    _offer(-score if own == k else score, v, scores[start:stop], position[n, start:stop])
        for j in range(len(scores)):
            place = position[n, j]
            new = scores[j] > -np.inf and not seen[place]
            found[n, j] = label[n, place] if new else IGNORE
            seen[place] = seen[place] or new
        for j in range(len(scores)):
            seen[position[n, j]] = False


def warm_up() -> None:
    """Compile, or load from disk, both."""
    label, found = np.zeros((1, 1), np.int64), np.zeros((1, 4), np.int64)
    choose(
        label, label, label == 0, np.zeros((1, 2, 1), np.float32), np.arange(5), np.zeros(2, np.uint32), found, found
    )
    volume = label.reshape(1, 1, 1, 1)
    differences(volume, volume, volume == 0)
