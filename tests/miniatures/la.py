"""Eight scans in UA-MT's layout: one folder and one file each, and the two lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import Truth, toy_scan
from .stored_volumes import STAR, damages, write_volume

OPTIONS: dict[str, Any] = {"partial": True, "patch": (16, 16, 16)}
TRAIN = ("06SR5RBREL16DQ6M8LWS", "0RZDK210BSMWAA6467LU", "AAA", "CCC", "BBB", "HHH")
TEST = ("EEE", "DDD")
SCANS = "LA/2018LA_Seg_Training Set"
TRUTH = {
    "AAA": Truth((15, 18, 12), (0.625,) * 3, toy_scan((15, 18, 12), 2, STAR)[1], STAR),
    "DDD": Truth((14, 18, 12), (0.625,) * 3, toy_scan((14, 18, 12), 2, STAR)[1], STAR),
}


def write(root: Path) -> None:
    for names in (TEST, TRAIN):
        for number, name in enumerate(names):
            write_volume(root / SCANS / name / "mri_norm2.h5", width=13 + number % 3)
    write_lists(root)


def write_lists(root: Path, train: tuple[str, ...] = TRAIN, test: tuple[str, ...] = TEST) -> None:
    (root / "LA").mkdir(exist_ok=True)
    for name, scans in (("train", train), ("test", test)):
        (root / "LA" / f"{name}.list").write_text("\n".join(scans) + "\n")


def grow(root: Path) -> dict[str, Any]:
    write_volume(root / SCANS / "FFF" / "mri_norm2.h5", width=16)
    write_lists(root, (*TRAIN, "FFF"))
    return OPTIONS


DAMAGES: dict[str, Any] = damages("DDD", f"{SCANS}/DDD/mri_norm2.h5")
