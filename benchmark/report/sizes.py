"""Does segmentation hold where structures are small? Dice and failures against the size of the reference.

A mean over cases hides that small structures fail first, and a method can gain its mean on large ones. Sizes are those
of the reference, so all methods are sorted into the same bins; a class that is not in the reference has no size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..metrics.policy import FAILED_STATUSES
from . import scales, style
from .frame import Results
from .multiples import smallest_amounts
from .remarks import seed_marks
from .style import Look, Picture, named
from .summary import ENTRY, HEADLINE, complete, worth

MOST_BINS, FEWEST_PER_BIN = 5, 6
MOST_BANDS = 8
"""Methods in one figure that still get a band each, as in label curves."""


def sized(results: Results, table: pd.DataFrame, amounts: dict[str, str], rule: str) -> pd.DataFrame:
    """Dice and failures by size: one row per (dataset, role, label, seed, bin) with ``size``, ``dice``, ``failed``.

    ``size`` is the geometric mean of the bin's structures, ``dice`` counts by ``rule``, ``failed`` is a share. Bins
    hold equally many of a dataset's structures (case × class), at least six; a dataset with too few has none.

    Args:
        results: the records.
        table: `summary.entries`.
        amounts: which amount of labels of each dataset.
        rule: what failures count for.
    """
    cells = results.cells
    wanted = (cells["amount"] == cells["dataset"].map(amounts)) | (cells["role"] == "upper")
    wanted &= pd.MultiIndex.from_frame(cells[ENTRY]).isin(pd.MultiIndex.from_frame(table.loc[table["n"] > 0, ENTRY]))
    wanted &= complete(results)
    scores = results.scores
    rows = (scores["selection"] == HEADLINE).to_numpy() & wanted.to_numpy()[scores["cell"].to_numpy()]
    scores = scores[rows & (scores["n_gt"] > 0).to_numpy()]
    frame = cells[[*ENTRY, "seed"]].iloc[scores["cell"].to_numpy()].reset_index(drop=True)
    frame = frame.assign(
        size=scores["n_gt"].to_numpy(),
        dice=worth(scores, "dice", rule),
        failed=scores["status"].isin(FAILED_STATUSES).to_numpy(),
        structure=scores["case"].astype(str).to_numpy() + "\0" + scores["class"].astype(str).to_numpy(),
    )
    parts = []
    for _, of in frame.groupby("dataset", sort=False):
        structures = of.drop_duplicates("structure")["size"].to_numpy()
        bins = min(MOST_BINS, len(structures) // FEWEST_PER_BIN)
        edges = np.unique(np.quantile(structures, np.arange(1, bins) / bins)) if bins > 1 else np.array([])
        place = np.searchsorted(edges, of["size"], side="left")
        if len(set(place)) > 1:
            middle = {b: np.exp(np.log(structures[np.searchsorted(edges, structures) == b]).mean()) for b in set(place)}
            parts.append(of.assign(bin=place, size=[middle[b] for b in place]))
    keys = ["dataset", "role", "label", "seed", "bin", "size"]
    if not parts:
        return pd.DataFrame(columns=[*keys, "dice", "failed"])
    return pd.concat(parts).groupby(keys, sort=False)[["dice", "failed"]].mean().reset_index()


def by_size(
    results: Results, table: pd.DataFrame, columns: Sequence[tuple[str, str]], rows: Sequence[str],
    looks: dict[str, Look], rule: str,
) -> Iterator[Picture]:  # fmt: skip
    """Per dataset, Dice above and failures below, against the size of the structure."""
    amounts = smallest_amounts(columns)
    frame, place = sized(results, table, amounts, rule), {label: number for number, label in enumerate(rows)}
    for dataset in dict.fromkeys(frame["dataset"]):
        of = frame[frame["dataset"] == dataset]
        of = of.sort_values(["role", "label"], key=lambda column: column.map(place).fillna(-1), kind="stable")
        figure = style.canvas(style.PAGE, 2.25)
        failing = bool((of["failed"] > 0).any())
        panels = figure.subplots(1, 2 if failing else 1, squeeze=False)[0]
        spread = of.groupby(["role", "label", "bin", "size"], sort=False)[["dice", "failed"]].agg(["mean", "std"])
        bands = len(rows) <= MOST_BANDS
        shown = table[(table["dataset"] == dataset)]
        marks = seed_marks(shown[(shown["amount"] == amounts.get(dataset)) | (shown["role"] == "upper")])
        for (role, label), line in spread.reset_index().groupby(["role", "label"], sort=False):
            look = style.UPPER if role == "upper" else looks[label]
            text = named(label, look, marks.get((role, label), ""))
            _line(panels, line.sort_values("size"), text, look, bands=bands)
        counted = "voxels" if set(shown["unit"]) - {""} == {"mm"} else "pixels or voxels"  # "px" is either
        for axes, name in zip(panels, ("Dice (%)", "Missed or failed (%)"), strict=False):
            scales.log_axis(axes, "x")
            axes.set_xlabel(f"Size of the structure in the reference ({counted})")
            axes.set_ylabel(name)
            axes.grid(axis="y")
        if failing:
            highest = max(1.0, panels[1].get_ylim()[1])
            panels[1].set_ylim(-0.05 * highest, highest)
        style.legend(figure, style.handles(figure), 2.4)
        style.headed(figure, f"{dataset}, {amounts.get(dataset, '')}")
        yield Picture(
            f"sizes_{style.slug(dataset)}",
            f"Size of structures in {dataset}",
            f"Dice{' and share of failures' * failing} on {dataset} against the size of the structure in the "
            "reference. " + _numbers(spread),
            f"Test structures (case × class) at {amounts.get(dataset, '')}, in bins of equally many by their size in "
            "the reference; the same bins for all methods. Lines: means over seeds. "
            + ("Bands: ± one standard deviation over seeds. " if bands else "")
            + ("" if failing else "No structure was missed or failed."),
            figure,
            (dataset,),
        )


def _line(panels: Any, line: pd.DataFrame, label: str, look: Look, *, bands: bool) -> None:
    x = line["size"].to_numpy()
    for axes, metric in zip(panels, ("dice", "failed"), strict=False):
        mean, spread = (100 * line[(metric, how)].to_numpy() for how in ("mean", "std"))
        if bands:
            below, above = style.within(mean, spread, 100)
            axes.fill_between(x, mean - below, mean + above, color=look.colour, alpha=0.1, linewidth=0)
        axes.plot(x, mean, label=label, **look.line())


def _numbers(spread: pd.DataFrame) -> str:
    """Dice in the smallest and the largest bin, for those who cannot see the figure."""
    parts = []
    for (_, label), of in spread.groupby(level=["role", "label"], sort=False):
        means = 100 * of.sort_index(level="size")[("dice", "mean")]
        parts.append(f"{label} {means.iloc[0]:.1f} to {means.iloc[-1]:.1f}")
    return "Mean Dice (%) from the smallest to the largest: " + "; ".join(parts) + "."
