"""Tables that stand behind the main ones: what choosing weights by looking adds, and every class by itself."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any

import pandas as pd

from . import naming
from .footnotes import spread
from .frame import Results
from .numerals import with_spread
from .style import slug
from .summary import ENTRY, HEADLINE, amounts, entries, key_of, seed_values
from .tables import NOT_PLANNED, Column, Look, Number, Row, Table, columns_of, mean, rows_of, unfinished

FEWEST_CHECKPOINTS = 5
"""Below it a table says that choosing among so few shows little."""

MOST_STEPS = 6
"""Steps of checkpoints that are named one by one."""

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
    last = _dice_by_seed(results, patients, HEADLINE)
    for selection, words in SELECTIONS.items():
        if selection not in set(results.scores["selection"]):
            continue
        others = {key_of(entry): entry for entry in entries(results, patients, selection=selection).itertuples()}
        gains = (100 * (_dice_by_seed(results, patients, selection) - last)).groupby(ENTRY).agg(["mean", "std"])
        look: Look = "oracle" if selection == "oracle" else ""

        def number(entry: Any, others: Any = others, gains: pd.DataFrame = gains, look: Look = look) -> Number:
            key = key_of(entry)
            found = mean(others[key], "dice", {})
            gain, deviation = gains.loc[key] if key in gains.index else (nan, nan)
            if gain != gain:
                return found
            added = with_spread(gain, deviation, sign="+")
            return Number(f"{found.text}\n{added}", entry.ids, gain, look, (("", found.text), ("gain", added)))

        made.append(
            Table(
                key=f"selection-{selection}",
                title=f"Dice (%) of other weights: {words}",
                columns=columns,
                rows=tuple(rows_of(table, columns, number)),
                notes=(
                    f"Dice of the weights {words.split(' (')[0]}, and below it what they add to that of the {HEADLINE} "
                    f"step of the same seed, in points. {spread(table)}. Columns sort by what is added.",
                    *_checkpoints(results),
                ),
            )
        )
    return made


def _checkpoints(results: Results) -> list[str]:
    """Among how many checkpoints weights were chosen, and at which steps; few leave a choice next to nothing to add."""
    steps = {
        tuple(int(point["step"]) for point in record.validation)
        for record in results.records.values()
        if record.status == "finished" and record.validation
    }
    if not steps:
        return []
    told = "; or ".join(f"{len(each)}, at {_steps(each)}" for each in sorted(steps, key=lambda each: (len(each), each)))
    few = min(map(len, steps)) < FEWEST_CHECKPOINTS
    warning = f" Fewer than {FEWEST_CHECKPOINTS} are too few to say what choosing adds or costs." if few else ""
    return [f"Checkpoints to choose among: {told}.{warning}"]


def _steps(steps: Sequence[int]) -> str:
    """Such as ``steps 600 and 1200``, or ``steps 100, 200, … 5000``."""
    shown = [str(step) for step in steps]
    if len(shown) > MOST_STEPS:
        return f"steps {shown[0]}, {shown[1]}, … {shown[-1]}"
    return f"step {shown[0]}" if len(shown) == 1 else f"steps {', '.join(shown[:-1])} and {shown[-1]}"


def _dice_by_seed(results: Results, patients: pd.DataFrame, selection: str) -> pd.Series:
    """Mean Dice of every entry and complete seed, by both."""
    return seed_values(results, patients, selection=selection).set_index([*ENTRY, "seed"])["dice"]


def class_tables(results: Results, by_class: pd.DataFrame, table: pd.DataFrame) -> list[Table]:
    """Dice and HD95 of every class: one table per dataset and metric; amounts × classes are its columns.

    Args:
        results: the records.
        by_class: `summary.class_entries`.
        table: `summary.entries`, which knows the order, the units and the cells.
    """
    made = []
    means = {
        (e["role"], e["label"], e["dataset"], e["amount"], str(e["class"])): e for e in by_class.to_dict("records")
    }
    ends = {key_of(entry): unfinished(entry) for entry in table.itertuples()}
    for dataset, of in table.groupby("dataset", sort=False):
        classes = list(dict.fromkeys(by_class.loc[by_class["dataset"] == dataset, "class"].astype(str)))
        unit = "/".join(sorted(set(of["unit"]) - {""}))
        levels = [amount for name, amount in amounts(table) if name == dataset]
        columns = tuple(Column(amount, name) for amount in levels for name in classes)
        on = naming.tested(results, [str(dataset)])
        note = f"{spread(of)}{f', on {on}' if on else ''}. Nothing is tested by class; unrounded: classes.csv."
        for metric, title, scale, digits in (("dice", "Dice (%)", 100, 1), ("hd95", f"HD95 ({unit})", 1, 2)):
            rows = []
            for row in rows_of(of, tuple(Column(str(dataset), amount) for amount in levels), _entry_key):
                numbers = [
                    _class_number(number, means.get((*key, name)), metric, scale, digits, ends.get(key, ""))
                    for number, key in ((number, tuple(number.text.split("\n"))) for number in row.numbers)
                    for name in classes
                ]
                rows.append(Row(row.label, row.role, tuple(numbers), row.marks))
            if classes:
                title = f"{naming.title(results, str(dataset))}: {title} of every class"
                made.append(Table(f"classes-{metric}-{slug(str(dataset))}", title, columns, tuple(rows), (note,)))
    return made


def _entry_key(entry: Any) -> Number:
    """Which entry stands in a column, as a text that `class_tables` looks its classes up by."""
    return Number("\n".join(getattr(entry, key) for key in ENTRY), entry.ids)


def _class_number(place: Number, entry: Any, metric: str, scale: float, digits: int, end: str) -> Number:
    if entry is None:
        return Number(NOT_PLANNED if not place.ids else "–", place.ids)
    value, spread = entry[f"{metric}_mean"], entry[f"{metric}_sd"]
    if value != value:
        return Number("–", place.ids)
    return Number(with_spread(scale * value, scale * spread, digits) + end, place.ids, value)
