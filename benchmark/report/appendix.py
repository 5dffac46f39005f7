"""Tables that stand behind the main ones: what choosing weights by looking adds, and every class by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import pandas as pd

from ..record import LARGEST, OTHER
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


@dataclass(frozen=True)
class Reading:
    """Another selection of `Score.selection` than the headline: its title, what it is of, and what is shown of it."""

    title: str
    what: str
    metrics: tuple[str, ...] = ("dice",)
    chosen: bool = False
    """Among checkpoints."""


READINGS = {
    "best_val": Reading("of other weights: best on validation", "the weights best on validation", chosen=True),
    "oracle": Reading(
        "of other weights: best on test (nobody may claim it: it looks at the answers)",
        "the weights best on test",
        chosen=True,
    ),
    LARGEST: Reading(
        "of largest components",
        "the same predictions, of which each class keeps its largest component in each case (26-connected, in single "
        "images 8-connected), which says nothing of classes in several pieces, such as nuclei",
        ("dice", "hd95"),
    ),
    f"{OTHER}teacher": Reading(
        "of teachers", "the teacher in its student's place, for the methods that have one", ("dice", "hd95")
    ),
    f"{OTHER}teacher2": Reading(
        "of second teachers",
        "the second teacher in its student's place, for the methods that have two",
        ("dice", "hd95"),
    ),
    f"{OTHER}partner": Reading(
        "of partners", "the partner in the network's place, for the methods that have one", ("dice", "hd95")
    ),
    **{
        f"{OTHER}{which}": Reading(
            f"of {which} networks",
            f"the {which} of two networks alone, for the methods that predict with both",
            ("dice", "hd95"),
        )
        for which in ("first", "second")
    },
}
"""In the order of their tables; those of other names that methods give follow, see :func:`reading`."""


def reading(selection: str) -> Reading:
    """What a selection is of."""
    name = selection.removeprefix(OTHER)
    other = Reading(f"of {name}", f"{name} in the method's place, for the methods that have it", ("dice", "hd95"))
    return READINGS.get(selection, other)


def selection_tables(results: Results, table: pd.DataFrame, patients: pd.DataFrame) -> list[Table]:
    """What else was scored than the headline, and what it changes; none where only that was scored.

    The difference to the oracle is what a paper gains by choosing its checkpoint on the test set. Its numbers are
    watermarked, and never bold.
    """
    made, known, last = [], set(results.scores["selection"]), _by_seed(results, patients, HEADLINE)
    further = sorted(name for name in known - set(READINGS) if name.startswith(OTHER))
    for selection in (*(name for name in READINGS if name in known), *further):
        others = {key_of(entry): entry for entry in entries(results, patients, selection=selection).itertuples()}
        differences = _by_seed(results, patients, selection) - last
        made += [
            _reading(results, table, others, differences[metric], selection) for metric in reading(selection).metrics
        ]
    return made


def _reading(
    results: Results, table: pd.DataFrame, others: Mapping[tuple[str, ...], Any], differences: pd.Series, selection: str
) -> Table:
    """The table of one metric, which is the name of the differences by entry and seed."""
    columns, of, metric = columns_of(table), reading(selection), str(differences.name)
    scale, digits, unit = {"dice": (100, 1, "%"), "hd95": (1, 2, "/".join(sorted(set(table["unit"]) - {""})))}[metric]
    gains = (scale * differences).groupby(ENTRY).agg(["mean", "std"])
    look: Look = "oracle" if selection == "oracle" else ""

    def number(entry: Any) -> Number:
        key = key_of(entry)
        found = mean(others[key], metric, {})
        gain, deviation = gains.loc[key] if key in gains.index else (nan, nan)
        if gain != gain:
            return found
        added = with_spread(gain, deviation, digits, sign="+")
        return Number(f"{found.text}\n{added}", entry.ids, gain, look, (("", found.text), ("gain", added)))

    name, points = ("Dice", "in points") if metric == "dice" else ("HD95", f"in {unit}")
    rows = rows_of(table, columns, number)
    if not of.chosen:
        rows = [row for row in rows if any(len(number.parts) > 1 for number in row.numbers)]
    return Table(
        key=f"selection-{selection}" + ("" if metric == "dice" else f"-{metric}"),
        title=f"{name} ({unit}) {of.title}",
        columns=columns,
        rows=tuple(rows),
        notes=(
            f"{name} of {of.what}, and below it what this adds to that of the {HEADLINE} step of the same seed, "
            f"{points}. {spread(table)}. Columns sort by what is added.",
            *(_checkpoints(results) if of.chosen else ()),
        ),
    )


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


def _by_seed(results: Results, patients: pd.DataFrame, selection: str) -> pd.DataFrame:
    """The means of every entry and complete seed, by both."""
    return seed_values(results, patients, selection=selection).set_index([*ENTRY, "seed"])[["dice", "hd95"]]


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
