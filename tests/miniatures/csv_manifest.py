"""Eight small volumes in NIfTI, three of them scribbled only in train, listed with groups and parts."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import Truth, toy_scan
from .mscmr import change, first, save, truncate

OPTIONS: dict[str, Any] = {
    "folder": "mine", "scans": True, "patch": (32, 32), "classes": ("background", "RV", "MYO", "LV"),
    "annotations": ("dense", "scribble"),
}  # fmt: skip
STAR = (1, 2, 12)
PARTS = {"p1_a": "train", "p1_b": "train", "p5_a": "train", "p3_a": "train", "p7_a": "train", "p2_a": "val",
         "p4_b": "test", "p4_a": "test"}  # fmt: skip
TRUTH = {
    "p1_b": Truth((3, 17, 14), (5.0, 0.8, 0.75), toy_scan((3, 17, 14), 4, STAR)[1], STAR),
    "p4_a": Truth((3, 17, 14), (5.0, 0.8, 0.75), toy_scan((3, 17, 14), 4, STAR)[1], STAR),
}


def write(root: Path) -> None:
    for number, case in enumerate(PARTS):
        write_case(root, case, height=16 + number % 3)
    describe(root, PARTS)


def write_case(root: Path, case: str, *, height: int) -> None:
    image, label = toy_scan((3, height, 14), 4, STAR)
    row = np.arange(height)[:, None] == height // 2
    save(root / "mine" / "scans" / f"{case}.nii.gz", (image * 1000).astype(np.int16))
    save(root / "mine" / "drawn" / f"{case}.nii.gz", label)
    save(root / "mine" / "strokes" / f"{case}.nii.gz", np.where(row, label, 255).astype(np.uint8))


def describe(root: Path, parts: dict[str, str], **columns: Any) -> None:
    """Write the table; ``columns`` are functions of the case that replace a column, or add ``stratum``."""
    extra = [name for name in columns if name == "stratum"]
    with (root / "mine" / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ("case", "group", "image", "label", "scribble", "part", *extra))
        writer.writeheader()
        for case, part in parts.items():
            row = {"case": case, "group": case.split("_")[0], "part": part, "scribble": f"strokes/{case}.nii.gz"}
            row |= {"image": f"scans/{case}.nii.gz", "label": f"drawn/{case}.nii.gz"}
            writer.writerow(row | {name: function(case) for name, function in columns.items()})


def grow(root: Path) -> dict[str, Any]:
    write_case(root, "p9_a", height=17)
    describe(root, PARTS | {"p9_a": "train"})
    return OPTIONS


def _spoil(file: str, spoil: Callable[[Path], object], *words: str) -> Callable[[Path], tuple[str, ...]]:
    def act(root: Path) -> tuple[str, ...]:
        spoil(root / "mine" / file)
        return ("p1_b", *words)

    return act


_IMAGE, _LABEL = "scans/p1_b.nii.gz", "drawn/p1_b.nii.gz"
DAMAGES: dict[str, Any] = {
    "truncated": _spoil(_IMAGE, truncate, "p1_b.nii.gz", "truncated"),
    "unknown_label": _spoil(_LABEL, lambda p: change(p, first(7)), "p1_b.nii.gz", "7", "3 LV"),
    "different_sizes": _spoil(_LABEL, lambda p: change(p, lambda a: a[:-1]), "(2, 17, 14)", "(3, 17, 14)"),
    "not_a_number": _spoil(_IMAGE, lambda p: change(p, first(np.nan, np.float32)), "NaN"),
    "label_missing": _spoil(_LABEL, lambda p: p.unlink(), "p1_b.nii.gz"),
}
