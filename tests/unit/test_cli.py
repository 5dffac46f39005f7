"""The command line: verbs, exit codes, and one message for what a person can mend."""

from __future__ import annotations

import importlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from benchmark import ROOT
from benchmark import __main__ as command
from benchmark.execute.lease import Lease
from benchmark.execute.local import Summary
from benchmark.execute.server import ServerGone
from benchmark.record import SCHEMA, Record, write
from benchmark.run import run_cell
from tests.miniatures import acdc

from .tiny_cells import places_in, raw_plan, tiny_cell

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def scant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``python -m benchmark ...`` in this process: exit code, and everything printed."""
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BENCH_DEVICE", "cpu")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["python -m benchmark", *arguments])
        with pytest.raises(SystemExit) as left:
            command.main()
        code = left.value.code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return (0 if code is None else int(code)), printed.out + printed.err

    return run


def plan_in(folder: Path, **changes: Any) -> str:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(raw_plan(**changes)))
    return str(path)


# Verbs that only tell ------------------------------------------------------------------------------------------------
def test_list_names_every_method_network_dataset_and_plan(scant: Command) -> None:
    import datasets
    import methods
    from benchmark import plan_file
    from methods import networks

    code, text = scant("list")
    assert code == 0
    words = text.split()
    assert set(methods.names()) | set(datasets.names()) | set(plan_file.available()) <= set(words)
    assert {*networks.names(), "encoder:MODEL"} <= set(words)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def mine(:\n", "methods/semi/mine.py, line 1: SyntaxError: invalid syntax"),
        ("x = 1\nimport no_such_thing.part\n", "line 2: ModuleNotFoundError: No module named 'no_such_thing'; install"),
        ("\nfrom ..losses import gone\n", "line 2: ImportError: cannot import name 'gone'"),
        ("def f():\n    raise ValueError('odd')\n\nf()\n", "methods/semi/mine.py, line 2: ValueError: odd; mend"),
        ("from ..base import Method\n", "methods/semi/mine.py must define exactly one Method class, found none"),
        (
            "from ..base import Method\n\nclass A(Method): ...\nclass B(Method): ...\n",
            "must define exactly one Method class, found 2 (A, B)",
        ),
        (
            "from dataclasses import dataclass\nfrom ..base import Method\nfrom ..hyper import HyperBase\n\n"
            "@dataclass(frozen=True)\nclass Hyper(HyperBase):\n    ramp: float = 0.3\n\n"
            "class A(Method):\n    Hyper = Hyper\n",
            "hyper-parameter 'ramp' has no range; declare it as ramp: float = hyper(",
        ),
    ],
)
def test_a_broken_method_is_one_message_and_takes_nothing_else_along(
    scant: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    import methods

    known = methods.families()
    (tmp_path / "semi").mkdir()
    (tmp_path / "semi/mine.py").write_text(source)
    monkeypatch.setattr(methods, "families", lambda: {**known, "mine": "semi"})
    here = importlib.import_module("methods.semi").__path__
    monkeypatch.setattr("methods.semi.__path__", [*here, str(tmp_path / "semi")])
    code, text = scant("list")
    squeezed = "".join(text.split())  # columns break lines
    told = ("broken: method mine cannot be loaded: methods/semi/mine.py", message)
    assert (code, [words for words in told if "".join(words.split()) not in squeezed]) == (0, [])
    assert {"cps", "pce", "demo"} <= set(text.split())
    for arguments in (("show", "mine"), ("plan", plan_in(tmp_path, methods=["mine"]))):
        code, text = scant(*arguments)
        assert (code, text.count("error:"), message in text) == (2, 1, True)
    assert scant("plan", plan_in(tmp_path, methods=["cps"]))[0] == 0
    sys.modules.pop("methods.semi.mine", None)


def test_show_explains_a_method_a_network_a_dataset_and_a_plan(scant: Command, tmp_path: Path) -> None:
    code, text = scant("show", "mean_teacher")
    assert code == 0
    for expected in ("Tarvainen", "ema_limit", "in [0, 1]", "0.99"):
        assert expected in text
    code, text = scant("show", "unet_plus_plus")
    assert (code, "arXiv:1807.10165" in text) == (0, True)
    assert "network_options of a plan: levels, recipe, norm" in text
    code, text = scant("show", "phantom_2d")
    assert (code, "Apache-2.0" in text, "option side = 64" in text) == (0, True, True)
    code, text = scant("show", plan_in(tmp_path))
    assert (code, "A tiny plan (tiny): 1 cells: 1 to do" in text) == (0, True)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"network": "unett"}, "training.network: unknown network 'unett'; did you mean 'unet'?"),
        ({"augment": "maximal"}, "training.augment: unknown recipe 'maximal'"),
        ({"network_options": {"dropuot": 0.1}}, "has no option 'dropuot'"),
        ({"patch": [40, 32]}, "phantom_2d: training.patch (40, 32): unet needs sides divisible by 16; 40 is not"),
    ],
    ids=str,
)
def test_a_plan_is_refused_where_a_run_of_it_would_be_in_the_same_words_but_its_states_are_told(
    scant: Command, tmp_path: Path, training: dict[str, Any], message: str
) -> None:
    path = plan_in(tmp_path, training=training)
    code, text = scant("plan", path)
    assert (code, text.count("error:"), message in text) == (2, 1, True)
    refused = [line for line in text.splitlines() if line.startswith("error:")]
    ran, text = scant("run", path, "--no-track")
    assert (ran, [line for line in text.splitlines() if line.startswith("error:")]) == (2, refused)
    code, text = scant("status", path)
    assert (code, "1 cells: 1 to do" in text) == (0, True)


def test_a_plan_whose_data_are_not_here_is_shown_and_judged_all_the_same(scant: Command, tmp_path: Path) -> None:
    entry = {"name": "acdc", "training": {"patch": [32, 32]}}
    code, text = scant("plan", plan_in(tmp_path, datasets=[entry]))
    assert (code, "1 cells: 1 to do" in text) == (0, True)
    code, text = scant("plan", plan_in(tmp_path, datasets=[entry], training={"network": "unett"}))
    assert (code, "did you mean 'unet'?" in text) == (2, True)


def test_plan_and_status_say_where_cells_stand_and_run_nothing(scant: Command, tmp_path: Path) -> None:
    path = plan_in(tmp_path, seeds=3)
    first, second = tiny_cell(), tiny_cell(seeds=[1])
    run_cell(first, places_in(tmp_path))
    write(
        places_in(tmp_path).folder(second),
        Record(second.id, second.canonical(), "failed", "ValueError: [/red] list index [0]"),
    )
    for verb in ("plan", "status"):
        code, text = scant(verb, path)
        assert code == 0
        assert "3 cells: 1 done, 1 failed, 1 to do" in text
        assert "ValueError: [/red] list index [0]" in text
        assert "to run: 2 cells, 8 steps" in text
    assert not (places_in(tmp_path).folder(tiny_cell(seeds=[2]))).exists()


def test_without_a_verb_the_verbs_are_listed(scant: Command) -> None:
    code, text = scant()
    assert code == 2
    verbs = ("list", "show", "plan", "run", "cell", "submit", "status", "tune", "report", "power", "sync", "doctor")
    for verb in verbs:
        assert verb in text


# Running -------------------------------------------------------------------------------------------------------------
def test_one_cell_is_run_in_this_process_and_again_it_is_left_alone(scant: Command, tmp_path: Path) -> None:
    path, cell = plan_in(tmp_path), tiny_cell()
    assert scant("cell", path, cell.id) == (0, f"finished {cell.id} \n")
    record = places_in(tmp_path).folder(cell) / "record.json"
    written = record.stat().st_mtime_ns
    assert scant("cell", path, cell.id)[0] == 0
    assert record.stat().st_mtime_ns == written


def test_a_cell_that_somebody_else_runs_is_refused_and_free_again_afterwards(scant: Command, tmp_path: Path) -> None:
    path, cell = plan_in(tmp_path), tiny_cell()
    lease = Lease(places_in(tmp_path).folder(cell))
    assert lease.take()
    code, text = scant("cell", path, cell.id)
    assert (code, f"cell {cell.id} is being run by another process" in text) == (2, True)
    assert not (places_in(tmp_path).folder(cell) / "record.json").exists()
    lease.release()
    assert scant("cell", path, cell.id)[0] == 0
    assert lease.take()


def test_to_verify_what_is_not_finished_is_refused_in_a_sentence(scant: Command, tmp_path: Path) -> None:
    code, text = scant("verify", plan_in(tmp_path))
    assert (code, "no cell of this plan is finished; run it first" in text) == (2, True)


def test_a_cell_that_fails_is_exit_code_one_with_its_reason(
    scant: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("[/broken] on purpose")

    monkeypatch.setattr("methods.semi.supervised.Supervised.losses", broken)
    code, text = scant("cell", plan_in(tmp_path), tiny_cell().id)
    assert (code, "RuntimeError: [/broken] on purpose" in text) == (1, True)


def test_a_cell_of_another_plan_is_refused_with_the_nearest(scant: Command, tmp_path: Path) -> None:
    code, text = scant("cell", plan_in(tmp_path), tiny_cell().id[:-1] + "x")
    assert (code, f"did you mean '{tiny_cell().id}'" in text) == (2, True)


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (1, 1)])
@pytest.mark.parametrize("verb", ["run", "bench"])
def test_a_run_with_failed_cells_is_exit_code_one(
    scant: Command, monkeypatch: pytest.MonkeyPatch, verb: str, failed: int, code: int
) -> None:
    monkeypatch.setattr(f"benchmark.session.{verb}_plan", lambda *_, **settings: Summary(finished=3, failed=failed))
    assert scant(verb, "demo")[0] == code


def test_an_interrupted_run_is_exit_code_130_and_says_how_to_go_on(
    scant: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmark.session.run_plan", interrupted)
    assert scant("run", "demo") == (130, "interrupted; the same command goes on from here\n")


def test_an_interruption_while_libraries_are_read_is_one_too(scant: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loading(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "benchmark.preflight", Loading("benchmark.preflight"))
    assert scant("list") == (130, "interrupted; nothing had begun\n")


def test_options_reach_the_run(scant: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr("benchmark.session.run_plan", lambda name, **settings: seen.update(settings) or Summary())
    options = "--data d --results r --workers 3 --only x --no-track --uri u --keep-failed --redo-stale --wall-limit 7"
    assert scant("run", "demo", *options.split(), "--silence", "7200")[0] == 0
    del seen["console"]
    assert seen == {
        "data": "d", "results": "r", "workers": 3, "only": "x", "track": False, "uri": "u", "keep_failed": True,
        "redo_stale": True, "wall_limit": 7.0, "silence": 7200.0,
    }  # fmt: skip


# Where it is said ----------------------------------------------------------------------------------------------------
def test_what_is_refused_is_said_on_standard_error_and_what_was_asked_for_on_standard_output(
    scant: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["python -m benchmark", *arguments])
        with pytest.raises(SystemExit):
            command.main()
        printed = capsys.readouterr()
        return printed.out, printed.err

    out, err = said("show", "mean_teecher")
    assert (out, err[:7], "did you mean 'mean_teacher'?" in err) == ("", "error: ", True)
    out, err = said("show", "mean_teacher")
    assert ("Tarvainen" in out, err) == (True, "")
    out, err = said("plan", plan_in(tmp_path))
    assert ("1 cells: 1 to do" in out, err) == (True, "")

    def interrupted(*_: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmark.session.run_plan", interrupted)
    assert said("run", "demo") == ("", "interrupted; the same command goes on from here\n")


@pytest.mark.slow
def test_make_says_why_it_checks_no_method_of_a_name(tmp_path: Path) -> None:
    command = ["make", "contract", "METHOD=mean_teecher", f"PREFIX={sys.prefix}", f"STAMP={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0
    assert "did you mean 'mean_teacher'?" in done.stderr


def test_a_run_whose_workers_cannot_be_started_is_exit_code_one_and_keeps_its_work(
    scant: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **settings: Any) -> None:
        raise ServerGone("the process that starts the workers was ended 3 times")

    monkeypatch.setattr("benchmark.session.run_plan", gone)
    assert scant("run", "demo") == (1, "error: the process that starts the workers was ended 3 times\n")


# What is refused -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["mean_teecher"]}, "unknown method 'mean_teecher'; did you mean 'mean_teacher'?"),
        ({"datasets": ["phantom2d"]}, "unknown dataset 'phantom2d'; did you mean 'phantom_2d'?"),
        ({"ratois": [0.1]}, "unknown key 'ratois'; did you mean 'ratios'?"),
        ({"training": {"optimizer": "sdg"}}, "got 'sdg'; did you mean 'sgd'?"),
        ({"ratios": [10]}, "ratio must be in (0, 1], got 10; write 0.1 for 10 %"),
        ({"labelled": [9], "ratios": []}, "9 labelled groups asked for, but there are 3 training groups"),
        ({"datasets": ["acdc"]}, "Expected layout: ACDC/ACDC_training_volumes/patient001_frame01.h5"),
    ],
    ids=str,
)
@pytest.mark.parametrize("verb", ["run", "tune"])
def test_a_wrong_plan_is_exit_code_two_and_one_message_before_any_training(
    scant: Command, tmp_path: Path, changes: dict[str, Any], message: str, verb: str
) -> None:
    code, text = scant(verb, plan_in(tmp_path, **changes), "--no-track")
    assert code == 2
    assert text.count("error:") == 1
    assert message in text
    assert not list(tmp_path.glob("results/*/*/train.csv"))


@pytest.mark.parametrize("damage", ["truncated", "unknown_label", "different_sizes"])
def test_damaged_scans_are_refused_by_name_and_harm_no_earlier_result(
    scant: Command, tmp_path: Path, damage: str
) -> None:
    acdc.write(tmp_path / "data")
    named = acdc.DAMAGES[damage](tmp_path / "data")
    earlier = tmp_path / "results/tiny/earlier/record.json"
    write(earlier.parent, Record("earlier", {}, "finished"))
    before = earlier.read_bytes()
    path = plan_in(
        tmp_path,
        datasets=[{"name": "acdc", "options": {"partial": True}, "training": {"patch": [32, 32]}}],
        ratios=[0.5],
    )
    code, text = scant("run", path, "--no-track")
    assert (code, text.count("error:")) == (2, 1)
    assert all(word in text for word in named)
    assert earlier.read_bytes() == before
    assert not list(tmp_path.glob("results/*/*/train.csv"))


def test_a_full_disk_is_refused_before_training(
    scant: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2**40, 2**40, 0))
    code, text = scant("run", plan_in(tmp_path), "--no-track")
    assert code == 2
    assert "0 MiB free, this plan may write 40 MiB; free some space or set BENCH_RESULTS" in text


def test_a_disk_that_fills_up_while_data_are_prepared_is_one_message(
    scant: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "cache/x"))

    monkeypatch.setattr("benchmark.preflight.atomic_write", full)
    code, text = scant("run", plan_in(tmp_path), "--no-track")
    assert code == 2
    assert f"error: No space left on device: {tmp_path / 'cache/x'}; free some space" in text


def test_an_error_that_nobody_can_mend_keeps_its_traceback(scant: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **settings: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("benchmark.session.run_plan", broken)
    with pytest.raises(OSError, match="Input/output"):
        scant("run", "demo")


@pytest.mark.parametrize(("name", "said"), [("optuna", True), ("methods.semi.gone", False)])
def test_a_missing_package_is_said_with_the_remedy_and_a_missing_part_of_ours_is_a_fault(
    scant: Command, monkeypatch: pytest.MonkeyPatch, name: str, said: bool
) -> None:
    def missing(*_: Any, **settings: Any) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("benchmark.session.run_plan", missing)
    if said:
        code, text = scant("run", "demo")
        assert (code, f"{name} is not installed" in text, "make env" in text) == (2, True, True)
    else:
        with pytest.raises(ModuleNotFoundError):
            scant("run", "demo")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--workers", "0"],
        ["run", "--wall-limit", "-5"],
        ["run", "--wall-limit", "0"],
        ["run", "--silence", "59"],
        ["run", "--nonsense"],
        ["nonsense"],
        ["cell", "demo"],
    ],
)
def test_bad_usage_is_exit_code_two(scant: Command, arguments: list[str]) -> None:
    code, text = scant(*arguments)
    assert code == 2
    assert "Error" in text


def test_an_unknown_name_to_show_is_refused_with_the_nearest_of_all_kinds(scant: Command) -> None:
    code, text = scant("show", "mean_teecher")
    assert (code, "did you mean 'mean_teacher'?" in text) == (2, True)


def test_a_record_of_a_newer_checkout_is_refused_by_name(scant: Command, tmp_path: Path) -> None:
    cell = tiny_cell()
    write(places_in(tmp_path).folder(cell), Record(cell.id, {}, "finished", schema=SCHEMA + 1))
    code, text = scant("run", plan_in(tmp_path), "--no-track")
    assert (code, "update the checkout" in text) == (2, True)


def test_a_report_that_was_never_built_is_not_what_the_records_give(scant: Command, tmp_path: Path) -> None:
    code, text = scant("report", plan_in(tmp_path), "--check")
    assert code == 1
    assert "has no readable receipt.json" in text
    assert "build it again: python -m benchmark report" in text


def test_a_report_of_nothing_or_by_an_unknown_rule_is_one_message(scant: Command, tmp_path: Path) -> None:
    path = plan_in(tmp_path)
    code, text = scant("report", path, "--rule", "penalized")
    assert (code, "penalised" in text) == (2, True)


def test_what_a_report_refuses_is_one_message_and_a_fault_of_ours_keeps_its_traceback(
    scant: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.report.frame import ReportError

    def broken(*_: Any, **settings: Any) -> None:
        raise error

    monkeypatch.setattr("benchmark.report.build", broken)
    error: Exception = ReportError("scores.csv is damaged")
    code, text = scant("report", plan_in(tmp_path))
    assert (code, "error: scores.csv is damaged" in text) == (2, True)
    error = ValueError("could not convert string to float: 'abc'")
    with pytest.raises(ValueError, match="could not convert"):
        scant("report", plan_in(tmp_path))


def test_a_report_says_which_cells_an_older_file_of_their_method_computed_and_how_to_repeat_them(
    scant: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plan_in(tmp_path)
    run_cell(tiny_cell(), places_in(tmp_path))
    code, text = scant("report", path, "--no-examples")
    assert (code, "another version" in text) == (0, False)
    monkeypatch.setattr("benchmark.receipt.source", lambda method: "edited")
    code, text = scant("report", path, "--results", str(tmp_path / "results"))
    assert code == 0
    again = f"python -m benchmark run {path} --results {tmp_path / 'results'} --redo-stale computes it again."
    assert "another version of its method's file than the present one, that of all rows; " + again in text
    assert again in (tmp_path / "results" / "tiny" / "report" / "table.md").read_text()
    assert scant("report", path, "--check")[0] == 0


def test_a_report_of_nothing_does_not_replace_one_of_something(scant: Command, tmp_path: Path) -> None:
    run_cell(tiny_cell(), places_in(tmp_path))
    assert scant("report", plan_in(tmp_path), "--no-examples")[0] == 0
    table = tmp_path / "results" / "tiny" / "report" / "table.md"
    before = table.read_text()
    path = plan_in(tmp_path, training={"steps": 5})
    code, text = scant("report", path)
    assert code == 2
    assert "no cell of plan tiny as it is now has finished" in text
    assert f"Run the plan first (python -m benchmark run {path}), or choose" in text
    assert table.read_text() == before


def test_verify_names_the_command_with_the_path_of_the_plan(
    scant: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plan_in(tmp_path)
    run_cell(tiny_cell(), places_in(tmp_path))
    monkeypatch.setattr("benchmark.receipt.source", lambda method: "edited")
    code, text = scant("verify", path)
    assert (code, f"python -m benchmark run {path} --redo-stale makes a new record" in text) == (1, True)


def test_doctor_is_exit_code_one_where_something_that_is_needed_is_broken(
    scant: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.doctor.examine", lambda console, data: True)
    assert scant("doctor")[0] == 0
    monkeypatch.setattr("benchmark.doctor.examine", lambda console, data: False)
    assert scant("doctor")[0] == 1


def test_sync_of_a_locked_database_loses_nothing(scant: Command, tmp_path: Path) -> None:
    path = plan_in(tmp_path)
    run_cell(tiny_cell(), places_in(tmp_path))
    database = tmp_path / "mlflow.db"
    with sqlite3.connect(database, isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        code, text = scant("sync", path, "--uri", f"sqlite:///{database}")
    holder.close()
    assert (code, "locked" in text) == (1, True)
    assert (places_in(tmp_path).folder(tiny_cell()) / "record.json").exists()
    # what the message names is the plan, whose file may lie anywhere
    code, text = scant("sync", "tiny", "--uri", f"sqlite:///{database}")
    assert (code, "1 cell logged" in text) == (0, True), text


def test_sync_into_what_is_no_database_says_what_was_not_logged_and_is_exit_code_one(
    scant: Command, tmp_path: Path
) -> None:
    path, database = plan_in(tmp_path), tmp_path / "mlflow.db"
    write(places_in(tmp_path).folder(tiny_cell()), Record(tiny_cell().id, tiny_cell().canonical(), "finished"))
    database.write_text("garbage " * 100)
    code, text = scant("sync", path, "--uri", f"sqlite:///{database}")
    assert (code, f"not logged: the tracker sqlite:///{database} cannot be used" in text, "1 cell" in text) == (
        1, True, True,
    )  # fmt: skip


# Planning and deciding ---------------------------------------------------------------------------------------------
def test_power_prints_what_a_plan_can_find_and_what_that_assumes(scant: Command, tmp_path: Path) -> None:
    path = plan_in(tmp_path, methods=["cps"], bounds=True, seeds=5)
    code, text = scant("power", path, "--difference", "3")
    assert code == 0
    assert "tiny: 5 seeds, to find 3 Dice points" in text
    assert "assumed, not measured" in text
    code, text = scant("power", plan_in(tmp_path))
    assert (code, "compares nothing" in text) == (2, True)


def test_until_decided_starts_the_other_kind_of_run(
    scant: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def start(name: str, **settings: Any) -> Summary:
        asked.append(settings)
        return Summary()

    monkeypatch.setattr("benchmark.session.run_until_decided", start)
    path = plan_in(tmp_path, methods=["cps"], bounds=True, seeds=3)
    assert scant("run", path, "--until-decided", "--no-track")[0] == 0
    assert (asked[0]["track"], asked[0]["only"]) == (False, None)
    scant("run", path, "--until-decided", "--only", "cps")
    assert asked[1]["only"] == "cps", "the session says what it thinks of that"


def test_added_cells_are_shown_run_and_verified_like_those_of_the_plan(scant: Command, tmp_path: Path) -> None:
    from dataclasses import replace

    from benchmark import looks as looks_file
    from benchmark import plan_file

    path = plan_in(tmp_path, methods=["cps"], bounds=True, seeds=3)
    plan = plan_file.load(path)
    declared = looks_file.declare(plan)
    extra = looks_file.further(plan, declared, 1)[0]
    looks_file.write(tmp_path / "results" / "tiny", replace(declared, added=(extra.id,)))
    code, text = scant("plan", path)
    assert (code, extra.title in text) == (0, True)
    code, text = scant("cell", path, extra.id)
    assert (code, f"finished {extra.id}" in text) == (0, True)
