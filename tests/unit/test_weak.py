"""A dataset with weak labels made of its dense ones: which slices, which seeds, what stays, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datasets
from datasets.base import DataError, Dataset
from datasets.cost import SECONDS, Cost, cost_of
from datasets.types import IGNORE, Case
from datasets.weak import Weak, Weakened, slicing_axis, strong
from tests.contracts.checks_cases import check_load, check_scribbles
from tests.contracts.checks_splits import check_seal, check_split, check_store
from tests.contracts.specimen import Check
from tests.miniatures import msd as miniature

SLICES: Mapping[str, Any] = {"patch": (16, 16)}
KINDS = ("skeleton", "curves", "points", "boxes")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    miniature.write(tmp_path)
    return tmp_path


def opened(root: Path, weak: Weak, **options: Any) -> Weakened:
    cls = datasets.get("msd")
    return Weakened(cls(root, cls.Options(**(SLICES | options))), weak)


class WeakSpecimen:
    """What the contract's checks open: the miniature, weakened."""

    name, cls, miniature = "msd", datasets.get("msd"), miniature

    def __init__(self, root: Path, weak: Weak) -> None:
        self._root, self._weak = root, weak

    def root(self) -> Path:
        return self._root

    def __call__(self, root: Path | None = None, options: Mapping[str, Any] | None = None) -> Dataset:
        return opened(self._root, self._weak)


@pytest.mark.parametrize("check", [check_load, check_scribbles, check_split, check_seal, check_store])
@pytest.mark.parametrize("kind", KINDS)
def test_a_weakened_dataset_keeps_the_contract_of_datasets(kind: Any, check: Check, root: Path) -> None:
    check(WeakSpecimen(root, Weak(kind)))  # type: ignore[arg-type]


def test_the_image_the_label_and_the_split_are_those_of_the_dense_dataset(root: Path) -> None:
    weak = opened(root, Weak("skeleton"))
    case, dense = weak.load("hippocampus_001"), weak.dense.load("hippocampus_001")
    assert np.array_equal(case.image, dense.image)
    assert case.label is not None
    assert np.array_equal(case.label, dense.label)
    assert dense.scribble is None
    assert weak.partition(2) == weak.dense.partition(2)
    assert weak.manifest() == weak.dense.manifest()
    assert weak.task.annotations == ("dense", "scribble")
    assert strong(weak) is weak.dense
    assert strong(weak.dense) is weak.dense


def test_each_slice_is_marked_from_the_seed_the_case_and_its_number_alone(root: Path) -> None:
    one, again, other = (opened(root, Weak("points", seed=seed)) for seed in (0, 0, 1))
    again.load("hippocampus_012")
    first, second, third = (each.load("hippocampus_001").scribble for each in (one, again, other))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_another_recipe_is_another_fingerprint(root: Path) -> None:
    recipes = [Weak("skeleton"), Weak("skeleton", seed=1), Weak("points"), Weak("points", radius=3)]
    marks = {opened(root, recipe).fingerprint() for recipe in recipes}
    assert len(marks | {opened(root, recipes[0]).dense.fingerprint()}) == 5


def test_slices_are_chosen_evenly_among_those_that_show_a_structure(root: Path) -> None:
    dataset = opened(root, Weak("skeleton", slices=2))
    label = np.zeros((10, 8, 8), np.uint8)
    label[1:9, 3:6, 3:6] = 1  # eight slices show it, numbers 1 to 8: the middles of their halves are 3 and 7
    scribble, cost = dataset.simulate(Case("a", "a", np.zeros((1, 10, 8, 8), np.float32), label))
    assert np.flatnonzero((scribble != IGNORE).any((1, 2))).tolist() == [3, 7]
    assert cost.images == 2


def test_chosen_slices_may_be_labelled_densely(root: Path) -> None:
    dataset = opened(root, Weak("slices", slices=1))
    label = np.zeros((5, 4, 4), np.uint8)
    label[1:4, 1, 1] = 2  # slices 1 to 3: the middle one is 2
    scribble, cost = dataset.simulate(Case("a", "a", np.zeros((1, 5, 4, 4), np.float32), label))
    expected = np.full((5, 4, 4), IGNORE, np.uint8)
    expected[2] = label[2]
    assert np.array_equal(scribble, expected)
    assert cost == Cost(pixels=16, strokes=1, images=1, seconds=SECONDS["outline"])


def test_three_dimensional_tasks_are_marked_along_the_axis_of_the_largest_voxels(root: Path) -> None:
    # The miniature's voxels are 0.8 × 1 × 1.5 mm: its 3-D task is leafed through along the third axis.
    dataset = opened(root, Weak("slices", slices=1), patch=(16, 16, 16))
    case = dataset.load("hippocampus_001")
    assert case.scribble is not None
    assert slicing_axis(case, dataset.task) == 2
    assert (case.scribble != IGNORE).any((0, 1)).sum() == 1


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [
        ((0.7, 0.7, 0.7), 2),
        ((0.7, 0.7, 0.70000005), 2),
        ((0.7, 0.70000005, 0.7), 2),
        ((0.7, 0.70000005, 0.5), 0),
        ((1, 1.009, 1), 2),
        ((1, 1.02, 1), 1),
    ],
)
def test_voxel_sizes_that_differ_by_rounding_are_equal(root: Path, spacing: tuple[float, ...], axis: int) -> None:
    task = opened(root, Weak("points"), patch=(16, 16, 16)).task
    assert slicing_axis(Case("a", "a", np.zeros((1, 4, 4, 4), np.float32), spacing=spacing), task) == axis


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), None])
@pytest.mark.parametrize(("in_plane", "axis"), [((0, 1), 2), ((1, 2), 0)])
def test_volumes_of_equal_voxels_are_marked_on_axial_slices_whatever_the_order_of_axes(
    root: Path, in_plane: tuple[int, int], axis: int, spacing: tuple[float, ...] | None
) -> None:
    task = replace(opened(root, Weak("points"), patch=(16, 16, 16)).task, in_plane=in_plane)
    assert slicing_axis(Case("a", "a", np.zeros((1, 4, 4, 4), np.float32), spacing=spacing), task) == axis


