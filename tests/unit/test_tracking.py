"""The tracker of cells against a real MLflow store in a sqlite file.

Every test has a plan, and with it an experiment, of its own.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark import record
from benchmark.execute.lease import Lease
from benchmark.tracking import SyncReport, Tracker, describe, links, log, state, store, sync
from benchmark.tracking.experiment import open_store
from tests.unit.tracked_records import (
    DOWN,
    SomePlan,
    curves,
    database,
    failed_cell,
    finish,
    finished_cell,
    impatient,
    plan,
    running_cell,
    uri,
)

__all__ = ["database", "impatient", "plan", "uri"]  # fixtures


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Somebody else writes all the time."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def tracked(plan: SomePlan, uri: str) -> list[Any]:
    """The runs of a plan's cells, by name."""
    found = store.Store(uri, plan.name, Path("unused")).runs("tags.kind = 'cell'")
    return sorted(found, key=lambda run: run.info.run_name)


def only(plan: SomePlan, uri: str) -> Any:
    (run,) = tracked(plan, uri)
    return run


def history(uri: str, run: Any, name: str) -> list[tuple[int, float]]:
    points = store.Store(uri, "first", Path("unused")).client.get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in points)


def follow(plan: SomePlan, results: Path, uri: str, *cells: tuple[Path, record.Record]) -> list[str]:
    """Start and finish cells, as a supervisor tells it."""
    tracker = Tracker(plan, results, uri=uri, called="my/plan.yaml", busy_seconds=0.05)
    for folder, found in cells:
        tracker.started(found.cell, found.id, folder)
        tracker.finished(folder)
    return tracker.close()


def test_a_finished_cell_is_tracked_with_exactly_its_records_numbers(tmp_path, plan, uri):
    folder, found = finished_cell(tmp_path, plan=plan.name)
    assert follow(plan, tmp_path, uri, (folder, found)) == []
    run = only(plan, uri)
    finals = describe.final_metrics(found, describe.read_scores(folder))
    assert {name: run.data.metrics[name] for name in finals} == finals
    assert set(run.data.metrics) - set(finals) == {"train/lr", "train/supervised", "train/consistency", "val/dice"}
    assert history(uri, run, "train/supervised") == [(10, 1.0), (20, 0.5), (30, 1.0 / 3)]
    assert history(uri, run, "val/dice") == [(20, 0.3 + 0.1 * 2)]
    assert history(uri, run, "test/dice") == [(100, finals["test/dice"])]  # once, at the last step
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "cps phantom_2d 10% s0"


def test_identity_is_parameters_and_the_rest_tags_inputs_and_artifacts(tmp_path, plan, uri):
    folder, found = finished_cell(tmp_path, plan=plan.name)
    follow(plan, tmp_path, uri, (folder, found))
    run = only(plan, uri)
    identity = {"method": "cps", "dataset": "phantom_2d", "ratio": "0.1", "seed": "0", "fold": "1", "role": "method"}
    assert run.data.params | identity == run.data.params
    assert run.data.tags["cell"] == found.id
    assert run.data.tags["commit"] == "0123456789abcdef"
    assert not {"method", "dataset", "seed"} & set(run.data.tags), "the same thing twice in every menu"
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("phantom_2d", "d1ge57")
    where = tmp_path / "artifacts" / plan.name / run.info.run_id / "artifacts"
    assert (where / "scores.csv").read_bytes() == (folder / "scores.csv").read_bytes()
    assert (where / "record.json").read_bytes() == (folder / "record.json").read_bytes()


def test_a_failed_cell_is_failed_and_says_why(tmp_path, plan, uri):
    assert follow(plan, tmp_path, uri, failed_cell(tmp_path, plan=plan.name)) == []
    run = only(plan, uri)
    assert run.info.status == "FAILED"
    assert run.data.tags["status_note"] == "loss term 'ce' is nan at step 40"


def test_sync_logs_what_is_missing_once(tmp_path, plan, uri):
    finished_cell(tmp_path, plan=plan.name)
    assert sync(plan.name, tmp_path, uri) == SyncReport(logged=1)
    before = history(uri, only(plan, uri), "train/supervised")
    finished_cell(tmp_path, plan=plan.name, seed=1)
    assert sync(plan.name, tmp_path, uri) == SyncReport(logged=1, already=1)
    assert sync(plan.name, tmp_path, uri) == SyncReport(already=2)
    assert [run.data.params["seed"] for run in tracked(plan, uri)] == ["0", "1"]
    assert history(uri, tracked(plan, uri)[0], "train/supervised") == before


