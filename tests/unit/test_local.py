"""Many cells in processes of their own: what ends one ends no other, and is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from benchmark import ROOT
from benchmark.execute import child, local, redo, server
from benchmark.execute.lease import Lease
from benchmark.execute.local import Event, Limits, Summary, run_cells
from benchmark.plan import Cell
from benchmark.prepare import Places
from benchmark.record import read
from benchmark.run import run_cell

from . import doomed_workers
from .tiny_cells import curves_of, places_in, scores_of, tiny_cell, tiny_plan

pytestmark = pytest.mark.timeout(600)  # processes start slowly on a machine that is busy


@pytest.fixture(scope="module", autouse=True)
def _on_the_cpu() -> Iterator[None]:
    """Equality to the last bit is promised there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DEVICE", "cpu")
        yield


class Heard:
    """Keeps what the supervisor tells, and does something about it."""

    def __init__(self, act: Callable[[Event], None] = lambda event: None) -> None:
        self.events: list[tuple[str, int, str, int]] = []
        self.act = act

    def __call__(self, event: Event) -> None:
        phase, step = (event.running.phase, event.running.step) if event.running else ("", 0)
        self.events.append((event.kind, event.cell.seed, phase, step))
        self.act(event)

    def of(self, kind: str) -> list[int]:
        return [seed for found, seed, *_ in self.events if found == kind]


def cells(n: int, **training: Any) -> list[Cell]:
    return list(tiny_plan(seeds=n, training={"steps": 6, "validations": 3} | training).cells())


def run(root: Path, some: list[Cell], act: Callable[[Event], None] = lambda event: None, **settings: Any) -> Any:
    heard = Heard(act)
    summary = run_cells(some, places_in(root), workers=2, listen=heard, checkpoint_seconds=0, **settings)
    return summary, heard


def status(root: Path, cell: Cell) -> tuple[str, str]:
    found = read(places_in(root).folder(cell))
    return ("", "") if found is None else (found.status, found.reason)


def alone(cell: Cell, root: Path) -> Places:
    """The same cell, run in this process without interruption."""
    run_cell(cell, places_in(root))
    return places_in(root)


# All is well ---------------------------------------------------------------------------------------------------------
def test_cells_in_processes_of_their_own_score_as_in_this_one_and_what_happens_is_told(tmp_path: Path) -> None:
    some = cells(2)
    summary, heard = run(tmp_path, some)
    assert summary == Summary(finished=2)
    assert sorted(heard.of("started")) == sorted(heard.of("finished")) == [0, 1]
    for cell in some:
        told = [(phase, step) for kind, seed, phase, step in heard.events if kind == "progress" and seed == cell.seed]
        assert set(told) <= {("train", n) for n in range(1, 7)} | {("evaluate", n) for n in (1, 2)}
        assert told
        folder = places_in(tmp_path).folder(cell)
        assert not (folder / "lease.json").exists()
        other = alone(cell, tmp_path / "alone").folder(cell)
        assert scores_of(folder) == scores_of(other)
        assert curves_of(folder) == curves_of(other)


def test_finished_cells_are_skipped_untouched(tmp_path: Path) -> None:
    (cell,) = cells(1)
    alone(cell, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in places_in(tmp_path).folder(cell).iterdir()}
    summary, heard = run(tmp_path, [cell])
    assert summary == Summary(skipped=1)
    assert [kind for kind, *_ in heard.events] == ["skipped"]
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_cell_that_fails_is_told_with_its_reason_and_the_next_one_runs(tmp_path: Path) -> None:
    broken = tiny_cell(lr=1e30)  # the second step's loss is not a number
    summary, _ = run(tmp_path, [broken, *cells(1)])
    assert (summary.finished, summary.failed) == (1, 1)
    assert summary.reasons[broken.id].startswith("Diverged: loss term")
    log = places_in(tmp_path).folder(broken) / "log.txt"
    assert "Diverged" in log.read_text()


# Deaths --------------------------------------------------------------------------------------------------------------
def test_a_worker_that_is_killed_half_way_is_recorded_and_a_second_run_finishes_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = some = cells(2)
    with monkeypatch.context() as doomed:
        doomed.setattr(child, "main", doomed_workers.killed_half_way)
        summary, _ = run(tmp_path, some)
    reason = "worker ended by SIGKILL; perhaps out of memory: run fewer --workers"
    assert summary == Summary(finished=1, failed=1, reasons={first.id: reason})
    assert status(tmp_path, first) == ("killed", reason)
    assert status(tmp_path, second) == ("finished", "")
    done = (places_in(tmp_path).folder(second) / "record.json").stat().st_mtime_ns

    summary, heard = run(tmp_path, some)
    assert summary == Summary(finished=1, skipped=1)
    trained = [step for kind, _, phase, step in heard.events if kind == "progress" and phase == "train"]
    assert not trained or min(trained) > doomed_workers.KILLED_AT  # from the checkpoint on
    assert (places_in(tmp_path).folder(second) / "record.json").stat().st_mtime_ns == done
    folder, other = places_in(tmp_path).folder(first), alone(first, tmp_path / "alone").folder(first)
    assert scores_of(folder) == scores_of(other)
    assert curves_of(folder) == curves_of(other)


