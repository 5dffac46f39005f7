"""The store: canonical samples, a cache that never lies, and pools that hold no label unless asked."""

from __future__ import annotations

import gc
import gzip
import os
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import datasets
from datasets.base import DataError
from datasets.resample import resize, resize_labels
from datasets.store import Canonical, Store
from datasets.types import IGNORE
from tests.miniatures import msd as miniature

from .toy_data import Toy, toy

FLAT = Canonical((8, 8))


def all_of(dataset: Toy) -> list[str]:
    return list(dataset.groups())


def every(store: Store, annotation: str | None = "dense", keys: Any = None) -> tuple[torch.Tensor, ...]:
    """Images, and labels if any, of a 2-D pool."""
    pool = store.pool(keys or sorted(set(store._about["cases"])), annotation)
    rows = np.arange(len(pool))
    return (pool.images(rows),) if annotation is None else (pool.images(rows), pool.labels(rows))


def same(a: Store, b: Store) -> bool:
    pairs = [(every(a, kind), every(b, kind)) for kind in ("dense", "scribble", None)]
    return all(torch.equal(x, y) for first, second in pairs for x, y in zip(first, second, strict=True))


def reachable(root: object) -> list[torch.Tensor | np.ndarray]:
    """Every tensor and array that can be reached from an object, through whatever it refers to."""
    seen, queue, found = {id(root)}, [root], []
    while queue:
        item = queue.pop()
        if isinstance(item, (torch.Tensor, np.ndarray)):
            found.append(item)
        for other in gc.get_referents(item) + list(getattr(item, "__dict__", {}).values()):
            if id(other) not in seen and not isinstance(other, (type, types.ModuleType, types.FunctionType)):
                seen.add(id(other))
                queue.append(other)
    return found


# Samples -------------------------------------------------------------------------------------------------------------
def test_a_volume_of_a_2d_task_becomes_resized_slices_named_by_case_and_number() -> None:
    dataset = toy(cases=2)
    pool = Store.open(dataset, all_of(dataset), FLAT, cache=None).pool(["c1"], "dense")
    assert pool.sample_keys == ("c1/000", "c1/001", "c1/002")
    assert (pool.cases, pool.groups) == (("c1",) * 3, ("p0",) * 3)
    case = dataset.load("c1")
    rows = np.arange(3)
    assert torch.equal(pool.images(rows), resize(torch.from_numpy(case.image).transpose(0, 1), (8, 8)))
    assert torch.equal(pool.labels(rows), resize_labels(torch.from_numpy(case.label), (8, 8)))


def test_an_image_of_a_2d_task_and_a_volume_of_a_3d_task_are_one_sample_named_by_their_case() -> None:
    for dataset, patch in ((toy(space=(10, 12), bare=0), (8, 8)), (toy(ndim=3, space=(6, 7, 8)), (4, 4, 4))):
        pool = Store.open(dataset, all_of(dataset), Canonical(patch), cache=None).pool(["c0", "c3"], "dense")
        assert pool.sample_keys == ("c0", "c3")


def test_all_channels_are_kept() -> None:
    dataset = toy(channels=3)
    (image,) = every(Store.open(dataset, ["c0"], Canonical((12, 12)), cache=None), None)
    assert torch.equal(image, torch.from_numpy(dataset.load("c0").image).transpose(0, 1))


def test_nearest_interpolation_keeps_an_image_that_is_a_function_of_its_label_exactly_so() -> None:
    dataset = toy()
    image, label = every(Store.open(dataset, all_of(dataset), Canonical((9, 17), "nearest"), cache=None))
    assert torch.equal(image[:, 0], (label.float() * 2 + 1) / 8)


