"""The one file that reads image files: every failure becomes a DataError that names the file and what to do.

The readers are imported when first used, so that training on phantoms needs none of them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .base import DataError
from .types import IGNORE

_MM_PER_UNIT = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}


class Volume(NamedTuple):
    """Voxels as stored, axes in the file's order, and their size along the first three axes in mm."""

    voxels: np.ndarray
    spacing_mm: tuple[float, ...]


def read_h5(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The named arrays of an HDF5 file and the file's attributes.

    Raises:
        DataError: the file is absent, truncated or not HDF5, or lacks a required array.
    """
    import h5py

    _must_exist(path)
    try:
        with h5py.File(path, "r") as file:
            missing = [key for key in required if key not in file]
            if missing:
                raise DataError(
                    f"{path}: no array {', '.join(map(repr, missing))} in this file; it holds "
                    f"{', '.join(map(repr, file)) or 'nothing'}. Convert it to the layout that the dataset describes."
                )
            arrays = {key: np.asarray(file[key][()]) for key in (*required, *optional) if key in file}
            return arrays, dict(file.attrs)
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise _damaged(path, "HDF5", error) from error


def read_h5_attributes(path: Path) -> dict[str, Any]:
    """The attributes of an HDF5 file, without its arrays.

    Raises:
        DataError: the file is absent, truncated or not HDF5.
    """
    return read_h5(path, ())[1]


def read_nifti(path: Path) -> Volume:
    """A NIfTI file with its scaling applied; integers stay integers where the file states no scaling.

    Raises:
        DataError: the file is absent, truncated or not NIfTI, or its header holds no usable voxel size.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    _must_exist(path)
    try:
        image: Any = nibabel.load(path, mmap=False)
        voxels = np.asanyarray(image.dataobj)
        unit = image.header.get_xyzt_units()[0]
        sizes = [float(size) for size in image.header.get_zooms()[:3]]
    except (OSError, EOFError, ValueError, KeyError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise _damaged(path, "NIfTI", error) from error
    if len(sizes) < 3 or not all(np.isfinite(size) and size > 0 for size in sizes):
        raise DataError(
            f"{path}: voxel sizes must be three positive numbers, the header says {sizes}; repair the header"
        )
    return Volume(voxels, tuple(size * _MM_PER_UNIT[unit] for size in sizes))


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON file that holds an object.

    Raises:
        DataError: the file is absent, not JSON, or holds something else.
    """
    _must_exist(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, "JSON", error) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, got a {type(content).__name__}")
    return content


def label_map(values: np.ndarray, where: str, classes: Sequence[str], *, unlabelled: int | None = None) -> np.ndarray:
    """Stored label values as uint8, the code for "unlabelled" as IGNORE; nothing is clipped, rounded or wrapped.

    Args:
        values: integers, in whatever type they are stored.
        where: names the case and the file, for the message.
        classes: class names; their places are the allowed values.
        unlabelled: the code that the files use for "no annotation here"; None = there is none.

    Raises:
        DataError: a value outside the classes (a fraction, a negative number, 255 of a black-and-white mask).
    """
    allowed = set(range(len(classes))) | ({unlabelled} if unlabelled is not None else set())
    narrow = values.dtype in (np.uint8, np.uint16)  # counting is several times faster than sorting
    found = np.flatnonzero(np.bincount(values.ravel())) if narrow else np.unique(values)
    unknown = [value for value in found.tolist() if value not in allowed]
    if unknown:
        names = [f"{place} {name}" for place, name in enumerate(classes)]
        names += [f"{unlabelled} unlabelled"] if unlabelled is not None else []
        raise DataError(
            f"{where}: unknown label value(s) {unknown[:8]}; allowed are {', '.join(names)}. "
            "Map the values of the file to these, or choose the dataset that it belongs to."
        )
    labels = values.astype(np.uint8)
    if unlabelled is not None:
        labels[values == unlabelled] = IGNORE
    return labels


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file; the copy is incomplete: fetch this file again")


def _damaged(path: Path, kind: str, error: Exception) -> DataError:
    return DataError(
        f"{path}: cannot be read as {kind} ({path.stat().st_size} bytes; {type(error).__name__}: {error}). The file is "
        "truncated or damaged: fetch it again"
    )
