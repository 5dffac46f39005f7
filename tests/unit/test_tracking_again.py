"""A cell that runs once more, and cells that end while leftovers are looked for: which run then says what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmark import record
from benchmark.tracking import SyncReport, Tracker, log, replay, state, sync
from benchmark.tracking.experiment import open_store
from benchmark.tracking.store import Store
from tests.unit.tracked_records import SomePlan, curves, database, failed_cell, finish, finished_cell, plan, uri

__all__ = ["database", "plan", "uri"]  # fixtures

HEADER = ["step", "seconds", "lr", "supervised", "consistency", "val_dice"]


def only(plan: SomePlan, uri: str) -> Any:
    """The one run of a plan's cells that the pages show."""
    found = Store(uri, plan.name, Path("unused")).runs("tags.kind = 'cell'")
    (run,) = (run for run in found if run.info.lifecycle_stage == "active")
    return run


def losses(uri: str, run: Any) -> list[tuple[int, float]]:
    points = Store(uri, "first", Path("unused")).client.get_metric_history(run.info.run_id, "train/supervised")
    return sorted((point.step, point.value) for point in points)


def other_curves(folder: Path, values: list[float]) -> None:
    """``train.csv`` of another training."""
    (folder / "train.csv").unlink(missing_ok=True)
    rows = [[10 * i, 0.5 * i, 0.01, value, 0.0, ""] for i, value in enumerate(values, 1)]
    record.append_rows(folder / "train.csv", HEADER, rows)


def rewrite(folder: Path, **changed: Any) -> None:
    found = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(found | changed))


def test_a_finished_cell_that_is_redone_and_fails_has_neither_the_old_curve_nor_the_old_dice(tmp_path, plan, uri):
    folder, found = finished_cell(tmp_path, plan=plan.name)
    sync(plan.name, tmp_path, uri)
    old = only(plan, uri)
    assert "test/dice" in old.data.metrics
    (folder / "record.json").unlink()
    other_curves(folder, [])  # no row yet: only that it had finished tells
    tracker = Tracker(plan, tmp_path, uri=uri)
    tracker.started(found.cell, found.id, folder)
    other_curves(folder, [7.0, 8.0])
    record.write(folder, record.Record(found.id, found.cell, "failed", reason="nan"))
    tracker.finished(folder)
    assert tracker.close() == []
    run = only(plan, uri)
    assert run.info.run_id != old.info.run_id
    assert run.info.status == "FAILED"
    assert "test/dice" not in run.data.metrics
    assert losses(uri, run) == [(10, 7.0), (20, 8.0)]


def test_a_redone_cell_that_only_sync_sees_is_a_new_run(tmp_path, plan, uri):
    folder, _ = finished_cell(tmp_path, plan=plan.name)
    sync(plan.name, tmp_path, uri)
    rewrite(folder, status="failed", reason="nan")  # with the first row of before
    assert sync(plan.name, tmp_path, uri) == SyncReport(logged=1)
    assert "test/dice" not in only(plan, uri).data.metrics
    assert sync(plan.name, tmp_path, uri) == SyncReport(already=1)


def test_a_failed_cell_that_is_trained_anew_shows_its_new_curve_while_it_runs(tmp_path, plan, uri):
    folder, found = failed_cell(tmp_path, plan=plan.name)
    curves(folder, 3)
    sync(plan.name, tmp_path, uri)
    other_curves(folder, [7.0])
    log.log_running(open_store(plan.name, tmp_path, uri), folder, found.cell, found.id)
    run = only(plan, uri)
    assert (run.info.status, losses(uri, run)) == ("RUNNING", [(10, 7.0)])


def test_an_edited_method_whose_first_row_is_the_same_is_a_new_run_too(tmp_path, plan, uri):
    folder, _ = failed_cell(tmp_path, plan=plan.name)
    other_curves(folder, [1.0, 2.0])
    rewrite(folder, receipt={"source": "before"})
    sync(plan.name, tmp_path, uri)
    other_curves(folder, [1.0, 3.0])
    rewrite(folder, receipt={"source": "after"})
    sync(plan.name, tmp_path, uri)
    assert losses(uri, only(plan, uri)) == [(10, 1.0), (20, 3.0)]


def test_a_failed_cell_that_goes_on_from_its_checkpoint_keeps_its_run(tmp_path, plan, uri):
    folder, found = failed_cell(tmp_path, plan=plan.name)
    curves(folder, 3)
    sync(plan.name, tmp_path, uri)
    old = only(plan, uri)
    curves(folder, 2)  # back at step 20
    text = (folder / "train.csv").read_text()
    (folder / "train.csv").write_text(text.replace("10,0.5,", "10,0.75,"))  # on another clock
    store = open_store(plan.name, tmp_path, uri)
    log.log_running(store, folder, found.cell, found.id)
    assert (only(plan, uri).info.run_id, only(plan, uri).info.status) == (old.info.run_id, "RUNNING")
    curves(folder, 4)
    log.log_running(store, folder, found.cell, found.id)
    assert losses(uri, only(plan, uri)) == [(10, 1.0), (20, 0.5), (30, 1.0 / 3), (40, 0.25)]


def test_a_cell_that_ends_while_leftovers_are_looked_for_stays_finished(tmp_path, plan, uri, monkeypatch):
    folder, found = finished_cell(tmp_path, plan=plan.name)
    (folder / "record.json").rename(folder / "record.later")
    store = open_store(plan.name, tmp_path, uri)
    run_id = log.log_running(store, folder, found.cell, found.id)
    read_all = replay.records.read_all

    def late(*arguments: Any) -> Any:
        finish(folder)
        log.log_ended(store, folder, found)
        return read_all(*arguments)

    monkeypatch.setattr(replay.records, "read_all", late)
    left = replay.Leftovers.of(open_store(plan.name, tmp_path, uri), tmp_path / plan.name)
    assert (left.unseen, left.already, left.abandoned) == ([], 1, [])
    assert not log.log_killed(store, run_id, "interrupted")
    assert only(plan, uri).info.status == "FINISHED"
    tracked = state.load(folder, store.name)
    assert tracked is not None
    assert tracked.final == state.digest(folder)


def test_a_run_that_ended_since_it_was_found_open_is_not_killed(tmp_path, plan, uri, monkeypatch):
    finished_cell(tmp_path, plan=plan.name)
    sync(plan.name, tmp_path, uri)
    run_id = only(plan, uri).info.run_id
    monkeypatch.setattr(replay.Leftovers, "of", lambda *_: replay.Leftovers([], 0, [run_id], []))
    assert sync(plan.name, tmp_path, uri) == SyncReport()
    assert only(plan, uri).info.status == "FINISHED"
