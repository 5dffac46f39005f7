"""Tables as data: methods × (dataset, labelled amount), with everything that belongs below them.

A `Table` knows what is printed and which cells each number comes from; `render` and `page` know how it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from ..metrics.policy import DEFAULT_RULE
from . import numerals
from .footnotes import failed_cells, means_note, notes
from .frame import Results
from .numerals import with_spread
from .summary import amounts, key_of, order
from .winners import Standing, Standings

MOST_COLUMNS = 12
"""Columns of one table; further datasets go into the next panel. Twelve fit on a page in landscape."""

BOUNDS = {"upper": "upper bound", "lower": "lower bound"}
NOT_PLANNED = "n/a"

FAILURES = (
    "Pairs of test case and class that were missed, spurious or not predicted, of all pairs that are in the reference "
    "or the prediction; in brackets their share, over complete seeds. +k: pairs in neither, "
    "which the rule for empty masks deals with."
)


Look = Literal["", "winner", "oracle"]


@dataclass(frozen=True)
class Column:
    """One dataset at one labelled amount."""

    dataset: str
    amount: str
    unit: str = ""


@dataclass(frozen=True)
class Number:
    """One printed number, or several lines, and the cells that it comes from.

    ``look``: "" as it is; "winner" is printed bold; "oracle" is watermarked, for nobody may claim it. ``parts``: what
    running text may want of it, by name ("" is the value itself), without signs; none: all of ``text``.
    """

    text: str
    ids: tuple[str, ...] = ()
    sort: float = float("nan")
    look: Look = ""
    parts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Row:
    """One method. The number of an upper bound stands for all amounts of its dataset.

    ``marks`` are printed behind the label: its bound, and the kind of annotation where a table mixes kinds.
    """

    label: str
    role: str
    numbers: tuple[Number, ...]
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table, ready to be written: title, columns, rows (upper bounds on top) and the sentences below it.

    ``shared`` sentences belong to several tables: a document may print them once, a float of LaTeX stands alone.
    ``head`` is what the labels of the rows are; ``spoken`` makes people's names of the codes of datasets.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    shared: tuple[str, ...] = ()
    head: str = "Method"
    spoken: Callable[[str], str] = str

    @property
    def leads(self) -> bool:
        """Whether it holds the results themselves, means and verdicts; the others stand behind them."""
        return self.key.startswith(("main-", "dice", "hd95", "verdicts", "overall"))

    @property
    def spans(self) -> list[tuple[str, int]]:
        """Datasets and how many neighbouring columns each of them has."""
        found: dict[str, int] = {}
        for column in self.columns:
            name = self.spoken(column.dataset) + (f" ({column.unit})" if column.unit else "")
            found[name] = found.get(name, 0) + 1
        return list(found.items())

    def cells(self, row: Row) -> list[tuple[Number, int]]:
        """The numbers of a row and how many columns each spans: an upper bound is the same for every amount."""
        found: list[tuple[Number, int]] = []
        place = 0
        for _, width in self.spans:
            block = row.numbers[place : place + width]
            same = row.role == "upper" and len({(number.text, number.ids) for number in block}) == 1
            found += [(block[0], width)] if same else [(number, 1) for number in block]
            place += width
        return found


def build(
    results: Results, table: pd.DataFrame, *, rule: str = DEFAULT_RULE, standings: Standings | None = None
) -> list[Table]:
    """The tables over all datasets, from `summary.entries` and `winners.standings`."""
    shown = standings or {}
    units = {dataset: "/".join(sorted(set(rows["unit"]) - {""})) for dataset, rows in table.groupby("dataset")}
    unit = next(iter(set(units.values()))) if len(set(units.values())) == 1 else ""
    in_title = f" ({unit})" if unit else " (unit in the header)" if any(units.values()) else ""
    shared = notes(results, table)
    means = means_note(results, table, rule, shown)
    kinds: list[tuple[str, str, Callable[[Any], Number], tuple[str, ...]]] = [
        ("dice", "Dice (%), higher is better", lambda e: mean(e, "dice", shown), means),
        ("hd95", f"HD95{in_title}, lower is better", lambda e: mean(e, "hd95", shown), means),
        ("failures", "Failed predictions", _failures, (FAILURES,)),
        ("cells", "Cells finished, of those planned", _cells, failed_cells(results)),
    ]
    columns = columns_of(table)
    made = []
    for key, title, number, below in kinds:
        in_unit = [replace(c, unit=units.get(c.dataset, "")) if key == "hd95" and not unit else c for c in columns]
        rows = tuple(rows_of(table, columns, number))
        made.append(Table(key, title, tuple(in_unit), rows, below, shared if below is means else ()))
    return made


def columns_of(table: pd.DataFrame) -> tuple[Column, ...]:
    """The columns of every table of `summary.entries`."""
    return tuple(Column(dataset, amount) for dataset, amount in amounts(table))


def only(table: Table, datasets: Collection[str]) -> Table:
    """The columns of some datasets."""
    kept = [place for place, column in enumerate(table.columns) if column.dataset in datasets]
    rows = tuple(replace(row, numbers=tuple(row.numbers[place] for place in kept)) for row in table.rows)
    return replace(table, columns=tuple(table.columns[place] for place in kept), rows=rows)


def in_words(table: Table, spoken: Callable[[str], str]) -> Table:
    """The table with people's names for codes of datasets in all but the plan's own protocol; no sentence twice."""

    def said(notes: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(note if note.startswith("Protocol: ") else spoken(note) for note in notes))

    return replace(table, title=spoken(table.title), notes=said(table.notes), shared=said(table.shared), spoken=spoken)


def typeset(table: Table) -> Table:
    """The table with the signs of its numbers as `numerals` prints them."""
    rows = (
        replace(row, numbers=tuple(replace(n, text=numerals.typeset(n.text)) for n in row.numbers))
        for row in table.rows
    )
    return replace(table, rows=tuple(rows))


def panels(table: Table) -> list[Table]:
    """A table that is too wide, in parts of whole datasets; any other as it is."""
    parts: list[list[int]] = [[]]
    for dataset in dict.fromkeys(column.dataset for column in table.columns):
        block = [place for place, column in enumerate(table.columns) if column.dataset == dataset]
        if parts[-1] and len(parts[-1]) + len(block) > MOST_COLUMNS:
            parts.append([])
        parts[-1] += block
    if len(parts) == 1:
        return [table]
    made = []
    for number, part in enumerate(parts, start=1):
        cut = [replace(row, numbers=tuple(row.numbers[place] for place in part)) for row in table.rows]
        rows = tuple(row for row in cut if any(number.text != NOT_PLANNED for number in row.numbers))
        columns = tuple(table.columns[place] for place in part)
        title = f"{table.title} ({number} of {len(parts)})"
        made.append(replace(table, key=f"{table.key}-{number}", title=title, columns=columns, rows=rows))
    return made


def rows_of(table: pd.DataFrame, columns: tuple[Column, ...], number: Callable[[Any], Number]) -> Iterable[Row]:
    """Upper bounds, then methods and lower bounds by mean Dice, each with ``number`` of its entry in every column."""
    found = {key_of(entry): entry for entry in table.itertuples()}
    kinds = {(entry.role, entry.label): entry.annotation for entry in found.values()}
    mixed = len({kind for (role, _), kind in kinds.items() if role != "upper"}) > 1

    def marks(role: str, label: str) -> tuple[str, ...]:
        bound = (BOUNDS[role],) if role in BOUNDS else ()
        return (*bound, f"{kinds[role, label]} labels") if mixed and role != "upper" else bound

    for label in dict.fromkeys(table.loc[table["role"] == "upper", "label"]):
        amount = {entry.dataset: entry for entry in found.values() if entry.role == "upper" and entry.label == label}
        numbers = (number(amount[c.dataset]) if c.dataset in amount else Number(NOT_PLANNED) for c in columns)
        yield Row(label, "upper", tuple(numbers), marks("upper", label))
    for label in order(table):
        roles = [role for role in ("lower", "method") if ((table["label"] == label) & (table["role"] == role)).any()]
        for role in roles:
            keys = [(role, label, c.dataset, c.amount) for c in columns]
            if any(key in found for key in keys):
                numbers = (number(found[key]) if key in found else Number(NOT_PLANNED) for key in keys)
                yield Row(label, role, tuple(numbers), marks(role, label))


def mean(entry: Any, metric: str, standings: Standings) -> Number:
    """Mean ± standard deviation over seeds of Dice or failures (both in %) or HD95, with its standing."""
    scale, digits = {"dice": (100, 1), "hd95": (1, 2), "failure_rate": (100, 1)}[metric]
    value, spread = getattr(entry, f"{metric}_mean"), getattr(entry, f"{metric}_sd")
    if not entry.n or value != value:
        return Number(f"–{unfinished(entry)}", entry.ids)
    text = with_spread(scale * value, scale * spread, digits) + unfinished(entry)
    standing = standings.get((metric, *key_of(entry)), Standing())
    look: Look = "winner" if standing.winner else ""
    return Number(text + standing.sign, entry.ids, value, look, (("", text),))


def unfinished(entry: Any) -> str:
    """Such as `` (2/3)``, seeds that are complete and planned; nothing where all are."""
    return "" if entry.n == entry.planned else f" ({entry.n}/{entry.planned})"


def _failures(entry: Any) -> Number:
    bad = entry.missed + entry.spurious + entry.failed
    scored = entry.rows - entry.both_empty
    if not entry.rows:
        return Number("–", entry.ids)
    text = f"{bad}/{scored}"
    if bad and entry.n:
        text += f" ({with_spread(100 * entry.failure_rate_mean, 100 * entry.failure_rate_sd)}%)"
    return Number(text + (f" +{entry.both_empty}" if entry.both_empty else ""), entry.ids, bad / max(scored, 1))


def _cells(entry: Any) -> Number:
    parts = [f"{entry.finished}/{len(entry.ids)}"]
    parts += [f"{entry.failed_cells} failed"] if entry.failed_cells else []
    parts += [f"{entry.missing} missing"] if entry.missing else []
    return Number(", ".join(parts), entry.ids, entry.finished)
