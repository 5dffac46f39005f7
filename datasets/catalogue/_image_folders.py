"""Datasets that are folders of images beside folders of masks, divided into train and test or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ..base import DataError, Dataset, Partition
from ..splits import k_fold
from ..types import Case, Task
from ._images import SUFFIXES, Pair, codes_of, find_pairs, mixed_values, read_mask, read_pixels
from ._options import group_of

IMAGE_FOLDERS = ("image", "images", "img", "imgs")
MASK_FOLDERS = ("mask", "masks", "label", "labels", "gt")
SYNONYMS = {
    IMAGE_FOLDERS: ("frame", "frames", "photo", "photos", "picture", "pictures"),
    MASK_FOLDERS: ("annotation", "annotations", "segmentation", "segmentations", "seg", "segs", "ground_truth",
                   "groundtruth", "ground truth", "ground-truth", "gts"),
}  # fmt: skip
"""Names that are taken where no folder has a plain one: annotations may be boxes that lie beside masks."""
PARTS = {"train": ("train", "training"), "val": ("val", "validation"), "test": ("test", "testing")}
FOLDS = 5


class ImageFolders(Dataset):
    """Pairs below ``{train,test}/{image,mask}/`` (and perhaps ``val``), or below ``image/`` and ``mask/`` alone.

    Options must offer ``patch``, ``colour``, ``classes``, ``values``, ``threshold`` and ``group_pattern``.
    """

    folds = FOLDS
    unit: ClassVar[str] = ""
    """What several frames show, where a plan must say by group_pattern which frames are of one."""

    @classmethod
    def caveat(cls, options: Mapping[str, Any]) -> str:
        if not cls.unit or options.get("group_pattern"):
            return super().caveat(options)
        return (
            f"without group_pattern every frame stands for itself: a copy that is not divided by {cls.unit} has frames "
            f"of one {cls.unit} in training and test, and scores that are too high"
        )

    @classmethod
    def nominal_task(cls, options: Any) -> Task:
        name, channels = cls.__module__.rsplit(".", 1)[-1], 1 if options.colour == "grey" else 3
        return Task(name, 2, channels, options.classes, options.patch, "px")

    def make_task(self) -> Task:
        if not self._places:
            raise self.missing(
                f"folder {{train,test}}/{{image,mask}} with both inside, nor image/ and mask/, in {str(self.root)!r}"
            )
        if "test" in self._places:
            self.folds = 1  # type: ignore[misc]  # the folders are the only division; elsewhere it is the class's
        return self.nominal_task(self.options)

    def files(self) -> Sequence[Path]:
        return [path for pair in self.pairs.values() for path in (pair.image, pair.mask)]

    def groups(self) -> Mapping[str, str]:
        return {key: self.group(key) for key in self.pairs}

    def group(self, key: str) -> str:
        """What ``group_pattern`` finds in the file's stem, else the case."""
        return group_of(self.name, key, self.pairs[key].image.stem, self.options.group_pattern)

    def load(self, key: str) -> Case:
        where = f"{self.name}: case {key!r}"
        if key not in self.pairs:
            raise DataError(f"{where} is not among the {len(self.pairs)} pairs in {self.root}")
        pair, options = self.pairs[key], self.options
        try:
            image = read_pixels(pair.image, options.colour)
            label = read_mask(pair.mask, self._codes, options.classes, options.threshold)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        return Case(key, self.group(key), image, label)

    def remarks(self) -> Sequence[str]:
        masks = (pair.mask for pair in self.pairs.values())
        return [] if self.options.threshold else mixed_values(masks, self._codes)

    def partition(self, fold: int) -> Partition:
        if "test" not in self._places:
            return k_fold(list(self.groups().values()), fold, FOLDS, salt=self.name)
        if fold != 1:
            raise ValueError(f"{self.name}: train and test are folders, so fold must be 1, got {fold}")
        parts = {part: {self.group(k) for k, pair in self.pairs.items() if pair.part == part} for part in PARTS}
        return Partition(**{part: tuple(sorted(groups)) for part, groups in parts.items()})

    @property
    def _codes(self) -> Mapping[int, int]:
        ignore = getattr(self.options, "ignore", None)
        return codes_of(self.options.classes, self.options.values, ignore)

    @cached_property
    def pairs(self) -> Mapping[str, Pair]:
        """Key -> pair, sorted; the key is the stem, after ``part/`` where there are parts."""
        found: dict[str, Pair] = {}
        for part, (images, masks) in self._places.items():
            pairs = find_pairs(self.name, images, masks, part)
            if not pairs:
                raise self.missing(f"image ({', '.join(SUFFIXES)}) in {str(images)!r}")
            found |= {f"{part}/{stem}" if part else stem: pair for stem, pair in pairs.items()}
        return dict(sorted(found.items()))

    @cached_property
    def _places(self) -> Mapping[str, tuple[Path, Path]]:
        """Part -> folders of images and of masks; "" where nothing is divided; empty where none is found."""
        whole = self._two_folders(self.root)
        if whole:
            return {"": whole}
        places = {}
        for part, names in PARTS.items():
            for folder in _named(self.root, names):
                two = self._two_folders(folder)
                if two:
                    places[part] = two
        return places if {"train", "test"} <= set(places) else {}

    def _two_folders(self, parent: Path) -> tuple[Path, Path] | None:
        there = [_named(parent, names) or _named(parent, more) for names, more in SYNONYMS.items()]
        for found in there:
            if len(found) > 1:
                raise DataError(f"{self.name}: {found[0]} and {found[1]} are two folders of one kind; remove one")
        return (there[0][0], there[1][0]) if all(there) else None


def _named(parent: Path, names: Sequence[str]) -> list[Path]:
    """Folders in ``parent`` that are called one of ``names``, whatever the case, in the order of these."""
    found = [path for path in parent.glob("*") if path.name.lower() in names and path.is_dir()]
    return sorted(found, key=lambda path: (names.index(path.name.lower()), path.name))
