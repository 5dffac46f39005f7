"""Nine scans in the converted layout, two of the three copies of one scan in train, and the lists in MC-Net's form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import Truth, toy_scan
from .stored_volumes import STAR, damages, write_volume

OPTIONS: dict[str, Any] = {"partial": True, "patch": (16, 16, 16)}
TRAIN = ("image0009", "image0002", "image0070", "image0004", "image0005", "image0031", "image0033")
TEST = ("image0080", "image0001")
TRUTH = {
    "image0002_norm": Truth((14, 18, 12), (1.0,) * 3, toy_scan((14, 18, 12), 2, STAR)[1], STAR),
    "image0001_norm": Truth((14, 18, 12), (1.0,) * 3, toy_scan((14, 18, 12), 2, STAR)[1], STAR),
}


def write(root: Path) -> None:
    for names in (TEST, TRAIN):
        for number, name in enumerate(names):
            write_volume(root / "Pancreas-CT" / "data" / f"{name}_norm.h5", width=13 + number % 3)
    write_lists(root)


def write_lists(root: Path, train: tuple[str, ...] = TRAIN, test: tuple[str, ...] = TEST) -> None:
    for name, scans in (("train", train), ("test", test)):
        (root / "Pancreas-CT" / f"{name}.list").write_text("\n".join(scans) + "\n")


def grow(root: Path) -> dict[str, Any]:
    write_volume(root / "Pancreas-CT" / "data" / "image0044_norm.h5", width=16)
    write_lists(root, (*TRAIN, "image0044"))
    return OPTIONS


DAMAGES: dict[str, Any] = damages("image0001_norm", "Pancreas-CT/data/image0001_norm.h5")
