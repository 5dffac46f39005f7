"""How long a training step of every method takes, beside the plain loop and its floor: ``python -m benchmarks.step``.

The floor of a method is our supervised step, times the convolutions that the method computes over those of the
supervised step: what its forward and backward passes alone would cost. Both sides have all cores, by turns: the plain
loop for one cell, ours for as many cells as there are cores, one thread each, as the runner does it. ``--methods`` and
``--settings`` choose.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from functools import partial

import methods

from . import settings
from .engine import Engine, Work
from .harness import Contender, Kept, Row, Run, Terms, compare, cores, skipped
from .output import arguments_of, main
from .peers.loop import PlainBench
from .peers.losses import WRITTEN_ANEW
from .process import PLAIN, Crew, Worker
from .settings import Setting

SELECTED = ("supervised", "pce", "mean_teacher", "wsl4mis")
"""What is timed at 256² and on LA where there is no accelerator and nothing else is asked for."""

FLOOR_SHARE = 1 / 1.3
"""A method should take at most 1.3 times its floor."""

_MOST_WAITING = 2.0  # per cent
_STEPS, _BATCHES = (20, 20) if settings.on_gpu() else (2, 5)
_SUPERVISED = "supervised"


def measure(run: Run) -> Iterator[Row | Kept]:
    wanted = run.options.methods or (SELECTED if run.quick else None)
    some = wanted or (None if settings.on_gpu() else SELECTED)
    plans = [
        ("3d", partial(settings.hippocampus, run), wanted, 3.0, 0.3),
        ("128", partial(settings.acdc, run, 128), wanted, 4.0, 0.6),
        ("256", partial(settings.acdc, run, 256), some, 3.0, 1.0),
        ("la", partial(settings.la, run), some, 3.0, 1.0),
    ]
    usual = ("3d", "128") if run.quick else ("3d", "128", "256", "la") if settings.on_gpu() else ("3d", "128", "256")
    for name, make, names, goal, share in plans:
        if name in (run.options.settings or usual):
            setting = make()
            chosen = [method for method in setting.methods() if not names or method in names]
            yield from _setting(run, setting, chosen, 10.0 if settings.on_gpu() else goal, run.until(share))


def _setting(run: Run, setting: Setting, names: Sequence[str], goal: float, until: float) -> Iterator[Row | Kept]:
    """All methods on one dataset, in processes that live as long."""
    alone = run.quick or settings.on_gpu()
    with (
        Crew(1 if alone else cores(), Engine, setting, run.scratch) as ours,
        Worker(PlainBench, setting, threads=run.threads, environment=PLAIN) as plain,
    ):
        floor: Work = ours.ask("load", setting.cell(_SUPERVISED))[0]
        for method in names:
            subject = f"{method}, {setting.title}"
            if subject in run.kept:
                yield from run.kept[subject]
            elif time.monotonic() > until:
                yield skipped(subject)
            else:
                yield from _method(run, setting, method, goal, (ours, plain), floor, until)


def _method(
    run: Run, setting: Setting, method: str, goal: float, contenders: tuple[Crew, Worker], floor: Work, until: float
) -> list[Row]:
    (ours, plain), cell, subject = contenders, setting.cell(method), f"{method}, {setting.title}"
    work: Work = ours.ask("load", cell)[0] if method != _SUPERVISED else floor
    plain.ask("load", cell)
    passes = work.passes / floor.passes
    timed: dict[str, Contender] = {"ours": partial(_together, ours, method)}
    timed["plain loop"] = partial(plain.ask, "steps", 1)
    notes = {"ours": work.precision, "plain loop": "" if method in WRITTEN_ANEW else "its loss is ours"}
    least = {"plain loop": goal}
    if method != _SUPERVISED:
        timed["floor"] = lambda: passes * _together(ours, _SUPERVISED)
        notes["floor"], least["floor"] = f"{passes:.2f} supervised steps", FLOOR_SHARE
    rows = compare(subject, timed, run, until=until, terms=Terms(least=least, notes=notes))
    waits = max(ours.ask("batches", method, _BATCHES)) / max(ours.ask("steps", method, _STEPS))
    rows.append(Row(subject, "share of waiting for input", "%", (100 * waits,), most=_MOST_WAITING))
    rows += published_run(setting, method, rows[0])
    if method != _SUPERVISED:
        ours.ask("forget", method)
    return rows


def published_run(setting: Setting, method: str, step: Row) -> list[Row]:
    """What the steps of the published training take; testing and validation come on top. ``step``: ours, in ms."""
    steps = setting.published.get(methods.get(method).supervision)
    if not steps:
        return []
    seconds = tuple(steps * ms / 1000 for ms in step.values)
    return [Row(step.subject, f"ours, all {steps} published steps", "s of one device", seconds)]


def _together(ours: Crew, method: str) -> float:
    """Seconds per step and cell, while all cores work on cells of their own."""
    return max(ours.ask("steps", method, _STEPS)) / len(ours.workers)


def _arguments() -> ArgumentParser:
    parser = arguments_of(__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", help="only these, at every size")
    parser.add_argument("--settings", nargs="+", choices=("3d", "128", "256", "la"))
    return parser


if __name__ == "__main__":
    sys.exit(main("step", measure, _arguments()))
