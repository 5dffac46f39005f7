"""The files of each case of an nnU-Net v2 folder, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..base import DataError
from ..faults import fault
from ..io import CLASSES, read_image
from ..labels import label_map
from ..scans import Volume
from ..types import Annotation
from ._nnunet_channels import channel_file, find_channels, named, split_name, whole
from ._nnunet_json import Descriptor, read_descriptor
from ._normalise import clip_and_standardise
from ._volumes import read_zyx, same_grid

__all__ = ["Descriptor", "Files", "find_cases", "read_descriptor", "read_images", "read_label"]


UNLABELLED = "imagesUn"
"""Folder of images that train without labels; nnU-Net itself reads none."""


class Files(NamedTuple):
    """The files of one case; in training, one without labels is unlabelled."""

    images: tuple[Path, ...]
    dense: Path | None
    partial: Path | None
    tests: bool

    def lacks(self, annotation: Annotation) -> bool:
        """Whether it does not have such labels, as all that test have."""
        return (self.dense if annotation == "dense" or self.tests else self.partial) is None

    @property
    def labels(self) -> tuple[Path, ...]:
        """Label files that are there."""
        return tuple(path for path in (self.dense, self.partial) if path is not None)


def find_cases(root: Path, about: Descriptor) -> dict[str, Files]:
    """Case -> files, sorted; every label has its images, every image its label (but in imagesUn, and imagesTs alone).

    What is wrong with single files is a :func:`fault`: `verify` goes on with the cases that are whole.

    Raises:
        DataError: a file without its partner, a channel too few or too many, or a case both in Tr and in Ts.
    """
    cases: dict[str, Files] = {}
    for part in ("Tr", "Ts"):
        labels = named(root / f"labels{part}", about.ending)
        if part == "Ts" and not labels:
            continue
        partial = part == "Tr" and about.ignore is not None
        dense = named(root / "labelsTr_dense", about.ending) if partial else {}
        for key, channels in _paired(root, part, about, labels).items():
            if key in cases:
                raise DataError(f"nnunet: case {key!r} is in labelsTr and in labelsTs; keep one").of("repeated_case")
            if dense and key not in dense:
                fault(DataError(f"nnunet: case {key!r} has no file in labelsTr_dense; add it").of("unpaired"))
                continue
            label = labels[key]
            cases[key] = Files(channels, dense.get(key) if partial else label, label if partial else None, part == "Ts")
    for key, numbered in find_channels(root / UNLABELLED, about).items():
        if key in cases:
            raise DataError(f"nnunet: case {key!r} is in {UNLABELLED} and has a label; keep one").of("repeated_case")
        complete = whole(root / UNLABELLED, key, numbered, about)
        cases |= {key: Files(complete, None, None, tests=False)} if complete else {}
    return dict(sorted(cases.items()))


def read_images(paths: Sequence[Path], about: Descriptor) -> tuple[np.ndarray, Volume | None]:
    """``(c, *space)`` float32, and the first channel as stored where files are volumes.

    A coloured photograph is three channels.

    Raises:
        DataError: a file cannot be read, files lie on different grids, or they are not as many channels as stated.
    """
    if about.is_scan:
        volumes = [read_zyx(path.name, path) for path in paths]
        for path, volume in zip(paths, volumes, strict=True):
            same_grid(path.name, volumes[0], volume, path)
        channels = [clip_and_standardise(v.voxels, path.name) for path, v in zip(paths, volumes, strict=True)]
        image, stored = np.stack(channels), volumes[0]
    else:
        pictures = [read_image(path) for path in paths]
        for path, picture in zip(paths, pictures, strict=True):
            if picture.shape[:2] != pictures[0].shape[:2]:
                raise DataError(
                    f"{path} has shape {picture.shape[:2]} (y, x) but {paths[0].name} {pictures[0].shape[:2]}; "
                    "the channels of a case must be equal in size: export them again"
                ).of("geometry")
        planes = [p if p.ndim == 3 else p[..., None] for p in pictures]
        scaled = [(p / np.iinfo(p.dtype).max).astype(np.float32) for p in planes]
        image, stored = np.ascontiguousarray(np.moveaxis(np.concatenate(scaled, axis=2), 2, 0)), None
    if len(image) != about.channels:
        following = channel_file(paths[0].parent, split_name(paths[0], about.ending)[0], len(paths), about)
        raise DataError(
            f"{', '.join(path.name for path in paths)}: {len(image)} channel(s), dataset.json names {about.channels}; "
            + (f"add {following}, or " if len(image) < about.channels else "")
            + "mend channel_names"
        ).of("unpaired")
    return image, stored


def read_label(path: Path, image: Volume | None, about: Descriptor) -> np.ndarray:
    """The label map on the image's grid; "ignore" becomes IGNORE where labels are partial."""
    unlabelled = about.ignore if path.parent.name == "labelsTr" else None
    if image is None:
        pixels = read_image(path, instead=CLASSES)
        return label_map(pixels, str(path), about.classes, unlabelled=unlabelled)
    stored = read_zyx(path.name, path)
    same_grid(path.name, image, stored, path)
    return label_map(stored.voxels, str(path), about.classes, unlabelled=unlabelled)


def _paired(root: Path, part: str, about: Descriptor, labels: Mapping[str, Path]) -> dict[str, tuple[Path, ...]]:
    """Case -> its channels, for every case of a part that has its label and all of them."""
    folder = root / f"images{part}"
    images = find_channels(folder, about)
    alone = sorted(set(images) ^ set(labels)) or ([] if labels else ["*"])
    for key in alone:
        label = root / f"labels{part}" / f"{key}{about.ending}"
        absent = channel_file(folder, key, 0, about) if key in labels else label
        lone = f", or move the image to {UNLABELLED}, where it trains without" if absent == label else ""
        fault(DataError(f"nnunet: no file {absent}; add it, or remove its partner{lone}").of("unpaired"))
    complete = {key: whole(folder, key, images[key], about) for key in sorted(set(images) & set(labels))}
    return {key: channels for key, channels in complete.items() if channels}
