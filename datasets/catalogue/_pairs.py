"""Photographs and their masks: one pair of files per case, or an image alone that trains without a mask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from ..base import DataError
from ..faults import fault
from ._strays import SUFFIXES, first_of, look_for_strays

UNLABELLED = ("unlabelled", "unlabeled")
"""Names of a folder of images without masks, which train as such."""
MASK_ENDINGS = ("_mask", "_masks", "_seg", "_gt", "_segmentation", "_anno", "_label")


class Pair(NamedTuple):
    """The files of one case, no mask where it is unlabelled, and the part that its folder puts it in ("" = none)."""

    image: Path
    mask: Path | None
    part: str = ""


def find_pairs(name: str, images: Path, masks: Path, part: str = "") -> dict[str, Pair]:
    """Stem -> pair, sorted; a mask may end in one of ``MASK_ENDINGS``. Every image has one mask, every mask one image.

    What is wrong with single files is a :func:`fault`: `verify` goes on with the pairs that are left.

    Raises:
        DataError: naming files that are not read, files without a partner, and two files of one stem.
    """
    photographs = find_images(name, images)
    drawn = find_images(name, masks, photographs)
    alone = [f"{photographs[stem]} has no mask" for stem in photographs if stem not in drawn]
    alone += [f"{path} has no image" for stem, path in drawn.items() if stem not in photographs]
    if alone:
        advice = f"Expected is one file of the same stem in {masks}, perhaps ending in {', '.join(MASK_ENDINGS)}"
        words = f"{name}: {first_of(alone)}. {advice}; add the missing files or remove the others. Pairs of other "
        words += (
            "names can be listed in a table, for the dataset csv_manifest (docs/add_a_dataset.md); images that are "
        )
        words += f"meant to train without a mask belong into a folder {UNLABELLED[0]} beside {images.name}"
        fault(DataError(words).of("unpaired"))
    return {stem: Pair(photographs[stem], drawn[stem], part) for stem in sorted(photographs) if stem in drawn}


def find_images(name: str, folder: Path, partners: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """Stem -> file of a folder, sorted by name; of masks (``partners``: the images) the stem of their image.

    Raises:
        DataError: naming files that are not read, and two files of one stem.
    """
    look_for_strays(name, folder)
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        stem = normalize("NFC", path.stem)  # ü as one character and as two is one name
        stem = stem if partners is None else _partner(stem, partners)
        if stem in found:
            both = f"{found[stem]} and {path} are two files of one case"
            raise DataError(f"{name}: {both}; keep one").of("repeated_case")
        found[stem] = path
    return found


def _partner(stem: str, images: Mapping[str, Path]) -> str:
    """The stem of the image that a mask belongs to."""
    if stem in images:
        return stem
    shorter = [stem.removesuffix(ending) for ending in MASK_ENDINGS if stem.endswith(ending)]
    return shorter[0] if shorter else stem
