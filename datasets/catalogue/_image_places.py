"""Where the folders of images and masks lie below a dataset's root, whatever they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..base import DataError
from ._pairs import UNLABELLED

IMAGE_FOLDERS = ("image", "images", "img", "imgs")
MASK_FOLDERS = ("mask", "masks", "label", "labels", "gt")
SYNONYMS = {
    IMAGE_FOLDERS: ("frame", "frames", "photo", "photos", "picture", "pictures"),
    MASK_FOLDERS: ("annotation", "annotations", "segmentation", "segmentations", "seg", "segs", "ground_truth",
                   "groundtruth", "ground truth", "ground-truth", "gts"),
}  # fmt: skip
"""Names that are taken where no folder has a plain one: annotations may be boxes that lie beside masks."""
PARTS = {"train": ("train", "training"), "val": ("val", "validation"), "test": ("test", "testing")}


def places_in(name: str, root: Path) -> Mapping[str, tuple[Path, Path]]:
    """Part -> folders of images and of masks; "" where nothing is divided; empty where none is found.

    Raises:
        DataError: two folders of one kind.
    """
    whole = _two_folders(name, root)
    if whole:
        return {"": whole}
    places = {}
    for part, names in PARTS.items():
        for folder in _named(root, names):
            two = _two_folders(name, folder)
            if two:
                places[part] = two
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


def _one_of(name: str, found: Sequence[Path]) -> None:
    if len(found) > 1:
        raise DataError(f"{name}: {found[0]} and {found[1]} are two folders of one kind; remove one")


def _named(parent: Path, names: Sequence[str]) -> list[Path]:
    """Folders in ``parent`` that are called one of ``names``, whatever the case, in the order of these."""
    found = [path for path in parent.glob("*") if path.name.lower() in names and path.is_dir()]
    return sorted(found, key=lambda path: (names.index(path.name.lower()), path.name))
