"""What a cell looks like in MLflow: its parameters, tags and metrics, from the record on disk. No tracker in here.

Identity (method, dataset, ratio, seed …) is parameters, because only parameters can be axes and groups in MLflow's
pages; reasons and ids are tags; slashes in the names of metrics make sections of charts.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..metrics.policy import FAILED_STATUSES, apply_rule
from ..record import Record

HEADLINE = "last"
"""The selection rule whose scores are shown: the weights after the last step."""

PARAM_LENGTH = 6000
"""MLflow's longest value of a parameter."""

_UNREPORTED = ("step", "seconds")


def params(cell: Mapping[str, Any]) -> dict[str, str]:
    """Parameters of a run: identity under short names, the rest of the cell's settings dotted (``training.lr``).

    ``ratio`` is a plain number, so that axes are numeric; a cell with a number of labelled groups has ``count``
    instead, and both have ``amount`` for people ("10%", "8 labelled").
    """
    identity = {
        "method": cell["label"],
        "dataset": cell["dataset"],
        "amount": cell["amount"],
        "ratio": cell.get("ratio"),
        "count": cell.get("count"),
        "seed": cell["seed"],
        "fold": cell["fold"],
        "variant": cell["hyper"].get("variant", "intended"),
        "annotation": cell.get("annotation"),
        "role": cell.get("role"),
    }
    rest = {group: cell.get(group) or {} for group in ("hyper", "training", "options")}
    flat = {name: value for name, value in identity.items() if value is not None} | dict(_flatten(rest))
    flat.pop("hyper.variant", None)
    return {clean(name): _text(value)[:PARAM_LENGTH] for name, value in flat.items()}


def opening_tags(cell: Mapping[str, Any], cell_id: str) -> dict[str, str]:
    """Tags known when a cell starts."""
    return {
        "kind": "cell",
        "cell": cell_id,
        "plan": str(cell.get("plan", "")),
        "method_id": str(cell["method"]),
        "commit": str(cell.get("commit", "unknown")),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "python -m benchmark",
    }


def closing_tags(record: Record) -> dict[str, str]:
    """Tags known when a cell has ended: the reason of a failure, the commit, and a description for the run's page."""
    commit = str(record.receipt.get("commit") or "unknown")
    tags = {"status_note": record.reason[:PARAM_LENGTH], "commit": commit, "mlflow.source.git.commit": commit}
    parts = [f"**{record.status}**: {record.reason}"] if record.reason else []
    parts += [f"- {note}" for note in record.notes]
    if record.traceback:
        parts.append(f"```\n{record.traceback.strip()[-4000:]}\n```")
    return tags | {"mlflow.note.content": "\n\n".join(parts)}


def final_metrics(record: Record, scores: Iterable[Mapping[str, str]]) -> dict[str, float]:
    """Numbers logged once, at the last step: Dice and HD95 under the penalised rule, times, memory.

    ``test/dice`` is what the report shows for this cell: the mean over the scans of a patient, then over classes, then
    over patients; ``test/dice_<class>`` leaves the second step out. ``test/failure_rate`` is of the scans' classes that
    are in either map. A missed organ counts Dice 0 and the image diagonal, so nothing here is infinite; what is not a
    number is left out, since the pages would draw it. A cell that failed has no scores, though those of the time
    before may still lie in its folder.
    """
    rows = [row for row in scores if row["selection"] == HEADLINE] if record.status == "finished" else []
    found = {f"time/{name}_seconds": seconds for name, seconds in record.seconds.items()}
    found |= {f"labels/{name}": float(value) for name, value in _labels(record.split).items()}
    found |= {"memory/peak_mib": record.memory_mib, "model/parameters": float(record.parameters)}
    if rows:
        present = [row["status"] for row in rows if row["status"] != "both_empty"]
        if present:
            found["test/failure_rate"] = sum(status in FAILED_STATUSES for status in present) / len(present)
        names = leaf_names(row["class"] for row in rows)
        for metric in ("dice", "hd95"):
            worth = penalised(rows, metric)
            scans: dict[str, dict[str, list[float]]] = {}
            for row, value in zip(rows, worth, strict=True):
                scans.setdefault(row["group"], {}).setdefault(row["class"], []).append(value)
            patients = [{name: _mean(values) for name, values in of.items()} for of in scans.values()]
            found[f"test/{metric}"] = _mean([_mean(list(of.values())) for of in patients])
            for name, end in names.items():
                found[f"test/{metric}_{end}"] = _mean([of[name] for of in patients if name in of])
    return {clean(name): float(value) for name, value in found.items() if math.isfinite(value)}


