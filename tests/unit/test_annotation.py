"""Weak labels in plans and cells, and what the labels of a cell would have cost."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark import annotation, plan_file
from benchmark.config import ConfigError
from benchmark.plan import Cell
from benchmark.prepare import open_dataset, open_store, split_of
from benchmark.run import run_cell
from datasets.cost import SECONDS, Cost
from datasets.types import IGNORE
from datasets.weak import Weak, Weakened

from .tiny_cells import PHANTOM, places_in, raw_plan, tiny_cell, tiny_plan


def weak_cell(weak: Any = "points", method: str = "pce", **changes: Any) -> Cell:
    return tiny_cell(method, datasets=[PHANTOM | {"weak": weak}], ratios=[1.0], **changes)


def test_a_kind_stands_for_a_recipe_with_defaults_and_belongs_to_methods_of_scribbles_alone() -> None:
    plan = tiny_plan(datasets=[PHANTOM | {"weak": "skeleton"}], methods=["pce", "cps"], ratios=[0.34], bounds=True)
    weak = {cell.method: cell.weak for cell in plan.cells()}
    assert weak == {"supervised": None, "cps": None, "pce": Weak("skeleton")}


def test_a_cell_without_weak_labels_is_identified_as_before_there_were_any() -> None:
    assert "weak" not in tiny_cell("pce").canonical()
    assert weak_cell({"kind": "points", "radius": 3}).canonical() == tiny_cell("pce", ratios=[1.0]).canonical() | {
        "weak": {"kind": "points", "version": "1", "radius": 3}
    }


def test_a_volumes_weak_labels_are_identified_by_a_version_of_their_own() -> None:
    entry = {"name": "phantom_3d", "weak": "points"}
    (cell,) = tiny_plan(datasets=[entry], methods=["pce"], ratios=[1.0], training={"patch": None}).cells()
    assert cell.canonical()["weak"] == {"kind": "points", "version": "2"}


def test_each_recipe_is_an_amount_of_its_own() -> None:
    cell = weak_cell({"kind": "points", "radius": 3})
    assert cell.amount == "100% points radius=3"
    assert cell.title == "pce phantom_2d 100% points radius=3 s0"
    assert cell.id.startswith("pce-phantom_2d-100pc-points-s0-")
    assert len({weak_cell(kind).id for kind in ("skeleton", "curves", "points", "boxes")}) == 4


def test_kinds_of_one_dataset_share_its_upper_bound() -> None:
    entries = [PHANTOM | {"weak": kind} for kind in ("skeleton", "points")]
    cells = list(tiny_plan(datasets=entries, methods=["wsl4mis"], ratios=[1.0], bounds=True).cells())
    assert [cell.role for cell in cells] == ["upper", "lower", "method", "lower", "method"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datasets": [PHANTOM | {"weak": "skeletn"}]}, "weak: kind: must be one of .*did you mean 'skeleton'"),
        ({"datasets": [PHANTOM | {"weak": {"kind": "points", "size": 3}}]}, "weak: unknown key 'size'"),
        ({"datasets": [PHANTOM | {"weak": {"kind": "boxes", "radius": 3}}]}, "weak.radius belongs to points"),
        ({"datasets": [PHANTOM | {"weak": "points"}], "methods": ["cps"]}, "no method of this plan learns"),
        ({"datasets": [{"name": "mscmr", "weak": "points"}]}, "mscmr: weak: weak labels are made of dense ones"),
    ],
)
def test_plans_with_weak_labels_that_make_no_sense_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_file.parse(raw_plan(methods=["pce"]) | changes, default_name="tiny")


def test_the_store_of_a_weak_cell_holds_the_simulated_labels(tmp_path: Path) -> None:
    cell, places = weak_cell(), places_in(tmp_path)
    dataset = open_dataset(cell, places)
    assert isinstance(dataset, Weakened)
    split = split_of(cell, dataset)
    pool = open_store(cell, dataset, split, places.cache).pool(split.labelled[:1], "scribble")
    labels = pool.labels(np.arange(len(pool))).numpy()
    simulated = dataset.load(split.labelled[0]).scribble  # side 32 is the patch too: nothing is resized
    assert np.array_equal(labels, simulated)
    native = dataset.dense.load(split.labelled[0]).scribble
    assert not np.array_equal(labels, native)


def test_a_weak_cell_runs_and_its_record_says_what_its_labels_cost(tmp_path: Path) -> None:
    cell, places = weak_cell(), places_in(tmp_path)
    record = run_cell(cell, places)
    assert record.status == "finished", record.traceback
    cost = record.receipt["annotation"]
    assert cost["kind"] == "points"
    assert cost["recipe"] == {"kind": "points", "version": "1"}
    assert record.cell["weak"] == cost["recipe"]
    # Three patients of two slices train and one validates; each click takes 3 s.
    assert cost["labelled"]["images"] == 3 * 2
    assert cost["validation"]["images"] == 2
    assert cost["labelled"]["minutes"] == pytest.approx(cost["labelled"]["strokes"] * SECONDS["click"] / 60, abs=1e-3)
    assert cost["total"]["strokes"] == cost["labelled"]["strokes"] + cost["validation"]["strokes"]
    assert "Bearman" in cost["source"]
    assert json.dumps(cost)


def test_dense_labels_cost_an_outline_for_each_part_and_all_pixels(tmp_path: Path) -> None:
    cell, places = tiny_cell(validations=0), places_in(tmp_path)
    dataset = open_dataset(cell, places)
    split = split_of(cell, dataset)
    found = annotation.summary(cell, dataset, split, places.cache)
    case = dataset.load(split.labelled[0])
    assert case.label is not None
    # Each class of a phantom's slice is in one part (the ring of the wall is one), so outlines are classes per slice.
    classes = sum(len(set(np.unique(plane)) - {0}) for plane in case.label)
    assert found["kind"] == "dense"
    assert found["recipe"] is None
    assert found["labelled"] == Cost(2 * 32 * 32, classes, 2, classes * SECONDS["outline"]).as_json()
    assert found["validation"] == found["shapes"] == Cost().as_json()  # none is measured, nothing is lent


def test_drawn_scribbles_cost_a_stroke_for_each_connected_mark(tmp_path: Path) -> None:
    cell, places = tiny_cell("pce", validations=0), places_in(tmp_path)
    dataset = open_dataset(cell, places)
    split = split_of(cell, dataset)
    case = dataset.load(split.labelled[0])
    assert case.scribble is not None
    found = annotation.summary(cell, dataset, split, places.cache)["labelled"]
    assert found["pixels"] == int((case.scribble != IGNORE).sum())
    assert found["minutes"] == pytest.approx(found["strokes"] * SECONDS["scribble"] / 60, abs=1e-3)


def test_groups_that_lend_their_shapes_are_charged_as_dense_and_not_as_scribbled(tmp_path: Path) -> None:
    cell, places = tiny_cell("mask_mix_adv", ratios=[1.0], validations=0), places_in(tmp_path)
    dataset = open_dataset(cell, places)
    found = annotation.summary(cell, dataset, split_of(cell, dataset), places.cache)
    assert found["labelled"]["images"] == 2 * 2  # two of three patients
    assert found["shapes"]["images"] == 2
    assert found["shapes"]["pixels"] == 2 * 32 * 32


def test_costs_are_counted_once_per_machine(tmp_path: Path, monkeypatch: Any) -> None:
    cell, places = weak_cell(), places_in(tmp_path)
    dataset = open_dataset(cell, places)
    split = split_of(cell, dataset)
    first = annotation.summary(cell, dataset, split, places.cache)
    counted: list[str] = []
    original = annotation.case_cost
    monkeypatch.setattr(annotation, "case_cost", lambda d, key, kind: counted.append(key) or original(d, key, kind))
    assert annotation.summary(cell, dataset, split, places.cache) == first
    assert counted == []
    for memo in places.cache.glob("cost*"):
        memo.write_text("{")  # a damaged memory is no memory
    assert annotation.summary(cell, dataset, split, places.cache) == first
    assert sorted(counted) == sorted((*split.labelled, *split.val))
    another = replace(cell, weak=Weak("points", radius=0))
    assert annotation.summary(another, open_dataset(another, places), split, places.cache) != first


def test_a_full_cache_loses_no_cell_that_is_trained_and_tested(tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(annotation, "atomic_write", full)
    record = run_cell(weak_cell(), places_in(tmp_path))
    assert record.status == "finished", record.traceback
    assert record.receipt["annotation"]["labelled"]["images"] == 3 * 2
