"""Areas of surface elements: hand-derived pieces of marching-cubes surface, and symmetry."""

from __future__ import annotations

from itertools import permutations, product
from math import sqrt

import numpy as np
import pytest

from benchmark.metrics.surfels import area_table, corner_bit

CUBE = list(product((0, 1), repeat=3))


def code(*inside: tuple[int, ...]) -> int:
    return sum(1 << corner_bit(corner) for corner in inside)


@pytest.mark.parametrize(
    ("inside", "area"),
    [
        ([], 0),
        # cut-off corner: equilateral triangle between three edge midpoints, side sqrt(1/2)
        ([(0, 0, 0)], sqrt(3) / 8),
        # an edge: rectangle of length 1 and width sqrt(1/2)
        ([(0, 0, 0), (0, 0, 1)], sqrt(0.5)),
        # diagonal corners, of a face or of the cube: two cut-off corners
        ([(0, 0, 0), (0, 1, 1)], sqrt(3) / 4),
        ([(0, 0, 0), (1, 1, 1)], sqrt(3) / 4),
        # a face: the square half-way
        ([(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)], 1),
        # three corners of a face: the half square over them, and the trapezoid that comes down to the face's two cut
        # edges: parallel sides sqrt 2 and sqrt(1/2), height |(1/4, 1/4, 1/2)| = sqrt(3/8)
        ([(0, 0, 0), (0, 0, 1), (0, 1, 0)], 0.5 + (sqrt(2) + sqrt(0.5)) / 2 * sqrt(3 / 8)),
        # a corner and its three neighbours: regular hexagon with side sqrt(1/2)
        ([(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)], 1.5 * sqrt(3) * 0.5),
        # every other corner: four cut-off corners
        ([(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)], sqrt(3) / 2),
        # two opposite edges: two rectangles
        ([(0, 0, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1)], 2 * sqrt(0.5)),
        (CUBE, 0),
    ],
)
def test_area_of_a_neighbourhood_of_unit_voxels(inside, area):
    assert area_table((1.0, 1.0, 1.0))[code(*inside)] == pytest.approx(area)


def test_areas_stretch_with_the_voxel():
    table = area_table((5.0, 2.0, 3.0))
    # triangle with legs along the axes: half the norm of the cross product of two sides
    assert table[code((0, 0, 0))] == pytest.approx(np.linalg.norm(np.cross((2.5, -1, 0), (2.5, 0, -1.5))) / 2)
    # rectangles along x of length 3; the squares between voxels along z, y, x
    assert table[code((0, 0, 0), (0, 0, 1))] == pytest.approx(3 * sqrt(2.5**2 + 1))
    for axis, area in enumerate((2 * 3, 5 * 3, 5 * 2)):
        assert table[code(*(corner for corner in CUBE if corner[axis]))] == pytest.approx(area)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 2.0, 3.0)])
def test_inside_and_outside_have_the_same_surface(spacing):
    table = area_table(spacing)
    np.testing.assert_allclose(table, table[::-1])
    assert (table[1:-1] > 0).all()


def test_areas_do_not_depend_on_how_the_cube_is_held():
    table = area_table((1.0, 1.0, 1.0))
    for number in range(256):
        inside = [corner for corner in CUBE if number >> corner_bit(corner) & 1]
        for order, flip in product(permutations(range(3)), product((0, 1), repeat=3)):
            turned = [tuple(corner[axis] ^ flip[axis] for axis in order) for corner in inside]
            assert table[code(*turned)] == pytest.approx(table[number])


@pytest.mark.parametrize(
    ("inside", "length"),
    [
        ([], 0),
        ([(0, 0)], sqrt(1 + 2.25)),
        ([(0, 0), (0, 1)], 3),
        ([(0, 0), (1, 0)], 2),
        ([(0, 0), (1, 1)], 2 * sqrt(1 + 2.25)),
        ([(0, 1), (1, 0), (1, 1)], sqrt(1 + 2.25)),
        ([(0, 0), (0, 1), (1, 0), (1, 1)], 0),
    ],
)
def test_contour_length_of_a_neighbourhood_of_pixels(inside, length):
    # Pixels of 2 x 3: a cut-off corner is the diagonal of 1 x 1.5.
    assert area_table((2.0, 3.0))[code(*inside)] == pytest.approx(length)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 1.25, 2.0), (1.0, 3.0), (1.0, 1.0)])
def test_every_area_equals_the_one_that_monai_took_from_deepmind(spacing):
    torch_table = pytest.importorskip("monai.metrics.utils").get_code_to_measure_table(spacing)[0]
    expected = np.asarray(torch_table, dtype=np.float64).ravel()
    ours = area_table(spacing)
    bits = 2 ** len(spacing)
    for number in range(len(ours)):
        # There the first voxel has the highest bit.
        mirrored = int(f"{number:0{bits}b}"[::-1], 2)
        assert ours[number] == pytest.approx(expected[mirrored], rel=1e-5), number
