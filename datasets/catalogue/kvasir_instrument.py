"""Kvasir-Instrument: tools in gastrointestinal endoscopy, RGB photographs with binary masks.

Source: Jha et al., MultiMedia Modeling 2021; datasets.simula.no/kvasir-instrument.
Licence: research and education only, no commercial use.
Layout: ``kvasir-instrument/images/<stem>.jpg``, ``masks/<stem>.png`` (tool = 255), ``train.txt``, ``test.txt`` (stems).
Classes: background, tool.
Spacing: photographs have none: distances are in pixels.
Protocol: the official 472 training and 118 test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..base import DataError, Partition
from ..io import read_list
from ..types import Card, Case, Task
from ._image_folders import ImageFolders
from ._images import read_mask

PUBLISHED = {"train": 472, "test": 118}


@dataclass(frozen=True)
class KvasirOptions:
    """What a plan may set.

    Attributes:
        patch: (height, width) that training resizes to.
        partial: accept a copy in which published images are missing; its numbers are comparable with nothing.
    """

    patch: tuple[int, ...] = (288, 512)
    partial: bool = False

    colour = "rgb"
    classes = ("background", "tool")
    values = ()
    threshold = 127
    group_pattern = ""

    def __post_init__(self) -> None:
        if len(self.patch) != 2 or min(self.patch) < 1:
            raise ValueError(f"patch must be two positive numbers of pixels, got {self.patch}")


class KvasirInstrument(ImageFolders):
    """590 photographs, each its own group."""

    card = Card(
        title="Kvasir-Instrument (tools in endoscopy)",
        source="Jha et al., Kvasir-Instrument, MultiMedia Modeling 2021.",
        licence="Research and education only, no commercial use; cite the paper.",
        how_to_get="Download kvasir-instrument.zip from datasets.simula.no/kvasir-instrument (no registration); unpack "
        "it and the archives of images and masks within.",
        layout="kvasir-instrument/images/<stem>.jpg, masks/<stem>.png, train.txt (472 stems), test.txt (118 stems).",
        spacing="Photographs have none: distances are in pixels.",
        protocol="472 training and 118 test images as published; validation is carved from the training images. At 5, "
        "20 and 50 % papers label 23, 94 and 236 images of the 472.",
        known_issues=(
            "Masks hold values between 0 and 255 along edges, as lossy compression leaves: cut at 127, as is usual.",
            "No video or patient is known, so neighbouring frames may be on both sides of a split.",
            "Min-Max Similarity's published figures select the best step on the test set.",
        ),
        facts={
            "size": "590 images of 720×576 to 1280×1024 pixels; the tool fills 18 % on average",
            "boxes": "bboxes.json holds 1240 boxes (not read here)",
            "normalisation": "values / 255; nothing else",
            "patch": "Min-Max Similarity trains on 512 × 288; its released code turns that into portrait",
        },
    )
    Options = KvasirOptions
    folder = "kvasir-instrument"
    folds = 1

    def make_task(self) -> Task:
        for part in PUBLISHED:
            if not (self.root / f"{part}.txt").is_file():
                raise self.missing(f"file {str(self.root / (part + '.txt'))!r}")
        return super().make_task()

    def files(self) -> Sequence[Path]:
        return [*super().files(), *(self.root / f"{part}.txt" for part in PUBLISHED)]

    def load(self, key: str) -> Case:
        case = super().load(key)
        path = self.pairs[key].mask
        if path and not case.label.any():  # type: ignore[union-attr]
            # Nothing above the threshold: no tool (all 0), or a mask of 0 and 1, which must not be guessed.
            try:
                read_mask(path, {0: 0}, self.task.classes)
            except DataError as error:
                raise DataError(f"kvasir_instrument: case {key!r}: no value above 127; {error}") from error
        return case

    def partition(self, fold: int) -> Partition:
        if fold != 1:
            raise ValueError(f"kvasir_instrument has one published division: fold must be 1, got {fold}")
        lists = {part: read_list(self.root / f"{part}.txt") for part in PUBLISHED}
        listed, there = {*lists["train"], *lists["test"]}, set(self.pairs)
        short = any(len(lists[part]) != count for part, count in PUBLISHED.items()) or listed - there
        if short and not self.options.partial:
            raise DataError(
                f"kvasir_instrument: {len(lists['train'])} training and {len(lists['test'])} test images are listed "
                f"(published: 472 and 118) and {len(listed - there)} of them are not in {str(self.root)!r}; complete "
                "the copy, or set the option partial: true (then comparable with nothing)"
            )
        strays = sorted(there - listed)
        if strays:
            raise DataError(f"kvasir_instrument: image {strays[0]!r} is in neither list; list it, or move it elsewhere")
        return Partition(**{part: tuple(sorted(set(names) & there)) for part, names in lists.items()})
