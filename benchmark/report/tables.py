"""Tables as data: methods × (dataset, labelled amount), with everything that belongs below them.

A `Table` knows what is printed and which cells each number comes from; `render` and `page` know how it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ..metrics.policy import DEFAULT_RULE, RULES
from ..shapes import EXTRA
from .frame import Results
from .summary import ENTRY, amounts, order

MOST_COLUMNS = 12
"""Columns of one table; further datasets go into the next panel. Twelve fit on a page in landscape."""

BOUNDS = {"upper": "upper bound", "lower": "lower bound"}
NOT_PLANNED = "n/a"

_FAILURES = (
    "Pairs of test case and class that were missed, spurious or not predicted, of all pairs that are in the reference "
    "or the prediction. +k: pairs in neither, which the rule for empty masks deals with."
)


@dataclass(frozen=True)
class Column:
    """One dataset at one labelled amount."""

    dataset: str
    amount: str
    unit: str = ""


@dataclass(frozen=True)
class Number:
    """One printed number, or several lines, and the cells that it comes from."""

    text: str
    ids: tuple[str, ...] = ()
    sort: float = float("nan")


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
    ``head`` is what the labels of the rows are.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    shared: tuple[str, ...] = ()
    head: str = "Method"

    @property
    def spans(self) -> list[tuple[str, int]]:
        """Datasets and how many neighbouring columns each of them has."""
        found: dict[str, int] = {}
        for column in self.columns:
            name = f"{column.dataset} ({column.unit})" if column.unit else column.dataset
            found[name] = found.get(name, 0) + 1
        return list(found.items())


def build(results: Results, table: pd.DataFrame, *, rule: str = DEFAULT_RULE) -> list[Table]:
    """The main tables of a report from `summary.entries`."""
    units = {dataset: "/".join(sorted(set(rows["unit"]) - {""})) for dataset, rows in table.groupby("dataset")}
    unit = next(iter(set(units.values()))) if len(set(units.values())) == 1 else ""
    in_title = f" ({unit})" if unit else " (unit in the header)" if any(units.values()) else ""
    shared = notes(results, table)
    means = _means_note(table, rule)
    kinds: list[tuple[str, str, Callable[[Any], Number], tuple[str, ...]]] = [
        ("dice", "Dice (%), higher is better", lambda e: _mean(e, "dice", scale=100, digits=1), means),
        (
            "hd95",
            f"HD95{in_title}, lower is better",
            lambda e: _mean(e, "hd95", scale=1, digits=2),
            means,
        ),
        ("failures", "Failed predictions", _failures, (_FAILURES,)),
        ("cells", "Cells finished, of those planned", _cells, _failed_cells(results)),
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


def state(results: Results) -> str:
    """One sentence: how much of the plan there is."""
    counts = results.cells["status"].value_counts()
    parts = [f"{counts[name]} {name}" for name in ("failed", "killed", "missing") if counts.get(name, 0)]
    finished, planned = int(counts.get("finished", 0)), len(results.cells)
    sentence = f"{finished} of {planned} cells finished" + (f"; {', '.join(parts)}" if parts else "") + "."
    if not finished:
        sentence = f"No cell has finished yet, so there is no number to show. {sentence}"
    if results.strays:
        sentence += (
            f" {len(results.strays)} further records belong to other settings or versions and are not shown: "
            f"{', '.join(results.strays[:5])}{' …' if len(results.strays) > 5 else ''}."
        )
    return sentence


def notes(results: Results, table: pd.DataFrame) -> tuple[str, ...]:
    """What every table of means says below: bounds, order, protocol, label budget, tuning, what is missing."""
    sentences = []
    roles = set(table["role"])
    if "upper" in roles:
        sentences.append("Upper bound: supervised with all training labels; it is the same for every labelled amount.")
    if "lower" in roles:
        sentences.append("Lower bound: the same labels without anything that a label-efficient method adds.")
    if table.loc[table["role"] != "upper", "annotation"].nunique() > 1:
        sentences.append(
            "Dense labels name every pixel, scribble labels a few strokes: at the same share of patients they are not "
            "the same amount of work, and methods of one kind are to be read against the lower bound of that kind."
        )
    sentences.append(
        "Rows are sorted by mean Dice. Nothing is bold: a higher mean alone is no evidence. Which methods differ from "
        "their lower bound is said under “Against the lower bound”; other differences have not been tested."
    )
    if results.tuned:
        sentences.append(f"Hyper-parameters: {results.tuned}.")
    if results.protocol:
        sentences.append(f"Protocol: {results.protocol.strip()}")
    sentences += budget(results) + extra_labels(results)
    return (*sentences, *results.notes)


def budget(results: Results) -> list[str]:
    """The label budget of every dataset: labelled and validation groups both cost annotation."""
    cells = results.cells[results.cells["role"] != "upper"]
    sentences = []
    for dataset, of_dataset in cells.groupby("dataset", sort=False):
        parts, train, test = [], set(), set()
        for (_, amount), rows in of_dataset.groupby(["level", "amount"]):
            splits = [results.records[name].split for name in rows["id"] if name in results.records]
            splits = [split for split in splits if split]
            if splits:
                labelled = _range(len(split.get("labelled_groups", ())) for split in splits)
                parts.append(f"{amount} = {labelled} + {_range(split.get('val_groups', 0) for split in splits)}")
                train |= {split.get("train_groups", 0) for split in splits}
                test |= {split.get("test_groups", 0) for split in splits}
        if parts:
            sentences.append(
                f"Label budget of {dataset}, in patients or videos, labelled + validation: {'; '.join(parts)}; of "
                f"{_range(train)} for training. Test: {_range(test)}."
            )
    return sentences


def extra_labels(results: Results) -> list[str]:
    """Who trained with dense labels that the other methods did not have, one sentence per method and dataset."""
    found: dict[str, None] = {}
    for cell in results.cells.itertuples():
        record = results.records.get(cell.id)
        for note in record.notes if record else ():
            if note.startswith(EXTRA):
                found[f"{cell.label} on {cell.dataset} {note.split(';')[0]}."] = None
    return list(found)


def rows_of(table: pd.DataFrame, columns: tuple[Column, ...], number: Callable[[Any], Number]) -> Iterable[Row]:
    """Upper bounds, then methods and lower bounds by mean Dice, each with ``number`` of its entry in every column."""
    found = {tuple(getattr(entry, key) for key in ENTRY): entry for entry in table.itertuples()}
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


def _mean(entry: Any, metric: str, *, scale: float, digits: int) -> Number:
    mean, spread = getattr(entry, f"{metric}_mean"), getattr(entry, f"{metric}_sd")
    if not entry.n or mean != mean:
        return Number("–" if entry.n == entry.planned else f"– ({entry.n}/{entry.planned})", entry.ids)
    text = f"{scale * mean:.{digits}f}"
    if spread == spread:
        text += f" ± {scale * spread:.{digits}f}"
    if entry.n != entry.planned:
        text += f" ({entry.n}/{entry.planned})"
    return Number(text, entry.ids, mean)


def _failures(entry: Any) -> Number:
    bad = entry.missed + entry.spurious + entry.failed
    scored = entry.rows - entry.both_empty
    if not entry.rows:
        return Number("–", entry.ids)
    text = f"{bad}/{scored}" + (f" ({100 * bad / scored:.1f}%)" if bad else "")
    return Number(text + (f" +{entry.both_empty}" if entry.both_empty else ""), entry.ids, bad / max(scored, 1))


def _cells(entry: Any) -> Number:
    parts = [f"{entry.finished}/{len(entry.ids)}"]
    parts += [f"{entry.failed_cells} failed"] if entry.failed_cells else []
    parts += [f"{entry.missing} missing"] if entry.missing else []
    return Number(", ".join(parts), entry.ids, entry.finished)


def _means_note(table: pd.DataFrame, rule: str) -> tuple[str, ...]:
    planned = _range(table["planned"])
    folds = "; all folds of a seed are one set of patients" if any(table["planned"] < table["ids"].map(len)) else ""
    return (
        f"Mean ± standard deviation over seeds, n = {planned} (complete/planned where a seed is unfinished){folds}. "
        "Scans are averaged within a patient, then classes, then patients, then seeds. Weights of the last step.",
        f"Rule for empty masks and failures: {rule}. {RULES[rule].description}",
    )


def _failed_cells(results: Results) -> tuple[str, ...]:
    rows = results.cells[results.cells["status"].isin(["failed", "killed"])]
    return tuple(
        f"{row.status.capitalize()}: {row.label}, {row.dataset} {row.amount}, seed {row.seed}, fold {row.fold}: "
        f"{row.reason or 'no reason recorded'}"
        for row in rows.itertuples()
    )


def _range(values: Iterable[int]) -> str:
    found = sorted(set(values))
    return str(found[0]) if len(found) == 1 else f"{found[0]}–{found[-1]}"
