"""Pools of the procedural dataset, and feeds of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets.feed import Feed
from datasets.store import Canonical, Store

from .toy_data import toy


def stream(*names: object) -> int:
    """Any pure function of the names will do; this one gives unrelated numbers."""
    return int.from_bytes(np.random.default_rng(list("/".join(map(str, names)).encode())).bytes(7))


def pools(
    ndim: int = 2,
    labelled: int = 2,
    patch: tuple[int, ...] | None = None,
    interpolation: str = "linear",
    **options: Any,
) -> tuple[Any, Any]:
    """Labelled (the first ``labelled`` cases) and unlabelled pools of the toy data."""
    dataset = toy(ndim=ndim, **options)
    keys = list(dataset.groups())
    store = Store.open(dataset, keys, Canonical(patch or dataset.task.patch, interpolation), cache=None)
    return store.pool(keys[:labelled], "dense"), store.pool(keys[labelled:] or keys, None)


def feed(labelled: Any, unlabelled: Any = None, **changes: Any) -> Feed:
    given = {
        "labelled_batch": 4,
        "unlabelled_batch": 4,
        "patch": labelled.patch,
        "augment": "dihedral",
        "stream": stream,
    }
    return Feed(labelled, unlabelled, **{**given, **changes})
