"""Tables that stand behind the main ones: what choosing weights by looking adds, and every class by itself."""

from __future__ import annotations

from math import nan
from typing import Any

import pandas as pd

from .frame import Results
from .summary import ENTRY, HEADLINE, amounts, entries
from .tables import NOT_PLANNED, Column, Look, Number, Row, Table, columns_of, rows_of

SELECTIONS = {
    "best_val": "best on validation",
    "oracle": "best on test (nobody may claim it: it looks at the answers)",
}


def selection_tables(results: Results, table: pd.DataFrame, patients: pd.DataFrame) -> list[Table]:
    """Dice of other selections of weights, and what they add to the last step; none where only that was scored.

    The difference to the oracle is what a paper gains by choosing its checkpoint on the test set. Its numbers are
    watermarked, and never bold.
    """
    made, columns = [], columns_of(table)
    headline = table.set_index(ENTRY)["dice_mean"]
    for selection, words in SELECTIONS.items():
        if selection not in set(results.scores["selection"]):
            continue
        other = entries(results, patients, selection=selection).set_index(ENTRY)["dice_mean"]
        gains = 100 * (other - headline).reindex(headline.index)
        look: Look = "oracle" if selection == "oracle" else ""

        def number(entry: Any, other: pd.Series = other, gains: pd.Series = gains, look: Look = look) -> Number:
            key = tuple(getattr(entry, name) for name in ENTRY)
            value, gain = float(other.get(key, nan)), float(gains[key])
            if gain != gain:
                return Number("–", entry.ids)
            return Number(f"{100 * value:.1f} ({gain:+.1f})", entry.ids, gain, look)

        made.append(
            Table(
                key=f"selection-{selection}",
                title=f"Dice (%) of other weights: {words}",
                columns=columns,
                rows=tuple(rows_of(table, columns, number)),
                notes=(
                    f"Mean Dice of the weights {words.split(' (')[0]}, and in brackets what they add to that of the "
                    f"{HEADLINE} step, in points. Columns sort by what is added.",
                ),
            )
        )
    return made


def class_tables(by_class: pd.DataFrame, table: pd.DataFrame) -> list[Table]:
    """Dice and HD95 of every class: one table per dataset and metric; amounts × classes are its columns.

    Args:
        by_class: `summary.class_entries`.
        table: `summary.entries`, which knows the order, the units and the cells.
    """
    made = []
    means = {
        (e["role"], e["label"], e["dataset"], e["amount"], str(e["class"])): e for e in by_class.to_dict("records")
    }
    for dataset, of in table.groupby("dataset", sort=False):
        classes = list(dict.fromkeys(by_class.loc[by_class["dataset"] == dataset, "class"].astype(str)))
        unit = "/".join(sorted(set(of["unit"]) - {""}))
        levels = [amount for name, amount in amounts(table) if name == dataset]
        columns = tuple(Column(amount, name) for amount in levels for name in classes)
        for metric, title, scale, digits in (("dice", "Dice (%)", 100, 1), ("hd95", f"HD95 ({unit})", 1, 2)):
            rows = []
            for row in rows_of(of, tuple(Column(str(dataset), amount) for amount in levels), _entry_key):
                numbers = [
                    _class_number(number, means.get((*number.text.split("\n"), name)), metric, scale, digits)
                    for number in row.numbers
                    for name in classes
                ]
                rows.append(Row(row.label, row.role, tuple(numbers), row.marks))
            if classes:
                title = f"{dataset}: {title} of every class"
                made.append(Table(f"classes-{metric}-{dataset}", title, columns, tuple(rows), ()))
    return made


def _entry_key(entry: Any) -> Number:
    """Which entry stands in a column, as a text that `class_tables` looks its classes up by."""
    return Number("\n".join(getattr(entry, key) for key in ENTRY), entry.ids)


def _class_number(place: Number, entry: Any, metric: str, scale: float, digits: int) -> Number:
    if entry is None:
        return Number(NOT_PLANNED if not place.ids else "–", place.ids)
    mean, spread = entry[f"{metric}_mean"], entry[f"{metric}_sd"]
    if mean != mean:
        return Number("–", place.ids)
    text = f"{scale * mean:.{digits}f}" + (f" ± {scale * spread:.{digits}f}" if spread == spread else "")
    return Number(text, place.ids, mean)
