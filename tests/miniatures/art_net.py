"""Undivided pairs, several frames of each of seven videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import Truth
from .paired_images import STAR, damages, save, toy_image

OPTIONS: dict[str, Any] = {"patch": (32, 32), "group_pattern": r"^v\d"}
FOLDER = "ART-NET"
TRUTH = {
    "v2_0": Truth((16, 17), None, toy_image(16)[1], STAR),
    "v5_1": Truth((14, 17), None, toy_image(14)[1], STAR),
}


def write(root: Path) -> None:
    for video in range(7):
        for frame in range(2):
            write_pair(root, f"v{video}_{frame}", height=14 + (video + frame) % 3)


def grow(root: Path) -> dict[str, Any]:
    write_pair(root, "v2_9", height=18)
    return OPTIONS


def write_pair(root: Path, stem: str, *, height: int) -> None:
    image, label = toy_image(height)
    save(root / FOLDER / "images" / f"{stem}.png", image)
    save(root / FOLDER / "masks" / f"{stem}.png", label * 255)


DAMAGES: dict[str, Any] = damages("v2_0", f"{FOLDER}/images/v2_0.png", f"{FOLDER}/masks/v2_0.png", 16)
