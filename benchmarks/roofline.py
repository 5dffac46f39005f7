"""Training steps against what this machine can do at most: ``python -m benchmarks.roofline``; writes ``roofline.png``.

The ceilings are measured: a large matrix product in each precision, and a copy of a large tensor. Of a step, operations
are counted (convolutions and matrix products, forward and backward) and bytes (what each operation reads and writes, as
if no cache kept anything), so a step whose tensors fit a cache may lie above the slope. All cores, one cell.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from . import settings
from .ceilings import Ceilings
from .engine import Engine, Work
from .harness import Row, Run, by_turns, skipped
from .output import arguments_of, main
from .process import OURS, Worker
from .settings import Setting

_GIGA = 1e9
_DTYPES = ("float32", "bfloat16")
_COPIED_MIB = 256


class Point(NamedTuple):
    """One step in the plot: operations per byte, GFLOP/s, and what it is."""

    intensity: float
    speed: float
    name: str


def measure(run: Run) -> Iterator[Row]:
    with Worker(Ceilings, threads=run.threads, environment=OURS) as machine:
        side = 64 if run.quick else 4096 if settings.on_gpu() else 2048
        products = {dtype: machine.ask("product", dtype, side) for dtype in _DTYPES}
        copied = machine.ask("copy", 1 if run.quick else _COPIED_MIB)
    for dtype, speed in products.items():
        yield Row(f"ceiling: product of two {side}² matrices", dtype, "GFLOP/s", (speed,))
    yield Row("ceiling: copy", f"{_COPIED_MIB} MiB", "GB/s", (copied,))
    points: list[Point] = []
    parts: list[tuple[Callable[[], Setting], Sequence[str]]] = [
        (partial(settings.acdc, run, 128), ("supervised", "mean_teacher")),
        (partial(settings.hippocampus, run), ("supervised", "mean_teacher")),
        (partial(settings.acdc, run, 256), ("supervised",)),
    ]
    for make, methods in parts[:1] if run.quick else parts:
        setting = make()
        if run.left() == 0:
            yield skipped(setting.title)
            continue
        with Worker(Engine, setting, run.scratch, threads=run.threads, environment=OURS) as ours:
            for method in methods:
                point, rows = _step(run, ours, setting, method, products, copied)
                points.append(point)
                yield from rows
    plot(run.options.out / "roofline.png", products, copied, points)


def _step(
    run: Run, ours: Worker, setting: Setting, method: str, products: dict[str, float], copied: float
) -> tuple[Point, list[Row]]:
    work: Work = ours.ask("load", setting.cell(method))
    once = partial(ours.ask, "steps", method, 1)
    seconds = by_turns({method: once}, repeats=run.repeats, until=run.deadline)[method]
    speed, intensity = work.flops / median(seconds) / _GIGA, work.flops / work.moved
    roof = min(products[work.precision], intensity * copied)
    subject = f"step of {method}, {setting.title}"
    about = f"{work.precision}, {work.flops / _GIGA:.3g} GFLOP, {work.moved / _GIGA:.3g} GB, {intensity:.3g} FLOP/byte"
    rows = [
        Row(subject, "operations", "GFLOP/s", tuple(work.flops / s / _GIGA for s in seconds), note=about),
        Row(subject, "bytes", "GB/s", tuple(work.moved / s / _GIGA for s in seconds)),
        Row(subject, "of what the ceilings allow", "%", tuple(100 * work.flops / s / _GIGA / roof for s in seconds)),
    ]
    return Point(intensity, speed, subject.removeprefix("step of ")), rows


def plot(path: Path, products: dict[str, float], copied: float, points: Sequence[Point]) -> None:
    """Ceilings as lines, steps as points, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    left = min([point.intensity for point in points] + [1.0]) / 2
    right = 4 * max([*(speed / copied for speed in products.values()), *(point.intensity for point in points)])
    for (dtype, speed), style in zip(products.items(), ("-", "--"), strict=True):
        knee = speed / copied
        axes.plot([left, knee, right], [left * copied, speed, speed], f"k{style}", lw=1)
        axes.annotate(f"{dtype}: {speed:.3g} GFLOP/s", (right, speed), ha="right", va="bottom", fontsize=8)
    for number, point in enumerate(points):
        axes.plot(point.intensity, point.speed, "o", color=f"C{number}", label=point.name)
    axes.set(xscale="log", yscale="log", xlabel="FLOP per byte moved", ylabel="GFLOP/s")
    axes.set_title(f"Training steps under the ceilings; copy {copied:.3g} GB/s", fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main("roofline", measure, arguments_of(__doc__.splitlines()[0])))
