"""Figures with one small panel per dataset, such as how validation went."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import style
from .frame import Results
from .remarks import seed_marks
from .style import Look, Picture, named
from .summary import complete

MOST_BELOW, MOST_LETTERS = 8, 52
"""Rows of a legend, and letters of one, that fit below a panel as wide as one column."""


def validation(
    results: Results, table: pd.DataFrame, columns: Sequence[tuple[str, str]], rows: Sequence[str],
    looks: dict[str, Look],
) -> Iterator[Picture]:  # fmt: skip
    """Validation Dice against the step, where it was measured more than once."""
    smallest = smallest_amounts(columns)
    drawn: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    lower = set(table.loc[table["role"] == "lower", "label"])
    marks = seed_marks(_at(table, smallest))
    whole = set(results.cells["id"][complete(results)])
    for (dataset, amount), of in table[table["role"] != "upper"].groupby(["dataset", "amount"], sort=False):
        if smallest.get(dataset) == amount:
            drawn[dataset, amount] = {entry.label: _mean_curve(results, entry.ids, whole) for entry in of.itertuples()}
    if not any(len(curve) > 1 for curves in drawn.values() for curve in curves.values()):
        return

    def draw(axes: Any, dataset: str, amount: str) -> None:
        for label in rows:
            curve = drawn[dataset, amount].get(label, np.empty((0, 2)))
            if len(curve):
                look = looks[label]
                text = named(label, look, marks.get(("lower" if label in lower else "method", label), ""))
                axes.plot(curve[:, 0], 100 * curve[:, 1], label=text, **look.line())
        axes.set_xlabel("Step")
        axes.set_ylabel("Validation Dice (%)")
        axes.grid(axis="y")

    yield Picture(
        "validation",
        "Validation while training",
        "Validation Dice against the training step, at the smallest amount of labels.",
        "Mean over finished seeds, at the smallest amount of labels of each dataset.",
        small_multiples({name: amount for name, amount in smallest.items() if (name, amount) in drawn}, draw),
        says=("seeds",),
    )


def small_multiples(panels: dict[str, str], draw: Callable[[Any, str, str], None]) -> Any:
    """One panel per dataset, three in a row, and one legend for all.

    Args:
        panels: what is written behind the name of each dataset, such as an amount of labels; "" is nothing.
        draw: draws into the axes of a dataset, with that text.
    """
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = style.canvas(style.COLUMN if across == 1 else style.PAGE, 0.5 + 2.2 * down)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes, (dataset, amount) in zip(grid, panels.items(), strict=False):
        draw(axes, dataset, amount)
        style.titled(axes, f"{dataset}, {amount}" if amount else dataset, figure.get_figwidth() / across)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    found = style.handles(figure)
    if len(found) > MOST_BELOW or max(map(len, found), default=0) > MOST_LETTERS:
        figure.set_figwidth(style.PAGE)  # one column would be mostly legend
    style.legend(figure, found, 0.25 + 2.2 * down)
    return figure


def _mean_curve(results: Results, ids: Sequence[str], whole: Collection[str]) -> np.ndarray:
    """(steps, 2): mean validation Dice over the cells in ``whole``, at the steps that all of them measured."""
    curves = [
        {point["step"]: point["dice"] for point in results.records[name].validation} for name in ids if name in whole
    ]
    steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    return np.array([(step, np.mean([curve[step] for curve in curves])) for step in steps]).reshape(-1, 2)


def _at(table: pd.DataFrame, smallest: dict[str, str]) -> pd.DataFrame:
    """Methods and lower bounds at the smallest amount of their dataset."""
    return table[(table["role"] != "upper") & (table["amount"] == table["dataset"].map(smallest))]


def smallest_amounts(columns: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The smallest amount of every dataset, in the order of the columns."""
    found: dict[str, str] = {}
    for dataset, amount in columns:
        found.setdefault(dataset, amount)
    return found
