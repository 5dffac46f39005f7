"""Where unpaired label maps come from, for methods whose critic learns what real shapes look like."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path

import datasets
from datasets.base import DataError, Dataset
from datasets.splits import Split
from datasets.store import Canonical, Pool, Store

from .plan import HELD_OUT, Cell

SHARE = 0.1
"""Share of the labelled groups that gives dense labels instead of being trained on, where no other dataset is named."""


def without_held_out(cell: Cell, dataset: Dataset, split: Split) -> tuple[Split, tuple[str, ...], str]:
    """The split less the groups that only lend their shapes; the keys of those; and a sentence for the record.

    Raises:
        DataError: too few labelled groups to hold one out, or they carry no dense labels.
    """
    if cell.shapes != HELD_OUT:
        return split, (), ""
    groups = split.labelled_groups
    if len(groups) < 2:
        raise DataError(
            f"{cell.method}: needs 2 labelled groups or more to hold one out for its shapes, got {len(groups)}"
        )
    if "dense" not in dataset.task.annotations:
        raise DataError(
            f"{cell.method}: {cell.dataset} has no dense training labels; name another dataset under shapes"
        )
    held = set(groups[:: ceil(1 / SHARE)]) if len(groups) >= 1 / SHARE else {groups[0]}
    owner = dataset.groups()
    keys = tuple(key for key in split.labelled if owner[key] in held)
    kept = tuple(key for key in split.labelled if owner[key] not in held)
    note = f"uses extra dense labels: {len(held)} of {len(groups)} labelled groups lend shapes and are not trained on"
    left = tuple(group for group in groups if group not in held)
    return replace(split, labelled=kept, labelled_groups=left), keys, note


def pool_of(
    cell: Cell, dataset: Dataset, store: Store, held: tuple[str, ...], data: Path, cache: Path | None
) -> Pool | None:
    """Dense label maps of the held-out groups, or of all labelled cases of another dataset; None if not wanted.

    Raises:
        DataError: the other dataset has other classes, or holds scribbles instead of dense labels.
    """
    if not cell.shapes:
        return None
    if held:
        return store.pool(held, "dense")
    if cell.shapes == cell.dataset:
        raise DataError(
            f"shapes: {cell.shapes} is the dataset itself, test patients included; write {HELD_OUT!r} instead"
        )
    other = datasets.get(cell.shapes)(data)
    if other.task.classes != dataset.task.classes:
        raise DataError(
            f"shapes: {cell.shapes} has classes {other.task.classes}, {cell.dataset} has {dataset.task.classes}"
        )
    keys = [key for key in other.groups() if other.load(key).label is not None]
    if not keys:
        raise DataError(f"shapes: {cell.shapes} holds scribbles only; a bank of shapes needs dense label maps")
    assert cell.training.patch is not None
    bank = Store.open(other, keys, Canonical(cell.training.patch, cell.training.interpolation), cache=cache)
    return bank.pool(keys, "dense")
