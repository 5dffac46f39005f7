"""Agreement of several predictions, pixel by pixel in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from .losses import softmax


def positions(array: np.ndarray) -> Iterator[tuple[slice | int, ...]]:
    """Index of every pixel of ``(n, c, *space)``, all classes together."""
    for n, *at in np.ndindex(array.shape[0], *array.shape[2:]):
        yield (n, slice(None), *at)


def sharpened(probs: np.ndarray, temperature: float) -> np.ndarray:
    """p^(1/T) over its sum over classes, as MC-Net prints it."""
    powers = probs ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def symmetric_divergence(first: np.ndarray, second: np.ndarray, axis: int) -> float:
    """Mean over elements of ½ (p ln p/q + q ln q/p), softmaxes of logits along the axis."""
    p, q = (np.moveaxis(softmax(np.moveaxis(x, axis, 1)), 1, axis) for x in (first, second))
    terms = [(a * math.log(a / b) + b * math.log(b / a)) / 2 for a, b in zip(p.flat, q.flat, strict=True)]
    return sum(terms) / len(terms)


def rectified_consistency(scales: Sequence[np.ndarray]) -> float:
    """URPC: per scale [mean of (p̄-p)² e^-v] / [mean of e^-v] + mean of v, v = Σ p̄ ln(p̄/p); averaged over scales."""
    probs = [softmax(logits) for logits in scales]
    mean = sum(probs) / len(probs)
    total = 0.0
    for p in probs:
        squares, weights, divergences = [], [], []
        for at in positions(p):
            v = sum(m * math.log(m / x) for m, x in zip(mean[at], p[at], strict=True))
            divergences.append(v)
            weights.append(math.exp(-v))
            squares += [(m - x) ** 2 * math.exp(-v) for m, x in zip(mean[at], p[at], strict=True)]
        total += np.mean(squares) / np.mean(weights) + np.mean(divergences)
    return total / len(probs)
