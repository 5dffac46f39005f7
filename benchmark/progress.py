"""Progress of a run: a live bar that names the running cells and the time left; plain lines without a terminal."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .execute.local import Event, Running
from .plan import Cell
from .state import Forecast, duration

_BAR = 20
"""Characters of the bar behind a cell that makes labels."""


class Progress:
    """Listens to the supervisor and shows what happens.

    Args:
        cells: what is to be run.
        workers: slots, for the time left.
        forecast: knows what finished cells took.
        console: where to write.
    """

    def __init__(self, cells: list[Cell], workers: int, forecast: Forecast, console: Console) -> None:
        self.console, self.workers, self.forecast = console, workers, forecast
        self.left = {cell.id: cell for cell in cells}
        self.total, self.done, self.failed = len(cells), 0, 0
        self.running: dict[str, Running] = {}
        self._started = time.monotonic()
        self._live = (
            Live(console=console, refresh_per_second=2, get_renderable=self._show) if console.is_terminal else None
        )

    def __enter__(self) -> Progress:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Take one event of the supervisor."""
        if event.kind == "started" and event.running:
            self.running[event.cell.id] = event.running
        if event.kind in ("finished", "skipped"):
            self.running.pop(event.cell.id, None)
            self.left.pop(event.cell.id, None)
            self.done += 1
            if event.record is not None and event.kind == "finished":
                self.forecast.learn(event.record)
                self._line(event)

    def time_left(self) -> float | None:
        """Seconds until the last cell, from what finished cells took; None while nothing is known."""
        total = self.forecast.total(list(self.left.values()), self.workers)
        if total is None:
            return None
        now = time.monotonic()
        return max(0.0, total - sum(now - r.started for r in self.running.values()) / self.workers)

    def _line(self, event: Event) -> None:
        record = event.record
        assert record is not None
        if record.status == "finished":
            text = f"{event.cell.title}  {duration(record.seconds['total'])}"
            mark = Text("done  ", style="green")
        else:
            self.failed += 1
            text, mark = f"{event.cell.title}  {record.reason}", Text("FAILED", style="red")
        left = f"  ({self.done}/{self.total}, {duration(self.time_left())} left)" if not self._live else ""
        self.console.print(mark + Text(f" {text}{left}"), soft_wrap=True)  # a reason may hold brackets

    def _show(self) -> Group:
        head = Table.grid(padding=(0, 1))
        failed = f", [red]{self.failed} failed[/]" if self.failed else ""
        left, so_far = duration(self.time_left()), duration(time.monotonic() - self._started)
        head.add_row(
            ProgressBar(total=self.total, completed=self.done, width=30),
            Text.from_markup(f"{self.done}/{self.total} cells{failed}, {left} left, {so_far} so far"),
        )
        rows = [Text(f"  {r.cell.title}: {_phase(r)}", style="dim") for r in self.running.values()]
        return Group(head, *rows)


def _phase(running: Running) -> str:
    if running.phase == "train":
        return f"step {running.step}/{running.cell.training.steps}"
    if running.phase == "label":
        full = running.step * _BAR // 100
        return f"labelling the training samples {'━' * full}{'╌' * (_BAR - full)} {running.step} %"
    return "starting" if running.phase == "start" else f"evaluating, case {running.step}"
