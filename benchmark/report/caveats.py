"""What must be said under every table of a dataset: its card's caveats, and code that changed between its seeds."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import pandas as pd

import datasets

from .frame import Results
from .summary import ENTRY

MOST_NAMED = 6
"""Entries that a sentence names; a report of which every entry is meant names none."""


def caveats(results: Results, among: Container[str] | None = None) -> tuple[str, ...]:
    """One sentence per dataset of the records (``among`` these, as tables call them) that has a caveat.

    In the order of the cells. A dataset says it of its options, so that a choice of one plan stands under the tables
    of that plan.
    """
    chosen: dict[str, dict[str, Any]] = {}
    for name, called in zip(results.cells["id"], results.cells["dataset"], strict=True):
        if name in results.records and (among is None or called in among):
            chosen.setdefault(called, results.records[name].cell)
    known = [cell for cell in chosen.values() if cell["dataset"] in datasets.names()]
    said = ((cell["dataset"], datasets.get(cell["dataset"]).caveat(cell["options"])) for cell in known)
    return tuple(dict.fromkeys(f"{name}: {caveat}" for name, caveat in said if caveat))


def mixed_code(results: Results, among: Container[str] | None = None) -> tuple[str, ...]:
    """One sentence per dataset (``among`` these) with means over cells that ran under different shared code.

    A method's own file is the same for all its seeds (`stale.refuse`), but the trainer, the losses or the data behind
    it may have changed between them. So may have files that have nothing to do with it: the hash is of all of them. A
    record without one is of a version before there was one.
    """
    trees = {name: str(record.receipt.get("tree", "")) for name, record in results.records.items()}
    cells = results.cells[results.cells["status"] == "finished"]
    cells = cells.assign(tree=[trees[name] for name in cells["id"]])
    versions = cells.groupby(ENTRY, sort=False)["tree"].nunique().reset_index()
    found = []
    for dataset, of in versions.groupby("dataset", sort=False):
        mixed = of[of["tree"] > 1]
        if len(mixed) and (among is None or dataset in among):
            found.append(
                f"{dataset}: the seeds of {who(mixed, of)} ran under different versions of the shared code, of which "
                "every file counts, also one that these numbers do not depend on; receipt.json and each record.json "
                "name them (tree)."
            )
    return tuple(found)


def who(some: pd.DataFrame, every: pd.DataFrame) -> str:
    """Some entries of a dataset by label and amounts, such as ``bcp (10%, 20%); cps (10%)``; or that it is all rows."""
    if len(some) == len(every):
        return "all rows"
    amounts = some.groupby("label", sort=False)["amount"].agg(lambda each: ", ".join(dict.fromkeys(each)))
    named = [f"{label} ({where})" for label, where in amounts.items()]
    more = len(named) - MOST_NAMED
    return "; ".join(named[:MOST_NAMED]) + (f" and {more} more rows" if more > 0 else "")