def test_a_3d_volume_keeps_its_grid_and_is_padded_to_the_patch_with_its_minimum_and_ignore() -> None:
    dataset = toy(ndim=3, space=(6, 3, 4), channels=2)
    case = dataset.load("c0")
    pool = Store.open(dataset, ["c0"], Canonical((5, 6, 4)), cache=None).pool(["c0"], "dense")
    image, label = pool.images(np.array([0]))[0], pool.labels(np.array([0]))[0]
    # Axis 0 is long enough; axis 1 lacks 3 voxels: 1 before and 2 after; axis 2 fits.
    assert image.shape == (2, 6, 6, 4)
    assert torch.equal(image[:, :, 1:4], torch.from_numpy(case.image))
    assert torch.equal(label[:, 1:4], torch.from_numpy(case.label))
    outside = torch.ones(6, dtype=torch.bool)
    outside[1:4] = False
    assert (label[:, outside] == IGNORE).all()
    for channel in range(2):
        assert (image[channel, :, outside] == case.image[channel].min()).all()


def test_float16_storage_moves_a_value_by_at_most_a_2048th_of_itself() -> None:
    dataset = toy()
    load = dataset.load
    dataset.load = lambda key: types.SimpleNamespace(
        **vars(load(key)) | {"image": load(key).image / 3, "space": (3, 12, 12)}
    )
    exact, half = (
        Store.open(dataset, ["c0"], Canonical((12, 12), storage=kind), cache=None) for kind in ("float32", "float16")
    )
    (a,), (b,) = every(exact, None), every(half, None)
    assert b.dtype == torch.float32
    assert 0 < ((a - b).abs() / a).max() <= 1 / 2048
    assert half.pool(["c0"], None).nbytes * 2 == exact.pool(["c0"], None).nbytes


# Cache ---------------------------------------------------------------------------------------------------------------
def test_the_second_open_maps_what_the_first_decoded_and_equals_it(tmp_path: Path) -> None:
    dataset = toy()
    plain = Store.open(dataset, all_of(dataset), FLAT, cache=None)
    first = Store.open(dataset, all_of(dataset), FLAT, cache=tmp_path)
    dataset.loads.clear()
    second = Store.open(dataset, reversed(all_of(dataset)), FLAT, cache=tmp_path)
    assert dataset.loads == []
    assert same(plain, first)
    assert same(first, second)
    assert first.notes == second.notes == ()


def test_touched_files_are_not_decoded_again_and_changed_ones_are(tmp_path: Path) -> None:
    miniature.write(tmp_path)
    cls = datasets.get("msd")

    def opened() -> list[str]:
        dataset = cls(tmp_path, cls.Options(**miniature.OPTIONS))
        keys = list(dataset.groups())
        read: list[str] = []
        load = dataset.load
        dataset.load = lambda key: (read.append(key), load(key))[1]  # type: ignore[method-assign]
        Store.open(dataset, keys, Canonical((8, 8, 8)), cache=tmp_path / "cache")
        return read

    assert len(opened()) == 7
    path = sorted((tmp_path / miniature.FOLDER / "imagesTr").iterdir())[0]
    os.utime(path, ns=(1, 1))
    assert opened() == []
    path.write_bytes(path.read_bytes() + gzip.compress(b""))  # other bytes of the same voxels
    assert len(opened()) == 7


def test_the_cache_serves_3d_volumes_of_different_sizes(tmp_path: Path) -> None:
    dataset = toy(ndim=3, space=(4, 5, 6), cases=2)
    load = dataset.load
    canonical = Canonical((4, 5, 6))
    for _ in range(2):
        store = Store.open(dataset, all_of(dataset), canonical, cache=tmp_path)
        dataset.load = None  # the second time nothing may be decoded
        for i, key in enumerate(("c0", "c1")):
            pool = store.pool([key], "scribble")
            assert torch.equal(pool.images(np.array([0]))[0], torch.from_numpy(load(key).image)), i
            assert torch.equal(pool.labels(np.array([0]))[0], torch.from_numpy(load(key).scribble)), i


