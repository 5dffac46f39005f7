"""Command line: ``python -m benchmark VERB``, one function per verb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from . import data_verbs, leaving
from .complaints import call

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(data_verbs.app, name="data")
console = Console(highlight=False, markup=False)  # reasons and paths may hold brackets
complaints = Console(stderr=True, highlight=False, markup=False)

PlanName = Annotated[str, typer.Argument(help="Name of a plan, or the path of a .yaml file.")]
Data = Annotated[str | None, typer.Option(help="Folder that holds the datasets (default: BENCH_DATA, else data/).")]
Results = Annotated[str | None, typer.Option(help="Folder of the results (default: BENCH_RESULTS, else results/).")]
Workers = Annotated[int | None, typer.Option(min=1, help="Cells at a time (default: one per core).")]
Only = Annotated[str | None, typer.Option(help="Only cells whose title contains this text.")]
UntilDecided = Annotated[bool, typer.Option("--until-decided", help="Add seeds where verdicts are open.")]
KeepFailed = Annotated[bool, typer.Option(help="Do not try failed cells again.")]
RedoStale = Annotated[bool, typer.Option(help="Run stale cells again.")]
Request = Annotated[
    str, typer.Option("--slurm", help='What a job asks for, such as "time=08:00:00 partition=gpu gres=gpu:1".')
]
AtOnce = Annotated[int | None, typer.Option(min=1, help="Jobs at a time (default: all that the cluster can).")]
Examples = Annotated[
    bool | None, typer.Option(help="Draw slices of test images, or not: for where scans may not be shown. It stays so.")
]
Uri = Annotated[str | None, typer.Option(help="MLflow tracking URI (default: MLFLOW_TRACKING_URI, else mlflow.db).")]


@app.command("list")
def list_() -> None:
    """What there is: methods, networks, datasets, plans."""
    from .listing import listed

    for title, rows in listed():
        table = Table(title=title, title_justify="left", box=None, show_header=False)
        for row in rows:
            table.add_row(*row)
        console.print(table)


@app.command()
def show(name: Annotated[str, typer.Argument(help="A method, a network, a dataset or a plan.")]) -> None:
    """One method (with its hyper-parameters), network, dataset (its card) or plan."""
    from . import plan_file
    from .listing import told

    if name in plan_file.available() or name.endswith((".yaml", ".yml")):
        plan(name)
        return
    for part in told(name):
        console.print(part)


@app.command()
def plan(name: PlanName = "demo", data: Data = None, results: Results = None, workers: Workers = None) -> None:
    """What a plan would run: its size, what is done, stale, failed and to do, time and disk. Runs nothing."""
    from .preview import show_plan

    show_plan(name, data=data, results=results, workers=workers, console=console)


@app.command()
def run(
    name: PlanName = "demo",
    data: Data = None,
    results: Results = None,
    workers: Workers = None,
    only: Only = None,
    track: Annotated[bool, typer.Option(help="Show the cells in MLflow.")] = True,
    uri: Uri = None,
    keep_failed: KeepFailed = False,
    redo_stale: RedoStale = False,
    wall_limit: Annotated[float | None, typer.Option(min=1, help="Seconds after which a cell is ended.")] = None,
    silence: Annotated[float, typer.Option(min=60, help="Seconds without progress that end a cell.")] = 3600,
    until_decided: UntilDecided = False,
) -> None:
    """Run every cell of a plan that is not done yet. Safe to interrupt and to repeat."""
    from .session import run_plan, run_until_decided

    start = run_until_decided if until_decided else run_plan
    summary = start(
        name, data=data, results=results, workers=workers, only=only, track=track, uri=uri,
        keep_failed=keep_failed, redo_stale=redo_stale, wall_limit=wall_limit, silence=silence, console=console,
    )  # fmt: skip
    if summary.failed:
        raise typer.Exit(1)


@app.command()
def bench(
    name: PlanName = "demo", data: Data = None, results: Results = None, workers: Workers = None, uri: Uri = None,
    until_decided: UntilDecided = False, redo_stale: RedoStale = False,
    images: Annotated[Path | None, typer.Option(help="Your own images and masks: writes a plan and runs it.")] = None,
) -> None:  # fmt: skip
    """The whole benchmark: show the plan, run it, track it in MLflow, write tables and plots."""
    from .session import bench_plan, own_plan

    if images is not None:
        name, data = own_plan(name, images, data, results, console)
    summary = bench_plan(
        name, data=data, results=results, workers=workers, uri=uri, console=console,
        until_decided=until_decided, redo_stale=redo_stale,
    )  # fmt: skip
    if summary.failed:
        raise typer.Exit(1)


@app.command()
def cell(name: PlanName, cell_id: str, data: Data = None, results: Results = None) -> None:
    """Run one cell of a plan in this process, as a job of a cluster does; a finished cell is left alone."""
    from .execute.single import run_one

    record = run_one(name, cell_id, data=data, results=results)
    console.print(f"{record.status} {record.id} {record.reason}")
    if record.status != "finished":
        raise typer.Exit(1)


@app.command()
def submit(
    name: PlanName, request: Request, at_once: AtOnce = None, data: Data = None, results: Results = None,
    only: Only = None, keep_failed: KeepFailed = False, redo_stale: RedoStale = False,
) -> None:  # fmt: skip
    """Submit every cell of a plan that is not done yet to a SLURM cluster, as one job array; returns at once."""
    from .submission import submit_plan

    submit_plan(
        name, request=request, at_once=at_once, data=data, results=results, only=only, keep_failed=keep_failed,
        redo_stale=redo_stale, console=console,
    )  # fmt: skip


@app.command()
def status(name: PlanName = "demo", data: Data = None, results: Results = None) -> None:
    """Which cells are done, running, failed or missing, and why."""
    from .preview import show_states

    show_states(name, data=data, results=results, console=console)


@app.command()
def report(
    name: PlanName = "demo",
    results: Results = None,
    rule: Annotated[
        str, typer.Option(help="How missed and failed classes count; see docs/read_the_verdict.md.")
    ] = "penalised",
    leave_out_stale: Annotated[
        bool, typer.Option(help="Report although cells of another version have not been computed again.")
    ] = False,
    examples: Examples = None,
    check: Annotated[bool, typer.Option(help="Only say whether the report is still what the records give.")] = False,
) -> None:
    """Rebuild tables, plots and the page of a plan from its records."""
    from .report_verb import report_plan

    report_plan(
        name, results=results, rule=rule, leave_out_stale=leave_out_stale, examples=examples, check=check,
        console=console,
    )  # fmt: skip


@app.command()
def power(
    name: PlanName = "demo",
    difference: Annotated[float, typer.Option(min=0.1, help="Difference to be found, in Dice points.")] = 1.0,
    data: Data = None,
    results: Results = None,
) -> None:
    """How many seeds and cases would find a difference: from assumed variance, or from what the plan's cells show."""
    from .session import tell_power

    tell_power(name, difference, data=data, results=results, console=console)


