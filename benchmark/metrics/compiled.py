"""Surface distances on bit maps, with compiled search: exact, and many times faster than distance transforms.

64 voxels are one word. A surface is a handful of word operations, the voxels that two surfaces share (most of them, on
a good prediction) drop out with one more, and the rest look for the nearest set bit in nearby rows of the other bit
map. Voxels whose goal lies far away, of a stray island, are finished plane by plane, and where there are very many of
them, as in noise, a distance map of the whole box bounds the worst case.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf, pi, sqrt

import numpy as np

from . import kernels, search
from .measures import SLACK, Directed
from .surfels import area_table

ROWS = 400
"""How many rows of the other bit map a voxel may search before it counts as lost; changes the time, no number."""
ROWS_PER_VOXEL = 10
"""A far search may look at this many rows for every voxel of the box; beyond that, a distance map of the whole box is
cheaper. Changes the time, no number."""


def warm_up() -> None:
    """Compile every loop, or read it from disk, so that what can go wrong with it goes wrong here."""
    bits, size, one = np.ones((1, 1, 1), np.uint64), np.ones(3), np.ones(1)
    filled, lost = np.ones((1, 1), bool), np.zeros((1, 4), np.int64)
    seen = np.zeros((1, 1), np.uint8)
    labels = np.zeros(8, np.uint8)
    kernels.census(labels, labels, labels.view(np.uint64), labels.view(np.uint64), 8, seen, seen)
    search.search_near(bits, bits, filled, *_offsets((1.0, 1.0), 1.0, 0, 0), size, 1.0, 1.0, one, lost)
    search.search_far(lost, bits, np.zeros(1, np.int64), np.ones(1, np.int64), _columns(bits), size, one)
    kernels.distance_map(bits, size, np.empty((1, 1, 1)))
    kernels.surface_areas(_framed(bits, planar=True), bits, bits, area_table((1.0, 1.0)), True, one)


class CompiledCase:
    """The bit maps of all classes of one case; arguments and results are those of `portable.PortableCase`."""

    def __init__(self, prediction: np.ndarray, reference: np.ndarray, classes: int):
        self._planar = prediction.ndim == 2
        shape = (1,) * self._planar + prediction.shape
        maps = prediction.reshape(shape), reference.reshape(shape)
        flat = [_aligned(labels) for labels in maps]
        rows_seen = np.zeros((classes, shape[0] * shape[1]), np.uint8)
        columns_seen = np.zeros((classes, shape[2]), np.uint8)
        words = [labels[: labels.size // 8 * 8].view(np.uint64) for labels in flat]
        kernels.census(*flat, *words, shape[2], rows_seen, columns_seen)
        self._masks: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.n_pred, self.n_gt, self.tp = np.zeros((3, classes), np.int64)
        for label in range(1, classes):
            if columns_seen[label].any():
                rows = rows_seen[label].reshape(shape[:2])
                box = tuple(_span(seen) for seen in (rows.any(axis=1), rows.any(axis=0), columns_seen[label]))
                pred, gt = (_packed(labels[box], label) for labels in maps)
                self._masks[label] = pred, gt
                self.n_pred[label], self.n_gt[label], self.tp[label] = (_count(bits) for bits in (pred, gt, pred & gt))

    def directed(self, label: int, spacing: tuple[float, ...]) -> tuple[Directed, Directed]:
        """Distances from the predicted to the reference surface and back, for a class that is in both maps."""
        pred, gt = (_surface(bits, planar=self._planar) for bits in self._masks[label])
        size = (1.0,) * self._planar + spacing
        return _directed(pred, gt, size), _directed(gt, pred, size)

    def area_within(self, label: int, spacing: tuple[float, ...], tolerance: float) -> float:
        """Share of both surfaces, by area, within ``tolerance`` of the other one, for a class that is in both maps."""
        size, limit = (1.0,) * self._planar + spacing, tolerance * (1 + SLACK)
        masks = [_framed(bits, planar=self._planar) for bits in self._masks[label]]
        pred, gt = (_corners(rows, planar=self._planar) for rows in masks)
        within = total = 0.0
        for rows, start, goal in ((masks[0], pred, gt), (masks[1], gt, pred)):
            squared = _squared_distances(start & ~goal, goal, size, bound=limit)
            areas = np.empty(len(squared))
            shared = kernels.surface_areas(rows, start, goal, area_table(spacing), self._planar, areas)
            within += shared + areas[squared < limit**2].sum()
            total += shared + areas.sum()
        return float(within / total)


def _aligned(labels: np.ndarray) -> np.ndarray:
    """Flat view of a label map that can be read as 64-bit words; a copy where the caller's memory is not fit for it."""
    fit = labels.flags.c_contiguous and labels.flags.writeable and labels.ctypes.data % 8 == 0
    return (labels if fit else labels.copy()).reshape(-1)


def _span(seen: np.ndarray) -> slice:
    where = np.flatnonzero(seen)
    return slice(where[0], where[-1] + 1)


