"""Files wherever they lie, listed in a CSV table: images or scans, with labels, scribbles or both.

Source: yours.
Licence: that of the images.
Layout: ``<folder>/manifest.csv`` with the columns case, group, image, label and perhaps scribble, part (train, val,
    test) and stratum; paths are relative to the folder. PNG, JPEG, BMP, TIFF; NIfTI, NRRD, MetaImage.
Classes: as the options say; label values are 0, 1, 2, ..., or those of the option ``values``.
Spacing: from the headers of scans, axes (z, y, x); photographs have none.
Protocol: the column part; without it five folds by a hash of the groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from ..base import LATER, DataError, Dataset, Partition
from ..splits import k_fold_beside
from ..types import IGNORE, Annotation, Card, Case, Task, Unit
from ._images import codes_of, mixed_values, read_pixels
from ._manifest import FILES, PARTS, read_map, read_rows
from ._normalise import clip_and_standardise
from ._options import check_classes, check_folder, check_ignore, check_patch
from ._volumes import read_zyx

FOLDS, TABLE = 5, "manifest.csv"


@dataclass(frozen=True)
class CsvManifestOptions:
    """What a plan may set.

    Attributes:
        folder: name of the folder, below the data root, that holds manifest.csv.
        scans: the files are scans (NIfTI, NRRD, MetaImage), not photographs.
        patch: two numbers (images, or slices of scans, are resized to it) or three (crops of scans).
        colour: "rgb" or "grey"; scans are always grey.
        classes: names of the classes, background first.
        values: the stored value of each class; empty = 0, 1, 2, ..., and for two classes also 0 and 255.
        annotations: what training rows give: dense, scribble or both; a row with neither label nor scribble is
            unlabelled. Validation and test rows need a label.
        unlabelled: value of unscribbled pixels in scribbles.
        ignore: value of pixels of no class, such as 255, in labels: nothing is learnt or scored there.
    """

    folder: str = "manifest"
    scans: bool = False
    patch: tuple[int, ...] = (256, 256)
    colour: Literal["rgb", "grey"] = "rgb"
    classes: tuple[str, ...] = ("background", "foreground")
    values: tuple[int, ...] = ()
    annotations: tuple[Annotation, ...] = ("dense",)
    unlabelled: int = IGNORE
    ignore: int | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        check_folder(self.folder)
        check_patch(self.patch, *((2, 3) if self.scans else (2,)))
        check_classes(self.classes, self.values)
        if not self.annotations:
            raise ValueError("annotations must be dense, scribble or both")
        check_ignore(self.ignore, self.values or range(len(self.classes)))


class CsvManifest(Dataset):
    """One case per row."""

    card = Card(
        title="Any files, listed in a CSV table",
        source="Your own.",
        licence="That of the images: state it where you publish numbers.",
        how_to_get="Write manifest.csv and name its folder with the option folder.",
        layout="<folder>/manifest.csv (columns case, group, image, label[, scribble, part, stratum]) and its files.",
        spacing="From the scans' headers, axes (z, y, x); photographs have none.",
        protocol="The column part (train, val, test); without it, five folds by a hash of the groups.",
        known_issues=("The group is yours to state: a patient or video in two groups may be in two parts of a split.",),
        facts={"normalisation": "photographs: values / 255; scans: clipped at percentiles 0.5 and 99.5, standardised"},
    )
    Options = CsvManifestOptions
    folder = "manifest"
    folds = FOLDS

    @classmethod
    def nominal_task(cls, options: CsvManifestOptions) -> Task:
        channels, patch = 1 if options.scans or options.colour == "grey" else 3, options.patch
        unit: Unit = "mm" if options.scans else "px"
        in_plane = (1, 2) if len(patch) == 3 else (0, 1)
        return Task(
            "csv_manifest", len(patch), channels, options.classes, patch, unit, options.annotations, in_plane=in_plane
        )

    def make_task(self) -> Task:
        if not (self.root / TABLE).is_file():
            raise self.missing(f"file {str(self.root / TABLE)!r}")
        if any(row["part"] for row in self._rows.values()):
            self.folds = 1  # type: ignore[misc]  # the table is the only division; elsewhere it is the class's
        return self.nominal_task(self.options)

    def subfolder(self) -> str:
        return self.options.folder

    def files(self) -> Sequence[Path]:
        listed = {self.root / row[kind] for row in self._rows.values() for kind in FILES if row[kind]}
        return [self.root / TABLE, *sorted(listed)]

    def groups(self) -> Mapping[str, str]:
        return {key: row["group"] for key, row in self._rows.items()}

    def strata(self) -> Mapping[str, str]:
        return {row["group"]: row["stratum"] for row in self._rows.values() if row["stratum"]}

    def unannotated(self, annotation: Annotation) -> frozenset[str]:
        column = "label" if annotation == "dense" else "scribble"
        return frozenset(key for key, row in self._rows.items() if not row[column] and row["part"] in ("", "train"))

    def load(self, key: str) -> Case:
        row, options = self._rows[key], self.options
        codes = codes_of(options.classes, options.values, options.ignore)
        known = {"label": codes, "scribble": codes | {options.unlabelled: IGNORE}}
        try:
            scan = read_zyx(row["image"], self.root / row["image"]) if options.scans else None
            label, scribble = (read_map(self.root, row[kind], scan, of, options.classes) for kind, of in known.items())
            if scan is None:
                image, spacing = read_pixels(self.root / row["image"], options.colour), None
            else:
                image, spacing = clip_and_standardise(scan.voxels, row["image"])[None], scan.spacing_mm
        except DataError as error:
            raise DataError(f"csv_manifest: case {key!r}: {error}") from error
        return Case(key, row["group"], image, label, scribble, spacing)

    def remarks(self) -> Sequence[str]:
        masks = [self.root / row["label"] for row in self._rows.values() if row["label"] and not self.options.scans]
        return mixed_values(masks, codes_of(self.options.classes, self.options.values, self.options.ignore))

    def partition(self, fold: int) -> Partition:
        if self.folds == FOLDS:
            bare = [key for key, row in self._rows.items() if not (row["label"] or row["scribble"])]
            return k_fold_beside(self.groups(), bare, fold, FOLDS, salt="csv_manifest")
        if fold != 1:
            raise ValueError(f"csv_manifest: the column part is the only division, so fold must be 1, got {fold}")
        rows = self._rows.values()
        return Partition(**{part: tuple(sorted({r["group"] for r in rows if r["part"] == part})) for part in PARTS})

    @cached_property
    def _rows(self) -> Mapping[str, Mapping[str, str]]:
        return read_rows(self.root / TABLE, self.options.annotations)
