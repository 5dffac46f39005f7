"""Reads cases and keeps test labels sealed: the one way from a dataset to a label that scores are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import seal
from .seal import SealedLabel
from .types import Case

if TYPE_CHECKING:
    from .base import Dataset

KEPT_BYTES = 2**29
"""How much of decoded cases a vault keeps in memory: 512 MiB, some five times ACDC's test fold."""


class Vault:
    """Reads cases and keeps test labels sealed until the final evaluation opens them, once and on record."""

    def __init__(self, dataset: Dataset, sealed: Sequence[str]) -> None:
        self.dataset = dataset
        self.openings: list[str] = []
        self._owner, self._sealed = "", frozenset(sealed)
        self._open = False
        self._kept: dict[str, Case] = {}
        self._kept_bytes = 0

    def image(self, key: str) -> Case:
        """A case without its labels: always allowed."""
        return self._load(key).without_label()

    def case(self, key: str) -> Case:
        """A case with its labels.

        Raises:
            SealedLabel: ``key`` is a test case and the vault is closed.
            DataError: the case has no label to score against.
        """
        if key in self._sealed and not self._open:
            raise SealedLabel(
                f"{self._owner or self.dataset.name}: the label of test case {key!r} is sealed while training, "
                f"selecting or tuning on {self.dataset.name}; only the final evaluation may open it. Use validation "
                "cases instead."
            )
        case = self._load(key)
        if case.label is None:
            from .base import DataError  # which itself needs this module

            raise DataError(f"{self.dataset.name}: case {key!r} has no label to score against: add its label file")
        return case

    def _load(self, key: str) -> Case:
        """Decoded and checked once, kept while there is room: validation and every selection rule read it again."""
        if key in self._kept:
            return self._kept[key]
        with seal.permitted():
            case = self.dataset.check(self.dataset.load(key))
        size = sum(array.nbytes for array in (case.image, case.label, case.scribble) if array is not None)
        if self._kept_bytes + size <= KEPT_BYTES:
            self._kept[key] = case
            self._kept_bytes += size
        return case

    @contextmanager
    def watch(self, owner: str) -> Iterator[None]:
        """Until the block ends, whoever loads a test case past this vault gets an error that names ``owner``."""
        self._owner = owner
        with seal.watch(self.dataset.name, self._sealed, owner):
            yield

    @contextmanager
    def open(self, reason: str) -> Iterator[None]:
        """Break the seal for the duration of the final evaluation; ``reason`` goes into the record.

        Raises:
            SealedLabel: it was opened before: test labels are read once per cell.
        """
        if self.openings:
            raise SealedLabel(
                f"{self.dataset.name}: test labels were already opened for {self.openings[0]!r}; a cell opens them once"
            )
        self.openings.append(reason)
        self._open = True
        try:
            yield
        finally:
            self._open = False
