"""Photographs and their masks, one pair of files per case: finding the pairs and reading them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..base import DataError
from ..faults import fault
from ..io import CLASSES, read_image
from ..types import IGNORE
from ._strays import SUFFIXES, first_of, look_for_strays

MASK_ENDINGS = ("_mask", "_masks", "_seg", "_gt", "_segmentation", "_anno", "_label")


class Pair(NamedTuple):
    """The two files of one case, and the part that its folder puts it in ("" = none)."""

    image: Path
    mask: Path
    part: str = ""


def find_pairs(name: str, images: Path, masks: Path, part: str = "") -> dict[str, Pair]:
    """Stem -> pair, sorted; a mask may end in one of ``MASK_ENDINGS``. Every image has one mask, every mask one image.

    What is wrong with single files is a :func:`fault`: `verify` goes on with the pairs that are left.

    Raises:
        DataError: naming files that are not read, files without a partner, and two files of one stem.
    """
    look_for_strays(name, images, masks)
    photographs: dict[str, Path] = {}
    drawn: dict[str, Path] = {}
    for folder, found in ((images, photographs), (masks, drawn)):
        for path in sorted(folder.glob("*")):
            if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                continue
            stem = path.stem if found is photographs else _partner(path.stem, photographs)
            if stem in found:
                both = f"{found[stem]} and {path} are two files of one case"
                raise DataError(f"{name}: {both}; keep one").of("repeated_case")
            found[stem] = path
    alone = [f"{photographs[stem]} has no mask" for stem in photographs if stem not in drawn]
    alone += [f"{path} has no image" for stem, path in drawn.items() if stem not in photographs]
    if alone:
        advice = f"Expected is one file of the same stem in {masks}, perhaps ending in {', '.join(MASK_ENDINGS)}"
        words = f"{name}: {first_of(alone)}. {advice}; add the missing files or remove the others. Pairs of other "
        words += "names can be listed in a table, for the dataset csv_manifest (docs/add_a_dataset.md)"
        fault(DataError(words).of("unpaired"))
    return {stem: Pair(photographs[stem], drawn[stem], part) for stem in sorted(photographs) if stem in drawn}


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
            "(option values), or cut lossy masks of two classes at a grey level (option threshold, such as 127)"
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


def _partner(stem: str, images: Mapping[str, Path]) -> str:
    """The stem of the image that a mask belongs to."""
    if stem in images:
        return stem
    shorter = [stem.removesuffix(ending) for ending in MASK_ENDINGS if stem.endswith(ending)]
    return shorter[0] if shorter else stem
