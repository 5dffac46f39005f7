"""What is done, stale, failed, running or to do in a plan, and what the rest will take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from . import receipt
from .execute.lease import Lease
from .plan import Cell
from .prepare import Places, beside_hashes, data_hashes
from .record import Record, read

State = Literal["done", "stale", "failed", "running", "to do"]


@dataclass(frozen=True)
class CellState:
    """One cell, where it stands and why."""

    cell: Cell
    state: State
    why: str = ""
    record: Record | None = None
    other_data: bool = False
    """Stale since files that it read changed: its numbers are of images, say, that are no longer there."""


def state_of(
    cell: Cell, places: Places, data: str | None = None, beside: Mapping[str, str] = MappingProxyType({})
) -> CellState:
    """Where a cell stands. "stale": finished, but its method's file or its data changed since; kept unless redone.

    ``data`` is the hash of the data as they are now (None = not known here, so not compared), ``beside`` what
    `prepare.beside_hashes` finds now; records that do not know one of these hashes are not compared by it.
    """
    folder = places.folder(cell)
    record = read(folder)
    if (record is None or record.status != "finished") and Lease(folder).alive():
        return CellState(cell, "running", record=record)
    if record is None:
        if (folder / "record.json").exists():
            return CellState(cell, "to do", "its record is damaged or that of another cell: it counts as not run")
        return CellState(cell, "to do", "has a checkpoint" if (folder / "checkpoint.pt").exists() else "")
    if record.status != "finished":
        return CellState(cell, "failed", record.reason, record)
    if other_file(record, receipt.source(cell.method)):
        return CellState(cell, "stale", f"the file of {cell.method} changed since it ran", record)
    if data is not None and record.receipt.get("data") != data:
        return CellState(cell, "stale", f"the files of {cell.dataset} changed since it ran", record, other_data=True)
    for key, words in (("shapes_data", f"files of {cell.shapes}"), ("weights", f"weights of {cell.training.network}")):
        if _differ(record.receipt.get(key), beside.get(key)):
            return CellState(cell, "stale", f"the {words} changed since it ran", record, other_data=True)
    return CellState(cell, "done", record=record)


def _differ(recorded: str | None, now: str | None) -> bool:
    """Whether two hashes are both known and not the same."""
    return bool(recorded and now) and recorded != now


def other_file(record: Record, now: str) -> bool:
    """Whether a cell is of another version of its method's file than ``now``, the present `receipt.source`.

    Nobody can say so of a record that does not know its version.
    """
    return (record.receipt.get("source") or now) != now


def survey(cells: Sequence[Cell], places: Places) -> list[CellState]:
    """The state of every cell, in order."""
    hashes = data_hashes(cells, places, may_lack=True), beside_hashes(cells, places, may_lack=True)
    return [state_of(cell, places, data or None, beside) for cell, data, beside in zip(cells, *hashes, strict=True)]


def counts(states: Sequence[CellState]) -> dict[str, int]:
    """How many cells are in each state, in a fixed order, zeros left out."""
    found = Counter(s.state for s in states)
    return {name: found[name] for name in ("done", "stale", "failed", "running", "to do") if found[name]}


def stale(states: Sequence[CellState]) -> list[str]:
    """One sentence for each reason why cells are stale, such as ``5 cells stale: the files of msd changed since``."""
    found = Counter(s.why.removesuffix(" it ran") for s in states if s.state == "stale")
    return [f"{n} cell{'s' if n > 1 else ''} stale: {why}" for why, n in found.items()]


class Forecast:
    """Seconds that cells will take, from finished ones: of the same method and dataset, else dataset, else any."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], list[float]] = {}

    def learn(self, record: Record) -> None:
        """Take a finished cell into account, if it says how long it took."""
        if record.status != "finished" or "total" not in record.seconds:
            return
        method, dataset, seconds = record.cell["method"], record.cell["dataset"], record.seconds["total"]
        for key in ((method, dataset), (dataset,), ()):
            self._known.setdefault(key, []).append(seconds)

    def seconds(self, cell: Cell) -> float | None:
        """Expected duration of one cell; None while nothing is known."""
        for key in ((cell.method, cell.dataset), (cell.dataset,), ()):
            if key in self._known:
                return sum(self._known[key]) / len(self._known[key])
        return None

    def total(self, cells: Sequence[Cell], workers: int) -> float | None:
        """Expected duration of many cells on ``workers`` slots."""
        each = [self.seconds(cell) for cell in cells]
        if not each or any(s is None for s in each):
            return None if each else 0.0
        return sum(s for s in each if s is not None) / workers


def duration(seconds: float | None) -> str:
    """``1 h 05 min``, ``3 min 20 s``, ``12 s``; ``unknown`` for None."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
