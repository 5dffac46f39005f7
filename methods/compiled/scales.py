"""Compiled loops for the rectified consistency of several predictions of the same positions, on a CPU.

Predictions are logits ``(scales, positions, classes)``, float32, or bfloat16 given as uint16. Some positions at a time
are looked at, class by class, so that they fill the processor's vectors and nothing leaves the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import exponential, kernel_of_sums, logarithm, piece
from .losses import BLOCK, log_softmax_of, write_rows


@piece
def _compare(logits: Any, start: Any, some: Any, log_probs: Any, probs: Any, log_mean: Any, mean: Any) -> None:
    """Write the softmaxes ``(scales, classes, places)`` at ``some`` positions, and their mean ``(classes, places)``."""
    scales, _, classes = logits.shape
    places, share = np.arange(start, start + some), np.float32(1) / np.float32(scales)
    mean[:] = 0
    for s in range(scales):
        log_softmax_of(logits[s], places, some, log_probs[s], probs[s])
        for k in range(classes):
            for b in range(some):
                mean[k, b] += probs[s, k, b] * share
    for k in range(classes):
        for b in range(some):
            log_mean[k, b] = logarithm(mean[k, b])


@piece
def _differ(log_probs: Any, probs: Any, log_mean: Any, mean: Any, some: Any, divergence: Any, squared: Any) -> None:
    """Write, per place, how far one scale ``(classes, places)`` is from the mean: KL(mean, scale) and mean squares."""
    classes = len(mean)
    share = np.float32(1) / np.float32(classes)
    divergence[:] = 0
    squared[:] = 0
    for k in range(classes):
        for b in range(some):
            difference = mean[k, b] - probs[k, b]
            divergence[b] += mean[k, b] * (log_mean[k, b] - log_probs[k, b])
            squared[b] += difference * difference * share


@kernel_of_sums
def sums_of_scales(logits: Any, total: Any) -> None:
    """Add up, per scale, ``squared * certainty``, ``certainty`` and ``divergence`` into ``total`` ``(scales, 3)``.

    Divergence is KL(mean of the softmaxes, softmax), certainty its negative's exponential, squared the mean over
    classes of the squared difference of both. ``total`` is float64.
    """
    scales, positions, classes = logits.shape
    log_probs, log_mean = np.empty((scales, classes, BLOCK), np.float32), np.empty((classes, BLOCK), np.float32)
    probs, mean = np.empty_like(log_probs), np.empty_like(log_mean)
    divergence, squared = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for start in range(0, positions, BLOCK):
        some = min(BLOCK, positions - start)
        _compare(logits, start, some, log_probs, probs, log_mean, mean)
        for s in range(scales):
            _differ(log_probs[s], probs[s], log_mean, mean, some, divergence, squared)
            rectified, certain, diverging = np.float32(0), np.float32(0), np.float32(0)
            for b in range(some):
                certainty = exponential(-divergence[b])
                rectified += squared[b] * certainty
                certain += certainty
                diverging += divergence[b]
            total[s, 0] += rectified
            total[s, 1] += certain
            total[s, 2] += diverging


@kernel_of_sums
def gradient_of_scales(logits: Any, gradient: Any, found: Any) -> None:
    """Write the gradient of :func:`sums_of_scales` with respect to the logits into ``found``.

    Args:
        logits: as there.
        gradient: ``(scales, 3)`` float32, with respect to the sums.
        found: of the shape and type of ``logits``, written.
    """
    scales, positions, classes = logits.shape
    log_probs, log_mean = np.empty((scales, classes, BLOCK), np.float32), np.empty((classes, BLOCK), np.float32)
    probs, mean = np.empty_like(log_probs), np.empty_like(log_mean)
    of_mean, arriving = np.empty_like(log_mean), np.empty_like(log_mean)
    of_divergence, of_squared = np.empty((scales, BLOCK), np.float32), np.empty((scales, BLOCK), np.float32)
    divergence, squared, across = np.empty((3, BLOCK), np.float32)
    share, twice = np.float32(1) / np.float32(scales), np.float32(2) / np.float32(classes)
    for start in range(0, positions, BLOCK):
        some = min(BLOCK, positions - start)
        _compare(logits, start, some, log_probs, probs, log_mean, mean)
        of_mean[:] = 0
        for s in range(scales):
            _differ(log_probs[s], probs[s], log_mean, mean, some, divergence, squared)
            for b in range(some):
                certainty = exponential(-divergence[b])
                of_squared[s, b] = gradient[s, 0] * certainty * twice
                of_divergence[s, b] = gradient[s, 2] - certainty * (gradient[s, 0] * squared[b] + gradient[s, 1])
            for k in range(classes):
                for b in range(some):
                    of_mean[k, b] += share * (
                        of_squared[s, b] * (mean[k, b] - probs[s, k, b])
                        + of_divergence[s, b] * (log_mean[k, b] - log_probs[s, k, b])
                    )
        for s in range(scales):
            across[:] = 0
            for k in range(classes):
                for b in range(some):
                    arriving[k, b] = of_mean[k, b] + of_squared[s, b] * (probs[s, k, b] - mean[k, b])
                    across[b] += probs[s, k, b] * arriving[k, b]
            for k in range(classes):
                for b in range(some):
                    value = probs[s, k, b] * (arriving[k, b] - across[b])
                    arriving[k, b] = value - of_divergence[s, b] * (mean[k, b] - probs[s, k, b])
            write_rows(arriving, some, found[s, start : start + some])


def warm_up() -> None:
    """Compile, or load from disk, both."""
    for kind in (np.float32, np.uint16):
        logits = np.zeros((1, 1, 1), kind)
        sums_of_scales(logits, np.zeros((1, 3)))
        gradient_of_scales(logits, np.zeros((1, 3), np.float32), logits.copy())
