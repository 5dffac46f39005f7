"""Compiled loops for the contrast of labelled vectors on a CPU: all pairs of them, row by row, in float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from datasets.types import IGNORE

from .compiling import exponential, kernel_of_sums, logarithm_of_one_and

_FLAT = np.float32(40)
"""Cosines over such a temperature are at most 80 from their largest, whatever that is: none need be sought."""

_APART = 256
"""Numbers between arrays. Those that lie next to each other may overlap, for all that compiled code knows, and it adds
up one by one then, in another order: a row's sums would depend on where its arrays happen to be."""


@kernel_of_sums
def contrast_of_labels(
    cosine: Any, label: Any, importance: Any, anchors: Any, narcissists: Any, rest: Any, hardness: Any, never: Any
) -> tuple[float, int]:
    """The sum of the costs of all anchors, and how many count; ``cosine`` becomes the gradient of the sum.

    Args:
        cosine: ``(r, r)`` float32.
        label: ``(r,)`` int64, those alike in a row; IGNORE, at the end, leaves a vector out.
        importance: ``(r,)`` float32, roots of what a positive's weight is multiplied by.
        anchors, narcissists: ``(r,)`` booleans.
        rest: float32, one over the temperature.
        hardness: float32; a positive's weight is e to the power of less than that many times its cosine above 0.
        never: float32, the logit of what does not count.
    """
    count, known = len(label), len(label)
    while known > 0 and label[known - 1] == IGNORE:
        known -= 1
    share, weight, pull = np.zeros((3, count + 2 * _APART), np.float32)[:, _APART : _APART + count]
    one, nothing, tiny = np.float32(1), np.float32(0), np.finfo(np.float32).tiny
    counted, start, stop = 0, 0, 0  # of the vectors of the anchor's label
    cost: Any = 0.0
    cosine[known:] = 0
    for i in range(known):
        row = cosine[i]
        row[known:] = 0
        if i == stop:
            start = i
            while stop < known and label[stop] == label[i]:
                stop += 1
        whole, most = nothing, rest
        if rest > _FLAT:
            most = never
            for first, last in ((0, start), (stop, known)):
                for j in range(first, last):
                    most = max(most, row[j] * rest)
        for first, last in ((0, start), (stop, known)):
            for j in range(first, last):
                share[j] = exponential(row[j] * rest - most)
                whole += share[j]
        others = np.float32(math.log(max(whole, tiny))) + most
        total, costs, pulled = nothing, nothing, nothing
        for j in range(start, stop):
            weight[j] = importance[i] * importance[j] if j != i or narcissists[i] else nothing
            if hardness != 0:
                weight[j] *= exponential(-hardness * max(row[j], nothing))
            total += weight[j]
        for j in range(start, stop):
            excess = others - row[j] * rest
            small = exponential(-abs(excess))
            above = one / (one + small)
            pull[j] = weight[j] * (above if excess > 0 else one - above)
            costs += weight[j] * (max(excess, nothing) + logarithm_of_one_and(small))
            pulled += pull[j]
        if not (total > 0 and anchors[i]):
            row[:] = 0
            continue
        counted += 1
        cost += costs / total
        of_positives, of_negatives = rest / total, pulled * rest / total / max(whole, tiny)
        for j in range(start, stop):
            row[j] = -pull[j] * of_positives
        for first, last in ((0, start), (stop, known)):
            for j in range(first, last):
                row[j] = share[j] * of_negatives
    return cost, counted


def warm_up() -> None:
    """Compile, or load from disk."""
    pair, one = np.ones((1, 1), np.float32), np.float32(1)
    contrast_of_labels(pair, np.zeros(1, np.int64), pair[0], pair[0] > 0, pair[0] > 0, one, one, one)
