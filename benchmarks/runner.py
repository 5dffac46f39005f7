"""What the runner adds to a cell, and whether it grows over many cells: ``python -m benchmarks.runner``.

Trivial cells (one step of a tiny network on a generated phantom) are run as a plan is run, on all cores and then one at
a time. What they take beyond training and evaluation is the runner's: starting a process, opening and splitting data,
record, lease. Beside it stands what a script per cell costs before it does anything: Python and the imports.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from benchmark import ROOT, plan_file
from benchmark.execute.local import Event, run_cells
from benchmark.plan import Cell
from benchmark.prepare import Places

from .harness import Row, Run, clocked, cores
from .output import arguments_of, main

MOST_SECONDS = 0.3
MOST_GROWTH = 1.0  # MiB per 100 cells, of all that outlives a cell
_START = "import torch, torch._dynamo, benchmark.execute.child"


class OutOfTime(Exception):
    """The part's time is over; what was finished counts."""


class Watch:
    """Listens to the supervisor: what finished cells took, and what supervisor and forkserver hold after each.

    Args:
        until: time of the monotonic clock after which it stops the run.
    """

    def __init__(self, until: float) -> None:
        self.until, self.began = until, time.monotonic()
        self.ended = self.began
        self.own: list[float] = []
        self.whole: list[float] = []
        self.peaks_mib: list[float] = []
        self.held_mib: list[float] = []

    def __call__(self, event: Event) -> None:
        """Take one event.

        Raises:
            OutOfTime: the supervisor then ends what still runs.
        """
        if event.kind != "finished" or event.record is None:
            return
        if event.record.status != "finished":
            raise RuntimeError(f"a trivial cell failed: {event.record.reason}")
        self.ended = time.monotonic()
        self.own.append(event.record.seconds["total"])
        self.whole.append(event.record.seconds["wall"])
        self.peaks_mib.append(event.record.memory_mib)
        supervisor = psutil.Process()
        self.held_mib.append(sum(p.memory_info().rss for p in (supervisor, *supervisor.children())) / 2**20)
        if self.ended > self.until:
            raise OutOfTime

    def beyond(self, counted: list[float], workers: int) -> float:
        """Seconds of a worker per cell, less what is counted."""
        return ((self.ended - self.began) * workers - sum(counted)) / len(counted)

    def growth_mib(self) -> float:
        """Per 100 cells: slope of a line through what was held, without the first tenth, which warms up."""
        kept = self.held_mib[len(self.held_mib) // 10 :]
        return 100 * float(np.polyfit(range(len(kept)), kept, 1)[0]) if len(kept) > 1 else 0.0


def cells(n: int) -> list[Cell]:
    """Trivial cells that differ in their seed."""
    raw = {
        "title": "Trivial cells",
        "protocol": "None: a measurement of speed.",
        "datasets": [{"name": "phantom_2d", "options": {"patients": 6, "slices": 2, "side": 32}}],
        "methods": ["supervised"],
        "ratios": [0.5],
        "seeds": n,
        "bounds": False,
        "training": {"steps": 1, "width": 2, "labelled_batch": 2, "validations": 0},
    }
    return list(plan_file.parse(raw, default_name="trivial").cells())


def measure(run: Run) -> Iterator[Row]:
    start = clocked(lambda: subprocess.run([sys.executable, "-c", _START], check=True, cwd=ROOT))
    starts = [start() for _ in range(run.repeats)]
    workers = 1 if run.quick else cores()
    wanted = 3 if run.quick else run.options.cells
    yield from _plan(run, "all", wanted, workers, run.until(0.7), starts)
    if not run.quick:
        yield from _plan(run, "one", wanted // 2, 1, run.deadline, starts)


def _plan(run: Run, name: str, n: int, workers: int, until: float, starts: list[float]) -> Iterator[Row]:
    watch = _watched(run.scratch / name, n, workers, until)
    done = len(watch.own)
    subject = f"{done} trivial cells on {workers} worker(s)"
    note = "" if done == n else f"{n} were wanted; the part's time was over"
    beyond = watch.beyond(watch.own, workers)
    per_hour = 3600 * done / (watch.ended - watch.began)
    note = "; ".join(filter(None, (f"{per_hour:.0f} cells an hour", note)))
    yield Row(subject, "beyond training and evaluation, per cell", "s", (beyond,), most=MOST_SECONDS, note=note)
    yield Row(subject, "of it before and after the cell's own process", "s", (watch.beyond(watch.whole, workers),))
    yield Row(subject, "a script per cell: its start", "s", tuple(starts), tuple(s / beyond for s in starts))
    first, last = watch.held_mib[0], watch.held_mib[-1]
    held = f"{first:.0f} MiB after the first cell, {last:.0f} after the last"
    grows = (watch.growth_mib(),)
    yield Row(subject, "growth of supervisor and forkserver", "MiB in 100 cells", grows, most=MOST_GROWTH, note=held)
    tenth = max(1, done // 10)
    change = 100 * (median(watch.peaks_mib[-tenth:]) / median(watch.peaks_mib[:tenth]) - 1)
    peak = f"median {median(watch.peaks_mib):.0f} MiB"
    yield Row(subject, "peak of the last cells over the first", "%", (change,), most=1.0, note=peak)


def _watched(folder: Path, n: int, workers: int, until: float) -> Watch:
    shutil.rmtree(folder, ignore_errors=True)  # of a run before, where that was kept
    places = Places(results=folder, data=folder, cache=folder / "cache")
    wanted = cells(n + 1)
    run_cells(wanted[:1], places, workers=1)  # decoded data and the forkserver are there once per machine and session
    watch = Watch(until)
    with suppress(OutOfTime):
        run_cells(wanted[1:], places, workers=workers, listen=watch)
    return watch


if __name__ == "__main__":
    parser = arguments_of(__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1000, help="at most; half as many for one worker")
    sys.exit(main("runner", measure, parser))
