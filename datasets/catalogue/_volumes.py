"""NIfTI scans beside NIfTI label maps: axes (z, y, x), as most pipelines of slices see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..base import DataError
from ..io import Volume, read_nifti


def read_zyx(where: str, path: Path) -> Volume:
    """Voxels ``(z, y, x)`` and their size in mm in that order.

    Args:
        where: names the case, for the message.
        path: the file.

    Raises:
        DataError: it cannot be read, or has not three axes.
    """
    try:
        volume = read_nifti(path)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    voxels = volume.voxels
    if voxels.ndim != 3:
        raise DataError(f"{where}: {path} has shape {voxels.shape}, not three axes; store one file per channel")
    return Volume(np.ascontiguousarray(voxels.transpose(2, 1, 0)), volume.spacing_mm[::-1])


def same_grid(where: str, first: Volume, other: Volume, path: Path) -> None:
    """Refuse a second file (another channel, a label) on another grid than the first.

    Raises:
        DataError: the shapes differ, or voxel sizes by more than 1 %.
    """
    if first.voxels.shape != other.voxels.shape:
        raise DataError(
            f"{where}: {path} has shape {other.voxels.shape} (z, y, x) but the image {first.voxels.shape}; "
            "they must be equal"
        ).of("geometry")
    if not np.allclose(first.spacing_mm, other.spacing_mm, rtol=0.01):
        raise DataError(
            f"{where}: voxels are {first.spacing_mm} mm in the image but {other.spacing_mm} mm in {path} (z, y, x); "
            "repair the header"
        ).of("geometry")
