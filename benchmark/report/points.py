"""Figures with a row per method: its seeds, and its patients."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
import pandas as pd

from . import scales, style
from .frame import Results
from .remarks import seed_marks
from .style import Look, Picture
from .summary import HEADLINE

MOST_AMOUNTS = 4
"""Panels side by side; of more amounts the smallest, the largest and evenly chosen ones between are drawn."""

SCALES = {"dice": 100.0, "hd95": 1.0}
"""Factors from records to figures, by metric."""

MOST = {"dice": 100.0, "hd95": inf}
"""What no value of a metric exceeds, in a figure."""

MOST_LETTERS = 42
"""Of a row's name beside a panel."""

MOST_DOTS = 5000
"""Of one panel that a PDF still draws one by one."""


def dots(
    dataset: str, of: pd.DataFrame, seeds: pd.DataFrame, rows: Sequence[str], looks: dict[str, Look], names: dict
) -> Picture:
    """Where there is one amount only: a row per method, its seeds and their mean."""
    lines = _lines(of, rows)
    figure = style.canvas(style.PAGE, 0.9 + 0.22 * len(lines))
    for axes, (metric, name) in zip(figure.subplots(1, 2, sharey=True), names.items(), strict=True):
        for place, label in enumerate(lines):
            look = looks.get(label, style.UPPER)
            entry = of[of["label"] == label].iloc[0]
            points = seeds[seeds["label"] == label][metric] * SCALES[metric]
            axes.plot(points, np.full(len(points), place), "o", color=look.colour, alpha=0.35, markersize=3, mew=0)
            mean = SCALES[metric] * entry[f"{metric}_mean"]
            axes.errorbar(
                mean, place, xerr=style.within(mean, SCALES[metric] * entry[f"{metric}_sd"], MOST[metric]),
                elinewidth=1, capsize=2, **look.dot(),
            )  # fmt: skip
        axes.set_xlabel(name)
        axes.grid(axis="x")
    _name_rows(figure.axes[0], of, lines)
    figure.axes[0].invert_yaxis()
    amount = of.loc[of["role"] != "upper", "amount"]
    style.headed(figure, f"{dataset}, {(amount if len(amount) else of['amount']).iloc[0]}")
    return Picture(
        f"methods_{style.slug(dataset)}",
        f"Methods on {dataset}",
        f"Dice and HD95 of every method on {dataset}. " + numbers(of, rows),
        "Large marks: mean over seeds ± one standard deviation, cut where a metric ends; small dots: seeds.",
        figure,
        (dataset,),
    )


def patients(
    dataset: str, of: pd.DataFrame, values: pd.DataFrame, levels: Sequence[str], rows: Sequence[str],
    looks: dict[str, Look], names: dict,
) -> Picture:  # fmt: skip
    """A panel per metric and amount, in each a row per method: its test patients as dots, with a box."""
    chosen = [levels[i] for i in np.unique(np.linspace(0, len(levels) - 1, MOST_AMOUNTS).round().astype(int))]
    lines = _lines(of, rows)
    figure = style.canvas(style.PAGE, 2 * (0.62 + 0.19 * len(lines)))
    grid = figure.subplots(2, len(chosen), sharey=True, sharex="row", squeeze=False)
    for panels, (metric, name) in zip(grid, names.items(), strict=True):
        for axes, amount in zip(panels, chosen, strict=True):
            shown = values[(values["amount"] == amount) | (values["role"] == "upper")].dropna(subset=metric)
            groups = {
                label: SCALES[metric] * np.sort(mine.to_numpy()) for label, mine in shown.groupby("label")[metric]
            }
            known_lines = [(place, label) for place, label in enumerate(lines) if label in groups]
            if known_lines:
                colours = [looks.get(label, style.UPPER).colour for _, label in known_lines]
                _boxes(axes, [place for place, _ in known_lines], [groups[label] for _, label in known_lines], colours)
            style.titled(axes, amount, 5 / len(chosen))
            axes.set_xlabel(name)
            axes.grid(axis="x")
        scales.log_if_wide(panels[0], SCALES[metric] * values[metric], axis="x")
    for panels in grid:
        _name_rows(panels[0], of, lines)
    grid[0, 0].set_ylim(len(lines) - 0.4, -0.6)
    style.headed(figure, dataset)
    return Picture(
        f"patients_{style.slug(dataset)}",
        f"Patients of {dataset}",
        f"Distribution of Dice and HD95 over the test patients of {dataset}, for {', '.join(lines)}.",
        "Dots: one per seed and test patient; boxes over all of them: quartiles and median; whiskers: 1.5 "
        "interquartile ranges at most; white diamond: mean. Black: upper bound; grey: lower bounds.",
        figure,
        (dataset,),
    )


