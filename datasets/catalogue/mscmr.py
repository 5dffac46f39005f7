"""MSCMR: late-gadolinium MR of the heart; 25 scribbled scans train, 5 and 15 dense ones validate and test.

Source: MS-CMRseg challenge 2019; scribbles and lists as released with CycleMix.
Licence: challenge terms (research use); the copy with scribbles has no licence file.
Layout: ``MSCMR_dataset/{train,val,TestSet}/images/subject<N>_DE.nii.gz``, and in ``labels/`` the same name followed by
    ``_scribble`` (train) or ``_manual`` (val, TestSet).
Classes: background, RV, MYO, LV; 4 = unlabelled in the scribbles.
Spacing: from the header of each image; axes become (z, y, x).
Protocol: CycleMix's lists. There are no dense training labels, so the dense upper bound cannot be trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..base import DataError, Dataset, Partition
from ..faults import fault
from ..labels import label_map
from ..types import Card, Case, Task
from ._mscmr_lists import SUBJECTS
from ._slices import scribble_oddities
from ._volumes import misplaced, read_zyx, same_place

CLASSES = ("background", "RV", "MYO", "LV")
FOLDERS = {"train": "train", "val": "val", "test": "TestSet"}
PERCENTILE = 99
RESET = "subject43"  # see known_issues: the header of its label is not compared


@dataclass(frozen=True)
class MSCMROptions:
    """What a plan may set.

    Attributes:
        patch: (height, width) that slices are resized to.
        partial: accept a copy in which listed subjects are missing; its numbers are comparable with nothing.
    """

    patch: tuple[int, ...] = (256, 256)
    partial: bool = False

    def __post_init__(self) -> None:
        if len(self.patch) != 2 or min(self.patch) < 1:
            raise ValueError(f"patch must be two positive numbers of pixels, got {self.patch}")


class MSCMR(Dataset):
    """45 short-axis volumes of 45 subjects; samples are slices."""

    card = Card(
        title="MSCMR (late-gadolinium enhancement) with scribbles",
        source="MS-CMRseg challenge 2019; scribbles and lists: CycleMix (repository BWGZK/CycleMix).",
        licence="Challenge terms: research use, cite both; no licence file beside the scribbles, so do not re-ship.",
        how_to_get="Register for the MS-CMRseg challenge (zmiclab). The folder MSCMR_dataset of BWGZK/CycleMix, "
        "kept by the organisers' own group, is in this layout.",
        layout="MSCMR_dataset/{train,val,TestSet}/{images,labels}/subject<N>_DE[_scribble|_manual].nii.gz.",
        spacing="From the header of each image; axes become (z, y, x).",
        protocol="25 subjects with scribbles train, 5 with dense labels validate, 15 test.",
        known_issues=(
            "No dense training labels: full supervision needs the challenge's own labels.",
            "The challenge's own label codes (200, 500, 600) are 1, 2, 3 here; in 8 bits they would wrap.",
            "7 of the 382 training slices have no scribble in the heart.",
            "The published pipeline pads and rotates scribbles with 0, which are free background labels; ours ignore.",
        ),
        facts={
            "size": "382, 75 and 229 slices of 400² to 512² pixels, 0.73 to 0.76 mm, 5 mm between slices",
            "scribbles": "4.3 % of the pixels: background 3.3, RV .31, MYO .40, LV .29",
            "normalisation": "per volume: clipped at the 99th percentile, then min-max to [0, 1], as for ACDC",
        },
        counts={"cases": 45, "slices": 382 + 75 + 229},
        caveat="the label of subject43 (test) has a reset header: its voxels are paired with the image's as stored",
    )
    Options = MSCMROptions
    folder = "MSCMR_dataset"

    @classmethod
    def nominal_task(cls, options: MSCMROptions) -> Task:
        return Task("mscmr", 2, 1, CLASSES, options.patch, "mm", ("scribble",))

    def make_task(self) -> Task:
        if not self._parts():
            raise self.missing(f"file {FOLDERS['train']}/images/subject2_DE.nii.gz or the like in {str(self.root)!r}")
        return self.nominal_task(self.options)

    def files(self) -> Sequence[Path]:
        return [path for key in self.groups() for path in self._paths(key)]

    def groups(self) -> Mapping[str, str]:
        parts = self._parts()
        absent = sorted({_key(n) for listed in SUBJECTS.values() for n in listed} - set(parts))
        if absent and not self.options.partial:
            words = f"{len(absent)} of the 45 listed subjects are not in {str(self.root)!r}, such as {absent[0]}"
            advice = "complete the copy, or set the option partial: true (then comparable with nothing)"
            fault(DataError(f"mscmr: {words}; {advice}").of("missing"))
        gone = {key: path for key in parts for path in self._paths(key) if not path.is_file()}
        for key, path in gone.items():
            fault(DataError(f"mscmr: case {key!r}: no file {path} beside its partner; fetch it").of("unpaired"))
        return {key: key for key in parts if key not in gone}

    def load(self, key: str) -> Case:
        where = f"mscmr: case {key!r}"
        image_path, label_path = self._paths(key)
        image, stored = read_zyx(where, image_path), read_zyx(where, label_path, agreed=key != RESET)
        if key != RESET:
            same_place(where, image, stored, label_path)
        training = self._parts()[key] == "train"
        labels = label_map(stored.voxels, f"{where}: {label_path}", CLASSES, unlabelled=4 if training else None)
        if not np.isfinite(image.voxels).all():
            raise DataError(f"{where}: {image_path} holds NaN or infinite values; fetch it again").of("not_finite")
        voxels = image.voxels.astype(np.float64)
        low, high = voxels.min(), np.percentile(voxels, PERCENTILE)
        if low >= high:
            raise DataError(f"{where}: {image_path} is constant; fetch it again").of("constant")
        scaled = ((np.clip(voxels, low, high) - low) / (high - low)).astype(np.float32)[None]
        return Case(key, key, scaled, None if training else labels, labels if training else None, image.spacing_mm)

    def partition(self, fold: int) -> Partition:
        if fold != 1:
            raise ValueError(f"mscmr has one published division: fold must be 1, got {fold}")
        parts = {key: self._parts()[key] for key in self.groups()}
        return Partition(**{part: tuple(key for key in parts if parts[key] == part) for part in SUBJECTS})

    def oddities(self, case: Case) -> Sequence[str]:
        if case.key != RESET:  # of any other, `load` refuses what is misplaced
            return scribble_oddities(case)
        image, label = (read_zyx(RESET, path, agreed=False) for path in self._paths(RESET))
        return [*misplaced("header", image, label, self._paths(RESET)[1]), *scribble_oddities(case)]

    def _paths(self, key: str) -> tuple[Path, Path]:
        part, stem = self._parts()[key], f"subject{int(key.removeprefix('subject'))}_DE"
        folder, ending = self.root / FOLDERS[part], "scribble" if part == "train" else "manual"
        return folder / "images" / f"{stem}.nii.gz", folder / "labels" / f"{stem}_{ending}.nii.gz"

    def _parts(self) -> dict[str, str]:
        """Subjects of whom the image is there -> part; sorted by number, for names have two digits."""
        found = {
            _key(n): part
            for part, listed in SUBJECTS.items()
            for n in listed
            if (self.root / FOLDERS[part] / "images" / f"subject{n}_DE.nii.gz").is_file()
        }
        return dict(sorted(found.items()))


def _key(number: int) -> str:
    return f"subject{number:02d}"
