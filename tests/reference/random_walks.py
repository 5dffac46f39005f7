"""Random walks on a grid of pixels with dense linear algebra."""

from __future__ import annotations

import math

import numpy as np

IGNORE = 255


def arrival(image: np.ndarray, scribble: np.ndarray, *, beta: float) -> dict[int, np.ndarray]:
    """Class -> probability ``(h, w)`` that a walker meets its scribble first; image ``(channels, h, w)``.

    A walker at i goes to a neighbour j with probability proportional to exp(-beta |I_i - I_j|^2 / (10 std √channels)).
    """
    h, w = scribble.shape
    pixels = list(np.ndindex(h, w))
    scale = beta / (10 * image.std() * math.sqrt(len(image)))
    system, target = np.zeros((h * w, h * w)), {int(k): np.zeros(h * w) for k in np.unique(scribble) if k != IGNORE}
    for i, (y, x) in enumerate(pixels):
        system[i, i] = 1
        if scribble[y, x] != IGNORE:
            target[int(scribble[y, x])][i] = 1
            continue
        steps = {}
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < h and 0 <= u < w:
                steps[pixels.index((v, u))] = math.exp(-scale * ((image[:, y, x] - image[:, v, u]) ** 2).sum())
        for j, weight in steps.items():
            system[i, j] = -weight / sum(steps.values())
    return {k: np.linalg.solve(system, t).reshape(h, w) for k, t in target.items()}
