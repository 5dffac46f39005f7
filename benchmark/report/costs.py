"""What a method costs, and which methods are worth it: a table, and Dice against training time with the Pareto front.

A method is on the front if no other with the same kind of labels is both as fast and as good. Which ones are depends on
the luck of seeds and patients; the table therefore says in which share of resampled studies each of them is. Times of
other code, precision or hardware do not compare: rows that differ in one of them have no front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from . import conditions, scales, style
from .blocks import Block
from .frame import Results
from .multiples import small_multiples
from .ranks import resampled
from .remarks import seed_marks
from .style import Look, Picture, named
from .summary import ENTRY, key_of
from .tables import NOT_PLANNED, Column, Number, Row, Table, columns_of, rows_of
from .verdicts import ENDPOINTS

Key = tuple[str, ...]

GROUP = ["dataset", "amount", "annotation"]
"""Whose entries are compared."""


def front(seconds: np.ndarray, dice: np.ndarray) -> np.ndarray:
    """Who is on the Pareto front: nobody else is as fast and as good, and better in one of the two.

    Args:
        seconds: ``(n,)``.
        dice: ``(..., n)``; a method without a number is not on the front and keeps nobody off it.

    >>> front(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.7, 0.6])).tolist()
    [True, True, False]
    """
    as_fast, faster = seconds[:, None] <= seconds, seconds[:, None] < seconds
    as_good = dice[..., :, None] >= dice[..., None, :]
    better = dice[..., :, None] > dice[..., None, :]
    dominated = (as_fast & as_good & (faster | better)).any(axis=-2)
    return ~dominated & np.isfinite(seconds) & np.isfinite(dice)


def on_front(results: Results, table: pd.DataFrame, blocks: Sequence[Block]) -> dict[Key, tuple[bool, float]]:
    """Whether each entry but upper bounds is on the front, and in which share of resampled seeds and patients it is.

    Compared are the entries of one dataset, amount and kind of labels. The share is NaN where there are too few seeds;
    times are taken as they are. Where `incomparable`, entries have no place.

    Args:
        results: the records.
        table: `summary.entries`.
        blocks: `blocks.blocks`.
    """
    found: dict[Key, tuple[bool, float]] = {}
    apart = incomparable(results, table)
    for group, of in table[table["role"] != "upper"].groupby(GROUP, sort=False):
        if group in apart:
            continue
        here = front(of["train_seconds"].to_numpy(np.float64), of["dice_mean"].to_numpy(np.float64))
        for key, member in zip(of[ENTRY].itertuples(index=False, name=None), here, strict=True):
            found[key] = (bool(member), float("nan"))
    seconds = {key_of(entry): entry.train_seconds for entry in table.itertuples()}
    for block in blocks:
        keys = [(*member, block.dataset, block.amount) for member in block.members]
        times = np.array([seconds.get(key, np.nan) for key in keys])
        shares = front(times, resampled(block, ENDPOINTS[0].name)).mean(axis=0)
        for key, share in zip(keys, shares, strict=True):
            if key in found:
                found[key] = (found[key][0], float(share))
    return found


def incomparable(results: Results, table: pd.DataFrame) -> dict[Key, str]:
    """By dataset, amount and kind of labels, what the cells differ in besides their method; only where they do.

    Args:
        results: the records.
        table: `summary.entries`.
    """
    ran, found = conditions.of_cells(results), {}
    for group, of in table[table["role"] != "upper"].groupby(GROUP, sort=False):
        differing = conditions.differing(ran, (name for ids in of["ids"] for name in ids))
        if differing and len(of) > 1:
            found[group] = ", ".join(_different(what, answers) for what, answers in differing.items())
    return found


def table(results: Results, entries: pd.DataFrame, fronts: Mapping[Key, tuple[bool, float]]) -> list[Table]:
    """Cost of every method on every dataset, over all amounts of labels; none before anything has finished."""
    entries = entries[entries["finished"] > 0]
    if entries.empty:
        return []
    cells, ran = results.cells.set_index("id"), conditions.of_cells(results)
    kinds: dict[str, tuple[str, Callable[[pd.DataFrame], Number]]] = {
        "train_seconds": ("training (s)", lambda of: _ranged(_number(of, "train_seconds", "mean"), cells)),
        "memory_mib": ("memory (MiB)", lambda of: _number(of, "memory_mib", "max", digits=0)),
        "parameters": ("parameters (M)", lambda of: _number(of, "parameters", "max", scale=1e-6, digits=2)),
        "predict_seconds": ("inference (s/case)", lambda of: _number(of, "predict_seconds", "mean", digits=3)),
    }
    recorded = [name for name in kinds if entries[name].notna().any()]
    datasets, least = list(dict.fromkeys(entries["dataset"])), _smallest(entries)
    heads = [*(kinds[name][0] for name in recorded), "precision", "on the front"]
    columns = [Column(dataset, head) for dataset in datasets for head in heads]
    rows = []
    for row in _everybody(entries):
        numbers = []
        for dataset in datasets:
            of = entries[(entries["role"] == row.role) & (entries["label"] == row.label)]
            of = of[of["dataset"] == dataset]
            numbers += [kinds[name][1](of) if len(of) else Number(NOT_PLANNED) for name in recorded]
            kind = of["annotation"].iloc[0] if len(of) else ""
            key = (row.role, row.label, dataset, least.get((dataset, kind), ""))
            numbers.append(_precision(of, ran))
            numbers.append(_standing(fronts.get(key), of.loc[of["amount"] == key[3], "ids"]))
        rows.append(Row(row.label, row.role, tuple(numbers), row.marks))
    return [Table("cost", "Cost", tuple(columns), tuple(rows), _notes(results, entries, recorded))]


def pareto(
    results: Results, entries: pd.DataFrame, rows: Sequence[str], looks: dict[str, Look],
    fronts: Mapping[Key, tuple[bool, float]],
) -> Iterator[Picture]:  # fmt: skip
    """Dice against training time at the smallest amount of labels, where times were recorded."""
    if entries["train_seconds"].notna().sum() == 0:
        return
    least, cells = _smallest(entries), results.cells.set_index("id")
    marks = seed_marks(_at_least(entries, least))

    def draw(axes: Any, dataset: str, _: str) -> None:
        of = _at_least(entries[entries["dataset"] == dataset], least)
        place = {label: number for number, label in enumerate(rows)}
        for entry in sorted(of.itertuples(), key=lambda entry: place.get(entry.label, -1)):
            look = looks.get(entry.label, style.UPPER)
            here = entry.role == "upper" or fronts.get(key_of(entry), (True,))[0]
            times = cells.loc[list(entry.ids), "train_seconds"].dropna()
            alpha = 1 if here else 0.35
            if len(times) > 1:
                reach = (100 * entry.dice_mean, times.min(), times.max())
                axes.hlines(*reach, color=look.colour, linewidth=0.6, alpha=0.6 * alpha, zorder=1.5)
            axes.errorbar(
                entry.train_seconds, 100 * entry.dice_mean,
                yerr=style.within(100 * entry.dice_mean, 100 * entry.dice_sd, 100), elinewidth=0.8, capsize=1.5,
                linestyle="none", label=named(entry.label, look, marks.get((entry.role, entry.label), "")),
                alpha=alpha, **look.dot(),
            )  # fmt: skip
        for _, kind in of[of["role"] != "upper"].groupby("annotation", sort=False):
            members = [e for e in kind.itertuples() if fronts.get(key_of(e), (False,))[0]]
            steps = sorted((entry.train_seconds, 100 * entry.dice_mean) for entry in members)
            if not steps:
                continue
            axes.plot(*zip(*steps, strict=True), drawstyle="steps-post", color=style.FAINT, linewidth=0.8, zorder=0.5)
        axes.set_xlabel("Training time (s per cell)")
        axes.set_ylabel("Dice (%)")
        axes.grid()
        axes.margins(0.12)
        times = of["train_seconds"].dropna()
        if len(times) and times.max() > 8 * times.min() > 0:
            scales.log_axis(axes, "x")

    shown = [where for place, where in _apart(results, entries).items() if place in set(least.items())]
    front = "On the front: " + _words(entries, fronts) if fronts or not shown else "No front can be drawn."
    told = (
        "Grey steps: the Pareto front of the methods with one kind of labels; pale: some other method is as fast and "
        "as good. "
        if any(key[3] in least.values() for key in fronts)
        else ""
    )
    yield Picture(
        "pareto",
        "Dice against cost",
        f"Dice against training time, at the smallest amount of labels. {front}",
        "Training time of one cell, mean over seeds and, as a thin line, range, against Dice ± one standard deviation "
        f"over seeds, at the smallest amount of each kind of labels. {told}{' '.join(shown)}",
        small_multiples(_panels(entries, least), draw),
    )


def _everybody(entries: pd.DataFrame) -> Iterator[Row]:
    """All rows, upper bounds included, in the order and with the marks of the other tables."""
    yield from rows_of(entries, columns_of(entries), lambda entry: Number("", entry.ids))


def _number(of: pd.DataFrame, name: str, how: str, *, scale: float = 1, digits: int = 1) -> Number:
    values = of[name].dropna()
    ids = tuple(name for entry in of["ids"] for name in entry)
    if values.empty:
        return Number("–", ids)
    # entries of unequally many cells: the mean is over cells
    weights = of.loc[values.index, "finished"]
    value = scale * float(np.average(values, weights=weights) if how == "mean" else values.max())
    return Number(f"{value:.{digits}f}", ids, value)


def _ranged(number: Number, cells: pd.DataFrame) -> Number:
    """With the least and the most of its cells, where there are several."""
    values = cells.loc[list(number.ids), "train_seconds"].dropna()
    if len(values) < 2:
        return number
    return replace(number, text=f"{number.text} ({values.min():.1f}–{values.max():.1f})")


def _precision(of: pd.DataFrame, ran: Mapping[str, Mapping[str, str]]) -> Number:
    ids = tuple(name for entry in of["ids"] for name in entry)
    known = sorted({ran[name]["precision"] or "not recorded" for name in ids if name in ran})
    return Number(", ".join(known) or (NOT_PLANNED if of.empty else "–"), ids)


def _standing(found: tuple[bool, float] | None, ids: pd.Series) -> Number:
    if found is None:
        return Number("–")
    member, share = found
    text = ("yes" if member else "no") + (f" ({100 * share:.0f}%)" if share == share else "")
    return Number(text, ids.iloc[0] if len(ids) else (), share if share == share else float(member))


def _notes(results: Results, entries: pd.DataFrame, recorded: Sequence[str]) -> tuple[str, ...]:
    differing = conditions.differing(ran := conditions.of_cells(results), ran)
    notes = [
        "Means over finished cells of all amounts of labels, training time with its least and most; memory and "
        "parameters are the largest. Precision: of the convolutions in training. Memory: the "
        "accelerator's at its peak, or where there is none that of the whole process. Parameters: those that are "
        "trained. Inference: from the image in memory to the label map in native geometry.",
        "On the front: at the smallest amount of its kind of labels, no other row with that kind trains as fast and "
        "segments as well; in brackets the share of resampled seeds and patients in which that is so.",
    ]
    if "predict_seconds" not in recorded:
        notes.append("Inference time was not recorded by the version that made these records.")
    if differing:
        parts = ", ".join(_different(what, answers) for what, answers in differing.items())
        notes.append(f"Times come from cells that differ in {parts}: what is cheaper here may only have run elsewhere.")
    least = set(_smallest(entries).items())
    return (*notes, *(why for place, why in _apart(results, entries).items() if place in least))


def _apart(results: Results, entries: pd.DataFrame) -> dict[tuple[tuple[str, str], str], str]:
    """By dataset, kind of labels and amount, that there is no front and why; only where that is so."""
    found = incomparable(results, entries)
    return {
        ((dataset, kind), amount): f"No front on {dataset} at {amount}: cells differ in {why}, so that their times do "
        "not compare."
        for (dataset, amount, kind), why in found.items()
    }


def _different(what: str, answers: Sequence[str]) -> str:
    if what == "precision":
        return f"precision ({', '.join(answer or 'not recorded' for answer in answers)})"
    return f"{conditions.WORDS[what]} ({len(answers)})"


def _smallest(entries: pd.DataFrame) -> dict[tuple[str, str], str]:
    """By dataset and kind of labels, the smallest amount that methods and lower bounds have."""
    others = entries[entries["role"] != "upper"].sort_values("level", kind="stable")
    found: dict[tuple[str, str], str] = {}
    for entry in others.itertuples():
        found.setdefault((entry.dataset, entry.annotation), entry.amount)
    return found


def _at_least(entries: pd.DataFrame, least: Mapping[tuple[str, str], str]) -> pd.DataFrame:
    """The entries at the smallest amount of their kind, and upper bounds."""
    keys = zip(entries["dataset"], entries["annotation"], strict=True)
    return entries[(entries["amount"] == [least.get(key, "") for key in keys]) | (entries["role"] == "upper")]


def _panels(entries: pd.DataFrame, least: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """Datasets in their order, with the amounts that are drawn."""
    named: dict[str, dict[str, None]] = {dataset: {} for dataset in entries["dataset"]}
    for (dataset, _), amount in least.items():
        named[dataset][amount] = None
    return {dataset: " and ".join(found) or "all labels" for dataset, found in named.items()}


def _words(entries: pd.DataFrame, fronts: Mapping[Key, tuple[bool, float]]) -> str:
    least = set(_smallest(entries).items())
    kinds = {(entry.label, entry.dataset): entry.annotation for entry in entries.itertuples() if entry.role != "upper"}
    names = [
        f"{label} ({dataset})"
        for (_, label, dataset, amount), (member, _) in fronts.items()
        if member and ((dataset, kinds.get((label, dataset), "")), amount) in least
    ]
    return (", ".join(names) or "nobody") + "."