def penalised(rows: list[Mapping[str, str]], metric: str) -> np.ndarray:
    """What each row of ``scores.csv`` counts for, ``(n,)``; NaN where a class is in neither map."""
    values, diagonals = ([float(row[column]) for row in rows] for column in (metric, "diagonal"))
    return apply_rule(values, [row["status"] for row in rows], diagonals, metric)


def curve(rows: Iterable[Mapping[str, str]]) -> list[tuple[str, float, int, float]]:
    """Points ``(metric, value, step, seconds)`` of rows of ``train.csv``; empty and non-finite fields are left out."""
    points = []
    for row in rows:
        step, seconds = int(row["step"]), float(row["seconds"] or 0)
        for column, text in row.items():
            if column in _UNREPORTED or not text:
                continue
            name = "val/dice" if column == "val_dice" else f"train/{leaf(column)}"
            value = float(text)
            if math.isfinite(value):
                points.append((clean(name), value, step, seconds))
    return points


def read_train_rows(folder: Path) -> list[dict[str, str]]:
    """Rows of ``train.csv``; a last line that is still being written is left for the next time."""
    try:
        text = (folder / "train.csv").read_text()
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1]
    rows = list(csv.DictReader(whole.splitlines()))
    return [row for row in rows if None not in row and None not in row.values() and row["step"].isdigit()]


def first_row(rows: Sequence[Mapping[str, str]]) -> str:
    """Digest of what the first row of ``train.csv`` measured; empty without rows.

    A cell that goes on from its checkpoint keeps the row; one that is trained anew, after an edit, writes another.
    Columns that other terms added later are empty in it, and ``seconds`` is never the same twice.
    """
    if not rows:
        return ""
    kept = sorted((column, text) for column, text in rows[0].items() if text and column != "seconds")
    return hashlib.blake2b(json.dumps(kept).encode(), digest_size=8).hexdigest()


def read_scores(folder: Path) -> list[dict[str, str]]:
    """Rows of ``scores.csv``; none where a cell failed before it was evaluated."""
    try:
        with (folder / "scores.csv").open(newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


def leaf_names(names: Iterable[str]) -> dict[str, str]:
    """Class name -> end of a metric's name, allowed by MLflow and different for different classes."""
    found: dict[str, str] = {}
    for name in names:
        if name not in found:
            plain, n = leaf(name), 1
            while (candidate := plain if n == 1 else f"{plain}_{n}") in found.values():
                n += 1
            found[name] = candidate
    return found


def leaf(name: str) -> str:
    """Part of a name that opens no section of its own."""
    return clean(name).replace("/", "_")


def clean(name: str) -> str:
    """Name with letters, digits and ``_ - . : / space`` only, as MLflow's stores demand.

    >>> clean("dice(rv)@5%")
    'dice_rv__5_'
    """
    return re.sub(r"[^\w\-. :/]", "_", name)[:250] or "_"


def _mean(values: Sequence[float]) -> float:
    """Mean of what is a number; NaN if nothing is."""
    numbers = [value for value in values if not math.isnan(value)]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def _labels(split: Mapping[str, Any]) -> dict[str, float]:
    """How much was labelled in fact: share and number of groups, number of cases; an axis for every kind of plan."""
    if not split:
        return {}
    return {"ratio": split["ratio"], "groups": len(split["labelled_groups"]), "cases": split["labelled_cases"]}


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
