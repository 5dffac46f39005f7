"""Any folder of the Medical Segmentation Decathlon (or of the same form): 3-D scans in NIfTI, listed in dataset.json.

Source: Antonelli et al., Nature Communications 2022 (the decathlon); medicaldecathlon.com.
Licence: CC BY-SA 4.0 for all ten tasks; see ``licence`` in the folder's dataset.json.
Layout: ``<task_folder>/dataset.json``, ``imagesTr/<case>.nii.gz``, ``labelsTr/<case>.nii.gz``.
Classes: those of dataset.json, background first.
Spacing: from the header of each image; axes stay in the file's order, (x, y, z), or (z, y, x) for 2-D methods.
Protocol: the decathlon's test labels are not public: five folds of the training cases, by a hash of their names. A case
    listed without "label" is unlabelled: it trains in every fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..base import DataError, Dataset, Partition
from ..io import read_json
from ..labels import label_map
from ..scans import read_nifti
from ..splits import k_fold_beside
from ..types import Annotation, Card, Case, Task
from ._decathlon import read_pairs, unlisted
from ._normalise import clip_and_standardise
from ._options import check_folder, check_patch
from ._volumes import same_place

# Foreground classes per task, to know before a folder is opened which methods apply; dataset.json has the last word.
FOREGROUND = {
    "Task01_BrainTumour": 3, "Task02_Heart": 1, "Task03_Liver": 2, "Task04_Hippocampus": 2, "Task05_Prostate": 2,
    "Task06_Lung": 1, "Task07_Pancreas": 2, "Task08_HepaticVessel": 2, "Task09_Spleen": 1, "Task10_Colon": 1,
}  # fmt: skip


@dataclass(frozen=True)
class MSDOptions:
    """What a plan may set.

    Attributes:
        task_folder: name of the folder, below the data root.
        channel: which channel of a multi-channel image, in the order of "modality" in dataset.json.
        patch: three numbers: voxels of a training sample along the file's axes. Two: (y, x) of the slices along z to
            which 2-D methods resize; axes are then (z, y, x). The networks want multiples of 16.
    """

    task_folder: str = "Task04_Hippocampus"
    channel: int = 0
    patch: tuple[int, ...] = (32, 48, 32)

    def __post_init__(self) -> None:
        check_folder(self.task_folder, "task_folder")
        if self.channel < 0:
            raise ValueError(f"channel must be 0 or more, got {self.channel}")
        check_patch(self.patch, 2, 3)


class MSD(Dataset):
    """One task of the decathlon; every case is its own group."""

    card = Card(
        title="Medical Segmentation Decathlon, one task",
        source="Antonelli et al., Nature Communications 2022; medicaldecathlon.com.",
        licence="CC BY-SA 4.0 for the ten tasks; dataset.json of the folder states it.",
        how_to_get="Download the task's tar file from medicaldecathlon.com (no registration) and unpack it.",
        layout="<task_folder>/dataset.json, imagesTr/<case>.nii.gz, labelsTr/<case>.nii.gz.",
        spacing="From the header of each image; axes stay in the file's order, (x, y, z), or (z, y, x) in 2-D.",
        protocol="Five folds of the training cases by a hash of their names; the official test labels are not public.",
        known_issues=(
            "Folds are by case: several cases of one person (both hippocampi, say) are not known from the names.",
            "Only one channel is read; brain tumours and prostate have more.",
        ),
        facts={
            "normalisation": "per volume: clipped at percentiles 0.5 and 99.5, then mean 0 and standard deviation 1",
            "Task04_Hippocampus": "260 labelled crops of MR at 1 mm, about 35 × 50 × 36 voxels: anterior, posterior",
            "md5 of Task04_Hippocampus.tar": "9d24dba78a72977dbd1d2e110310f31b",
        },
    )
    Options = MSDOptions
    folder = "Task04_Hippocampus"
    folds = 5

    @classmethod
    def nominal_task(cls, options: MSDOptions) -> Task:
        foreground = tuple(f"class {place}" for place in range(1, 1 + FOREGROUND.get(options.task_folder, 1)))
        return Task("msd", len(options.patch), 1, ("background", *foreground), options.patch, "mm")

    def make_task(self) -> Task:
        if not self._json.is_file():
            raise self.missing(f"file {str(self._json)!r}")
        labels = read_json(self._json).get("labels")
        if not isinstance(labels, dict) or {str(place) for place in range(len(labels))} != set(labels):
            raise DataError(
                f'msd: {self._json}: "labels" must number the classes 0, 1, 2, ... without gaps, got {labels!r}'
            )
        classes = tuple(labels[str(place)] for place in range(len(labels)))
        return replace(self.nominal_task(self.options), classes=classes)

    def subfolder(self) -> str:
        return self.options.task_folder

    def files(self) -> Sequence[Path]:
        return [self._json, *(path for pair in self._pairs.values() for path in pair if path)]

    def groups(self) -> Mapping[str, str]:
        return {key: key for key in self._pairs}

    def load(self, key: str) -> Case:
        where = f"msd: case {key!r}"
        if key not in self._pairs:
            raise DataError(f"{where} is not listed in {self._json}")
        paths = [path for path in self._pairs[key] if path]
        labels: np.ndarray | None = None
        try:
            image, *drawn = (read_nifti(path) for path in paths)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        axes = (0, 1, 2) if self.task.ndim == 3 else (2, 1, 0)
        voxels = image.voxels.reshape(*image.voxels.shape[:3], -1)
        if self.options.channel >= voxels.shape[3]:
            raise DataError(f"{where}: no channel {self.options.channel}, the image has {voxels.shape[3]} (from 0)")
        scaled = clip_and_standardise(voxels[..., self.options.channel], where).transpose(axes)
        if drawn:
            at, shape = f"{where}: label in {paths[1]}", drawn[0].voxels.shape
            if len(shape) != 3:
                raise DataError(f"{at} has shape {shape}, wanted is (x, y, z); drop the other axes").of("geometry")
            same_place(where, image, drawn[0], paths[1])
            labels = np.ascontiguousarray(label_map(drawn[0].voxels, at, self.task.classes).transpose(axes))
        spacing = tuple(image.spacing_mm[axis] for axis in axes)
        return Case(key, key, np.ascontiguousarray(scaled)[None], labels, None, spacing)

    def remarks(self) -> Sequence[str]:
        return unlisted(self._json)

    def partition(self, fold: int) -> Partition:
        return k_fold_beside(self.groups(), self.unannotated("dense"), fold, self.folds, salt="msd")

    def unannotated(self, annotation: Annotation) -> frozenset[str]:
        return frozenset(key for key, (_, label) in self._pairs.items() if label is None)

    @property
    def _json(self) -> Path:
        return self.root / "dataset.json"

    @cached_property
    def _pairs(self) -> Mapping[str, tuple[Path, Path | None]]:
        return read_pairs(self._json)
