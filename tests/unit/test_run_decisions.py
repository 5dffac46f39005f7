"""Which weights are scored under which rule, and what a record counts."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark import run as running
from benchmark.record import METRICS
from datasets.splits import Split

from .report_records import score
from .tiny_cells import places_in, tiny_cell


def test_every_rule_scores_the_weights_of_the_step_that_it_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mark(method: Any) -> float:
        return sum(float(p.detach().double().abs().sum()) for p in method.parameters())

    marks, measured, real = [], iter([0.1, 0.4, 0.3, 0.2]), running.evaluate

    def validated(method: Any, **where: Any) -> float:
        marks.append(mark(method))
        return next(measured)

    def marked(method: Any, *args: Any, **where: Any) -> Iterator[Any]:
        for case, prediction, rows in real(method, *args, **where):
            values = tuple(mark(method) if name == "dice" else 0.0 for name in METRICS)
            yield case, prediction, [replace(row, status="ok", values=values) for row in rows]

    monkeypatch.setattr("benchmark.prepare.validation_dice", validated)
    monkeypatch.setattr(running, "evaluate", marked)
    cell = tiny_cell(validations=4)
    found = running.run_cell(cell, places_in(tmp_path))
    assert found.status == "finished", found.traceback
    rows = csv.DictReader((places_in(tmp_path).folder(cell) / "scores.csv").read_text().splitlines())
    by_rule: dict[str, set[float]] = {}
    for row in rows:
        by_rule.setdefault(row["selection"], set()).add(float(row["dice"]))
    assert len(set(marks)) == 4
    best = max(range(4), key=marks.__getitem__)
    rules = ("last", "best_val", "oracle")
    assert {rule: found.selections[rule] for rule in rules} == {"last": 4, "best_val": 2, "oracle": best + 1}
    assert {rule: by_rule[rule].pop() for rule in rules} == pytest.approx(
        {"last": marks[3], "best_val": marks[1], "oracle": marks[best]}
    )


def test_the_oracle_counts_what_was_missed_or_not_predicted_as_nothing_right() -> None:
    rows = [
        score("a", group="a", dice=0.8),
        score("b", group="b", dice=0.0, status="failed"),
        score("c", group="c", dice=0.0, status="missed"),
    ]
    assert running._mean_dice(rows) == pytest.approx(0.8 / 3)


def test_a_record_counts_patients_as_patients_and_cases_as_cases() -> None:
    groups = {f"{p}{n}": p for p in "abcd" for n in range(2)}
    split = Split(("a0", "a1"), ("b0", "b1"), ("c0", "c1"), ("d0", "d1"), ("a",), ("a", "b"))
    told = running._split_summary(split, SimpleNamespace(groups=lambda: groups, folds=1))  # type: ignore[arg-type]
    assert {
        k: told[k]
        for k in ("labelled_cases", "unlabelled_groups", "val_groups", "val_cases", "test_groups", "test_cases")
    } == {
        "labelled_cases": 2,
        "unlabelled_groups": 1,
        "val_groups": 1,
        "val_cases": 2,
        "test_groups": 1,
        "test_cases": 2,
    }
