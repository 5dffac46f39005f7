"""Small HDF5 volumes of float32 and uint8, and the ways in which they go wrong: shared by two miniatures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from . import toy_scan

STAR = (9, 1, 10)


def write_volume(path: Path, *, width: int) -> Path:
    image, label = toy_scan((width, 18, 12), 2, STAR)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=(4 * image - 1).astype(np.float32), compression="gzip")
        file.create_dataset("label", data=label, compression="gzip")
    return path


def damages(key: str, file: str) -> dict[str, Callable[[Path], tuple[str, ...]]]:
    """The usual damages of the case ``key`` in ``file`` below the data root."""

    def altered(name: str, alter: Callable[[np.ndarray], Any], *words: str) -> Callable[[Path], tuple[str, ...]]:
        def spoil(root: Path) -> tuple[str, ...]:
            with h5py.File(root / file, "a") as content:
                new = alter(content[name][()])
                del content[name]
                if new is not None:
                    content[name] = new
            return (key, *words)

        return spoil

    def truncated(root: Path) -> tuple[str, ...]:
        whole = (root / file).read_bytes()
        (root / file).write_bytes(whole[: len(whole) // 2])
        return key, Path(file).name, "truncated"

    def first(value: float) -> Callable[[np.ndarray], np.ndarray]:
        def alter(array: np.ndarray) -> np.ndarray:
            array[0, 0, 0] = value
            return array

        return alter

    return {
        "truncated": truncated,
        "unknown_label": altered("label", first(4), Path(file).name, "4"),
        "black_and_white_label": altered("label", lambda a: a * 255, "255"),
        "different_sizes": altered("label", lambda a: a[:-1], "shape"),
        "not_a_number": altered("image", first(np.nan), "NaN"),
        "label_missing": altered("label", lambda a: None, "no label to score against"),
    }
