"""Figures of a report: label-efficiency curves, patients, cost, validation. Drawn with matplotlib's objects only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from . import scales, style
from .comparisons import comparison
from .costs import pareto
from .curves import label_curves, upper_bound
from .economics import Curve
from .frame import Results
from .minutes import against_minutes
from .multiples import validation
from .overlays import overlay_png
from .points import MOST, SCALES, dots, numbers, patient_dots
from .points import patients as patients_figure
from .remarks import seed_marks
from .sizes import by_size
from .style import Look, Picture, named
from .summary import amounts, order, seed_values

__all__ = ["Picture", "overlay_png", "pictures"]

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
            yield from label_curves(dataset, of, rows, looks, names)
        else:
            yield dots(dataset, of, seeds[seeds["dataset"] == dataset], rows, looks, names)
        yield patients_figure(dataset, of, patient_dots(results, patients, of), levels, rows, looks, names)
        yield from comparison(results, dataset, of, levels[0], rows) if examples else ()
    yield from against_minutes(table, curves, rows, looks)
    yield from by_size(results, table, columns, rows, looks, rule)
    yield from pareto(results, table, rows, looks, fronts)
    yield from validation(results, table, columns, rows, looks)


def _side_by_side(
    dataset: str, of: pd.DataFrame, levels: Sequence[str], rows: Sequence[str], looks: dict[str, Look], names: dict
) -> Picture:
    """Where equal amounts of labels are of several kinds, which no line can join: a column per amount and kind."""
    lines = [label for label in rows if label in set(of.loc[of["role"] != "upper", "label"])]
    marks = seed_marks(of)
    figure = style.canvas(style.PAGE, 2.6)
    for axes, (metric, name) in zip(figure.subplots(1, 2), names.items(), strict=True):
        scale = SCALES[metric]
        upper_bound(axes, of, metric)
        for number, label in enumerate(lines):
            line = of[(of["label"] == label) & (of["role"] != "upper")]
            aside = SPREAD * ((number + 0.5) / len(lines) - 0.5)
            mean = scale * line[f"{metric}_mean"]
            axes.errorbar(
                [levels.index(amount) + aside for amount in line["amount"]], mean,
                yerr=style.within(mean, scale * line[f"{metric}_sd"], MOST[metric]), linestyle="none", elinewidth=0.8,
                capsize=1.5, label=named(label, looks[label], marks.get((line["role"].iloc[0], label), "")),
                **looks[label].dot(),
            )  # fmt: skip
        for border in range(1, len(levels)):
            axes.axvline(border - 0.5, color=style.FAINT, linewidth=0.3)
        axes.set_xticks(range(len(levels)), [amount.replace(" ", "\n", 1) for amount in levels])
        axes.set_xlim(-0.5, len(levels) - 0.5)
        axes.set_xlabel("Amount and kind of labels")
        axes.set_ylabel(name)
        axes.grid(axis="y")
        scales.log_if_wide(axes, of[f"{metric}_mean"])
    style.legend(figure, style.handles(figure), 2.6)
    style.headed(figure, dataset)
    return Picture(
        f"kinds_{style.slug(dataset)}",
        f"Kinds of labels on {dataset}",
        f"Dice and HD95 on {dataset} for every amount and kind of labels. " + numbers(of, rows),
        "Means over seeds ± one standard deviation. The dashed black line is the upper bound.",
        figure,
        (dataset,),
    )
