"""Unpaired label maps come from held-out labelled groups or from another dataset, never from whom is tested."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.config import ConfigError
from benchmark.plan import Cell
from benchmark.plan_file import parse
from benchmark.prepare import default_places, open_dataset, open_store, split_of
from benchmark.shapes import pool_of, without_held_out
from datasets.base import DataError

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
    bank = pool_of(cell, dataset, store, held, tmp_path, None)
    assert bank is not None
    assert len(bank) == 2  # two slices of one patient


def test_the_dataset_itself_is_refused_as_another_dataset(cell: Cell, tmp_path: Path) -> None:
    itself = replace(cell, shapes="phantom_2d")
    dataset = open_dataset(itself, default_places(results=str(tmp_path)))
    store = open_store(itself, dataset, split_of(itself, dataset), None)
    with pytest.raises(DataError, match="test patients included"):
        pool_of(itself, dataset, store, (), tmp_path, None)


def test_a_dataset_of_other_classes_is_refused(cell: Cell, tmp_path: Path) -> None:
    other = replace(cell, shapes="phantom_3d")
    dataset = open_dataset(other, default_places(results=str(tmp_path)))
    store = open_store(other, dataset, split_of(other, dataset), None)
    with pytest.raises(DataError, match="has classes"):
        pool_of(other, dataset, store, (), tmp_path, None)


def test_an_unknown_source_of_shapes_is_refused_with_the_nearest_name() -> None:
    wrong = {**PLAN, "datasets": [{**PLAN["datasets"][0], "shapes": "phantom_2"}]}  # type: ignore[index]
    with pytest.raises(ConfigError, match="did you mean 'phantom_2d'"):
        parse(wrong, default_name="t")


def test_where_shapes_come_from_is_part_of_the_identity_of_methods_that_want_them(cell: Cell) -> None:
    assert replace(cell, shapes="acdc").id != cell.id
    other = next(iter(parse({**PLAN, "methods": ["pce"]}, default_name="t").cells()))
    assert "shapes" not in other.canonical()
