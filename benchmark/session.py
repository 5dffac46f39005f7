"""What a person starts: a plan is shown, checked, run, tracked and reported."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import punctuation
from typing import Any

from rich.console import Console

from . import plan_file, preflight, receipt
from .config import ConfigError, nearest
from .execute import redo
from .execute.lease import Lease
from .execute.local import SILENCE_SECONDS, Event, Limits, Summary, default_workers, run_cells
from .looks import cells_of
from .plan import Cell, Plan
from .prepare import Places, default_places
from .preview import print_plan
from .progress import Progress
from .run import checkpoint_seconds, describe
from .state import CellState, Forecast, stale, survey
from .typed import typed

TRACK_SECONDS = 10.0

_PUNCTUATION = punctuation.replace("%", "")


def run_plan(
    name: str,
    *,
    data: str | None = None,
    results: str | None = None,
    workers: int | None = None,
    only: str | None = None,
    track: bool = True,
    uri: str | None = None,
    keep_failed: bool = False,
    redo_stale: bool = False,
    wall_limit: float | None = None,
    silence: float = SILENCE_SECONDS,
    cells: Sequence[Cell] | None = None,
    console: Console,
) -> Summary:
    """Run what is left of a plan. Everything that can be wrong is checked before the first step of training.

    ``cells``: of this plan, with seeds that it does not have itself perhaps; None: its own and those added by looks.

    Raises:
        ConfigError, DataError, NotReady: the plan cannot run as it stands.
    """
    plan, places = plan_file.load(name), default_places(data, results)
    states, forecast = left_to_run(
        plan, places, cells=cells, only=only, workers=workers, keep_failed=keep_failed, redo_stale=redo_stale,
        console=console,
    )  # fmt: skip
    todo = [state.cell for state in states]
    if not todo:
        console.print("nothing left to run")
        return Summary()
    slots = workers or default_workers()
    tracker = _Tracking(plan, places, uri, typed(name, results)) if track else None
    try:
        with Progress(todo, slots, forecast, console) as progress:

            def listen(event: Event) -> None:
                progress(event)
                if tracker:
                    tracker(event)

            limits = Limits(wall=wall_limit, silence=silence)
            summary = run_cells(
                todo, places, workers=slots, limits=limits, checkpoint_seconds=checkpoint_seconds(),
                again=outdated(states), listen=listen,
            )  # fmt: skip
    finally:
        for note in tracker.close() if tracker else []:
            console.print(note, markup=False)
    console.print(f"{summary.finished} finished, {summary.failed} failed, {summary.skipped} left to another runner")
    for cell_id, reason in summary.reasons.items():
        console.print(f"  {cell_id}: {reason}", style="red", markup=False, highlight=False)
    return summary


def left_to_run(
    plan: Plan, places: Places, *, cells: Sequence[Cell] | None = None, only: str | None, workers: int | None,
    keep_failed: bool, redo_stale: bool, console: Console,
) -> tuple[list[CellState], Forecast]:  # fmt: skip
    """Check all that can be wrong, show the plan, and say which cells are to be computed; arguments as of `run_plan`.

    Records of stale cells stay where they are, see `outdated`.
    """
    known = cells_of(plan, places.results / plan.name) if cells is None else cells
    cells = [cell for cell in known if only is None or only in cell.title]
    if not cells:
        raise ConfigError(f"plan {plan.name}: no cell has {only!r} in its title{nearest(only or '', _titles(known))}")
    preflight.check(cells, places, lambda line: console.print(line, markup=False))
    states = survey(cells, places)
    print_plan(plan, states, workers, console)
    forecast = Forecast()
    for state in states:
        if state.record:
            forecast.learn(state.record)
        if state.state == "done":
            Lease(places.folder(state.cell)).sweep()
    wanted = {"to do", "running"} | (set() if keep_failed else {"failed"}) | ({"stale"} if redo_stale else set())
    for sentence in () if redo_stale else stale(states):
        line = f"{sentence}; kept as they are, repeat with --redo-stale to compute them again"
        console.print(line, markup=False, soft_wrap=True)
    return [state for state in states if state.state in wanted], forecast


def outdated(states: Sequence[CellState]) -> dict[str, str]:
    """Marks of the records of stale cells, by cell id: whoever takes such a cell to compute it removes that record."""
    return {state.cell.id: redo.mark(state.record) for state in states if state.state == "stale" and state.record}


def run_until_decided(name: str, *, only: str | None = None, console: Console, **settings: Any) -> Summary:
    """Run a plan, and more seeds of it where verdicts are open, see `until_decided`; arguments are those of `run_plan`.

    Raises:
        ConfigError: ``only``; looks that the plan cannot have, or others than those declared before.
    """
    from . import until_decided
    from .looks import declare

    if only is not None:
        raise ConfigError("--until-decided looks at all comparisons of a plan; leave out --only")
    plan = plan_file.load(name)
    folder = default_places(settings.get("data"), settings.get("results")).results / plan.name

    def run_cells(cells: Sequence[Cell]) -> Summary:
        return run_plan(name, cells=cells, console=console, **settings)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return until_decided.run(plan, folder, declare(plan), run_cells, say)


def tell_power(name: str, difference: float, *, data: str | None, results: str | None, console: Console) -> None:
    """Print how many seeds and cases would find a difference (Dice points), see `power`.

    Raises:
        ConfigError: the plan compares nothing.
    """
    from . import power

    plan = plan_file.load(name)
    lines = power.lines(plan, default_places(data, results))
    if not lines:
        raise ConfigError(f"plan {plan.name} compares nothing: it has no lower bound (bounds: true adds them)")
    power.tell(plan, lines, difference, console)


def bench_plan(
    name: str,
    *,
    data: str | None,
    results: str | None,
    workers: int | None,
    uri: str | None,
    console: Console,
    until_decided: bool = False,
    redo_stale: bool = False,
) -> Summary:
    """Run a plan, then write its report and say where everything is.

    Raises:
        NotReady: cells were computed from other files than there are now, and are not to be computed again.
        ConfigError, DataError: the plan cannot run as it stands.
    """
    from . import report, tracking
    from .report.frame import ReportError

    plan, places, called = plan_file.load(name), default_places(data, results), typed(name, results)
    if not redo_stale:
        _refuse_other_data(plan, places)
    start = run_until_decided if until_decided else run_plan
    summary = start(name, data=data, results=results, workers=workers, uri=uri, redo_stale=redo_stale, console=console)
    try:
        folder = report.build(plan.name, places.results, plan=plan, called=called)
    except ReportError as error:
        raise ConfigError(f"no report: {error}") from error
    console.print(
        f"\nreport: {folder / 'index.html'}\ntables: {folder / 'table.md'} (.csv, .tex)", markup=False, soft_wrap=True
    )
    for note in tracking.log_report(plan.name, folder, uri=uri, called=called):
        console.print(note, markup=False)
    if links := tracking.links(plan.name, uri=uri, results=places.results):
        console.print("MLflow: `make ui` (or a bare `mlflow ui`) shows every cell; views:")
    for title, link in links:
        console.print(f"  {title}: {link}", markup=False, soft_wrap=True)
    return summary


def _refuse_other_data(plan: Plan, places: Places) -> None:
    """A table that looks new must not hold numbers of images that are no longer there."""
    states = survey(cells_of(plan, places.results / plan.name), places)
    for sentence in stale([state for state in states if state.other_data]):
        raise preflight.NotReady(
            f"plan {plan.name}: {sentence}. Nothing was run, and no report was written; repeat with --redo-stale to "
            "compute them again (their numbers are then lost), or choose another folder of results (--results)"
        )


def own_plan(name: str, images: Path, data: str | None, results: str | None, console: Console) -> tuple[str, str]:
    """The plan for somebody's own folder and the folder that holds it, as ``bench_plan`` takes them.

    Raises:
        ConfigError, DataError: a plan or a data folder is named, too; or what `own.plan_for` refuses.
    """
    from . import own

    if name != "demo" or data is not None:
        raise ConfigError(f"--images {images} is plan and data at once; leave out the other one")

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    path, remarks = own.plan_for(images, default_places(None, results), say)
    for line in (f"plan for {images}: {path}", *(f"mind: {remark}" for remark in remarks)):
        say(line)
    return str(path), str(own.located(images).parent)


def tune_plan(
    name: str,
    *,
    data: str | None,
    results: str | None,
    workers: int | None,
    uri: str | None,
    console: Console,
    track: bool = True,
) -> Path:
    """Tune a plan after the same checks as a run; the path of the tuned plan."""
    from . import studies, tracking, tune

    plan, places = plan_file.load(name), default_places(data, results)
    found = studies.studies(plan)
    preflight.check([study.cell for study in found], places, lambda line: console.print(line, markup=False))
    dimensions = len(found[0].dimensions)
    console.print(f"{len(found)} studies of {plan.tuning.trials} trials, {dimensions} hyper-parameters each")

    def tracker(study: str, budget: Mapping[str, object]) -> object:
        return tracking.StudyTracker(f"{plan.name}-tune", study, budget, uri=uri, results=places.results)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return tune.tune(plan, places, workers=workers, say=say, tracker=tracker if track else None)


def _titles(cells: Sequence[Cell]) -> list[str]:
    """Words that the titles of cells are made of, without what stands before or behind them."""
    words = {word.strip(_PUNCTUATION) for cell in cells for word in cell.title.split()}
    return sorted(words - {""})


class _Tracking:
    """Feeds the tracker from the supervisor's events; never waits for it."""

    def __init__(self, plan: Plan, places: Places, uri: str | None, called: str) -> None:
        from .tracking import Tracker

        self._tracker = Tracker(plan, places.results, uri=uri, called=called)
        self._told = time.monotonic()

    def __call__(self, event: Event) -> None:
        if event.kind == "started":
            self._tracker.started(describe(event.cell) | receipt.code(), event.cell.id, event.folder)
        elif event.kind == "finished":
            self._tracker.finished(event.folder)
        elif event.kind == "progress" and time.monotonic() - self._told > TRACK_SECONDS:
            self._told = time.monotonic()
            self._tracker.progressed()

    def close(self) -> list[str]:
        return self._tracker.close()
