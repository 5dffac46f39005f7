"""Nine subjects in CycleMix's layout; NIfTI axes (x, y, z), 0.75 × 0.8 × 5 mm."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from . import Truth, toy_scan

OPTIONS: dict[str, Any] = {"partial": True, "patch": (32, 32)}
STAR = (1, 2, 12)
FOLDER = "MSCMR_dataset"
PARTS = {"train": (2, 13, 45, 9), "val": (1, 29), "TestSet": (10, 3, 43)}
ZOOMS = (0.75, 0.8, 5.0)
TRUTH = {
    "subject03": Truth((3, 17, 14), (5.0, 0.8, 0.75), toy_scan((3, 17, 14), 4, STAR)[1], STAR),
    "subject02": Truth((3, 16, 14), (5.0, 0.8, 0.75), None, STAR),
}


def write(root: Path) -> None:
    for part, subjects in PARTS.items():
        for number, subject in enumerate(subjects):
            write_subject(root, part, subject, height=16 + number)


def grow(root: Path) -> dict[str, Any]:
    write_subject(root, "train", 6, height=17)
    return OPTIONS


def write_subject(root: Path, part: str, subject: int, *, height: int) -> None:
    image, label = toy_scan((3, height, 14), 4, STAR)
    ending = "manual"
    if part == "train":
        row, ending = height // 2, "scribble"
        label = np.where(np.arange(height)[:, None] == row, label, 4)  # one line through all classes
    save(root / FOLDER / part / "images" / f"subject{subject}_DE.nii.gz", (image * 1000).astype(np.int16))
    save(root / FOLDER / part / "labels" / f"subject{subject}_DE_{ending}.nii.gz", label.astype(np.uint8))


def save(path: Path, voxels: np.ndarray, zooms: tuple[float, ...] = ZOOMS) -> Path:
    """Write ``(z, y, x)`` voxels as NIfTI, whose axes are (x, y, z)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(voxels.transpose(2, 1, 0), np.diag([-zooms[0], zooms[1], zooms[2], 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def change(path: Path, alter: Callable[[np.ndarray], np.ndarray]) -> None:
    save(path, alter(np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0).copy()))


def first(value: float, dtype: Any = None) -> Callable[[np.ndarray], np.ndarray]:
    def alter(voxels: np.ndarray) -> np.ndarray:
        voxels = voxels.astype(dtype or voxels.dtype)
        voxels[0, 0, 0] = value
        return voxels

    return alter


def move(path: Path, *, axis: int = 0, mm: float = 0.0, flip: bool = False) -> None:
    """Shift a file along an axis of its affine, or mirror that axis there; the voxels stay as they are."""
    stored = nibabel.load(path)
    affine = np.array(stored.affine)
    affine[axis, 3] += mm
    if flip:
        affine[:, axis] *= -1
    image = nibabel.Nifti1Image(np.asarray(stored.dataobj), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def voxel_size(path: Path, axis: int, size: float) -> None:
    """Write a voxel size into the header's bytes, for nibabel writes no such size: pixdim[1] are bytes 80 to 83."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[80 + 4 * axis : 84 + 4 * axis] = struct.pack("<f", size)
    path.write_bytes(gzip.compress(bytes(content), mtime=0))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _spoil(kind: str, file: str, spoil: Callable[[Path], object], *words: str) -> Callable[[Path], tuple[str, ...]]:
    def act(root: Path) -> tuple[str, ...]:
        spoil(root / FOLDER / file)
        return (kind, *words)

    return act


_IMAGE, _LABEL = "TestSet/images/subject3_DE.nii.gz", "TestSet/labels/subject3_DE_manual.nii.gz"
DAMAGES: dict[str, Any] = {
    "truncated": _spoil("subject03", _IMAGE, truncate, "subject3_DE.nii.gz", "truncated"),
    "unknown_label": _spoil("subject03", _LABEL, lambda p: change(p, first(4)), "subject3_DE_manual", "4", "3 LV"),
    "challenge_codes": _spoil("subject03", _LABEL, lambda p: change(p, first(500, np.int16)), "500"),
    "unknown_scribble": _spoil(
        "subject13", "train/labels/subject13_DE_scribble.nii.gz", lambda p: change(p, first(5)), "5", "4 unlabelled"
    ),
    "different_sizes": _spoil("subject03", _LABEL, lambda p: change(p, lambda a: a[:-1]), "(2, 17, 14)", "(3, 17, 14)"),
    "not_a_number": _spoil("subject03", _IMAGE, lambda p: change(p, first(np.nan, np.float32)), "NaN"),
    "constant": _spoil("subject03", _IMAGE, lambda p: change(p, np.zeros_like), "constant"),
    "label_missing": _spoil("subject03", _LABEL, lambda p: p.unlink(), "subject3_DE_manual.nii.gz"),
}
