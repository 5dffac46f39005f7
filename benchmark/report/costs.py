"""What a method costs, and which methods are worth it: a table, and Dice against training time with the Pareto front.

A method is on the front if no other with the same kind of labels is both as fast and as good. Which ones are depends on
the luck of seeds and patients; the table therefore says in which share of resampled studies each of them is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import style
from .blocks import Block
from .frame import Results
from .multiples import small_multiples
from .ranks import resampled
from .style import Look, Picture, known, named
from .summary import ENTRY, key_of
from .tables import NOT_PLANNED, Column, Number, Row, Table, columns_of, rows_of
from .verdicts import ENDPOINTS

Key = tuple[str, ...]


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


def on_front(table: pd.DataFrame, blocks: Sequence[Block]) -> dict[Key, tuple[bool, float]]:
    """Whether each entry but upper bounds is on the front, and in which share of resampled seeds and patients it is.

    Compared are the entries of one dataset, amount and kind of labels. The share is NaN where there are too few seeds;
    times are taken as they are.

    Args:
        table: `summary.entries`.
        blocks: `blocks.blocks`.
    """
    found: dict[Key, tuple[bool, float]] = {}
    for _, of in table[table["role"] != "upper"].groupby(["dataset", "amount", "annotation"], sort=False):
        here = front(of["train_seconds"].to_numpy(np.float64), of["dice_mean"].to_numpy(np.float64))
        for key, member in zip(of[ENTRY].itertuples(index=False, name=None), here, strict=True):
            found[key] = (bool(member), float("nan"))
    seconds = {key_of(entry): entry.train_seconds for entry in table.itertuples()}
    for block in blocks:
        keys = [(*member, block.dataset, block.amount) for member in block.members]
        times = np.array([seconds.get(key, np.nan) for key in keys])
        shares = front(times, resampled(block, ENDPOINTS[0].name)).mean(axis=0)
        for key, share in zip(keys, shares, strict=True):
            found[key] = (found[key][0], float(share))
    return found


def table(results: Results, entries: pd.DataFrame, fronts: Mapping[Key, tuple[bool, float]]) -> list[Table]:
    """Cost of every method on every dataset, over all amounts of labels; none before anything has finished."""
    entries = entries[entries["finished"] > 0]
    if entries.empty:
        return []
    kinds: dict[str, tuple[str, Callable[[pd.DataFrame], Number]]] = {
        "train_seconds": ("training (s)", lambda of: _number(of, "train_seconds", "mean")),
        "memory_mib": ("memory (MiB)", lambda of: _number(of, "memory_mib", "max", digits=0)),
        "parameters": ("parameters (M)", lambda of: _number(of, "parameters", "max", scale=1e-6, digits=2)),
        "predict_seconds": ("inference (s/case)", lambda of: _number(of, "predict_seconds", "mean", digits=3)),
    }
    recorded = [name for name in kinds if entries[name].notna().any()]
    datasets, least = list(dict.fromkeys(entries["dataset"])), _smallest(entries)
    columns = [Column(d, head) for d in datasets for head in [*(kinds[name][0] for name in recorded), "on the front"]]
    rows = []
    for row in _everybody(entries):
        numbers = []
        for dataset in datasets:
            of = entries[(entries["role"] == row.role) & (entries["label"] == row.label)]
            of = of[of["dataset"] == dataset]
            numbers += [kinds[name][1](of) if len(of) else Number(NOT_PLANNED) for name in recorded]
            kind = of["annotation"].iloc[0] if len(of) else ""
            key = (row.role, row.label, dataset, least.get((dataset, kind), ""))
            numbers.append(_standing(fronts.get(key), of.loc[of["amount"] == key[3], "ids"]))
        rows.append(Row(row.label, row.role, tuple(numbers), row.marks))
    return [Table("cost", "Cost", tuple(columns), tuple(rows), _notes(results, recorded))]


def pareto(
    entries: pd.DataFrame, rows: Sequence[str], looks: dict[str, Look], fronts: Mapping[Key, tuple[bool, float]]
) -> Iterator[Picture]:
    """Dice against training time at the smallest amount of labels, where times were recorded."""
    if entries["train_seconds"].notna().sum() == 0:
        return
    least = _smallest(entries)

    def draw(axes: Any, dataset: str, _: str) -> None:
        of = entries[(entries["dataset"] == dataset)]
        amounts_of = of["annotation"].map({kind: where for (name, kind), where in least.items() if name == dataset})
        of = of[(of["amount"] == amounts_of) | (of["role"] == "upper")]
        place = {label: number for number, label in enumerate(rows)}
        for entry in sorted(of.itertuples(), key=lambda entry: place.get(entry.label, -1)):
            look = looks.get(entry.label, style.UPPER)
            here = entry.role == "upper" or fronts[key_of(entry)][0]
            axes.errorbar(
                entry.train_seconds, 100 * entry.dice_mean, yerr=100 * known(entry.dice_sd), elinewidth=0.8,
                capsize=1.5, linestyle="none", label=named(entry.label, look), alpha=1 if here else 0.35, **look.dot(),
            )  # fmt: skip
        for _, kind in of[of["role"] != "upper"].groupby("annotation", sort=False):
            members = [e for e in kind.itertuples() if fronts[key_of(e)][0]]
            steps = sorted((entry.train_seconds, 100 * entry.dice_mean) for entry in members)
            axes.plot(*zip(*steps, strict=True), drawstyle="steps-post", color=style.FAINT, linewidth=0.8, zorder=0.5)
        axes.set_xlabel("Training time (s per cell)")
        axes.set_ylabel("Dice (%)")
        axes.grid()
        axes.margins(0.12)
        times = of["train_seconds"].dropna()
        if len(times) and times.max() > 8 * times.min() > 0:
            style.log_axis(axes, "x")

    yield Picture(
        "pareto",
        "Dice against cost",
        "Dice against training time, at the smallest amount of labels. On the front: " + _words(entries, fronts),
        "Training time of one cell, mean over seeds, against Dice ± one standard deviation over seeds, at the smallest "
        "amount of each kind of labels. Grey steps: the Pareto front of the methods with one kind of labels; pale: "
        "some other method is as fast and as good. Times compare only where the receipts name one kind of hardware "
        "and one version of the code.",
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


def _standing(found: tuple[bool, float] | None, ids: pd.Series) -> Number:
    if found is None:
        return Number("–")
    member, share = found
    text = ("yes" if member else "no") + (f" ({100 * share:.0f}%)" if share == share else "")
    return Number(text, ids.iloc[0] if len(ids) else (), share if share == share else float(member))


def _notes(results: Results, recorded: Sequence[str]) -> tuple[str, ...]:
    receipts = [record.receipt for record in results.records.values() if record.status == "finished"]
    machines = {str(sorted(of.get("hardware", {}).items())) for of in receipts}
    versions = {str(of.get("tree", "")) for of in receipts}
    notes = [
        "Means over finished cells of all amounts of labels; memory and parameters are the largest. Memory: the "
        "accelerator's at its peak, or where there is none that of the whole process. Parameters: those that are "
        "trained. Inference: from the image in memory to the label map in native geometry.",
        "On the front: at the smallest amount of its kind of labels, no other row with that kind trains as fast and "
        "segments as well; in brackets the share of resampled seeds and patients in which that is so.",
    ]
    if "predict_seconds" not in recorded:
        notes.append("Inference time was not recorded by the version that made these records.")
    if len(machines) > 1:
        notes.append(f"Times come from {len(machines)} kinds of hardware (see the receipts) and do not compare.")
    if len(versions) > 1:
        notes.append(
            f"Times come from {len(versions)} versions of the code (tree in the receipts): what is cheaper here may "
            "only have run under a faster one."
        )
    return tuple(notes)


def _smallest(entries: pd.DataFrame) -> dict[tuple[str, str], str]:
    """By dataset and kind of labels, the smallest amount that methods and lower bounds have."""
    others = entries[entries["role"] != "upper"].sort_values("level", kind="stable")
    found: dict[tuple[str, str], str] = {}
    for entry in others.itertuples():
        found.setdefault((entry.dataset, entry.annotation), entry.amount)
    return found


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
