"""Plans, cells and places of the smallest size that still does everything: six phantom patients, two slices of 32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark import plan_file
from benchmark.plan import Cell, Plan
from benchmark.prepare import Places

PHANTOM: dict[str, Any] = {"name": "phantom_2d", "options": {"patients": 6, "slices": 2, "side": 32}}
"""Patients 3 and 6 test, one of the other four validates, three train."""

TRAINING: dict[str, Any] = {
    "steps": 4,
    "width": 2,
    "labelled_batch": 2,
    "unlabelled_batch": 2,
    "validations": 2,
    "precision": "float32",
}


def raw_plan(*, training: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """What a plan file would hold: one supervised method at one of three labelled patients, no bounds."""
    return {
        "name": "tiny",
        "title": "A tiny plan",
        "protocol": "Nobody's.",
        "datasets": [PHANTOM],
        "methods": ["supervised"],
        "ratios": [0.34],
        "bounds": False,
        "training": TRAINING | dict(training or {}),
    } | changes


def tiny_plan(**changes: Any) -> Plan:
    """The plan of :func:`raw_plan`."""
    return plan_file.parse(raw_plan(**changes), default_name="tiny")


def tiny_cell(method: str = "supervised", *, hyper: Mapping[str, Any] | None = None, **changes: Any) -> Cell:
    """The only cell of a tiny plan; keywords that are not of a plan belong to its training."""
    plan_keys = {"datasets", "ratios", "labelled", "seeds", "folds", "name"}
    (cell,) = tiny_plan(
        methods=[{"name": method, "hyper": dict(hyper or {})}],
        training={key: value for key, value in changes.items() if key not in plan_keys},
        **{key: value for key, value in changes.items() if key in plan_keys},
    ).cells()
    return cell


def places_in(root: Path) -> Places:
    """Everything below one folder."""
    return Places(results=root / "results", data=root / "data", cache=root / "cache")


def scores_of(folder: Path) -> bytes:
    """The scores of a cell, to be compared byte for byte."""
    return (folder / "scores.csv").read_bytes()


def curves_of(folder: Path) -> list[list[str]]:
    """The rows of ``train.csv`` without the seconds, which no two runs share."""
    rows = [line.split(",") for line in (folder / "train.csv").read_text().splitlines()]
    seconds = rows[0].index("seconds")
    return [row[:seconds] + row[seconds + 1 :] for row in rows]