def test_logging_a_record_again_after_a_crash_half_way_changes_nothing(tmp_path, plan, uri):
    folder, _ = finished_cell(tmp_path, plan=plan.name)
    sync(plan.name, tmp_path, uri)
    run = only(plan, uri)
    # the crash came after everything was logged, but before tracked.json said so
    state.save(folder, uri, state.Tracked(run.info.run_id))
    assert sync(plan.name, tmp_path, uri) == SyncReport(logged=1)
    again = only(plan, uri)
    assert again.data.metrics == run.data.metrics
    assert history(uri, again, "test/dice") == history(uri, run, "test/dice")
    assert history(uri, again, "train/supervised") == history(uri, run, "train/supervised")


def test_a_resumed_cell_continues_its_run(tmp_path, plan, uri):
    folder, found = running_cell(tmp_path, plan=plan.name, rows=3)
    tracker = Tracker(plan, tmp_path, uri=uri)
    tracker.started(found.cell, found.id, folder)
    assert tracker.close() == []
    interrupted = only(plan, uri)
    assert interrupted.info.status == "KILLED"  # its supervisor went away without a record
    assert history(uri, interrupted, "train/supervised") == [(10, 1.0), (20, 0.5), (30, 1.0 / 3)]
    curves(folder, 2)  # back to the checkpoint at step 20
    second = Tracker(plan, tmp_path, uri=uri)
    second.started(found.cell | {"label": "renamed since"}, found.id, folder)
    finish(folder, rows=4)
    second.finished(folder)
    assert second.close() == []
    resumed = only(plan, uri)
    assert resumed.info.run_id == interrupted.info.run_id
    assert resumed.info.status == "FINISHED"
    assert history(uri, resumed, "train/supervised") == [(10, 1.0), (20, 0.5), (30, 1.0 / 3), (40, 0.25)]
    assert resumed.data.params == interrupted.data.params


def test_news_of_every_running_cell_are_logged(tmp_path, plan, uri):
    cells = [running_cell(tmp_path, plan=plan.name, seed=seed, rows=2) for seed in range(2)]
    tracker = Tracker(plan, tmp_path, uri=uri)
    for folder, found in cells:
        tracker.started(found.cell, found.id, folder)
    for folder, _ in cells:
        curves(folder, 4)
    tracker.progressed()
    tracker.close()
    assert [history(uri, run, "val/dice")[-1] for run in tracked(plan, uri)] == [(40, 0.3 + 0.1 * 4)] * 2


def test_a_cell_that_failed_and_is_tried_again_runs_and_then_has_no_reason(tmp_path, plan, uri):
    folder, found = failed_cell(tmp_path, plan=plan.name)
    sync(plan.name, tmp_path, uri)
    tracker = Tracker(plan, tmp_path, uri=uri)
    tracker.started(found.cell, found.id, folder)
    record.write(folder, record.Record(found.id, found.cell, "finished", seconds={"total": 1.0}))
    tracker.finished(folder)
    assert tracker.close() == []
    run = only(plan, uri)
    assert (run.info.status, run.data.tags["status_note"]) == ("FINISHED", "")


def test_a_locked_database_loses_nothing(tmp_path, plan, uri, database):
    cell = finished_cell(tmp_path, plan=plan.name)
    with locked(database):
        (told,) = follow(plan, tmp_path, uri, cell)
        assert "database is locked" in told
        assert "1 cell not shown" in told
        assert "`python -m benchmark sync my/plan.yaml`" in told
        report = sync(plan.name, tmp_path, uri, busy_seconds=0.05)
        assert "cannot be used (database is locked): 1 cell" in str(report)
    assert sync(plan.name, tmp_path, uri) == SyncReport(logged=1)
    assert only(plan, uri).info.status == "FINISHED"


def test_a_server_that_does_not_answer_loses_nothing(tmp_path, plan, uri, impatient):
    cells = [finished_cell(tmp_path, plan=plan.name, seed=seed) for seed in range(2)]
    (told,) = follow(plan, tmp_path, DOWN, *cells)
    assert "the server does not answer" in told
    assert "2 cells not shown" in told
    assert sync(plan.name, tmp_path, DOWN).logged == 0
    assert sync(plan.name, tmp_path, uri) == SyncReport(logged=2)
    assert links(plan.name, DOWN) == []


