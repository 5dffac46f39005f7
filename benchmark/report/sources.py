"""Where every printed number comes from: ``numbers.csv``.

One row per number of every table, in the order in which tables, rows and columns are printed; LaTeX and Markdown refer
to these rows. ``cells`` names the folders below ``results/<plan>``; the ``scores.csv`` in each is the per-case file.
What compares a whole column, such as a rank, names instead the ``numbers`` that it follows from: the Dice of that
column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from .style import slug
from .tables import Column, Table

MAIN = "main-"
"""How the keys of the tables begin whose Dice everything else is compared by; then comes the name of the dataset."""


def numbers(tables: Sequence[Table]) -> pd.DataFrame:
    """Columns ``number`` (from 1), ``table``, ``row``, ``role``, ``group``, ``column``, ``text`` as printed, ``cells``,
    ``numbers``.
    """  # noqa: D205
    dice = _dice(tables)
    rows = [
        (
            *(table.key, row.label, row.role, column.dataset, column.amount, number.text, " ".join(number.ids)),
            "" if number.ids or not re.search(r"\d", number.text) else _behind(column, dice),
        )
        for table in tables
        for row in table.rows
        for column, number in zip(table.columns, row.numbers, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["table", "row", "role", "group", "column", "text", "cells", "numbers"])
    frame.insert(0, "number", range(1, len(rows) + 1))
    return frame


def firsts(tables: Sequence[Table]) -> dict[str, int]:
    """By key of the table, the ``number`` of its first number; the others follow row by row."""
    found, number = {}, 1
    for table in tables:
        found[table.key] = number
        number += len(table.rows) * len(table.columns)
    return found


def _dice(tables: Sequence[Table]) -> dict[tuple[str, str], list[int]]:
    """The numbers of every column of Dice, by the dataset's slug and the amount."""
    found: dict[tuple[str, str], list[int]] = {}
    for table, first in zip(tables, firsts(tables).values(), strict=True):
        for row_place in range(len(table.rows) if table.key.startswith(MAIN) else 0):
            for place, column in enumerate(table.columns):
                if column.amount.startswith("Dice"):
                    key = (re.sub(r"-\d+$", "", table.key.removeprefix(MAIN)), column.dataset)
                    found.setdefault(key, []).append(first + row_place * len(table.columns) + place)
    return found


def _behind(column: Column, dice: dict[tuple[str, str], list[int]]) -> str:
    """Dice of this very column, else of the dataset, else of all."""
    name = slug(column.dataset)
    exact = dice.get((name, column.amount))
    of_dataset = [number for (dataset, _), numbers in dice.items() if dataset == name for number in numbers]
    every = [number for numbers in dice.values() for number in numbers]
    return " ".join(map(str, exact or of_dataset or every))
