"""Scans beside label maps on their grids: axes (z, y, x), as most pipelines of slices see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..base import DataError
from ..scans import Volume, read_scan

COSINE = 1e-3
"""Headers in float32 and quaternions agree within 1e-6; 1e-3 are 0.06 degrees, a tenth of a voxel over 100 voxels."""


def read_zyx(where: str, path: Path, *, agreed: bool = True) -> Volume:
    """Voxels ``(z, y, x)`` and their size in mm in that order.

    Args:
        where: names the case, for the message.
        path: the file.
        agreed: whether its header must state one voxel size only.

    Raises:
        DataError: it cannot be read, or has not three axes.
    """
    try:
        volume = read_scan(path, agreed=agreed)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    voxels = volume.voxels
    if voxels.ndim != 3:
        raise DataError(f"{where}: {path} has shape {voxels.shape}, not three axes; store one file per channel")
    affine = None if volume.affine is None else volume.affine[:, [2, 1, 0, 3]]
    return Volume(np.ascontiguousarray(voxels.transpose(2, 1, 0)), volume.spacing_mm[::-1], affine)


def same_grid(where: str, first: Volume, other: Volume, path: Path) -> None:
    """Refuse a second file (another channel, a label) on another grid than the first.

    Raises:
        DataError: the shapes differ, or what :func:`same_place` compares.
    """
    if first.voxels.shape != other.voxels.shape:
        raise DataError(
            f"{where}: {path} has shape {other.voxels.shape} (z, y, x) but the image {first.voxels.shape}; "
            "they must be equal"
        ).of("geometry")
    same_place(where, first, other, path)


def same_place(where: str, first: Volume, other: Volume, path: Path) -> None:
    """Refuse a second file whose voxels have another size, direction or place than those of the first.

    A file that states no place contradicts none.

    Raises:
        DataError: voxel sizes differ by more than 1 %, cosines of the axes by more than ``COSINE``, or the first voxels
            lie half a voxel or more apart along an axis.
    """
    if not np.allclose(first.spacing_mm, other.spacing_mm, rtol=0.01):
        raise DataError(
            f"{where}: voxels are {first.spacing_mm} mm in the image but {other.spacing_mm} mm in {path}; "
            "repair the header"
        ).of("geometry")
    if first.affine is None or other.affine is None:
        return
    axes, others = _directions(first.affine), _directions(other.affine)
    if not np.allclose(axes, others, rtol=0, atol=COSINE):
        raise DataError(
            f"{where}: axes point along {axes.T.round(3).tolist()} in the image but along {others.T.round(3).tolist()} "
            f"in {path}; one of them is turned or flipped: repair the header, or resample it on the image's grid"
        ).of("geometry")
    apart = axes.T @ (other.affine[:, 3] - first.affine[:, 3])
    if not (np.abs(apart) < np.array(first.spacing_mm) / 2).all():
        raise DataError(
            f"{where}: {path} lies {apart.round(2).tolist()} mm along the axes away from the image, which is half a "
            "voxel or more; repair the header, or resample it on the image's grid"
        ).of("geometry")


def misplaced(where: str, first: Volume, other: Volume, path: Path) -> list[str]:
    """What :func:`same_place` would refuse, as a sentence; nothing where it would not."""
    try:
        same_place(where, first, other, path)
    except DataError as error:
        return [str(error)]
    return []


def _directions(affine: np.ndarray) -> np.ndarray:
    """``(3, 3)`` unit vectors of the axes, in columns."""
    lengths = np.linalg.norm(affine[:, :3], axis=0)
    return affine[:, :3] / np.where(lengths > 0, lengths, 1)
