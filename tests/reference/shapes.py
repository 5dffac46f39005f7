"""Distances and components of masks, by comparing every pixel with every other."""

from __future__ import annotations

import math

import numpy as np


def distances(mask: np.ndarray) -> np.ndarray:
    """Of every True to the nearest False; 0 at False; inf without any False."""
    found = np.zeros(mask.shape)
    outside = np.argwhere(~mask)
    for at in np.argwhere(mask):
        found[tuple(at)] = min((math.dist(at, other) for other in outside), default=math.inf)
    return found


def boundary(mask: np.ndarray) -> np.ndarray:
    """Trues that share a face with a False; what lies outside of the array is neither."""
    found = np.zeros(mask.shape, bool)
    for at in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                other = at.copy()
                other[axis] += step
                if 0 <= other[axis] < mask.shape[axis] and not mask[tuple(other)]:
                    found[tuple(at)] = True
    return found


def signed_distances(mask: np.ndarray, absent: float) -> np.ndarray:
    """Height outside over its maximum, minus depth inside over its, 0 on the boundary."""
    if not mask.any():
        return np.full(mask.shape, absent)
    if mask.all():
        return np.full(mask.shape, -1.0)
    depth, height = distances(mask), distances(~mask)
    signed = height / height.max() - depth / depth.max()
    signed[boundary(mask)] = 0
    return signed


def components(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    """Connected parts, neighbours touching by a corner at least, in raster order of their first pixel."""
    left = {tuple(int(i) for i in at) for at in np.argwhere(mask)}
    parts = []
    for start in sorted(left):
        if start not in left:
            continue
        part, front = set(), [start]
        while front:
            at = front.pop()
            if at not in left:
                continue
            left.remove(at)
            part.add(at)
            front += [tuple(a + s - 1 for a, s in zip(at, step, strict=True)) for step in np.ndindex(*[3] * mask.ndim)]
        parts.append(part)
    return parts
