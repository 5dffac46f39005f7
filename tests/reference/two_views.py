"""Terms of the methods with two views, as loops over positions and pixels in float64, for ``(n, c, h, w)`` maps."""

from __future__ import annotations

import math

import numpy as np

from .losses import softmax


def products(query: np.ndarray, key: np.ndarray, temperature: float, order: int) -> list[list[list[float]]]:
    """[sample][i][j] of unit vectors over the temperature."""
    found = []
    for q, k in zip(query.reshape(*query.shape[:2], -1), key.reshape(*key.shape[:2], -1), strict=True):
        units = [[v / np.linalg.norm(v, order) for v in maps.T.astype(np.float64)] for maps in (q, k)]
        found.append([[float(a @ b) / temperature for b in units[1]] for a in units[0]])
    return found


def position_contrast(query: np.ndarray, key: np.ndarray, temperature: float, order: int = 2) -> float:
    """Mean of -ln of the share of the same position."""
    costs = []
    for sample in products(query, key, temperature, order):
        for i, row in enumerate(sample):
            costs.append(-math.log(math.exp(row[i]) / sum(math.exp(s) for s in row)))
    return sum(costs) / len(costs)


def repulsion(query: np.ndarray, key: np.ndarray, temperature: float, order: int = 2, diagonal: bool = True) -> float:
    """Mean of ln (1 + the sum over the other map)."""
    costs = []
    for sample in products(query, key, temperature, order):
        for i, row in enumerate(sample):
            costs.append(math.log(1 + sum(math.exp(s) for j, s in enumerate(row) if diagonal or j != i)))
    return sum(costs) / len(costs)


def structure(logits: np.ndarray, target: np.ndarray, known: np.ndarray | None = None) -> float:
    """Cross-entropy and overlap weighted near boundaries; ``target`` (n, c, h, w), ``known`` (n, h, w) booleans."""
    probs, classes = softmax(logits), logits.shape[1]
    costs = []
    for n in range(len(logits)):
        entropy = weights = 0.0
        both, either = np.zeros(classes), np.zeros(classes)
        for at in np.ndindex(*logits.shape[2:]):
            if known is not None and not known[(n, *at)]:
                continue
            box = tuple(slice(max(0, x - 15), x + 16) for x in at)
            y, p = (maps[(n, slice(None), *at)].astype(np.float64) for maps in (target, probs))
            means = [float(target[(n, k, *box)].mean()) for k in range(classes)]
            w = 1 + 5 * max(abs(means[k] - y[k]) for k in range(1, classes))
            entropy -= w * sum(y[k] * math.log(p[k]) for k in range(classes))
            weights += w
            both += w * p * y
            either += w * (p + y - p * y)
        overlaps = (both + 1) / (either + 1)
        costs.append(entropy / max(1.0, weights) + np.mean(1 - overlaps[1:]))
    return float(np.mean(costs))


def soft_cross_entropy(logits: np.ndarray, target: np.ndarray) -> float:
    """Mean over pixels of -Σ q ln p."""
    return float(-(target * np.log(softmax(logits))).sum(axis=1).mean())


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> float:
    """Mean over pixels of H((p + q) / 2) - (H(p) + H(q)) / 2."""

    def entropy(p: np.ndarray) -> np.ndarray:
        return -(p * np.log(p)).sum(axis=1)

    p, q = softmax(first), softmax(second)
    return float((entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2).mean())
