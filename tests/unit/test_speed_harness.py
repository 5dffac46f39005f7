"""What the speed scripts share: turns, ratios within a round, goals, files that say whether they are complete."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.execute.local import Summary
from benchmark.plan import Cell
from benchmark.prepare import Places
from benchmarks import accuracy, harness, output, runner, settings, step
from benchmarks.engine import Counted
from benchmarks.harness import Row, Run, Terms, by_turns, clocked, compare, skipped
from benchmarks.process import OURS, PLAIN, Crew, Failed, Worker
from benchmarks.settings import Setting
from methods.networks.blocks import conv


def run_of(tmp_path: Path, **changes: Any) -> Run:
    return Run(**{"scratch": tmp_path, "deadline": time.monotonic() + 1000, "quick": True} | changes)


def given(*seconds: float) -> harness.Contender:
    """A contender whose turns take these seconds."""
    left = iter(seconds)
    return lambda: next(left)


# Turns and ratios ----------------------------------------------------------------------------------------------------
def test_contenders_take_turns_every_other_round_runs_backwards_and_the_first_does_not_count() -> None:
    told: list[str] = []

    def contender(name: str) -> harness.Contender:
        return lambda: told.append(name) or float(len(told))  # type: ignore[func-returns-value]

    found = by_turns({name: contender(name) for name in "ab"}, repeats=3, until=math.inf)
    assert "".join(told) == "ab" + "ab" + "ba" + "ab"
    assert found == {"a": [3, 6, 7], "b": [4, 5, 8]}


def test_when_time_is_over_one_round_is_finished_and_none_begun() -> None:
    assert by_turns({"a": given(1, 2, 3)}, repeats=3, until=0.0, warm=0) == {"a": [1]}


def test_a_ratio_is_formed_within_a_round(tmp_path: Path) -> None:
    # after the round that does not count: 3/1 and 4/2, so the median is 2.5; the ratio of medians would be 3.5/1.5
    contenders = {"ours": given(9, 1, 2), "theirs": given(9, 3, 4)}
    ours, theirs = compare("work", contenders, run_of(tmp_path, repeats=2), terms=Terms(least={"theirs": 2.6}))
    assert (ours.values, ours.ratios) == ((1000, 2000), ())
    assert (theirs.values, theirs.ratios) == ((3000, 4000), (3, 2))
    assert theirs.as_json()["ratio"] == {"median": 2.5, "low": 2, "high": 3}
    assert theirs.met is False


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (Row("", "", values=(1.0, 3.0), most=2.1), True),  # the median is 2
        (Row("", "", values=(1.0, 3.0), most=2.0), False),
        (Row("", "", values=(1.0,), ratios=(4.0,), least=4.0), True),
        (Row("", "", values=(1.0,)), None),
        (skipped("", "no time"), None),
    ],
)
def test_a_goal_is_met_missed_or_absent(row: Row, met: bool | None) -> None:
    assert row.met is met


def test_work_done_several_times_counts_once_on_average() -> None:
    done: list[int] = []
    assert clocked(lambda: done.append(1), times=4, clock=given(10, 30))() == 5
    assert len(done) == 4


# Files ---------------------------------------------------------------------------------------------------------------
@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs a part named "metrics" with made-up rows, of code that does not change."""
    monkeypatch.setattr(output.receipt, "code", lambda: {"commit": "c" * 40, "dirty": False, "diff": "", "tree": "t"})

    def start(rows: Iterator[Row], *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["metrics", "--out", str(tmp_path / "out"), *arguments])
        return output.main("metrics", lambda run: rows)

    return start


