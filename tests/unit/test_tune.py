"""Tuning: the same budget for all, validation only, and nothing is lost when something dies."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from benchmark import plan_file, receipt, tune
from benchmark.execute import child
from benchmark.execute.lease import Lease
from benchmark.plan import Plan
from benchmark.preflight import NotReady
from benchmark.studies import Study, on_data, studies
from benchmark.trials import Trial
from datasets.base import SealedLabel

from . import doomed_workers
from .tiny_cells import places_in, tiny_plan

pytestmark = [
    pytest.mark.timeout(600),  # processes start slowly on a machine that is busy
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _on_the_cpu() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DEVICE", "cpu")
        yield


class Tracked:
    """Stands for the tracker of one study."""

    def __init__(self, study: str, budget: Any) -> None:
        self.study, self.budget = study, budget
        self.trials: list[tuple[int, dict[str, Any], dict[int, float], float | None, str]] = []
        self.best: Any = None

    def trial(self, number: int, params: Any, values: Any, final: float | None, kind: str) -> None:
        self.trials.append((number, dict(params), dict(values), final, kind))

    def finish(self, best: Any) -> list[str]:
        self.best = best
        return [f"{self.study} is told"]


def some_plan(methods: list[str] | None = None, **tuning: Any) -> Plan:
    return tiny_plan(
        methods=methods or ["supervised"], training={"steps": 3}, tuning={"trials": 4, "rungs": 3} | tuning
    )


def run(root: Path, plan: Plan, say: Callable[[str], None] | None = None) -> tuple[Path, list[str], list[Tracked]]:
    said: list[str] = []
    tracked: list[Tracked] = []

    def tracker(study: str, budget: Any) -> Tracked:
        tracked.append(Tracked(study, budget))
        return tracked[-1]

    def both(line: str) -> None:
        said.append(line)
        if say:
            say(line)

    path = tune.tune(plan, places_in(root), workers=1, say=both, tracker=tracker)
    return path, said, tracked


def stored(root: Path, plan: Plan) -> Any:
    """The study as Optuna kept it."""
    import optuna

    (study,) = on_data(studies(plan), places_in(root))
    folder = places_in(root).results / plan.name / "tune"
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / f"{study.id}.journal"))
    )
    return optuna.load_study(study_name=study.id, storage=storage)


def test_every_method_gets_the_same_trials_steps_rungs_and_dimensions_and_its_default_first(tmp_path: Path) -> None:
    plan = some_plan(["mean_teacher", "supervised"], trials=3)
    path, said, tracked = run(tmp_path, plan)
    by_name: dict[str, Study] = {study.id: study for study in on_data(studies(plan), places_in(tmp_path))}
    assert [each.study for each in tracked] == list(by_name)
    for each in tracked:
        study = by_name[each.study]
        assert each.budget == {"trials": 3, "steps": 3, "dimensions": sorted(study.dimensions)}
        assert [number for number, *_ in each.trials] == [0, 1, 2]
        assert each.trials[0][1] == study.default
        assert {tuple(params) for _, params, *_ in each.trials} == {tuple(study.dimensions)}
        for _, params, values, final, kind in each.trials:
            assert all(study.dimensions[key].holds(value) for key, value in params.items())
            # a rung at each of three steps; the score is validation Dice at the last
            assert (sorted(values), final, kind) == ([1, 2, 3], values[3], "finished")
        best = max(each.trials, key=lambda trial: trial[3] or 0.0)
        assert each.best == best[1]
        assert f"{each.study} is told" in said
    tuned = plan_file.load(str(path))
    for cell in tuned.cells():
        (best_params,) = [each.best for each in tracked if each.study.startswith(cell.method)]
        assert cell.training.lr == pytest.approx(best_params["training.lr"], abs=0)
        assert cell.label == f"{cell.method} (tuned)"
    assert yaml.safe_load(path.read_text())["tuned"] == "tuned, 3 trials of 3 hyper-parameters each"


def test_killed_and_started_again_finished_trials_are_kept_and_the_running_one_is_asked_again(tmp_path: Path) -> None:
    plan = some_plan()
    started = tune._Runner._start

    def dies_in_the_third(self: Any, *settings: Any) -> Any:
        trial = started(self, *settings)
        if trial.number == 2:
            raise KeyboardInterrupt  # after the trial was asked for: it stays "running" on disk
        return trial

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune._Runner, "_start", dies_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, plan)
    before = stored(tmp_path, plan).trials
    assert [trial.state.name for trial in before] == ["COMPLETE", "COMPLETE", "RUNNING"]

    _, said, _ = run(tmp_path, plan)
    after = stored(tmp_path, plan).trials
    assert [trial.state.name for trial in after] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert [trial.datetime_complete for trial in after[:2]] == [trial.datetime_complete for trial in before[:2]]
    assert after[3].params == before[2].params
    assert sum("val Dice" in line for line in said) == 2
    _, said, _ = run(tmp_path, plan)
    assert not any("trial" in line for line in said)  # nothing is left to try


def test_trials_of_before_an_edit_of_the_methods_file_are_not_reused_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = some_plan(trials=1)
    run(tmp_path, plan)
    (old,) = on_data(studies(plan), places_in(tmp_path))
    before = stored(tmp_path, plan).trials
    name = f"{old.id}.journal"
    monkeypatch.setattr(receipt, "source", lambda method: "edited")
    _, said, _ = run(tmp_path, plan)
    assert said[0] == (
        "supervised-phantom_2d: the file of supervised or data that it reads changed since the trials in "
        f"{name}; none of them is reused"
    )
    assert sum("val Dice" in line for line in said) == 1
    _, said, _ = run(tmp_path, plan)
    assert not any("reused" in line or "val Dice" in line for line in said)
    monkeypatch.undo()
    assert [trial.datetime_complete for trial in stored(tmp_path, plan).trials] == [
        trial.datetime_complete for trial in before
    ]


def test_a_default_that_was_killed_while_it_was_asked_for_is_asked_again_whole(tmp_path: Path) -> None:
    plan = some_plan()
    (study,) = studies(plan)
    root = places_in(tmp_path).results / plan.name / "tune"
    root.mkdir(parents=True)
    first = tune._Runner(plan, study, root, places_in(tmp_path), 1, print)
    key = next(iter(first.distributions))
    first.optuna.ask({key: first.distributions[key]})  # one parameter was drawn when the process died
    again = tune._Runner(plan, study, root, places_in(tmp_path), 1, print)
    assert again.optuna.ask(again.distributions).params == study.default


def test_a_study_that_another_process_tunes_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    plan, refused = some_plan(trials=2), []

    def meanwhile(line: str) -> None:
        if "val Dice" in line:
            states = [trial.state for trial in stored(tmp_path, plan).trials]
            with pytest.raises(NotReady) as error:
                run(tmp_path, plan)
            refused.append(str(error.value))
            assert [trial.state for trial in stored(tmp_path, plan).trials] == states

    _, _, (tracked,) = run(tmp_path, plan, say=meanwhile)
    assert [number for number, *_ in tracked.trials] == [0, 1]
    assert len(refused) == 2
    assert re.match(
        rf"supervised-phantom_2d is being tuned by process {os.getpid()} on .*; wait for it, or", refused[0]
    )
    assert "trial" not in " ".join(run(tmp_path, plan)[1])  # it was given back, and nothing is left to try


def test_a_study_whose_holder_cannot_be_read_is_refused_all_the_same(tmp_path: Path) -> None:
    plan = some_plan()
    (study,) = on_data(studies(plan), places_in(tmp_path))
    lease = Lease(places_in(tmp_path).results / plan.name / "tune" / "leases" / study.id)
    assert lease.take()
    lease._path.write_text("")  # as while it is written
    with pytest.raises(NotReady, match="is being tuned by another process; wait"):
        run(tmp_path, plan)


def test_trials_are_spread_over_the_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def launched(context: Any, target: Any, arguments: tuple[Any, ...]) -> Process:
        *_, pipe, _, device = arguments
        used.append(device)
        for step in (1, 2, 3):
            pipe.send(("val", (step, 0.5)))
        return Process(0)

    monkeypatch.setattr(tune, "devices", lambda: ["cuda:0", "cuda:1"])
    monkeypatch.setattr(tune, "launch", launched)
    _listener(tmp_path, some_plan(trials=4), workers=4).run(None)
    assert used == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]


def test_a_study_that_goes_on_does_not_draw_again_what_it_drew(tmp_path: Path) -> None:
    plan = some_plan()
    runner = _listener(tmp_path, plan)
    for _ in range(2):
        heard(runner, (1, 0.5), (2, 0.5), (3, 0.5))
    root = places_in(tmp_path).results / plan.name / "tune"
    again = tune._Runner(plan, runner.study, root, places_in(tmp_path), 1, print)
    drawn = again.optuna.ask(again.distributions).params
    assert drawn != runner.optuna.trials[1].params
    other = _listener(tmp_path / "elsewhere", plan)
    heard(other, (1, 0.5), (2, 0.5), (3, 0.5))
    assert other.optuna.ask(other.distributions).params == runner.optuna.trials[1].params


def test_a_worker_that_is_killed_is_asked_again_with_the_same_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "trial", doomed_workers.trial_killed_once)
    plan = some_plan(trials=2)
    places_in(tmp_path).results.mkdir()
    _, said, (tracked,) = run(tmp_path, plan)
    assert [(number, kind) for number, *_, kind in tracked.trials] == [(0, "killed"), (1, "finished"), (2, "finished")]
    assert tracked.trials[1][1] == tracked.trials[0][1] == studies(plan)[0].default
    assert "trial 0: killed, asked again" in said[0]


def test_workers_that_are_always_killed_end_the_study_with_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = _listener(tmp_path, some_plan(trials=1))
    for _ in range(2):
        trial = _asked(runner, exit_code=-9)
        if trial.number == 0:
            runner._tell(trial, False, None)
        else:
            with pytest.raises(NotReady, match=r"workers keep being killed; see .*log.txt"):
                runner._tell(trial, False, None)


@pytest.mark.parametrize(
    "last",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB",
        "torch.AcceleratorError: CUDA error: out of memory\nCUDA kernel errors might be reported at some other call",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried",
        "MemoryError",
    ],
)
def test_a_trial_for_which_memory_was_out_is_asked_again_with_fewer_beside_it_and_not_for_ever(
    tmp_path: Path, last: str
) -> None:
    runner, said, log = _listener(tmp_path, some_plan(trials=2), workers=2), [], Tracked("", {})
    runner.say = said.append
    for times in (1, 2):
        runner._tell(_failed(runner, tmp_path, last), False, log)
        assert (runner._over(), runner.workers) == (0, 1)
        assert f"trial {times - 1}: out of memory, asked again, now 1 at a time" in said[-1]
    assert [(params, kind) for _, params, *_, kind in log.trials] == [(runner.study.default, "killed")] * 2
    with pytest.raises(NotReady, match=r"workers keep running out of memory: run fewer --workers; see .*log.txt"):
        runner._tell(_failed(runner, tmp_path, last), False, log)


def test_a_trial_that_failed_for_another_reason_than_memory_was_tried(tmp_path: Path) -> None:
    runner, log = _listener(tmp_path, some_plan(), workers=2), Tracked("", {})
    runner._tell(_failed(runner, tmp_path, "ValueError: the memory bank is empty"), False, log)
    assert (runner._over(), runner.workers, log.trials[0][-1]) == (1, 2, "failed")


@pytest.mark.parametrize("number", [5, 28, 116, 122])
def test_a_trial_that_a_fault_of_the_machine_ended_is_asked_again_and_not_for_ever(tmp_path: Path, number: int) -> None:
    runner, said, log = _listener(tmp_path, some_plan(trials=2), workers=2), [], Tracked("", {})
    runner.say = said.append
    reason = f"[Errno {number}] {os.strerror(number)}: 'checkpoint.pt'"
    for times in (1, 2):
        runner._tell(
            _failed(runner, tmp_path, f"OSError: {reason}\nsomething that a library says at the end"), False, log
        )
        assert (runner._over(), runner.workers) == (0, 2)
        assert f"trial {times - 1}: {reason}, asked again" in said[-1]
    assert [(params, kind) for _, params, *_, kind in log.trials] == [(runner.study.default, "killed")] * 2
    with pytest.raises(NotReady, match=rf"workers keep failing: {re.escape(reason)}; see .*log.txt"):
        runner._tell(_failed(runner, tmp_path, f"OSError: {reason}"), False, log)


@pytest.mark.parametrize(
    "last",
    [
        "OSError: [Errno 28] No space left on device\n\nTraceback (most recent call last):\nValueError: 3",
        "FileNotFoundError: [Errno 2] No such file or directory: 'x'",
    ],
)
def test_a_trial_whose_log_ends_in_another_error_was_tried(tmp_path: Path, last: str) -> None:
    runner, log = _listener(tmp_path, some_plan()), Tracked("", {})
    runner._tell(_failed(runner, tmp_path, last), False, log)
    assert (runner._over(), log.trials[0][-1]) == (1, "failed")


def test_a_worker_tells_a_fault_of_the_machine_for_a_full_disk_has_no_room_in_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Told:
        said: ClassVar[list[Any]] = []

        def send(self, message: Any) -> None:
            self.said.append(message)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(child, "prepare", full)
    monkeypatch.setattr(child, "_set_up", lambda *_: None)
    runner = _listener(tmp_path, some_plan())
    with pytest.raises(OSError, match="No space"):
        child.trial(runner.study.cell, places_in(tmp_path), tmp_path / "trial", Told(), 1, None)  # type: ignore[arg-type]
    trial = _failed(runner, tmp_path, "")
    trial.pipe.messages = Told.said
    assert runner._listen(trial) is False
    runner._tell(trial, False, None)
    assert (runner._over(), runner.killed) == (0, 1)


@pytest.mark.parametrize("how", ["finished", "failed", "pruned", "killed"])
def test_an_ended_trial_leaves_its_log_and_curves_and_no_weights(tmp_path: Path, how: str) -> None:
    runner = _listener(tmp_path, some_plan())
    trial = _asked(runner, exit_code={"finished": 0, "failed": 1}.get(how, -9))
    trial.folder, running = tmp_path / "0", tmp_path / "1"
    names = ["log.txt", "train.csv", "checkpoint.pt", "snapshot-1.pt", ".checkpoint.pt.a1b2", ".snapshot-2.pt.c3d4"]
    for folder in (trial.folder, running):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    if how == "finished":
        trial.values[3] = 0.5
    runner._tell(trial, how == "pruned", None)
    assert sorted(path.name for path in trial.folder.iterdir()) == ["log.txt", "train.csv"]
    assert len(list(running.iterdir())) == len(names)


def test_what_a_killed_study_was_at_leaves_no_weights_either(tmp_path: Path) -> None:
    plan = some_plan()
    runner = _listener(tmp_path, plan)
    folder = runner._folder(_asked(runner).number)
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").touch()
    root = places_in(tmp_path).results / plan.name / "tune"
    tune._Runner(plan, runner.study, root, places_in(tmp_path), 1, print)
    assert list(folder.iterdir()) == []


def test_workers_killed_before_the_study_was_started_again_do_not_end_it(tmp_path: Path) -> None:
    plan = some_plan(trials=1)
    runner = _listener(tmp_path, plan)
    runner._tell(_asked(runner, exit_code=-9), False, None)
    root = places_in(tmp_path).results / plan.name / "tune"
    again = tune._Runner(plan, runner.study, root, places_in(tmp_path), 1, lambda line: None)
    again._tell(_asked(again, exit_code=-9), False, None)
    assert again.optuna.ask(again.distributions).params == runner.study.default


# What a trial says ---------------------------------------------------------------------------------------------------
class Pipe:
    """What a worker sent."""

    def __init__(self, *messages: tuple[int, float]) -> None:
        self.messages = [("val", message) for message in messages]

    def poll(self) -> bool:
        return bool(self.messages)

    def recv(self) -> tuple[str, tuple[int, float]]:
        return self.messages.pop(0)

    def close(self) -> None: ...


class Process:
    """A worker that has ended, or is ended."""

    def __init__(self, code: int) -> None:
        self.exitcode, self.was_killed = code, False

    def is_alive(self) -> bool:
        return False

    def kill(self) -> None:
        self.was_killed = True

    def join(self) -> None: ...


class SealedPipe:
    """What a trial says that asked for a test label."""

    def __init__(self, reason: str) -> None:
        self.messages: list[tuple[str, Any]] = [("sealed", reason)]

    def poll(self) -> bool:
        return bool(self.messages)

    def recv(self) -> tuple[str, Any]:
        return self.messages.pop()

    def close(self) -> None:
        self.messages.clear()


def _listener(root: Path, plan: Plan, workers: int = 1) -> Any:
    (study,) = studies(plan)
    folder = places_in(root).results / plan.name / "tune"
    folder.mkdir(parents=True)
    return tune._Runner(plan, study, folder, places_in(root), workers, lambda line: None)


def _asked(runner: Any, *messages: tuple[int, float], exit_code: int = 0) -> Any:
    handle = runner.optuna.ask(runner.distributions)
    trial = Trial(runner.study, handle, handle.number, Path("folder"), dict(handle.params), values={})
    trial.process, trial.pipe = Process(exit_code), Pipe(*messages)
    return trial


def _failed(runner: Any, folder: Path, last: str) -> Any:
    """A trial whose log ends so."""
    trial = _asked(runner, exit_code=1)
    trial.folder = folder
    traceback = 'Process ForkServerProcess-1:\nTraceback (most recent call last):\n  File "x.py", line 1, in x\n'
    (folder / "log.txt").write_text(f"{traceback}    x(out of memory)\n{last}\n")
    return trial


def heard(runner: Any, *messages: tuple[int, float], exit_code: int = 0) -> tuple[bool, str]:
    trial = _asked(runner, *messages, exit_code=exit_code)
    pruned = runner._listen(trial)
    assert trial.process.was_killed is pruned
    log = Tracked("", {})
    runner._tell(trial, pruned, log)
    return pruned, log.trials[0][-1]


def test_a_trial_below_the_median_of_three_at_a_rung_is_ended_there_and_counts(tmp_path: Path) -> None:
    runner = _listener(tmp_path, some_plan(trials=9))
    for dice in (0.2, 0.4, 0.6):
        assert heard(runner, (1, dice), (2, dice), (3, dice)) == (False, "finished")
    assert heard(runner, (1, 0.39)) == (True, "pruned")  # the median of 0.2, 0.4, 0.6 is 0.4
    # now of 0.2, 0.39, 0.4, 0.6 it is 0.395; at the second rung still 0.4
    assert heard(runner, (1, 0.396), (2, 0.39)) == (True, "pruned")
    assert heard(runner, (1, 0.5), (2, 0.5), (3, 0.1)) == (
        False,
        "finished",
    )  # at the last step there is nothing to save
    assert runner._over() == 6
    assert runner._best()["training.lr"] == runner.optuna.trials[2].params["training.lr"]


def test_the_first_trials_are_never_ended_early(tmp_path: Path) -> None:
    runner = _listener(tmp_path, some_plan(trials=9))
    assert heard(runner, (1, 0.9), (2, 0.9), (3, 0.9)) == (False, "finished")
    assert heard(runner, (1, 0.9), (2, 0.9), (3, 0.9)) == (False, "finished")
    assert heard(runner, (1, 0.0), (2, 0.0), (3, 0.0)) == (False, "finished")


def test_the_default_is_never_ended_early_under_whatever_number_it_is_asked_again(tmp_path: Path) -> None:
    runner, log = _listener(tmp_path, some_plan(trials=9)), Tracked("", {})
    runner._tell(_asked(runner, exit_code=-9), False, log)
    default = _asked(runner, (1, 0.0), (2, 0.0), (3, 0.0))
    for _ in range(3):
        assert heard(runner, (1, 0.9), (2, 0.9), (3, 0.9)) == (False, "finished")
    assert (default.number, default.params) == (1, runner.study.default)
    assert runner._listen(default) is False
    assert heard(runner, (1, 0.0)) == (True, "pruned")


def test_a_trial_that_diverged_was_tried_and_one_that_was_killed_after_its_last_word_is_finished(
    tmp_path: Path,
) -> None:
    runner = _listener(tmp_path, some_plan())
    assert heard(runner, (1, 0.5), exit_code=1) == (False, "failed")
    assert heard(runner, (1, 0.5), (2, 0.5), (3, 0.5), exit_code=-15) == (False, "finished")
    assert heard(runner, (1, 0.5), (2, 0.5), (3, float("nan"))) == (False, "failed")
    assert runner._over() == 3


def test_if_nothing_could_be_scored_the_default_is_kept_and_it_is_said(tmp_path: Path) -> None:
    runner, said = _listener(tmp_path, some_plan()), []
    runner.say = said.append
    heard(runner, exit_code=1)
    assert runner._best() == runner.study.default
    assert said[-1] == "supervised-phantom_2d: every trial failed or was pruned; the default setting is kept"


def test_a_smaller_budget_takes_the_best_of_as_many_trials_and_says_so(tmp_path: Path) -> None:
    runner, said = _listener(tmp_path, some_plan(trials=3)), []
    for dice in (0.3, 0.2, 0.9):
        heard(runner, (1, dice), (2, dice), (3, dice))
    root = places_in(tmp_path).results / "tiny" / "tune"
    for trials, number in ((3, 2), (2, 0), (1, 0)):
        plan = some_plan(trials=trials)
        again = tune._Runner(plan, studies(plan)[0], root, places_in(tmp_path), 1, said.append)
        assert again._best() == runner.optuna.trials[number].params
    assert said == [
        "supervised-phantom_2d: 3 trials are there, the plan asks for the first 2",
        "supervised-phantom_2d: 3 trials are there, the plan asks for the first 1",
    ]


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda lines: [*lines[:-1], lines[-1][:20]], -1),
        (lambda lines: [*lines[:-1], lines[-1][:20] + lines[0]], -1),
        (lambda lines: [lines[0], b"\xff\xfe garbage\n", *lines[1:]], 2),
        (lambda lines: [b"7\n"], 1),
    ],
)
def test_a_damaged_journal_is_refused_with_its_line_and_goes_on_once_that_is_cut_off(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], line: int
) -> None:
    plan = some_plan()
    heard(_listener(tmp_path, plan), (1, 0.5), (2, 0.5), (3, 0.5))
    (study,) = studies(plan)
    root = places_in(tmp_path).results / plan.name / "tune"
    path = root / f"{study.id}.journal"
    lines = damage(path.read_bytes().splitlines(keepends=True))
    path.write_bytes(b"".join(lines))
    number = line % (len(lines) + 1) if line > 0 else len(lines)
    with pytest.raises(NotReady, match=rf"{path}: line {number} of {len(lines)} is damaged, .*sed -i '{number},\$d'"):
        tune._Runner(plan, study, root, places_in(tmp_path), 1, print)
    path.write_bytes(b"".join(lines[: number - 1]))
    tune._Runner(plan, study, root, places_in(tmp_path), 1, print)


# The seal ------------------------------------------------------------------------------------------------------------
def test_trials_never_open_test_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    prepared: list[Any] = []
    real = child.prepare

    def watched(*args: Any, **settings: Any) -> Any:
        prepared.append(real(*args, **settings))
        vault = prepared[-1].vault
        vault.open = lambda reason: opened.append(reason)
        return prepared[-1]

    class Told:
        def __init__(self) -> None:
            self.said: list[Any] = []

        def send(self, message: Any) -> None:
            self.said.append(message)

    monkeypatch.setattr(child, "prepare", watched)
    monkeypatch.setattr(child, "_set_up", lambda folder, *_: folder.mkdir(parents=True))
    pipe: Any = Told()
    (study,) = studies(some_plan())
    child.trial(study.cell, places_in(tmp_path), tmp_path / "trial", pipe, 1, None)
    assert [kind for kind, _ in pipe.said] == ["val"] * 3
    assert [step for _, (step, _) in pipe.said] == [1, 2, 3]
    assert opened == []
    (ready,) = prepared
    with pytest.raises(SealedLabel):
        ready.vault.case(ready.split.test[0])
    assert sorted(path.name for path in (tmp_path / "trial").iterdir()) == ["train.csv"]


def test_a_trial_whose_validation_reads_a_test_label_tells_so_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = child.prepare

    def on_test(*args: Any, **settings: Any) -> Any:
        ready = real(*args, **settings)
        ready.trainer.validate = lambda method: float(ready.vault.case(ready.split.test[0]).label.mean())
        return ready

    class Told:
        said: ClassVar[list[Any]] = []

        def send(self, message: Any) -> None:
            self.said.append(message)

    monkeypatch.setattr(child, "prepare", on_test)
    monkeypatch.setattr(child, "_set_up", lambda folder, *_: folder.mkdir(parents=True))
    (study,) = studies(some_plan())
    with pytest.raises(SealedLabel):
        child.trial(study.cell, places_in(tmp_path), tmp_path / "trial", Told(), 1, None)  # type: ignore[arg-type]
    ((kind, reason),) = Told.said
    assert kind == "sealed"
    assert reason.startswith("method supervised in plan tiny, tuned: the label of test case")


def test_a_plan_that_would_be_tuned_on_test_is_stopped_by_name(tmp_path: Path) -> None:
    runner = _listener(tmp_path, some_plan())
    trial = _asked(runner, (1, 0.5), exit_code=1)
    trial.pipe = SealedPipe(
        "method supervised in plan tiny, tuned: the label of test case 'p3' of phantom_2d is sealed"
    )
    assert runner._listen(trial) is False
    with pytest.raises(
        SealedLabel, match=r"^plan tiny would be tuned on test, .*supervised-phantom_2d, trial 0: method sup"
    ):
        runner._tell(trial, False, None)
    assert runner._over() == 0, "it does not count as tried"