def test_a_worker_that_leaves_without_a_record_gets_one_with_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "main", doomed_workers.leaves_without_a_word)
    first, second = some = cells(2)
    summary, _ = run(tmp_path, some)
    assert (summary.finished, summary.failed) == (1, 1)
    assert status(tmp_path, first) == ("killed", f"worker ended with exit code 7 and no record; see {first.id}/log.txt")
    assert status(tmp_path, second) == ("finished", "")


def test_the_end_of_what_starts_workers_ends_those_that_run_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_server(event: Event) -> None:
        if event.kind == "started" and event.cell is first:
            assert event.running is not None
            orphans.append(event.running.process.pid)
            os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]

    orphans: list[int] = []
    monkeypatch.setattr(child, "main", doomed_workers.hangs)
    first, second = some = cells(2)
    summary, _ = run(tmp_path, some, end_server)
    os.kill(orphans[0], signal.SIGKILL)  # a real one ends with its pipe, of which this one knows nothing
    reason = "lost: the process that starts workers was ended; perhaps out of memory: run fewer --workers"
    assert (summary.finished, summary.failed) == (1, 1)
    assert status(tmp_path, first) == ("killed", f"{reason}; see {first.id}/log.txt")
    assert status(tmp_path, second) == ("finished", "")


@pytest.mark.parametrize("error", [EOFError, ConnectionRefusedError, BrokenPipeError])
def test_a_worker_is_asked_for_again_where_what_starts_workers_ended_and_in_the_end_that_is_said(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    class Process:
        ends = 0

        def __init__(self, **_: Any) -> None: ...

        def start(self) -> None:
            if Process.ends:
                Process.ends -= 1
                raise error

    monkeypatch.setattr(server, "PAUSE_SECONDS", 0)
    context, main = SimpleNamespace(Process=Process), sys.modules["__main__"]
    Process.ends = server.TRIES - 1
    assert isinstance(server.launch(context, print, ()), Process)
    Process.ends = server.TRIES
    with pytest.raises(server.ServerGone, match=r"ended 3 times; perhaps out of memory: .* goes on from here"):
        server.launch(context, print, ())
    assert sys.modules["__main__"] is main


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(wall=0.5), "ended after 0.5 s: over the wall-clock limit"),
        (Limits(silence=0.5), "ended: no progress for 0.5 s (last seen: start 0)"),
    ],
)
def test_a_worker_that_hangs_is_ended_with_the_limit_as_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits, reason: str
) -> None:
    monkeypatch.setattr(child, "main", doomed_workers.hangs)
    (cell,) = cells(1)
    summary, _ = run(tmp_path, [cell], limits=limits)
    assert summary == Summary(failed=1, reasons={cell.id: reason})
    assert status(tmp_path, cell) == ("killed", reason)


def test_a_record_that_cannot_be_written_stops_no_other_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(local, "write", full)
    monkeypatch.setattr(child, "main", doomed_workers.leaves_without_a_word)
    first, second = some = cells(2)
    summary, _ = run(tmp_path, some)
    assert (summary.finished, summary.failed) == (1, 1)
    assert "its record could not be written: [Errno 28] No space left on device" in summary.reasons[first.id]
    assert status(tmp_path, first) == ("", "")  # so the next run tries it again
    assert status(tmp_path, second) == ("finished", "")


# Stopping the supervisor ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["terminated", "an error of its listener"])
def test_a_supervisor_that_stops_ends_its_workers_and_gives_its_leases_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(child, "main", doomed_workers.hangs)
    before = signal.getsignal(signal.SIGTERM)
    workers: list[psutil.Process] = []

    def stop(event: Event) -> None:
        assert event.running is not None
        workers.append(psutil.Process(event.running.process.pid))
        if how == "terminated":
            os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("stop")

    (cell,) = cells(1)
    with pytest.raises(KeyboardInterrupt if how == "terminated" else RuntimeError):
        run(tmp_path, [cell], stop)
    assert len(workers) == 1
    assert not workers[0].is_running() or workers[0].status() == psutil.STATUS_ZOMBIE
    assert not (places_in(tmp_path).folder(cell) / "lease.json").exists()
    assert status(tmp_path, cell) == ("", "")
    assert signal.getsignal(signal.SIGTERM) == before