@pytest.mark.parametrize("kind", ["image", "dense", "scribble"])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "removed", "zeroed"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, kind: str, damage: str) -> None:
    dataset = toy()
    plain = Store.open(dataset, all_of(dataset), FLAT, cache=None)
    Store.open(dataset, all_of(dataset), FLAT, cache=tmp_path)
    (path,) = tmp_path.glob(f"toy_data-*.{kind}")
    size = path.stat().st_size
    if damage == "removed":
        path.unlink()
    elif damage == "zeroed":
        path.write_bytes(bytes(size))
    else:
        os.truncate(path, 0 if damage == "emptied" else size - 100)
    assert same(plain, Store.open(dataset, all_of(dataset), FLAT, cache=tmp_path))
    dataset.loads.clear()
    assert same(plain, Store.open(dataset, all_of(dataset), FLAT, cache=tmp_path))
    assert dataset.loads == []


def test_the_cache_tells_options_grids_and_keys_apart(tmp_path: Path) -> None:
    few, many = toy(cases=4), toy(cases=6)
    for dataset, keys, canonical in (
        (many, ["c0", "c1"], FLAT),
        (few, ["c0", "c1"], FLAT),
        (many, ["c0", "c2"], FLAT),
        (many, ["c0", "c1"], Canonical((9, 9))),
        (many, ["c0", "c1"], Canonical((8, 8), "nearest")),
        (many, ["c0", "c1"], Canonical((8, 8), storage="float16")),
    ):
        dataset.loads.clear()
        cached = Store.open(dataset, keys, canonical, cache=tmp_path)
        assert dataset.loads == keys
        assert same(cached, Store.open(dataset, keys, canonical, cache=None))


def test_a_cache_that_cannot_be_written_is_noted_and_the_samples_are_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    dataset = toy()
    store = Store.open(dataset, all_of(dataset), FLAT, cache=tmp_path / "file")
    assert len(store.notes) == 1
    assert "not kept" in store.notes[0]
    assert same(store, Store.open(dataset, all_of(dataset), FLAT, cache=None))


# Pools ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("cached", [False, True])
def test_a_pool_without_annotation_refers_to_no_label_anywhere(tmp_path: Path, ndim: int, cached: bool) -> None:
    dataset = toy(ndim=ndim, space=(4, 5, 6))
    patch = (5, 6) if ndim == 2 else (4, 5, 6)
    store = Store.open(dataset, all_of(dataset), Canonical(patch), cache=tmp_path if cached else None)
    keys = all_of(dataset)[2:]
    assert any(t.dtype == torch.uint8 for t in reachable(store.pool(keys, "dense")))  # the search finds labels
    images = [value for value in reachable(store.pool(keys, None)) if value.dtype != np.int64]
    assert images
    assert all(value.dtype == torch.float16 for value in images)  # which holds every value of the toy data


def test_a_pool_without_annotation_has_no_labels_to_give() -> None:
    dataset = toy()
    pool = Store.open(dataset, all_of(dataset), FLAT, cache=None).pool(["c0"], None)
    with pytest.raises(TypeError, match="unlabelled"):
        pool.labels(np.array([0]))


def test_slices_without_a_scribble_are_left_out_of_labelled_pools_only() -> None:
    dataset = toy(bare=2)  # of the three slices of each case two carry none
    store = Store.open(dataset, all_of(dataset), FLAT, cache=None)
    scribbled, unlabelled, dense = (store.pool(["c0", "c1"], kind) for kind in ("scribble", None, "dense"))
    assert (scribbled.sample_keys, scribbled.skipped) == (("c0/002", "c1/002"), 4)
    assert (len(unlabelled), unlabelled.skipped) == (6, 0)
    assert (len(dense), dense.skipped) == (6, 0)
    kept = scribbled.labels(np.arange(2))
    assert all((label != IGNORE).any() for label in kept)


def test_a_pool_where_nothing_is_annotated_is_refused() -> None:
    dataset = toy(bare=3)
    store = Store.open(dataset, all_of(dataset), FLAT, cache=None)
    with pytest.raises(DataError, match=r"no sample of 1 case.* has a scribble annotation"):
        store.pool(["c0"], "scribble")
    assert len(store.pool(["c0"], None)) == 3


