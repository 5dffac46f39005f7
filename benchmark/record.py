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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from datasets.files import atomic_write

SCHEMA = 1
Status = Literal["finished", "failed", "killed"]

METRICS = (
    "dice", "jaccard", "hd95", "hd95_pooled", "hd", "asd_pred_to_gt", "asd_gt_to_pred", "assd", "masd", "nsd",
    "nsd_count", "hd95_vox", "hd95_pooled_vox", "n_pred", "n_gt", "tp",
)  # fmt: skip
"""Metric columns of ``scores.csv``, as :class:`benchmark.metrics.ClassMeasures` names them; distances in ``unit``."""

COLUMNS = ("selection", "case", "group", "class", "status", "unit", "diagonal", "diagonal_vox", *METRICS)


LARGEST = "last_largest"
"""Selection of the headline's predictions of which, per class and case, only the largest component stays."""
OTHER = "last_"
"""Prefix of the selection of another network of a method; its name there follows."""


class NewerRecord(ValueError):
    """A record was written by a later version of this project than the one that reads it."""


@dataclass(frozen=True)
class Score:
    """All metrics of one class of one test case, raw: NaN and infinity as measured, never aggregated.

    ``selection``: what was scored: the weights of the step "last" (the headline), "best_val" or "oracle" (best on test:
    a bound that nobody may claim), or what ``readings`` adds of the last step. ``status``: ok, both_empty, missed,
    spurious or failed.
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


_FIELDS = get_type_hints(Record)
_SETTINGS = {
    "method": str, "hyper": dict, "dataset": str, "ratio": float | None, "count": int | None, "seed": int, "fold": int,
    "training": dict, "versions": dict,
}  # fmt: skip
"""What every cell has and readers of records rely on, of `benchmark.plan.Cell.canonical`."""


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

    The record of another cell, as in a copied folder, is none of this one.

    Raises:
        NewerRecord: it was written by a newer schema than this checkout knows.
    """
    found = _parsed(folder)
    return found if found is not None and found.id == folder.name else None


def read_all(plan_folder: Path, left_out: list[str] | None = None) -> list[tuple[Path, Record]]:
    """Every record below ``results/<plan>``, sorted by id.

    Args:
        plan_folder: where the folders of the cells lie.
        left_out: gets a sentence for each file that is no record, or the record of another cell than its folder's.
    """
    kept = []
    for path in sorted(plan_folder.glob("*/record.json")):
        folder, found = path.parent, _parsed(path.parent)
        if found is not None and found.id == folder.name:
            kept.append((folder, found))
        elif left_out is not None:
            left_out.append(_left_out(f"{plan_folder.name}/{folder.name}", found))
    return kept


def _left_out(place: str, found: Record | None) -> str:
    if found is None:
        return f"Left out: {place}/record.json is damaged; run the plan again, which computes its cell anew."
    return (
        f"Left out: {place} holds the record of {found.id}, whose own folder has that name; move the copy away, or "
        "back to that name where it is the one that counts."
    )


def _parsed(folder: Path) -> Record | None:
    """What ``record.json`` holds, of whichever cell; None where it is no record."""
    try:
        raw = json.loads((folder / "record.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    if not isinstance(raw, dict):
        return None
    schema = raw.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerRecord(
            f"{folder}: record has schema {schema}, this checkout reads up to {SCHEMA}; update the checkout"
        )
    whole = set(_FIELDS) >= set(raw) >= {"id", "cell", "status"} and _are(raw, _FIELDS)
    described = whole and set(raw["cell"]) >= set(_SETTINGS) and _are(raw["cell"], _SETTINGS)
    return Record(**raw) if described else None


def _are(raw: Mapping[str, Any], hints: Mapping[str, Any]) -> bool:
    """Whether all that is there is of the type that its name asks for."""
    return all(_is(raw[name], hint) for name, hint in hints.items() if name in raw)


def _is(value: Any, hint: Any) -> bool:
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if hint is Any:
        return True
    if kind is Literal:
        return value in parts
    if kind in (Union, UnionType):
        return any(_is(value, part) for part in parts)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return False
    inner = value.values() if kind is dict else value if kind is list else ()
    return all(_is(part, parts[-1]) for part in inner) if parts else True


def append_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Append to a csv, writing the header if the file is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(header)
        writer.writerows(rows)
