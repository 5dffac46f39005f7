"""Photographs and their masks, read (``_pairs`` finds them)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..base import DataError
from ..io import CLASSES, read_image
from ..types import IGNORE


def read_pixels(path: Path, colour: str) -> np.ndarray:
    """``(c, h, w)`` float32 in [0, 1]: three equal channels of a grey image for "rgb"; luminance (601) for "grey"."""
    pixels = read_image(path)
    scaled = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
    if colour == "grey":
        return (scaled @ np.array([0.299, 0.587, 0.114], np.float32) if scaled.ndim == 3 else scaled)[None]
    return np.ascontiguousarray(np.moveaxis(scaled, 2, 0)) if scaled.ndim == 3 else np.stack([scaled] * 3)


def read_mask(path: Path, codes: Mapping[int, int], classes: Sequence[str], threshold: int = 0) -> np.ndarray:
    """``(h, w)`` uint8 label map of a mask file.

    Args:
        path: grey, black and white, or coloured with three equal channels.
        codes: stored value -> class (or IGNORE).
        classes: their names, for the message.
        threshold: where above 0, every value above it is class 1 and every other background, whatever ``codes`` says.

    Raises:
        DataError: unequal channels, or a value that is in no code: the message names file and value.
    """
    pixels = stored_mask(path)
    if threshold:
        return (pixels > threshold).astype(np.uint8)
    return map_values(pixels, codes, classes, str(path))


def stored_mask(path: Path) -> np.ndarray:
    """``(h, w)`` of a mask as stored, perhaps with three equal channels.

    Raises:
        DataError: unequal channels.
    """
    pixels = read_image(path, instead=CLASSES)
    if pixels.ndim == 3 and (pixels != pixels[..., :1]).any():
        raise DataError(f"{path}: a coloured mask (channels differ); save one grey value per class").of("unknown_label")
    return pixels if pixels.ndim == 2 else pixels[..., 0]


def map_values(pixels: np.ndarray, codes: Mapping[int, int], classes: Sequence[str], where: str) -> np.ndarray:
    """Stored values as classes, uint8, of the same shape; see :func:`read_mask`."""
    values = np.unique(pixels)
    unknown = [value for value in values.tolist() if value not in codes]
    if unknown:
        known = ", ".join(f"{value} {classes[c] if c < len(classes) else 'unlabelled'}" for value, c in codes.items())
        raise DataError(
            f"{where}: unknown label value(s) {unknown[:8]}; allowed are {known}. State the values of the classes "
            "(option values); lossy masks of two classes, save again with one value per class, or cut at a grey level "
            "in a dataset that has the option threshold, such as image_folder (threshold: 127)"
        ).of("unknown_label")
    if {1, 255} <= set(values.tolist()) and codes[1] == codes[255]:
        raise DataError(
            f"{where}: {values.tolist()} hold both 1 and 255, and either may be the foreground; state one value per "
            "class (option values)"
        ).of("unknown_label")
    return np.array([codes[value] for value in values.tolist()], np.uint8)[np.searchsorted(values, pixels)]


def codes_of(classes: Sequence[str], values: Sequence[int], ignore: int | None = None) -> dict[int, int]:
    """Stored value -> class: as stated, else 0, 1, 2, ...; two classes may also be 0 and 255; ``ignore`` -> IGNORE."""
    void = {} if ignore is None else {ignore: IGNORE}
    if values:
        return {value: place for place, value in enumerate(values)} | void
    return {place: place for place in range(len(classes))} | ({255: 1} if len(classes) == 2 else {}) | void


def mixed_values(masks: Iterable[Path], codes: Mapping[int, int]) -> list[str]:
    """A sentence where some masks mark the foreground with 1 and others with 255, with a first file of each.

    Each by itself is clear; together they come from two sources, or from two steps of a conversion.
    """
    if codes.get(255) != 1 or codes.get(1) != 1:
        return []
    first: dict[int, Path] = {}
    for path in masks:
        try:
            first.setdefault(int(read_image(path).max()), path)
        except DataError:  # said of its case
            continue
    if not {1, 255} <= set(first):
        return []
    return [
        f"some masks mark with 1 (first {first[1]}) and others with 255 (first {first[255]}); both are read as such"
    ]
