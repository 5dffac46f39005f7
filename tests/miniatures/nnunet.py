"""Eight cases of two channels with scribbles (ignore = 4), dense labels beside them, two test cases, two folds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import Truth, toy_scan
from .mscmr import change, first, move, save, truncate, voxel_size

OPTIONS: dict[str, Any] = {
    "folder": "Dataset007_Toy", "patch": (32, 32), "channels": 2, "foreground": 3, "annotations": ("dense", "scribble"),
}  # fmt: skip
STAR = (1, 2, 12)
FOLDER = "Dataset007_Toy"
TRAINING = ("heart_003", "heart_001", "heart_010", "heart_004", "heart_008", "heart_006")
TEST = ("heart_105", "heart_102")
TRUTH = {
    "heart_001": Truth((3, 17, 14), (5.0, 0.8, 0.75), toy_scan((3, 17, 14), 4, STAR)[1], STAR),
    "heart_105": Truth((3, 16, 14), (5.0, 0.8, 0.75), toy_scan((3, 16, 14), 4, STAR)[1], STAR),
}


def write(root: Path) -> None:
    for part, names in (("Tr", TRAINING), ("Ts", TEST)):
        for number, name in enumerate(names):
            write_case(root, part, name, height=16 + number % 3)
    describe(root)


def describe(root: Path, training: tuple[str, ...] = TRAINING, **changes: Any) -> None:
    content = {
        "channel_names": {"0": "LGE", "1": "T2"},
        "labels": {"background": 0, "RV": 1, "MYO": 2, "LV": 3, "ignore": 4},
        "numTraining": len(training),
        "file_ending": ".nii.gz",
    } | changes
    (root / FOLDER / "dataset.json").write_text(json.dumps(content))
    halves = training[:3], training[3:]
    folds = [{"train": halves[1], "val": halves[0]}, {"train": halves[0], "val": halves[1]}]
    (root / FOLDER / "splits_final.json").write_text(json.dumps(folds))


def write_case(root: Path, part: str, name: str, *, height: int) -> None:
    image, label = toy_scan((3, height, 14), 4, STAR)
    row = np.arange(height)[:, None] == height // 2
    save(root / FOLDER / f"images{part}" / f"{name}_0000.nii.gz", (image * 1000).astype(np.int16))
    save(root / FOLDER / f"images{part}" / f"{name}_0001.nii.gz", (image * 500 + 20).astype(np.int16))
    if part == "Ts":
        save(root / FOLDER / "labelsTs" / f"{name}.nii.gz", label)
    else:
        save(root / FOLDER / "labelsTr_dense" / f"{name}.nii.gz", label)
        save(root / FOLDER / "labelsTr" / f"{name}.nii.gz", np.where(row, label, 4).astype(np.uint8))


def grow(root: Path) -> dict[str, Any]:
    write_case(root, "Tr", "heart_009", height=17)
    describe(root, (*TRAINING, "heart_009"))
    return OPTIONS


def _spoil(file: str, spoil: Callable[[Path], object], *words: str) -> Callable[[Path], tuple[str, ...]]:
    def act(root: Path) -> tuple[str, ...]:
        spoil(root / FOLDER / file)
        return ("heart_001", *words)

    return act


_IMAGE, _LABEL = "imagesTr/heart_001_0001.nii.gz", "labelsTr_dense/heart_001.nii.gz"
DAMAGES: dict[str, Any] = {
    "truncated": _spoil(_IMAGE, truncate, "heart_001_0001.nii.gz", "truncated"),
    "unknown_label": _spoil(_LABEL, lambda p: change(p, first(7)), "heart_001.nii.gz", "7", "3 LV"),
    "ignore_in_a_dense_label": _spoil(_LABEL, lambda p: change(p, first(4)), "heart_001.nii.gz", "4"),
    "unknown_scribble": _spoil("labelsTr/heart_001.nii.gz", lambda p: change(p, first(9)), "9", "4 unlabelled"),
    "different_sizes": _spoil(_LABEL, lambda p: change(p, lambda a: a[:-1]), "(2, 17, 14)", "(3, 17, 14)"),
    "different_channels": _spoil(_IMAGE, lambda p: change(p, lambda a: a[:, :-1]), "(3, 16, 14)", "(3, 17, 14)"),
    "channel_missing": _spoil(_IMAGE, lambda p: p.unlink(), "no file", "imagesTr/heart_001_0001.nii.gz", "names 2"),
    "channel_misnumbered": _spoil(
        _IMAGE, lambda p: p.rename(p.with_name("heart_001_0002.nii.gz")), "no file", "imagesTr/heart_001_0001.nii.gz"
    ),
    "channel_without_number": _spoil(
        _IMAGE, lambda p: p.rename(p.with_name("heart_001.nii.gz")), "heart_001.nii.gz is not named <case>_0000"
    ),
    "no_voxel_size": _spoil(_IMAGE, lambda p: voxel_size(p, 1, 0.0), "heart_001_0001.nii.gz", "voxel sizes"),
    "negative_voxel_size": _spoil(_LABEL, lambda p: voxel_size(p, 2, -5.0), "heart_001.nii.gz", "-5.0"),
    "channel_shifted": _spoil(_IMAGE, lambda p: move(p, axis=2, mm=50), "heart_001_0001.nii.gz", "50.0"),
    "label_shifted": _spoil(_LABEL, lambda p: move(p, axis=1, mm=0.41), "heart_001.nii.gz", "half a voxel"),
    "label_flipped": _spoil(_LABEL, lambda p: move(p, axis=0, flip=True), "heart_001.nii.gz", "turned or flipped"),
    "not_a_number": _spoil(_IMAGE, lambda p: change(p, first(np.nan, np.float32)), "NaN"),
    "label_missing": _spoil("labelsTr/heart_001.nii.gz", lambda p: p.unlink(), "labelsTr"),
}
