"""How long the metrics of a case take, beside medpy and MONAI: ``python -m benchmarks.metrics``.

Real ACDC and LA label volumes are read from ``--data`` (h5 files as published, or ``acdc/`` and ``la/`` with packed
cases); where there are none, volumes of the same size are made up. Predictions are the labels, bent and spoilt. All
tools see the same arrays in one process and one thread, by turns for each case. A value is one case: the fastest of
``--each`` calls, in processor time, because other work on the machine stretches the clock on the wall. What a tool
needs before it can start (one-hot tensors for MONAI) is not counted against it.

medpy computes Dice and HD95, in the rows marked "all" ASSD too; MONAI Dice and HD95, there ASSD and surface Dice too.
Ours always computes everything, the surface Dice in the rows marked "all".
"""

from __future__ import annotations

import io
import lzma
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import process_time

import h5py
import medpy.metric.binary as medpy
import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmark.metrics import ENGINES, measure

from .harness import Row, Run, skipped
from .output import arguments_of, main

SETS = {
    "ACDC": (("acdc/*.npz.xz", "ACDC/ACDC_training_volumes/*.h5"), 4, (10, 256, 216)),
    "LA": (("la/*.npz.xz", "LA/*/*/mri_norm2.h5"), 2, (183, 140, 88)),
}
"""Where label volumes lie, classes and typical shape."""
MONAI = "MONAI"
TOLERANCE = 1.0  # voxels
Pairs = list[tuple[np.ndarray, np.ndarray]]


