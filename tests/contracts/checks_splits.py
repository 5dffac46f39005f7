"""Checks of who is labelled, who tests, what is sealed, and what reaches the training side."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from datasets.base import Dataset, SealedLabel, Vault
from datasets.splits import Split, make_split
from datasets.store import Canonical, Store
from datasets.types import IGNORE

from .specimen import Specimen, folds_of

RATIOS = (0.05, 0.1, 0.2, 0.5, 1.0)


def check_split(make: Specimen) -> None:
    """Disjoint by group; validation and test fixed; labelled sets nested in the ratio, met within one group."""
    dataset = make()
    groups = dataset.groups()
    for fold in folds_of(dataset):
        part = dataset.partition(fold)
        fixed = None
        for seed in (0, 1):
            smaller: set[str] = set()
            for ratio in RATIOS:
                split = make_split(groups, part, ratio=ratio, seed=seed)
                where = f"{make.name}: fold {fold}, seed {seed}, ratio {ratio}"
                _disjoint(split, groups, where)
                assert fixed in (None, (split.val, split.test)), f"{where}: validation or test cases moved"
                fixed = (split.val, split.test)
                assert smaller <= set(split.labelled), f"{where}: the labelled cases of a smaller ratio are not in it"
                smaller = set(split.labelled)
                step = 1 / len(split.train_groups)
                assert abs(split.ratio - ratio) < step, f"{where}: realised ratio is {split.ratio:.3f}"
            assert not split.unlabelled, f"{make.name}: at ratio 1 nothing is unlabelled"
        first = make_split(groups, part, count=1, seed=0, subset="first", order=dataset.published_order())
        listed = [group for group in dataset.published_order() if group in first.train_groups]
        assert first.labelled_groups == (listed[0],), f'{make.name}: "first" is not the first of the published list'


def check_growth(make: Specimen) -> None:
    """A case more leaves the order in which the old training cases get labels as it was."""
    root = make.root()
    before = make(root)
    orders, cases = [_order_of_labels(before)], len(before.groups())
    assert make.miniature is not None
    after = make(root, make.miniature.grow(root))
    orders.append(_order_of_labels(after))
    assert len(after.groups()) == cases + 1, f"{make.name}: grow() must add one case"
    common = set(orders[0]) & set(orders[1])
    old, new = ([key for key in order if key in common] for order in orders)
    assert old == new, f"{make.name}: one more case changed who is labelled first: {old} became {new}"


def check_seal(make: Specimen) -> None:
    """Test labels stay shut until the final evaluation opens them; a sealed case has no label at all."""
    dataset = make()
    test = [key for key, group in dataset.groups().items() if group in dataset.partition(1).test]
    vault = Vault(dataset, test)
    case = vault.image(test[0])
    assert case.label is None and case.scribble is None, f"{make.name}: a test image came with its label"  # noqa: PT018
    with pytest.raises(SealedLabel, match=test[0]):
        vault.case(test[0])


def check_store(make: Specimen) -> None:
    """Training samples come out of the store for every kind of annotation: all slices, values kept."""
    dataset = make()
    split = make_split(dataset.groups(), dataset.partition(1), ratio=1.0, seed=0)
    keys = split.labelled[:4]
    store = Store.open(dataset, keys, Canonical(dataset.task.patch), cache=None)
    cases = [dataset.load(key) for key in keys]
    sliced = len(cases[0].space) == dataset.task.ndim + 1
    for kind in dataset.task.annotations:
        pool = store.pool(keys, kind)
        wanted = sum(case.space[0] if sliced else 1 for case in cases)
        assert len(pool) + pool.skipped == wanted, f"{make.name}: {len(pool)} of {wanted} samples with {kind} labels"
        values = set(pool.labels(np.arange(len(pool)), _starts(pool)).unique().tolist())
        allowed = {*range(dataset.task.n_classes), IGNORE}
        assert values <= allowed, f"{make.name}: {kind} samples hold label values {sorted(values - allowed)}"


def _disjoint(split: Split, groups: Mapping[str, str], where: str) -> None:
    parts = {name: getattr(split, name) for name in ("labelled", "unlabelled", "val", "test")}
    for name in ("labelled", "val", "test"):
        assert parts[name], f"{where}: no {name} case"
    for (a, one), (b, other) in itertools.combinations(parts.items(), 2):
        both = {groups[key] for key in one} & {groups[key] for key in other}
        assert not both, f"{where}: groups {sorted(both)[:3]} are in {a} and in {b}"
    assert sum(map(len, parts.values())) == len(groups), f"{where}: the four parts are not all cases"


def _order_of_labels(dataset: Dataset) -> list[str]:
    """Training cases in the order in which they become labelled as the count grows (no validation set carved)."""
    part = dataset.partition(1)
    order: list[str] = []
    for count in range(1, len(part.train) + 1):
        split = make_split(dataset.groups(), part, count=count, seed=3, val_share=0.0)
        order += [key for key in split.labelled if key not in order]
    return order


def _starts(pool: Any) -> np.ndarray | None:
    """Corners of crops: none in the plane, where samples have one size."""
    return None if len(pool.patch) == 2 else np.zeros((len(pool), len(pool.patch)), int)
