"""Surface distances with NumPy and SciPy alone: exact, and what the compiled kernel is checked against.

All classes share one pass: the maps are cropped to the box that holds any foreground, and a voxel is on the surface of
its class when a 4- or 6-neighbour has another label (outside the image is background). Only surface voxels that the two
masks do not share have a distance to look up: first among the nearest voxels, and then in a k-d tree of the other
surface.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
from scipy.spatial import cKDTree

from .measures import SLACK, Directed
from .surfels import area_table, corner_bit

NEAR = 2.3
"""Goals nearer than this, in smallest spacings, are looked for voxel by voxel; changes the time, no number."""


class PortableCase:
    """The surfaces of all classes of one case.

    Args:
        prediction: ``(*S)`` uint8 label map, 2-D or 3-D.
        reference: the same of the reference.
        classes: how many classes, background included; larger labels must not occur.
    """

    def __init__(self, prediction: np.ndarray, reference: np.ndarray, classes: int):
        box = _foreground_box(prediction | reference)
        self._maps = prediction[box], reference[box]
        both = np.bincount((self._maps[1].astype(np.uint16) * classes + self._maps[0]).ravel(), minlength=classes**2)
        confusion = both.reshape(classes, classes)
        self.n_pred, self.n_gt, self.tp = confusion.sum(axis=0), confusion.sum(axis=1), confusion.diagonal()
        self._padded = tuple(np.pad(labels, 1) for labels in self._maps)
        self._edges = tuple(_edge_voxels(padded) for padded in self._padded)
        self._corners: tuple[tuple[np.ndarray, np.ndarray], ...] | None = None

    def directed(self, label: int, spacing: tuple[float, ...]) -> tuple[Directed, Directed]:
        """Distances from the predicted to the reference surface and back, for a class that is in both maps."""
        pred, gt = (voxels[labels == label] for voxels, labels in self._edges)
        shape = self._maps[0].shape
        return _directed(pred, gt, shape, spacing), _directed(gt, pred, shape, spacing)

    def area_within(self, label: int, spacing: tuple[float, ...], tolerance: float) -> float:
        """Share of both surfaces, by area, within ``tolerance`` of the other one, for a class that is in both maps."""
        if self._corners is None:
            self._corners = tuple(_mixed_corners(padded) for padded in self._padded)
        shape = tuple(length + 1 for length in self._maps[0].shape)
        (pred, pred_areas), (gt, gt_areas) = (_surfels(*mixed, label, spacing) for mixed in self._corners)
        within = _area_near(pred, pred_areas, gt, shape, spacing, tolerance)
        within += _area_near(gt, gt_areas, pred, shape, spacing, tolerance)
        return within / float(pred_areas.sum() + gt_areas.sum())


def _foreground_box(occupied: np.ndarray) -> tuple[slice, ...]:
    box = []
    for axis in range(occupied.ndim):
        others = tuple(other for other in range(occupied.ndim) if other != axis)
        filled = np.flatnonzero(occupied.max(axis=others))
        box.append(slice(filled[0], filled[-1] + 1) if len(filled) else slice(0, 0))
    return tuple(box)


def _edge_voxels(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices and labels of the surface voxels of all classes, in a map padded by one background voxel."""
    centre = (slice(1, -1),) * padded.ndim
    labels = padded[centre]
    interior = np.ones(labels.shape, bool)
    for axis, step in product(range(padded.ndim), (slice(None, -2), slice(2, None))):
        interior &= labels == padded[(*centre[:axis], step, *centre[axis + 1 :])]
    found = np.flatnonzero((labels != 0) & ~interior)
    return found, labels.ravel()[found]


def _mixed_corners(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of the corner points whose voxels differ, and the labels around each, ``(2**ndim, points)``."""
    offsets = sorted(product((0, 1), repeat=padded.ndim), key=corner_bit)
    around = [padded[tuple(slice(step, step - 1 or None) for step in offset)] for offset in offsets]
    mixed = np.zeros(around[0].shape, bool)
    for labels in around[1:]:
        mixed |= labels != around[0]
    return np.flatnonzero(mixed), np.stack([labels[mixed] for labels in around])


def _surfels(
    points: np.ndarray, around: np.ndarray, label: int, spacing: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Corner points on the surface of one class, and the area that each carries."""
    codes = ((around == label) << np.arange(len(around))[:, None]).sum(axis=0)
    cut = (codes > 0) & (codes < 2 ** len(around) - 1)
    return points[cut], area_table(spacing)[codes[cut]]


def _directed(start: np.ndarray, goal: np.ndarray, shape: tuple[int, ...], spacing: tuple[float, ...]) -> Directed:
    apart = start[~np.isin(start, goal, assume_unique=True, kind="table")]
    return Directed(_nearest(apart, goal, shape, spacing, limit=np.inf), len(start) - len(apart))


def _area_near(
    start: np.ndarray,
    areas: np.ndarray,
    goal: np.ndarray,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    tolerance: float,
) -> float:
    apart = ~np.isin(start, goal, assume_unique=True, kind="table")
    limit = tolerance * (1 + SLACK)
    near = _nearest(start[apart], goal, shape, spacing, limit=limit) <= limit
    return float(areas[~apart].sum() + areas[apart][near].sum())


def _nearest(
    start: np.ndarray, goal: np.ndarray, shape: tuple[int, ...], spacing: tuple[float, ...], *, limit: float
) -> np.ndarray:
    """Distance from each starting point to the nearest goal; infinite or too large where that is beyond ``limit``."""
    starts, goals = (np.stack(np.unravel_index(flat, shape), axis=1) for flat in (start, goal))
    found = np.full(len(start), np.inf)
    far = _search_neighbours(starts, goals, shape, spacing, found)
    if len(far) and limit >= NEAR * min(spacing):
        tree = cKDTree(goals * np.asarray(spacing), balanced_tree=False, compact_nodes=False)
        # The tree's bound is exclusive: a little more lets a distance of exactly the limit through.
        bound = limit * (1 + SLACK) + SLACK
        found[far] = tree.query(starts[far] * np.asarray(spacing), distance_upper_bound=bound)[0]
    return found


def _search_neighbours(
    starts: np.ndarray, goals: np.ndarray, shape: tuple[int, ...], spacing: tuple[float, ...], found: np.ndarray
) -> np.ndarray:
    """Fill in the distances of starting points that have a goal among the nearest voxels; the others' positions."""
    steps, distances = _neighbours(spacing)
    margin = np.abs(steps).max(axis=0)
    grid = tuple(length + 2 * extra for length, extra in zip(shape, margin, strict=True))
    strides = np.cumprod((1, *grid[:0:-1]))[::-1]
    occupied = np.zeros(np.prod(grid), bool)
    occupied[(goals + margin) @ strides] = True
    left, places = np.arange(len(starts)), (starts + margin) @ strides
    for offset, distance in zip(steps @ strides, distances, strict=True):
        hit = occupied[places + offset]
        found[left[hit]] = distance
        left, places = left[~hit], places[~hit]
    return left


@lru_cache(maxsize=64)
def _neighbours(spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Steps to all voxels that are less than `NEAR` smallest spacings away, and their distances, ascending."""
    most = [range(-int(NEAR * min(spacing) / size), int(NEAR * min(spacing) / size) + 1) for size in spacing]
    steps = np.array(list(product(*most)))
    distances = np.linalg.norm(steps * np.asarray(spacing), axis=1)
    order = np.argsort(distances, kind="stable")
    order = order[(distances[order] > 0) & (distances[order] < NEAR * min(spacing))]
    return steps[order], distances[order]
