"""Whether what is fast learns as well as what is plain: ``python -m benchmarks.accuracy``.

For each seed, one cell is run by our runner and by the plain loop: same labelled patients, initial weights, batch
sizes, steps, schedule, and the released recipes of augmentation and resizing; order of samples, implementation of these
recipes, precision and memory layout are their own. Compared is the mean Dice over foreground classes of test cases. The
paired differences say whether one side is better beyond what seeds do: then 0 lies outside the 95 % interval of their
mean (Student's t), which must be narrow enough to say something.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from benchmark import receipt
from benchmark.execute.local import run_cells
from benchmark.plan import Cell

from . import settings
from .harness import Row, Run, cores, skipped
from .output import arguments_of, main
from .peers.cells import PlainCells
from .process import PLAIN, Crew
from .settings import Setting

SEEDS = 12
"""At most; as many as there is time for."""
MARGIN = 0.05
"""Dice: the interval must be narrower on either side, or equality says nothing."""
STEPS = 400
"""So that seeds have learnt something: after 200, they differ by several times as much."""
_TRAINING = {"width": 8, "optimizer": "adam", "lr": 0.003, "augment": "released", "interpolation": "nearest"}


def measure(run: Run) -> Iterator[Row]:
    phantoms = partial(settings.acdc, replace(run, data=None), 64, side=64, test=6, train=12)
    parts: list[tuple[Callable[[], Setting], str]] = [(phantoms, "mean_teacher")]
    if run.data and (run.data / "ACDC").is_dir() and not run.quick:
        scans = partial(settings.acdc, run, 64, test=6, train=12)
        parts += [(scans, "supervised"), (scans, "pce")]
    else:
        parts.append((phantoms, "pce"))
    for number, (make, method) in enumerate(parts[:1] if run.quick else parts, start=1):
        yield from _pairs(run, make(), method, run.until(1 / (len(parts) + 1 - number)))


def _pairs(run: Run, setting: Setting, method: str, until: float) -> Iterator[Row]:
    cells = setting.cells([method], steps=2 if run.quick else STEPS, seeds=2 if run.quick else SEEDS, **_TRAINING)
    subject = f"{method}, {setting.title}, {cells[0].training.steps} steps"
    if run.left() == 0:
        yield skipped(subject)
        return
    ours: list[float] = []
    theirs: list[float] = []
    at_once = max(2, cores())
    with Crew(cores(), PlainCells, setting, environment=PLAIN) as plain:
        for start in range(0, len(cells), at_once):
            some, before = cells[start : start + at_once], run.left()
            ours += _ours(run, setting, some)
            theirs += plain.ask_each("dice", some)
            if run.deadline - run.left() + (before - run.left()) > until:
                break
    yield from compare_pairs(subject, ours, theirs)


def compare_pairs(subject: str, ours: Sequence[float], theirs: Sequence[float]) -> list[Row]:
    """Both sides by seed, and how far the mean difference is from 0, in half-widths of its 95 % interval."""
    differences = np.subtract(ours, theirs)
    half = float(stats.t.ppf(0.975, len(ours) - 1) * differences.std(ddof=1) / len(ours) ** 0.5)
    mean = float(differences.mean())
    spread = f"sd over seeds {np.std(ours, ddof=1):.3f} and {np.std(theirs, ddof=1):.3f}"
    says = f"mean difference {mean:+.4f}, 95 % interval {mean - half:+.4f} to {mean + half:+.4f}, {len(ours)} seeds"
    away = abs(mean) / half if half > 0 else 0.0 if mean == 0 else math.inf
    return [
        Row(subject, "ours", "Dice", tuple(ours)),
        Row(subject, "plain loop", "Dice", tuple(theirs), note=spread),
        Row(subject, "difference over its uncertainty", "half-widths", (away,), most=1.0, note=says),
        Row(subject, "half of the interval", "Dice", (half,), most=MARGIN),
    ]


def _ours(run: Run, setting: Setting, cells: Sequence[Cell]) -> list[float]:
    """Mean Dice of every cell, by our runner.

    Phantoms and scans have folders of their own, for their cells look alike; so has every version of the code, for what
    another one finished in a folder that was kept must not be taken for this one's.

    Raises:
        RuntimeError: a cell failed.
    """
    places = setting.places(run.scratch / f"accuracy-{setting.source.kind}-{receipt.code()['tree']}")
    summary = run_cells(cells, places, workers=1 if run.quick else cores())
    if summary.failed:
        raise RuntimeError(f"a cell failed: {next(iter(summary.reasons.values()))}")
    return [_mean_dice(places.folder(cell)) for cell in cells]


def _mean_dice(folder: Path) -> float:
    """Over classes that are in the label or in the prediction; 0 where they miss each other."""
    with (folder / "scores.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["selection"] == "last" and row["status"] != "both_empty"]
    return float(np.mean([float(row["dice"]) for row in rows])) if rows else float("nan")


if __name__ == "__main__":
    sys.exit(main("accuracy", measure, arguments_of(__doc__.splitlines()[0])))