def test_a_case_without_a_label_is_unlabelled_beside_others_that_have_one() -> None:
    dataset = toy()
    load = dataset.load
    dataset.load = lambda key: load(key).without_label() if key == "c0" else load(key)
    store = Store.open(dataset, all_of(dataset), FLAT, cache=None)
    pool = store.pool(["c0", "c1"], "dense")
    assert (set(pool.cases), pool.skipped) == ({"c1"}, 3)


def test_a_dataset_without_scribbles_says_so() -> None:
    dataset = toy()
    load = dataset.load
    dataset.load = lambda key: load(key).without_label()
    store = Store.open(dataset, all_of(dataset), FLAT, cache=None)
    with pytest.raises(DataError, match="another kind of annotation"):
        store.pool(["c0"], "scribble")


def test_moving_a_pool_keeps_its_samples() -> None:
    dataset = toy()
    pool = Store.open(dataset, all_of(dataset), FLAT, cache=None).pool(["c1", "c4"], "scribble")
    assert pool.to("cpu") is pool
    moved = pool.to("meta")  # a device without memory: only shapes and the choice of rows can be looked at
    assert moved.device.type == "meta"
    assert moved.images(np.arange(len(pool))).shape == (4, 1, 8, 8)


def test_picked_samples_come_in_the_order_asked_for_and_repeat_without_taking_more_memory() -> None:
    dataset = toy()
    pool = Store.open(dataset, all_of(dataset), FLAT, cache=None).pool(["c1", "c4"], "dense")
    picked = pool.pick(np.array([3, 0, 3]))
    assert picked.sample_keys == (pool.sample_keys[3], pool.sample_keys[0], pool.sample_keys[3])
    assert torch.equal(picked.images(np.arange(3)), pool.images(np.array([3, 0, 3])))
    assert torch.equal(picked.labels(np.arange(3)), pool.labels(np.array([3, 0, 3])))
    assert picked.nbytes * len(pool) == pool.nbytes * 2
    assert picked.to("meta").images(np.arange(3)).shape == (3, 1, 8, 8)


def test_a_case_that_was_not_opened_and_an_unknown_annotation_are_refused() -> None:
    dataset = toy()
    store = Store.open(dataset, ["c0"], FLAT, cache=None)
    with pytest.raises(KeyError, match="c5"):
        store.pool(["c0", "c5"], None)
    with pytest.raises(ValueError, match="'scribbles'"):
        store.pool(["c0"], "scribbles")


def test_a_bad_case_stops_the_opening_and_leaves_no_cache(tmp_path: Path) -> None:
    dataset = toy()
    load = dataset.load

    def bad(key: str) -> Any:
        case = load(key)
        case.label[0, 0, 0] = 7 if key == "c3" else 0
        return case

    dataset.load = bad
    with pytest.raises(DataError, match=r"'c3'.*7"):
        Store.open(dataset, all_of(dataset), FLAT, cache=tmp_path)
    assert list(tmp_path.glob("toy_data*")) == []


def test_values_beyond_float16_are_refused_there() -> None:
    dataset = toy()
    load = dataset.load

    def bright(key: str) -> Any:
        case = load(key)
        case.image[:] = 1e5  # float16 ends at 65504
        return case

    dataset.load = bright
    with pytest.raises(DataError, match=r"'c0'.*float32"):
        Store.open(dataset, ["c0"], Canonical((8, 8), storage="float16"), cache=None)


def test_no_case_or_a_patch_of_the_wrong_dimension_is_refused() -> None:
    with pytest.raises(DataError, match="no training case"):
        Store.open(toy(), [], FLAT, cache=None)
    with pytest.raises(ValueError, match="2-D: its patch needs 2 numbers"):
        Store.open(toy(), ["c0"], Canonical((8, 8, 8)), cache=None)


@pytest.mark.parametrize(
    "wrong", [{"patch": (0, 8)}, {"patch": (8,)}, {"interpolation": "cubic"}, {"storage": "uint8"}]
)
def test_a_grid_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        Canonical(**{"patch": (8, 8), **wrong})
