"""Frames -> means, in the protocol's order: scans of a patient, classes, patients, and only then seeds.

The unit is the patient (``group``): two scans of one heart are not two observations. A seed counts once all its folds
have finished; an unfinished one is shown as unfinished, never filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..metrics.policy import DEFAULT_RULE, OPTIONAL, apply_rule
from ..record import Record
from .frame import METRICS, Results

HEADLINE = "last"
"""The selection that tables show: the weights after the last step. Everything else was chosen by looking."""

ENTRY = ["role", "label", "dataset", "amount"]
"""What one number of a table is about: its cells differ in seed and fold only."""

STATUSES = ("both_empty", "missed", "spurious", "failed")


def key_of(row: Any) -> tuple[str, ...]:
    """:data:`ENTRY` of a row of ``itertuples``."""
    return tuple(getattr(row, name) for name in ENTRY)


def class_values(
    results: Results, rule: str = DEFAULT_RULE, *, metrics: Sequence[str] = METRICS, selection: str | None = None
) -> pd.DataFrame:
    """One row per (cell, selection, group, class): the mean over the scans of a patient, NaN where all are left out.

    ``metrics`` and ``selection`` (None: all) spare the work for what is not asked for.
    """
    scores = results.scores
    if selection is not None:
        scores = scores[scores["selection"] == selection]
    counted = {metric: worth(scores, metric, rule) for metric in metrics}
    keys = ["cell", "selection", "group", "class"]
    frame = pd.DataFrame({**{key: scores[key] for key in keys}, **counted}, copy=False)
    return frame.groupby(keys, observed=True, sort=True)[list(metrics)].mean().reset_index()


def patient_values(by_class: pd.DataFrame) -> pd.DataFrame:
    """One row per (cell, selection, group): the mean over the classes of `class_values`."""
    keys = ["cell", "selection", "group"]
    return by_class.groupby(keys, observed=True, sort=True)[_metrics(by_class)].mean().reset_index()


def cell_values(results: Results, patients: pd.DataFrame) -> pd.DataFrame:
    """One row per (cell, selection): identity, the mean over patients, and how many rows had which status."""
    keys = ["cell", "selection"]
    grouped = patients.groupby(keys, observed=True, sort=True)
    means = grouped[list(METRICS)].mean()
    means.insert(0, "patients", grouped.size())
    counts = status_counts(results)
    joined = means.join(counts).reset_index()
    joined["selection"] = joined["selection"].astype(str)
    identity = results.cells[["id", *ENTRY, "method", "variant", "seed", "fold"]]
    return identity.iloc[joined["cell"].to_numpy()].reset_index(drop=True).join(joined)


def status_counts(results: Results) -> pd.DataFrame:
    """How many (case, class) rows a cell has, and of which status; index (cell, selection)."""
    scores = results.scores
    counted = pd.DataFrame({"rows": np.ones(len(scores), np.int64)})
    for status in STATUSES:
        counted[status] = (scores["status"] == status).to_numpy(np.int64)
    return counted.groupby([scores["cell"], scores["selection"]], observed=True, sort=True).sum()


def entries(results: Results, patients: pd.DataFrame, *, selection: str = HEADLINE) -> pd.DataFrame:
    """One row per (role, label, dataset, amount): mean and standard deviation over its complete seeds.

    Columns besides :data:`ENTRY`: ``level``, ``unit`` of distances, ``ids`` (all its cells), how many of them are
    ``finished``, ``failed_cells`` (killed included) and ``missing``, ``seeds`` (complete ones), ``n``, ``planned``
    seeds, for each metric and for ``failure_rate`` (see `failure_rates`) ``_mean`` and ``_sd`` (n − 1 in the
    denominator; NaN below two seeds), sums of `status_counts`, mean ``train_seconds`` and ``predict_seconds``, and the
    largest ``memory_mib`` and ``parameters``.
    """
    values = seed_values(results, patients, selection=selection)
    counts = status_counts(results).reset_index()
    counts = counts[counts["selection"] == selection].drop(columns="selection").set_index("cell")
    grouped, failures = values.groupby(ENTRY, sort=False), failure_rates(results, counts).groupby(ENTRY, sort=False)
    parts = [
        *(part.mean().add_suffix("_mean") for part in (grouped[list(METRICS)], failures[["failure_rate"]])),
        *(part.std(ddof=1).add_suffix("_sd") for part in (grouped[list(METRICS)], failures[["failure_rate"]])),
        grouped["seed"].agg(tuple).rename("seeds"),
    ]
    table = _entry_cells(results, counts).join(parts)
    table["seeds"] = [item if isinstance(item, tuple) else () for item in table["seeds"]]
    table["n"] = [len(item) for item in table["seeds"]]
    return table.reset_index()


def seed_values(results: Results, patients: pd.DataFrame, *, selection: str = HEADLINE) -> pd.DataFrame:
    """One row per entry and complete seed: the mean over the patients of all its folds."""
    return _over_folds(results, patients[patients["selection"] == selection], [])


def failure_rates(results: Results, counts: pd.DataFrame) -> pd.DataFrame:
    """One row per entry and complete seed: ``failure_rate``, of all its (case, class) pairs that are in either map.

    Args:
        results: the records.
        counts: `status_counts` of one selection, by cell.
    """
    kept = counts[complete(results)[counts.index.to_numpy()]]
    keys = [*ENTRY, "seed"]
    found = results.cells[keys].join(kept, how="inner").groupby(keys, sort=False)[["rows", *STATUSES]].sum()
    bad = found["missed"] + found["spurious"] + found["failed"]
    return (bad / (found["rows"] - found["both_empty"])).rename("failure_rate").reset_index()


def class_entries(results: Results, by_class: pd.DataFrame, *, selection: str = HEADLINE) -> pd.DataFrame:
    """Mean and sd over seeds of every entry and class, in the classes' own order."""
    values = _over_folds(results, by_class[by_class["selection"] == selection], ["class"])
    grouped = values.groupby([*ENTRY, "class"], sort=False, observed=True)
    means = grouped[list(METRICS)].mean().add_suffix("_mean")
    return means.join(grouped[list(METRICS)].std(ddof=1).add_suffix("_sd")).reset_index()


