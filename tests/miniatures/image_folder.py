"""Twelve images in the divided layout, masks of 0 and 255 with the ending _mask, heights that differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import Truth
from .paired_images import STAR, damages, save, toy_image

OPTIONS: dict[str, Any] = {"folder": "mine", "patch": (32, 32)}
TRAIN = ("b07", "a01", "a02", "c03", "c11", "d05", "e06", "f08")
TEST = ("t01", "a03", "t02", "t03")
TRUTH = {
    "train/a01": Truth((15, 17), None, toy_image(15)[1], STAR),
    "test/t02": Truth((16, 17), None, toy_image(16)[1], STAR),
}


def write(root: Path) -> None:
    for part, stems in (("train", TRAIN), ("test", TEST)):
        for number, stem in enumerate(stems):
            write_pair(root / "mine" / part, stem, height=14 + number % 3)


def grow(root: Path) -> dict[str, Any]:
    write_pair(root / "mine" / "train", "b99", height=18)
    return OPTIONS


def write_pair(folder: Path, stem: str, *, height: int) -> None:
    image, label = toy_image(height)
    save(folder / "image" / f"{stem}.png", image)
    save(folder / "mask" / f"{stem}_mask.png", label * 255)


DAMAGES: dict[str, Any] = damages("train/a01", "mine/train/image/a01.png", "mine/train/mask/a01_mask.png", 15)
