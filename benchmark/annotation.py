"""What the labels of a cell would have cost an annotator: pixels, strokes, images, minutes. It goes into the record."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

from datasets import scribbles
from datasets.base import Dataset
from datasets.cost import SOURCE, Cost, cost_of
from datasets.files import atomic_write
from datasets.splits import Split
from datasets.types import Annotation
from datasets.weak import VERSIONS, Weakened, planes, slicing_axis, strong

from .plan import Cell
from .shapes import without_held_out


def summary(cell: Cell, dataset: Dataset, split: Split, cache: Path) -> dict[str, Any]:
    """The labels that a cell uses, part by part, and in all.

    Validation labels count where validation is measured, whoever uses them; so do the dense labels of groups that only
    lend their shapes. Costs of cases are remembered in ``cache``.

    Returns:
        ``kind`` of the training labels ("dense", "scribble", or that of the recipe), the ``recipe`` or None, the parts
        ``labelled``, ``shapes`` and ``validation``, their sum ``total``, each as ``Cost.as_json`` says, and the
        ``source`` of the minutes.
    """
    kept, held, _ = without_held_out(cell, dataset, split)
    validation = split.val if cell.training.validations else ()
    parts = {
        "labelled": _cost(dataset, kept.labelled, cell.annotation, cache),
        "shapes": _cost(strong(dataset), held, "dense", cache),
        "validation": _cost(strong(dataset), validation, "dense", cache),
    }
    return {
        "kind": cell.weak.kind if cell.weak else cell.annotation,
        "recipe": cell.weak.canonical(dataset.task.ndim) if cell.weak else None,
        **{name: cost.as_json() for name, cost in parts.items()},
        "total": sum(parts.values(), Cost()).as_json(),
        "source": SOURCE,
    }


def _cost(dataset: Dataset, keys: Iterable[str], kind: Annotation, cache: Path) -> Cost:
    """The cost of some cases of one kind of annotation, from memory where they were counted before."""
    memo = cache / f"cost{VERSIONS[dataset.task.ndim]}-{dataset.name}-{dataset.fingerprint()}-{kind}.json"
    try:
        known = {key: Cost(*numbers) for key, numbers in json.loads(memo.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):  # absent, or damaged: counted again
        known = {}
    fresh = {key: case_cost(dataset, key, kind) for key in keys if key not in known}
    if fresh:
        with suppress(OSError):  # a full disk: counted again the next time, for by now the cell is trained and tested
            cache.mkdir(parents=True, exist_ok=True)
            atomic_write(memo, json.dumps({key: astuple(cost) for key, cost in (known | fresh).items()}).encode())
    return sum(((known | fresh)[key] for key in keys), Cost())


def case_cost(dataset: Dataset, key: str, kind: Annotation) -> Cost:
    """The cost of one case's dense labels or scribbles; nothing for what it does not carry.

    Simulated labels are counted as they are drawn; of drawn scribbles each connected mark is one stroke.
    """
    if isinstance(dataset, Weakened) and kind == "scribble":
        return dataset.simulate(dataset.dense.load(key))[1]
    case = dataset.load(key)
    labels = case.label if kind == "dense" else case.scribble
    if labels is None:
        return Cost()
    slices = planes(labels, slicing_axis(case, dataset.task))
    if kind == "dense":
        return sum((cost_of(*scribbles.outlines(plane), "outline") for plane in slices), Cost())
    return sum((cost_of(*scribbles.drawn(plane), "scribble") for plane in slices), Cost())