def _lines(of: pd.DataFrame, rows: Sequence[str]) -> list[str]:
    return [*of.loc[of["role"] == "upper", "label"], *(label for label in rows if label in set(of["label"]))]


def _name_rows(axes: Any, of: pd.DataFrame, lines: Sequence[str]) -> None:
    """Labels of the rows, with the seeds of those that have fewer than planned."""
    marks: dict[str, str] = {}
    for (_, label), mark in seed_marks(of).items():
        marks[label] = marks.get(label, "") + mark
    axes.set_yticks(range(len(lines)), style.shortened([f"{label}{marks[label]}" for label in lines], MOST_LETTERS))


def _boxes(axes: Any, places: Sequence[int], points: Sequence[np.ndarray], colours: Sequence[str]) -> None:
    """Horizontal boxes with every point and the mean. Drawn by kind, since a call per box takes half of a report."""
    q1, middle, q3 = np.array([np.percentile(values, (25, 50, 75)) for values in points]).T
    reach = 1.5 * (q3 - q1)
    low = [values[values >= start].min() for values, start in zip(points, q1 - reach, strict=True)]
    high = [values[values <= end].max() for values, end in zip(points, q3 + reach, strict=True)]
    at = np.array(places)
    axes.hlines(at, low, high, colors=colours, linewidths=0.8, zorder=0.9)
    axes.barh(at, q3 - q1, left=q1, height=0.55, color="white")
    axes.barh(at, q3 - q1, left=q1, height=0.55, color=colours, alpha=0.25)
    axes.vlines(middle, at - 0.275, at + 0.275, colors=colours, linewidths=1.4)
    # neighbours in value get places far apart: fractional parts of multiples of the golden ratio
    spread = [place + (np.arange(1, len(values) + 1) * 0.6180339887 % 1 - 0.5) * 0.42 for place, values in
              zip(places, points, strict=True)]  # fmt: skip
    each = np.repeat(colours, [len(values) for values in points])
    axes.scatter(np.concatenate(points), np.concatenate(spread), s=3.2, c=each, alpha=0.5, linewidths=0, zorder=2.5,
                 rasterized=len(each) > MOST_DOTS)  # fmt: skip
    means = [values.mean() for values in points]
    axes.scatter(means, at, s=9, marker="D", facecolors="white", edgecolors=colours, linewidths=0.9, zorder=3)


def patient_dots(results: Results, patients: pd.DataFrame, of: pd.DataFrame) -> pd.DataFrame:
    """One row per entry, complete seed and patient."""
    cells = results.cells[["role", "label", "dataset", "amount", "seed"]]
    values = patients[patients["selection"] == HEADLINE].join(cells, on="cell")
    used = {(entry.role, entry.label, entry.amount): set(entry.seeds) for entry in of.itertuples()}
    values = values[values["dataset"] == of["dataset"].iloc[0]]
    kept = [
        seed in used.get((role, label, amount), ())
        for role, label, amount, seed in zip(*(values[k] for k in ("role", "label", "amount", "seed")), strict=True)
    ]
    return values[kept][["role", "label", "amount", "seed", "group", "dice", "hd95"]]


def numbers(of: pd.DataFrame, rows: Sequence[str]) -> str:
    """The means as a sentence, for those who cannot see the figure."""
    place = {label: number for number, label in enumerate(rows)}
    ordered = sorted(of.itertuples(), key=lambda entry: (entry.level, place.get(entry.label, -1)))
    return "Mean Dice (%): " + "; ".join(f"{e.label} at {e.amount} {100 * e.dice_mean:.1f}" for e in ordered) + "."