@app.command()
def tune(
    name: PlanName = "demo",
    data: Data = None,
    results: Results = None,
    workers: Workers = None,
    track: Annotated[bool, typer.Option(help="Show the trials in MLflow.")] = True,
    uri: Uri = None,
) -> None:
    """Tune every method of a plan under the same budget, on validation only; writes a plan that bench can run."""
    from .session import tune_plan

    path = tune_plan(name, data=data, results=results, workers=workers, uri=uri, console=console, track=track)
    console.print(f"tuned plan: {path}\nrun it: make bench PLAN={path}", soft_wrap=True)


@app.command()
def sync(name: PlanName = "demo", results: Results = None, uri: Uri = None) -> None:
    """Replay into MLflow what it missed while it was down, locked or slow; exit code 1 if it still misses something."""
    from . import tracking
    from .prepare import default_places

    places = default_places(None, results)
    # a plan given by its path has run under its bare name, which is all that a record knows
    plan_name = name if (places.results / name).is_dir() else _plan_name(name)
    done = tracking.sync(plan_name, places.results, uri=uri)
    console.print(str(done), soft_wrap=True)
    if done.failed:
        raise typer.Exit(1)


@app.command()
def ui(port: Annotated[int | None, typer.Option(help="Port (default: a free one).")] = None) -> None:
    """Open MLflow's page on what ran, in the right mode, with a small server."""
    from . import tracking

    tracking.ui(port)


@app.command()
def verify(
    name: PlanName = "demo",
    cells: Annotated[int, typer.Option(min=1, help="How many finished cells to run again.")] = 2,
    seed: Annotated[int, typer.Option(help="Draws the cells.")] = 0,
    data: Data = None,
    results: Results = None,
) -> None:
    """Run finished cells again and compare with their records: identical on the machine that made them."""
    import torch

    from . import plan_file
    from . import verify as verification
    from .looks import cells_of
    from .prepare import default_places
    from .typed import typed

    torch.set_num_threads(1)
    plan, places = plan_file.load(name), default_places(data, results)
    plan_cells = cells_of(plan, places.results / plan.name)
    found = verification.verify(
        plan_cells, places, count=cells, seed=seed, called=typed(name, results),
        say=lambda line: console.print(line, soft_wrap=True),
    )  # fmt: skip
    if not all(agreement.identical for agreement in found):
        raise typer.Exit(1)


@app.command()
def doctor(data: Data = None) -> None:
    """What this machine is, what runs on it, and what is missing."""
    from .doctor import examine

    if not examine(console, data):
        raise typer.Exit(1)


def _plan_name(name: str) -> str:
    from . import plan_file

    return plan_file.load(name).name


def main() -> None:
    """Entry point."""
    call(app, complaints)


if __name__ == "__main__":
    try:
        main()
    finally:  # whatever numba loads is loaded now
        leaving.skip_destructors()
