"""How long the metrics of a case take, beside medpy and MONAI: `python -m benchmarks.metrics [--data FOLDER] [--cases
K]`.

Real ACDC and LA label volumes are read from FOLDER (default ``../shared/data``: ``acdc/`` and ``la/`` with packed
cases); where there are none, volumes of the same size are made up. Predictions are the labels, bent and cut. All tools
see the same arrays in one process and one thread, one after the other for each case; printed are medians over cases.
What a tool needs before it can start (one-hot tensors for MONAI) is not counted against it. medpy and MONAI compute
Dice and HD95 only, or Dice, HD95, ASSD and surface Dice in the rows marked "all"; ours always computes everything, the
surface Dice in the rows marked "all".
"""

from __future__ import annotations

import argparse
import io
import lzma
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import medpy.metric.binary as medpy
import monai.metrics as monai
import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmark.metrics import measure

SETS = {"ACDC": ("acdc", 4, (10, 256, 216)), "LA": ("la", 2, (183, 140, 88))}
"""Folder, classes and typical shape."""
TOLERANCE = 1.0  # voxels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument(
        "--repeats", type=int, default=3, help="of ours; the fastest counts, as for the others their only run"
    )
    parser.add_argument("--predictions", nargs="*", default=list(PREDICTIONS), choices=list(PREDICTIONS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(
        f"{'':22}{'numba':>9}{'scipy':>9}{'medpy':>9}{'MONAI':>9}   ms     numba: x medpy, x MONAI   scipy: x medpy, x MONAI"
    )
    for name, (folder, classes, shape) in SETS.items():
        packed = sorted((arguments.data / folder).glob("*.npz.xz"))
        labels = [_read(path) for path in packed[:: max(1, len(packed) // arguments.cases)][: arguments.cases]]
        labels = labels or [_made_up(shape, classes, seed) for seed in range(arguments.cases)]
        print(f"{name}, {len(labels)} {'real' if packed else 'synthetic'} cases, {classes - 1} classes")
        for kind in arguments.predictions:
            pairs = [
                (PREDICTIONS[kind](label, np.random.default_rng(seed)), label) for seed, label in enumerate(labels)
            ]
            for every in (False, True):
                _print_row(f"  {kind}{', all' if every else ''}", pairs, classes, every, arguments.repeats)


def _print_row(title: str, pairs: list[tuple[np.ndarray, np.ndarray]], classes: int, every: bool, repeats: int) -> None:
    times: dict[str, list[float]] = {}
    for pred, gt in pairs:
        for tool, run in _tools(pred, gt, classes, every):
            trials = repeats if tool in ("numba", "scipy") else 1
            times.setdefault(tool, []).append(min(_seconds(run) for _ in range(trials)))
    columns = "".join(f"{1000 * median(values):9.2f}" for values in times.values())
    ratios = [
        f"{median(np.divide(times[peer], times[ours])):13.1f}"
        for ours in ("numba", "scipy")
        for peer in ("medpy", "MONAI")
    ]
    print(f"{title:22}{columns}        {''.join(ratios)}", flush=True)


def _tools(pred: np.ndarray, gt: np.ndarray, classes: int, every: bool) -> Iterator[tuple[str, Callable[[], object]]]:
    tolerance = [TOLERANCE] * (classes - 1) if every else None
    for engine in ("numba", "scipy"):
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
    start = perf_counter()
    run()
    return perf_counter() - start


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
