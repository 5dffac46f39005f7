"""Loss terms written the slow and obvious way: loops over pixels in float64, so that nothing can broadcast."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

IGNORE = 255
SMOOTH = 1e-5


def pixels(label: np.ndarray) -> Iterator[tuple[int, tuple[int, ...], int]]:
    """(sample, position, class) of every pixel of ``(n, *space)`` that is not at IGNORE."""
    for index in np.ndindex(*label.shape):
        if label[index] != IGNORE:
            yield index[0], index[1:], int(label[index])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of ``(n, c, *space)``."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def cross_entropy(logits: np.ndarray, label: np.ndarray) -> float:
    """Mean of -ln p over the labelled pixels of the batch; 0 without any."""
    probs = softmax(logits)
    losses = [-math.log(probs[(n, k, *at)]) for n, at, k in pixels(label)]
    return sum(losses) / max(1, len(losses))


def dice_losses(probs: np.ndarray, label: np.ndarray, power: int = 2) -> list[float]:
    """Dice loss of every class, background first; sums over the labelled pixels of the batch. Power 2: squared."""
    found = []
    for k in range(probs.shape[1]):
        overlap = predicted = annotated = 0.0
        for n, at, truth in pixels(label):
            p, g = float(probs[(n, k, *at)]), float(truth == k)
            overlap += p * g
            predicted += p**power
            annotated += g * g
        found.append(1 - (2 * overlap + SMOOTH) / (predicted + annotated + SMOOTH))
    return found


def dice_loss(probs: np.ndarray, label: np.ndarray) -> float:
    """Mean over classes, background included."""
    losses = dice_losses(probs, label)
    return sum(losses) / len(losses)


def entropy(logits: np.ndarray) -> float:
    """Mean over pixels of the entropy of the softmax over ln c."""
    probs = np.moveaxis(softmax(logits), 1, -1).reshape(-1, logits.shape[1])
    found = [-sum(p * math.log(p) for p in pixel if p > 0) for pixel in probs]
    return sum(found) / len(found) / math.log(logits.shape[1])


def squared_difference(first: np.ndarray, second: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Mean over classes and (weighted) pixels of the squared difference of two ``(n, c, *space)``."""
    total = counted = 0.0
    for n, c, *at in np.ndindex(*first.shape):
        w = 1.0 if weight is None else float(weight[(n, *at)])
        total += w * (float(first[(n, c, *at)]) - float(second[(n, c, *at)])) ** 2
        counted += w
    return total / counted if counted else 0.0