def test_a_case_without_a_dense_label_is_named(root: Path) -> None:
    dataset = opened(root, Weak("skeleton"))
    with pytest.raises(DataError, match=r"msd: case 'x' has no dense label"):
        dataset.simulate(Case("x", "x", np.zeros((1, 2, 4, 4), np.float32)))


def test_what_has_no_dense_label_has_no_weak_one_either(root: Path, monkeypatch: Any) -> None:
    dataset = opened(root, Weak("skeleton"))
    case = dataset.dense.load("hippocampus_001")
    bare = replace(case, label=None, scribble=case.label)
    monkeypatch.setattr(dataset.dense, "load", lambda key: bare)
    monkeypatch.setattr(dataset.dense, "unannotated", lambda kind: frozenset({f"without {kind}"}))
    assert dataset.load("hippocampus_001").scribble is None  # not the scribble that it came with
    assert dataset.unannotated("scribble") == {"without dense"}


def test_single_images_have_no_slices_to_choose_from(root: Path) -> None:
    image = Case("x", "x", np.zeros((1, 8, 8), np.float32), np.zeros((8, 8), np.uint8))
    assert slicing_axis(image, opened(root, Weak("points")).task) is None
    with pytest.raises(DataError, match=r"case 'x' is one image: weak\.slices"):
        opened(root, Weak("points", slices=1)).simulate(image)


def test_a_dataset_without_dense_labels_cannot_be_weakened(root: Path) -> None:
    dense = opened(root, Weak("points")).dense
    dense.task = type(dense.task)("msd", 2, 1, ("background", "a", "b"), (16, 16), "mm", ("scribble",))
    with pytest.raises(DataError, match="weak labels are made of dense ones"):
        Weakened(dense, Weak("points"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "crosses"}, "weak.kind must be one of skeleton, curves"),
        ({"kind": "points", "radius": -1}, "weak.radius must be 0 or more"),
        ({"kind": "points", "count": 0}, "weak.count must be 1 or more"),
        ({"kind": "skeleton", "radius": 3}, "weak.radius belongs to points, not to skeleton"),
        ({"kind": "points", "margin": 3}, "weak.margin belongs to boxes"),
        ({"kind": "slices"}, "weak.slices must say how many"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Weak(**settings)


def test_a_recipe_is_named_and_identified_by_what_differs_from_the_defaults() -> None:
    assert Weak("skeleton").name == "skeleton"
    assert Weak("points", radius=3).name == "points radius=3"
    assert Weak("slices", slices=3).name == "3 slices"
    assert Weak("curves", slices=3, seed=2).name == "curves seed=2 3 slices"
    assert Weak("points").canonical() == {"kind": "points", "version": "1"}
    assert Weak("points", count=2).canonical() == {"kind": "points", "version": "1", "count": 2}
    assert Weak("points").canonical(3) == {"kind": "points", "version": "2"}  # in 3-D, marks have moved once


def test_costs_add_up_and_count_marked_pixels_and_images() -> None:
    marks = np.full((4, 4), IGNORE, np.uint8)
    marks[0, :3] = 1
    cost = cost_of(marks, 2, "click") + cost_of(np.full((4, 4), IGNORE, np.uint8), 0, "click")
    assert cost == Cost(pixels=3, strokes=2, images=1, seconds=6.0)  # 3 s a click
    assert cost.as_json() == {"pixels": 3, "strokes": 2, "images": 1, "minutes": 0.1}


def of_label(label: np.ndarray) -> Case:
    return Case("a", "a", np.zeros((1, *label.shape), np.float32), label)


def test_settings_reach_the_marks_and_slices_are_marked_otherwise(root: Path):
    label = np.zeros((6, 24, 24), np.uint8)
    label[:, 6:18, 6:18] = 1

    def marks(**settings: Any) -> np.ndarray:
        return opened(root, Weak(**settings)).simulate(of_label(label))[0]

    assert len({each.tobytes() for each in marks(kind="points")}) > 1
    few_big, many_small = marks(kind="points", count=1, radius=4), marks(kind="points", count=4, radius=1)
    assert (few_big == 1).sum() > (many_small == 1).sum()
    wide, tight = marks(kind="boxes", margin=2), marks(kind="boxes", margin=0)
    assert (wide[1] == 0).sum() < (tight[1] == 0).sum()


def test_slices_that_are_ignored_show_nothing_and_an_empty_case_is_marked_in_its_middle(root: Path):
    label = np.zeros((4, 8, 8), np.uint8)
    label[0] = IGNORE
    label[2, 3:5, 3:5] = 1
    for given in (label, np.zeros((5, 4, 4), np.uint8)):
        marks, _ = opened(root, Weak("slices", slices=1)).simulate(of_label(given))
        assert np.flatnonzero((marks != IGNORE).any((1, 2))).tolist() == [2]


def test_settings_of_the_marks_are_part_of_what_names_a_dataset(root: Path):
    one, other = opened(root, Weak("points")), opened(root, Weak("points", radius=3))
    assert len({one.settings(), other.settings(), one.dense.settings()}) == 3
