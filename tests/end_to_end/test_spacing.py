"""A run on volumes whose voxels are not cubes measures distances in their millimetres."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datasets
from benchmark import evaluate
from benchmark.run import run_cell
from datasets.types import Case
from tests.miniatures import msd
from tests.unit.tiny_cells import places_in, tiny_cell


@pytest.mark.slow
def test_one_voxel_along_the_last_axis_is_one_and_a_half_millimetres(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = places_in(tmp_path)
    msd.write(places.data)  # voxels of 0.8 x 1 x 1.5 mm
    dataset = datasets.get("msd")(places.data, datasets.get("msd").Options(**msd.OPTIONS))

    shifted = {key: np.roll(dataset.load(key).label, 1, axis=2) for key in dataset.groups()}

    def one_voxel_off(_method: Any, case: Case, *_: Any, **__: Any) -> np.ndarray:
        return shifted[case.key]

    monkeypatch.setattr(evaluate, "predict_case", one_voxel_off)
    monkeypatch.setenv("BENCH_DEVICE", "cpu")
    cell = tiny_cell(
        datasets=[{"name": "msd", "options": msd.OPTIONS}], patch=[32] * 3, steps=1, validations=1, augment="none"
    )
    found = run_cell(cell, places)
    assert found.status == "finished", found.traceback
    with (places.folder(cell) / "scores.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["class"] == "Posterior"]
    # the structure is a box three voxels thick along the last axis and larger along the others: most of its surface
    # is 1.5 mm from the other's and none is farther. Cubes of 1 mm would give 1, axes in another order 0.8
    assert len(rows) >= 2
    assert [(row["unit"], float(row["hd95"])) for row in rows] == [("mm", pytest.approx(1.5))] * len(rows)