def order(table: pd.DataFrame, metric: str = "dice") -> list[str]:
    """Labels of the methods and lower bounds, best mean first; those with unfinished seeds behind all others.

    Where a method lacks a column, the columns that it has are compared with the mean of the others there, so that being
    absent from a hard column does not lift a method. Methods without any number come last, by name.
    """
    rows = table[table["role"] != "upper"]
    column = rows[f"{metric}_mean"] - rows.groupby(["dataset", "amount"])[f"{metric}_mean"].transform("mean")
    means = column.groupby(rows["label"]).mean()
    unfinished = (rows["n"] < rows["planned"]).groupby(rows["label"]).any()
    sign = -1 if metric in ("dice", "jaccard", "nsd") else 1
    place = {label: (np.isnan(mean), unfinished[label], sign * np.nan_to_num(mean)) for label, mean in means.items()}
    return sorted(means.index, key=lambda label: (*place[label], label))


def amounts(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The columns of a table: (dataset, amount), datasets as planned, amounts rising.

    The amount of an upper bound is a column only where its dataset has nothing else yet.
    """
    position = {name: number for number, name in enumerate(dict.fromkeys(table["dataset"]))}
    found = {}
    for dataset, rows in table.groupby("dataset", sort=False):
        others = rows[rows["role"] != "upper"]
        for row in (rows if others.empty else others).itertuples():
            found[str(dataset), row.amount] = (position[dataset], row.level)
    return sorted(found, key=lambda key: found[key])


def worth(scores: pd.DataFrame, metric: str, rule: str) -> np.ndarray:
    """The column as it counts under the rule. Finite rows of status ok count for themselves under every rule."""
    values = scores[metric].to_numpy(np.float64, copy=True)
    odd = (scores["status"] != "ok").to_numpy() | ~np.isfinite(values)
    if metric in OPTIONAL:  # a cell without any value was not measured
        odd &= pd.Series(~np.isnan(values)).groupby(scores["cell"].to_numpy()).transform("any").to_numpy()
    values[odd] = apply_rule(
        values[odd],
        scores["status"].to_numpy()[odd].astype(str),
        scores["diagonal"].to_numpy()[odd],
        metric,
        rule,
        measured=True,
    )
    return values


def _entry_cells(results: Results, counts: pd.DataFrame) -> pd.DataFrame:
    """What is known of an entry without its scores: its cells and their states; index :data:`ENTRY`, as planned."""
    cells = results.cells.join(counts)
    cells["unit"] = cell_units(results)
    cells["failed_cell"] = cells["status"].isin(["failed", "killed"])
    grouped = cells.groupby(ENTRY, sort=False)
    table = pd.DataFrame(
        {
            "method": grouped["method"].first(),
            "variant": grouped["variant"].first(),
            "annotation": grouped["annotation"].first(),
            "level": grouped["level"].first(),
            "is_share": grouped["is_share"].first(),
            "unit": grouped["unit"].max(),
            "ids": grouped["id"].agg(tuple),
            "finished": grouped["status"].agg(lambda states: int((states == "finished").sum())),
            "failed_cells": grouped["failed_cell"].sum().astype(int),
            "missing": grouped["status"].agg(lambda states: int((states == "missing").sum())),
            "planned": grouped["seed"].nunique(),
            "train_seconds": grouped["train_seconds"].mean(),
            "predict_seconds": grouped["predict_seconds"].mean(),
            "memory_mib": grouped["memory_mib"].max(),
            "parameters": grouped["parameters"].max(),
        }
    )
    table["share"] = [
        row.level if row.is_share else max((_share(results.records.get(name)) for name in row.ids), default=1.0)
        for row in table.itertuples()
    ]
    return table.join(grouped[["rows", *STATUSES]].sum().astype(int))


def _share(rec: Record | None) -> float:
    """Of the training groups that are labelled; 1, so that it is not taken for few, where no record knows."""
    split = rec.split if rec else {}
    return len(split.get("labelled_groups", ())) / split["train_groups"] if split.get("train_groups") else 1.0


def cell_units(results: Results) -> np.ndarray:
    """Unit of each cell's distances: "mm", "px", or "" where the cell has no scores."""
    units = np.full(len(results.cells), "", dtype=object)
    firsts = results.scores.drop_duplicates("cell")
    units[firsts["cell"].to_numpy()] = firsts["unit"].astype(str)
    return units


def _over_folds(results: Results, values: pd.DataFrame, extra: Sequence[str]) -> pd.DataFrame:
    """Means over the patients of every complete seed, all folds together."""
    kept = values[complete(results)[values["cell"].to_numpy()]]
    identity = results.cells[[*ENTRY, "seed"]].iloc[kept["cell"].to_numpy()].reset_index(drop=True)
    frame = pd.concat([identity, kept.drop(columns="cell").reset_index(drop=True)], axis=1)
    keys = [*ENTRY, "seed", *extra]
    # in the order of the plan, so that entries and seeds keep it
    return frame.groupby(keys, sort=False, observed=True)[_metrics(frame)].mean().reset_index()


def complete(results: Results) -> np.ndarray:
    """Whether each cell belongs to a seed all of whose folds have finished."""
    cells = results.cells
    finished = (cells["status"] == "finished").groupby([cells[key] for key in [*ENTRY, "seed"]], sort=False)
    return finished.transform("all").to_numpy()


def _metrics(frame: pd.DataFrame) -> list[str]:
    return [metric for metric in METRICS if metric in frame]
