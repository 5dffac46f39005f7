"""Where the folders of images and masks lie below a dataset's root, whatever they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..base import DataError
from ..faults import fault
from ._pairs import UNLABELLED

IMAGE_FOLDERS = ("image", "images", "img", "imgs")
MASK_FOLDERS = ("mask", "masks", "label", "labels", "gt")
SYNONYMS = {
    IMAGE_FOLDERS: ("frame", "frames", "photo", "photos", "picture", "pictures"),
    MASK_FOLDERS: ("annotation", "annotations", "segmentation", "segmentations", "seg", "segs", "ground_truth",
                   "groundtruth", "ground truth", "ground-truth", "gts"),
}  # fmt: skip
"""Names that are taken where no folder has a plain one: annotations may be boxes that lie beside masks."""
PARTS = {"train": ("train", "training"), "val": ("val", "validation", "valid", "dev"), "test": ("test", "testing")}


def places_in(name: str, root: Path) -> Mapping[str, tuple[Path, Path]]:
    """Part -> folders of images and of masks; "" where nothing is divided; empty where none is found.

    Raises:
        DataError: two folders of one kind, or pairs both in ``root`` and in parts of it.
    """
    whole = _two_folders(name, root)
    if whole:
        _alone(name, whole, [folder for names in PARTS.values() for folder in _named(root, names)])
        return {"": whole}
    places: dict[str, tuple[Path, Path]] = {}
    for part, names in PARTS.items():
        found = [two for folder in _named(root, names) if (two := _two_folders(name, folder))]
        _one_of(name, [images.parent for images, _ in found])
        places |= {part: found[0]} if found else {}
    return places if {"train", "test"} <= set(places) else {}


def unlabelled_in(name: str, root: Path, places: Mapping[str, tuple[Path, Path]]) -> Sequence[Path]:
    """The folder of images without masks, if there is one: beside those with, or beside the parts.

    Raises:
        DataError: there are two, or one in a part that is scored.
    """
    parents = {part: images.parent for part, (images, _) in places.items()}
    found = [path for parent in sorted({root, *parents.values()}) for path in _named(parent, UNLABELLED)]
    scored = [path for path in found if path.parent in (parents.get("val"), parents.get("test"))]
    if scored:
        raise DataError(f"{name}: {scored[0]}: images without masks only train; move the folder to {root}")
    _one_of(name, found)
    return found


def _two_folders(name: str, parent: Path) -> tuple[Path, Path] | None:
    there = [_named(parent, names) or _named(parent, more) for names, more in SYNONYMS.items()]
    for found in there:
        _one_of(name, found)
    return (there[0][0], there[1][0]) if all(there) else None


def _alone(name: str, whole: tuple[Path, Path], parts: Sequence[Path]) -> None:
    """A fault where images lie in parts too: undivided folders are read, and these would be left out silently."""
    beside = [images for part in parts for images in _named(part, IMAGE_FOLDERS)]
    if beside:
        words = f"{whole[0]} is read and {beside[0]} is not; put all pairs into parts (train, test, perhaps val)"
        fault(DataError(f"{name}: {words}, or all into {whole[0]} and {whole[1]}"))


def _one_of(name: str, found: Sequence[Path]) -> None:
    if len(found) > 1:
        raise DataError(f"{name}: {found[0]} and {found[1]} are two folders of one kind; remove one")


def _named(parent: Path, names: Sequence[str]) -> list[Path]:
    """Folders in ``parent`` that are called one of ``names``, whatever the case, in the order of these."""
    found = [path for path in parent.glob("*") if path.name.lower() in names and path.is_dir()]
    return sorted(found, key=lambda path: (names.index(path.name.lower()), path.name))
