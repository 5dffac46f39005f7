"""Figures of a report: label-efficiency curves, patients, cost, validation. Drawn with matplotlib's objects only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import style
from .comparisons import comparison
from .costs import pareto
from .economics import Curve
from .frame import Results
from .minutes import against_minutes
from .multiples import validation
from .overlays import overlay_png
from .points import SCALES, dots, numbers, patient_means
from .points import patients as patients_figure
from .sizes import by_size
from .style import Look, Picture, known, named
from .summary import amounts, order, seed_values

__all__ = ["Picture", "overlay_png", "pictures"]

MOST_BANDS = 8
"""Methods in one figure of curves that still get a band each."""

LEAST_GAP = 0.1
"""Least distance of two labelled ticks, as a share of the axis; others keep their tick and lose their text."""

SPREAD = 0.7
"""Width that the methods of one column take, as a share of it."""


def pictures(
    results: Results,
    entries: pd.DataFrame,
    patients: pd.DataFrame,
    *,
    rule: str,
    fronts: Mapping[tuple[str, ...], tuple[bool, float]],
    curves: Sequence[Curve],
    examples: bool = True,
) -> Iterator[Picture]:
    """Every figure that the records allow, one at a time; to be used within `style.settings`.

    Args:
        results: the records.
        entries: `summary.entries`.
        patients: `summary.patient_values`.
        rule: what failures count for.
        fronts: `costs.on_front`.
        curves: `economics.curves`.
        examples: whether slices of test images are drawn.
    """
    table = entries[entries["n"] > 0]
    if table.empty:
        return
    rows = order(table)
    lower = set(table.loc[table["role"] == "lower", "label"])
    looks = style.looks(rows, [label for label in rows if label in lower])
    units = {dataset: "/".join(sorted(set(of["unit"]) - {""})) for dataset, of in table.groupby("dataset")}
    columns, seeds = amounts(table), seed_values(results, patients)
    for dataset in dict.fromkeys(table["dataset"]):
        of = table[table["dataset"] == dataset]
        levels = [amount for name, amount in columns if name == dataset]
        names = {"dice": "Dice (%)", "hd95": f"HD95 ({units[dataset]})"}
        if of.loc[of["role"] != "upper"].groupby("level")["amount"].nunique().max() > 1:  # labels of several kinds
            yield _side_by_side(dataset, of, levels, rows, looks, names)
        elif len(levels) > 1:
            yield _curves(dataset, of, rows, looks, names)
        else:
            yield dots(dataset, of, seeds[seeds["dataset"] == dataset], rows, looks, names)
        yield patients_figure(dataset, of, patient_means(results, patients, of), levels, rows, looks, names)
        yield from comparison(results, dataset, of, levels[0], rows) if examples else ()
    yield from against_minutes(table, curves, rows, looks)
    yield from by_size(results, table, columns, rows, looks, rule)
    yield from pareto(results, table, rows, looks, fronts)
    yield from validation(results, table, columns, rows, looks)


def _curves(dataset: str, of: pd.DataFrame, rows: Sequence[str], looks: dict[str, Look], names: dict) -> Picture:
    bands = len(rows) <= MOST_BANDS
    figure = style.canvas(style.PAGE, 2.25 + 0.17 * (-(-len(rows) // 3) + 1))
    for axes, (metric, name) in zip(figure.subplots(1, 2), names.items(), strict=True):
        scale = SCALES[metric]
        _upper_bound(axes, of, metric)
        for label in rows:
            line = of[(of["label"] == label) & (of["role"] != "upper")].sort_values("level")
            if line.empty:
                continue
            x, mean = line["level"].to_numpy(), scale * line[f"{metric}_mean"].to_numpy()
            spread = scale * np.nan_to_num(line[f"{metric}_sd"].to_numpy())
            if bands:
                axes.fill_between(x, mean - spread, mean + spread, color=looks[label].colour, alpha=0.13, linewidth=0)
            axes.plot(x, mean, label=named(label, looks[label]), **looks[label].line())
        levels = of[of["role"] != "upper"].drop_duplicates("level").sort_values("level")
        _level_axis(axes, levels)
        axes.set_ylabel(name)
        axes.grid(axis="y")
        style.log_if_wide(axes, of[f"{metric}_mean"])
    _headed(figure, dataset)
    return Picture(
        f"curves_{style.slug(dataset)}",
        f"Label efficiency on {dataset}",
        f"Dice and HD95 on {dataset} against the amount of labels. " + numbers(of, rows),
        "Lines: means over seeds. "
        + ("Bands: ± one standard deviation over seeds." if bands else "Standard deviations are in the tables.")
        + " The dashed black line is the upper bound.",
        figure,
    )


def _side_by_side(
    dataset: str, of: pd.DataFrame, levels: Sequence[str], rows: Sequence[str], looks: dict[str, Look], names: dict
) -> Picture:
    """Where equal amounts of labels are of several kinds, which no line can join: a column per amount and kind."""
    lines = [label for label in rows if label in set(of.loc[of["role"] != "upper", "label"])]
    figure = style.canvas(style.PAGE, 2.6 + 0.17 * (-(-len(lines) // 3) + 1))
    for axes, (metric, name) in zip(figure.subplots(1, 2), names.items(), strict=True):
        scale = SCALES[metric]
        _upper_bound(axes, of, metric)
        for number, label in enumerate(lines):
            line = of[(of["label"] == label) & (of["role"] != "upper")]
            aside = SPREAD * ((number + 0.5) / len(lines) - 0.5)
            axes.errorbar(
                [levels.index(amount) + aside for amount in line["amount"]], scale * line[f"{metric}_mean"],
                yerr=scale * np.nan_to_num(line[f"{metric}_sd"]), linestyle="none", elinewidth=0.8, capsize=1.5,
                label=named(label, looks[label]), **looks[label].dot(),
            )  # fmt: skip
        for border in range(1, len(levels)):
            axes.axvline(border - 0.5, color=style.FAINT, linewidth=0.3)
        axes.set_xticks(range(len(levels)), [amount.replace(" ", "\n", 1) for amount in levels])
        axes.set_xlim(-0.5, len(levels) - 0.5)
        axes.set_ylabel(name)
        axes.grid(axis="y")
        style.log_if_wide(axes, of[f"{metric}_mean"])
    _headed(figure, dataset)
    return Picture(
        f"kinds_{style.slug(dataset)}",
        f"Kinds of labels on {dataset}",
        f"Dice and HD95 on {dataset} for every amount and kind of labels. " + numbers(of, rows),
        "Means over seeds ± one standard deviation. The dashed black line is the upper bound.",
        figure,
    )


def _upper_bound(axes: Any, of: pd.DataFrame, metric: str) -> None:
    scale = SCALES[metric]
    for upper in of[of["role"] == "upper"].itertuples():
        mean, spread = scale * getattr(upper, f"{metric}_mean"), scale * known(getattr(upper, f"{metric}_sd"))
        axes.axhspan(mean - spread, mean + spread, color=style.UPPER.colour, alpha=0.07, linewidth=0)
        axes.axhline(
            mean, color=style.UPPER.colour, linestyle=style.UPPER.dashes, linewidth=1,
            label=named(upper.label, style.UPPER),
        )  # fmt: skip


def _headed(figure: Any, dataset: str) -> None:
    """Its legend below, the dataset above."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)))
    figure.suptitle(dataset, x=0.01, ha="left", fontsize=8.5, fontweight="bold")


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
    axes.set_xlabel("Share of training patients labelled" if levels["is_share"].all() else "Labelled")
    axes.margins(x=0.08)
