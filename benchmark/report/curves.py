"""Label curves: Dice and HD95 against the amount of labels, in one panel or in one per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import scales, style
from .points import MOST, SCALES, numbers
from .remarks import seed_marks
from .style import Look, Picture, named

MOST_LINES = 8
"""Rows that one panel can tell apart; more get a panel each."""

ACROSS = 5
"""Panels side by side where every row has its own."""

LEAST_GAP = 0.1
"""Least distance of two labelled ticks, as a share of the axis; others keep their tick and lose their text."""


OTHERS = "#cfcfcf"


def label_curves(
    dataset: str, of: pd.DataFrame, rows: Sequence[str], looks: dict[str, Look], names: dict[str, str]
) -> Iterator[Picture]:
    """Both metrics in one figure, or, where rows are many, a figure of small panels for each.

    Args:
        dataset: what it is of.
        of: its rows of `summary.entries`, with a number each.
        rows: labels in their order.
        looks: of each label.
        names: of the two metrics, for an axis.
    """
    drawn = [label for label in rows if ((of["label"] == label) & (of["role"] != "upper")).any()]
    if len(drawn) <= MOST_LINES:
        yield _together(dataset, of, drawn, looks, names)
        return
    for metric, name in names.items():
        yield _apart(dataset, of, drawn, looks, metric, name)


def _together(
    dataset: str, of: pd.DataFrame, rows: Sequence[str], looks: dict[str, Look], names: dict[str, str]
) -> Picture:
    figure = style.canvas(style.PAGE, 2.25)
    marks = seed_marks(of)
    for axes, (metric, name) in zip(figure.subplots(1, 2), names.items(), strict=True):
        upper_bound(axes, of, metric, next((mark for (role, _), mark in marks.items() if role == "upper"), ""))
        for label in rows:
            line = _line(of, label)
            text = named(label, looks[label], marks[line["role"].iloc[0], label])
            _drawn(axes, line, metric, looks[label], label=text)
        _level_axis(axes, _levels(of))
        axes.set_ylabel(name)
        axes.grid(axis="y")
        scales.log_if_wide(axes, SCALES[metric] * of[f"{metric}_mean"])
    style.legend(figure, style.handles(figure), 2.4)
    style.headed(figure, dataset)
    return Picture(
        f"curves_{style.slug(dataset)}",
        f"Label efficiency on {dataset}",
        f"Dice and HD95 on {dataset} against the amount of labels. " + numbers(of, rows),
        "Lines: means over seeds. Bands: ± one standard deviation over seeds. The dashed black line is the upper "
        "bound.",
        figure,
        (dataset,),
    )


def _apart(
    dataset: str, of: pd.DataFrame, rows: Sequence[str], looks: dict[str, Look], metric: str, name: str
) -> Picture:
    """A panel per row, with all others in grey and the lower bounds dashed: lines that coincide can be told apart."""
    down = -(-len(rows) // ACROSS)
    figure = style.canvas(style.PAGE, 0.6 + 1.2 * down)
    grid = figure.subplots(down, ACROSS, sharex=True, sharey=True, squeeze=False).ravel()
    marks, lower = seed_marks(of), set(of.loc[of["role"] == "lower", "label"])
    lines = {label: _line(of, label) for label in rows}
    texts = style.shortened([f"{label}{marks[lines[label]['role'].iloc[0], label]}" for label in rows], 60)
    for axes, label, text in zip(grid, rows, texts, strict=False):
        upper_bound(axes, of, metric)
        for other in rows:
            mean = SCALES[metric] * lines[other][f"{metric}_mean"]
            if other in lower and other != label:
                axes.plot(lines[other]["level"], mean, color=style.LOWER.colour, linestyle=style.LOWER.dashes,
                          linewidth=0.9, label=named(other, style.LOWER))  # fmt: skip
            elif other != label:
                axes.plot(lines[other]["level"], mean, color=OTHERS, linewidth=0.5, zorder=1, label="the other rows")
        _drawn(axes, lines[label], metric, looks[label], zorder=3)
        style.titled(axes, text, 1.35, 6.5)
        axes.grid(axis="y")
    for axes in grid[len(rows) :]:
        axes.set_axis_off()
    means = SCALES[metric] * of[f"{metric}_mean"]
    margin = 0.08 * max(means.max() - means.min(), 1e-6)
    grid[0].set_ylim(means.min() - margin, means.max() + margin)  # a band may leave the panel, so that lines fill it
    scales.log_if_wide(grid[0], means)
    for place, axes in enumerate(grid[: len(rows)]):
        _level_axis(axes, _levels(of))
        below = place + ACROSS >= len(rows)
        axes.tick_params(labelbottom=below)
        axes.set_xlabel(axes.get_xlabel().replace("Share of training patients labelled", "Labelled") if below else "")
    figure.supylabel(name, fontsize=7.5)
    style.legend(figure, style.handles(figure), 0.5 + 1.2 * down)
    style.headed(figure, dataset)
    return Picture(
        f"curves_{style.slug(dataset)}" if metric == "dice" else f"curves_{metric}_{style.slug(dataset)}",
        f"Label efficiency on {dataset}" + ("" if metric == "dice" else ", HD95"),
        f"{name} on {dataset} against the amount of labels, a panel per row."
        + f" {numbers(of, rows)}" * (metric == "dice"),
        "A panel per row, in the order of the tables: its means over seeds and, as far as it is inside, a band of ± "
        "one standard deviation. Grey: all other rows; dashed grey: lower bounds; dashed black: upper bound.",
        figure,
        (dataset,),
    )


def _drawn(axes: Any, line: pd.DataFrame, metric: str, look: Look, **more: Any) -> None:
    x, mean = line["level"].to_numpy(), SCALES[metric] * line[f"{metric}_mean"].to_numpy()
    below, above = style.within(mean, SCALES[metric] * line[f"{metric}_sd"].to_numpy(), MOST[metric])
    axes.fill_between(x, mean - below, mean + above, color=look.colour, alpha=0.13, linewidth=0)
    axes.plot(x, mean, **look.line(), **more)


def _line(of: pd.DataFrame, label: str) -> pd.DataFrame:
    return of[(of["label"] == label) & (of["role"] != "upper")].sort_values("level")


def _levels(of: pd.DataFrame) -> pd.DataFrame:
    return of[of["role"] != "upper"].drop_duplicates("level").sort_values("level")


def upper_bound(axes: Any, of: pd.DataFrame, metric: str, mark: str = "") -> None:
    """A dashed black line, and a band of one standard deviation each way."""
    scale = SCALES[metric]
    for upper in of[of["role"] == "upper"].itertuples():
        mean, spread = scale * getattr(upper, f"{metric}_mean"), scale * getattr(upper, f"{metric}_sd")
        (below,), (above,) = style.within(mean, spread, MOST[metric])
        axes.axhspan(mean - below, mean + above, color=style.UPPER.colour, alpha=0.07, linewidth=0)
        axes.axhline(
            mean, color=style.UPPER.colour, linestyle=style.UPPER.dashes, linewidth=1,
            label=named(upper.label, style.UPPER, mark),
        )  # fmt: skip


def _level_axis(axes: Any, levels: pd.DataFrame) -> None:
    axes.set_xscale("log")
    logs = np.log(levels["level"].to_numpy())
    labels, last = [], np.inf
    for place, amount in zip(logs[::-1], levels["amount"].iloc[::-1], strict=True):
        room = last - place >= LEAST_GAP * (logs[-1] - logs[0])
        labels.append(amount if room else "")
        last = place if room else last
    axes.set_xticks(levels["level"], labels[::-1])
    axes.minorticks_off()
    axes.set_xlabel("Share of training cases labelled" if levels["is_share"].all() else "Labelled")
    axes.margins(x=0.08)
