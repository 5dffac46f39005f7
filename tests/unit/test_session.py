"""What a person starts: checked first, then run, told, tracked and reported."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from benchmark import looks, plan_file, preflight, session
from benchmark.config import ConfigError
from benchmark.execute.lease import Lease
from benchmark.execute.local import Event, Limits, Summary
from benchmark.plan import Cell
from benchmark.prepare import Places
from benchmark.record import Record, read, write
from benchmark.run import describe

from .tiny_cells import raw_plan


class Ran:
    """Stands for the supervisor: every cell finishes at once, or fails for the reason given for it."""

    def __init__(self, reasons: dict[int, str] | None = None) -> None:
        self.cells: list[Cell] = []
        self.settings: dict[str, Any] = {}
        self.reasons = reasons or {}

    def __call__(self, cells: Sequence[Cell], places: Places, *, listen: Any, **settings: Any) -> Summary:
        from benchmark import receipt

        self.cells, self.settings = list(cells), settings
        summary = Summary()
        for cell in cells:
            reason = self.reasons.get(cell.seed, "")
            record = Record(cell.id, describe(cell), "failed" if reason else "finished", reason, seconds={"total": 2.0})
            record.receipt["source"] = receipt.source(cell.method)
            write(places.folder(cell), record)
            listen(Event("finished", cell, places.folder(cell), record))
            summary.finished, summary.failed = summary.finished + (not reason), summary.failed + bool(reason)
            if reason:
                summary.reasons[cell.id] = reason
        return summary


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Path of a plan of three cells."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("benchmark.prepare.manifest_of", lambda dataset, cache: None)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(raw_plan(seeds=3, title="Cells [of] a plan")))
    return str(path)


def started(plan: str, monkeypatch: pytest.MonkeyPatch, ran: Ran, **settings: Any) -> tuple[Summary, str]:
    monkeypatch.setattr(session, "run_cells", ran)
    monkeypatch.setattr(session, "_Tracking", None)  # tracking is off: using it would be an error
    console = Console(file=io.StringIO(), width=200, color_system=None)
    results = str(Path(plan).parent / "results")
    summary = session.run_plan(plan, results=results, console=console, track=False, **settings)
    assert isinstance(console.file, io.StringIO)
    return summary, console.file.getvalue()


def seeds(ran: Ran) -> list[int]:
    return [cell.seed for cell in ran.cells]


def test_a_plan_is_shown_with_its_size_then_run_and_summed_up(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran({1: "RuntimeError: [/oh] no"})
    summary, told = started(plan, monkeypatch, ran, workers=2, wall_limit=5.0, silence=90.0)
    assert (summary.finished, summary.failed, seeds(ran)) == (2, 1, [0, 1, 2])
    assert ran.settings["workers"] == 2
    assert ran.settings["limits"] == Limits(wall=5.0, silence=90.0)
    assert ran.settings["checkpoint_seconds"] == 60.0
    lines = told.splitlines()
    assert lines[:4] == [
        "phantom_2d: checking 6 cases once",
        "Cells [of] a plan (tiny): 3 cells: 3 to do",
        "protocol: Nobody's.",
        "to run: 3 cells, 12 steps, 2 at a time; time: unknown; disk: up to 120 MiB",
    ]
    assert lines[-2] == "2 finished, 1 failed, 0 left to another runner"
    assert lines[-1].endswith(": RuntimeError: [/oh] no")


def test_what_is_done_is_not_run_again_and_failed_cells_are_unless_they_are_kept(
    plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(plan, monkeypatch, Ran({1: "broken"}))
    ran = Ran()
    _, told = started(plan, monkeypatch, ran, keep_failed=True)
    assert (seeds(ran), "nothing left to run" in told) == ([], True)
    _, told = started(plan, monkeypatch, ran)
    assert seeds(ran) == [1]
    assert "3 cells: 2 done, 1 failed" in told
    assert "time: 1 s" in told or "time: 2 s" in told  # one cell of 2 s, on one slot or two
    _, told = started(plan, monkeypatch, ran)
    assert "nothing left to run" in told


def test_stale_cells_are_kept_unless_they_are_to_be_redone(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started(plan, monkeypatch, Ran())
    monkeypatch.setattr("benchmark.state.receipt.source", lambda method: "edited")
    ran = Ran()
    _, told = started(plan, monkeypatch, ran)
    assert (seeds(ran), "3 cells: 3 stale" in told) == ([], True)
    assert "3 cells stale: the file of supervised changed since; kept as they are, repeat with --redo-stale" in told
    _, told = started(plan, monkeypatch, ran, redo_stale=True)
    assert (seeds(ran), "kept" in told) == ([0, 1, 2], False)


def test_records_of_stale_cells_stay_until_their_cells_are_taken(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started(plan, monkeypatch, Ran())
    monkeypatch.setattr("benchmark.state.receipt.source", lambda method: "edited")
    asked: list[dict[str, str]] = []

    def interrupted(cells: Sequence[Cell], places: Places, *, again: dict[str, str], **_: Any) -> Summary:
        asked.append(again)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        started(plan, monkeypatch, interrupted, redo_stale=True)  # type: ignore[arg-type]
    records = sorted(Path(plan).parent.glob("results/tiny/*/record.json"))
    assert sorted(asked[0]) == [path.parent.name for path in records]
    assert len(records) == 3


def test_seeds_that_were_added_by_looks_are_run_and_retried_as_those_of_the_plan(
    plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, known = Ran(), plan_file.load(plan)
    declared = looks.declare(known)
    added = tuple(cell.id for cell in looks.further(known, declared, 1))
    folder = Path(plan).parent / "results" / "tiny"
    looks.write(folder, looks.Looks(declared.counts, declared.seeds, added=added))
    _, told = started(plan, monkeypatch, Ran({4: "broken"}))
    assert "5 cells: 5 to do" in told
    started(plan, monkeypatch, ran)
    assert seeds(ran) == [4]
    monkeypatch.setattr("benchmark.state.receipt.source", lambda method: "edited")
    started(plan, monkeypatch, ran, redo_stale=True, only="s3")
    assert seeds(ran) == [3]


def test_a_cell_that_somebody_else_runs_is_offered_too_for_its_lease_decides(
    plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = Ran()
    started(plan, monkeypatch, ran)
    cell = ran.cells[0]
    folder = Path(plan).parent / "results" / "tiny" / cell.id
    (folder / "record.json").unlink()
    assert Lease(folder).take()
    again = Ran()
    _, told = started(plan, monkeypatch, again)
    assert "3 cells: 2 done, 1 running" in told
    assert seeds(again) == [cell.seed]


def test_only_cells_with_a_text_in_their_title_are_run_and_a_text_of_none_is_refused(
    plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = Ran()
    started(plan, monkeypatch, ran, only="s2")
    assert seeds(ran) == [2]
    with pytest.raises(
        ConfigError, match="plan tiny: no cell has 'superviced' in its title; did you mean 'supervised'"
    ):
        started(plan, monkeypatch, ran, only="superviced")


def test_words_that_could_be_asked_for_are_told_once_and_without_their_commas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bounded.yaml"
    methods = ["cps", {"name": "cps", "label": "cps (heavy) +", "hyper": {"weight": 2.0}}]
    path.write_text(yaml.safe_dump(raw_plan(bounds=True, methods=methods)))
    with pytest.raises(ConfigError) as refused:
        started(str(path), monkeypatch, Ran(), only="nothing")
    known = "(known: 100%, 34%, all, cps, heavy, labels, phantom_2d, s0, supervised)"
    assert str(refused.value).endswith(known)


def test_nothing_is_run_if_the_check_refuses(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise preflight.NotReady("not today")

    monkeypatch.setattr(preflight, "check", refused)
    ran = Ran()
    with pytest.raises(preflight.NotReady, match="not today"):
        started(plan, monkeypatch, ran)
    assert ran.cells == []


@pytest.mark.parametrize(("given", "seconds"), [("2.5", 2.5), ("0", 0.0)])
def test_how_much_work_a_crash_may_cost_can_be_set(
    plan: str, monkeypatch: pytest.MonkeyPatch, given: str, seconds: float
) -> None:
    monkeypatch.setenv("BENCH_CHECKPOINT_SECONDS", given)
    ran = Ran()
    started(plan, monkeypatch, ran)
    assert ran.settings["checkpoint_seconds"] == seconds


def test_a_checkpoint_interval_that_is_no_number_is_refused(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CHECKPOINT_SECONDS", "often")
    with pytest.raises(ConfigError, match="BENCH_CHECKPOINT_SECONDS must be a number of seconds, got 'often'"):
        started(plan, monkeypatch, Ran())


# Benchmarks ----------------------------------------------------------------------------------------------------------
def benched(plan: str, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> list[str]:
    """What was done, in order: a run (perhaps of stale cells) and a report."""
    done: list[str] = []

    def run(name: str, *, redo_stale: bool, **_: Any) -> Summary:
        done.append("run all" if redo_stale else "run")
        return Summary()

    def build(name: str, results: Path, **_: Any) -> Path:
        done.append("report")
        return results

    monkeypatch.setattr(session, "run_plan", run)
    monkeypatch.setattr("benchmark.report.build", build)
    monkeypatch.setattr("benchmark.tracking.log_report", lambda *_, **__: [])
    monkeypatch.setattr("benchmark.tracking.links", lambda *_, **__: [])
    console, results = Console(file=io.StringIO()), str(Path(plan).parent / "results")
    try:
        session.bench_plan(plan, data=None, results=results, workers=None, uri=None, console=console, **settings)
    except preflight.NotReady as error:
        done.append(str(error))
    return done


def test_numbers_of_other_files_than_there_are_now_are_not_reported_but_refused_or_made_again(
    plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(plan, monkeypatch, Ran())
    assert benched(plan, monkeypatch) == ["run", "report"]
    monkeypatch.setattr("benchmark.prepare.manifest_of", lambda dataset, cache: "of other files")
    (refused,) = benched(plan, monkeypatch)
    assert "3 cells stale: the files of phantom_2d changed since. Nothing was run" in refused
    assert "repeat with --redo-stale" in refused
    assert benched(plan, monkeypatch, redo_stale=True) == ["run all", "report"]


def test_cells_of_an_older_method_file_do_not_stop_a_report(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started(plan, monkeypatch, Ran())
    monkeypatch.setattr("benchmark.state.receipt.source", lambda method: "edited")
    assert benched(plan, monkeypatch) == ["run", "report"]


def test_a_report_that_is_refused_is_one_message(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.report.frame import ReportError

    def build(*_: Any, **__: Any) -> None:
        raise ReportError("two methods in one")

    monkeypatch.setattr(session, "run_plan", lambda *_, **__: Summary())
    monkeypatch.setattr("benchmark.report.build", build)
    settings: Any = {"data": None, "results": str(Path(plan).parent / "results"), "workers": None, "uri": None}
    with pytest.raises(ConfigError, match="no report: two methods in one"):
        session.bench_plan(plan, console=Console(file=io.StringIO()), **settings)


# Tracking ------------------------------------------------------------------------------------------------------------
class Watched:
    """Stands for the tracker."""

    def __init__(self, plan: Any, results: Path, *, uri: str | None, called: str) -> None:
        Watched.last = self
        self.uri, self.called, self.heard = uri, called, []
        self.closed = False

    last: Watched
    heard: list[tuple[str, str]]

    def started(self, cell: Any, cell_id: str, folder: Path) -> None:
        assert {"title", "commit", "dirty"} <= set(cell)
        self.heard.append(("started", cell_id))

    def progressed(self) -> None:
        self.heard.append(("progressed", "all that run"))

    def finished(self, folder: Path) -> None:
        assert read(folder) is not None
        self.heard.append(("finished", folder.name))

    def close(self) -> list[str]:
        self.closed = True
        return ["one cell is [not] shown"]


def tracked(plan: str, monkeypatch: pytest.MonkeyPatch, ran: Any) -> str:
    monkeypatch.setattr(session, "run_cells", ran)
    monkeypatch.setattr("benchmark.tracking.Tracker", Watched)
    console = Console(file=io.StringIO(), width=200, color_system=None)
    results = str(Path(plan).parent / "results")
    session.run_plan(plan, results=results, console=console, uri="http://somewhere")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_tracker_hears_of_every_cell_and_is_closed_with_its_notes(
    plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = Ran()
    told = tracked(plan, monkeypatch, ran)
    assert Watched.last.uri == "http://somewhere"
    assert Watched.last.called == f"{plan} --results {Path(plan).parent / 'results'}", "what sync is to be told"
    assert Watched.last.heard == [("finished", cell.id) for cell in ran.cells]
    assert Watched.last.closed
    assert "one cell is [not] shown" in told


def test_the_tracker_is_closed_when_a_run_is_interrupted(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tracked(plan, monkeypatch, interrupted)
    assert Watched.last.closed


def test_the_tracker_is_told_of_progress_now_and_then_only(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(session.time, "monotonic", lambda: now[0])

    def progressing(cells: Sequence[Cell], places: Places, *, listen: Any, **settings: Any) -> Summary:
        listen(Event("started", cells[0], places.folder(cells[0])))
        for seconds in (1, 8, 2, 1, 15):
            now[0] += seconds
            listen(Event("progress", cells[0], places.folder(cells[0])))
        return Summary()

    tracked(plan, monkeypatch, progressing)
    # told after 11 s (more than ten), not at 12 s, and again 15 s later
    assert [kind for kind, _ in Watched.last.heard] == ["started", "progressed", "progressed"]
