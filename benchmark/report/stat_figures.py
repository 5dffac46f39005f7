"""Figures of what can be believed: ranks with intervals, and who differs from whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import style
from .blocks import Member
from .evidence import Evidence
from .pairs import both_ways
from .ranks import OVERALL, RESAMPLES, Ranking
from .style import Look, Picture
from .verdicts import ENDPOINTS

MOST_PANELS = 6
"""Of one figure of ranks: the overall one and the first datasets."""

MOST_MAPS = 4
"""Of one figure of maps: the smallest amounts, where methods differ most."""

MOST_NAMES = 10
"""Methods of a map that still get the difference written into it."""

MOST_TOLD = 12
"""Decided pairs that a map's description names."""

BETTER, WORSE, EQUAL = "#9ecae9", "#f6b78c", "#e4e4e4"


def pictures(evidence: Evidence, table: pd.DataFrame) -> Iterator[Picture]:
    """Every figure that the rankings allow, one at a time; to be used within `style.settings`.

    Args:
        evidence: the statistics.
        table: `summary.entries`, which knows the order of amounts and who is a lower bound.
    """
    lower = sorted(set(table.loc[table["role"] == "lower", "label"]))
    looks = style.looks(sorted(set(table.loc[table["role"] != "upper", "label"])), lower)
    level = {(row.dataset, row.amount): row.level for row in table.itertuples()}
    for annotation in dict.fromkeys(found.annotation for found in evidence.rankings):
        mine = [found for found in evidence.rankings if found.annotation == annotation]
        yield _ranks(annotation, mine, looks, level)
    shown = both_ways(evidence.pairs[evidence.pairs["endpoint"] == ENDPOINTS[0].name])
    for (dataset, annotation), pairs in shown.groupby(["dataset", "annotation"], sort=False):
        columns = [
            found
            for found in evidence.rankings
            if (found.dataset, found.annotation) == (dataset, annotation) and (dataset, found.amount) in level
        ]
        yield _maps(str(dataset), str(annotation), pairs, sorted(columns, key=lambda f: level[f.dataset, f.amount]))


