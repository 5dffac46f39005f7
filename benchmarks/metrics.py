"""How long the metrics of a case take, beside medpy and MONAI: ``python -m benchmarks.metrics``.

Real ACDC and LA label volumes are read from ``--data`` (``acdc/`` and ``la/`` with packed cases); where there are none,
volumes of the same size are made up. Predictions are the labels, bent and spoilt. All tools see the same arrays in one
process and one thread, by turns for each case; printed are medians over cases, of processor time, because other work on
the machine stretches the clock on the wall. What a tool needs before it can start (one-hot tensors for MONAI) is not
counted against it.

medpy computes Dice and HD95, in the rows marked "all" ASSD too; MONAI Dice and HD95, there ASSD and surface Dice too.
Ours always computes everything, the surface Dice in the rows marked "all".
"""

from __future__ import annotations

import argparse
import io
import lzma
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import process_time

import medpy.metric.binary as medpy
import monai.metrics as monai
import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmark.metrics import ENGINES, measure

SETS = {"ACDC": ("acdc", 4, (10, 256, 216)), "LA": ("la", 2, (183, 140, 88))}
"""Folder, classes and typical shape."""
PEERS = ("medpy", "MONAI")
TOLERANCE = 1.0  # voxels
Pairs = list[tuple[np.ndarray, np.ndarray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=2, help="of every tool; the fastest counts")
    parser.add_argument("--predictions", nargs="*", default=list(PREDICTIONS), choices=list(PREDICTIONS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    engines = [engine for engine in ENGINES if engine != "numba" or find_spec("numba")]
    tools = [*engines, *PEERS]
    ratios = [f"{engine} x {peer}" for engine in engines for peer in PEERS]
    print(f"{'ms a case':20}{'Dice':>6}{'HD95':>7}" + "".join(f"{name:>10}" for name in tools), end="")
    print("".join(f"{title:>15}" for title in ratios))
    for name, (folder, classes, shape) in SETS.items():
        packed = sorted((arguments.data / folder).glob("*.npz.xz"))
        labels = [_read(path) for path in packed[:: max(1, len(packed) // arguments.cases)][: arguments.cases]]
        labels = labels or [_made_up(shape, classes, seed) for seed in range(arguments.cases)]
        print(f"{name}: {len(labels)} {'real' if packed else 'made-up'} cases of {classes - 1} classes")
        for kind in arguments.predictions:
            perturb = PREDICTIONS[kind]
            pairs = [(perturb(label, np.random.default_rng(seed)), label) for seed, label in enumerate(labels)]
            for every in (False, True):
                title = f"  {kind}{', all' if every else ''}"
                print(_row(title, pairs, classes, engines, every=every, repeats=arguments.repeats), flush=True)


def _row(title: str, pairs: Pairs, classes: int, engines: list[str], *, every: bool, repeats: int) -> str:
    """Quality of the predictions, times of all tools and how many times faster than each peer each engine is."""
    rows = [row for pred, gt in pairs for row in measure(pred, gt, classes=classes, spacing=None) if row.status == "ok"]
    text = f"{title:20}{np.mean([row.dice for row in rows]):6.3f}{np.mean([row.hd95 for row in rows]):7.2f}"
    times: dict[str, list[float]] = {}
    for pred, gt in pairs:
        for tool, run in _tools(pred, gt, classes, engines, every=every):
            times.setdefault(tool, []).append(min(_seconds(run) for _ in range(repeats)))
    text += "".join(f"{1000 * median(values):10.2f}" for values in times.values())
    for engine in engines:
        text += "".join(f"{median(np.divide(times[peer], times[engine])):15.1f}" for peer in PEERS)
    return text


def _tools(
    pred: np.ndarray, gt: np.ndarray, classes: int, engines: list[str], *, every: bool
) -> Iterator[tuple[str, Callable[[], object]]]:
    tolerance = [TOLERANCE] * (classes - 1) if every else None
    for engine in engines:
        yield engine, partial(measure, pred, gt, classes=classes, spacing=None, tolerance=tolerance, engine=engine)
    yield "medpy", partial(_medpy, pred, gt, classes, every)
    one_hot = [torch.stack([torch.from_numpy(labels == c) for c in range(classes)])[None] for labels in (pred, gt)]
    yield "MONAI", partial(_monai, *one_hot, tolerance)


def _medpy(pred: np.ndarray, gt: np.ndarray, classes: int, every: bool) -> None:
    for label in range(1, classes):
        masks = pred == label, gt == label
        medpy.dc(*masks)
        if all(mask.any() for mask in masks):
            medpy.hd95(*masks)
            if every:
                medpy.assd(*masks)


def _monai(pred: torch.Tensor, gt: torch.Tensor, tolerance: list[float] | None) -> None:
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

if __name__ == "__main__":
    main()
