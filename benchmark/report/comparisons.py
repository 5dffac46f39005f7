"""Methods side by side on the same test slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from . import style
from .frame import Results
from .overlays import (
    Example,
    Examples,
    Unreadable,
    case_name,
    put_side,
    put_tile,
    put_title,
    read_examples,
    tile_grid,
    window_around,
)
from .style import Picture

MOST_TILES = 8
"""Tiles side by side; further methods go into a second band."""

LEFT_OUT = (
    "Slices of test images are left out, so that this report may be shared where the images may not be. Where the "
    "records still have their examples.npz, python -m benchmark report {plan} --examples draws them; where they have "
    "not, the cells have to be run again."
)
"""What a page without examples says; the same whether or not the records have them."""


def comparison(results: Results, dataset: str, of: pd.DataFrame, amount: str, rows: Sequence[str]) -> Iterator[Picture]:
    """The same slices under every method of a dataset at one amount; nothing where no cell has examples.

    The cases are the best, the median and the worst of one method that all others are measured by: the lower bound,
    or where there is none the first row. Of each method the first seed with examples is shown; rows without any are
    named, and so are damaged files.
    """
    wanted = of[(of["role"] == "upper") | (of["amount"] == amount)]
    place = {label: number for number, label in enumerate(rows)}
    wanted = wanted.sort_values("label", key=lambda labels: labels.map(place).fillna(-1), kind="stable")
    found, damaged = _read(results, wanted)
    left_out = _left_out(wanted, found, damaged)
    if not found:
        yield from _nothing_to_show(dataset, left_out.strip()) if damaged else ()
        return
    lower = [label for label in wanted.loc[wanted["role"] == "lower", "label"] if label in found]
    measure = (lower or [label for label in rows if label in found] or list(found))[0]
    cases = found[measure].shown
    rule = (
        f"Best, median and worst test case of {measure} by mean Dice of the whole case; they need not be those of "
        "another method"
        if all(example.rank for example in cases)
        else "First, middle and last test case, as an earlier version kept them"
    )
    yield Picture(
        f"examples_{style.slug(dataset)}",
        f"Examples of {dataset}",
        f"Test slices of {dataset} with reference and predictions; rows: {', '.join(map(case_name, cases))}.",
        f"{rule}. At {amount}, first finished seed with examples of every method, the slice with most foreground. "
        f"Filled: prediction; white line: reference; number: Dice (%) of the slice, averaged over its "
        f"classes.{left_out}",
        _drawn(cases, found, found[measure].classes),
        (dataset,),
        ("weights",),
    )


def _read(results: Results, wanted: pd.DataFrame) -> tuple[dict[str, Examples], list[str]]:
    """The examples of each label's first seed that has any, and the cells whose examples are damaged."""
    found: dict[str, Examples] = {}
    damaged: list[str] = []
    for entry in wanted.itertuples():
        for name in entry.ids:
            path = results.folders.get(name, Path("/nonexistent")) / "examples.npz"
            if path.is_file():
                try:
                    found[entry.label] = read_examples(path)
                except Unreadable:
                    damaged.append(name)
                    continue
                break
    return found, damaged


def _left_out(wanted: pd.DataFrame, found: dict[str, Examples], damaged: Sequence[str]) -> str:
    """Which rows of the tables the figure lacks, and why."""
    without = [label for label in wanted["label"] if label not in found]
    told = f" No examples.npz lies beside the records of: {', '.join(without)}." if without else ""
    if damaged:
        told += (
            f" Left out: examples.npz of {', '.join(damaged)}, which cannot be read; no number depends on it. Delete "
            "the folder of such a cell and run the plan again to have it anew."
        )
    return told


def _drawn(cases: Sequence[Example], found: dict[str, Examples], classes: Sequence[str]) -> object:
    """The figure: bands of tiles, a row per case in each."""
    labels = list(found)
    bands = [labels[i : i + MOST_TILES - 2] for i in range(0, len(labels), MOST_TILES - 2)]
    figure, grid = tile_grid(len(cases) * len(bands), ["Image", "Reference", *bands[0]], classes)
    for band, members in enumerate(bands):
        for i, example in enumerate(cases):
            axes = grid[band * len(cases) + i]
            same = {label: _prediction(found[label], example) for label in labels}
            window = window_around(example, [prediction for prediction in same.values() if prediction is not None])
            put_tile(axes[0], example, None, window)
            put_tile(axes[1], example, example.label, window)
            put_side(axes[0], case_name(example))
            for tile, label in zip(axes[2:], members, strict=False):
                shown = same[label]
                if shown is not None:
                    put_tile(tile, replace(example, prediction=shown), shown, window, reference=True)
                if i == 0:
                    put_title(tile, label)
    return figure


def _nothing_to_show(dataset: str, why: str) -> Iterator[Picture]:
    figure, title = style.canvas(style.PAGE, 0.4), f"Examples of {dataset}"
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, "no examples that can be read", ha="center", va="center", transform=axes.transAxes)
    yield Picture(f"examples_{style.slug(dataset)}", title, f"No test slice of {dataset} can be shown.", why, figure,
                  says=())  # fmt: skip


def _prediction(examples: Examples, wanted: Example) -> np.ndarray | None:
    """What a cell predicted for the same slice; None where it kept other cases."""
    found = examples.predictions.get(wanted.name)
    return found if found is not None and found.shape == wanted.label.shape else None
