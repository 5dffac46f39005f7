"""Compiled loops for label maps on a CPU: the most probable class, and connected components of all classes at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets.types import IGNORE

from .compiling import exponential, kernel, piece, wide
from .losses import BLOCK


@kernel
def most_probable(scores: Any, label: Any) -> None:
    """Write the class of the highest score into ``label``, of equals the first; NaN wins in class 0 alone.

    Args:
        scores: ``(positions, classes)``, float32, or bfloat16 given as uint16.
        label: ``(positions,)`` int64, written.
    """
    positions, classes = scores.shape
    for i in range(positions):
        best, own = wide(scores[i, 0]), 0
        for k in range(1, classes):
            value = wide(scores[i, k])
            if value > best:
                best, own = value, k
        label[i] = own


@kernel
def of_own_class(scores: Any, label: Any, found: Any) -> None:
    """Write every position's score of its label into that class's plane of ``found``; nothing where it is IGNORE.

    Args:
        scores: ``(n, positions, classes)``, float32, or bfloat16 given as uint16.
        label: ``(n, positions)`` int64.
        found: ``(n, classes, positions)`` float32, zeros; written.
    """
    count, positions, classes = scores.shape
    for n in range(count):
        for i in range(positions):
            own = label[n, i]
            for k in range(classes):  # so that nothing is written elsewhere, whatever a label is
                if k == own:
                    found[n, k, i] = wide(scores[n, i, k])


@kernel
def own_probability(logits: Any, label: Any, found: Any) -> None:
    """Write every position's softmax of its label, or of the most probable class, into that class's plane.

    Args:
        logits: ``(n * positions, classes)``, float32, or bfloat16 given as uint16.
        label: ``(n, positions)`` int64; ``(0, 0)`` = the most probable class, of equals the first.
        found: ``(n, classes, positions)`` float32, written: 0 in other planes, and where the label is none of them.
    """
    count, classes, positions = found.shape
    shares, own = np.empty((classes, BLOCK), np.float32), np.empty(BLOCK, np.int64)
    largest, whole = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for n in range(count):
        for start in range(0, positions, BLOCK):
            some = min(BLOCK, positions - start)
            for b in range(some):
                for k in range(classes):
                    shares[k, b] = wide(logits[n * positions + start + b, k])
            largest[:], whole[:], own[:] = shares[0], 0, 0
            for k in range(1, classes):
                for b in range(some):
                    own[b] = k if shares[k, b] > largest[b] else own[b]
                    largest[b] = max(largest[b], shares[k, b])
            for k in range(classes):
                for b in range(some):
                    shares[k, b] = exponential(shares[k, b] - largest[b])
                    whole[b] += shares[k, b]
            if label.size:
                own[:some] = label[n, start : start + some]
            for k in range(classes):
                for b in range(some):
                    found[n, k, start + b] = shares[k, b] / whole[b] if own[b] == k else np.float32(0)


@kernel
def nearest_if_sure(similarity: Any, confident: Any, confidence: Any, margin: Any, label: Any) -> None:
    """Write the class of the highest similarity where either says that it is sure, else IGNORE.

    Args:
        similarity, confident: ``(n, classes, positions)`` float32.
        confidence: float32; sure is where a number of ``confident`` is above it,
        margin: or where the highest similarity leads by more than this.
        label: ``(n, positions)`` int64, written; of equals the first class.
    """
    count, classes, positions = similarity.shape
    for n in range(count):
        for i in range(positions):
            best, second, own, most = similarity[n, 0, i], np.float32(-np.inf), 0, confident[n, 0, i]
            for k in range(1, classes):
                value = similarity[n, k, i]
                most = max(most, confident[n, k, i])
                if value > best:
                    best, second, own = value, best, k
                elif value > second:
                    second = value
            label[n, i] = own if most > confidence or best - second > margin else IGNORE


@piece
def _root(parent: Any, place: Any) -> Any:
    """The first place of a component, as far as it is known; the way there is shortened."""
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


@piece
def _join(parent: Any, mine: Any, near: Any) -> Any:
    """Make one component of that whose first place is ``mine`` and that of ``near``; gives its first place."""
    if parent[near] == mine:
        return mine
    other = _root(parent, near)
    parent[max(mine, other)] = min(mine, other)
    return min(mine, other)


@piece
def _join_neighbours(own: Any, parent: Any, depth: Any, height: Any, width: Any) -> None:
    """Join every place to those before it that touch it; what has been joined through another is not looked at."""
    rows = np.empty(4, np.int64)  # how far those are that touch this one and come before it
    for z in range(depth):
        for y in range(height):
            count = 0
            for row in range(4):  # of the plane before the rows before, beside and after; of this one that before
                down, along = (0, -1) if row == 3 else (-1, row - 1)
                if z + down >= 0 and 0 <= y + along < height:
                    rows[count] = (down * height + along) * width
                    count += 1
            before, mine = 0, 0  # the class of the place before, and the first place of its component
            for x in range(width):
                at = (z * height + y) * width + x
                k = own[at]
                follows = k == before
                before = k
                if k == 0 or not follows:
                    parent[at] = mine = at
                if k == 0:
                    continue
                for row in range(count):
                    near = at + rows[row]
                    if own[near] == k:
                        if not follows:
                            mine = _join(parent, mine, near)
                        continue
                    if not follows and x > 0 and own[near - 1] == k:
                        mine = _join(parent, mine, near - 1)
                    if x + 1 < width and own[near + 1] == k:
                        mine = _join(parent, mine, near + 1)
                parent[at] = mine


@kernel
def keep_largest(label: Any, classes: Any, found: Any) -> None:
    """Write the largest component of every class but 0 into ``found``, sample by sample; of equals the first.

    Neighbours touch by a face, an edge or a corner.

    Args:
        label: ``(n, depth, height, width)`` int64 in range(classes).
        classes: number of them.
        found: as ``label``, written.
    """
    count, depth, height, width = label.shape
    parent, size = np.empty((2, depth * height * width), np.int32)
    largest = np.empty(classes, np.int64)
    for i in range(count):
        own, kept = label[i].reshape(-1), found[i].reshape(-1)
        _join_neighbours(own, parent, depth, height, width)
        size[:] = 0
        for at in range(own.size):
            parent[at] = parent[parent[at]]  # its own, or that of a place before, which has been seen
            size[parent[at]] += 1
        largest[:] = -1
        for at in range(own.size):
            k = own[at]
            if parent[at] == at and k and (largest[k] < 0 or size[at] > size[largest[k]]):
                largest[k] = at
        for at in range(own.size):
            kept[at] = own[at] if parent[at] == largest[own[at]] else 0


def warm_up() -> None:
    """Compile, or load from disk, everything."""
    label, one = np.zeros((1, 1, 1, 1), np.int64), np.ones((1, 1, 1), np.float32)
    for kind in (np.float32, np.uint16):
        most_probable(np.zeros((1, 1), kind), label.reshape(-1))
        of_own_class(one.astype(kind), label[0, 0], one.copy())
        own_probability(one[0].astype(kind), label[0, 0], one.copy())
    nearest_if_sure(one, one, one[0, 0, 0], one[0, 0, 0], label[0, 0])
    keep_largest(label, 1, label.copy())
