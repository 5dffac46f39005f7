"""Brain tumours of BraTS 2019: FLAIR, whole tumour, 3-D, as SSL4MIS converted it.

Source: BraTS 2019 (CBICA); conversion and lists of SSL4MIS.
Licence: research use, after registration with CBICA or Synapse.
Layout: ``BraTS2019/data/<case>.h5`` with ``image`` float32 and ``label`` {0, 1}; ``BraTS2019/{train,val,test}.txt``.
Classes: background, whole tumour.
Spacing: 1 mm along all axes; published, not stored in the files.
Protocol: lists of 250 training, 25 validation and 60 test cases. "10 %" in papers are the first 25 lines of train.txt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..base import DataError, Dataset, Partition
from ..io import read_list
from ..types import Annotation, Card, Case, Task
from ._h5 import lacking, read_case

PUBLISHED = {"train": 250, "val": 25, "test": 60}
SPACING_MM = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class BraTSOptions:
    """What a plan may set.

    Attributes:
        patch: voxels of a training sample along the file's axes.
        partial: accept lists or folders in which published cases are missing; the numbers are comparable with nothing.
    """

    patch: tuple[int, ...] = (96, 96, 96)
    partial: bool = False

    def __post_init__(self) -> None:
        if len(self.patch) != 3 or min(self.patch) < 1:
            raise ValueError(f"patch must be three positive numbers of voxels, got {self.patch}")


class BraTS(Dataset):
    """One case per patient."""

    card = Card(
        title="BraTS 2019, whole tumour in FLAIR, SSL4MIS conversion",
        source="BraTS 2019 challenge (CBICA); conversion and lists: HiLab-git/SSL4MIS.",
        licence="Research use after registration with CBICA or Synapse; no redistribution.",
        how_to_get="Register for BraTS 2019; convert as SSL4MIS's code/dataloaders script for BraTS does (crop to the "
        "non-zero box, clip at the 99.9th percentile, z-score over positive voxels, label > 0 becomes 1), store as "
        "HDF5, and take the three lists from data/BraTS2019 of HiLab-git/SSL4MIS.",
        layout="BraTS2019/data/<case>.h5 (335 cases), BraTS2019/train.txt (250 lines), val.txt (25), test.txt (60).",
        spacing="1 mm along all axes; published, not stored in the files.",
        protocol="250 training, 25 validation, 60 test cases; labelled subsets are the first 25 or 50 lines of "
        'train.txt (subset "first").',
        known_issues=(
            "The step from NIfTI to HDF5 was never released, so the order of axes in other people's files may differ.",
            "The published crop leaves out the last plane of each axis.",
            "Some papers say 20 test cases and list these 60.",
        ),
        facts={"normalisation": "as stored; volumes smaller than the patch are padded with their minimum"},
    )
    Options = BraTSOptions
    folder = "BraTS2019"

    @classmethod
    def nominal_task(cls, options: BraTSOptions) -> Task:
        return Task("brats", 3, 1, ("background", "whole tumour"), options.patch, "mm")

    def make_task(self) -> Task:
        for part in PUBLISHED:
            path = self.root / f"{part}.txt"
            if not path.is_file():
                raise self.missing(f"file {str(path)!r}")
        return self.nominal_task(self.options)

    def files(self) -> Sequence[Path]:
        return sorted(path for path in (self.root / "data").glob("*.h5") if not path.name.startswith("."))

    def lists(self) -> Sequence[Path]:
        return [self.root / f"{part}.txt" for part in PUBLISHED]

    def groups(self) -> Mapping[str, str]:
        names, lists = [path.stem for path in self.files()], self._lists()
        listed = {name for part in lists.values() for name in part}
        short = any(len(lists[part]) != PUBLISHED[part] for part in PUBLISHED) or listed - set(names)
        if short and not self.options.partial:
            raise DataError(
                f"brats: {[len(part) for part in lists.values()]} cases are listed (published: 250, 25, 60) and "
                f"{len(listed - set(names))} of them are not in {str(self.root / 'data')!r}; complete the copy, or set "
                "the option partial: true (then comparable with nothing)"
            )
        strays = sorted(set(names) - listed)
        if strays:
            raise DataError(f"brats: case {strays[0]!r} is in no list in {self.root}; list it, or move it elsewhere")
        return {name: name for name in names}

    def load(self, key: str) -> Case:
        path = self.root / "data" / f"{key}.h5"
        case = read_case("brats", path, key, self.task.classes, has_spacing=None)
        return replace(case, spacing=SPACING_MM)

    def partition(self, fold: int) -> Partition:
        if fold != 1:
            raise ValueError(f"brats has one published division: fold must be 1, got {fold}")
        there = set(self.groups())
        return Partition(**{part: tuple(n for n in names if n in there) for part, names in self._lists().items()})

    def unannotated(self, annotation: Annotation) -> frozenset[str]:
        return lacking({path.stem: path for path in self.files()}, annotation)

    def published_order(self) -> Sequence[str]:
        return self._lists()["train"]

    def _lists(self) -> dict[str, tuple[str, ...]]:
        return {part: read_list(self.root / f"{part}.txt") for part in PUBLISHED}
