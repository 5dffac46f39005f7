"""Compiled loops for the losses of a label map on a CPU, position by position: what is not known costs nothing.

Logits and gradients are matrices of positions and classes, float32, or bfloat16 given as uint16.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from datasets.types import IGNORE

from .compiling import kernel, narrow, wide


@kernel
def sums_of_known(logits: Any, label: Any, probs: Any, overlap: Any, squares: Any, count: Any) -> tuple[float, int]:
    """Softmax of all known positions, and what cross-entropy and Dice are made of.

    Args:
        logits: ``(positions, classes)``.
        label: ``(positions,)`` int64.
        probs: ``(positions, classes)`` float32, written where the label is known.
        overlap, squares, count: ``(classes,)`` float64, added to: probability of the label, squared probabilities, and
            labels of a class.

    Returns:
        The sum of ``-log softmax(logits)[label]``, and a label that is neither a class nor IGNORE, or IGNORE.
    """
    positions, classes = logits.shape
    total, wrong = 0.0, IGNORE
    for i in range(positions):
        own = label[i]
        if own == IGNORE:
            continue
        if own < 0 or own >= classes:
            wrong = own
            continue
        largest = wide(logits[i, 0])
        for k in range(1, classes):
            largest = max(largest, wide(logits[i, k]))
        whole = np.float32(0)
        for k in range(classes):
            share = math.exp(wide(logits[i, k]) - largest)
            probs[i, k] = share
            whole += share
        total += math.log(whole) - (wide(logits[i, own]) - largest)
        rest = np.float32(1) / whole
        for k in range(classes):
            share = probs[i, k] * rest
            probs[i, k] = share
            squares[k] += share * share
        overlap[own] += probs[i, own]
        count[own] += 1
    return total, wrong


@kernel
def gradient_of_known(
    probs: Any, label: Any, of_entropy: Any, of_overlap: Any, of_squares: Any, logits: Any, found: Any
) -> None:
    """Write the gradient with respect to the logits into ``found``: zeros where nothing is known.

    Args:
        probs, label: as :func:`sums_of_known` left them.
        of_entropy: float32, with respect to the sum of cross-entropies.
        of_overlap, of_squares: ``(classes,)`` float32, with respect to these sums.
        logits: of the type of ``found``.
    """
    positions, classes = found.shape
    for i in range(positions):
        own = label[i]
        if own == IGNORE:
            for k in range(classes):
                found[i, k] = 0
            continue
        across = np.float32(0)
        for k in range(classes):
            share = probs[i, k]
            across += 2 * of_squares[k] * share * share
        across += of_overlap[own] * probs[i, own]
        for k in range(classes):
            share = probs[i, k]
            value = share * (of_entropy + 2 * of_squares[k] * share - across)
            if k == own:
                value += share * of_overlap[k] - of_entropy
            found[i, k] = narrow(value, logits[i, k])


def warm_up() -> None:
    """Compile, or load from disk, both."""
    values, sums, label = np.ones(1, np.float32), np.zeros(1), np.zeros(1, np.int64)
    for kind in (np.float32, np.uint16):
        maps, probs = np.zeros((1, 1), kind), np.zeros((1, 1), np.float32)
        sums_of_known(maps, label, probs, sums, sums, sums)
        gradient_of_known(probs, label, np.float32(1), values, values, maps, maps.copy())
