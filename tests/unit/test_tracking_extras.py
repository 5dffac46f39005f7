"""What is tracked beside cells: views, reports, the studies of tuning; and how pages are served."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark import ROOT
from benchmark.tracking import ServerError, StudyTracker, log_report, store, ui, views
from benchmark.tracking.experiment import open_store
from benchmark.tracking.server import free_port, serving
from tests.unit.tracked_records import DOWN, database, impatient, plan, uri

__all__ = ["database", "impatient", "plan", "uri"]  # fixtures


def test_views_are_seeded_once_and_a_deleted_experiment_comes_back(tmp_path, plan, uri):
    opened = open_store(plan.name, tmp_path, uri, "## Title")
    tags = opened.client.get_experiment(opened.experiment_id).tags
    seeded = {key: value for key, value in tags.items() if key.startswith("mlflow.sharedViewState.")}
    assert len(seeded) == 4
    assert {views.decode(value)[0] for value in seeded.values()} == {
        name for name, _ in views.links(opened.experiment_id)
    }
    assert tags["mlflow.note.content"] == "## Title"
    opened.client.delete_experiment(opened.experiment_id)
    again = open_store(plan.name, tmp_path, uri)
    assert again.client.get_experiment(again.experiment_id).tags == tags


def test_the_database_has_a_write_ahead_log(database):
    connection = sqlite3.connect(database)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_report_is_attached_once_and_again_when_it_changed(tmp_path, plan, uri):
    folder = tmp_path / plan.name / "report"
    folder.mkdir(parents=True)
    (folder / "table.md").write_text("| method | Dice |")
    for _ in range(2):
        assert log_report(plan.name, folder, uri) == []
    (folder / "table.md").write_text("| method | HD95 |")
    assert log_report(plan.name, folder, uri) == []
    (run,) = open_store(plan.name, tmp_path, uri).runs("tags.kind = 'report'")
    assert run.data.tags["mlflow.note.content"] == "| method | HD95 |"
    kept = tmp_path / "artifacts" / plan.name / run.info.run_id / "artifacts" / "report" / "table.md"
    assert kept.read_text() == "| method | HD95 |"


def test_a_report_without_a_tracker_stays_where_it_is(tmp_path, plan, impatient):
    folder = tmp_path / plan.name / "report"
    folder.mkdir(parents=True)
    (told,) = log_report(plan.name, folder, DOWN)
    assert str(folder) in told
    assert f"`python -m benchmark sync {plan.name}` shows" in told
    (told,) = log_report(plan.name, folder, DOWN, called="my/plan.yaml")
    assert "`python -m benchmark sync my/plan.yaml` shows" in told


def told_study(name: str, results: Path, uri: str, trials: int) -> list[str]:
    """Tune as the supervisor tells it: trial 0 completes, 1 is pruned, 2 killed, others complete."""
    study = StudyTracker(name, "cps-acdc", {"trials": 4, "steps": 200}, uri=uri, results=results, busy_seconds=0.05)
    states = {1: "PRUNED", 2: "KILLED"}
    for number in range(trials):
        values = {100: 0.5} if number in states else {100: 0.5, 200: 0.6 + 0.01 * number}
        ended = states.get(number, "FINISHED")
        study.trial(number, {"hyper.weight": 0.1 * number}, values, values.get(200), ended)
    return study.finish({"hyper.weight": 0.3})


def runs_of(name: str, uri: str) -> dict[str, Any]:
    return {run.info.run_name: run for run in store.Store(uri, name, Path("unused")).runs()}


def test_trials_are_nested_under_their_study_with_their_true_states(tmp_path, plan, uri):
    assert told_study(plan.name, tmp_path, uri, trials=4) == []
    runs = runs_of(plan.name, uri)
    assert set(runs) == {"cps-acdc", "trial 0", "trial 1", "trial 2", "trial 3"}
    study = runs.pop("cps-acdc")
    assert study.data.params == {"trials": "4", "steps": "200"}
    assert study.data.tags["best.hyper.weight"] == "0.3"
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {study.info.run_id}
    found = {name: (run.info.status, run.data.tags["state"]) for name, run in runs.items()}
    assert found["trial 0"] == ("FINISHED", "finished")
    assert found["trial 1"] == ("FINISHED", "pruned")
    assert found["trial 2"] == ("KILLED", "killed")
    assert runs["trial 3"].data.metrics == {"val/dice": 0.63, "val/final": 0.63}
    assert "val/final" not in runs["trial 1"].data.metrics


def test_a_study_that_is_resumed_logs_nothing_twice(tmp_path, plan, uri):
    told_study(plan.name, tmp_path, uri, trials=2)
    before = runs_of(plan.name, uri)
    told_study(plan.name, tmp_path, uri, trials=4)
    after = runs_of(plan.name, uri)
    assert len(after) == 5
    assert {name: run.info.run_id for name, run in before.items()}.items() <= {
        name: run.info.run_id for name, run in after.items()
    }.items()
    client = store.Store(uri, plan.name, Path("unused")).client
    points = client.get_metric_history(after["trial 0"].info.run_id, "val/dice")
    assert sorted((point.step, point.value) for point in points) == [(100, 0.5), (200, 0.6)]


def test_a_study_that_an_exception_ended_is_failed_and_may_go_on(tmp_path, plan, uri):
    study = StudyTracker(plan.name, "cps-acdc", {}, uri=uri, results=tmp_path)
    study.fail()
    run = runs_of(plan.name, uri)["cps-acdc"]
    assert run.info.status == "FAILED"
    assert "tune again" in run.data.tags["status_note"]
    told_study(plan.name, tmp_path, uri, trials=0)
    again = runs_of(plan.name, uri)["cps-acdc"]
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert again.data.tags["status_note"] == ""


def test_a_study_whose_process_ends_in_an_exception_is_failed(tmp_path, plan, uri):
    program = (
        "import sys; from pathlib import Path; from benchmark.tracking import StudyTracker\n"
        "StudyTracker(sys.argv[1], 'cps-acdc', {}, uri=sys.argv[2], results=Path(sys.argv[3]))\n"
        "raise RuntimeError('in the middle of a study')"
    )
    command = [sys.executable, "-c", program, plan.name, uri, str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "in the middle of a study" in ended.stderr
    assert runs_of(plan.name, uri)["cps-acdc"].info.status == "FAILED"


def test_a_study_without_a_tracker_is_tuned_all_the_same(tmp_path, plan, impatient):
    (told,) = told_study(plan.name, tmp_path, DOWN, trials=3)
    assert "the server does not answer" in told
    assert "complete on disk" in told


def test_a_taken_port_is_refused_and_a_free_one_is_free(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} is taken"), serving(f"sqlite:///{tmp_path}/x.db", port):
            pass
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))


def test_a_tracker_that_is_a_server_already_is_only_named(monkeypatch, capsys):
    seeded = ("7", "demo", True)
    monkeypatch.setattr("benchmark.tracking.server.experiments", lambda address: [seeded, ("0", "Default", False)])
    ui(uri="http://anna:s3cret@tracker.example:5000/")
    told = capsys.readouterr().out
    for _, path in views.links("7"):
        assert f"http://tracker.example:5000{path}" in told
    assert "s3cret" not in told
    assert "Default" not in told
