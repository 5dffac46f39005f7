"""Cells as jobs of a cluster: what is asked for, what a job runs and leaves behind, and which cells are submitted."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from rich.console import Console

from benchmark import ROOT, looks, plan_file, submission
from benchmark.config import ConfigError
from benchmark.execute import redo, single, slurm
from benchmark.execute.lease import Lease
from benchmark.record import Record, read, write
from benchmark.run import describe, run_cell

from .slurm_commands import cluster, start
from .tiny_cells import places_in, raw_plan, scores_of, tiny_cell


# What is asked for ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("time", "minutes"),
    [
        ("90", 90),
        ("90:00", 90),
        ("90:01", 91),
        ("01:30:00", 90),
        ("08:00:00", 480),
        ("1-12", 36 * 60),
        ("1-12:30", 36 * 60 + 30),
        ("2-00:00:30", 48 * 60 + 1),
    ],
)
def test_a_time_limit_is_read_as_slurm_reads_it(time: str, minutes: int) -> None:
    assert slurm.parse(f"time={time}").minutes == minutes


def test_a_request_holds_sbatch_options_as_they_were_written() -> None:
    asked = slurm.parse("partition=gpu  time=08:00:00 gres=gpu:a100:1 cpus=4 constraint=a&b")
    assert (asked.partition, asked.gres, asked.cpus, asked.constraint) == ("gpu", "gpu:a100:1", "4", "a&b")
    assert asked.account is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "--slurm: say how long one cell may take, such as time=08:00:00; got ''"),
        ("partition=gpu", "say how long one cell may take"),
        ("time=08:00:00 partion=gpu", r"--slurm: unknown key 'partion'; did you mean 'partition'\? \(known: time, "),
        ("time=08:00:00 gpu", "'gpu' must be key=value, such as time=08:00:00"),
        ("time=08:00:00 gres=", "'gres=' must be key=value"),
        ("time=08:00:00 time=1-00", "time is given twice, '08:00:00' and '1-00'; leave one"),
        ("time=8h", "time must be hours:minutes:seconds .* got '8h'"),
        ("time=1:2:3:4", "got '1:2:3:4'"),
        ("time=01:30", "at least 5 minutes, got '01:30', which SLURM reads as 2; write hours:minutes:seconds"),
        ("time=08:00:00 cpus=0", "cpus must be a whole number from 1, got '0'"),
        ("time=08:00:00 cpus=two", "cpus must be a whole number from 1, got 'two'"),
    ],
)
def test_a_request_that_is_wrong_is_refused_with_what_is_allowed(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        slurm.parse(text)


class Queue:
    """Stands for submitit's executor."""

    def __init__(self, refusal: str = "") -> None:
        self.parameters: dict[str, Any] = {}
        self.jobs: list[slurm.Job] = []
        self.refusal = refusal

    def update_parameters(self, **parameters: Any) -> None:
        self.parameters = parameters

    def submit_array(self, jobs: Any) -> list[Any]:
        if self.refusal:
            raise RuntimeError(self.refusal)
        self.jobs = list(jobs)
        return [SimpleNamespace(job_id=f"4711_{i}") for i in range(len(self.jobs))]


def job(**changes: Any) -> slurm.Job:
    made = slurm.Job("/plans/mine.yaml", "pce-s0-1", "/data", "/results", {"BENCH_CACHE": "/cache"})
    return replace(made, **changes)


def test_all_jobs_are_submitted_as_one_array_with_what_was_asked_for() -> None:
    queue, asked = Queue(), slurm.parse("time=08:00:00 partition=gpu gres=gpu:1 cpus=4")
    jobs = [job(), job(cell_id="pce-s1-2")]
    assert slurm.submit(jobs, asked, queue, name="mine", at_once=1) == ["4711_0", "4711_1"]
    assert queue.jobs == jobs
    assert queue.parameters == {
        "name": "mine",
        "timeout_min": 480,
        "cpus_per_task": 4,
        "slurm_array_parallelism": 1,
        "slurm_additional_parameters": {"partition": "gpu", "gres": "gpu:1", "chdir": str(ROOT)},
    }


def test_what_the_cluster_refuses_is_said_in_its_words() -> None:
    queue = Queue("sbatch: error: Invalid job array\nspecification")
    with pytest.raises(ConfigError, match=r"refused 1 jobs: sbatch: error: Invalid job array specification; .* --only"):
        slurm.submit([job()], slurm.parse("time=60"), queue, name="mine", at_once=1)


def test_a_machine_without_slurm_is_told_where_to_submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", ModuleType("submitit"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"sbatch is not on the PATH .* submit from a login node"):
        slurm.executor(tmp_path)