# Two runners ---------------------------------------------------------------------------------------------------------
def test_a_cell_that_another_runner_holds_is_left_to_it(tmp_path: Path) -> None:
    held, free = some = cells(2)
    lease = Lease(places_in(tmp_path).folder(held))
    assert lease.take()
    summary, heard = run(tmp_path, some)
    assert (summary.finished, summary.skipped) == (1, 1)
    assert heard.of("skipped") == [held.seed]
    assert status(tmp_path, free) == ("finished", "")
    assert lease.alive()


def test_a_cell_that_another_runner_tried_meanwhile_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "main", doomed_workers.leaves_without_a_word)
    first, second = cells(2)

    def other_runner(event: Event) -> None:
        if event.kind == "finished" and event.cell == second:  # while this runner is busy with its first cell
            run(tmp_path, [first])

    summary = run_cells([second, first], places_in(tmp_path), workers=1, listen=other_runner)
    assert summary == Summary(finished=1, skipped=1)
    assert status(tmp_path, first)[0] == "killed"
    again = run_cells([first], places_in(tmp_path), workers=1)  # asked for later, it is
    assert again.failed == 1


def test_an_outdated_record_goes_when_its_cell_is_taken_and_not_before(tmp_path: Path) -> None:
    some, places = cells(2), places_in(tmp_path)
    run(tmp_path, some)
    marks = {}
    for cell in some:
        old = read(places.folder(cell))
        assert old is not None
        marks[cell.id] = redo.mark(old)
    there: list[list[bool]] = []

    def look(event: Event) -> None:
        if event.kind == "started":
            there.append([(places.folder(cell) / "record.json").exists() for cell in some])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells(some, places, workers=1, again=marks, listen=look)
    assert there == [[False, True]]
    assert run_cells(some, places, workers=1, again=marks) == Summary(finished=2)
    assert run_cells(some, places, workers=1, again=marks) == Summary(skipped=2), "another runner has redone them"


@pytest.mark.parametrize("worker", [doomed_workers.hangs, doomed_workers.leaves_without_a_word])
def test_a_cell_that_another_runner_took_over_while_this_one_slept_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker: Callable[..., None]
) -> None:
    monkeypatch.setattr(local, "BEAT_SECONDS", 0.2 if worker is doomed_workers.hangs else 1000.0)
    monkeypatch.setattr(child, "main", worker)
    (cell,) = cells(1)
    lease = places_in(tmp_path).folder(cell) / "lease.json"
    taken = json.dumps({"host": "elsewhere", "pid": 1, "born": 0.0})

    def other_runner(event: Event) -> None:
        if event.kind == "started":
            lease.write_text(taken)

    summary, heard = run(tmp_path, [cell], other_runner, limits=Limits(wall=120))
    assert summary == Summary(skipped=1)
    assert [kind for kind, *_ in heard.events] == ["started", "skipped"]
    assert status(tmp_path, cell) == ("", "")
    assert lease.read_text() == taken


# Where cells run -----------------------------------------------------------------------------------------------------
def test_cells_are_spread_evenly_over_devices_whatever_ends_first() -> None:
    def at(*names: str) -> Any:
        return [SimpleNamespace(device=name) for name in names]

    two = ["cuda:0", "cuda:1"]
    assert local._least_used(two, []) == "cuda:0"
    assert local._least_used(two, at("cuda:0")) == "cuda:1"
    assert local._least_used(two, at("cuda:1", "cuda:0", "cuda:1")) == "cuda:0"
    assert local._least_used([None], at()) is None


def test_workers_are_one_per_core_or_two_per_gpu_unless_a_device_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    monkeypatch.setattr(local, "MPS", tmp_path / "control")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert (local.devices(), local.default_workers()) == (["cpu"], 3)  # BENCH_DEVICE=cpu
    monkeypatch.delenv("BENCH_DEVICE")
    assert (local.devices(), local.default_workers()) == (["cuda:0", "cuda:1"], 4)
    (tmp_path / "control").touch()  # its Multi-Process Service runs
    assert local.default_workers() == 8
    (tmp_path / "control").unlink()
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "elsewhere")
    assert local.default_workers() == 8
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert (local.devices(), local.default_workers()) == ([None], 3)


@pytest.mark.slow
def test_every_process_goes_through_a_set_of_words_in_the_same_order(tmp_path: Path) -> None:
    script = (
        "from benchmark.execute.server import fork_server, launch\n"
        "launch(fork_server(), exec, ('print(hash(\"word\"))',)).join()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    said = []
    for code, seed in ((script, {}), ("print(hash('word'))", {"PYTHONHASHSEED": "0"})):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment | seed, cwd=ROOT, capture_output=True, text=True, check=True
        )
        said.append(done.stdout)
    assert said[0] == said[1]
