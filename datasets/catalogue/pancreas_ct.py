"""Pancreas in portal-venous CT (NIH, TCIA), 3-D, as the semi-supervised literature converted it.

Source: Roth et al., Pancreas-CT, The Cancer Imaging Archive; conversion and lists of MC-Net, Co-BioNet or CoraNet.
Licence: CC BY 3.0 for the scans, as the archive states.
Layout: ``Pancreas-CT/data/image<NNNN>_norm.h5`` with ``image`` float32 and ``label`` {0, 1}; ``Pancreas-CT/train.list``
    and ``test.list``, one scan a line: ``image<NNNN>`` as MC-Net publishes it, or with ``_norm`` or ``.h5``.
Classes: background, pancreas.
Spacing: 1 mm along all axes, by the conversion; not stored in the files.
Protocol: lists of 62 training and 20 test scans (of which one leaks, see the card), or 62 and 18.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..base import DataError, Dataset, Partition
from ..io import read_list
from ..types import Annotation, Card, Case, Task
from ._h5 import lacking, read_case
from ._options import check_patch

PUBLISHED = ((62, 20), (62, 18))
SPACING_MM = (1.0, 1.0, 1.0)

SAME_SCAN = ("image0002", "image0025", "image0070")
"""One patient's scan three times; the archive withdrew 25 and 70 in 2020."""


@dataclass(frozen=True)
class PancreasCTOptions:
    """What a plan may set.

    Attributes:
        patch: voxels of a training sample along the file's axes.
        duplicates: "one_group" = the three copies of one scan must be on one side, so the list that has them on two is
            refused; "as_published" = each copy stands for itself, for comparison with numbers that leak.
        partial: accept a copy in which published scans are missing; its numbers are comparable with nothing.
    """

    patch: tuple[int, ...] = (96, 96, 96)
    duplicates: Literal["one_group", "as_published"] = "one_group"
    partial: bool = False

    def __post_init__(self) -> None:
        check_patch(self.patch, 3)
        if self.duplicates not in ("one_group", "as_published"):
            raise ValueError(f'duplicates must be "one_group" or "as_published", got {self.duplicates!r}')


class PancreasCT(Dataset):
    """One case per scan; copies of one scan are one group."""

    card = Card(
        title="Pancreas-CT (NIH, 82 or 80 scans)",
        source="Roth et al., Pancreas-CT (TCIA); conversion and lists: MC-Net, Co-BioNet, CoraNet.",
        licence="CC BY 3.0 as the archive states; cite it.",
        how_to_get="Download Pancreas-CT from The Cancer Imaging Archive (no registration): DICOM series and "
        "TCIA_pancreas_labels-02-05-2017. Convert as the papers do (resample to 1 mm, window -125 to 275 HU to [0, 1], "
        "crop in the plane to the label's box and 25 voxels, z-score), one HDF5 file per scan, and take their lists.",
        layout="Pancreas-CT/data/image<NNNN>_norm.h5, Pancreas-CT/train.list, Pancreas-CT/test.list (image<NNNN>).",
        spacing="1 mm along all axes, by the conversion; not stored in the files.",
        protocol="62 training and 20 or 18 test scans as the lists say; labelled subsets are 6 or 12 scans (subset "
        '"first"). Papers train without flips and turns (augment: none); validation is carved from train.',
        known_issues=(
            "Scans 2, 25 and 70 are one and the same. The common 62/20 list has 25 in test and the others in train: a "
            "leak, which is refused unless the option duplicates says as_published. The 62/18 list is clean.",
            "The archive withdrew 25 and 70 in 2020, so a fresh download has 80 scans.",
        ),
        facts={
            "size": "82 scans (80 since 2020) of 512×512×181 to 466 voxels before conversion",
            "normalisation": "as stored; scans smaller than the patch are padded with their minimum",
        },
        caveat="the published files are cropped to the ground truth's bounding box plus 25 voxels in the plane, test "
        "scans too. Where the pancreas lies is thus given, not found, and absolute scores are optimistic.",
    )
    Options = PancreasCTOptions
    folder = "Pancreas-CT"

    @classmethod
    def caveat(cls, options: Mapping[str, Any]) -> str:
        leaks = (
            "Scans 2, 25 and 70 are one scan and counted as three: with the list of 62 and 20, 25 tests and they train."
        )
        return f"{cls.card.caveat} {leaks}" if options.get("duplicates") == "as_published" else cls.card.caveat

    @classmethod
    def nominal_task(cls, options: PancreasCTOptions) -> Task:
        return Task("pancreas_ct", 3, 1, ("background", "pancreas"), options.patch, "mm")

    def make_task(self) -> Task:
        for part in ("train", "test"):
            if not (self.root / f"{part}.list").is_file():
                raise self.missing(f"file {str(self.root / (part + '.list'))!r}")
        return self.nominal_task(self.options)

    def files(self) -> Sequence[Path]:
        return sorted(path for path in (self.root / "data").glob("*.h5") if not path.name.startswith("."))

    def lists(self) -> Sequence[Path]:
        return [self.root / f"{part}.list" for part in ("train", "test")]

    def groups(self) -> Mapping[str, str]:
        names, lists = [path.stem for path in self.files()], self._lists()
        listed = {*lists["train"], *lists["test"]}
        short = (len(lists["train"]), len(lists["test"])) not in PUBLISHED or listed - set(names)
        if short and not self.options.partial:
            raise DataError(
                f"pancreas_ct: {len(lists['train'])} training and {len(lists['test'])} test scans are listed "
                f"(published: 62 and 20, or 62 and 18) and {len(listed - set(names))} of them are not in "
                f"{str(self.root / 'data')!r}; complete the copy, or set the option partial: true (then comparable "
                "with nothing)"
            )
        strays = sorted(set(names) - listed)
        if strays:
            raise DataError(f"pancreas_ct: {strays[0]!r} is in neither list in {self.root}; list it, or move it away")
        return {name: self._group(name) for name in names}

    def load(self, key: str) -> Case:
        path = self.root / "data" / f"{key}.h5"
        case = read_case("pancreas_ct", path, self._group(key), self.task.classes, has_spacing=None)
        return replace(case, spacing=SPACING_MM)

    def partition(self, fold: int) -> Partition:
        if fold != 1:
            raise ValueError(f"pancreas_ct has one published division: fold must be 1, got {fold}")
        there, lists = self.groups(), self._lists()
        return Partition(**{p: tuple(dict.fromkeys(there[n] for n in lists[p] if n in there)) for p in lists})

    def unannotated(self, annotation: Annotation) -> frozenset[str]:
        return lacking({path.stem: path for path in self.files()}, annotation)

    def published_order(self) -> Sequence[str]:
        return tuple(dict.fromkeys(map(self._group, self._lists()["train"])))

    def _group(self, name: str) -> str:
        return "+".join(SAME_SCAN) if _scan(name) in SAME_SCAN and self.options.duplicates == "one_group" else name

    def _lists(self) -> dict[str, tuple[str, ...]]:
        """The distinct scans of each list, as stems of files where there is one."""
        stems = {_scan(path.name): path.stem for path in self.files()}
        lists = {path.stem: [stems.get(_scan(name), _scan(name)) for name in read_list(path)] for path in self.lists()}
        return {part: tuple(dict.fromkeys(names)) for part, names in lists.items()}


def _scan(name: str) -> str:
    """The scan that a file or a line of a list means: ``image<NNNN>``."""
    return name.removesuffix(".h5").removesuffix("_norm")
