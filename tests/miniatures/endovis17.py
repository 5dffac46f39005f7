"""All eight videos, two frames each, with a black border of 2 rows and 3 columns and the published folders of masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from . import Truth
from .paired_images import STAR, damages, save, toy_image

OPTIONS: dict[str, Any] = {"partial": True, "patch": (32, 32), "crop": (2, 3, 15, 17)}
TRUTH = {
    f"video{video}_frame00{frame}": Truth((15, 17), None, toy_image(15)[1], STAR)
    for video, frame in ((1, 0), (6, 0), (7, 1), (8, 1))
}
BORDER = ((2, 2), (3, 3))
FOLDERS = {
    1: ("Left_Prograsp_Forceps_labels", "Maryland_Bipolar_Forceps_labels", "Right_Prograsp_Forceps_labels"),
    2: ("Left_Prograsp_Forceps_labels", "Right_Prograsp_Forceps_labels"),
    3: ("Left_Large_Needle_Driver_labels", "Right_Large_Needle_Driver_labels"),
    4: ("Large_Needle_Driver_Left_labels", "Large_Needle_Driver_Right_labels", "Prograsp_Forceps_labels"),
    5: ("Bipolar_Forceps_labels", "Grasping_Retractor_labels", "Vessel_Sealer_labels"),
    6: ("Left_Large_Needle_Driver_labels", "Monopolar_Curved_Scissors_labels", "Prograsp_Forceps",
        "Right_Large_Needle_Driver_labels"),
    7: ("Left_Bipolar_Forceps", "Right_Vessel_Sealer"),
    8: ("Bipolar_Forceps_labels", "Left_Grasping_Retractor_labels", "Monopolar_Curved_Scissors_labels",
        "Right_Grasping_Retractor_labels"),
}  # fmt: skip
"""Video -> its instruments; videos 1 and 2 have Other_labels too."""


def write(root: Path) -> None:
    for video in range(8, 0, -1):
        for frame in range(2):
            write_frame(root, video, frame)


def grow(root: Path) -> dict[str, Any]:
    write_frame(root, 4, 7)
    return OPTIONS


def write_frame(root: Path, video: int, frame: int) -> None:
    """The label's columns go to the instruments by turns, as parts 10, 20, 30; Other covers half of the frame."""
    image, label = toy_image(15)
    folder, name = root / "EndoVis17" / f"instrument_dataset_{video}", f"frame{frame:03d}.png"
    save(folder / "left_frames" / name, np.pad(image, (*BORDER, (0, 0))))
    turn = np.arange(17) % len(FOLDERS[video])
    masks = {each: np.where(turn == n, label, 0) * (10 + n % 3 * 10) for n, each in enumerate(FOLDERS[video])}
    if video in (1, 2):
        masks["Other_labels"] = np.broadcast_to(np.arange(17) < 8, label.shape) * 40
    for instrument, mask in masks.items():
        save(folder / "ground_truth" / instrument / name, np.pad(mask, BORDER).astype(np.uint8))
    (folder / "ground_truth" / ".thumbnails").mkdir(exist_ok=True)


_FOLDER = "EndoVis17/instrument_dataset_3"
_MASK = f"{_FOLDER}/ground_truth/Left_Large_Needle_Driver_labels/frame001.png"
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
