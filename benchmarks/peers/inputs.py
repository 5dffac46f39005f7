"""Input pipelines of packages, set up to do what ours does: decode once, keep in memory, augment, batch.

Each has ``batches(n)``, which says how many seconds a batch of 12 samples took on average; one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from benchmark.plan import Cell

from ..settings import Setting
from .loop import PlainLoop

_RADIANS = np.deg2rad(20)


class PlainInput:
    """One h5 file and scipy per sample."""

    def __init__(self, setting: Setting, cell: Cell) -> None:
        self.loader = PlainLoop(cell, setting).loader

    def batches(self, n: int) -> float:
        """Seconds per batch."""
        return _clock(lambda: self.loader.batch(torch.device("cpu")), n)


class MonaiInput:
    """CacheDataset: reading and resizing are done once, turning, mirroring and rotating for every sample."""

    def __init__(self, setting: Setting, cell: Cell) -> None:
        from monai.data import CacheDataset, DataLoader
        from monai.transforms import Compose

        keys, patch = ["image", "label"], _patch(cell)
        files = [path for case in sorted(setting.source.samples) for path in setting.source.samples[case]]
        key = "scribble" if cell.annotation == "scribble" else "label"
        kept = CacheDataset(
            [{"path": str(path)} for path in files],
            Compose([_Read(key), *_monai_transforms(keys, patch)]),
            progress=False,
        )
        batch = cell.training.labelled_batch
        self._loader = DataLoader(kept, batch_size=batch, shuffle=True, drop_last=len(kept) >= batch, num_workers=0)
        self._batches = _forever(self._loader)

    def batches(self, n: int) -> float:
        """Seconds per batch."""
        return _clock(lambda: next(self._batches), n)


class TorchIOInput:
    """SubjectsDataset in memory with the same geometry; 3-D crops by its Queue."""

    def __init__(self, setting: Setting, cell: Cell) -> None:
        import torchio  # type: ignore[import-not-found]  # not among the requirements

        patch = _patch(cell)
        key = "scribble" if cell.annotation == "scribble" else "label"
        subjects = []
        for path in (path for case in sorted(setting.source.samples) for path in setting.source.samples[case]):
            image, label = (torch.from_numpy(array) for array in _read(path, key))
            flat = len(patch) == 2
            image, label = (array[..., None] if flat else array for array in (image, label))
            subjects.append(
                torchio.Subject(image=torchio.ScalarImage(tensor=image), label=torchio.LabelMap(tensor=label))
            )
        flips = torchio.RandomFlip(axes=(0, 1), flip_probability=0.5)
        batch = cell.training.labelled_batch
        if len(patch) == 2:
            angles = (0, 0, 0, 0, -20, 20)
            turns = torchio.RandomAffine(scales=0, degrees=angles, p=0.5)
            resize = torchio.Resize((*patch, 1))
            whole = torchio.SubjectsDataset([resize(subject) for subject in subjects], torchio.Compose([flips, turns]))
            self._batches = _forever(torchio.SubjectsLoader(whole, batch_size=batch, shuffle=True))
        else:
            sizes = [tuple(map(max, subject.spatial_shape, patch)) for subject in subjects]
            padded = [torchio.CropOrPad(size)(subject) for size, subject in zip(sizes, subjects, strict=True)]
            queue = torchio.Queue(
                torchio.SubjectsDataset(padded, flips), 4 * batch, 1, torchio.UniformSampler(patch), num_workers=0
            )
            self._batches = _forever(torchio.SubjectsLoader(queue, batch_size=batch))

    def batches(self, n: int) -> float:
        """Seconds per batch."""
        return _clock(lambda: next(self._batches), n)


INPUTS: dict[str, tuple[str, Callable[[Setting, Cell], Any]]] = {
    "h5 and scipy per sample": ("h5py", PlainInput),
    "MONAI CacheDataset": ("monai", MonaiInput),
    "TorchIO queue": ("torchio", TorchIOInput),
}
"""Name for tables -> package that it needs, and what makes it."""


class _Read:
    """Arrays of one file, channel first; runs once per sample, for it is what CacheDataset keeps."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, item: dict[str, str]) -> dict[str, np.ndarray]:
        image, label = _read(Path(item["path"]), self.key)
        return {"image": image, "label": label}


def _read(path: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    with h5py.File(path, "r") as file:
        return file["image"][:].astype(np.float32)[None], file[key][:].astype(np.uint8)[None]


def _monai_transforms(keys: Sequence[str], patch: Sequence[int]) -> list[Any]:
    from monai import transforms as t

    flips = [t.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in (0, 1)]
    if len(patch) == 3:
        return [
            t.SpatialPadd(keys, patch),
            t.RandSpatialCropd(keys, patch, random_size=False),
            *flips,
            t.EnsureTyped(keys),
        ]
    rotate = t.RandRotated(keys, range_x=_RADIANS, prob=0.5, mode=("bilinear", "nearest"), padding_mode="zeros")
    resize = t.Resized(keys, patch, mode=("bilinear", "nearest"))
    return [resize, t.RandRotate90d(keys, prob=0.5, max_k=3), *flips, rotate, t.EnsureTyped(keys)]


def _patch(cell: Cell) -> tuple[int, ...]:
    assert cell.training.patch is not None
    return cell.training.patch


def _forever(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def _clock(once: Callable[[], object], n: int) -> float:
    began = time.perf_counter()
    for _ in range(n):
        once()
    return (time.perf_counter() - began) / n
