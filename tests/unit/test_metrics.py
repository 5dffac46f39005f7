"""Segmentation metrics on shapes whose numbers can be worked out by hand, with both engines."""

from __future__ import annotations

import doctest
from math import hypot, inf, isnan, sqrt

import numpy as np
import pytest

import benchmark.metrics
from benchmark.metrics import measure
from benchmark.metrics.policy import DISTANCES, OVERLAPS
from tests.reference.metrics import ENGINES


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


def one(prediction: np.ndarray, reference: np.ndarray, *, spacing=None, tolerance=1.0, engine: str):
    """The row of the only class of two masks."""
    masks = (mask.astype(np.uint8) for mask in (prediction, reference))
    return measure(*masks, classes=2, spacing=spacing, tolerance=[tolerance], engine=engine)[0]


def points(shape: tuple[int, ...], *where: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for index in where:
        mask[index] = True
    return mask


def ball(shape: tuple[int, ...], centre: tuple[int, ...], radius: float) -> np.ndarray:
    return sum((axis - c) ** 2 for axis, c in zip(np.indices(shape), centre, strict=True)) <= radius**2


def test_identical_masks_are_perfect(engine):
    mask = ball((12, 13, 14), (6, 6, 7), 4)
    row = one(mask, mask, spacing=(3.0, 1.0, 0.5), engine=engine)
    assert row.status == "ok"
    assert [getattr(row, name) for name in OVERLAPS] == [1.0] * len(OVERLAPS)
    assert [getattr(row, name) for name in DISTANCES] == [0.0] * len(DISTANCES)
    assert row.n_pred == row.n_gt == row.tp == mask.sum()


def test_distances_of_two_single_voxels_are_their_distance(engine):
    # (0, 3, 4) apart: sqrt(9 + 16) = 5, from either side, whatever is averaged
    row = one(points((4, 9, 9), (2, 2, 2)), points((4, 9, 9), (2, 5, 6)), engine=engine)
    assert [getattr(row, name) for name in DISTANCES] == [5.0] * len(DISTANCES)
    assert (row.dice, row.jaccard, row.tp) == (0.0, 0.0, 0)


def test_distances_are_in_mm_and_have_twins_in_voxels(engine):
    # (1, 0, 3) voxels apart at (4, 7, 1) mm: sqrt(16 + 9) = 5 mm, sqrt(1 + 9) voxels
    row = one(points((3, 3, 6), (0, 1, 1)), points((3, 3, 6), (1, 1, 4)), spacing=(4.0, 7.0, 1.0), engine=engine)
    assert row.hd95 == row.hd95_pooled == row.hd == row.assd == 5.0
    assert row.hd95_vox == row.hd95_pooled_vox == sqrt(10)
    assert row.diagonal == pytest.approx(hypot(12, 21, 6))
    assert row.diagonal_vox == pytest.approx(hypot(3, 3, 6))


def test_hd95_is_the_larger_of_the_directed_percentiles_and_the_pooled_one_may_hide_it(engine):
    # Reference: 20 pixels in a row. Prediction: the same and 2 pixels 10 rows away.
    # To the reference: 20 zeros and 2 tens; rank 0.95 * 21 = 19.95 between them: 9.5. Back: all zero.
    # Pooled: 40 zeros and 2 tens; rank 0.95 * 41 = 38.95 is still a zero.
    reference = np.zeros((16, 32), bool)
    reference[2, 5:25] = True
    prediction = reference | points(reference.shape, (12, 8), (12, 20))
    row = one(prediction, reference, engine=engine)
    assert row.hd95 == pytest.approx(9.5)
    assert row.hd95_pooled == 0.0
    assert row.hd == 10.0
    assert row.asd_pred_to_gt == pytest.approx(20 / 22)
    assert row.asd_gt_to_pred == 0.0
    assert row.assd == pytest.approx(20 / 42)
    assert row.masd == pytest.approx(10 / 22)
    assert row.nsd_count == pytest.approx(40 / 42)
    swapped = one(reference, prediction, engine=engine)
    assert (swapped.asd_pred_to_gt, swapped.asd_gt_to_pred) == (row.asd_gt_to_pred, row.asd_pred_to_gt)
    assert swapped.hd95 == row.hd95


def test_reference_that_fills_the_image_ends_at_its_border(engine):
    # Reference: all of 8^3, surface = outermost layer: 6 * 36 face, 12 * 6 edge, 8 corner voxels. Prediction: the inner
    # 6^3: its surface is 1 from the layer outside; back: 1 from the faces, sqrt 2 from edges, sqrt 3 from corners.
    reference = np.ones((8, 8, 8), bool)
    prediction = np.zeros_like(reference)
    prediction[1:-1, 1:-1, 1:-1] = True
    row = one(prediction, reference, engine=engine)
    assert row.asd_pred_to_gt == 1.0
    assert row.asd_gt_to_pred == pytest.approx((216 + 72 * sqrt(2) + 8 * sqrt(3)) / 296)
    assert row.hd == pytest.approx(sqrt(3))
    assert row.dice == pytest.approx(2 * 216 / (216 + 512))


def test_parallel_planes_two_voxels_apart(engine):
    # Voxel centres: all 2 apart. Corner points: of each plane's two sides the outer is 2 and the inner is 1 away.
    prediction, reference = np.zeros((2, 9, 10, 11), bool)
    prediction[3], reference[5] = True, True
    row = one(prediction, reference, engine=engine)
    assert row.hd95 == row.assd == 2.0
    assert row.nsd_count == 0.0
    assert row.nsd == pytest.approx(0.5)


def test_ball_shifted_by_two_voxels_as_published_tools_measure_it(engine):
    # medpy, MONAI and Metrics Reloaded: HD95 2, ASSD .993, NSD by count .574; DeepMind's surface-distance: NSD .776
    shape = (40, 48, 56)
    row = one(ball(shape, (20, 24, 28), 9), ball(shape, (20, 24, 30), 9), engine=engine)
    assert row.hd95 == 2.0
    assert row.assd == pytest.approx(0.993, abs=5e-4)
    assert row.nsd_count == pytest.approx(0.574, abs=5e-4)
    assert row.nsd == pytest.approx(0.776, abs=5e-4)


def test_ball_shifted_by_one_thick_slice_as_published_tools_measure_it(engine):
    # medpy, MONAI, Metrics Reloaded: 3.54 mm = (2, 2) voxels of 1.25 mm in the slice
    shape = (40, 48, 56)
    balls = ball(shape, (20, 24, 28), 9), ball(shape, (21, 24, 28), 9)
    assert one(*balls, spacing=(5.0, 1.25, 1.25), engine=engine).hd95 == pytest.approx(sqrt(2) * 2.5)


def test_small_far_island_moves_the_maximum_only(engine):
    shape = (40, 48, 56)
    reference = ball(shape, (20, 24, 20), 9)
    prediction = reference.copy()
    prediction[20:22, 24:26, 48:50] = True
    row = one(prediction, reference, engine=engine)
    assert row.hd95 == row.hd95_pooled == 0.0
    # The farthest island voxel is (21, 25, 49), its nearest one of the ball the tip (20, 24, 29): (1, 1, 20) apart.
    assert row.hd == pytest.approx(sqrt(402))


def test_square_shifted_by_one_pixel(engine):
    # 4 x 4 has 12 surface pixels. Moved by one column, the 4 pixels of the foremost column are 1 away from the other
    # surface, and so are the 2 inner pixels of the hindmost one; the 6 others lie on the two sides and are shared.
    reference = np.zeros((8, 10), bool)
    reference[2:6, 2:6] = True
    row = one(np.roll(reference, 1, axis=1), reference, engine=engine)
    assert row.hd == row.hd95 == 1.0
    assert row.assd == pytest.approx(6 / 12)
    assert (row.n_pred, row.n_gt, row.tp) == (16, 16, 12)
    assert row.dice == pytest.approx(0.75)
    assert row.jaccard == pytest.approx(0.6)


def test_tolerance_holds_for_decimal_spacings(engine):
    # 3 * 0.1 is 0.30000000000000004 in binary, and still within 0.3 mm
    row = one(points((4, 9), (1, 2)), points((4, 9), (1, 5)), spacing=(0.1, 0.1), tolerance=0.3, engine=engine)
    assert row.nsd_count == 1.0
    assert row.nsd == 1.0
    strict = one(points((4, 9), (1, 2)), points((4, 9), (1, 5)), spacing=(0.1, 0.1), tolerance=0.29, engine=engine)
    assert strict.nsd_count == 0.0


def test_zero_tolerance_counts_shared_surface_only(engine):
    reference = np.zeros((8, 10), bool)
    reference[2:6, 2:6] = True
    row = one(np.roll(reference, 1, axis=1), reference, tolerance=0.0, engine=engine)
    assert row.nsd_count == pytest.approx(0.5)
    # Contour: 12 straight corner points of length 1 and 4 corners of sqrt(1/2). On either side along the shift 4 of 5
    # points are shared, which are 3 straight ones and a corner: 6 + 2 sqrt(1/2) of 12 + 4 sqrt(1/2).
    assert row.nsd == pytest.approx(0.5)


def test_surface_dice_needs_a_tolerance(engine):
    mask = ball((9, 9), (4, 4), 3).astype(np.uint8)
    (row,) = measure(mask, mask, classes=2, spacing=None, engine=engine)
    assert isnan(row.nsd)
    assert isnan(row.nsd_count)
    assert row.hd95 == 0.0


@pytest.mark.parametrize(
    ("in_prediction", "in_reference", "status", "overlap", "distance"),
    [(0, 1, "missed", 0.0, inf), (1, 0, "spurious", 0.0, inf), (0, 0, "both_empty", np.nan, np.nan)],
)
def test_empty_masks_keep_their_raw_status(engine, in_prediction, in_reference, status, overlap, distance):
    mask = ball((5, 6, 7), (2, 3, 3), 1)
    row = one(mask & bool(in_prediction), mask & bool(in_reference), spacing=(2.0, 1.0, 1.0), engine=engine)
    assert row.status == status
    np.testing.assert_array_equal([getattr(row, name) for name in OVERLAPS], overlap)
    np.testing.assert_array_equal([getattr(row, name) for name in DISTANCES], distance)
    # 7 voxels in a ball of radius 1; the penalty is the diagonal of 10 x 6 x 7 mm
    assert (row.n_pred, row.n_gt, row.tp) == (7 * in_prediction, 7 * in_reference, 0)
    assert row.diagonal == pytest.approx(sqrt(100 + 36 + 49))


def test_every_class_has_a_row_in_the_order_of_the_labels(engine):
    reference = np.zeros((6, 9), np.int64)
    reference[1:3, 1:3], reference[4, 6] = 1, 3
    prediction = np.zeros_like(reference)
    prediction[1:3, 1:3], prediction[0, 8] = 1, 2
    rows = measure(prediction, reference, classes=5, spacing=None, engine=engine)
    assert [row.label for row in rows] == [1, 2, 3, 4]
    assert [row.status for row in rows] == ["ok", "spurious", "missed", "both_empty"]


def test_all_background_is_both_empty_everywhere(engine):
    empty = np.zeros((5, 6, 7), np.uint8)
    assert {row.status for row in measure(empty, empty, classes=4, spacing=None, engine=engine)} == {"both_empty"}


def test_labels_of_any_integer_type_and_memory_layout_measure_alike(engine):
    rng = np.random.default_rng(0)
    prediction, reference = rng.integers(0, 3, size=(2, 7, 8, 9))
    expected = measure(prediction, reference, classes=3, spacing=None, engine=engine)
    read_only = reference.astype(np.uint8)
    read_only.setflags(write=False)
    odd_address = np.zeros(7 * 8 * 9 + 1, np.uint8)[1:].reshape(7, 8, 9)
    odd_address[:] = prediction
    fortran = np.asfortranarray(prediction.astype(np.int16))
    for changed in [(odd_address, read_only), (fortran, reference.astype(np.uint16))]:
        assert measure(*changed, classes=3, spacing=None, engine=engine) == expected


def test_as_many_classes_as_a_byte_holds(engine):
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rows = measure(labels, labels[::-1].copy(), classes=256, spacing=None, engine=engine)
    # label 16 r + c lies in row r and, mirrored, in row 15 - r
    assert [row.hd95 for row in rows] == [abs(15 - 2 * (label // 16)) for label in range(1, 256)]


@pytest.mark.parametrize("module", [benchmark.metrics, benchmark.metrics.policy], ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_are_true(module):
    outcome = doctest.testmod(module)
    assert outcome.attempted
    assert not outcome.failed
