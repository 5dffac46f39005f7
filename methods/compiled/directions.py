"""Compiled loops for the directions of many short vectors on a CPU, which are never made: nor are their lengths kept.

Vectors are ``(n, v, d)``, of float32, or bfloat16 given as uint16; what is computed of them is float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiling import fetch_ahead, kernel, kernel_of_sums, narrow, wide

_BLOCK = 256
"""Vectors that are summed in float32 before their sum is added to the others in float64."""


@kernel_of_sums
def cosines(vectors: Any, units: Any, least: Any, counts: Any, found: Any) -> None:
    """Write the cosine of every vector that counts to every unit vector into ``found``.

    Args:
        vectors: ``(n, v, d)``.
        units: ``(c, d)`` float32.
        least: float32; shorter vectors count as of this length.
        counts: ``(n, v)`` booleans.
        found: ``(n, c, v)`` float32, written there.
    """
    count, each, width = vectors.shape
    for i in range(count):
        for p in range(each):
            if not counts[i, p]:
                continue
            fetch_ahead(vectors, i * each + p)
            square = np.float32(0)
            for j in range(width):
                value = wide(vectors[i, p, j])
                square += value * value
            rest = np.float32(1) / max(math.sqrt(square), least)
            for c in range(len(units)):
                dot = np.float32(0)
                for j in range(width):
                    dot += wide(vectors[i, p, j]) * units[c, j]
                found[i, c, p] = dot * rest


@kernel_of_sums
def sums_of_directions(weight: Any, vectors: Any, least: Any, total: Any) -> None:
    """Add the weighted unit vectors along ``vectors`` to ``total``; what has no weight is not looked at.

    Args:
        weight: ``(n, c, v)`` float32.
        vectors: ``(n, v, d)``.
        least: float32; shorter vectors count as of this length.
        total: ``(n, c, d)`` float64, added to.
    """
    count, each, width = vectors.shape
    classes = weight.shape[1]
    some = np.zeros((classes, width), np.float32)
    for i in range(count):
        for start in range(0, each, _BLOCK):
            some[:] = 0
            for p in range(start, min(start + _BLOCK, each)):
                fetch_ahead(vectors, i * each + p)
                rest = np.float32(0)
                for c in range(classes):
                    if weight[i, c, p] == 0:
                        continue
                    if rest == 0:
                        square = np.float32(0)
                        for j in range(width):
                            value = wide(vectors[i, p, j])
                            square += value * value
                        rest = np.float32(1) / max(math.sqrt(square), least)
                    share = weight[i, c, p] * rest
                    for j in range(width):
                        some[c, j] += share * wide(vectors[i, p, j])
            for c in range(classes):
                for j in range(width):
                    total[i, c, j] += some[c, j]


@kernel_of_sums
def gradient_of_directions(weight: Any, vectors: Any, least: Any, gradient: Any, found: Any) -> None:
    """Write the gradient of :func:`sums_of_directions` with respect to the vectors into ``found``.

    Args:
        weight, vectors, least: as there.
        gradient: ``(n, c, d)`` float32, with respect to the sums.
        found: of the shape and type of ``vectors``, written.
    """
    count, each, width = vectors.shape
    classes = weight.shape[1]
    arriving = np.empty(width, np.float32)
    for i in range(count):
        for p in range(each):
            fetch_ahead(vectors, i * each + p)
            arriving[:] = 0
            weighted = False
            for c in range(classes):
                share = weight[i, c, p]
                if share != 0:
                    weighted = True
                    for j in range(width):
                        arriving[j] += share * gradient[i, c, j]
            if not weighted:
                for j in range(width):
                    found[i, p, j] = 0
                continue
            square, along = np.float32(0), np.float32(0)
            for j in range(width):
                value = wide(vectors[i, p, j])
                square += value * value
                along += value * arriving[j]
            length = math.sqrt(square)
            rest = np.float32(1) / max(length, least)
            back = along * rest * rest if length > least else np.float32(0)
            for j in range(width):
                value = wide(vectors[i, p, j])
                found[i, p, j] = narrow((arriving[j] - value * back) * rest, vectors[i, p, j])


@kernel
def where_positive(result: Any, gradient: Any) -> None:
    """Set the gradient to 0 wherever the result of a ReLU is."""
    for i in range(result.size):
        gradient[i] = gradient[i] if result[i] != 0 else narrow(np.float32(0), gradient[i])


def warm_up() -> None:
    """Compile, or load from disk, everything."""
    units, sums, least = np.ones((1, 1), np.float32), np.zeros((1, 1, 1)), np.float32(1)
    for kind in (np.float32, np.uint16):
        vectors, weight = np.zeros((1, 1, 1), kind), np.ones((1, 1, 1), np.float32)
        where_positive(vectors[0, 0], vectors[0, 0])
        cosines(vectors, units, least, np.ones((1, 1), np.bool_), weight.copy())
        sums_of_directions(weight, vectors, least, sums)
        gradient_of_directions(weight, vectors, least, weight, vectors.copy())
