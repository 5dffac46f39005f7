"""Nine photographs with masks of three channels whose edges are grey, and the two lists of stems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import Truth
from .paired_images import STAR, damages, save, toy_image

OPTIONS: dict[str, Any] = {"partial": True, "patch": (32, 32)}
FOLDER = "kvasir-instrument"
LISTS = {"train": ("ckc1", "cka2", "ckb3", "ckz9", "cky8", "ckx7"), "test": ("ckd4", "cke5", "ckf6")}
TRUTH = {
    "ckc1": Truth((14, 17), None, toy_image(14)[1], STAR),
    "cke5": Truth((15, 17), None, toy_image(15)[1], STAR),
}


def write(root: Path) -> None:
    for part, stems in LISTS.items():
        for number, stem in enumerate(stems):
            write_pair(root, stem, height=14 + number % 3)
        write_list(root, part, stems)


def write_list(root: Path, part: str, stems: tuple[str, ...]) -> None:
    (root / FOLDER / f"{part}.txt").write_text("\n".join(stems) + "\n")


def grow(root: Path) -> dict[str, Any]:
    write_pair(root, "ckn0", height=18)
    write_list(root, "train", (*LISTS["train"], "ckn0"))
    return OPTIONS


def write_pair(root: Path, stem: str, *, height: int) -> None:
    image, label = toy_image(height)
    save(root / FOLDER / "images" / f"{stem}.png", image)
    mask = np.where(label, 252, 3).astype(np.uint8)
    save(root / FOLDER / "masks" / f"{stem}.png", np.stack([mask] * 3, axis=-1))


def _zero_and_one(root: Path) -> tuple[str, ...]:
    path = root / FOLDER / "masks" / "ckc1.png"
    save(path, (np.array(Image.open(path)) > 127).astype(np.uint8))
    return "ckc1", "ckc1.png", "[1]", "127"


DAMAGES: dict[str, Any] = damages("ckc1", f"{FOLDER}/images/ckc1.png", f"{FOLDER}/masks/ckc1.png", 14)
DAMAGES |= {"unknown_label": _zero_and_one}
