"""Left atrium: late-gadolinium MR, 3-D, the semi-supervised benchmark as UA-MT converted it.

Source: 2018 Left Atrium challenge (cardiacatlas.org); HDF5 files and lists of UA-MT.
Licence: research use under the challenge's terms, which forbid redistribution.
Layout: ``LA/2018LA_Seg_Training Set/<scan>/mri_norm2.h5`` with ``image`` float32 (x, y, z) and ``label`` {0, 1};
    ``LA/train.list`` and ``LA/test.list``, one scan a line.
Classes: background, atrium.
Spacing: 0.625 mm along all axes; published, not stored in the files.
Protocol: train.list (80 scans) and test.list (20); no validation list. "8 labels" in papers are the first 8 lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..base import DataError, Dataset, Partition
from ..io import read_list
from ..splits import k_fold
from ..types import Annotation, Card, Case, Task
from ._h5 import lacking, read_case

SCANS, FILE = "2018LA_Seg_Training Set", "mri_norm2.h5"
PUBLISHED = {"train": 80, "test": 20}
SPACING_MM = (0.625, 0.625, 0.625)
PARTIAL_FOLDS = 5

# Measured over the 100 published files; others were made by another conversion, on which released models fail.
DEPTH = 88
MEAN = (0.04, 1.95)
FOREGROUND = (0.035, 0.192)


@dataclass(frozen=True)
class LAOptions:
    """What a plan may set.

    Attributes:
        patch: voxels of a training sample along (x, y, z).
        partial: accept a copy in which published scans are missing; its numbers are comparable with nothing. Where no
            scan of test.list is there, every fifth scan on disk, by a hash of its name, is a test scan.
    """

    patch: tuple[int, ...] = (112, 112, 80)
    partial: bool = False

    def __post_init__(self) -> None:
        if len(self.patch) != 3 or min(self.patch) < 1:
            raise ValueError(f"patch must be three positive numbers of voxels, got {self.patch}")


class LA(Dataset):
    """One case per scan; every scan is its own group."""

    card = Card(
        title="Left atrium (2018 challenge), UA-MT conversion",
        source="2018 Left Atrium Segmentation Challenge; conversion and lists: UA-MT (yulequan/UA-MT).",
        licence="Research use under the challenge's terms; no redistribution. UA-MT's repository has no licence file.",
        how_to_get="Register for the challenge data at cardiacatlas.org; the converted files lie in data/ of the "
        "repositories yulequan/UA-MT, HiLab-git/DTC and himashi92/Co-BioNet.",
        layout=f"LA/{SCANS}/<scan>/{FILE} (100 scans), LA/train.list (80 lines), LA/test.list (20 lines).",
        spacing="0.625 mm along all axes; published, not stored in the files.",
        protocol="80 training and 20 test scans; labelled subsets are the first 4, 8 or 16 lines of train.list (subset "
        '"first"); papers select the last iteration or, some, the best on test. Ours carve validation from train.',
        known_issues=(
            "The random margins were not seeded: nobody can make the same files again from the challenge's scans.",
            "Published HD95 and ASD are in voxels of 0.625 mm; ours are in mm.",
            "54 further scans of the challenge's own test set are not used by this protocol.",
        ),
        facts={
            "size": "100 scans of 148–244 × 132–160 × 88 voxels; the atrium fills 3.6 to 19.1 %",
            "normalisation": "as stored: z-scored over the whole scan, then cropped; after the crop mean .05 to 1.94",
        },
        caveat="the published files are cropped to the ground truth's bounding box plus 10 to 19 voxels in the plane, "
        "test scans too. Where the atrium lies is thus given, not found, and absolute scores are optimistic.",
    )
    Options = LAOptions
    folder = "LA"

    @classmethod
    def nominal_task(cls, options: LAOptions) -> Task:
        return Task("la", 3, 1, ("background", "atrium"), options.patch, "mm")

    def make_task(self) -> Task:
        if not (self.root / "train.list").is_file():
            raise self.missing(f"file {str(self.root / 'train.list')!r}")
        return self.nominal_task(self.options)

    def recognises(self, root: Path) -> bool:
        return super().recognises(root) or (root / SCANS).is_dir()

    def files(self) -> Sequence[Path]:
        return sorted(path for path in (self.root / SCANS).glob(f"*/{FILE}"))

    def lists(self) -> Sequence[Path]:
        return [path for part in PUBLISHED if (path := self.root / f"{part}.list").is_file()]

    def groups(self) -> Mapping[str, str]:
        names = [path.parent.name for path in self.files()]
        lists = self._lists()
        listed = {*lists["train"], *lists["test"]}
        short = any(len(lists[part]) != PUBLISHED[part] for part in PUBLISHED) or listed - set(names)
        if short and not self.options.partial:
            raise DataError(
                f"la: {len(lists['train'])} training and {len(lists['test'])} test scans are listed (published: 80 and "
                f"20) and {len(listed - set(names))} of them are not in {str(self.root / SCANS)!r}; complete the copy, "
                "or set the option partial: true (then comparable with nothing)"
            )
        strays = sorted(set(names) - listed)
        if strays:
            raise DataError(f"la: scan {strays[0]!r} is in neither list in {self.root}; list it, or move it elsewhere")
        return {name: name for name in names}

    def load(self, key: str) -> Case:
        path = self.root / SCANS / key / FILE
        case = read_case("la", path, key, self.task.classes, key=key, has_spacing=None)
        return replace(case, spacing=SPACING_MM)

    def partition(self, fold: int) -> Partition:
        if fold != 1:
            raise ValueError(f"la has one published division: fold must be 1, got {fold}")
        there, lists = set(self.groups()), self._lists()
        train, test = (tuple(name for name in lists[part] if name in there) for part in ("train", "test"))
        return Partition(train, test) if test else k_fold(train, 1, PARTIAL_FOLDS, salt="la")

    def unannotated(self, annotation: Annotation) -> frozenset[str]:
        return lacking({path.parent.name: path for path in self.files()}, annotation)

    def published_order(self) -> Sequence[str]:
        return self._lists()["train"]

    def oddities(self, case: Case) -> Sequence[str]:
        mean = float(case.image.mean())
        share = FOREGROUND[0] if case.label is None else float((case.label > 0).mean())
        return [
            f"{what} is {value:.3g}, in the published files {low} to {high}: another conversion"
            for what, value, (low, high) in (
                ("the number of slices", case.space[2], (DEPTH, DEPTH)),
                ("the mean", mean, MEAN),
                ("the atrium's share", share, FOREGROUND),
            )
            if not low <= value <= high
        ]

    def _lists(self) -> dict[str, tuple[str, ...]]:
        paths = {part: self.root / f"{part}.list" for part in PUBLISHED}
        return {part: read_list(path) if part == "train" or path.is_file() else () for part, path in paths.items()}