def test_a_database_of_another_mlflow_is_left_alone_and_the_remedy_named(tmp_path, plan, uri, database):
    old = tmp_path / "old.db"
    source, copy = sqlite3.connect(database), sqlite3.connect(old)
    source.backup(copy)
    copy.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")  # MLflow's first schema
    copy.commit()
    source.close()
    copy.close()
    (told,) = follow(plan, tmp_path, f"sqlite:///{old}", finished_cell(tmp_path, plan=plan.name))
    assert "mlflow db upgrade" in told
    assert "1 cell not shown" in told


def test_without_mlflow_cells_run_and_the_user_is_told(tmp_path, plan, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    (told,) = follow(plan, tmp_path, f"sqlite:///{tmp_path}/new.db", finished_cell(tmp_path, plan=plan.name))
    assert "MLflow cannot be imported" in told
    assert "`make env`" in told


def test_what_an_earlier_run_could_not_log_is_logged_by_the_next(tmp_path, plan, uri, impatient):
    follow(plan, tmp_path, DOWN, finished_cell(tmp_path, plan=plan.name))
    tracker = Tracker(plan, tmp_path, uri=uri)
    assert tracker.close() == []
    assert only(plan, uri).info.status == "FINISHED"


def killed_supervisor(results: Path, plan: SomePlan, uri: str, seed: int = 0) -> Path:
    """A run that says RUNNING, and nobody left who would ever say otherwise."""
    folder, found = running_cell(results, plan=plan.name, seed=seed)
    log.log_running(open_store(plan.name, results, uri), folder, found.cell, found.id)
    return folder


def test_sync_closes_the_runs_that_a_killed_supervisor_left_open(tmp_path, plan, uri):
    killed_supervisor(tmp_path, plan, uri)
    assert only(plan, uri).info.status == "RUNNING"
    assert sync(plan.name, tmp_path, uri) == SyncReport(closed=1)
    run = only(plan, uri)
    assert run.info.status == "KILLED"
    assert "run the plan again" in run.data.tags["status_note"]


def test_sync_leaves_alone_what_another_runner_computes(tmp_path, plan, uri):
    folder = killed_supervisor(tmp_path / "here", plan, uri)
    killed_supervisor(tmp_path / "elsewhere", plan, uri, seed=1)
    assert Lease(folder).take()  # somebody, this very process, resumed the cell
    assert sync(plan.name, tmp_path / "here", uri) == SyncReport()
    assert [run.info.status for run in tracked(plan, uri)] == ["RUNNING", "RUNNING"]


def test_a_run_opened_just_before_a_kill_is_found_again(tmp_path, plan, uri):
    folder = killed_supervisor(tmp_path, plan, uri)
    (folder / "tracked.json").unlink()  # the kill came between the run and the note
    finish(folder)
    assert sync(plan.name, tmp_path, uri) == SyncReport(logged=1)
    assert only(plan, uri).info.status == "FINISHED"


def test_a_database_that_was_deleted_is_filled_again(tmp_path, plan, uri):
    folder, _ = finished_cell(tmp_path, plan=plan.name)
    state.save(folder, uri, state.Tracked("0" * 32, rows=3, step=30, final=state.digest(folder)))
    assert sync(plan.name, tmp_path, uri) == SyncReport(logged=1)
    assert len(history(uri, only(plan, uri), "train/supervised")) == 3


def test_a_copied_folder_is_no_run_and_is_told(tmp_path, plan, uri):
    folder, _ = finished_cell(tmp_path, plan=plan.name)
    shutil.copytree(folder, folder.with_name(f"{folder.name}.bak"))
    report = sync(plan.name, tmp_path, uri)
    assert (report.logged, report.failed) == (1, ())
    assert f"{folder.name}.bak holds the record of {folder.name}" in str(report)
    only(plan, uri)


def test_one_cell_that_cannot_be_logged_does_not_keep_back_the_others(tmp_path, plan, uri):
    folder, _ = finished_cell(tmp_path, plan=plan.name)
    broken = json.loads((folder / "record.json").read_text())
    del broken["cell"]["label"]
    (folder / "record.json").write_text(json.dumps(broken))
    finished_cell(tmp_path, plan=plan.name, seed=1)
    report = sync(plan.name, tmp_path, uri)
    assert report.logged == 1
    assert len(report.failed) == 1
    assert folder.name in report.failed[0]
    (told,) = follow(plan, tmp_path, uri, finished_cell(tmp_path, plan=plan.name, seed=2))
    assert folder.name in told
    assert len([run for run in tracked(plan, uri) if run.info.status == "FINISHED"]) == 2