def found_in(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_a_part_that_is_done_for_this_code_is_left_alone(
    started: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert started(iter([Row("first", "ours", "ms", (1.0,))])) == 0
    started(iter([Row("second", "ours", "ms", (1.0,))]), "--budget", "7")  # no other question, only more time for it
    assert "done for this code" in capsys.readouterr().out
    assert found_in(tmp_path)["rows"][0]["subject"] == "first"
    started(iter([Row("third", "ours", "ms", (1.0,))]), "--again")
    assert found_in(tmp_path)["rows"][0]["subject"] == "third"
    started(iter([Row("fourth", "ours", "ms", (1.0,))]), "--repeats", "7")  # something else was asked for
    assert found_in(tmp_path)["rows"][0]["subject"] == "fourth"


def test_a_part_that_broke_off_keeps_its_rows_says_so_and_is_run_again(started: Any, tmp_path: Path) -> None:
    def broken() -> Iterator[Row]:
        yield Row("first", "ours", "ms", (1.0,))
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        started(broken())
    assert found_in(tmp_path)["receipt"]["complete"] is False
    assert "**Interrupted.**" in (tmp_path / "out" / "table.md").read_text()
    started(iter([Row("again", "ours", "ms", (1.0,))]))
    assert [row["subject"] for row in found_in(tmp_path)["rows"]] == ["again"]


def test_the_last_subject_of_a_killed_run_is_not_kept_for_it_may_lack_rows() -> None:
    rows = [{"subject": subject, "note": ""} for subject in ("a", "a", "b")]
    assert set(output._kept({"rows": rows, "receipt": {"ended": False}})) == {"a"}
    assert set(output._kept({"rows": rows, "receipt": {"ended": True}})) == {"a", "b"}


def test_the_table_shows_spread_ratio_goal_and_what_is_missing(started: Any, tmp_path: Path) -> None:
    rows = [
        Row("work", "ours", "ms", (1.0, 2.0, 4.0)),
        Row("work", "theirs", "ms", (8.0,), (4.0,), least=5.0, note="their own loss"),
        skipped("work", "not installed", "others"),
    ]
    started(iter(rows))
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert "| work | ours | 2 (1–4) ms |  |  |  |" in lines
    assert "|  | theirs | 8 ms | 4 | ≥ 5 ×, **not met** | their own loss |" in lines
    assert "|  | others | – |  |  | not installed |" in lines
    assert any("commit cccccccccc, " in line and "torch" in line and "load" in line for line in lines)


def test_quick_runs_have_no_goals_and_files_name_no_folder(started: Any, tmp_path: Path) -> None:
    row = Row("work", "theirs", "ms", (8.0,), (4.0,), least=5.0)
    started(iter([row]), "--quick", "--data", str(tmp_path / "secret"))
    assert found_in(tmp_path)["rows"][0]["met"] is None
    assert "mean nothing" in (tmp_path / "out" / "table.md").read_text()
    assert "secret" not in (tmp_path / "out" / "metrics.json").read_text()


def test_all_parts_fit_into_half_an_hour_and_have_a_script() -> None:
    assert sum(budget for _, budget in output.PARTS.values()) <= 30 * 60
    folder = Path(output.__file__).parent
    assert all((folder / f"{part}.py").is_file() for part in output.PARTS)


# Parts ---------------------------------------------------------------------------------------------------------------
def test_cells_of_scans_and_of_other_code_are_not_those_of_phantoms_though_they_look_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path)
    setting = settings.acdc(run, 32)
    scans = replace(setting, source=replace(setting.source, real=True))
    ran: list[Path] = []

    def run_cells(cells: Sequence[Cell], places: Places, **how: Any) -> Summary:
        ran.extend(places.folder(cell) for cell in cells)
        raise RuntimeError

    monkeypatch.setattr(accuracy, "run_cells", run_cells)
    for one in (setting, scans):
        with pytest.raises(RuntimeError):
            accuracy._ours(run, one, [one.cell("pce")])
    monkeypatch.setattr(accuracy.receipt, "code", lambda: {"tree": "another"})
    with pytest.raises(RuntimeError):
        accuracy._ours(run, setting, [setting.cell("pce")])
    assert len(set(ran)) == 3


def test_the_mean_of_paired_differences_is_set_against_its_interval() -> None:
    # differences 0.1 and 0.3: mean 0.2, sd 0.1·√2; t of 97.5 % with 1 degree of freedom is 12.706
    *_, verdict, _ = accuracy.compare_pairs("", [0.5, 0.9], [0.4, 0.6])
    assert verdict.values[0] == pytest.approx(0.2 / (12.706 * 0.1), rel=1e-3)
    assert verdict.met is True
    *_, verdict, _ = accuracy.compare_pairs("", [0.5, 0.75], [0.25, 0.5])  # always better by as much
    assert verdict.values == (math.inf,)
    *_, verdict, _ = accuracy.compare_pairs("", [0.5, 0.75], [0.5, 0.75])
    assert verdict.values == (0.0,)


def test_growth_is_the_slope_of_what_outlives_cells() -> None:
    watch = runner.Watch(until=math.inf)
    watch.held_mib = [900.0, *(100 + 0.5 * number for number in range(19))]  # the first tenth warms up
    assert watch.growth_mib() == pytest.approx(50)


def test_time_beyond_the_cells_is_that_of_all_workers() -> None:
    watch = runner.Watch(until=math.inf)
    watch.ended = watch.began + 10
    assert watch.beyond([4.0, 4.0, 4.0, 4.0], workers=2) == pytest.approx((2 * 10 - 16) / 4)


def test_an_operation_moves_what_it_reads_and_writes_and_a_view_moves_nothing() -> None:
    a, b = torch.ones(4), torch.ones(4)
    with Counted() as counted:
        (a + b).view(2, 2).t()
    assert (counted.bytes, counted.flops) == (3 * 16, 0)


def test_products_and_convolutions_are_counted_and_only_convolutions_are_passes() -> None:
    image, weight = torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3, requires_grad=True)
    with Counted() as counted:
        torch.ones(2, 3) @ torch.ones(3, 4)
        torch.conv2d(image, weight).sum().backward()
    product, convolution = 2 * 2 * 3 * 4, 2 * (3 * 3) * 3 * (2 * 3 * 3)  # 9 places, 3 channels, 18 weights each
    assert counted.passes == 2 * convolution  # forward, and back to the weights; the image asks for no gradient
    assert counted.flops == counted.passes + product


