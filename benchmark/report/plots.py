"""Figures of a report: label-efficiency curves, patients, cost, validation. Drawn with matplotlib's objects only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import style
from .costs import pareto
from .economics import Curve
from .frame import Results
from .minutes import against_minutes
from .multiples import validation
from .overlays import comparison, overlay_png
from .sizes import by_size
from .style import Look, Picture, known, named
from .summary import HEADLINE, amounts, order, seed_values

__all__ = ["Picture", "overlay_png", "pictures"]

MOST_BANDS = 8
"""Methods in one figure of curves that still get a band each."""

LEAST_GAP = 0.1
"""Least distance of two labelled ticks, as a share of the axis; others keep their tick and lose their text."""

MOST_AMOUNTS = 4
"""Panels side by side; of more amounts the smallest, the largest and evenly chosen ones between are drawn."""

SPREAD = 0.7
"""Width that the methods of one column take, as a share of it."""

SCALES = {"dice": 100.0, "hd95": 1.0}


def pictures(
    results: Results,
    entries: pd.DataFrame,
    patients: pd.DataFrame,
    *,
    rule: str,
    fronts: Mapping[tuple[str, ...], tuple[bool, float]],
    curves: Sequence[Curve],
) -> Iterator[Picture]:
    """Every figure that the records allow, one at a time; to be used within `style.settings`.

    Args:
        results: the records.
        entries: `summary.entries`.
        patients: `summary.patient_values`.
        rule: what failures count for.
        fronts: `costs.on_front`.
        curves: `economics.curves`.
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
            yield _dots(dataset, of, seeds[seeds["dataset"] == dataset], rows, looks, names)
        yield _patients(dataset, of, _patient_means(results, patients, of), levels, rows, looks, names)
        yield from comparison(results, dataset, of, levels[0], rows)
    yield from against_minutes(table, curves, rows, looks)
    yield from by_size(results, table, columns, rows, looks, rule)
    yield from pareto(table, rows, looks, fronts)
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
        _log_if_wide(axes, of[f"{metric}_mean"])
    _headed(figure, dataset)
    return Picture(
        f"curves_{style.slug(dataset)}",
        f"Label efficiency on {dataset}",
        f"Dice and HD95 on {dataset} against the amount of labels. " + _numbers(of, rows),
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
        _log_if_wide(axes, of[f"{metric}_mean"])
    _headed(figure, dataset)
    return Picture(
        f"kinds_{style.slug(dataset)}",
        f"Kinds of labels on {dataset}",
        f"Dice and HD95 on {dataset} for every amount and kind of labels. " + _numbers(of, rows),
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


def _dots(
    dataset: str, of: pd.DataFrame, seeds: pd.DataFrame, rows: Sequence[str], looks: dict[str, Look], names: dict
) -> Picture:
    """Where there is one amount only: a row per method, its seeds and their mean."""
    lines = [*of.loc[of["role"] == "upper", "label"], *(label for label in rows if label in set(of["label"]))]
    figure = style.canvas(style.PAGE, 0.9 + 0.22 * len(lines))
    for axes, (metric, name) in zip(figure.subplots(1, 2, sharey=True), names.items(), strict=True):
        for place, label in enumerate(lines):
            look = looks.get(label, style.UPPER)
            entry = of[of["label"] == label].iloc[0]
            points = seeds[seeds["label"] == label][metric] * SCALES[metric]
            axes.plot(points, np.full(len(points), place), "o", color=look.colour, alpha=0.35, markersize=3, mew=0)
            axes.errorbar(
                SCALES[metric] * entry[f"{metric}_mean"], place, xerr=SCALES[metric] * known(entry[f"{metric}_sd"]),
                elinewidth=1, capsize=2, **look.dot(),
            )  # fmt: skip
        axes.set_xlabel(name)
        axes.grid(axis="x")
    figure.axes[0].set_yticks(range(len(lines)), lines)
    figure.axes[0].invert_yaxis()
    amount = of.loc[of["role"] != "upper", "amount"]
    figure.suptitle(f"{dataset}, {(amount if len(amount) else of['amount']).iloc[0]}", x=0.01, ha="left", fontsize=8.5,
                    fontweight="bold")  # fmt: skip
    return Picture(
        f"methods_{style.slug(dataset)}",
        f"Methods on {dataset}",
        f"Dice and HD95 of every method on {dataset}. " + _numbers(of, rows),
        "Large marks: mean over seeds ± one standard deviation; small dots: seeds.",
        figure,
    )


def _patients(
    dataset: str, of: pd.DataFrame, values: pd.DataFrame, levels: Sequence[str], rows: Sequence[str],
    looks: dict[str, Look], names: dict,
) -> Picture:  # fmt: skip
    chosen = [levels[i] for i in np.unique(np.linspace(0, len(levels) - 1, MOST_AMOUNTS).round().astype(int))]
    lines = [*of.loc[of["role"] == "upper", "label"], *(label for label in rows if label in set(of["label"]))]
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
            axes.set_title(amount)
            axes.set_xlabel(name)
            axes.grid(axis="x")
        _log_if_wide(panels[0], SCALES[metric] * values[metric], axis="x")
    grid[0, 0].set_yticks(range(len(lines)), lines)
    grid[0, 0].set_ylim(len(lines) - 0.4, -0.6)
    figure.suptitle(dataset, x=0.01, ha="left", fontsize=8.5, fontweight="bold")
    return Picture(
        f"patients_{style.slug(dataset)}",
        f"Patients of {dataset}",
        f"Distribution of Dice and HD95 over the test patients of {dataset}, for {', '.join(lines)}.",
        "Dots: test patients, averaged over seeds; boxes: quartiles and median; whiskers: 1.5 interquartile ranges at "
        "most; white diamond: mean. Black: upper bound; grey: lower bounds.",
        figure,
    )


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
    axes.scatter(np.concatenate(points), np.concatenate(spread), s=3.2, c=each, alpha=0.7, linewidths=0, zorder=2.5)
    means = [values.mean() for values in points]
    axes.scatter(means, at, s=9, marker="D", facecolors="white", edgecolors=colours, linewidths=0.9, zorder=3)


def _patient_means(results: Results, patients: pd.DataFrame, of: pd.DataFrame) -> pd.DataFrame:
    """One row per entry and patient, averaged over its complete seeds."""
    cells = results.cells[["role", "label", "dataset", "amount", "seed"]]
    values = patients[patients["selection"] == HEADLINE].join(cells, on="cell")
    used = {(entry.role, entry.label, entry.amount): set(entry.seeds) for entry in of.itertuples()}
    values = values[values["dataset"] == of["dataset"].iloc[0]]
    kept = [
        seed in used.get((role, label, amount), ())
        for role, label, amount, seed in zip(*(values[k] for k in ("role", "label", "amount", "seed")), strict=True)
    ]
    keys = ["role", "label", "amount", "group"]
    return values[kept].groupby(keys, observed=True)[["dice", "hd95"]].mean().reset_index()


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


def _log_if_wide(axes: Any, values: pd.Series, *, axis: str = "y") -> None:
    """Distances span decades once an organ is missed; zero, a perfect surface, needs a linear part."""
    known = values[np.isfinite(values) & (values > 0)]
    if len(known) and known.max() > 12 * max(known.quantile(0.25), 1e-9):
        getattr(axes, f"set_{axis}scale")("symlog", linthresh=max(float(known.quantile(0.05)), 1e-3))
        ticks = [0, *(digit * 10.0**power for power in range(-2, 5) for digit in (1, 2, 5))]
        low, high = getattr(axes, f"get_{axis}lim")()
        shown = [tick for tick in ticks if max(low, 0) <= tick <= high and (not tick or tick >= known.quantile(0.05))]
        getattr(axes, f"set_{axis}ticks")(shown, [f"{tick:g}" for tick in shown], minor=False)
        getattr(axes, f"set_{axis}ticks")([], minor=True)


def _numbers(of: pd.DataFrame, rows: Sequence[str]) -> str:
    """The means as a sentence, for those who cannot see the figure."""
    place = {label: number for number, label in enumerate(rows)}
    ordered = sorted(of.itertuples(), key=lambda entry: (entry.level, place.get(entry.label, -1)))
    return "Mean Dice (%): " + "; ".join(f"{e.label} at {e.amount} {100 * e.dice_mean:.1f}" for e in ordered) + "."
