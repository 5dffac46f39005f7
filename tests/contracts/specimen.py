"""A dataset and the folder it is tried on: a fresh copy of its miniature, or the real scans."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from datasets.base import Dataset


class Specimen:
    """One dataset and the folder it is tried on: a fresh miniature, or a real one."""

    def __init__(self, cls: type[Dataset], scratch: Path, *, miniature: ModuleType | None, real: Path | None = None,
                 options: Mapping[str, Any] | None = None) -> None:  # fmt: skip
        self.cls, self.miniature, self.real, self._scratch = cls, miniature, real, scratch
        self._options = dict(options if options is not None else miniature.OPTIONS if miniature else {})
        self._count = itertools.count()

    @property
    def name(self) -> str:
        return self.cls.__module__.rsplit(".", 1)[-1]

    def root(self) -> Path:
        """The real data root, or a new one with a new miniature."""
        if self.real is not None:
            return self.real
        root = self._scratch / f"root{next(self._count)}"
        root.mkdir()
        assert self.miniature is not None
        self.miniature.write(root)
        return root

    def __call__(self, root: Path | None = None, options: Mapping[str, Any] | None = None) -> Dataset:
        """The dataset, opened."""
        options = self._options if options is None else options
        return self.cls(self.root() if root is None else root, self.cls.Options(**options))


Check = Callable[[Specimen], None]
"""``check(specimen)`` raises AssertionError with one sentence, or returns nothing."""


def folds_of(dataset: Dataset) -> range:
    """Every published fold, from 1."""
    return range(1, dataset.folds + 1)