def compare_metrics(run: Run) -> Iterator[Row]:
    """Both datasets, each kind of prediction, with and without the metrics that only some tools have."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    engines = [engine for engine in ENGINES if engine != "numba" or find_spec("numba")]
    for name, (patterns, classes, shape) in SETS.items():
        found = sorted(path for pattern in patterns for path in (run.data.glob(pattern) if run.data else ()))
        wanted = 1 if run.quick else run.options.cases
        labels = [_read(path) for path in found[:: max(1, len(found) // wanted)][:wanted]]
        size = (4, 32, 32) if run.quick else shape
        labels = labels or [_made_up(size, classes, seed) for seed in range(wanted)]
        title = f"{name} ({len(labels)} {'real' if found else 'made-up'} cases, {classes - 1} classes)"
        for kind in run.options.predictions[:1] if run.quick else run.options.predictions:
            pairs = [
                (PREDICTIONS[kind](label, np.random.default_rng(seed)), label) for seed, label in enumerate(labels)
            ]
            for every in (False, True):
                subject = f"{title}, {kind}{', all' if every else ''}"
                if run.left() == 0:
                    yield skipped(subject)
                else:
                    yield from _rows(subject, pairs, classes, engines, every=every, repeats=run.options.each)
    if not find_spec("monai"):
        yield skipped("MONAI", "not installed: pip install monai")


def _rows(subject: str, pairs: Pairs, classes: int, engines: list[str], *, every: bool, repeats: int) -> Iterator[Row]:
    """Times of all tools; the first, ours, also with the quality of the predictions."""
    rows = [row for pred, gt in pairs for row in measure(pred, gt, classes=classes, spacing=None) if row.status == "ok"]
    quality = f"Dice {np.mean([row.dice for row in rows]):.3f}, HD95 {np.mean([row.hd95 for row in rows]):.2f}"
    times: dict[str, list[float]] = {}
    for pred, gt in pairs:
        for tool, once in _tools(pred, gt, classes, engines, every=every):
            times.setdefault(tool, []).append(1000 * min(_seconds(once) for _ in range(repeats)))
    peers = [tool for tool in times if tool not in engines]
    for tool, values in times.items():
        ratios = np.divide(values, times[engines[0]]).tolist() if tool != engines[0] else ()
        note = quality if tool == engines[0] else ""
        if tool in engines[1:]:
            faster = [f"{median(np.divide(times[peer], values)):.1f} times as fast as {peer}" for peer in peers]
            note = ", ".join(faster)
        yield Row(subject, f"ours, {tool}" if tool in engines else tool, "ms", tuple(values), tuple(ratios), note=note)


def _tools(
    pred: np.ndarray, gt: np.ndarray, classes: int, engines: list[str], *, every: bool
) -> Iterator[tuple[str, Callable[[], object]]]:
    tolerance = [TOLERANCE] * (classes - 1) if every else None
    for engine in engines:
        yield engine, partial(measure, pred, gt, classes=classes, spacing=None, tolerance=tolerance, engine=engine)
    yield "medpy", partial(_medpy, pred, gt, classes, every)
    if find_spec("monai"):
        first, second = (
            torch.stack([torch.from_numpy(labels == c) for c in range(classes)])[None] for labels in (pred, gt)
        )
        yield MONAI, partial(_monai, first, second, tolerance)


def _medpy(pred: np.ndarray, gt: np.ndarray, classes: int, every: bool) -> None:
    for label in range(1, classes):
        masks = pred == label, gt == label
        medpy.dc(*masks)
        if all(mask.any() for mask in masks):
            medpy.hd95(*masks)
            if every:
                medpy.assd(*masks)


def _monai(pred: torch.Tensor, gt: torch.Tensor, tolerance: list[float] | None) -> None:
    import monai.metrics as monai

    monai.compute_dice(pred, gt, include_background=False)
    monai.compute_hausdorff_distance(pred, gt, percentile=95)
    if tolerance is not None:
        monai.compute_average_surface_distance(pred, gt, symmetric=True)
        monai.compute_surface_dice(pred, gt, tolerance, use_subvoxels=True)


def _seconds(run: Callable[[], object]) -> float:
    start = process_time()
    run()
    return process_time() - start


def _read(path: Path) -> np.ndarray:
    if path.suffix == ".h5":
        with h5py.File(path, "r") as file:
            return file["label"][:].astype(np.uint8)
    with np.load(io.BytesIO(lzma.decompress(path.read_bytes()))) as packed:
        return packed["label"].astype(np.uint8)


def _made_up(shape: tuple[int, ...], classes: int, seed: int) -> np.ndarray:
    """Nested ellipsoids, the innermost with the highest label."""
    rng = np.random.default_rng(seed)
    radius = sum(
        ((axis - n / 2) / (n * rng.uniform(0.2, 0.3))) ** 2 for axis, n in zip(np.indices(shape), shape, strict=True)
    )
    return sum((radius < level**2).astype(np.uint8) for level in np.linspace(1, 0.4, classes - 1))


def _bent(label: np.ndarray, rng: np.random.Generator, *, voxels: float, width: float = 6.0) -> np.ndarray:
    """The label, warped by a smooth random field of the given root mean square length."""
    field = np.stack([gaussian_filter(rng.normal(size=label.shape), width) for _ in label.shape])
    field *= voxels / field.std()
    field[0] *= label.shape[0] > 40  # no slice is mixed with its neighbours where slices are thick
    return map_coordinates(label, np.indices(label.shape) + field, order=0)


def _with_islands(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    pred = _bent(label, rng, voxels=1.5)
    for _ in range(6):
        centre = [rng.integers(n) for n in label.shape]
        distance2 = sum(
            (axis - c) ** 2 for axis, c in zip(np.ogrid[tuple(map(slice, label.shape))], centre, strict=True)
        )
        pred[distance2 <= 16] = rng.integers(1, label.max() + 1)
    return pred


def _with_salt(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.integers(0, label.max() + 1, size=label.shape, dtype=np.uint8)
    return np.where(rng.random(label.shape) < 0.02, noise, label)


def _blobs(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Foreground all over the image, as after a few steps of training."""
    return np.where(gaussian_filter(rng.normal(size=label.shape), 4) > 0.02, rng.integers(1, label.max() + 1), label)


PREDICTIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "good": partial(_bent, voxels=1.5),
    "medium": partial(_bent, voxels=4.0),
    "islands": _with_islands,
    "under-trained": _blobs,
    "2 % salt": _with_salt,
}


def _arguments() -> ArgumentParser:
    parser = arguments_of(__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--each", type=int, default=2, help="calls of every tool on a case; the fastest counts")
    parser.add_argument("--predictions", nargs="*", default=list(PREDICTIONS), choices=list(PREDICTIONS))
    return parser


if __name__ == "__main__":
    sys.exit(main("metrics", compare_metrics, _arguments()))
