"""What a cell is called in MLflow: parameters, metrics, views. No tracker is opened here."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import ROOT, record
from benchmark.report import frame, summary
from benchmark.tracking import describe, state, store, views
from tests.unit.report_records import score, write_cell
from tests.unit.tracked_records import curves, finished_cell

ALLOWED = re.compile(r"[\w\-. :/]{1,250}")
"""MLflow's stores refuse every other name of a metric or parameter."""


def finals(folder: Path) -> dict[str, float]:
    found = record.read(folder)
    assert found is not None
    return describe.final_metrics(found, describe.read_scores(folder))


def test_importing_tracking_does_not_import_mlflow():
    program = "import sys, benchmark.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=dict(os.environ)).returncode == 0


def test_final_numbers_are_means_over_scans_then_classes_then_patients(tmp_path):
    folder, _ = finished_cell(tmp_path, plan="p")
    found = finals(folder)
    assert found["test/dice"] == pytest.approx(0.6875)  # derived in finished_cell's docstring
    assert found["test/dice_LV"] == pytest.approx((0.7 + 0.9) / 2)
    assert found["test/dice_RV"] == pytest.approx(0.25)  # patient b has none
    assert found["test/hd95"] == pytest.approx(14.5)
    assert found["test/hd95_RV"] == pytest.approx(53.0)
    assert found["test/failure_rate"] == pytest.approx(1 / 5)  # b's right ventricle and best_val's row do not count


def test_tracked_numbers_are_those_of_the_reports_table(tmp_path):
    for seed in range(2):
        finished_cell(tmp_path, plan="p", seed=seed)
    write_cell(tmp_path, [score("a", status="missed"), score("b", hd95=9.0)], plan="p", seed=2)
    results = frame.load(tmp_path / "p")
    table = summary.cell_values(results, summary.patient_values(summary.class_values(results)))
    table = table[table["selection"] == "last"].set_index("id")
    for cell_id, row in table.iterrows():
        found = finals(tmp_path / "p" / str(cell_id))
        assert found["test/dice"] == pytest.approx(row["dice"], rel=1e-12)
        assert found["test/hd95"] == pytest.approx(row["hd95"], rel=1e-12)


def test_nothing_infinite_or_undefined_is_among_the_final_numbers(tmp_path):
    rows = [score("a", class_name="LV", status="missed"), score("a", class_name="RV", status="both_empty")]
    folder = write_cell(tmp_path, rows, memory_mib=math.nan)
    found = finals(folder)
    assert all(math.isfinite(value) for value in found.values())
    assert found["test/hd95"] == 100.0  # the diagonal of report_records.score
    assert "test/dice_RV" not in found  # in neither map: there is no number, and 0 would be a lie
    assert "memory/peak_mib" not in found


def test_the_failure_rate_is_the_reports_and_none_where_nothing_was_to_be_found(tmp_path):
    write_cell(tmp_path, [score("a", status="missed"), score("b"), score("c", status="both_empty")], plan="p")
    results = frame.load(tmp_path / "p")
    (row,) = summary.entries(results, summary.patient_values(summary.class_values(results))).itertuples()
    assert finals(tmp_path / "p" / row.ids[0])["test/failure_rate"] == row.failure_rate_mean == 1 / 2
    empty = write_cell(tmp_path, [score("a", status="both_empty")], plan="q")
    assert "test/failure_rate" not in finals(empty)


def test_the_first_row_tells_trainings_apart_but_not_clocks_and_later_columns():
    row = {"step": "10", "seconds": "0.5", "ce": "0.7", "val_dice": ""}
    later = {"step": "20", "seconds": "1.0", "ce": "0.6", "val_dice": "0.1"}
    known = describe.first_row([row])
    assert describe.first_row([row | {"seconds": "9.0", "kl": ""}, later]) == known
    assert describe.first_row([row | {"ce": "0.8"}]) != known
    assert describe.first_row([]) == ""


def test_a_cell_that_failed_before_evaluation_has_times_but_no_scores(tmp_path):
    folder = write_cell(tmp_path, status="failed", seconds={"total": 3.0})
    found = finals(folder)
    assert found["time/total_seconds"] == 3.0
    assert not [name for name in found if name.startswith("test/")]


def test_scores_of_the_time_before_are_not_those_of_a_cell_that_then_failed(tmp_path):
    folder = write_cell(tmp_path, [score("a", dice=0.9)], status="failed", seconds={"total": 3.0})
    assert (folder / "scores.csv").exists()
    assert not [name for name in finals(folder) if name.startswith("test/")]


