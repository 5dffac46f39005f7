"""All eight videos, two frames each, with a black border of 2 rows and 3 columns and three folders of masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from . import Truth
from .paired_images import STAR, damages, save, toy_image

OPTIONS: dict[str, Any] = {"partial": True, "patch": (32, 32), "crop": (2, 3, 15, 17)}
TRUTH = {
    "video1_frame000": Truth((15, 17), None, toy_image(15)[1], STAR),
    "video8_frame001": Truth((15, 17), None, toy_image(15)[1], STAR),
}
BORDER = ((2, 2), (3, 3))


def write(root: Path) -> None:
    for video in range(8, 0, -1):
        for frame in range(2):
            write_frame(root, video, frame)


def grow(root: Path) -> dict[str, Any]:
    write_frame(root, 4, 7)
    return OPTIONS


def write_frame(root: Path, video: int, frame: int) -> None:
    """The label is that of two instruments, of parts 10 and 30; a third mask, Other, covers half of the frame."""
    image, label = toy_image(15)
    folder, name = root / "EndoVis17" / f"instrument_dataset_{video}", f"frame{frame:03d}.png"
    save(folder / "left_frames" / name, np.pad(image, (*BORDER, (0, 0))))
    left = np.arange(17) < 8
    for instrument, mask in (
        ("Left_Prograsp_Forceps_labels", np.where(left, label, 0) * 10),
        ("Right_Large_Needle_Driver_labels", np.where(left, 0, label) * 30),
        ("Other_labels", np.broadcast_to(left, label.shape) * 40),
    ):
        save(folder / "ground_truth" / instrument / name, np.pad(mask, BORDER).astype(np.uint8))


_FOLDER = "EndoVis17/instrument_dataset_3"
_MASK = f"{_FOLDER}/ground_truth/Left_Prograsp_Forceps_labels/frame001.png"
_DAMAGES = damages("video3_frame001", f"{_FOLDER}/left_frames/frame001.png", _MASK, 19)


def _other_size(root: Path) -> tuple[str, ...]:
    save(root / _MASK, np.zeros((18, 23), np.uint8))
    return "video3_frame001", "(18, 23)", "(19, 23)"


def _black_and_white(root: Path) -> tuple[str, ...]:
    save(root / _MASK, np.full((19, 23), 255, np.uint8))
    return "video3_frame001", "255", "10 instrument"


DAMAGES: dict[str, Any] = _DAMAGES | {
    "different_sizes": _other_size,
    "black_and_white": _black_and_white,
    "label_missing": lambda root: ((root / _MASK).unlink(), ("video3_frame001", "frame001.png"))[1],
}
