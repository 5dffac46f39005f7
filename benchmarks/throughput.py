"""Whole plans, ours against a loop of scripts, and what more workers bring: ``python -m benchmarks.throughput``.

Both sides train and test the same cells: same method, split, network, steps and data. Ours starts a process per cell on
every core, keeps records and computes all metrics; the plain side trains one cell after the other with all cores, and
its start is not counted. Cells are short here, so what a cell costs besides its steps weighs more than in real plans.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count

from benchmark.execute.local import default_workers, run_cells
from benchmark.plan import Cell

from . import settings
from .harness import Contender, Row, Run, Terms, by_turns, compare, skipped
from .output import arguments_of, main
from .peers.cells import PlainCells
from .process import PLAIN, Worker
from .settings import Setting

_MOST_PER_GPU = 8
_fresh = count()


def measure(run: Run) -> Iterator[Row]:
    parts: list[tuple[str, Callable[[], Setting], str, int, float]] = [
        ("ACDC 128²", partial(settings.acdc, run, 128), "pce", 80, 4.0),
        ("Hippocampus 3-D", partial(settings.hippocampus, run), "mean_teacher", 60, 3.0),
        ("ACDC 256²", partial(settings.acdc, run, 256), "pce", 10, 3.0),
    ]
    for number, (title, make, method, steps, goal) in enumerate(parts[:2] if run.quick else parts, start=1):
        if run.left() > 0:
            until = run.until(number / (len(parts) + 1))
            yield from _plan(run, make(), method, 1 if run.quick else steps, goal, until)
        else:
            yield skipped(f"cells of {method}, {title}")
    if run.left() > 0:
        yield from _scaling(run)
    else:
        yield skipped("more workers")


def _plan(run: Run, setting: Setting, method: str, steps: int, goal: float, until: float) -> Iterator[Row]:
    workers = 1 if run.quick else default_workers()
    cells = setting.cells([method], steps=steps, seeds=workers)
    subject = f"{len(cells)} cells of {method}, {steps} steps, {setting.title}"
    short = setting.cells([method], steps=1)
    with Worker(PlainCells, setting, threads=run.threads, environment=PLAIN) as plain:
        plain.ask("run", short)
        _run(run, setting, short, 1)  # data are decoded once per machine
        timed: dict[str, Contender] = {
            "ours": lambda: _run(run, setting, cells, workers) / len(cells),
            "plain loop": lambda: plain.ask("run", cells) / len(cells),
        }
        found = by_turns(timed, repeats=run.repeats, until=until, warm=0)
    ours, theirs = (tuple(found[name]) for name in timed)
    yield Row(subject, "ours", "s a cell", ours, note=f"{3600 / min(ours):.0f} cells an hour, {workers} at a time")
    ratios = tuple(a / b for a, b in zip(theirs, ours, strict=True))
    yield Row(subject, "plain loop", "s a cell", theirs, ratios, goal, note=f"{3600 / min(theirs):.0f} cells an hour")


def _scaling(run: Run) -> Iterator[Row]:
    """The same cells with one worker, two, four, ... up to one per core, or several per GPU."""
    setting, most = settings.acdc(run, 128), 2 if run.quick else default_workers()
    if settings.on_gpu():
        most *= _MOST_PER_GPU // 2
    sizes = [2**power for power in range(most.bit_length()) if 2**power <= most]
    sizes += [most] if sizes[-1] != most else []
    cells = setting.cells(["pce"], steps=1 if run.quick else 10, seeds=most)
    _run(run, setting, setting.cells(["pce"], steps=1), 1)
    name = {size: f"{size} worker(s)" for size in sizes}
    timed: dict[str, Contender] = {
        name[size]: partial(_per_cell, run, setting, cells, size) for size in sorted(sizes, reverse=True)
    }
    yield from compare(f"{most} cells, {setting.title}", timed, run, terms=Terms("s a cell", 1.0))


def _per_cell(run: Run, setting: Setting, cells: Sequence[Cell], workers: int) -> float:
    return _run(run, setting, cells, workers) / len(cells)


def _run(run: Run, setting: Setting, cells: Sequence[Cell], workers: int) -> float:
    """Seconds for all cells, into a folder that holds no record yet.

    Raises:
        RuntimeError: a cell failed.
    """
    folder = run.scratch / f"plan-{next(_fresh)}"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off
    places = replace(setting.places(folder), cache=run.scratch / "cache")
    began = time.perf_counter()
    summary = run_cells(cells, places, workers=workers)
    seconds = time.perf_counter() - began
    shutil.rmtree(folder)
    if summary.failed:
        raise RuntimeError(f"{summary.failed} of {len(cells)} cells failed: {next(iter(summary.reasons.values()))}")
    return seconds


if __name__ == "__main__":
    sys.exit(main("throughput", measure, arguments_of(__doc__.splitlines()[0])))
