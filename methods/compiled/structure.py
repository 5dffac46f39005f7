"""Compiled loops for the structure loss on a CPU: its weights, cross-entropy and overlap in one pass each way.

Logits are ``(n, positions, classes)``, float32, or bfloat16 given as uint16; all else is class by class and float32:
``target`` ``(n, classes, positions)``, ``near`` ``(n, classes - 1, positions)`` its means around foreground positions,
and ``known`` ``(n, positions)`` booleans.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import kernel, kernel_of_sums, piece
from .losses import BLOCK, log_softmax_of, write_rows


@piece
def _weigh(target: Any, near: Any, known: Any, start: Any, some: Any, gain: Any, weight: Any) -> None:
    """Write one plus the gain times the largest difference of a foreground class from its mean around, or 0."""
    weight[:some] = 0
    for k in range(len(near)):
        for b in range(some):
            weight[b] = max(weight[b], abs(near[k, start + b] - target[k + 1, start + b]))
    for b in range(some):
        weight[b] = np.float32(known[start + b]) * (np.float32(1) + gain * weight[b])


@kernel_of_sums
def sums_of_structure(
    logits: Any, target: Any, near: Any, known: Any, gain: Any, total: Any, overlap: Any, kept: Any
) -> None:
    """Add up, in float64, what the loss is made of.

    Args:
        logits, target, near, known: as above.
        gain: float32, of the weights.
        total: ``(n, 2)``: weights, and weighted cross-entropies.
        overlap: ``(n, classes - 1, 2)`` of the foreground: weighted products of probability and target, and p + t - pt.
        kept: ``(n, classes + 1, positions)`` float32, written: probabilities, then weights.
    """
    count, positions, classes = logits.shape
    log_probs, weight = np.empty((classes, BLOCK), np.float32), np.empty(BLOCK, np.float32)
    probs = np.empty_like(log_probs)
    for n in range(count):
        for start in range(0, positions, BLOCK):
            some = min(BLOCK, positions - start)
            log_softmax_of(logits[n], np.arange(start, start + some), some, log_probs, probs)
            _weigh(target[n], near[n], known[n], start, some, gain, weight)
            whole = np.float32(0)
            for b in range(some):
                whole += weight[b]
            total[n, 0] += whole
            kept[n, classes, start : start + some] = weight[:some]
            for k in range(classes):
                entropy, both, either = np.float32(0), np.float32(0), np.float32(0)
                for b in range(some):
                    wanted = target[n, k, start + b]
                    product = probs[k, b] * wanted
                    entropy -= weight[b] * wanted * log_probs[k, b]
                    both += weight[b] * product
                    either += weight[b] * (probs[k, b] + wanted - product)
                kept[n, k, start : start + some] = probs[k, :some]
                total[n, 1] += entropy
                if k > 0:
                    overlap[n, k - 1, 0] += both
                    overlap[n, k - 1, 1] += either


@kernel
def gradient_of_structure(target: Any, kept: Any, of_entropy: Any, of_overlap: Any, found: Any) -> None:
    """Write the gradient of :func:`sums_of_structure` with respect to the logits into ``found``.

    Args:
        target, kept: as there.
        of_entropy: ``(n,)`` float32, with respect to the sum of cross-entropies.
        of_overlap: ``(n, classes - 1, 2)`` float32.
        found: of the shape and type of the logits, written.
    """
    count, positions, classes = found.shape
    arriving = np.empty((classes, BLOCK), np.float32)
    across, whole = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for n in range(count):
        probs, weight = kept[n, :classes], kept[n, classes]
        for start in range(0, positions, BLOCK):
            some = min(BLOCK, positions - start)
            across[:] = 0
            whole[:] = 0
            for k in range(classes):
                of_both, of_either = np.float32(0), np.float32(0)
                if k > 0:
                    of_both, of_either = of_overlap[n, k - 1, 0], of_overlap[n, k - 1, 1]
                for b in range(some):
                    wanted = target[n, k, start + b]
                    arriving[k, b] = wanted * of_both + (np.float32(1) - wanted) * of_either
                    across[b] += probs[k, start + b] * arriving[k, b]
                    whole[b] += wanted
            for k in range(classes):
                for b in range(some):
                    prob = probs[k, start + b]
                    of_cost = of_entropy[n] * (prob * whole[b] - target[n, k, start + b])
                    arriving[k, b] = weight[start + b] * (prob * (arriving[k, b] - across[b]) + of_cost)
            write_rows(arriving, some, found[n, start : start + some])


def warm_up() -> None:
    """Compile, or load from disk, both."""
    maps, known, one = np.zeros((1, 2, 1), np.float32), np.ones((1, 1), np.bool_), np.float32(1)
    kept = np.zeros((1, 3, 1), np.float32)
    for kind in (np.float32, np.uint16):
        logits = np.zeros((1, 1, 2), kind)
        sums_of_structure(logits, maps, maps[:, :1], known, one, np.zeros((1, 2)), np.zeros((1, 1, 2)), kept)
        gradient_of_structure(maps, kept, maps[0, 0], np.zeros((1, 1, 2), np.float32), logits)
