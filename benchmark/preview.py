"""What a plan would run and where its cells stand: `plan` and `status`. Runs nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from . import feasible, plan_file, preflight
from .execute.local import default_workers
from .looks import cells_of
from .plan import Cell, Plan
from .prepare import Places, default_places
from .state import CellState, Forecast, counts, duration, survey


def show_plan(name: str, *, data: str | None, results: str | None, workers: int | None, console: Console) -> None:
    """Show a plan after those checks of a run that need no data.

    Raises:
        ConfigError, NotReady: the plan cannot run as it stands.
    """
    plan, places = plan_file.load(name), default_places(data, results)
    cells = cells_of(plan, places.results / plan.name)
    feasible.check(cells, lambda line: console.print(line, markup=False, soft_wrap=True))
    _show(plan, cells, places, workers, console)


def show_states(name: str, *, data: str | None, results: str | None, console: Console) -> None:
    """Show what became of a plan, also of one that could not run now."""
    plan, places = plan_file.load(name), default_places(data, results)
    _show(plan, cells_of(plan, places.results / plan.name), places, None, console)


def print_plan(plan: Plan, states: Sequence[CellState], workers: int | None, console: Console) -> None:
    """The size of a plan, what it follows, what is done, and what the rest will take."""
    slots = workers or default_workers()
    forecast = Forecast()
    for state in states:
        if state.record:
            forecast.learn(state.record)
    left = [s.cell for s in states if s.state in ("to do", "failed")]
    told = ", ".join(f"{n} {name}" for name, n in counts(states).items())
    console.print(f"{plan.title} ({plan.name}): {len(states)} cells: {told}", style="bold", markup=False)
    console.print(f"protocol: {plan.protocol.strip()}", markup=False)
    for reason in plan.dropped():
        console.print(f"left out: {reason}", markup=False)
    if left:
        steps = sum(cell.training.steps for cell in left)
        time_left = duration(forecast.total(left, slots))
        disk = preflight.MIB_PER_CELL * len(left)
        console.print(
            f"to run: {len(left)} cells, {steps} steps, {slots} at a time; time: {time_left}; disk: up to {disk} MiB"
        )


def _show(plan: Plan, cells: Sequence[Cell], places: Places, workers: int | None, console: Console) -> None:
    states = survey(cells, places)
    print_plan(plan, states, workers, console)
    table = Table("cell", "state", "why", box=None)
    for state in states:
        if state.state != "done":
            table.add_row(state.cell.title, state.state, state.why)
    if table.row_count:
        console.print(table)
