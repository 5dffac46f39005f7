"""The table that a paper prints: per dataset, Dice, HD95 and failures of every method side by side."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from . import naming
from .footnotes import means_note, notes
from .frame import Results
from .style import slug
from .summary import amounts
from .tables import Column, Table, mean, rows_of
from .winners import Standings

_FAILED = (
    "Failed: pairs of test case and class that were missed, spurious or not predicted, of all pairs of a seed that are "
    "in the reference or the prediction."
)


def main_tables(results: Results, table: pd.DataFrame, *, rule: str, standings: Standings) -> list[Table]:
    """One table per dataset, a group of three columns per amount of labels.

    Args:
        results: the records.
        table: `summary.entries`.
        rule: what failures count for.
        standings: `winners.standings`.
    """
    made = []
    for dataset, of in table.groupby("dataset", sort=False):
        unit = "/".join(sorted(set(of["unit"]) - {""}))
        columns = tuple(Column(name, amount) for name, amount in amounts(of))
        heads = ("Dice (%)", f"HD95 ({unit})" if unit else "HD95", "failed (%)")

        kinds = (
            lambda entry: mean(entry, "dice", standings),
            lambda entry: mean(entry, "hd95", standings),
            lambda entry: mean(entry, "failure_rate", standings),
        )
        rows = []
        for parts in zip(*(rows_of(of, columns, number) for number in kinds), strict=True):
            numbers = tuple(number for three in zip(*(part.numbers for part in parts), strict=True) for number in three)
            rows.append(replace(parts[0], numbers=numbers))
        made.append(
            Table(
                key=f"main-{slug(str(dataset))}",
                title=f"{naming.title(results, str(dataset))}: Dice, HD95 and failed predictions",
                columns=tuple(Column(column.amount, head) for column in columns for head in heads),
                rows=tuple(rows),
                notes=(*means_note(results, of, rule, standings), _FAILED),
                shared=notes(results, table),
            )
        )
    return made
