"""Compiled loops for the losses of a label map on a CPU, position by position: what is not known costs nothing.

Logits and gradients are matrices of positions and classes, float32, or bfloat16 given as uint16.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets.types import IGNORE

from .compiling import exponential, kernel, kernel_of_sums, logarithm, narrow, piece, wide

BLOCK = 64
"""Positions that are looked at together."""


@piece
def log_softmax_of(logits: Any, places: Any, some: Any, log_probs: Any, probs: Any) -> None:
    """Log-softmaxes and softmaxes at some positions, class by class, so that they fill the processor's vectors.

    Args:
        logits: ``(positions, classes)``.
        places: positions, of which the first ``some`` are looked at.
        log_probs, probs: ``(classes, places)`` float32, written there.
    """
    classes = logits.shape[1]
    largest, whole = np.empty(BLOCK, np.float32), np.zeros(BLOCK, np.float32)
    for b in range(some):
        for k in range(classes):
            log_probs[k, b] = wide(logits[places[b], k])
    largest[:some] = log_probs[0, :some]
    for k in range(1, classes):
        for b in range(some):
            largest[b] = max(largest[b], log_probs[k, b])
    for k in range(classes):
        for b in range(some):
            log_probs[k, b] -= largest[b]
            probs[k, b] = exponential(log_probs[k, b])
            whole[b] += probs[k, b]
    for b in range(some):
        largest[b], whole[b] = logarithm(whole[b]), np.float32(1) / whole[b]
    for k in range(classes):
        for b in range(some):
            log_probs[k, b] -= largest[b]
            probs[k, b] *= whole[b]


@piece
def write_rows(values: Any, some: Any, found: Any) -> None:
    """Write numbers ``(classes, places)`` of the first ``some`` places into rows ``(some, classes)`` of a map."""
    for b in range(some):
        for k in range(len(values)):
            found[b, k] = narrow(values[k, b], found[b, k])


@kernel_of_sums
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
    places, total, wrong = np.empty(BLOCK, np.int64), 0.0, IGNORE
    log_shares, shares = np.empty((classes, BLOCK), np.float32), np.empty((classes, BLOCK), np.float32)
    some = 0
    for i in range(positions):
        own = label[i]
        if own != IGNORE:
            if own < 0 or own >= classes:
                wrong = own
            else:
                places[some] = i
                some += 1
        if some < BLOCK and i < positions - 1:
            continue
        log_softmax_of(logits, places, some, log_shares, shares)
        for k in range(classes):
            square = np.float32(0)
            for b in range(some):
                square += shares[k, b] * shares[k, b]
            squares[k] += square
        for b in range(some):
            known = label[places[b]]
            total -= log_shares[known, b]
            overlap[known] += shares[known, b]
            count[known] += 1
            for k in range(classes):
                probs[places[b], k] = shares[k, b]
        some = 0
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
    steep = of_squares + of_squares
    for i in range(positions):
        own = label[i]
        if own == IGNORE:
            for k in range(classes):
                found[i, k] = 0
            continue
        across = np.float32(0)
        for k in range(classes):
            share = probs[i, k]
            across += steep[k] * share * share
        across += of_overlap[own] * probs[i, own]
        for k in range(classes):
            share = probs[i, k]
            value = share * (of_entropy + steep[k] * share - across)
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