def test_a_small_volume_on_its_own_is_half_of_the_work_of_two_though_it_is_computed_as_a_pair() -> None:
    layer, passes = conv(3, 2, 4), []
    for n in (1, 2):
        with Counted() as counted:
            layer(torch.ones(n, 2, 4, 4, 4, requires_grad=True)).sum().backward()
        passes.append(counted.passes)
    assert passes[0] == passes[1] / 2


# Processes -----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_contender_finds_the_environment_of_its_kind_and_its_errors_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "7")
    for environment, expected in ((OURS, "'0'"), (PLAIN, "None")):
        with Worker(os.getenv, "MALLOC_MMAP_MAX_", threads=1, environment=environment) as worker:
            assert worker.ask("__repr__") == expected
    assert os.environ["MALLOC_MMAP_MAX_"] == "7"
    with Crew(2, dict, {"a": 1, "b": 2, "c": 3}) as crew:
        assert crew.ask("__len__") == [3, 3]
        assert crew.ask_each("get", ["c", "a", "b"]) == [3, 1, 2]
        assert crew.ask_each("pop", ["a", "a", "b"]) == [1, 1, 2], "a worker was given more than its share"
        with pytest.raises(Failed, match="no attribute 'nothing'"):
            crew.ask("nothing")


# Going on where it stood ---------------------------------------------------------------------------------------------
def test_a_part_that_had_no_time_for_all_goes_on_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    def measure(run: Run):
        seen.append(set(run.kept))
        for number, subject in enumerate("abc"):
            if subject in run.kept:
                yield from run.kept[subject]
            elif number <= len(seen):  # two subjects fit into the first run
                yield Row(subject, "ours", "ms", (float(len(seen)),))
            else:
                yield harness.skipped(subject)

    command = ["speed", "--out", str(tmp_path)]
    for _ in range(3):
        monkeypatch.setattr("sys.argv", command)
        assert output.main("step", measure) == 0
    assert seen == [set(), {"a", "b"}]  # the third time, all is done
    found = json.loads((tmp_path / "step.json").read_text())
    assert [row["value"]["median"] for row in found["rows"]] == [1.0, 1.0, 2.0]
    assert found["receipt"]["complete"]
    monkeypatch.setattr(output, "_receipt", lambda: {**found["receipt"], "tree": "another"})
    assert output.main("step", measure) == 0
    assert seen[2] == set()


def test_what_a_published_run_takes_is_its_steps_times_a_step(tmp_path: Path) -> None:
    setting = Setting("t", None, {}, {}, {"scribble": 60_000})  # type: ignore[arg-type]
    (row,) = step.published_run(setting, "pce", Row("pce, t", "ours", "ms", (10.0, 20.0)))
    assert (row.contender, row.values) == ("ours, all 60000 published steps", (600.0, 1200.0))
    assert step.published_run(setting, "mean_teacher", row) == []