def _packed(labels: np.ndarray, label: int) -> np.ndarray:
    """Bit map with at least one unset bit at the end of each row, so that corner points have room."""
    depth, height, width = labels.shape
    mask = np.zeros((depth, height, (width // 64 + 1) * 64), bool)
    np.equal(labels, label, out=mask[:, :, :width])
    return np.packbits(mask.reshape(-1), bitorder="little").view(np.uint64).reshape(depth, height, -1)


def _count(bits: np.ndarray) -> int:
    return int(np.bitwise_count(bits).sum())


def _later(bits: np.ndarray) -> np.ndarray:
    """Every bit moved one voxel up its row."""
    moved = bits << np.uint64(1)
    moved[:, :, 1:] |= bits[:, :, :-1] >> np.uint64(63)
    return moved


def _earlier(bits: np.ndarray) -> np.ndarray:
    moved = bits >> np.uint64(1)
    moved[:, :, :-1] |= bits[:, :, 1:] << np.uint64(63)
    return moved


def _surface(bits: np.ndarray, *, planar: bool) -> np.ndarray:
    """The voxels with a 4- or 6-neighbour outside the mask."""
    inner = _later(bits) & _earlier(bits)
    inner[:, 1:] &= bits[:, :-1]
    inner[:, :-1] &= bits[:, 1:]
    inner[:, [0, -1]] = 0
    if not planar:
        inner[1:] &= bits[:-1]
        inner[:-1] &= bits[1:]
        inner[[0, -1]] = 0
    return bits & ~inner


def _framed(bits: np.ndarray, *, planar: bool) -> np.ndarray:
    """The bit map with an empty row on either side, and an empty plane on either side unless it is planar."""
    return np.pad(bits, ((0, 0) if planar else (1, 1), (1, 1), (0, 0)))


def _corners(rows: np.ndarray, *, planar: bool) -> np.ndarray:
    """The corner points around which some voxels of a framed bit map are in the mask and some are not."""
    planes = (rows,) if planar else (rows[:-1], rows[1:])
    around = [plane[:, step] for plane in planes for step in (slice(None, -1), slice(1, None))]
    some, every = np.bitwise_or.reduce(around), np.bitwise_and.reduce(around)
    return (some | _later(some)) & ~(every & _later(every))


def _directed(start: np.ndarray, goal: np.ndarray, spacing: tuple[float, ...]) -> Directed:
    apart = start & ~goal
    return Directed(_squared_distances(apart, goal, spacing, bound=inf) ** 0.5, _count(start) - _count(apart))


def _squared_distances(start: np.ndarray, goal: np.ndarray, spacing: tuple[float, ...], *, bound: float) -> np.ndarray:
    """Squared distance from every set bit to the nearest goal, in order; ``bound**2`` where none is closer."""
    found2 = np.empty(_count(start))
    if not len(found2):
        return found2
    depth, height, _ = start.shape
    size = np.array(spacing)
    reach = bound if bound < inf else _reach(spacing, planar=depth == 1)
    offsets = _offsets(spacing[:2], reach, min(int(reach / size[0]), depth - 1), min(int(reach / size[1]), height - 1))
    filled = goal.any(axis=2)
    most_lost = 0
    if bound == inf:
        most_lost = min(len(found2), ROWS_PER_VOXEL * goal.size * 64 // int(np.count_nonzero(filled)))
    lost = np.empty((most_lost, 4), np.int64)
    n_lost = search.search_near(start, goal, filled, *offsets, size, reach**2, bound**2, found2, lost)
    if n_lost > most_lost:
        squared = np.empty((depth, height, _columns(start | goal)[1] + 1))
        kernels.distance_map(goal, size, squared)
        return squared[_unpacked(start)[:, :, : squared.shape[2]].view(bool)]
    if n_lost:
        rows_y, ends = np.nonzero(filled)[1], np.cumsum(np.count_nonzero(filled, axis=1))
        search.search_far(lost[:n_lost], goal, rows_y, ends, _columns(goal), size, found2)
    return found2


def _columns(bits: np.ndarray) -> tuple[int, int]:
    """First and last position of any set bit in its row."""
    somewhere = np.bitwise_or.reduce(bits.reshape(1, -1, bits.shape[2]), axis=1, keepdims=True)
    seen = np.flatnonzero(_unpacked(somewhere))
    return int(seen[0]), int(seen[-1])


def _unpacked(bits: np.ndarray) -> np.ndarray:
    """One byte, 0 or 1, for every bit."""
    return np.unpackbits(bits.view(np.uint8), axis=2, bitorder="little")


def _reach(spacing: tuple[float, ...], *, planar: bool) -> float:
    """Radius within which there are `ROWS` rows."""
    return ROWS / 2 * spacing[1] if planar else sqrt(ROWS * spacing[0] * spacing[1] / pi)


@lru_cache(maxsize=256)
def _offsets(spacing: tuple[float, float], reach: float, most_z: int, most_y: int) -> tuple[np.ndarray, ...]:
    """Steps to all rows within the reach, and their squared distances, from the nearest outwards."""
    dz, dy = (steps.ravel() for steps in np.mgrid[-most_z : most_z + 1, -most_y : most_y + 1])
    cost = (dz * spacing[0]) ** 2 + (dy * spacing[1]) ** 2
    order = np.argsort(cost, kind="stable")
    order = order[cost[order] <= reach**2]
    return dz[order], dy[order], cost[order]
