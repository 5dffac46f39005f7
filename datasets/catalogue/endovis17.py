"""EndoVis'17: robotic instruments in porcine stereo video, left frames, binary masks made of one mask per instrument.

Source: Allan et al., 2017 Robotic Instrument Segmentation Challenge (arXiv 1902.06426).
Licence: non-commercial, after registration with grand-challenge.
Layout: ``EndoVis17/instrument_dataset_<N>/left_frames/frame<NNN>.png`` (1920 × 1080) and
    ``ground_truth/<instrument>/frame<NNN>.png`` with parts 10, 20, 30; N = 1 to 8; most instruments end in ``_labels``.
Classes: background, instrument: any instrument but those in folders named Other (the winner's convention). In video 7
    it is all that is not 0, as the winner reads every video (ternaus/robot-surgery-segmentation).
Spacing: frames have none: distances are in pixels.
Protocol: four folds by video: test videos {1, 3}, {2, 5}, {4, 8}, {6, 7}; the official test masks are not used.
    ``split: by_frame`` draws four folds of frames, as Min-Max Similarity may have done: that leaks, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..base import DataError, Dataset, Partition
from ..faults import fault
from ..splits import k_fold
from ..types import Card, Case, Task
from ._endovis17_folders import INSTRUMENTS, lacking_in, read_instrument, whole_frames
from ._images import read_pixels
from ._strays import first_of

TEST_VIDEOS = ((1, 3), (2, 5), (4, 8), (6, 7))
FRAMES = 225
CLASSES = ("background", "instrument")


@dataclass(frozen=True)
class EndoVis17Options:
    """What a plan may set.

    Attributes:
        patch: (height, width) that training resizes to.
        crop: (top, left, height, width) of the picture within the frame, which has equal black borders on both sides.
        partial: accept a copy in which published frames or instruments are missing (comparable with nothing).
        split: "by_video", or "by_frame", which leaks: most test frames have near-copies in training.
    """

    patch: tuple[int, ...] = (256, 320)
    crop: tuple[int, ...] = (28, 320, 1024, 1280)
    partial: bool = False
    split: Literal["by_video", "by_frame"] = "by_video"

    def __post_init__(self) -> None:
        if len(self.patch) != 2 or min(self.patch) < 1:
            raise ValueError(f"patch must be two positive numbers of pixels, got {self.patch}")
        if len(self.crop) != 4 or min(self.crop[:2]) < 0 or min(self.crop[2:]) < 1:
            raise ValueError(f"crop must be (top, left, height, width) in pixels, got {self.crop}")
        if self.split not in ("by_video", "by_frame"):
            raise ValueError(f'split must be "by_video" or "by_frame", got {self.split!r}')


class EndoVis17(Dataset):
    """Eight videos of 225 frames; a case is a frame, a group a video (or a frame, if split by it)."""

    card = Card(
        title="EndoVis 2017, binary instruments",
        source="Allan et al., 2017 Robotic Instrument Segmentation Challenge (arXiv 1902.06426).",
        licence="Non-commercial research, under the challenge's terms.",
        how_to_get="Register at endovissub2017-roboticinstrumentsegmentation.grand-challenge.org, take the training "
        "sets and put instrument_dataset_1 to _8 into one folder EndoVis17.",
        layout="EndoVis17/instrument_dataset_<1..8>/left_frames/frame<NNN>.png and "
        "ground_truth/<instrument>/frame<NNN>.png (most <instrument> end in _labels).",
        spacing="Frames have none: distances are in pixels.",
        protocol="Four folds by video; the other six videos train. Validation is carved from them, by video.",
        known_issues=(
            "Min-Max Similarity says neither how it split the frames nor whether Other counts: not comparable.",
            "Neighbouring frames are near-copies: the option split: by_frame leaks.",
            "The official test set has the tails of the same eight videos, and two more; it is not read.",
            "Masks of video 7 hold sparse pixels of no part, an audit found: there all that is not 0 is instrument.",
        ),
        facts={"size": "8 × 225 frames at 2 Hz, 1920×1080 with a black border", "normalisation": "values / 255"},
    )
    Options = EndoVis17Options
    folder = "EndoVis17"
    folds = len(TEST_VIDEOS)

    @classmethod
    def caveat(cls, options: Mapping[str, Any]) -> str:
        leaks = "split by frame: test frames have near-copies half a second away in training, so scores are too high"
        return leaks if options.get("split") == "by_frame" else ""

    @classmethod
    def nominal_task(cls, options: EndoVis17Options) -> Task:
        return Task("endovis17", 2, 3, CLASSES, options.patch, "px")

    def make_task(self) -> Task:
        if not self._frames:
            raise self.missing(f"file instrument_dataset_1/left_frames/frame000.png in {str(self.root)!r}")
        return self.nominal_task(self.options)

    def files(self) -> Sequence[Path]:
        return [path for image, masks, _ in self._frames.values() for path in (image, *masks)]

    def groups(self) -> Mapping[str, str]:
        groups = {key: group for key, (_, _, group) in self._frames.items()}
        short = [f"{len(groups)} of the 1800 published frames with masks in {str(self.root)!r}"]
        lacks = [*(short if len(groups) < len(INSTRUMENTS) * FRAMES else ()), *lacking_in(self.root)]
        if lacks and not self.options.partial:
            advice = "complete the copy, or set the option partial: true (then comparable with nothing)"
            fault(DataError(f"endovis17: {first_of(lacks)}; {advice}").of("missing"))
        return groups

    def load(self, key: str) -> Case:
        if key not in self._frames:
            raise DataError(f"endovis17: case {key!r} is not in {self.root}; frames are named like video1_frame000")
        image, masks, group = self._frames[key]
        try:
            pixels = self._cropped(read_pixels(image, "rgb"), image)
            drawn = [self._cropped(read_instrument(p, CLASSES), p) for p in masks]
        except DataError as error:
            raise DataError(f"endovis17: case {key!r}: {error}") from error
        return Case(key, group, pixels, np.maximum.reduce(drawn))

    def partition(self, fold: int) -> Partition:
        if not 1 <= fold <= self.folds:
            raise ValueError(f"endovis17: fold must be in 1..{self.folds}, got {fold}")
        if self.options.split == "by_frame":
            return k_fold(list(self.groups()), fold, self.folds)
        videos, test = sorted(set(self.groups().values())), {f"video{n}" for n in TEST_VIDEOS[fold - 1]}
        return Partition(tuple(v for v in videos if v not in test), tuple(v for v in videos if v in test))

    def _cropped(self, pixels: np.ndarray, path: Path) -> np.ndarray:
        top, left, height, width = self.options.crop
        if pixels.shape[-2:] != (height + 2 * top, width + 2 * left):
            raise DataError(
                f"{path}: {pixels.shape[-2:]} pixels; crop {self.options.crop} fits frames of "
                f"{(height + 2 * top, width + 2 * left)}; for cut frames set the option crop: [0, 0, height, width]"
            ).of("geometry")
        return np.ascontiguousarray(pixels[..., top : top + height, left : left + width])

    @cached_property
    def _frames(self) -> Mapping[str, tuple[Path, tuple[Path, ...], str]]:
        """Key -> frame, the masks of its instruments without those in folders named Other, and group."""
        by_frame = self.options.split == "by_frame"
        pairs = whole_frames(self.root)
        return {key: (*files, key if by_frame else key.partition("_")[0]) for key, files in pairs.items()}
