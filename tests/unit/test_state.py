"""Where cells stand, and how long the rest will take."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmark import receipt
from benchmark.execute.lease import Lease
from benchmark.plan import Cell
from benchmark.prepare import beside_hashes, open_dataset
from benchmark.record import Record, write
from benchmark.state import CellState, Forecast, counts, duration, state_of, survey
from datasets.contents import manifest_of

from .tiny_cells import PHANTOM, places_in, tiny_cell, tiny_plan


def left_behind(root: Path, cell: Cell, status: str, reason: str = "", **receipt_: Any) -> None:
    known = {"source": receipt.source(cell.method)} | receipt_
    found = Record(cell.id, cell.canonical(), status, reason, receipt=known)  # type: ignore[arg-type]
    write(places_in(root).folder(cell), found)


def state(root: Path, cell: Cell, data: str | None = None) -> tuple[str, str]:
    found = state_of(cell, places_in(root), data)
    return found.state, found.why


def test_a_cell_without_anything_is_to_do(tmp_path: Path) -> None:
    assert state(tmp_path, tiny_cell()) == ("to do", "")


def test_a_checkpoint_is_told(tmp_path: Path) -> None:
    folder = places_in(tmp_path).folder(tiny_cell())
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").touch()
    assert state(tmp_path, tiny_cell()) == ("to do", "has a checkpoint")


def test_a_finished_cell_is_done(tmp_path: Path) -> None:
    left_behind(tmp_path, tiny_cell(), "finished", data="d")
    assert state(tmp_path, tiny_cell()) == state(tmp_path, tiny_cell(), "d") == ("done", "")


@pytest.mark.parametrize("status", ["failed", "killed"])
def test_a_failed_or_killed_cell_says_why(tmp_path: Path, status: str) -> None:
    left_behind(tmp_path, tiny_cell(), status, "it broke")
    assert state(tmp_path, tiny_cell()) == ("failed", "it broke")


def test_a_cell_whose_method_or_data_changed_is_stale_and_says_which(tmp_path: Path) -> None:
    left_behind(tmp_path, tiny_cell(), "finished", data="d")
    assert state(tmp_path, tiny_cell(), "other") == ("stale", "the files of phantom_2d changed since it ran")
    left_behind(tmp_path, tiny_cell(), "finished", source="other")
    assert state(tmp_path, tiny_cell()) == ("stale", "the file of supervised changed since it ran")


@pytest.mark.parametrize(
    ("key", "why"),
    [("shapes_data", "the files of phantom_3d changed since it ran"),
     ("weights", "the weights of encoder:toy@pretrained changed since it ran")],
)  # fmt: skip
def test_a_cell_is_stale_by_what_it_read_beside_its_data_where_its_record_knows_that(
    tmp_path: Path, key: str, why: str
) -> None:
    entry = PHANTOM | {"shapes": "phantom_3d"}
    cell, places = tiny_cell("mask_mix_adv", datasets=[entry], network="encoder:toy@pretrained"), places_in(tmp_path)
    left_behind(tmp_path, cell, "finished", data="d", **{key: "h"})
    for same in ({}, {key: "h"}):
        assert state_of(cell, places, "d", same).state == "done"
    found = state_of(cell, places, "d", {key: "other"})
    assert (found.state, found.why, found.other_data) == ("stale", why, True)
    left_behind(tmp_path, cell, "finished", data="d")
    assert state_of(cell, places, "d", {key: "other"}).state == "done"


def test_a_survey_compares_the_data_that_lend_shapes(tmp_path: Path) -> None:
    cell = tiny_cell("mask_mix_adv", datasets=[PHANTOM | {"shapes": "phantom_3d"}])
    now = manifest_of(open_dataset(cell, places_in(tmp_path)), tmp_path)
    (lent,) = beside_hashes([cell], places_in(tmp_path))
    for known, expected in ((lent, "done"), ({"shapes_data": "older"}, "stale"), ({}, "done")):
        left_behind(tmp_path, cell, "finished", data=now, **known)
        assert [s.state for s in survey([cell], places_in(tmp_path))] == [expected]


def test_the_record_of_another_cell_and_a_damaged_one_count_as_not_run(tmp_path: Path) -> None:
    one, two = tiny_plan(seeds=2).cells()
    left_behind(tmp_path, one, "finished")
    shutil.copytree(places_in(tmp_path).folder(one), places_in(tmp_path).folder(two))
    said = ("to do", "its record is damaged or that of another cell: it counts as not run")
    assert (state(tmp_path, one)[0], state(tmp_path, two)) == ("done", said)
    path = places_in(tmp_path).folder(one) / "record.json"
    path.write_text(path.read_text().replace('"memory_mib": NaN', '"memory_mib": null'))
    assert state(tmp_path, one) == said


def test_a_cell_that_does_not_know_which_file_of_its_method_computed_it_is_not_stale(tmp_path: Path) -> None:
    for unknown in (None, ""):
        left_behind(tmp_path, tiny_cell(), "finished", source=unknown)
        assert state(tmp_path, tiny_cell()) == ("done", "")


@pytest.mark.parametrize("before", [None, "failed", "killed"])
def test_a_cell_that_somebody_runs_is_running_also_when_it_failed_before(tmp_path: Path, before: str | None) -> None:
    if before:
        left_behind(tmp_path, tiny_cell(), before, "it broke")
    lease = Lease(places_in(tmp_path).folder(tiny_cell()))
    assert lease.take()
    assert state(tmp_path, tiny_cell())[0] == "running"
    lease.release()
    assert state(tmp_path, tiny_cell())[0] == ("failed" if before else "to do")


def test_a_survey_compares_data_as_they_are_now(tmp_path: Path) -> None:
    one, two = tiny_plan(seeds=2).cells()
    now = manifest_of(open_dataset(one, places_in(tmp_path)), tmp_path)
    left_behind(tmp_path, one, "finished", data=now)
    left_behind(tmp_path, two, "finished", data="older")
    assert [s.state for s in survey([one, two], places_in(tmp_path))] == ["done", "stale"]


def test_a_survey_needs_no_data_at_hand(tmp_path: Path) -> None:
    cell = tiny_cell(datasets=["acdc"], ratios=[0.1], patch=[32, 32])
    left_behind(tmp_path, cell, "finished", data="d")
    assert [s.state for s in survey([cell], places_in(tmp_path))] == ["done"]


def test_counts_are_in_a_fixed_order_without_zeros() -> None:
    states = [CellState(tiny_cell(), name) for name in ("to do", "failed", "to do", "done")]  # type: ignore[arg-type]
    assert list(counts(states).items()) == [("done", 1), ("failed", 1), ("to do", 2)]


# Time ----------------------------------------------------------------------------------------------------------------
def took(cell: Cell, seconds: float, status: str = "finished") -> Record:
    return Record(cell.id, cell.canonical(), status, seconds={"total": seconds})  # type: ignore[arg-type]


def test_time_is_forecast_from_the_most_similar_cells() -> None:
    forecast = Forecast()
    assert forecast.seconds(tiny_cell("cps")) is None
    forecast.learn(took(tiny_cell("pce"), 10))
    assert forecast.seconds(tiny_cell("cps")) == 10  # the same dataset
    forecast.learn(took(tiny_cell("cps"), 30))
    forecast.learn(took(tiny_cell("cps"), 50))
    assert forecast.seconds(tiny_cell("cps")) == 40  # the same method and dataset
    assert forecast.seconds(tiny_cell("supervised")) == 30  # mean of all three on this dataset
    elsewhere = tiny_cell(datasets=["acdc"], ratios=[0.1], patch=[32, 32])
    assert forecast.seconds(elsewhere) == 30  # anything


def test_failed_cells_teach_nothing_about_time() -> None:
    forecast = Forecast()
    forecast.learn(took(tiny_cell(), 1, "failed"))
    assert forecast.seconds(tiny_cell()) is None


def test_a_finished_cell_that_does_not_say_how_long_it_took_teaches_nothing() -> None:
    forecast = Forecast()
    forecast.learn(Record(tiny_cell().id, tiny_cell().canonical(), "finished"))
    assert forecast.seconds(tiny_cell()) is None


def test_slots_share_the_time() -> None:
    forecast = Forecast()
    assert forecast.total([], 2) == 0
    assert forecast.total([tiny_cell()], 2) is None
    forecast.learn(took(tiny_cell(), 30))
    assert forecast.total([tiny_cell()] * 4, 2) == 60


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "unknown"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (3900, "1 h 05 min")],
)
def test_durations_are_for_people(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
