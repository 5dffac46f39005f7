"""Unpaired label maps come from held-out labelled groups or from another dataset, never from whom is tested."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.config import ConfigError
from benchmark.plan import Cell
from benchmark.plan_file import parse
from benchmark.prepare import default_places, open_dataset, open_store, split_of
from benchmark.shapes import matched, pool_of, without_held_out
from datasets.base import DataError
from datasets.pool import Pool
from datasets.types import IGNORE, Annotation

PLAN = {
    "title": "t",
    "protocol": "t",
    "methods": ["mask_mix_adv"],
    "datasets": [{"name": "phantom_2d", "options": {"patients": 12, "slices": 2, "side": 32}}],
    "ratios": [1.0],
    "bounds": False,
    "training": {"width": 4},
}


@pytest.fixture
def cell() -> Cell:
    return next(iter(parse(PLAN, default_name="t").cells()))


def test_groups_that_lend_their_shapes_are_not_trained_on_and_the_record_says_so(cell: Cell, tmp_path: Path) -> None:
    dataset = open_dataset(cell, default_places(results=str(tmp_path)))
    split = split_of(cell, dataset)
    kept, held, note = without_held_out(cell, dataset, split)
    # 12 patients, every third tests, 1 validates: 7 are labelled, fewer than ten, so one lends its shapes
    assert len(split.labelled_groups) == 7
    assert len(kept.labelled_groups) == 6
    assert set(held) == set(split.labelled) - set(kept.labelled)
    assert {dataset.groups()[key] for key in held}.isdisjoint(kept.labelled_groups)
    assert "1 of 7 labelled groups" in note
    store = open_store(cell, dataset, split, None)
    bank, note = pool_of(cell, dataset, store, kept, held, tmp_path, None)
    assert bank is not None
    assert len(set(bank.sample_keys)) == 2  # two slices of one patient
    assert "2 maps of held-out" in note


def test_the_dataset_itself_is_refused_as_another_dataset(cell: Cell, tmp_path: Path) -> None:
    itself = replace(cell, shapes="phantom_2d")
    dataset = open_dataset(itself, default_places(results=str(tmp_path)))
    split = split_of(itself, dataset)
    store = open_store(itself, dataset, split, None)
    with pytest.raises(DataError, match="test patients included"):
        pool_of(itself, dataset, store, split, (), tmp_path, None)


def test_a_dataset_of_other_classes_is_refused(cell: Cell, tmp_path: Path) -> None:
    other = replace(cell, shapes="phantom_3d")
    dataset = open_dataset(other, default_places(results=str(tmp_path)))
    split = split_of(other, dataset)
    store = open_store(other, dataset, split, None)
    with pytest.raises(DataError, match="has classes"):
        pool_of(other, dataset, store, split, (), tmp_path, None)


def test_the_default_name_in_tables_says_that_patients_were_held_out(cell: Cell) -> None:
    assert cell.label == "mask_mix_adv + held-out dense labels"
    elsewhere = {**PLAN, "datasets": [{**PLAN["datasets"][0], "shapes": "mscmr"}]}  # type: ignore[index]
    assert next(iter(parse(elsewhere, default_name="t").cells())).label == "mask_mix_adv"


def test_an_unknown_source_of_shapes_is_refused_with_the_nearest_name() -> None:
    wrong = {**PLAN, "datasets": [{**PLAN["datasets"][0], "shapes": "phantom_2"}]}  # type: ignore[index]
    with pytest.raises(ConfigError, match="did you mean 'phantom_2d'"):
        parse(wrong, default_name="t")


def test_a_source_of_shapes_that_no_method_takes_is_refused() -> None:
    entry = {**PLAN["datasets"][0], "shapes": "mscmr"}  # type: ignore[index]
    idle = {**PLAN, "methods": ["pce"], "datasets": [entry]}
    with pytest.raises(ConfigError, match=r"phantom_2d: shapes: no method of this plan learns from .* remove shapes"):
        parse(idle, default_name="t")
    its_own = {**idle, "datasets": [{**entry, "methods": ["mask_mix_adv"]}]}
    assert [cell.shapes for cell in parse(its_own, default_name="t").cells()] == ["mscmr"]


def test_where_shapes_come_from_is_part_of_the_identity_of_methods_that_want_them(cell: Cell) -> None:
    assert replace(cell, shapes="acdc").id != cell.id
    other = next(iter(parse({**PLAN, "methods": ["pce"]}, default_name="t").cells()))
    assert "shapes" not in other.canonical()


# What a bank must be -------------------------------------------------------------------------------------------------
NAMES = ("background", "wall", "cavity")


def pool(*kinds: str, annotation: Annotation = "dense") -> Pool:
    """One 4 x 4 sample per kind, whose digits are its foreground classes; scribbles leave the rest open."""
    label = torch.full((len(kinds), 4, 4), 0 if annotation == "dense" else IGNORE, dtype=torch.uint8)
    for sample, kind in zip(label, kinds, strict=True):
        sample[0, 0] = 0
        for place, k in enumerate(kind):
            sample[1, place] = int(k)
    names = tuple(f"{i}-{kind}" for i, kind in enumerate(kinds))
    rows = np.arange(len(kinds))
    return Pool(names, names, names, (4, 4), "linear", annotation, 0, rows, torch.zeros(len(kinds), 1, 4, 4), label)


def test_classes_occur_together_in_the_bank_as_often_as_in_the_scribbles() -> None:
    # wanted: half both classes, a quarter none, a quarter the wall alone; at hand: four, one and two maps of these
    bank = pool("12", "12", "12", "12", "", "1", "1", "2")
    target = pool("12", "", "12", "1", annotation="scribble")
    found, note = matched(bank, target, NAMES, "elsewhere")
    often = Counter(name.split("-")[1] for name in found.sample_keys)
    # every map of a wanted kind at least once: two of a quarter make eight; the cavity alone is not wanted
    assert often == {"12": 4, "1": 2, "": 2}
    assert set(found.sample_keys) == set(bank.sample_keys) - {"7-2"}
    assert note == "unpaired masks: 7 maps of elsewhere, with the classes of the scribbled samples"
    assert found.labels(np.array([0]))[0, 1, :2].tolist() == [1, 2]


def test_a_kind_that_the_bank_has_not_is_named_in_the_record() -> None:
    found, note = matched(pool("12", "1"), pool("12", "1", "2", "2", annotation="scribble"), NAMES, "elsewhere")
    assert len(found) == 2
    assert "(50.0% of these have no counterpart)" in note


def test_a_bank_of_scribbles_is_refused() -> None:
    with pytest.raises(DataError, match="elsewhere has unlabelled pixels; name a dataset"):
        matched(replace(pool("12", annotation="scribble"), annotation="dense"), pool("12"), NAMES, "elsewhere")


def test_a_bank_that_lacks_a_class_is_refused_by_its_name() -> None:
    with pytest.raises(DataError, match="no map of elsewhere holds cavity"):
        matched(pool("1", ""), pool("12", "1"), NAMES, "elsewhere")


def test_a_bank_without_any_set_of_classes_in_common_is_refused() -> None:
    with pytest.raises(DataError, match="never occur together"):
        matched(pool("12"), pool("1", annotation="scribble"), NAMES, "elsewhere")


def test_a_bank_that_shows_a_tested_scan_is_refused_whatever_its_brightness(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(cell, default_places(results=str(tmp_path)))
    split = split_of(cell, dataset)
    store = open_store(cell, dataset, split, None)

    class Copy(type(dataset)):  # type: ignore[misc]
        """The same scans, darker."""

        __module__ = type(dataset).__module__  # its name, which the phantoms are drawn by

        def load(self, key: str):
            case = super().load(key)
            return replace(case, image=case.image / 2 + np.float32(0.1))

    monkeypatch.setattr("benchmark.shapes.datasets.get", lambda name: lambda root: Copy(root, cell.options))
    with pytest.raises(DataError, match="which is tested or validated on"):
        pool_of(replace(cell, shapes="copy"), dataset, store, split, (), tmp_path, None)


def test_a_dataset_without_dense_labels_lends_nothing(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(cell, default_places(results=str(tmp_path)))
    split = split_of(cell, dataset)
    store = open_store(cell, dataset, split, None)

    class Scribbled(type(dataset)):  # type: ignore[misc]
        """Other scans, and scribbles alone."""

        __module__ = type(dataset).__module__

        def load(self, key: str):
            return replace(super().load(key), label=None)

    others = replace(cell.options, seed=1, patients=3)
    monkeypatch.setattr("benchmark.shapes.datasets.get", lambda name: lambda root: Scribbled(root, others))
    with pytest.raises(DataError, match="shapes: scribbled holds scribbles only; a bank of shapes needs dense"):
        pool_of(replace(cell, shapes="scribbled"), dataset, store, split, (), tmp_path, None)


def test_one_labelled_group_cannot_be_held_out(cell: Cell, tmp_path: Path) -> None:
    dataset = open_dataset(cell, default_places(results=str(tmp_path)))
    split = split_of(cell, dataset)
    one = replace(split, labelled_groups=split.labelled_groups[:1])
    with pytest.raises(DataError, match="needs 2 labelled groups or more to hold one out for its shapes, got 1"):
        without_held_out(cell, dataset, one)


def test_groups_without_dense_labels_cannot_be_held_out(cell: Cell, tmp_path: Path) -> None:
    dataset = open_dataset(cell, default_places(results=str(tmp_path)))
    split = split_of(cell, dataset)
    dataset.task = replace(dataset.task, annotations=("scribble",))
    with pytest.raises(DataError, match="phantom_2d has no dense training labels; name another dataset under shapes"):
        without_held_out(cell, dataset, split)


def test_another_dataset_lends_its_dense_maps(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(cell, default_places(results=str(tmp_path)))
    split = split_of(cell, dataset)
    store = open_store(cell, dataset, split, None)
    others = replace(cell.options, seed=1, patients=3)
    monkeypatch.setattr("benchmark.shapes.datasets.get", lambda name: lambda root: type(dataset)(root, others))
    bank, note = pool_of(replace(cell, shapes="others"), dataset, store, split, (), tmp_path, None)
    assert bank is not None
    assert len(set(bank.cases)) == 3
    assert "of others" in note
