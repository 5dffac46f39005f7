"""Ten cases in SSL4MIS's layout, with its three lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import Truth, toy_scan
from .stored_volumes import STAR, damages, write_volume

OPTIONS: dict[str, Any] = {"partial": True, "patch": (16, 16, 16)}
LISTS = {
    "train": (
        "BraTS19_TCIA01_2",
        "BraTS19_CBICA_AAB_1",
        "BraTS19_CBICA_AAG_1",
        "BraTS19_2013_22_1",
        "BraTS19_2013_0_1",
    ),
    "val": ("BraTS19_TCIA02_1", "BraTS19_2013_5_1"),
    "test": ("BraTS19_TCIA03_9", "BraTS19_2013_7_1", "BraTS19_CBICA_ZZZ_1"),
}
TRUTH = {
    "BraTS19_CBICA_AAB_1": Truth((14, 18, 12), (1.0,) * 3, toy_scan((14, 18, 12), 2, STAR)[1], STAR),
    "BraTS19_TCIA03_9": Truth((13, 18, 12), (1.0,) * 3, toy_scan((13, 18, 12), 2, STAR)[1], STAR),
}


def write(root: Path) -> None:
    for part, names in LISTS.items():
        for number, name in enumerate(names):
            write_volume(root / "BraTS2019" / "data" / f"{name}.h5", width=13 + number % 3)
        write_list(root, part, names)


def write_list(root: Path, part: str, names: tuple[str, ...]) -> None:
    (root / "BraTS2019" / f"{part}.txt").write_text("\n".join(names) + "\n")


def grow(root: Path) -> dict[str, Any]:
    write_volume(root / "BraTS2019" / "data" / "BraTS19_2013_1_1.h5", width=16)
    write_list(root, "train", (*LISTS["train"], "BraTS19_2013_1_1"))
    return OPTIONS


DAMAGES: dict[str, Any] = damages("BraTS19_TCIA03_9", "BraTS2019/data/BraTS19_TCIA03_9.h5")
