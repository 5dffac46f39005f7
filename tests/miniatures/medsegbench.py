"""One archive of 6 + 2 + 3 grey-edged RGB images of 15 × 17 pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import Truth
from .paired_images import STAR, toy_image

OPTIONS: dict[str, Any] = {"patch": (32, 32), "file": "toy_15.npz"}
COUNTS = {"train": 6, "val": 2, "test": 3}
LABEL = toy_image(15)[1]
TRUTH = {"train/00003": Truth((15, 17), None, LABEL, STAR), "test/00002": Truth((15, 17), None, LABEL, STAR)}


def write(root: Path) -> None:
    (root / "MedSegBench").mkdir()
    save(root, arrays(COUNTS))


def arrays(counts: dict[str, int]) -> dict[str, np.ndarray]:
    image, label = toy_image(15)
    content: dict[str, np.ndarray] = {}
    for part, count in counts.items():
        content[f"{part}_images"] = np.stack([image] * count)
        content[f"{part}_label"] = np.stack([label] * count)
    return content


def save(root: Path, content: dict[str, np.ndarray]) -> Path:
    path = root / "MedSegBench" / "toy_15.npz"
    np.savez_compressed(path, **content)
    return path


def grow(root: Path) -> dict[str, Any]:
    save(root, arrays(COUNTS | {"train": 7}))
    return OPTIONS


def _spoil(alter: Callable[[dict[str, np.ndarray]], object], *words: str) -> Callable[[Path], tuple[str, ...]]:
    def act(root: Path) -> tuple[str, ...]:
        content = arrays(COUNTS)
        alter(content)
        save(root, content)
        return ("toy_15.npz", *words)

    return act


def _set(content: dict[str, np.ndarray], value: int) -> None:
    content["test_label"][1, 0, 0] = value


def _truncate(root: Path) -> tuple[str, ...]:
    path = root / "MedSegBench" / "toy_15.npz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "toy_15.npz", "truncated"


DAMAGES: dict[str, Any] = {
    "truncated": _truncate,
    "unknown_label": _spoil(lambda c: _set(c, 7), "test/00001", "7", "1 foreground"),
    "different_sizes": _spoil(lambda c: c.update(val_label=c["val_label"][:, :-1]), "(14, 17)", "(15, 17)"),
    "different_counts": _spoil(lambda c: c.update(val_label=c["val_label"][:-1]), "2 val images but 1"),
    "not_a_number": _spoil(lambda c: c.update(train_images=c["train_images"] * np.float32(np.nan)), "float32"),
    "label_missing": _spoil(lambda c: c.pop("train_label"), "train_label"),
}
