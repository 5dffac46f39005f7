"""What must not change a metric: which map comes first, empty borders, the names of classes, the unit, the axes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.metrics import measure
from benchmark.metrics.policy import DISTANCES
from tests.reference.metrics import ENGINES, assert_same_rows


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[(12, 15, 67), (15, 67)], ids=["3-D", "2-D"])
def maps(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Two noisy label maps of three classes with shared parts, with some background at the border."""
    rng = np.random.default_rng(7)
    reference = (np.indices(request.param).sum(axis=0) // 9 % 3).astype(np.uint8)
    prediction = np.where(rng.random(request.param) < 0.1, rng.integers(0, 3, request.param), reference)
    border = np.pad(np.ones([n - 2 for n in request.param], np.uint8), 1)
    return (prediction * border).astype(np.uint8), reference * border


def test_swapping_the_maps_swaps_the_directions_only(maps, engine):
    tolerance = [1.0, 2.0]
    forth = measure(*maps, classes=3, spacing=None, tolerance=tolerance, engine=engine)
    back = measure(*maps[::-1], classes=3, spacing=None, tolerance=tolerance, engine=engine)
    directed = ("asd_pred_to_gt", "asd_gt_to_pred", "n_pred", "n_gt")
    assert_same_rows(forth, back, skip=directed)
    for one_way, other in zip(forth, back, strict=True):
        assert (one_way.asd_pred_to_gt, one_way.n_pred) == pytest.approx((other.asd_gt_to_pred, other.n_gt))


def test_background_around_the_image_changes_only_the_penalty(maps, engine):
    padded = [np.pad(labels, [(3, 5)] * (labels.ndim - 1) + [(64, 1)]) for labels in maps]
    tolerance = [1.0, 2.0]
    expected = measure(*maps, classes=3, spacing=None, tolerance=tolerance, engine=engine)
    assert_same_rows(
        measure(*padded, classes=3, spacing=None, tolerance=tolerance, engine=engine),
        expected,
        skip=("diagonal", "diagonal_vox"),
    )
    inner = (slice(1, -1),) * maps[0].ndim
    cropped = [labels[inner] for labels in maps]
    assert_same_rows(
        measure(*cropped, classes=3, spacing=None, tolerance=tolerance, engine=engine),
        expected,
        skip=("diagonal", "diagonal_vox"),
    )


def test_renaming_the_classes_reorders_the_rows(maps, engine):
    swap = np.array([0, 2, 1], np.uint8)
    expected = measure(*maps, classes=3, spacing=None, tolerance=[1.0, 2.0], engine=engine)
    renamed = measure(*(swap[labels] for labels in maps), classes=3, spacing=None, tolerance=[2.0, 1.0], engine=engine)
    assert_same_rows(renamed[::-1], expected, skip=("label",))


def test_scaling_the_spacing_scales_the_distances(maps, engine):
    spacing = (2.5, 1.0, 0.7)[-maps[0].ndim :]
    small = measure(*maps, classes=3, spacing=spacing, tolerance=[1.3, 2.1], engine=engine)
    large = measure(*maps, classes=3, spacing=[4 * s for s in spacing], tolerance=[5.2, 8.4], engine=engine)
    for one_row, other in zip(small, large, strict=True):
        for name in DISTANCES:
            factor = 1 if name.endswith("_vox") else 4
            assert getattr(other, name) == pytest.approx(factor * getattr(one_row, name))
        assert (other.nsd, other.nsd_count) == pytest.approx((one_row.nsd, one_row.nsd_count))


def test_turning_the_axes_changes_nothing(maps, engine):
    spacing = (2.5, 1.0, 0.7)[-maps[0].ndim :]
    expected = measure(*maps, classes=3, spacing=spacing, tolerance=[1.3, 2.1], engine=engine)
    turned = [labels.T for labels in maps]
    assert_same_rows(measure(*turned, classes=3, spacing=spacing[::-1], tolerance=[1.3, 2.1], engine=engine), expected)


def test_equal_spacing_is_a_scaled_voxel(maps, engine):
    rows = measure(*maps, classes=3, spacing=(0.625,) * maps[0].ndim, engine=engine)
    for row in rows:
        assert row.hd95 == pytest.approx(0.625 * row.hd95_vox)
        assert row.diagonal == pytest.approx(0.625 * row.diagonal_vox)
