"""Datasets that are folders of images beside folders of masks, divided into train and test or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ..base import DataError, Dataset, Partition
from ..splits import k_fold_beside
from ..types import Annotation, Case, Task
from ._image_places import PARTS, places_in, unlabelled_in
from ._images import codes_of, mixed_values, read_mask, read_pixels
from ._options import group_of
from ._pairs import UNLABELLED, Pair, find_images, find_pairs
from ._strays import SUFFIXES

FOLDS = 5


class ImageFolders(Dataset):
    """Pairs below ``{train,test}/{image,mask}/`` (and perhaps ``val``), or below ``image/`` and ``mask/`` alone.

    Images in a folder ``unlabelled``, beside these or in ``train``, train without a mask in every fold.

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
        return [path for pair in self.pairs.values() for path in (pair.image, pair.mask) if path]

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
            label = read_mask(pair.mask, self._codes, options.classes, options.threshold) if pair.mask else None
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        return Case(key, self.group(key), image, label)

    def remarks(self) -> Sequence[str]:
        masks = (pair.mask for pair in self.pairs.values() if pair.mask)
        return [] if self.options.threshold else mixed_values(masks, self._codes)

    def unannotated(self, annotation: Annotation) -> frozenset[str]:
        return frozenset(key for key, pair in self.pairs.items() if pair.mask is None)

    def partition(self, fold: int) -> Partition:
        if "test" not in self._places:
            return k_fold_beside(self.groups(), self.unannotated("dense"), fold, FOLDS, salt=self.name)
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
        """Key -> pair, sorted; the key is the stem, after ``part/`` where there are parts, or ``unlabelled/``."""
        found: dict[str, Pair] = {}
        for part, (images, masks) in self._places.items():
            pairs = find_pairs(self.name, images, masks, part)
            if not pairs:
                raise self.missing(f"image ({', '.join(SUFFIXES)}) in {str(images)!r}")
            found |= {f"{part}/{stem}" if part else stem: pair for stem, pair in pairs.items()}
        part = "train" if "train" in self._places else ""
        for folder in unlabelled_in(self.name, self.root, self._places):
            alone = find_images(self.name, folder)
            found |= {f"{UNLABELLED[0]}/{stem}": Pair(path, None, part) for stem, path in alone.items()}
        return dict(sorted(found.items()))

    @cached_property
    def _places(self) -> Mapping[str, tuple[Path, Path]]:
        return places_in(self.name, self.root)