# What a job runs and leaves behind -----------------------------------------------------------------------------------
def test_a_job_runs_the_command_of_one_cell() -> None:
    words = "-m benchmark cell /plans/mine.yaml pce-s0-1 --data /data --results /results"
    assert job().command == [sys.executable, *words.split()]


@pytest.fixture
def real(tmp_path: Path) -> tuple[slurm.Job, Path]:
    """A job of a cell that there is, and the folder of the cell."""
    path, places = tmp_path / "tiny.yaml", places_in(tmp_path)
    path.write_text(yaml.safe_dump(raw_plan()))
    cell, environment = tiny_cell(), {"BENCH_CACHE": str(places.cache), "BENCH_DEVICE": "cpu"}
    made = slurm.Job(str(path), cell.id, str(places.data), str(places.results), environment)
    return made, places.folder(cell)


def python(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Put a script in the place of the interpreter that would run the cell."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(slurm.sys, "executable", str(path))


def test_a_job_runs_in_the_checkout_with_its_environment_over_that_of_the_node(
    real: tuple[slurm.Job, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("BENCH_CACHE", "elsewhere")
    python(monkeypatch, tmp_path, f'echo "$PWD $CUDA_VISIBLE_DEVICES $BENCH_CACHE $3" > {tmp_path}/told')
    real[0]()
    assert (tmp_path / "told").read_text() == f"{ROOT} 3 {tmp_path / 'cache'} cell\n"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SEGV", "ended by SIGSEGV"),
        ("KILL", "ended by SIGKILL; perhaps out of memory: ask for more (mem=)"),
    ],
)
def test_a_cell_that_crashes_fails_its_job_and_is_put_on_record(
    real: tuple[slurm.Job, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    python(monkeypatch, tmp_path, f"kill -{name} $$")
    with pytest.raises(RuntimeError, match=f"{tiny_cell().id} ended with exit code -"):
        real[0]()
    record = read(real[1])
    assert record is not None
    assert (record.status, record.reason, record.cell) == ("killed", reason, describe(tiny_cell()))


@pytest.mark.parametrize("script", ["kill -TERM $$", "kill -USR2 $$", "exit 130", "exit 1"])
def test_a_cell_that_was_told_to_end_or_recorded_its_failure_itself_gets_no_record_of_the_job(
    real: tuple[slurm.Job, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    python(monkeypatch, tmp_path, script)
    with pytest.raises(RuntimeError, match="ended with exit code"):
        real[0]()
    assert read(real[1]) is None


def test_a_crash_after_the_record_was_written_leaves_it_as_it_is(
    real: tuple[slurm.Job, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(real[1], Record(tiny_cell().id, describe(tiny_cell()), "finished"))
    python(monkeypatch, tmp_path, "kill -SEGV $$")
    with pytest.raises(RuntimeError, match="exit code -11"):
        real[0]()
    kept = read(real[1])
    assert kept is not None
    assert (kept.status, kept.reason) == ("finished", "")


@pytest.mark.parametrize("number", single.STOP)
def test_a_cell_that_is_told_to_stop_gives_its_lease_back(
    real: tuple[slurm.Job, Path], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    def stopped(*_: Any, **settings: Any) -> None:
        assert Lease(real[1]).alive()
        os.kill(os.getpid(), number)

    monkeypatch.setattr(single, "run_cell", stopped)
    with pytest.raises(KeyboardInterrupt):
        single.run_one(real[0].plan, real[0].cell_id, data=real[0].data, results=real[0].results)
    assert not (real[1] / "lease.json").exists()
    assert signal.getsignal(number) == before


def test_a_cell_that_another_process_took_over_is_left_to_it(
    real: tuple[slurm.Job, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = json.dumps({"host": "elsewhere", "pid": 1, "born": 0.0})

    def slept(*_: Any, **settings: Any) -> None:
        (real[1] / "lease.json").write_text(taken)
        time.sleep(30)

    monkeypatch.setattr("benchmark.execute.lease.BEAT_SECONDS", 0.01)
    monkeypatch.setattr(single, "run_cell", slept)
    with pytest.raises(ConfigError, match="was taken over by another process"):
        single.run_one(real[0].plan, real[0].cell_id, data=real[0].data, results=real[0].results)
    assert (real[1] / "lease.json").read_text() == taken
    single.record_killed(real[0].plan, real[0].cell_id, "killed", 1.0, results=real[0].results)
    assert read(real[1]) is None


def test_a_killed_cell_says_so_also_where_it_had_failed_before(real: tuple[slurm.Job, Path]) -> None:
    single.record_killed(real[0].plan, real[0].cell_id, "killed at first", 1.0, results=real[0].results)
    first = read(real[1])
    write(real[1], replace(first, status="failed", reason="it failed"))
    single.record_killed(real[0].plan, real[0].cell_id, "killed at last", 1.0, results=real[0].results)
    assert (read(real[1]).status, read(real[1]).reason) == ("killed", "killed at last")
    write(real[1], replace(first, status="finished", reason=""))
    single.record_killed(real[0].plan, real[0].cell_id, "killed too late", 1.0, results=real[0].results)
    assert read(real[1]).status == "finished"


def test_at_its_time_limit_a_job_asks_for_the_same_again() -> None:
    pytest.importorskip("submitit")
    again = job().checkpoint()
    assert (again.function, again.args, again.kwargs) == (job(), (), {})


# Which cells are submitted -------------------------------------------------------------------------------------------
@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan of five cells: one finished, one failed, one stale, one running, one to do."""
    from benchmark import receipt

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("benchmark.prepare.manifest_of", lambda dataset, cache: None)
    path, places = tmp_path / "tiny.yaml", places_in(tmp_path)
    path.write_text(yaml.safe_dump(raw_plan(seeds=5)))
    for seed, status, source in (
        (0, "finished", receipt.source("supervised")),
        (1, "failed", ""),
        (2, "finished", "edited"),
    ):
        cell = tiny_cell(seeds=[seed])
        record = Record(cell.id, describe(cell), status, seconds={"total": 1.0}, receipt={"source": source})
        write(places.folder(cell), record)
    assert Lease(places.folder(tiny_cell(seeds=[3]))).take()
    return path


def submitted(plan: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[list[int], Queue, str]:
    """The seeds of the cells that are submitted, through what, and what was said."""
    queue, console = Queue(), Console(file=io.StringIO(), width=200, color_system=None)
    monkeypatch.setattr(slurm, "executor", lambda folder: queue)
    settings = {"request": "time=60", "results": str(plan.parent / "results"), "data": str(plan.parent)} | settings
    ids = submission.submit_plan(str(plan), console=console, **settings)
    seeds = {tiny_cell(seeds=[seed]).id: seed for seed in range(5)}
    assert len(ids) == len(queue.jobs)
    assert isinstance(console.file, io.StringIO)
    return [seeds[each.cell_id] for each in queue.jobs], queue, console.file.getvalue()


def test_cells_that_failed_or_are_to_do_are_submitted_and_what_follows_is_said(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, queue, told = submitted(plan, monkeypatch)
    assert (seeds, queue.parameters["slurm_array_parallelism"]) == ([1, 4], 2)
    assert "1 cells are running already and are not submitted" in told
    assert "1 cell stale" in told
    assert "2 cells submitted as job array 4711, each for up to 1 h 00 min" in told
    for command in ("squeue -j 4711", f"status {plan}", "scancel 4711", f"sync {plan}", f"report {plan}"):
        assert command in told


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"keep_failed": True}, [4]), ({"redo_stale": True}, [1, 2, 4]), ({"only": "s4"}, [4])],
)
def test_the_options_of_run_choose_among_cells(
    plan: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], expected: list[int]
) -> None:
    assert submitted(plan, monkeypatch, **settings)[0] == expected


def test_a_stale_record_stays_where_the_cluster_refuses_and_goes_when_its_job_begins(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = places_in(plan.parent).folder(tiny_cell(seeds=[2]))
    with monkeypatch.context() as patch:
        patch.setattr(Queue, "submit_array", Queue("sbatch: error: invalid partition").submit_array)
        with pytest.raises(ConfigError, match="invalid partition"):
            submitted(plan, patch, redo_stale=True)
    assert read(folder) is not None
    seeds, queue, _ = submitted(plan, monkeypatch, redo_stale=True)
    assert read(folder) is not None, "accepted, but not begun"
    jobs = dict(zip(seeds, queue.jobs, strict=True))
    assert [seed for seed in seeds if jobs[seed].outdated] == [2]
    monkeypatch.setattr(slurm.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0))
    jobs[2]()
    assert not (folder / "record.json").exists()
    jobs[2]()  # queued again before it had finished
    cell = tiny_cell(seeds=[2])
    write(folder, Record(cell.id, describe(cell), "finished", seconds={"total": 2.0}))
    jobs[2]()
    assert read(folder) is not None, "it is a new one"


def test_a_stale_record_of_a_cell_that_somebody_is_at_is_left_to_them(plan: Path) -> None:
    folder = places_in(plan.parent).folder(tiny_cell(seeds=[2]))
    known = read(folder)
    assert known is not None
    assert Lease(folder).take()
    redo.take_and_remove(folder, redo.mark(known))
    assert read(folder) is not None


def test_seeds_that_were_added_by_looks_are_submitted_and_counted(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = plan_file.load(str(plan))
    declared = looks.declare(known)
    added = tuple(cell.id for cell in looks.further(known, declared, 1))
    looks.write(places_in(plan.parent).results / "tiny", looks.Looks(declared.counts, declared.seeds, added=added))
    counted: list[int] = []
    real = submission.left_to_run

    def counting(*given: Any, workers: int, **settings: Any) -> Any:
        counted.append(workers)
        return real(*given, workers=workers, **settings)

    monkeypatch.setattr(submission, "left_to_run", counting)
    queue = Queue()
    monkeypatch.setattr(slurm, "executor", lambda folder: queue)
    console, results = Console(file=io.StringIO()), str(plan.parent / "results")
    submission.submit_plan(str(plan), request="time=60", data=str(plan.parent), results=results, console=console)
    assert {each.cell_id for each in queue.jobs} >= set(added)
    assert counted == [8]


def test_where_all_is_done_nothing_is_submitted(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds, queue, told = submitted(plan, monkeypatch, only="s0")
    assert (seeds, queue.parameters, "nothing left to submit" in told) == ([], {}, True)


def test_jobs_find_plan_data_results_and_caches_from_every_folder(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(plan.parent)
    monkeypatch.setenv("BENCH_CACHE", "cache")
    monkeypatch.setenv("BENCH_WEIGHTS", "weights")
    monkeypatch.setenv("BENCH_CHECKPOINT_SECONDS", "7")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    _, queue, _ = submitted(Path("tiny.yaml"), monkeypatch, data="data", results="results", at_once=1)
    first = queue.jobs[0]
    assert (first.plan, first.data, first.results) == tuple(
        str(plan.parent / n) for n in ("tiny.yaml", "data", "results")
    )
    expected = {
        "BENCH_CACHE": str(plan.parent / "cache"),
        "BENCH_WEIGHTS": str(plan.parent / "weights"),
        "BENCH_CHECKPOINT_SECONDS": "7",
        "OMP_NUM_THREADS": "1",
        "MALLOC_MMAP_MAX_": "0",
    }
    assert expected.items() <= first.environment.items()
    assert queue.parameters["slurm_array_parallelism"] == 1


def test_a_wrong_request_is_refused_before_any_data_are_read(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.preflight.check", None)
    with pytest.raises(ConfigError, match="unknown key 'tme'"):
        submitted(plan, monkeypatch, request="tme=60 time=60")


# Through submitit ----------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_an_array_on_a_cluster_computes_what_a_run_does_and_one_failure_ends_no_other_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_DEVICE", "cpu")
    places, path, script = places_in(tmp_path), tmp_path / "tiny.yaml", cluster(tmp_path, monkeypatch)
    path.write_text(yaml.safe_dump(raw_plan(seeds=2)))
    broken, whole = cells = [tiny_cell(seeds=[0]), tiny_cell(seeds=[1])]
    settings = {"request": "time=60 gres=gpu:1", "data": str(places.data), "results": str(places.results)}
    assert len(submission.submit_plan(str(path), console=Console(file=io.StringIO()), **settings)) == 2
    options = [line.removeprefix("#SBATCH ") for line in script.read_text().splitlines() if "#SBATCH" in line]
    wanted = ["--array=0-1%2", f"--chdir={ROOT}", "--cpus-per-task=1", "--gres=gpu:1", "--job-name=tiny", "--time=60"]
    assert set(wanted) <= set(options)

    (places.folder(broken) / "train.csv").mkdir(parents=True)  # its curves cannot be written
    ended = [start(script, task) for task in range(2)]
    assert [each.returncode for each in ended] == [1, 0], ended
    assert "IsADirectoryError" in ended[0].stdout, "the reason stands in the job's log"
    records = [read(places.folder(cell)) for cell in cells]
    assert [record.status for record in records if record] == ["failed", "finished"]
    elsewhere = places_in(tmp_path / "elsewhere")
    run_cell(whole, elsewhere)
    assert scores_of(places.folder(whole)) == scores_of(elsewhere.folder(whole))


def test_what_is_missing_to_submit_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark import complaints

    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ModuleNotFoundError) as missing:
        slurm.executor(Path("nowhere"))
    assert "submitit is not installed" in complaints._not_installed(missing.value)
    assert "run `make env EXTRAS=slurm`" in complaints._not_installed(missing.value)
