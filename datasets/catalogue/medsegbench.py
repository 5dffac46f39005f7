"""Any set of MedSegBench: one NumPy archive of small images of equal size, already divided.

Source: MedSegBench (Zenodo records 13358372 and 13359660) and the sets that it gathers.
Licence: that of each set; MedSegBench's own table records it.
Layout: ``MedSegBench/<name>_<size>.npz`` with ``{train,val,test}_images`` uint8 (n, h, w[, 3]) and
    ``{train,val,test}_label`` (n, h, w).
Classes: background and as many as the option ``foreground`` says; labels 0, 1, 2, ..., or 0 and 255 (in all masks).
Spacing: not stored: distances are in pixels of the resized images.
Protocol: the archive's own division.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from ..base import DataError, Dataset, Partition
from ..io import read_npz
from ..labels import label_map
from ..types import Card, Case, Task

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class MedSegBenchOptions:
    """What a plan may set.

    Attributes:
        file: name of the archive.
        colour: "rgb" (three channels are stored) or "grey" (one).
        foreground: how many classes there are beside the background.
        patch: (height, width) that training resizes to.
    """

    file: str = "robotool_256.npz"
    colour: Literal["rgb", "grey"] = "rgb"
    foreground: int = 1
    patch: tuple[int, ...] = (256, 256)

    def __post_init__(self) -> None:
        if Path(self.file).name != self.file or not self.file.endswith(".npz"):
            raise ValueError(f"file must be the name of one .npz file, got {self.file!r}")
        if self.colour not in ("rgb", "grey"):
            raise ValueError(f'colour must be "rgb" or "grey", got {self.colour!r}')
        if not 1 <= self.foreground < 255:
            raise ValueError(f"foreground must be 1 to 254 classes, got {self.foreground}")
        if len(self.patch) != 2 or min(self.patch) < 1:
            raise ValueError(f"patch must be two positive numbers of pixels, got {self.patch}")


class MedSegBench(Dataset):
    """Images by their place in the archive; each is its own group."""

    card = Card(
        title="MedSegBench archives",
        source="MedSegBench (Zenodo records 13358372 and 13359660), and the set's own paper.",
        licence="That of each set; see MedSegBench's table.",
        how_to_get="Download <name>_<size>.npz from the Zenodo records of MedSegBench (no registration).",
        layout="MedSegBench/<name>_<size>.npz with {train,val,test}_images and {train,val,test}_label.",
        spacing="Not stored: distances are in pixels of the resized images.",
        protocol="The archive's own training, validation and test images.",
        known_issues=(
            "Divisions are by image: slices of one patient (promise12) and frames of one video (robotool) leak.",
            "Images are resized to squares; the native grid is lost, so scores are on the resized one.",
        ),
        facts={
            "md5 of robotool_256.npz": "7e644bc28160db7e4af27b164844f136 (350, 50, 100 images)",
            "md5 of promise12, 256": "f5dbdbfe05b80808c4d541a63f64521c (1031, 147, 295 slices)",
            "md5 of cellnuclei, 256": "bce679a41ed55486a0a5b0a7471f2b43 (469, 67, 134 images)",
            "normalisation": "values / 255; nothing else",
        },
    )
    Options = MedSegBenchOptions
    folder = "MedSegBench"

    @classmethod
    def nominal_task(cls, options: MedSegBenchOptions) -> Task:
        names = ("foreground",) if options.foreground == 1 else [f"class {n + 1}" for n in range(options.foreground)]
        return Task("medsegbench", 2, 3 if options.colour == "rgb" else 1, ("background", *names), options.patch, "px")

    def make_task(self) -> Task:
        if not self._path.is_file():
            raise self.missing(f"file {str(self._path)!r}")
        return self.nominal_task(self.options)

    def files(self) -> Sequence[Path]:
        return [self._path]

    def groups(self) -> Mapping[str, str]:
        keys = [f"{part}/{i:05d}" for part in PARTS for i in range(len(self._arrays[f"{part}_images"]))]
        return {key: key for key in sorted(keys)}

    def load(self, key: str) -> Case:
        where = f"medsegbench: case {key!r} of {self.options.file}"
        if key not in self.groups():
            raise DataError(f"{where}: there is none; cases are named like train/00000")
        part, place = key.split("/")
        image, stored = (self._arrays[f"{part}_{kind}"][int(place)] for kind in ("images", "label"))
        image = image[..., None] if image.ndim == 2 else image
        if image.dtype != np.uint8 or image.shape[-1] != self.task.channels:
            raise DataError(
                f"{where}: images are {image.dtype} {image.shape}, expected is uint8 (h, w, {self.task.channels}); set "
                "the option colour"
            )
        if self.task.n_classes == 2 and set(np.unique(stored).tolist()) == {0, 255}:
            if self._ones:
                what = "label holds 255, those of other images 1, so neither is surely the foreground"
                raise DataError(f"{where}: {what}; write all masks with 0 and 1, or with 0 and 255").of("unknown_label")
            stored = stored // 255
        label = label_map(stored.reshape(stored.shape[:2]), f"{where}: label", self.task.classes)
        return Case(key, key, np.moveaxis(image, 2, 0).astype(np.float32) / 255, label)

    def partition(self, fold: int) -> Partition:
        if fold != 1:
            raise ValueError(f"medsegbench has one published division: fold must be 1, got {fold}")
        keys = list(self.groups())
        return Partition(**{part: tuple(key for key in keys if key.startswith(f"{part}/")) for part in PARTS})

    @property
    def _path(self) -> Path:
        return self.root / self.options.file

    @cached_property
    def _ones(self) -> bool:
        return any((self._arrays[f"{part}_label"] == 1).any() for part in PARTS)

    @cached_property
    def _arrays(self) -> Mapping[str, np.ndarray]:
        arrays = read_npz(self._path)
        for part in PARTS:
            absent = [name for name in (f"{part}_images", f"{part}_label") if name not in arrays]
            if absent:
                raise DataError(f"medsegbench: {self._path}: no array {absent[0]!r}; it holds {', '.join(arrays)}")
            images, labels = arrays[f"{part}_images"], arrays[f"{part}_label"]
            if len(images) != len(labels):
                what = f"{len(images)} {part} images but {len(labels)} labels"
                raise DataError(f"medsegbench: {self._path}: {what}").of("unpaired")
            if images.shape[1:3] != labels.shape[1:3]:
                what = f"{part} images have {images.shape[1:3]} pixels but labels {labels.shape[1:3]}"
                raise DataError(f"medsegbench: {self._path}: {what}").of("geometry")
        return arrays
