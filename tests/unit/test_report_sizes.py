"""Dice against the size of structures, and validation curves: of complete seeds, as the tables are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.report import frame, multiples, sizes, summary
from tests.unit.report_records import score, write_cell


def _study(results: Path) -> frame.Results:
    """Dice .9 in fold 1 and .3 in fold 2, but that the last seed's fold 2 failed."""
    for seed in range(3):
        for fold, dice in ((1, 0.9), (2, 0.3)):
            failed = (seed, fold) == (2, 2)
            rows = [score(f"{fold}-{i}", dice=dice, n_gt=10 * (i + 1)) for i in range(20)]
            curve = [{"step": step, "dice": dice} for step in (50, 100)]
            where = {"seed": seed, "fold": fold, "status": "failed" if failed else "finished", "validation": curve}
            write_cell(results, [] if failed else rows, **where)
    return frame.load(results / "toy")


def test_a_seed_that_lacks_a_fold_is_in_no_curve(tmp_path: Path) -> None:
    results = _study(tmp_path)
    patients = summary.patient_values(summary.class_values(results))
    table = summary.entries(results, patients)
    found = sizes.sized(results, table, {"phantom_2d": "10%"}, "penalised")
    assert sorted(set(found["seed"])) == [0, 1]
    assert found["dice"].tolist() == pytest.approx([0.6] * len(found))
    (ids,) = table["ids"]
    curve = multiples._mean_curve(results, ids, set(results.cells["id"][summary.complete(results)]))
    assert curve == pytest.approx(np.array([[50, 0.6], [100, 0.6]]))
