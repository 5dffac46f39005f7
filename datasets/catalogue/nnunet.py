"""Any raw folder of nnU-Net v2: dataset.json, one file per channel, labels, an ignore label, splits_final.json.

Source: yours, or any set converted for nnU-Net.
Licence: that of the images.
Layout: ``<folder>/dataset.json``, ``imagesTr/<case>_0000.nii.gz``, ``labelsTr/<case>.nii.gz``; perhaps ``imagesTs``,
    ``labelsTs``, ``labelsTr_dense``, ``splits_final.json``, ``imagesUn`` (no labels). NRRD, MetaImage, PNG, BMP, TIFF.
Classes: those of dataset.json. With a label "ignore", labelsTr are scribbles; dense labels may lie in labelsTr_dense.
Spacing: from the headers of scans, axes (z, y, x); photographs have none.
Protocol: labelsTs test where they exist, else fold k of splits_final.json, else five folds by a hash of the groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..base import DataError, Dataset, Partition, Sparse
from ..splits import k_fold_beside
from ..types import Annotation, Card, Case, Task
from ._nnunet import Files, find_cases, read_images, read_label
from ._nnunet_json import Descriptor, check_fold, read_descriptor, read_folds
from ._options import check_folder, check_patch, check_pattern, group_of

FOLDS = 5


@dataclass(frozen=True)
class NnunetOptions:
    """What a plan may set. Channels, classes and annotations must be those of the folder: it is checked.

    Attributes:
        folder: name of the folder, below the data root.
        patch: three numbers (crops of volumes), or two (images, or slices of volumes along z, resized to it).
        channels, foreground: channels of the images; classes beside the background and "ignore".
        annotations: dense; or scribble, where dataset.json has a label "ignore"; or both, with labelsTr_dense too.
        group_pattern: regular expression that finds the patient in a case's name; empty = every case for itself.
    """

    folder: str = "Dataset001_Mine"
    patch: tuple[int, ...] = (32, 64, 64)
    channels: int = 1
    foreground: int = 1
    annotations: tuple[Annotation, ...] = ("dense",)
    group_pattern: str = ""

    def __post_init__(self) -> None:
        check_folder(self.folder)
        check_patch(self.patch, 2, 3)
        if min(self.channels, self.foreground) < 1 or not self.annotations:
            raise ValueError("channels and foreground must be 1 or more, annotations dense, scribble or both")
        check_pattern(self.group_pattern)


class Nnunet(Dataset):
    """One case per name in labelsTr and labelsTs."""

    card = Card(
        title="Any nnU-Net v2 folder (labels, not regions)",
        source="Your own, or any set converted for nnU-Net.",
        licence="That of the images: state it where you publish numbers.",
        how_to_get="Name a folder of nnUNet_raw (option folder); copy splits_final.json from nnUNet_preprocessed.",
        layout="<folder>/dataset.json, imagesTr/<case>_0000<ending>, labelsTr/<case><ending>[, imagesTs, labelsTs, "
        "labelsTr_dense, splits_final.json; imagesUn without labels].",
        spacing="From the scans' headers, axes (z, y, x); photographs have none.",
        protocol="labelsTs test where they exist (fold k of splits_final.json then validates); else fold k tests; "
        "without that file five folds by a hash of the groups.",
        known_issues=(
            "splits_final.json is by case; with group_pattern a patient on both sides is refused.",
            "Every channel is scaled by itself; nnU-Net scales CT by the whole set's values.",
        ),
        facts={"normalisation": "scans: each channel clipped at percentiles 0.5 and 99.5, standardised; PNG: / 255"},
    )
    Options, folder, folds = NnunetOptions, "Dataset001_Mine", FOLDS

    @classmethod
    def nominal_task(cls, options: NnunetOptions) -> Task:
        classes = ("background", *(f"class {place}" for place in range(1, options.foreground + 1)))
        return Task(
            "nnunet", len(options.patch), options.channels, classes, options.patch, "mm", options.annotations,
            in_plane=(1, 2) if len(options.patch) == 3 else (0, 1),
        )  # fmt: skip

    def make_task(self) -> Task:
        options, about = self.options, self._about
        dense_too = ("dense", "scribble") if (self.root / "labelsTr_dense").is_dir() else ("scribble",)
        found = (about.channels, len(about.classes) - 1, dense_too if about.ignore is not None else ("dense",))
        if found != (options.channels, options.foreground, options.annotations):
            wanted = f"channels: {found[0]}, foreground: {found[1]}, annotations: [{', '.join(found[2])}]"
            raise DataError(f"nnunet: {self.root / 'dataset.json'} is not as the options say; set {wanted}")
        if len(options.patch) == 3 and not about.is_scan:
            raise DataError(f"nnunet: {about.ending} files are 2-D; set the option patch to two numbers")
        self.folds = len(self._splits) or (1 if any(c.tests for c in self._cases.values()) else FOLDS)  # type: ignore[misc]
        return replace(self.nominal_task(options), classes=about.classes, unit="mm" if about.is_scan else "px")

    def subfolder(self) -> str:
        return self.options.folder

    def files(self) -> Sequence[Path]:
        own = [path for name in ("dataset.json", "splits_final.json") if (path := self.root / name).is_file()]
        return own + sorted({path for case in self._cases.values() for path in (*case.images, *case.labels)})

    def groups(self) -> Mapping[str, str]:
        return {key: group_of("nnunet", key, key, self.options.group_pattern) for key in self._cases}

    def unannotated(self, annotation: Annotation) -> frozenset[str]:
        return frozenset(key for key, case in self._cases.items() if case.lacks(annotation))

    def load(self, key: str) -> Case:
        case = self._cases[key]
        try:
            image, stored = read_images(case.images, self._about)
            maps = {path: read_label(path, stored, self._about) for path in case.labels}
        except DataError as error:
            raise DataError(f"nnunet: case {key!r}: {error}") from error
        label, scribble = (None if path is None else maps[path] for path in (case.dense, case.partial))
        return Case(key, self.groups()[key], image, label, scribble, stored and stored.spacing_mm)

    def partition(self, fold: int) -> Partition:
        if not 1 <= fold <= self.folds:
            raise ValueError(f"nnunet: fold must be in 1..{self.folds} in this folder, got {fold}")
        groups, tests = self.groups(), [key for key, case in self._cases.items() if case.tests]
        bare = [key for key, case in self._cases.items() if not case.labels]
        if not tests and not all(case.dense for case in self._cases.values() if case.labels):
            raise DataError("nnunet: nothing to test on: add imagesTs and labelsTs, or dense labels in labelsTr_dense")
        if not (self._splits or tests):
            return k_fold_beside(groups, bare, fold, FOLDS, salt="nnunet")
        known = sorted(set(groups) - {*tests, *bare})
        train, held_out = self._splits[fold - 1] if self._splits else (known, ())
        check_fold(self.root / "splits_final.json", fold, {*train, *held_out}, known)
        parts = (train, *((tests, held_out) if tests else (held_out, ())), bare)
        drawn, test, val, loose = ({groups[key] for key in part if key in groups} for part in parts)
        drawn |= loose - test - val  # else images without label of a patient who is held out
        return Sparse(*(tuple(sorted(part)) for part in (drawn, test, val)))

    @cached_property
    def _about(self) -> Descriptor:
        if not (path := self.root / "dataset.json").is_file():
            raise self.missing(f"file {str(path)!r}")
        return read_descriptor(path)

    @cached_property
    def _cases(self) -> Mapping[str, Files]:
        return find_cases(self.root, self._about)

    @cached_property
    def _splits(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        return read_folds(self.root / "splits_final.json")
