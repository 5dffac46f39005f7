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
from .verdict_tables import SEEDS
from .verdicts import ENDPOINTS

MOST_PANELS = 6
"""Of one figure of ranks: the overall one and the first datasets."""

MOST_MAPS = 4
"""Of one figure of maps: the smallest amounts, where methods differ most."""

MOST_NAMES = 10
"""Methods of a map that still get the difference written into it."""

MOST_TOLD = 12
"""Decided pairs that a map's description names."""

MOST_LETTERS = 34
"""Of a name beside a panel."""

MOST_RANKS = 25
"""Of an axis whose every rank is written."""

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
    long = max(len(_label(member)) for member in members) > MOST_LETTERS // 2
    figure = style.canvas(style.PAGE if across > 1 or long else style.COLUMN, down * (0.75 + 0.17 * len(members)))
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes, each in zip(grid.ravel(), chosen, strict=False):
        _rank_panel(axes, each, members, looks)
        style.titled(axes, each.dataset + (f", {each.amount}" if each.amount else ""), figure.get_figwidth() / across)
    for axes in grid.ravel()[len(chosen) :]:
        axes.set_axis_off()
    grid[0, 0].set_yticks(range(len(members)), style.shortened([_label(member) for member in members], MOST_LETTERS))
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
        "often it came first. Where there are several amounts of labels, Dice is averaged over them.",
        figure,
        tuple(dict.fromkeys(each.dataset for each in chosen if each.dataset != OVERALL)) if not overall else (),
    )  # fmt: skip


def _rank_panel(axes: Any, found: Ranking, members: Sequence[Member], looks: dict[str, Look]) -> None:
    most = len(found.members)
    for place, member in enumerate(found.members):
        at, look = members.index(member), looks[member[1]]
        axes.hlines(at, found.low[place], found.high[place], color=look.colour, linewidth=1.4)
        axes.plot(found.rank[place], at, linestyle="none", **look.dot())
        share = f"{100 * found.first[place]:.0f}%"
        axes.annotate(share, (most + 0.7, at), va="center", ha="left", fontsize=6.5, annotation_clip=False)
    axes.annotate("first", (most + 0.7, -0.75), va="center", ha="left", fontsize=6.5, annotation_clip=False)
    axes.set_xlim(0.5, most + 0.5)
    axes.set_xticks(range(1, most + 1, 1 + most // MOST_RANKS))
    axes.tick_params(axis="x", labelsize=7 if most <= MOST_NAMES else 5.5)
    axes.set_xlabel("Rank")
    axes.grid(axis="x")


def _maps(dataset: str, annotation: str, pairs: pd.DataFrame, columns: Sequence[Ranking]) -> Picture:
    chosen = list(columns[:MOST_MAPS])
    most = max(len(found.members) for found in chosen)
    across = min(2, len(chosen))
    down = -(-len(chosen) // across)
    side = 0.6 + (0.3 if most <= MOST_NAMES else 0.14) * most
    longest = max(len(_label(member)) for found in chosen for member in found.members)
    wide = across > 1 or longest > MOST_LETTERS // 2 or most > MOST_NAMES
    figure = style.canvas(style.PAGE if wide else style.COLUMN, down * side + 0.3)
    grid = figure.subplots(down, across, squeeze=False)
    for axes, found in zip(grid.ravel(), chosen, strict=False):
        _map_panel(axes, found, pairs[pairs["amount"] == found.amount])
        style.titled(axes, f"{dataset}, {found.amount}", 0.6 * figure.get_figwidth() / across)
    for axes in grid.ravel()[len(chosen) :]:
        axes.set_axis_off()
    _key(figure)
    few = pairs["seeds"].min() < SEEDS
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
        + (" Numbers: difference in Dice points." if most <= MOST_NAMES else "")
        + (
            f" For screening: with fewer than {SEEDS} seeds, signs of so many pairs are wrong more often."
            if few
            else ""
        ),
        figure,
        (dataset,),
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
    for code, sign in enumerate(_signs().values(), start=1):
        rows, columns = np.nonzero(kinds == code)
        shift = 0.28 if size <= MOST_NAMES else 0.0
        axes.plot(columns, rows - shift, linestyle="none", color=style.INK, **sign)
    if size <= MOST_NAMES:
        for row, column in zip(*np.nonzero(np.isfinite(gains)), strict=True):
            axes.text(column, row + 0.12, f"{gains[row, column]:+.1f}", ha="center", va="center", fontsize=6)
    shown = range(0, size, 1 + size // MOST_RANKS)
    axes.set_xticks(shown, [str(found.rank[place]) for place in shown])
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=7 if size <= MOST_NAMES else 5.5)
    short = style.shortened([_label(member) for member in members], MOST_LETTERS)
    names = [f"{name}  {rank}" for name, rank in zip(short, found.rank, strict=True)]
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


def _signs() -> dict[str, dict[str, Any]]:
    """How each verdict is written into a map. "≈" is drawn: as a letter it would be parsed as a formula."""
    from matplotlib.path import Path

    wave = np.array([(-1, 0), (-0.4, 0.75), (0.4, -0.75), (1, 0)])
    codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    apart = np.array([0, 0.35])
    waves = Path(np.concatenate([wave + apart, wave - apart]), codes * 2)
    return {
        "better": {"marker": "+", "markersize": 3.2, "markeredgewidth": 0.7},
        "worse": {"marker": "_", "markersize": 3.2, "markeredgewidth": 0.7},
        "equivalent": {"marker": waves, "markersize": 4.5, "markeredgewidth": 0.7, "fillstyle": "none"},
    }


def _key(figure: Any) -> None:
    """What the colours and signs of a map say, below it."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    colours, signs = (BETTER, WORSE, EQUAL), _signs()
    pairs = [
        (Patch(facecolor=colour, edgecolor="#dddddd"), Line2D([], [], linestyle="none", color=style.INK, **sign))
        for colour, sign in zip(colours, signs.values(), strict=True)
    ]
    blank = Patch(facecolor="white", edgecolor="#bbbbbb")
    labels = [f"row {word}" for word in signs]
    figure.legend([*pairs, blank], [*labels, "not separable"], loc="outside lower center", ncols=4, handlelength=1.4)


def _label(member: Member) -> str:
    role, label = member
    return f"{label} (lower bound)" if role == "lower" else label
