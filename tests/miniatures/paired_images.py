"""Pairs of small PNG files, and the ways in which such pairs go wrong: shared by the miniatures of image datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import toy_scan

STAR = (1, 12)


def toy_image(height: int, width: int = 17, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """``(h, w, 3)`` uint8 of unequal channels with one brightest pixel at STAR, and its ``(h, w)`` label map."""
    image, label = toy_scan((1, height, width), classes, (0, *STAR))
    grey = np.round(image[0] * 255)
    return np.stack([grey, grey // 2, grey // 3], axis=-1).astype(np.uint8), label[0]


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def damages(key: str, image: str, mask: str, height: int) -> dict[str, Callable[[Path], tuple[str, ...]]]:
    """The usual damages of the case ``key`` whose files lie at ``image`` and ``mask`` below the data root."""
    name = Path(mask).name

    def on_mask(alter: Callable[[np.ndarray], Any], *words: str) -> Callable[[Path], tuple[str, ...]]:
        def spoil(root: Path) -> tuple[str, ...]:
            save(root / mask, alter(np.array(Image.open(root / mask))))
            return (key, *words)

        return spoil

    def truncated(root: Path) -> tuple[str, ...]:
        whole = (root / image).read_bytes()
        (root / image).write_bytes(whole[: len(whole) // 2])
        return key, Path(image).name, "truncated"

    def not_a_number(root: Path) -> tuple[str, ...]:
        pixels = np.full((height, 17), np.nan, np.float32)
        Image.fromarray(pixels).save(root / image, format="TIFF")
        return key, Path(image).name, "mode F"

    def label_missing(root: Path) -> tuple[str, ...]:
        (root / mask).unlink()
        return (Path(image).name,)

    def palette(root: Path) -> tuple[str, ...]:
        Image.open(root / mask).convert("L").convert("P").save(root / mask)
        return key, name, "palette"

    def one_pixel(value: int) -> Callable[[np.ndarray], np.ndarray]:
        def alter(pixels: np.ndarray) -> np.ndarray:
            pixels = pixels.astype(np.uint8)
            pixels[0, 0] = value
            return pixels

        return alter

    return {
        "truncated": truncated,
        "unknown_label": on_mask(one_pixel(77), name, "77"),
        "different_sizes": on_mask(lambda a: a[:-1], f"({height - 1}, 17)", f"({height}, 17)"),
        "not_a_number": not_a_number,
        "label_missing": label_missing,
        "palette": palette,
    }
