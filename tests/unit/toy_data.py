"""A procedural dataset small enough to reason about: the image is a function of the label map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.base import Dataset, Partition
from datasets.types import IGNORE, Card, Case, Task

CARD = Card("Toy", "made here", "CC0", "nothing to get", "no files", "1 mm", "none published")


def intensity(label: np.ndarray) -> np.ndarray:
    """0 -> 0.125, 1 -> 0.375, 2 -> 0.625: exact in float16 and float32."""
    return (label.astype(np.float32) * 2 + 1) / 8


class Toy(Dataset):
    """``cases`` cases named c0, c1, ...; two cases per patient; volumes of slices in 2-D, volumes in 3-D."""

    card = CARD

    @dataclass(frozen=True)
    class Options:
        """What the tests vary. ``space`` is that of every case; ``bare`` slices at the start carry no scribble."""

        ndim: int = 2
        cases: int = 6
        space: tuple[int, ...] = (3, 12, 12)
        channels: int = 1
        bare: int = 1
        per_patient: int = 2

    def __init__(self, root: Path = Path(), options: Options | None = None) -> None:
        super().__init__(root, options)
        self.loads: list[str] = []

    def make_task(self) -> Task:
        patch = self.options.space[-self.options.ndim :]
        return Task(
            "toy",
            self.options.ndim,
            self.options.channels,
            ("background", "a", "b"),
            patch,
            "px",
            ("dense", "scribble"),
        )

    def groups(self) -> Mapping[str, str]:
        return {f"c{i}": f"p{i // self.options.per_patient}" for i in range(self.options.cases)}

    def partition(self, fold: int) -> Partition:
        train, last = sorted(set(self.groups().values()))[:-1], max(self.groups().values())
        return Partition(train=tuple(train), test=(last,))

    def load(self, key: str) -> Case:
        self.loads.append(key)
        rng = np.random.default_rng(int(key[1:]))
        label = rng.integers(0, 3, self.options.space).astype(np.uint8)
        scribble = np.where(rng.random(self.options.space) < 0.3, label, IGNORE).astype(np.uint8)
        scribble[: self.options.bare] = IGNORE
        image = np.stack([intensity(label) + channel for channel in range(self.options.channels)])
        return Case(key, self.groups()[key], image.astype(np.float32), label, scribble)


def toy(**options: object) -> Toy:
    """A dataset with some options changed."""
    return Toy(options=Toy.Options(**options))  # type: ignore[arg-type]
