"""Where unpaired label maps come from, for methods whose critic learns what real shapes look like.

The bank is the dense maps of another dataset, or of labelled groups that are held out for it. Its maps are drawn by the
classes that they hold together (none, all, all but one ...) as often as the scribbled samples hold them; else a critic
would tell real from made by emptiness alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np

import datasets
from datasets.base import DataError, Dataset, Vault
from datasets.pool import Pool
from datasets.splits import Split
from datasets.store import Canonical, Store
from datasets.types import IGNORE

from .plan import HELD_OUT, Cell

SHARE = 0.1
"""Share of the labelled groups that gives dense labels instead of being trained on, where no other dataset is named."""
EXTRA = "uses extra dense labels"
"""How the note begins in the record of a cell that had groups held out; tables repeat it."""
SAME_SCAN = 0.99
"""Correlation from which two images of one size are the same scan, whatever was done to its brightness."""
_REPEATS = 16
"""How much longer than the bank the list of its maps may become by repeating them."""


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
    note = f"{EXTRA}: {len(held)} of {len(groups)} labelled groups lend shapes and are not trained on"
    left = tuple(group for group in groups if group not in held)
    return replace(split, labelled=kept, labelled_groups=left), keys, note


def pool_of(
    cell: Cell, dataset: Dataset, store: Store, split: Split, held: tuple[str, ...], data: Path, cache: Path | None
) -> tuple[Pool | None, str]:
    """Dense label maps of the held-out groups or of another dataset, and a sentence for the record; None = not wanted.

    Raises:
        DataError: the other dataset has other classes, holds scribbles instead of dense labels, lacks a class, or shows
            a scan that is tested or validates here.
    """
    if not cell.shapes:
        return None, ""
    if held:
        bank = store.pool(held, "dense")
    else:
        other, keys = _dense_cases_elsewhere(cell, dataset, split, data)
        assert cell.training.patch is not None
        grid = Canonical(cell.training.patch, cell.training.interpolation)
        bank = Store.open(other, keys, grid, cache=cache).pool(keys, "dense")
    return matched(bank, store.pool(split.labelled, cell.annotation), dataset.task.classes, cell.shapes)


def matched(bank: Pool, target: Pool, classes: Sequence[str], source: str) -> tuple[Pool, str]:
    """The bank with maps repeated or left out, so that classes occur together as often as in the target's annotations.

    Args:
        bank: densely labelled.
        target: annotated samples, scribbled or dense; a class that an annotator saw has a scribble.
        classes: class names, background first.
        source: what the bank is called, for the sentence and for errors.

    Returns:
        A pool of the bank's samples, and how it was made.

    Raises:
        DataError: a map of the bank has unlabelled pixels, no map holds one of the classes, or bank and target have no
            set of classes in common.
    """
    have, want = list(_class_sets(bank)), Counter(_class_sets(target))
    if any(IGNORE in found for found in have):
        raise DataError(f"shapes: {source} has unlabelled pixels; name a dataset whose every pixel has a class")
    absent = [name for k, name in enumerate(classes) if k and not any(k in found for found in have)]
    if absent:
        raise DataError(f"shapes: no map of {source} holds {', '.join(absent)}; name a dataset that has all classes")
    members = {kind: [i for i, found in enumerate(have) if found == kind] for kind in want}
    counts = {kind: n for kind, n in want.items() if members[kind]}
    if not counts:
        raise DataError(f"shapes: classes never occur together in {source} as in the scribbles; name another dataset")
    common = sum(counts.values())
    enough = min(max(len(members[kind]) * common / n for kind, n in counts.items()), _REPEATS * len(bank))
    drawn = [np.resize(members[kind], max(1, round(enough * n / common))) for kind, n in counts.items()]
    lost = 1 - common / sum(want.values())
    used = len({i for indices in drawn for i in indices.tolist()})
    note = f"unpaired masks: {used} maps of {source}, with the classes of the scribbled samples"
    return bank.pick(np.concatenate(drawn)), note + (f" ({lost:.1%} of these have no counterpart)" if lost else "")


def _class_sets(pool: Pool) -> Iterator[frozenset[int]]:
    """Per sample, the foreground classes that it holds; for dense labels, IGNORE too."""
    for i in range(len(pool)):
        values = pool.labels(np.array([i])).unique().tolist()
        yield frozenset(values) - ({0} if pool.annotation == "dense" else {0, IGNORE})


def _dense_cases_elsewhere(cell: Cell, dataset: Dataset, split: Split, data: Path) -> tuple[Dataset, list[str]]:
    """The dataset that ``cell.shapes`` names, and its cases with dense labels, none of them tested or validated on."""
    if cell.shapes == cell.dataset:
        raise DataError(
            f"shapes: {cell.shapes} is the dataset itself, test patients included; write {HELD_OUT!r} instead"
        )
    other = datasets.get(cell.shapes)(data)
    if other.task.classes != dataset.task.classes:
        raise DataError(
            f"shapes: {cell.shapes} has classes {other.task.classes}, {cell.dataset} has {dataset.task.classes}"
        )
    sealed = [Vault(dataset, (key,)).image(key) for key in (*split.val, *split.test)]
    keys = []
    for key in other.groups():
        case = other.load(key)
        if case.label is None:
            continue
        for mine in sealed:
            if mine.space == case.space and _correlation(mine.image, case.image) > SAME_SCAN:
                raise DataError(
                    f"shapes: case {key!r} of {cell.shapes} is the scan {mine.key!r}, which is tested or validated on; "
                    f"write {HELD_OUT!r} or name another dataset"
                )
        keys.append(key)
    if not keys:
        raise DataError(f"shapes: {cell.shapes} holds scribbles only; a bank of shapes needs dense label maps")
    return other, keys


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's, of two images of one size; 0 where one is constant."""
    if one.shape != other.shape or one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
