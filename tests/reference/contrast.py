"""Contrast and prototypes, pair by pair in float64."""

from __future__ import annotations

import math

import numpy as np

IGNORE = 255


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def supervised_contrast(
    vectors: np.ndarray,
    label: np.ndarray,
    temperature: float,
    *,
    hardness: float = 0.0,
    importance: np.ndarray | None = None,
    anchors: np.ndarray | None = None,
    narcissists: np.ndarray | None = None,
) -> float:
    """Mean over anchors of the weighted mean over positives of -ln[e^s_ip / (e^s_ip + Σ_n e^s_in)]."""
    rows = [i for i in range(len(label)) if label[i] != IGNORE]
    losses = []
    for i in rows:
        if anchors is not None and not anchors[i]:
            continue
        similar = {j: cosine(vectors[i], vectors[j]) for j in rows}
        negatives = sum(math.exp(similar[j] / temperature) for j in rows if label[j] != label[i])
        loss = total = 0.0
        for j in rows:
            if label[j] != label[i] or (j == i and (narcissists is None or not narcissists[i])):
                continue
            weight = math.exp(-hardness * max(0.0, similar[j]))
            if importance is not None:
                weight *= math.sqrt(importance[i] * importance[j])
            attraction = math.exp(similar[j] / temperature)
            loss -= weight * math.log(attraction / (attraction + negatives))
            total += weight
        if total > 0:
            losses.append(loss / total)
    return sum(losses) / max(1, len(losses))


def difference_part(label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Known voxels that are predicted wrong or have two known labels among themselves and all their neighbours."""
    part = np.zeros(label.shape, bool)
    for n, one in enumerate(label):
        for at in np.ndindex(*one.shape):
            around = one[tuple(slice(max(0, i - 1), i + 2) for i in at)]
            differs = len(set(around.ravel().tolist()) - {IGNORE}) > 1 or one[at] != predicted[(n, *at)]
            part[(n, *at)] = differs and one[at] != IGNORE
    return part


def prototypes(features: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted means ``(n, c, d)`` of ``(n, d, *space)`` with weights ``(n, c, *space)``; 1e-5 below the line."""
    n, d = features.shape[:2]
    means = np.zeros((n, weight.shape[1], d))
    for b in range(n):
        for k in range(weight.shape[1]):
            total = 0.0
            for at in np.ndindex(*features.shape[2:]):
                means[b, k] += weight[(b, k, *at)] * features[(b, slice(None), *at)]
                total += weight[(b, k, *at)]
            means[b, k] /= total + 1e-5
    return means