def _ranks(annotation: str, found: Sequence[Ranking], looks: dict[str, Look], level: dict) -> Picture:
    """A panel per ranking: overall, then the widest ranking of every dataset."""
    widest: dict[str, Ranking] = {}
    for each in sorted(found, key=lambda f: (f.amount != "", level.get((f.dataset, f.amount), 0.0))):
        widest.setdefault(each.dataset, each)
    overall = widest.pop(OVERALL, None)
    chosen = [*([overall] if overall else []), *widest.values()][:MOST_PANELS]
    members = list(chosen[0].members)
    members += [member for each in chosen for member in each.members if member not in members]
    members = list(dict.fromkeys(members))
    across = min(3, len(chosen))
    down = -(-len(chosen) // across)
    figure = style.canvas(style.COLUMN if across == 1 else style.PAGE, down * (0.75 + 0.17 * len(members)))
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes, each in zip(grid.ravel(), chosen, strict=False):
        _rank_panel(axes, each, members, looks)
        axes.set_title(each.dataset + (f", {each.amount}" if each.amount else ""))
    for axes in grid.ravel()[len(chosen) :]:
        axes.set_axis_off()
    grid[0, 0].set_yticks(range(len(members)), [_label(member) for member in members])
    grid[0, 0].set_ylim(len(members) - 0.4, -0.6)
    first = chosen[0]
    told = "; ".join(
        f"{_label(member)} {first.rank[i]} [{first.low[i]} to {first.high[i]}]"
        for i, member in enumerate(first.members)
    )
    return Picture(
        f"ranks_{annotation}",
        f"Ranks, {annotation} labels",
        f"Ranks of methods with {annotation} labels with 95 % intervals. {first.dataset}: {told}.",
        f"Mark: rank by mean Dice; line: 95 % interval over {RESAMPLES} resamples of seeds and patients; number: how "
        "often it came first (%). Where there are several amounts of labels, Dice is averaged over them.",
        figure,
    )  # fmt: skip


def _rank_panel(axes: Any, found: Ranking, members: Sequence[Member], looks: dict[str, Look]) -> None:
    most = len(found.members)
    for place, member in enumerate(found.members):
        at, look = members.index(member), looks[member[1]]
        axes.hlines(at, found.low[place], found.high[place], color=look.colour, linewidth=1.4)
        axes.plot(found.rank[place], at, linestyle="none", **look.dot())
        share = 100 * found.first[place]
        if share >= 0.5:
            axes.annotate(f"{share:.0f}", (most + 0.7, at), va="center", ha="left", fontsize=6.5, annotation_clip=False)
    axes.annotate("first", (most + 0.7, -0.75), va="center", ha="left", fontsize=6.5, annotation_clip=False)
    axes.set_xlim(0.5, most + 0.5)
    axes.set_xticks(range(1, most + 1, 1 + most // 9))
    axes.set_xlabel("Rank")
    axes.grid(axis="x")


def _maps(dataset: str, annotation: str, pairs: pd.DataFrame, columns: Sequence[Ranking]) -> Picture:
    chosen = list(columns[:MOST_MAPS])
    most = max(len(found.members) for found in chosen)
    across = min(2, len(chosen))
    down = -(-len(chosen) // across)
    side = 0.6 + (0.3 if most <= MOST_NAMES else 0.14) * most
    figure = style.canvas(style.COLUMN if across == 1 else style.PAGE, down * side)
    grid = figure.subplots(down, across, squeeze=False)
    for axes, found in zip(grid.ravel(), chosen, strict=False):
        _map_panel(axes, found, pairs[pairs["amount"] == found.amount])
        axes.set_title(f"{dataset}, {found.amount}")
    for axes in grid.ravel()[len(chosen) :]:
        axes.set_axis_off()
    decided = [row for found in chosen for row in pairs.itertuples() if row.amount == found.amount]
    decided = [f"at {row.amount} {row.label} over {row.other}" for row in decided if row.verdict == "better"]
    told = "; ".join(decided[:MOST_TOLD]) + (f"; and {len(decided) - MOST_TOLD} more" * (len(decided) > MOST_TOLD))
    slug = "".join(sign if sign.isalnum() or sign in "_-" else "-" for sign in f"{dataset}_{annotation}")
    return Picture(
        f"map_{slug}",
        f"Who differs from whom on {dataset}",
        f"Significance map of Dice on {dataset}. Better: {told or 'nobody'}.",
        "Row against column, both ordered by rank: + better, − worse, ≈ equivalent, empty: not separable, by crossed "
        "intervals with Holm's correction over all pairs of a panel and the margin of the verdicts."
        + (" Numbers: difference in Dice points." if most <= MOST_NAMES else ""),
        figure,
    )


def _map_panel(axes: Any, found: Ranking, pairs: pd.DataFrame) -> None:
    from matplotlib.colors import ListedColormap

    members = {member: place for place, member in enumerate(found.members)}
    size = len(members)
    kinds, gains = np.zeros((size, size)), np.full((size, size), np.nan)
    codes = {"better": 1, "worse": 2, "equivalent": 3}
    for row in pairs.itertuples():
        where = members[row.role, row.label], members[row.other_role, row.other]
        kinds[where], gains[where] = codes.get(row.verdict, 0), 100 * row.difference
    axes.imshow(kinds, cmap=ListedColormap(["white", BETTER, WORSE, EQUAL]), vmin=0, vmax=3, aspect="auto")
    for code, marker in ((1, "+"), (2, "_"), (3, "$≈$")):
        rows, columns = np.nonzero(kinds == code)
        shift = 0.28 if size <= MOST_NAMES else 0.0
        axes.plot(
            columns, rows - shift, linestyle="none", marker=marker, color=style.INK, markersize=3.2, markeredgewidth=0.7
        )
    if size <= MOST_NAMES:
        for row, column in zip(*np.nonzero(np.isfinite(gains)), strict=True):
            axes.text(column, row + 0.12, f"{gains[row, column]:+.1f}", ha="center", va="center", fontsize=6)
    shown = range(0, size, 1 + size // 10)
    axes.set_xticks(shown, [str(found.rank[place]) for place in shown])
    axes.set_yticks([])
    names = [f"{_label(member)}  {rank}" for member, rank in zip(members, found.rank, strict=True)]
    widest = max(names, key=len)
    for place, name in enumerate(names):  # texts, of which one is laid out: a hundred tick labels take seconds
        text = axes.text(-0.5 - 0.02 * size, place, name, ha="right", va="center", fontsize=7)
        text.set_in_layout(name == widest)
    # lines, since a tick for every line of a grid takes most of the drawing
    between = np.arange(1, size) - 0.5
    axes.hlines(between, -0.5, size - 0.5, color="#dddddd", linewidth=0.4)
    axes.vlines(between, -0.5, size - 0.5, color="#dddddd", linewidth=0.4)
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)
    axes.plot(range(size), range(size), linestyle="none", marker="s", color=style.FAINT, markersize=1.5)
    axes.set_xlabel("Rank of the other")


def _label(member: Member) -> str:
    role, label = member
    return f"{label} (lower bound)" if role == "lower" else label
