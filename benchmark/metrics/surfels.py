"""How much surface passes a corner point, for each way in which the voxels around it can be inside or outside.

A mask's surface can be carried by the corner points between voxels: of the 2x2x2 voxels (2x2 pixels) around such a
point some are inside and some are not, and the piece of marching-cubes surface (Lorensen and Cline 1987) between them
is the point's area (contour length). The normalised surface Dice weighs each point by it (Nikolov et al. 2021, "surface
elements").

The pieces are constructed here, not tabulated: the midpoints of the cut edges are joined along the faces of the cell,
where an ambiguous face separates the corners of the minority side, and each closed polygon is cut into the fan of
triangles that has the largest area on the unit cube. Several fans tie for the non-planar polygons, and they then tie
under every spacing.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np

Point = tuple[float, ...]


@lru_cache(maxsize=64)
def area_table(spacing: tuple[float, ...]) -> np.ndarray:
    """Surface area (3-D) or contour length (2-D) for every neighbourhood of a corner point.

    Args:
        spacing: voxel size per axis; its length, 2 or 3, says which table.

    Returns:
        ``(16,)`` or ``(256,)`` float64. Index: the sum of ``1 << corner_bit(offset)`` over the inside voxels.
    """
    simplices = _simplices(len(spacing)) * np.asarray(spacing)
    if len(spacing) == 2:
        sizes = np.linalg.norm(simplices[:, :, 1] - simplices[:, :, 0], axis=-1)
    else:
        first, second = (simplices[:, :, corner] - simplices[:, :, 0] for corner in (1, 2))
        sizes = np.linalg.norm(np.cross(first, second), axis=-1) / 2
    table = sizes.sum(axis=1)
    table.setflags(write=False)
    return table


def corner_bit(offset: tuple[int, ...]) -> int:
    """Bit of the voxel at ``offset`` (0 or 1 per axis) in a neighbourhood's code: the last axis counts fastest."""
    return sum(step << (len(offset) - 1 - axis) for axis, step in enumerate(offset))


@lru_cache(maxsize=2)
def _simplices(ndim: int) -> np.ndarray:
    """Segments (2-D) or triangles (3-D) of every code, ``(codes, pieces, ndim corners, ndim axes)``, zero-padded."""
    pieces = [_segments(code) if ndim == 2 else _triangles(code) for code in range(2**2**ndim)]
    padded = np.zeros((len(pieces), max(map(len, pieces)), ndim, ndim))
    for code, found in enumerate(pieces):
        if found:
            padded[code, : len(found)] = found
    return padded


def _segments(code: int) -> list[tuple[Point, Point]]:
    inside = {corner: bool(code >> corner_bit(corner) & 1) for corner in product((0, 1), repeat=2)}
    return _face_segments([(0, 0), (0, 1), (1, 1), (1, 0)], inside, separate=True)


def _triangles(code: int) -> list[tuple[Point, Point, Point]]:
    corners = list(product((0, 1), repeat=3))
    inside = {corner: bool(code >> corner_bit(corner) & 1) for corner in corners}
    separate = sum(inside.values()) <= 4
    segments = [segment for face in _faces() for segment in _face_segments(face, inside, separate=separate)]
    return [triangle for polygon in _chained(segments) for triangle in _largest_fan(polygon)]


def _faces() -> list[list[tuple[int, ...]]]:
    """The six faces of the unit cube, each as its four corners in turn."""
    turn = ((0, 0), (0, 1), (1, 1), (1, 0))
    return [[(*pair[:axis], side, *pair[axis:]) for pair in turn] for axis in range(3) for side in (0, 1)]


def _face_segments(
    face: list[tuple[int, ...]], inside: dict[tuple[int, ...], bool], *, separate: bool
) -> list[tuple[Point, Point]]:
    """Where the surface crosses one face: segments between midpoints of cut edges.

    With two diagonal corners inside, each segment cuts off one corner: an inside one if ``separate``, else an outside
    one.
    """
    cut = [edge for edge in range(4) if inside[face[edge]] != inside[face[(edge + 1) % 4]]]
    middle = {edge: tuple((a + b) / 2 for a, b in zip(face[edge], face[(edge + 1) % 4], strict=True)) for edge in cut}
    if len(cut) == 4:
        return [(middle[(corner - 1) % 4], middle[corner]) for corner in range(4) if inside[face[corner]] == separate]
    return [(middle[cut[0]], middle[cut[1]])] if cut else []


def _chained(segments: list[tuple[Point, Point]]) -> list[list[Point]]:
    """Segments joined end to end into closed polygons; every end belongs to exactly two segments."""
    left = list(segments)
    polygons = []
    while left:
        polygon = list(left.pop())
        while polygon[-1] != polygon[0]:
            following = next(segment for segment in left if polygon[-1] in segment)
            left.remove(following)
            polygon.append(following[1] if following[0] == polygon[-1] else following[0])
        polygons.append(polygon[:-1])
    return polygons


def _largest_fan(polygon: list[Point]) -> list[tuple[Point, Point, Point]]:
    def fan(start: int) -> list[tuple[Point, Point, Point]]:
        turned = polygon[start:] + polygon[:start]
        return [(turned[0], turned[i], turned[i + 1]) for i in range(1, len(turned) - 1)]

    def area(triangles: list[tuple[Point, Point, Point]]) -> float:
        a, b, c = np.array(triangles).transpose(1, 0, 2)
        return round(float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()), 9)

    return max((fan(start) for start in range(len(polygon))), key=area)
