"""What a person sees while a plan runs."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from benchmark import progress as shown
from benchmark.execute.local import Event
from benchmark.plan import Cell
from benchmark.progress import Progress
from benchmark.record import Record
from benchmark.state import Forecast

from .tiny_cells import tiny_plan


def console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=200, force_terminal=terminal, color_system=None)


def text(where: Console) -> str:
    assert isinstance(where.file, io.StringIO)
    return where.file.getvalue()


def ended(cell: Cell, seconds: float = 10, status: str = "finished", reason: str = "") -> Event:
    record = Record(cell.id, cell.canonical(), status, reason, seconds={"total": seconds})  # type: ignore[arg-type]
    return Event("finished", cell, Path(), record)


def started(cell: Cell, at: float, phase: str = "train", step: int = 3) -> Event:
    running: Any = SimpleNamespace(cell=cell, started=at, phase=phase, step=step)
    return Event("started", cell, Path(), running=running)


@pytest.fixture
def cells() -> list[Cell]:
    return list(tiny_plan(seeds=4).cells())


def test_without_a_terminal_there_is_a_line_per_cell_with_what_is_left(cells: list[Cell]) -> None:
    where = console()
    with Progress(cells, 2, Forecast(), where) as told:
        told(ended(cells[0]))
        told(ended(cells[1], status="failed", reason="RuntimeError: it broke"))
    # 10 s per cell; 3 left and then 2, on 2 slots
    assert text(where).splitlines() == [
        "done   supervised phantom_2d 34% s0  10 s  (1/4, 15 s left)",
        "FAILED supervised phantom_2d 34% s1  RuntimeError: it broke  (2/4, 10 s left)",
    ]


def test_time_that_running_cells_have_had_is_not_left(cells: list[Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown.time, "monotonic", lambda: 100.0)
    told = Progress(cells, 2, Forecast(), console())
    assert told.time_left() is None
    told(ended(cells[0], seconds=30))
    told(started(cells[1], at=80.0))
    # three cells of 30 s on two slots are 45 s; one of them has had 20 s, on one slot of two
    assert told.time_left() == 45 - 10
    told(started(cells[2], at=-1000.0))
    assert told.time_left() == 0


def test_a_reason_with_brackets_is_shown_as_it_is(cells: list[Cell]) -> None:
    where = console()
    with Progress(cells, 1, Forecast(), where) as told:
        told(ended(cells[0], status="failed", reason="IndexError: [/bold] of [red]x[0]"))
    assert "IndexError: [/bold] of [red]x[0]" in text(where)


def test_cells_left_to_another_runner_are_counted_silently(cells: list[Cell]) -> None:
    where = console()
    with Progress(cells, 1, Forecast(), where) as told:
        told(Event("skipped", cells[0], Path()))
    assert (told.done, text(where)) == (1, "")


def test_on_a_terminal_the_running_cells_are_named_with_their_steps_and_the_time_left(cells: list[Cell]) -> None:
    where = console(terminal=True)
    with Progress(cells, 2, Forecast(), where) as told:
        told(ended(cells[0], status="failed", reason="broke"))
        told(started(cells[1], at=0.0, step=3))
        told(started(cells[2], at=0.0, phase="evaluate", step=1))
        told(started(cells[3], at=0.0, phase="start"))
    found = text(where)
    with Progress(cells, 1, Forecast(), where) as told:
        told(started(cells[0], at=0.0, phase="label", step=25))
    assert "supervised phantom_2d 34% s0: labelling the training samples ━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ 25 %" in text(where)
    for expected in (
        "1/4 cells, 1 failed, unknown left",
        "supervised phantom_2d 34% s1: step 3/4",
        "supervised phantom_2d 34% s2: evaluating, case 1",
        "supervised phantom_2d 34% s3: starting",
    ):
        assert expected in found
