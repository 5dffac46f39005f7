"""Regularisers of (probabilities, image) as loops over pixels in float64, for 2-D maps ``(n, c, h, w)``."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np


def inside(shape: tuple[int, int], y: int, x: int) -> bool:
    return 0 <= y < shape[0] and 0 <= x < shape[1]


def window(shape: tuple[int, int], y: int, x: int, radius: int) -> Iterator[tuple[int, int]]:
    """Positions of the square window around (y, x), itself included, that lie in the image."""
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if inside(shape, y + dy, x + dx):
                yield y + dy, x + dx


def contour_length(probs: np.ndarray) -> float:
    """Mean over all values of relu(opening - erosion) with a 3 x 3 window."""
    total = 0.0
    for one in probs.reshape(-1, *probs.shape[2:]).astype(np.float64):
        eroded, opened = np.zeros_like(one), np.zeros_like(one)
        for y, x in np.ndindex(*one.shape):
            eroded[y, x] = min(one[at] for at in window(one.shape, y, x, 1))
        for y, x in np.ndindex(*one.shape):
            opened[y, x] = max(eroded[at] for at in window(one.shape, y, x, 1))
            total += max(0.0, opened[y, x] - eroded[y, x])
    return total / probs.size


def total_variation(probs: np.ndarray) -> float:
    """Sum over classes and neighbours of |difference|, over the number of pixels."""
    n, c, h, w = probs.shape
    total = 0.0
    for b, k, y, x in np.ndindex(n, c, h, w):
        for below, right in ((y + 1, x), (y, x + 1)):
            if inside((h, w), below, right):
                total += abs(float(probs[b, k, below, right]) - float(probs[b, k, y, x]))
    return total / (n * h * w)


def gated_crf(
    probs: np.ndarray, image: np.ndarray, *, radius: int, sigma_xy: float, sigma_intensity: float, padded: bool = False
) -> float:
    """Mean over pixels i of the sum over window pixels j != i of k_ij (1 - <p_i, p_j>).

    With ``padded``, a neighbour outside the image has intensity 0, coordinates (0, 0) and no probability, as released.
    """
    n, _, h, w = probs.shape
    total = 0.0
    for b, y, x in np.ndindex(n, h, w):
        here = image[b, :, y, x].astype(np.float64)
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                if (dy, dx) == (0, 0):
                    continue
                if inside((h, w), y + dy, x + dx):
                    there, squared = image[b, :, y + dy, x + dx].astype(np.float64), dy * dy + dx * dx
                    agreement = float(np.dot(probs[b, :, y, x], probs[b, :, y + dy, x + dx]))
                elif padded:
                    there, squared, agreement = np.zeros_like(here), y * y + x * x, 0.0
                else:
                    continue
                contrast = float(((here - there) ** 2).sum())
                kernel = math.exp(-0.5 * (squared / sigma_xy**2 + contrast / sigma_intensity**2))
                total += kernel * (1 - agreement)
    return total / (n * h * w)


def dense_crf(
    probs: np.ndarray, image: np.ndarray, *, sigma_xy: float, sigma_intensity: float, reduction: int = 1
) -> float:
    """Mean over all pairs of blocks (i, j), i = j too, of k_ij sum_c p_ic (1 - p_jc).

    A block of ``reduction`` pixels a side has the mean of its probabilities and the intensities and the place of its
    first pixel.
    """
    n, _, h, w = probs.shape
    places = [(y, x) for y in range(0, h, reduction) for x in range(0, w, reduction)]
    total = 0.0
    for b in range(n):
        blocks = [probs[b, :, y : y + reduction, x : x + reduction].astype(np.float64) for y, x in places]
        means = [block.reshape(len(block), -1).mean(axis=1) for block in blocks]
        for i, (y, x) in enumerate(places):
            for j, (v, u) in enumerate(places):
                contrast = float(((image[b, :, y, x].astype(np.float64) - image[b, :, v, u]) ** 2).sum())
                distance = (y - v) ** 2 + (x - u) ** 2
                kernel = math.exp(-0.5 * (distance / sigma_xy**2 + contrast / sigma_intensity**2))
                total += kernel * float((means[i] * (1 - means[j])).sum())
    return total / (n * len(places) ** 2)


def fit(weights: np.ndarray, values: np.ndarray) -> float:
    """Sum of w (v - mean_w v)^2 over samples, pairs of channels and pixels; the mean is per sample and pair."""
    total = 0.0
    for b in range(len(weights)):
        for w in weights[b].astype(np.float64).reshape(weights.shape[1], -1):
            for v in values[b].astype(np.float64).reshape(values.shape[1], -1):
                mean = sum(w * v) / sum(w)
                total += sum(wi * (vi - mean) ** 2 for wi, vi in zip(w, v, strict=True))
    return total


def within_class_variance(probs: np.ndarray, image: np.ndarray, floor: float) -> float:
    """Mean over samples and foreground classes of Σ p (I - μ)^2 / (Σ p + floor · pixels), for one image channel."""
    found = []
    for b in range(len(probs)):
        grey = image[b, 0].astype(np.float64).ravel()
        for k in range(1, probs.shape[1]):
            p = probs[b, k].astype(np.float64).ravel()
            mean = sum(p * grey) / sum(p)
            found.append(sum(p * (grey - mean) ** 2) / (sum(p) + floor * len(p)))
    return sum(found) / len(found)


def between_class_variance(probs: np.ndarray, image: np.ndarray) -> float:
    """Mean over samples of the variance (divided by c) over all classes of the class means, for one image channel."""
    found = []
    for b in range(len(probs)):
        grey = image[b, 0].astype(np.float64).ravel()
        maps = probs[b].astype(np.float64).reshape(probs.shape[1], -1)
        means = [sum(p * grey) / sum(p) for p in maps]
        centre = sum(means) / len(means)
        found.append(sum((m - centre) ** 2 for m in means) / len(means))
    return sum(found) / len(found)


def spread_difference(probs: np.ndarray, image: np.ndarray) -> float:
    """As released: mean_b std_c(mean_x(I p_c)) - mean_bc std_x(I p_c), standard deviations with n - 1, one channel."""
    inter, intra = [], []
    for b in range(len(probs)):
        products = (probs[b] * image[b]).astype(np.float64).reshape(probs.shape[1], -1)
        inter.append(_std([sum(p) / len(p) for p in products]))
        intra += [_std(list(p)) for p in products]
    return sum(inter) / len(inter) - sum(intra) / len(intra)


def _std(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
