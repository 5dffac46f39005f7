"""What a figure says of rows whose means are of fewer seeds than were planned, and of rows that it lacks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from .tables import BOUNDS


def seed_marks(entries: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Of every role and label with unfinished seeds, such as ``, 2/3 seeds at 5%``; "" for all others.

    Args:
        entries: rows of `summary.entries` that one figure or panel shows.
    """
    several = {name: entries[name].nunique() > 1 for name in ("dataset", "amount")}
    marks = {}
    for key, of in entries.groupby(["role", "label"], sort=False):
        parts = []
        for entry in of[of["n"] < of["planned"]].itertuples():
            where = f" at {entry.amount}" if several["amount"] and entry.role != "upper" else ""
            parts.append(f"{entry.n}/{entry.planned} seeds" + (f" on {entry.dataset}" * several["dataset"]) + where)
        marks[key] = "".join(f", {part}" for part in parts)
    return marks


def unfinished(entries: pd.DataFrame) -> list[str]:
    """One sentence on rows with fewer seeds, one on rows without any; [] where every seed is complete."""
    fewer = [f"{_who(entry)} ({entry.n}/{entry.planned})" for entry in _rows(entries, entries["n"] > 0)]
    none = [f"{_who(entry)} ({_why(entry)})" for entry in _rows(entries, entries["n"] == 0)]
    sentences = [f"Means of fewer seeds than planned: {'; '.join(fewer)}."] if fewer else []
    return sentences + ([f"Not shown, without a complete seed: {'; '.join(none)}."] if none else [])


def _rows(entries: pd.DataFrame, which: pd.Series) -> Iterable[Any]:
    return entries[which & (entries["n"] < entries["planned"])].itertuples()


def _who(entry: Any) -> str:
    return f"{entry.label} ({BOUNDS[entry.role]})" if entry.role == "upper" else f"{entry.label} at {entry.amount}"


def _why(entry: Any) -> str:
    parts = [
        f"{entry.failed_cells} failed" * bool(entry.failed_cells),
        f"{entry.missing} missing" * bool(entry.missing),
    ]
    return ", ".join(part for part in parts if part) or "no seed has all its folds"
