"""What an annotator with little time would draw, made from a dense label map, one image or slice at a time.

Each function takes a ``(h, w)`` label map, with IGNORE where it is of no class, and a random generator, and gives
:class:`Marks`: a map that is right wherever it says anything, IGNORE elsewhere, and how often the pen was set down.
Nothing looks at the image: real annotators prefer what they see well, so real scribbles are better placed than these.

Sources: ``skeleton`` draws what the generator that comes with WSL4MIS (github.com/HiLab-git/WSL4MIS) draws, but walks
without recursion and never leaves the image. ``curves`` follows the description of ScribbleBench (Gotkowski et al.,
arXiv 2403.12834). ``points`` and ``boxes`` are the usual weak labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.interpolate import BSpline

from .types import IGNORE

_EIGHT = np.ones((3, 3), bool)
_Pixel = tuple[int, int]

ERODE_AREA, ERODE_TIMES = 900, (4, 10)
"""A region of more pixels is eroded, so many times, before its skeleton is taken (WSL4MIS's defaults)."""
SPECKLE = 15
"""Skeletons of at most so many pixels are dropped beside the largest of a class."""
JITTER_AREA, JITTER_PIXELS, JITTER_DEGREES = 1000, 6, 15.0
"""In a class of more pixels a stroke is shifted and turned by at most so much."""

WIDTH = 3
"""Width of a curve in pixels."""
CONTROLS = 4
"""Control points of an interior curve, a spline of degree 2."""
INWARDS = (1, 4)
"""How many pixels within the border, beyond its own width, a boundary curve runs."""
BOUNDARY_SHARE = (0.07, 0.15)
"""Share of the border's length that a boundary curve follows."""


class Marks(NamedTuple):
    """Weak labels of one image: ``(h, w)`` uint8 with IGNORE where nothing is marked, and the number of strokes."""

    labels: np.ndarray
    strokes: int


def skeleton(label: np.ndarray, rng: np.random.Generator) -> Marks:
    """One stroke along the middle of each class (of each large part of it); the background's whole skeleton."""
    marks, strokes = _blank(label), 0
    for value in _values(label):
        region = label == value
        line = _thin(region, rng)
        ways = [_walk(part, rng) for part in _large(line)] if value else []
        marks[np.any([_widened(way, region, rng) for way in ways], axis=0) if value else line] = value
        strokes += len(ways) if value else int(ndimage.label(line, _EIGHT)[1])
    return Marks(marks, strokes)


def curves(label: np.ndarray, rng: np.random.Generator) -> Marks:
    """For each class, in one of its parts: a curve through the interior, and a piece that follows the border within."""
    marks, strokes = _blank(label), 0
    for value in _values(label):
        parts, count = ndimage.label(label == value, _EIGHT)
        areas = np.bincount(parts.ravel())[1:]
        region = parts == 1 + rng.choice(count, p=areas / areas.sum())
        for line in (_interior(region, rng), _boundary(region, rng)):
            if line.any():
                marks[line] = value
                strokes += 1
    return Marks(marks, strokes)


def points(label: np.ndarray, rng: np.random.Generator, *, count: int = 1, radius: int = 2) -> Marks:
    """``count`` discs in each part of each class, background included, clipped to the part.

    Args:
        label: ``(h, w)``.
        rng: draws the centres among the pixels that are at least half as deep as the deepest.
        count: clicks per part; a part of fewer pixels gets fewer.
        radius: of a disc in pixels; 0 = single pixels.
    """
    marks, strokes = _blank(label), 0
    y, x = np.indices(label.shape)
    for value, region in _parts(label):
        if value == IGNORE:
            continue
        depth = _depth(region)
        deep = np.argwhere(depth >= depth.max() / 2)
        for at_y, at_x in deep[rng.permutation(len(deep))[:count]]:
            marks[region & ((y - at_y) ** 2 + (x - at_x) ** 2 <= radius**2)] = value
            strokes += 1
    return Marks(marks, strokes)


def boxes(label: np.ndarray, rng: np.random.Generator, *, margin: int = 0) -> Marks:
    """Tight boxes around each part of each foreground class, ``margin`` pixels wider: what is in none is background.

    Inside a box nothing is marked, so a method that learns from marked pixels alone learns the background alone.
    """
    marks, strokes = np.where(label == IGNORE, IGNORE, 0).astype(np.uint8), 0
    for value, region in _parts(label):
        if value not in (0, IGNORE):
            rows, columns = ndimage.find_objects(region.astype(np.uint8))[0]
            marks[
                max(0, rows.start - margin) : rows.stop + margin, max(0, columns.start - margin) : columns.stop + margin
            ] = IGNORE
            strokes += 1
    return Marks(marks, strokes)


def outlines(label: np.ndarray) -> Marks:
    """The dense label itself: one outline for each part of each foreground class. Unknown pixels stay unknown."""
    return Marks(label.astype(np.uint8), sum(1 for value, _ in _parts(label) if value not in (0, IGNORE)))


def drawn(scribble: np.ndarray) -> Marks:
    """Scribbles that somebody drew: each connected mark of one class counts as one stroke."""
    return Marks(scribble, sum(1 for value, _ in _parts(scribble) if value != IGNORE))


# Skeletons ----------------------------------------------------------------------------------------------------------
def _thin(region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One-pixel lines (Lee's skeleton) of a region, eroded first if it is large; never empty."""
    from skimage.morphology import skeletonize

    low, high = ERODE_TIMES
    times = ceil(low + rng.random() * (high - low))
    core = _eroded(region, times if region.sum() > ERODE_AREA else 0)
    line = skeletonize(np.pad(core, 1), method="lee")[1:-1, 1:-1] > 0
    return line if line.any() else _deepest(core)


def _large(line: np.ndarray) -> list[np.ndarray]:
    """The connected lines, without speckles; the largest always stays."""
    parts, count = ndimage.label(line, _EIGHT)
    sizes = np.bincount(parts.ravel())[1:]
    return [parts == n + 1 for n in range(count) if sizes[n] > SPECKLE or n == sizes.argmax()]


def _walk(line: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pixels ``(n, 2)`` of one way along a line from one of its ends, any branch at a fork, until it is stuck."""
    left = {(int(y), int(x)) for y, x in np.argwhere(line)}
    ends = sorted(place for place in left if len(_branches(place, left)) <= 1) or sorted(left)
    way = [ends[rng.integers(len(ends))]]
    left.remove(way[0])
    while branches := _branches(way[-1], left):
        way.append(branches[rng.integers(len(branches))])
        left.remove(way[-1])
    return np.array(way)


def _branches(place: _Pixel, line: set[_Pixel]) -> list[_Pixel]:
    """Where a way goes on: of neighbours that touch each other, those across a side before those across a corner."""
    y, x = place
    sides = [near for near in ((y - 1, x), (y, x - 1), (y, x + 1), (y + 1, x)) if near in line]
    corners = [(y + i, x + j) for i in (-1, 1) for j in (-1, 1) if (y + i, x + j) in line]
    return sides + [(v, u) for v, u in corners if (v, x) not in line and (y, u) not in line]


def _widened(way: np.ndarray, region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A stroke of three pixels' width along a way, shaken if its class is large, and clipped to the class."""
    stroke = _drawn_along(way, region)
    if region.sum() <= JITTER_AREA:
        return stroke
    shift = rng.integers(-JITTER_PIXELS, JITTER_PIXELS + 1, 2)
    turn = np.deg2rad(rng.uniform(-JITTER_DEGREES, JITTER_DEGREES))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = way.mean(0)
    moved = _drawn_along((way - middle) @ rotation.T + middle + shift, region)
    return moved if moved.any() else stroke  # shaken out of a thin class: the hand was steady


# Curves -------------------------------------------------------------------------------------------------------------
def _interior(region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth curve through random pixels of a region, each in sight of the one before."""
    inside = np.argwhere(region)
    controls = [inside[rng.integers(len(inside))]]
    for _ in range(CONTROLS - 1):
        controls.append(_in_sight(region, controls[-1], inside[rng.integers(len(inside))]))
    knots = np.array([0, 0, 0, 1, 2, 2, 2])  # clamped: the curve begins and ends in the first and last of four controls
    spline = BSpline(knots, np.array(controls, float), 2)
    return _drawn_along(spline(np.linspace(0, 2, 4 * sum(region.shape))), region)


def _in_sight(region: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The last pixel on the straight way from ``start`` to ``end`` before it leaves the region."""
    steps = np.abs(end - start).max() + 1
    way = np.rint(np.linspace(start, end, steps)).astype(int)
    outside = np.flatnonzero(~region[tuple(way.T)])
    return way[outside[0] - 1] if len(outside) else way[-1]


def _boundary(region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A piece of a line that follows the border from within, rather where the border bends; empty in a thin region."""
    from skimage.measure import find_contours

    core = _eroded(region, WIDTH // 2 + int(rng.integers(INWARDS[0], INWARDS[1] + 1)))
    contours = [line[:-1] - 1 for line in find_contours(np.pad(core, 1).astype(np.float32), 0.5)]
    bends = [_bend(line) * _off_the_edge(line, region.shape) for line in contours]
    weights = np.concatenate(bends)
    if not weights.any():
        return np.zeros(region.shape, bool)
    start = int(rng.choice(len(weights), p=weights / weights.sum()))
    which = int(np.searchsorted(np.cumsum([len(line) for line in contours]), start, side="right"))
    first = start - sum(len(line) for line in contours[:which])
    along = np.arange(max(2, ceil(rng.uniform(*BOUNDARY_SHARE) * len(contours[which]))))
    return _drawn_along(np.take(contours[which], first + along, axis=0, mode="wrap"), region)


def _bend(line: np.ndarray) -> np.ndarray:
    """How much a closed line turns about each of its points, in radians, and a little everywhere."""
    reach = max(1, min(5, len(line) // 4))
    before, after = line - np.roll(line, reach, 0), np.roll(line, -reach, 0) - line
    angle = np.arctan2(before[:, 1], before[:, 0]) - np.arctan2(after[:, 1], after[:, 0])
    return np.abs(np.angle(np.exp(1j * angle))) + 0.05


def _off_the_edge(line: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which points are no border between classes but that of the image: nobody draws along the edge of a picture."""
    edge = WIDTH + INWARDS[1]
    return np.all((line > edge) & (line < np.array(shape) - 1 - edge), axis=1)


# Shared -------------------------------------------------------------------------------------------------------------
def _blank(label: np.ndarray) -> np.ndarray:
    return np.full(label.shape, IGNORE, np.uint8)


def _values(label: np.ndarray) -> np.ndarray:
    """The classes that are there."""
    found = np.unique(label)
    return found[found != IGNORE]


def _parts(label: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Connected parts of each value, pixels touching at corners included."""
    for value in np.unique(label):
        parts, count = ndimage.label(label == value, _EIGHT)
        for number in range(1, count + 1):
            yield int(value), parts == number


def _eroded(region: np.ndarray, times: int) -> np.ndarray:
    """Less ``times`` layers of pixels, or as many as leave any; the image's edge is no border of a class."""
    for _ in range(times):
        less = ndimage.binary_erosion(region, _EIGHT, border_value=1)
        if not less.any():
            break
        region = less
    return region


def _depth(region: np.ndarray) -> np.ndarray:
    """Distance to the nearest pixel outside the region; outside the image is outside."""
    return ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]


def _deepest(region: np.ndarray) -> np.ndarray:
    depth = _depth(region)
    mask = np.zeros(region.shape, bool)
    mask[np.unravel_index(depth.argmax(), depth.shape)] = True
    return mask


def _drawn_along(way: np.ndarray, region: np.ndarray) -> np.ndarray:
    """A line three pixels wide along ``(n, 2)`` places, which may lie outside the image, clipped to the region."""
    y, x = np.rint(way).astype(int).T
    inside = (y >= 0) & (y < region.shape[0]) & (x >= 0) & (x < region.shape[1])
    line = np.zeros(region.shape, bool)
    line[y[inside], x[inside]] = True
    return ndimage.binary_dilation(line, _EIGHT) & region
