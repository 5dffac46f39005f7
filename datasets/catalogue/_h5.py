"""Volumes kept one per HDF5 file: arrays image, perhaps label and scribble, and the attribute spacing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..base import DataError
from ..io import read_h5, read_h5_names
from ..labels import label_map
from ..types import Annotation, Case


def read_case(
    name: str,
    path: Path,
    group: str,
    classes: Sequence[str],
    *,
    key: str = "",
    unlabelled: int | None = None,
    has_spacing: bool | None,
) -> Case:
    """One 3-D case; image values as stored, in float32; a label or scribble that the file lacks is None.

    Args:
        name: the dataset's, for messages.
        path: the HDF5 file.
        group: the patient.
        classes: class names; their places are the allowed label values.
        key: the case's; "" = the file's stem.
        unlabelled: the code of unscribbled voxels in ``scribble``.
        has_spacing: whether the attribute ``spacing`` (mm, in the order of the axes) must be there; False = it must
            not, for cases measured partly in mm and partly in voxels have no mean; None = it is not looked at.

    Raises:
        DataError: naming the case and the file.
    """
    key = key or path.stem
    where = f"{name}: case {key!r}"
    try:
        arrays, attributes = read_h5(path, ("image",), ("label", "scribble"))
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    image, label, scribble = arrays["image"], arrays.get("label"), arrays.get("scribble")
    if image.ndim != 3 or image.dtype.kind != "f":
        raise DataError(f"{where}: image must be a 3-D array of floats, got {image.dtype} {image.shape} in {path}")
    if scribble is not None:
        scribble = label_map(scribble, f"{where}: scribble in {path}", classes, unlabelled=unlabelled)
    if label is not None:
        label = label_map(label, f"{where}: label in {path}", classes)
    spacing = _spacing(where, attributes, has_spacing) if has_spacing is not None else None
    return Case(key, group, image.astype(np.float32)[None], label, scribble, spacing)


def lacking(paths: Mapping[str, Path], annotation: Annotation) -> frozenset[str]:
    """The cases, of ``paths`` by key, whose file holds no such annotation; no array is read."""
    array = {"dense": "label", "scribble": "scribble"}[annotation]
    return frozenset(key for key, path in paths.items() if array not in _names(path, _stamp(path)))


@lru_cache(maxsize=8192)
def _names(path: Path, stamp: tuple[int, int] | None) -> frozenset[str]:
    """`read_h5_names`, asked of every case of every cell, once for a file with this ``stamp``."""
    return read_h5_names(path)


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file does."""
    about = path.stat() if path.is_file() else None
    return about and (about.st_mtime_ns, about.st_size)


def planes_unlike(volume: Path, folder: Path) -> list[str]:
    """What the copies of a volume's planes, ``<stem>_slice_<z>.h5`` with the same arrays, have that it has not.

    Args:
        volume: the HDF5 file.
        folder: where the planes lie; without any file there is nothing to compare.

    Returns:
        Sentences: planes that are missing or too many, arrays that differ.
    """
    names = ("label", "scribble")
    found = {int(path.stem.rsplit("_", 1)[1]): path for path in folder.glob(f"{volume.stem}_slice_[0-9]*.h5")}
    if not found:
        return ["no slice file, although other volumes have theirs"] if any(folder.glob("*_slice_*.h5")) else []
    arrays, _ = read_h5(volume, ("image",), names)
    depth, words = len(arrays["image"]), []
    if lost := [z for z in range(depth) if z not in found]:
        words.append(f"slice file(s) {lost} are missing")
    if extra := sorted(z for z in found if z >= depth):
        words.append(f"slice file(s) {extra} lie beyond the volume's {depth} planes")
    for z in sorted(set(found) & set(range(depth))):
        planes, _ = read_h5(found[z], ("image",), names)
        unlike = [name for name in arrays if name not in planes or not np.array_equal(planes[name], arrays[name][z])]
        if unlike:
            words.append(f"slice file {z} differs from the volume's plane in {', '.join(unlike)}")
    return words


def _spacing(where: str, attributes: Mapping[str, object], expected: bool) -> tuple[float, ...] | None:
    stored = attributes.get("spacing")
    if (stored is not None) != expected:
        raise DataError(
            f"{where}: the attribute spacing is {'present' if stored is not None else 'missing'}, unlike in the first "
            "file; store it in every file or in none"
        )
    return tuple(float(mm) for mm in np.ravel(np.asarray(stored))) if expected else None
