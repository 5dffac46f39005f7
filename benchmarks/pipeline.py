"""How fast samples come, one thread each, beside loaders that people use: ``python -m benchmarks.pipeline``.

All give the same batches: image and label map, mirrored and turned, in 2-D half of them rotated by up to 20 degrees, in
3-D cropped. Ours is the feed of the runner; MONAI and TorchIO keep decoded samples in memory, as ours does. Each makes
batches for a second before it is timed, as in training, where one batch follows another: on a shared virtual machine,
memory that lay idle while others had their turn is slow at first (seen here: twice as slow after ten seconds).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec

from . import settings
from .engine import Engine
from .harness import Contender, Row, Run, Terms, compare, skipped
from .output import arguments_of, main
from .peers.inputs import INPUTS
from .process import OURS, PLAIN, Failed, Worker
from .settings import Setting

_LEAST = {"h5 and scipy per sample": 8.0, "MONAI CacheDataset": 3.0}
_BATCHES = 40  # per round
_WARM_SECONDS = 1.0  # of batches before those that are timed


def measure(run: Run) -> Iterator[Row]:
    parts: list[tuple[Callable[[], Setting], str]] = [
        (partial(settings.acdc, run, 256), "pce"),
        (partial(settings.acdc, run, 128), "pce"),
        (partial(settings.hippocampus, run), "supervised"),
    ]
    for number, (make, method) in enumerate(parts[2:] if run.quick else parts, start=1):
        yield from _setting(run, make(), method, run.until(number / len(parts)))


def _setting(run: Run, setting: Setting, method: str, until: float) -> Iterator[Row]:
    cell, subject = setting.cell(method), f"a sample, {setting.title}"
    absent: list[Row] = []
    with ExitStack() as stack:
        start = partial(Worker, threads=1)
        ours = stack.enter_context(start(Engine, setting, run.scratch, environment=OURS))
        ours.ask("load", cell)
        timed: dict[str, Contender] = {"ours": partial(_at_work, partial(ours.ask, "batches", method))}
        for name, (package, make) in INPUTS.items():
            peer = stack.enter_context(start(make, setting, cell, environment=PLAIN)) if find_spec(package) else None
            why = _why_not(peer) if peer else f"not installed: pip install {package}"
            if peer and not why:
                timed[name] = partial(_at_work, partial(peer.ask, "batches"))
            else:
                absent.append(skipped(subject, why, name))
        terms = Terms("ms", 1000 / cell.training.labelled_batch, _LEAST)
        yield from compare(subject, timed, run, until=until, terms=terms)
    yield from absent


def _at_work(batches: Callable[[int], float]) -> float:
    """Seconds per batch of one that has been making batches for a while."""
    began = time.monotonic()
    while time.monotonic() - began < _WARM_SECONDS:
        batches(1)
    return batches(_BATCHES)


def _why_not(peer: Worker) -> str:
    """Another version of a package may not understand what it is told: that ends nothing but its own row."""
    try:
        peer.ask("batches", 1)
    except Failed as error:
        return f"failed: {str(error).strip().splitlines()[-1]}"
    return ""


if __name__ == "__main__":
    sys.exit(main("pipeline", measure, arguments_of(__doc__.splitlines()[0])))
