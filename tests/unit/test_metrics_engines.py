"""Both engines against a slow reference, against each other and against published tools, on random maps."""

from __future__ import annotations

import importlib
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import benchmark.metrics
from benchmark.metrics import measure
from benchmark.metrics.surfels import area_table
from tests.reference.metrics import ENGINES, all_measures, assert_same_rows

WIDTHS = (2, 5, 31, 63, 64, 65, 127, 128, 129)
SPACINGS = (None, (1.0, 1.0, 1.0), (10.0, 1.5, 1.5), (0.7, 0.9, 3.1))


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


def random_pair(rng: np.random.Generator, shape: tuple[int, ...], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Two label maps: blobs, sprinkled voxels from rare to dense, or blobs against themselves with noise."""
    kind = rng.integers(3)
    if kind == 0:
        return _blobs(rng, shape, classes), _blobs(rng, shape, classes)
    if kind == 1:
        density = 10 ** rng.uniform(-3, -0.05)
        first, second = rng.integers(0, classes, (2, *shape)) * (rng.random((2, *shape)) < density)
        return first, second
    labels = _blobs(rng, shape, classes)
    return labels, np.where(rng.random(shape) < 0.02, rng.integers(0, classes, shape), labels)


def _blobs(rng: np.random.Generator, shape: tuple[int, ...], classes: int) -> np.ndarray:
    return np.stack([gaussian_filter(rng.normal(size=shape), 2) for _ in range(classes)]).argmax(axis=0)


def random_case(seed: int, *, longest: int = 16) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    ndim, classes = int(rng.integers(2, 4)), int(rng.integers(2, 5))
    shape = (*(int(n) for n in rng.integers(2, longest, ndim - 1)), int(rng.choice(WIDTHS)))
    spacing = SPACINGS[rng.integers(len(SPACINGS))]
    return SimpleNamespace(
        maps=random_pair(rng, shape, classes),
        classes=classes,
        spacing=spacing and spacing[-ndim:],
        # away from any distance on the grid, where tools may round to either side
        tolerance=[float(value) for value in rng.integers(0, 5, classes - 1) + 0.37],
    )


def rows_of(case: SimpleNamespace, engine: str):
    return measure(*case.maps, classes=case.classes, spacing=case.spacing, tolerance=case.tolerance, engine=engine)


@pytest.mark.parametrize("seed", range(12))
def test_every_measure_equals_the_slow_reference(seed, engine):
    rng = np.random.default_rng(seed)
    shape = [(7, 9), (4, 5, 6), (3, 3, 66), (2, 65)][seed % 4]
    prediction, reference = random_pair(rng, shape, 3)
    spacing = tuple(rng.choice([0.7, 1.0, 2.5], len(shape)))
    areas = {
        around: area_table(spacing)[sum(bit << i for i, bit in enumerate(around))]
        for around in product((False, True), repeat=2 ** len(shape))
    }
    for row in measure(prediction, reference, classes=3, spacing=spacing, tolerance=[1.37, 2.37], engine=engine):
        masks = prediction == row.label, reference == row.label
        if all(mask.any() for mask in masks):
            expected = all_measures(*masks, spacing, [1.37, 2.37][row.label - 1], areas)
            for name, value in expected.items():
                assert getattr(row, name) == pytest.approx(value, rel=1e-9, abs=1e-12), name
        else:
            assert row.status != "ok"


def _compare_engines(seeds: range, longest: int) -> None:
    for seed in seeds:
        case = random_case(seed, longest=longest)
        assert_same_rows(rows_of(case, "numba"), rows_of(case, "scipy"))


def test_engines_agree_on_random_maps():
    pytest.importorskip("numba")
    _compare_engines(range(100, 140), 16)


@pytest.mark.slow
def test_engines_agree_on_many_random_maps():
    pytest.importorskip("numba")
    _compare_engines(range(1000, 2000), 30)


@pytest.mark.parametrize("rows", [0, 1, 10, 10**4], ids="{} rows".format)
@pytest.mark.parametrize("rows_per_voxel", [10**6, 0], ids=["far search", "distance map"])
def test_every_path_through_the_compiled_engine_gives_the_same(monkeypatch, rows, rows_per_voxel):
    pytest.importorskip("numba")
    compiled = importlib.import_module("benchmark.metrics.compiled")
    monkeypatch.setattr(compiled, "ROWS", rows)
    monkeypatch.setattr(compiled, "ROWS_PER_VOXEL", rows_per_voxel)
    _compare_engines(range(200, 215), 16)


@pytest.mark.parametrize("near", [1.01, 5.0])
def test_how_far_the_portable_engine_looks_before_the_tree_changes_nothing(monkeypatch, near):
    from benchmark.metrics import portable

    cases = [random_case(seed) for seed in range(300, 310)]
    expected = [rows_of(case, "scipy") for case in cases]
    monkeypatch.setattr(portable, "NEAR", near)
    portable._neighbours.cache_clear()
    try:
        for case, rows in zip(cases, expected, strict=True):
            assert_same_rows(rows_of(case, "scipy"), rows)
    finally:
        portable._neighbours.cache_clear()


def _compare_with_medpy(seeds: range, engine: str) -> None:
    medpy = pytest.importorskip("medpy.metric.binary")
    for seed in seeds:
        case = random_case(seed)
        for row in rows_of(case, engine):
            masks = [labels == row.label for labels in case.maps]
            if row.status != "ok":
                assert not all(mask.any() for mask in masks)
                continue
            expected = {
                "dice": medpy.dc(*masks),
                "jaccard": medpy.jc(*masks),
                "hd95_pooled": medpy.hd95(*masks, voxelspacing=case.spacing),
                "hd95_pooled_vox": medpy.hd95(*masks),
                "hd": medpy.hd(*masks, voxelspacing=case.spacing),
                "asd_pred_to_gt": medpy.asd(*masks, voxelspacing=case.spacing),
                "asd_gt_to_pred": medpy.asd(*masks[::-1], voxelspacing=case.spacing),
                "assd": medpy.assd(*masks, voxelspacing=case.spacing),
            }
            for name, value in expected.items():
                assert getattr(row, name) == pytest.approx(value, rel=1e-9, abs=1e-9), (seed, name)


def test_numbers_equal_those_of_medpy(engine):
    _compare_with_medpy(range(400, 425), engine)


@pytest.mark.slow
def test_numbers_equal_those_of_medpy_on_many_maps(engine):
    _compare_with_medpy(range(3000, 3300), engine)


def _compare_with_monai(seeds: range, engine: str) -> None:
    """To 1e-4: MONAI interpolates its percentiles in single precision."""
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    for seed in seeds:
        case = random_case(seed, longest=10)
        for row in rows_of(case, engine):
            masks = [torch.from_numpy(labels == row.label)[None, None] for labels in case.maps]
            spacing = case.spacing or (1.0,) * case.maps[0].ndim
            options = {"include_background": True, "spacing": spacing}
            tolerance = [case.tolerance[row.label - 1]]
            if row.status == "ok":
                expected = {
                    "hd95": monai.compute_hausdorff_distance(*masks, percentile=95, **options),
                    "nsd_count": monai.compute_surface_dice(*masks, tolerance, **options),
                    "nsd": monai.compute_surface_dice(*masks, tolerance, use_subvoxels=True, **options),
                }
                for name, value in expected.items():
                    assert getattr(row, name) == pytest.approx(value.item(), rel=1e-4, abs=1e-4), (seed, name)


def test_numbers_equal_those_of_monai(engine):
    _compare_with_monai(range(500, 510), engine)


@pytest.mark.slow
def test_numbers_equal_those_of_monai_on_many_maps(engine):
    _compare_with_monai(range(4000, 4150), engine)


@pytest.mark.parametrize("error", [OSError("no space left on device"), ImportError("Numba needs NumPy 2.3 or less")])
def test_an_unusable_numba_is_reported_and_replaced(monkeypatch, error):
    pytest.importorskip("numba")
    compiled = importlib.import_module("benchmark.metrics.compiled")

    def fail() -> None:
        raise error

    case = random_case(600)
    expected = rows_of(case, "scipy")
    monkeypatch.setattr(compiled, "warm_up", fail)
    benchmark.metrics._case_type.cache_clear()
    try:
        with pytest.warns(UserWarning, match=f"numba cannot be used \\({error}\\)"):
            rows = measure(*case.maps, classes=case.classes, spacing=case.spacing, tolerance=case.tolerance)
        assert_same_rows(rows, expected)
        with pytest.raises(type(error), match=str(error)):
            rows_of(case, "numba")
    finally:
        benchmark.metrics._case_type.cache_clear()


def test_a_loop_whose_machine_code_cannot_be_kept_is_compiled_all_the_same():
    pytest.importorskip("numba")
    bits = importlib.import_module("benchmark.metrics.bits")
    # numba has no folder for code that comes from no file
    namespace: dict[str, object] = {}
    exec("def double(x):\n    return 2 * x", namespace)
    assert bits.kernel(namespace["double"])(21) == 42
