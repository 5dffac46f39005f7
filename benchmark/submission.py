"""What `submit` does: open cells of a plan are checked as for a run, then submitted to SLURM as one job array."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from . import encoders, plan_file
from .execute import slurm
from .execute.server import ENVIRONMENT
from .looks import cells_of
from .prepare import Places, default_places
from .session import left_to_run, outdated
from .state import duration


def submit_plan(
    name: str,
    *,
    request: str,
    at_once: int | None = None,
    data: str | None = None,
    results: str | None = None,
    only: str | None = None,
    keep_failed: bool = False,
    redo_stale: bool = False,
    console: Console,
) -> list[str]:
    """Submit what is left of a plan and return at once; the cluster's id of each job.

    Args:
        name: of a plan, or the path of one.
        request: what each job asks for, see `slurm.parse`.
        at_once: jobs that may run at a time; None = all.

    Raises:
        ConfigError, DataError, NotReady: the plan cannot run as it stands, or nothing can be submitted here.
    """
    asked = slurm.parse(request)
    plan, places = plan_file.load(name), default_places(data, results)
    places = Places(places.results.absolute(), places.data.absolute(), places.cache.absolute())
    folder = places.results / plan.name / "slurm"
    through = slurm.executor(folder)
    states, _ = left_to_run(
        plan, places, only=only, workers=at_once or len(cells_of(plan, places.results / plan.name)),
        keep_failed=keep_failed, redo_stale=redo_stale, console=console,
    )  # fmt: skip
    cells = [state.cell for state in states if state.state != "running"]
    if len(cells) < len(states):
        console.print(f"{len(states) - len(cells)} cells are running already and are not submitted")
    if not cells:
        console.print("nothing left to submit")
        return []
    where = str(Path(name).absolute()) if name.endswith((".yaml", ".yml")) else name
    kept, marks = environment(places), outdated(states)
    jobs = [
        slurm.Job(
            where, cell.id, str(places.data), str(places.results), kept,
            (str(places.folder(cell)), marks[cell.id]) if cell.id in marks else None,
        )
        for cell in cells
    ]  # fmt: skip
    ids = slurm.submit(jobs, asked, through, name=plan.name, at_once=at_once or len(jobs))
    array, limit, verb = ids[0].partition("_")[0], duration(asked.minutes * 60.0), "python -m benchmark"
    for line in (
        f"{len(ids)} cells submitted as job array {array}, each for up to {limit}; logs: {folder}",
        f"watch: `squeue -j {array}`, `{verb} status {name}`; stop: `scancel {array}`",
        f"afterwards: `{verb} sync {name}` for MLflow, `{verb} report {name}` for the tables",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return ids


def environment(places: Places) -> Mapping[str, str]:
    """What a job is to find in its environment, whatever the cluster passes on; paths hold in every folder."""
    found = ENVIRONMENT | {key: os.environ[key] for key in ENVIRONMENT if key in os.environ}
    found |= {key: value for key, value in os.environ.items() if key.startswith("BENCH_")}
    found["BENCH_CACHE"] = str(places.cache)
    if weights := encoders.folder():
        found[encoders.VARIABLE] = str(weights)
    return found
