"""Record and Score: one folder per cell, written atomically; its ``record.json`` is the "done" mark and the truth.

Folder ``results/<plan>/<cell id>/``: ``record.json`` (cell, status, receipt, times), ``scores.csv`` (one row per
selection rule, case and class; metrics are columns, since a long table of 10 000 cells would be ten times the size),
``train.csv`` (curves), ``examples.npz`` (a few slices with label and prediction for pictures), ``last.pt`` (weights).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets.files import atomic_write

SCHEMA = 1
Status = Literal["finished", "failed", "killed"]

METRICS = (
    "dice", "jaccard", "hd95", "hd95_pooled", "hd", "asd_pred_to_gt", "asd_gt_to_pred", "assd", "masd", "nsd",
    "nsd_count", "hd95_vox", "hd95_pooled_vox", "n_pred", "n_gt", "tp",
)  # fmt: skip
"""Metric columns of ``scores.csv``, as :class:`benchmark.metrics.ClassMeasures` names them; distances in ``unit``."""

COLUMNS = ("selection", "case", "group", "class", "status", "unit", "diagonal", "diagonal_vox", *METRICS)


class NewerRecord(ValueError):
    """A record was written by a later version of this project than the one that reads it."""


@dataclass(frozen=True)
class Score:
    """All metrics of one class of one test case, raw: NaN and infinity as measured, never aggregated.

    ``selection``: which weights were scored: "last" (the headline), "best_val", "oracle" (best on test: a bound that
    nobody may claim). ``status``: ok, both_empty, missed, spurious or failed.
    """

    selection: str
    case: str
    group: str
    class_name: str
    status: str
    unit: str
    diagonal: float
    diagonal_vox: float
    values: tuple[float, ...]

    def row(self) -> list[Any]:
        """In the order of :data:`COLUMNS`."""
        names = (self.selection, self.case, self.group, self.class_name, self.status, self.unit)
        return [*names, repr(self.diagonal), repr(self.diagonal_vox), *map(repr, self.values)]


@dataclass(frozen=True)
class Record:
    """What one cell left behind. ``cell`` holds its canonical settings, label, role, plan and title."""

    id: str
    cell: dict[str, Any]
    status: Status
    reason: str = ""
    traceback: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    memory_mib: float = float("nan")
    parameters: int = 0
    split: dict[str, Any] = field(default_factory=dict)
    validation: list[dict[str, float]] = field(default_factory=list)
    selections: dict[str, int] = field(default_factory=dict)
    receipt: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    schema: int = SCHEMA


def write(folder: Path, record: Record, scores: Iterable[Score] = ()) -> None:
    """Write scores first, the record last, each atomically: a record that exists is complete.

    The record's receipt gets the digest of ``scores.csv``, so that a changed file is noticed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(scores)
    if rows:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(score.row() for score in rows)
        content = text.getvalue().encode()
        atomic_write(folder / "scores.csv", content)
        record.receipt["scores"] = digest(content)
    atomic_write(folder / "record.json", (json.dumps(asdict(record), indent=1, sort_keys=True) + "\n").encode())


def digest(content: bytes) -> str:
    """Of a file, for receipts."""
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def read(folder: Path) -> Record | None:
    """The record of a cell, or None where there is none yet (or it is damaged: then it is as if it had not run).

    Raises:
        NewerRecord: it was written by a newer schema than this checkout knows.
    """
    try:
        raw = json.loads((folder / "record.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    if not isinstance(raw, dict):
        return None
    if raw.get("schema", 0) > SCHEMA:
        raise NewerRecord(
            f"{folder}: record has schema {raw['schema']}, this checkout reads up to {SCHEMA}; update the checkout"
        )
    try:
        return Record(**raw)
    except TypeError:  # keys that no record of this schema has, or a part of one
        return None


def read_all(plan_folder: Path) -> list[tuple[Path, Record]]:
    """Every record below ``results/<plan>``, sorted by id."""
    found = []
    for path in sorted(plan_folder.glob("*/record.json")):
        record = read(path.parent)
        if record is not None:
            found.append((path.parent, record))
    return found


def append_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Append to a csv, writing the header if the file is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(header)
        writer.writerows(rows)
