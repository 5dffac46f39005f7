"""How long a whole case takes to predict, beside released loops and MONAI: ``python -m benchmarks.inference``.

The same weights, cases, windows and overlap for all. 2-D: every slice to the patch and back; the released loop does it
slice by slice. 3-D: sliding windows; MONAI's SlidingWindowInferer gets four windows at a time, as ours does: once in a
process as users start it, once with our memory settings and channels-last weights, which shows the inferer alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

import numpy as np

from . import settings
from .harness import Contender, Row, Run, Terms, compare, skipped
from .output import arguments_of, main
from .predictor import Predictor
from .process import OURS, PLAIN, Worker
from .settings import Setting

MONAI, RELEASED = "MONAI SlidingWindowInferer", "released loop"
INFERER = f"{MONAI}, in our process"


def measure(run: Run) -> Iterator[Row]:
    parts: list[tuple[Callable[[], Setting], int]] = [
        (partial(settings.hippocampus, run), 4),
        (partial(settings.acdc, run, 256), 1),
        (partial(settings.la, run), 1),
    ]
    for number, (make, times) in enumerate(parts[:2] if run.quick else parts, start=1):
        setting = make()
        if run.left() == 0:
            yield skipped(f"a case, {setting.title}")
        else:
            yield from _setting(run, setting, times, run.until(number / len(parts)))


def _setting(run: Run, setting: Setting, times: int, until: float) -> Iterator[Row]:
    cell = setting.cell("supervised")
    with (
        Worker(Predictor, setting, cell, "channels last", threads=run.threads, environment=OURS) as ours,
        Worker(Predictor, setting, cell, threads=run.threads, environment=PLAIN) as plain,
    ):
        wanted = ours.ask("ours")
        timed: dict[str, Contender] = {"ours": partial(ours.ask, "time", "ours", times)}
        timed[RELEASED] = partial(plain.ask, "time", "released", times)
        notes = {RELEASED: _agreement(wanted, plain.ask("released"))}
        volumes = wanted.ndim == 3 and len(cell.training.patch or ()) == 3
        if volumes and find_spec("monai"):
            for name, worker in ((MONAI, plain), (INFERER, ours)):
                timed[name] = partial(worker.ask, "time", "monai", times)
                notes[name] = _agreement(wanted, worker.ask("monai"))
        terms = Terms(notes=notes)
        yield from compare(f"a case, {setting.title}", timed, run, until=until, terms=terms)
        if volumes and not find_spec("monai"):
            yield skipped(f"a case, {setting.title}", "MONAI is not installed", MONAI)


def _agreement(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Padding, precision and the way of resizing differ, so label maps of an untrained network may, too."""
    classes = len(np.unique(ours))
    return f"{100 * float((ours == theirs).mean()):.1f} % of the voxels as ours, {classes} class(es) predicted"


if __name__ == "__main__":
    sys.exit(main("inference", measure, arguments_of(__doc__.splitlines()[0])))