def test_odd_class_names_become_allowed_and_different_names(tmp_path):
    odd = ["left ventricle (LV)", "left ventricle [LV]", "core/rim", "5 % +", "œdème"]
    folder = write_cell(tmp_path, [score("a", class_name=name, dice=0.1 * i) for i, name in enumerate(odd)])
    found = {name: value for name, value in finals(folder).items() if name.startswith("test/dice_")}
    assert sorted(found.values()) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])  # five classes, none overwritten
    for name in found:
        assert ALLOWED.fullmatch(name), name
        assert name.count("/") == 1, "a slash in a class name would open a section of its own"


def test_the_ratio_is_a_plain_number_and_a_count_stands_under_its_own_name():
    base = {"label": "cps", "dataset": "acdc", "seed": 1, "fold": 2, "hyper": {"weight": 0.1}, "amount": "5%"}
    by_ratio = describe.params(base | {"ratio": 0.05, "count": None, "training": {"lr": 0.01, "patch": [64, 64]}})
    assert by_ratio["ratio"] == "0.05"
    assert "count" not in by_ratio
    assert by_ratio["hyper.weight"] == "0.1"
    assert by_ratio["training.lr"] == "0.01"
    assert by_ratio["training.patch"] == "[64, 64]"
    assert by_ratio["variant"] == "intended"
    by_count = describe.params(base | {"ratio": None, "count": 8, "hyper": {"variant": "released"}})
    assert (by_count["count"], by_count["variant"]) == ("8", "released")
    assert "ratio" not in by_count


def test_a_line_that_is_still_being_written_is_left_for_the_next_time(tmp_path):
    curves(tmp_path, 2)
    with (tmp_path / "train.csv").open("a") as file:
        file.write("30,1.5,0.00")  # the runner is in the middle of step 30's row
    assert [row["step"] for row in describe.read_train_rows(tmp_path)] == ["10", "20"]


def test_curves_leave_out_what_was_not_measured_or_is_not_finite():
    rows = [{"step": "10", "seconds": "0.5", "ce": "nan", "kl": "0.2", "val_dice": ""}]
    assert describe.curve(rows) == [("train/kl", 0.2, 10, 0.5)]


def test_views_decode_and_show_only_what_cells_have(tmp_path):
    folder, found = finished_cell(tmp_path, plan="p")
    curve = describe.curve(describe.read_train_rows(folder))
    metrics = set(finals(folder)) | {name for name, *_ in curve}
    params = set(describe.params(found.cell))
    for name, view in views.definitions().values():
        title, content = views.decode(views.encode(name, view))
        assert (title, content) == (name, view)
        for chart in content["compareRunCharts"]:
            axes = [chart[axis]["key"] for axis in ("xaxis", "yaxis") if axis in chart]
            shown = {chart.get("metricKey"), *chart.get("selectedMetrics", ()), *axes} - {None}
            assert shown, chart
            assert shown <= metrics
            assert set(chart.get("selectedParams", ())) <= params
        groups = (content["groupBy"] or {"groupByKeys": []})["groupByKeys"]
        assert {group["groupByData"] for group in groups} <= params
        for column in content["selectedColumns"]:
            kind, key = re.fullmatch(r"(metrics|params)\.`(.+)`", column).groups()
            assert key in (metrics if kind == "metrics" else params)
        sections = [section["uuid"] for section in content["compareRunSections"]]
        assert {chart["metricSectionId"] for chart in content["compareRunCharts"]} <= set(sections)
        assert len(sections) == len(set(sections))


def test_passwords_are_in_no_name_of_a_tracker():
    assert store.public_name("http://anna:s3cret@host:5000/x") == "http://host:5000/x"
    assert store.public_name("sqlite:////home/a@b/mlflow.db") == "sqlite:////home/a@b/mlflow.db"


def test_a_relative_database_is_the_same_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store.resolve_uri("sqlite:///runs.db") == f"sqlite:///{tmp_path}/runs.db"
    assert store.resolve_uri("sqlite:///runs.db?timeout=5") == f"sqlite:///{tmp_path}/runs.db?timeout=5"
    assert store.sqlite_path("sqlite:///runs.db?timeout=5") == tmp_path / "runs.db"
    assert store.resolve_uri() == f"sqlite:///{ROOT}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere:5000")
    assert store.resolve_uri() == "http://somewhere:5000"


def test_what_two_trackers_hold_of_a_cell_stands_side_by_side(tmp_path):
    state.save(tmp_path, "one", state.Tracked("a1", rows=3, step=30))
    state.save(tmp_path, "other", state.Tracked("b2", final="f00"))
    assert state.load(tmp_path, "one") == state.Tracked("a1", rows=3, step=30)
    assert state.load(tmp_path, "other") == state.Tracked("b2", final="f00")
    assert state.load(tmp_path, "third") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"one": {"no": "such field"}}'])
def test_a_damaged_note_is_as_if_nothing_was_tracked(tmp_path, content):
    (tmp_path / "tracked.json").write_text(content)
    assert state.load(tmp_path, "one") is None
