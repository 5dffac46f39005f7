"""Six patients in the WSL4MIS layout, both frames, one or two per test fold; sizes differ as in the real set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from . import Truth, toy_scan

OPTIONS: dict[str, Any] = {"partial": True}
STAR = (1, 2, 12)
PATIENTS = (1, 2, 21, 41, 61, 81)
TRUTH = {
    "patient001_frame01": Truth((3, 17, 14), None, toy_scan((3, 17, 14), 4, STAR)[1], STAR),
    "patient021_frame09": Truth((3, 19, 14), None, toy_scan((3, 19, 14), 4, STAR)[1], STAR),
}
VOLUMES = "ACDC/ACDC_training_volumes"


def write(root: Path) -> None:
    for number, patient in enumerate(reversed(PATIENTS)):  # the order of writing is not the order of names
        for frame in (9, 1):
            write_volume(root, patient, frame, height=15 + 2 * ((5 - number) % 3 + (frame == 1)))


def grow(root: Path) -> dict[str, Any]:
    write_volume(root, 90, 1, height=17)
    return OPTIONS


def write_volume(root: Path, patient: int, frame: int, *, height: int, spacing: Any = None) -> Path:
    """One file with the arrays and types of the published ones: float32, uint8, and uint16 with 4 = unlabelled."""
    image, label = toy_scan((3, height, 14), 4, STAR)
    scribble = np.full(label.shape, 4, np.uint16)
    scribble[:, height // 2] = label[:, height // 2]  # one line through all classes
    path = root / VOLUMES / f"patient{patient:03d}_frame{frame:02d}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in (("image", image.astype(np.float32)), ("label", label), ("scribble", scribble)):
            file.create_dataset(name, data=array, compression="gzip")
        if spacing is not None:
            file.attrs["spacing"] = spacing
    return path


def change(root: Path, name: str, alter: Any) -> tuple[str, ...]:
    """Rewrite one array of patient021_frame09 (None = drop it); returns what an error must name."""
    path = root / VOLUMES / "patient021_frame09.h5"
    with h5py.File(path, "a") as file:
        altered = alter(file[name][()])
        del file[name]
        if altered is not None:
            file[name] = altered
    return "patient021_frame09", path.name


def _truncate(root: Path) -> tuple[str, ...]:
    path = root / VOLUMES / "patient021_frame09.h5"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "patient021_frame09", path.name, "truncated"


def _set(value: float) -> Any:
    def alter(array: np.ndarray) -> np.ndarray:
        array[0, 0, 0] = value
        return array

    return alter


def _lose_test_label(root: Path) -> tuple[str, ...]:
    with h5py.File(root / VOLUMES / "patient001_frame01.h5", "a") as file:  # patients 1 and 2 are tested on in fold 1
        del file["label"]
    return "patient001_frame01", "no label to score against"


DAMAGES: dict[str, Any] = {
    "truncated": _truncate,
    "unknown_label": lambda root: (*change(root, "label", _set(7)), "7", "3 LV"),
    "black_and_white_label": lambda root: (*change(root, "label", lambda a: (a > 0).astype(np.uint8) * 255), "255"),
    "unknown_scribble": lambda root: (*change(root, "scribble", _set(5)), "5", "4 unlabelled"),
    "scribble_that_would_wrap": lambda root: (*change(root, "scribble", _set(256 + 1)), "257"),
    "different_sizes": lambda root: (*change(root, "label", lambda a: a[:, :, :-1])[:1], "(3, 19, 13)", "(3, 19, 14)"),
    "not_a_number": lambda root: (*change(root, "image", _set(np.nan))[:1], "NaN"),
    "label_missing": _lose_test_label,
    "not_scaled": lambda root: (*change(root, "image", lambda a: a * 255), "[0, 1]"),
}
