"""The parts of an nnU-Net v2 folder: its descriptor, its folds, the files of each case, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..base import DataError
from ..io import Volume, label_map, read_image, read_json
from ._normalise import clip_and_standardise
from ._volumes import read_zyx, same_grid


class Descriptor(NamedTuple):
    """What dataset.json says."""

    channels: int
    classes: tuple[str, ...]
    ignore: int | None
    ending: str

    @property
    def is_nifti(self) -> bool:
        """Volumes with a spacing, not photographs."""
        return self.ending in (".nii", ".nii.gz")


class Files(NamedTuple):
    """The files of one case."""

    images: tuple[Path, ...]
    dense: Path | None
    partial: Path | None
    tests: bool

    @property
    def labels(self) -> tuple[Path, ...]:
        """Label files that are there."""
        return tuple(path for path in (self.dense, self.partial) if path is not None)


def read_descriptor(path: Path) -> Descriptor:
    """Check and read dataset.json.

    Raises:
        DataError: a key is missing; labels are not numbered from 0 with "ignore" last; an unknown ending.
    """
    content = read_json(path)
    absent = [key for key in ("channel_names", "labels", "file_ending") if key not in content]
    if absent:
        raise DataError(
            f"nnunet: {path}: no {absent[0]!r}; an nnU-Net v2 descriptor has channel_names, labels, file_ending"
        )
    labels, ending = content["labels"], content["file_ending"]
    if not isinstance(labels, dict) or sorted(map(str, labels.values())) != sorted(map(str, range(len(labels)))):
        raise DataError(f"nnunet: {path}: labels must be numbered 0, 1, 2, ...; regions are not read; got {labels!r}")
    names = sorted(labels, key=lambda name: int(labels[name]))
    ignore = int(labels["ignore"]) if "ignore" in labels else None
    if (
        names[0] != "background"
        or (ignore is not None and names[-1] != "ignore")
        or len(names) - ("ignore" in labels) < 2
    ):
        raise DataError(f"nnunet: {path}: background must be 0, ignore the highest number, got {labels!r}")
    if ending not in (".nii", ".nii.gz", ".png", ".bmp", ".tif", ".tiff"):
        raise DataError(f"nnunet: {path}: file_ending {ending!r} is not read here; convert to .nii.gz or .png")
    classes = tuple(name for name in names if name != "ignore")
    return Descriptor(len(content["channel_names"]), classes, ignore, ending)


def read_folds(path: Path) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """(train, val) of every fold of splits_final.json; none where there is no such file.

    Raises:
        DataError: it is no list of objects with train and val.
    """
    if not path.is_file():
        return ()
    folds = read_json(path, list)
    if not folds or not all(isinstance(fold, dict) and {"train", "val"} <= set(fold) for fold in folds):
        raise DataError(f'nnunet: {path}: must be a list of {{"train": [..], "val": [..]}}')
    return tuple((tuple(fold["train"]), tuple(fold["val"])) for fold in folds)


def find_cases(root: Path, about: Descriptor) -> dict[str, Files]:
    """Case -> files, sorted; every label has its images, every image its label (but imagesTs without labelsTs).

    Raises:
        DataError: a file without its partner, or a case both in Tr and in Ts.
    """
    cases: dict[str, Files] = {}
    for part in ("Tr", "Ts"):
        images, labels = _named(root / f"images{part}", about.ending), _named(root / f"labels{part}", about.ending)
        if part == "Ts" and not labels:
            continue
        there = {re.sub(r"_\d{4}$", "", name) for name in images}
        alone = sorted(there ^ set(labels))
        if alone or not labels:
            first = alone[0] if alone else "*"
            absent = root / (f"images{part}/{first}_0000" if first in labels else f"labels{part}/{first}")
            raise DataError(f"nnunet: no file {absent}{about.ending}; add it, or remove its partner").of("unpaired")
        dense = _named(root / "labelsTr_dense", about.ending) if part == "Tr" and about.ignore is not None else {}
        for key, label in labels.items():
            if key in cases:
                raise DataError(f"nnunet: case {key!r} is in labelsTr and in labelsTs; keep one").of("repeated_case")
            if dense and key not in dense:
                raise DataError(f"nnunet: case {key!r} has no file in labelsTr_dense; add it").of("unpaired")
            partial = part == "Tr" and about.ignore is not None
            channels = tuple(images[name] for name in sorted(images) if re.sub(r"_\d{4}$", "", name) == key)
            cases[key] = Files(channels, dense.get(key) if partial else label, label if partial else None, part == "Ts")
    return dict(sorted(cases.items()))


def read_images(paths: Sequence[Path], about: Descriptor) -> tuple[np.ndarray, tuple[float, ...] | None]:
    """``(c, *space)`` float32 and the spacing in mm; a coloured photograph is three channels."""
    if about.is_nifti:
        volumes = [read_zyx(path.name, path) for path in paths]
        for path, volume in zip(paths, volumes, strict=True):
            same_grid(path.name, volumes[0], volume, path)
        channels = [clip_and_standardise(v.voxels, path.name) for path, v in zip(paths, volumes, strict=True)]
        image, spacing = np.stack(channels), volumes[0].spacing_mm
    else:
        pictures = [read_image(path) for path in paths]
        planes = [p if p.ndim == 3 else p[..., None] for p in pictures]
        scaled = [(p / np.iinfo(p.dtype).max).astype(np.float32) for p in planes]
        image, spacing = np.ascontiguousarray(np.moveaxis(np.concatenate(scaled, axis=2), 2, 0)), None
    if len(image) != about.channels:
        raise DataError(f"{paths[0].name}: {len(image)} channel(s), dataset.json names {about.channels}").of("unpaired")
    return image, spacing


def read_label(path: Path, image: np.ndarray, spacing: tuple[float, ...] | None, about: Descriptor) -> np.ndarray:
    """The label map on the image's grid; "ignore" becomes IGNORE where labels are partial."""
    unlabelled = about.ignore if path.parent.name == "labelsTr" else None
    if spacing is None:
        return label_map(read_image(path), str(path), about.classes, unlabelled=unlabelled)
    stored = read_zyx(path.name, path)
    same_grid(path.name, Volume(image[0], spacing), stored, path)
    return label_map(stored.voxels, str(path), about.classes, unlabelled=unlabelled)


def _named(folder: Path, ending: str) -> Mapping[str, Path]:
    """File name without its ending -> path, sorted."""
    found = {p.name.removesuffix(ending): p for p in folder.glob(f"*{ending}") if not p.name.startswith(".")}
    return dict(sorted(found.items()))
