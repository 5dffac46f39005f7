"""What somebody's own folder is, and the options under which it opens, so that nobody has to write them down.

Everything in the folder is read once. What can be told from the files is (layout, channels, classes, sizes); what
cannot is refused with the file and the reason, or said as a remark: nothing is guessed silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .base import DataError, MissingData
from .catalogue._decathlon import read_pairs
from .catalogue._image_places import IMAGE_FOLDERS, MASK_FOLDERS
from .catalogue._images import stored_mask
from .catalogue._nnunet import find_cases, read_descriptor, read_images
from .catalogue.image_folder import ImageFolder, ImageFolderOptions
from .io import read_image, read_json
from .mask_values import MaskValues
from .scans import read_scan

SIDES = (32, 128)
"""Least and greatest side of a patch that is proposed: what two cores train on in reasonable time."""
STEP = 16
"""Networks of five levels halve a side four times."""


@dataclass(frozen=True)
class Guess:
    """A dataset of the catalogue, its options for this folder, and what a person should know of them."""

    dataset: str
    options: Mapping[str, Any]
    remarks: tuple[str, ...] = field(default=())


def guess(folder: Path, stated: Mapping[str, Any] | None = None) -> Guess:
    """Look into a folder: nnU-Net's and the decathlon's dataset.json, or folders of images and masks.

    Args:
        folder: where to look.
        stated: options that a person stated; with values or a threshold among them the values of masks are not guessed.

    Raises:
        DataError: it has none of these layouts, or a file in it is wrong; the message says which file and why.
    """
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder").of("missing")
    if (folder / "manifest.csv").is_file():
        raise DataError(
            f"{folder}: has a manifest.csv, whose classes and groups are yours to state: write a plan with the dataset "
            "csv_manifest, as docs/add_a_dataset.md shows"
        )
    if (folder / "dataset.json").is_file():
        about = read_json(folder / "dataset.json")
        if "file_ending" in about:
            return _nnunet(folder, stated or {})
        if "training" in about:
            return _msd(folder, about)
        raise DataError(
            f"{folder / 'dataset.json'}: has neither 'file_ending' (nnU-Net v2) nor 'training' (decathlon), so it "
            "describes no layout that is read here"
        )
    return _image_folder(folder, stated or {})


def patch_of(sizes: Iterable[tuple[int, ...]]) -> list[int]:
    """(height, width) near the median of these sizes: multiples of 16, the longer side at most 128, the aspect kept.

    >>> patch_of([(50, 35)]), patch_of([(576, 720)]), patch_of([(8, 9)])
    ([48, 32], [96, 128], [32, 32])
    """
    median = np.median(np.array(list(sizes)), axis=0)
    scaled = median * min(1.0, SIDES[1] / median.max())
    return [int(np.clip(STEP * round(side / STEP), *SIDES)) for side in scaled]


def _image_folder(folder: Path, stated: Mapping[str, Any]) -> Guess:
    dataset = _open_images(folder)
    guessed = not (stated.get("values") or stated.get("threshold"))
    values, sizes, grey = MaskValues(), [], True
    for pair in dataset.pairs.values():
        image, mask = read_image(pair.image), stored_mask(pair.mask) if pair.mask else None
        if mask is not None and image.shape[:2] != mask.shape:
            raise DataError(
                f"{pair.mask} has {mask.shape[0]} × {mask.shape[1]} pixels, its image {pair.image} has "
                f"{image.shape[0]} × {image.shape[1]}; they must be equal"
            ).of("geometry")
        if guessed and pair.mask and mask is not None:
            values.add(pair.mask, mask)
        sizes.append(image.shape[:2])
        grey &= image.ndim == 2
    options = {"folder": folder.name, "patch": patch_of(sizes), "colour": "grey" if grey else "rgb"}
    alone = _grouping("image", [pair.image.stem for pair in dataset.pairs.values()], stated)
    if not guessed:
        return Guess("image_folder", options, alone)
    return Guess("image_folder", options | values.options(folder), (*alone, values.remark()))


def _open_images(folder: Path) -> ImageFolder:
    try:
        return ImageFolder(folder.parent, ImageFolderOptions(folder=folder.name))
    except MissingData as error:
        inside = sorted(f"{path.relative_to(folder)}/" for path in folder.glob("*/*/") if path.is_dir())
        inside = inside or sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
        raise DataError(
            f"{folder}: holds {', '.join(inside[:8]) or 'nothing'}. Wanted: a folder of images "
            f"({', '.join(IMAGE_FOLDERS)}) beside one of masks ({', '.join(MASK_FOLDERS)}), or both in train/ and in "
            "test/; or dataset.json of nnU-Net or the decathlon"
        ) from error


def _nnunet(folder: Path, stated: Mapping[str, Any]) -> Guess:
    about = read_descriptor(folder / "dataset.json")
    cases = find_cases(folder, about)
    first = next(iter(cases.values()))
    image, _ = read_images(first.images, about)
    sizes = [_plane(case.images[0], about.is_scan) for case in list(cases.values())[:20]]
    annotations = ["dense"] if about.ignore is None else ["scribble"]
    if about.ignore is not None and (folder / "labelsTr_dense").is_dir():
        annotations = ["dense", "scribble"]
    options = {
        "folder": folder.name,
        "patch": patch_of(sizes),
        "channels": len(image),
        "foreground": len(about.classes) - 1,
        "annotations": annotations,
    }
    return Guess("nnunet", options, (*_grouping("case", list(cases), stated), *(_SLICED if about.is_scan else ())))


def _msd(folder: Path, about: Mapping[str, Any]) -> Guess:
    entries = about["training"]
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict) or "image" not in entries[0]:
        raise DataError(f'{folder / "dataset.json"}: \'training\' must list {{"image": .., "label": ..}}')
    images = [image for image, _ in read_pairs(folder / "dataset.json").values()]
    sizes = [_plane(image, scan=True) for image in images[:20]]
    return Guess("msd", {"task_folder": folder.name, "patch": patch_of(sizes)}, _SLICED)


def _plane(path: Path, scan: bool) -> tuple[int, ...]:
    """(height, width) of an image, or of the slices along z of a volume."""
    return read_scan(path).voxels.shape[1::-1] if scan else read_image(path).shape[:2]


_SLICED = (
    "volumes are seen slice by slice; three numbers under the option patch, such as [64, 64, 64], and network: vnet "
    "under training would train in 3-D, which takes many times longer",
)


def _grouping(what: str, names: Sequence[str], stated: Mapping[str, Any]) -> tuple[str, ...]:
    if stated.get("group_pattern"):
        return ()
    return (
        f"every {what} stands for itself; where several show one patient or video, set group_pattern{_likely(names)}, "
        "or they may be on both sides of a split, and scores are too good",
    )


def _likely(names: Sequence[str]) -> str:
    """A pattern that makes groups of these names, by what stands before the last number of each; "" where none does.

    >>> _likely(["video1_000", "video1_004", "video2_000"])
    ' (by their names perhaps "^(.+)_", 2 groups, such as video1)'
    >>> _likely(["frame_000", "frame_004"]), _likely(["a1", "b-2"])
    ('', '')
    """
    found = [re.fullmatch(r"(.+)([_.-])[A-Za-z]*[0-9]+", name) for name in names]
    groups = sorted({match[1] for match in found if match})
    marks = {match[2] if match else "" for match in found}
    if not 1 < len(groups) < len(set(names)) or len(marks) > 1:
        return ""
    (mark,) = marks
    pattern = f"^(.+){'[.]' if mark == '.' else mark}"
    return f' (by their names perhaps "{pattern}", {len(groups)} groups, such as {groups[0]})'
