"""Seven cases in the decathlon's layout: flipped along the first axis, voxels of 0.8 × 1 × 1.5 mm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from . import Truth, toy_scan
from .mscmr import move, voxel_size

STAR = (9, 1, 10)
OPTIONS: dict[str, Any] = {"patch": (16, 16, 16)}
TRUTH = {
    "hippocampus_001": Truth((13, 18, 11), (0.8, 1.0, 1.5), toy_scan((13, 18, 11), 3, STAR)[1], STAR),
    "hippocampus_012": Truth((14, 18, 11), (0.8, 1.0, 1.5), toy_scan((14, 18, 11), 3, STAR)[1], STAR),
}
FOLDER = "Task04_Hippocampus"
NAMES = ("hippocampus_001", "hippocampus_012", "hippocampus_003", "hippocampus_014", "hippocampus_005",
         "hippocampus_016", "hippocampus_007")  # fmt: skip


def write(root: Path) -> None:
    for number, name in enumerate(NAMES):
        write_case(root, name, width=13 + number % 3)
    describe(root, NAMES)


def grow(root: Path) -> dict[str, Any]:
    write_case(root, "hippocampus_008", width=15)
    describe(root, (*NAMES, "hippocampus_008"))
    return OPTIONS


def describe(root: Path, names: tuple[str, ...], **changes: Any) -> None:
    content = {
        "name": "Hippocampus",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "numTraining": len(names),
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names],
        "test": [],
    }
    (root / FOLDER / "dataset.json").write_text(json.dumps(content | changes))


def unlist_label(root: Path, name: str) -> None:
    """The case stays listed, without label; the label's file goes."""
    path = root / FOLDER / "dataset.json"
    content = json.loads(path.read_text())
    for entry in content["training"]:
        if name in entry["image"]:
            (root / FOLDER / entry.pop("label")).unlink()
    path.write_text(json.dumps(content))


def write_case(root: Path, name: str, *, width: int) -> None:
    image, label = toy_scan((width, 18, 11), 3, STAR)
    save(root, "imagesTr", name, (image * 1000).astype(np.int16))
    save(root, "labelsTr", name, label)


def save(root: Path, kind: str, name: str, voxels: np.ndarray, zooms: tuple[float, ...] = (0.8, 1.0, 1.5)) -> Path:
    path = root / FOLDER / kind / f"{name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-zooms[0], zooms[1], zooms[2], 1.0])
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def _change(root: Path, kind: str, alter: Any) -> tuple[str, ...]:
    path = root / FOLDER / kind / "hippocampus_012.nii.gz"
    voxels = alter(np.asarray(nibabel.load(path).dataobj))
    return "hippocampus_012", save(root, kind, "hippocampus_012", voxels).name


def _set(value: float, dtype: Any = None) -> Any:
    def alter(voxels: np.ndarray) -> np.ndarray:
        voxels = voxels.astype(dtype or voxels.dtype)
        voxels[0, 0, 0] = value
        return voxels

    return alter


def _truncate(root: Path) -> tuple[str, ...]:
    path = root / FOLDER / "imagesTr" / "hippocampus_012.nii.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "hippocampus_012", str(path), "truncated"


def _lose_label(root: Path) -> tuple[str, ...]:
    path = root / FOLDER / "labelsTr" / "hippocampus_012.nii.gz"
    path.unlink()
    return "hippocampus_012", str(path), "label"


def _other_spacing(root: Path) -> tuple[str, ...]:
    _, label = toy_scan((14, 18, 11), 3, STAR)
    save(root, "labelsTr", "hippocampus_012", label, (0.8, 1.5, 1.0))
    return "hippocampus_012", "(0.8"


def _lose_image(root: Path) -> tuple[str, ...]:
    path = root / FOLDER / "imagesTr" / "hippocampus_012.nii.gz"
    path.unlink()
    return "hippocampus_012", str(path), "image"


def _list_twice(root: Path) -> tuple[str, ...]:
    describe(root, (*NAMES, NAMES[1]))
    return "hippocampus_012", "twice"


def _header(kind: str, alter: Callable[[Path], object], *words: str) -> Callable[[Path], tuple[str, ...]]:
    def act(root: Path) -> tuple[str, ...]:
        alter(root / FOLDER / kind / "hippocampus_012.nii.gz")
        return "hippocampus_012", *words

    return act


DAMAGES: dict[str, Any] = {
    "truncated": _truncate,
    "unknown_label": lambda root: (*_change(root, "labelsTr", _set(3)), "3", "2 Posterior"),
    "fraction_as_label": lambda root: (*_change(root, "labelsTr", _set(0.5, np.float32)), "0.5"),
    "negative_label": lambda root: (*_change(root, "labelsTr", _set(-1, np.int16)), "-1"),
    "different_sizes": lambda root: (*_change(root, "labelsTr", lambda a: a[:-1])[:1], "(13, 18, 11)", "(14, 18, 11)"),
    "different_spacing": _other_spacing,
    "not_a_number": lambda root: (*_change(root, "imagesTr", _set(np.nan, np.float32))[:1], "NaN"),
    "constant": lambda root: (*_change(root, "imagesTr", np.zeros_like)[:1], "constant"),
    "label_missing": _lose_label,
    "image_missing": _lose_image,
    "listed_twice": _list_twice,
    "no_voxel_size": _header("imagesTr", lambda p: voxel_size(p, 0, 0.0), "voxel sizes", "[0.0, 1.0, 1.5]"),
    "negative_voxel_size": _header("labelsTr", lambda p: voxel_size(p, 2, -1.5), "voxel sizes", "-1.5"),
    "label_shifted": _header("labelsTr", lambda p: move(p, axis=1, mm=30), "30.0", "half a voxel"),
    "label_flipped": _header("labelsTr", lambda p: move(p, axis=2, flip=True), "turned or flipped"),
}
