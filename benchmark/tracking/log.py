"""Bring one run up to date with what lies in a cell's folder. Every step may be repeated: nothing is logged twice."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ..record import Record
from . import describe, state
from .state import Tracked
from .store import Store, first_line, translated

T = TypeVar("T")

_STATES = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
"""The most that MLflow takes in one call."""


def log_running(store: Store, folder: Path, cell: Mapping[str, Any], cell_id: str) -> str:
    """A cell is running: its run, whose id is returned, exists, says so, and has the curves so far."""
    tracked = _open_run(store, folder, cell, cell_id, now_ms(), None)
    with translated():
        if store.client.get_run(tracked.run_id).info.status != "RUNNING":
            store.client.update_run(tracked.run_id, status="RUNNING")
            store.client.set_tag(tracked.run_id, "status_note", "")
    state.save(folder, store.name, _log_curves(store, folder, replace(tracked, final="")))
    return tracked.run_id


def log_ended(store: Store, folder: Path, record: Record) -> list[str]:
    """A cell has a record: log what is missing of its curves and finals, and its true state. Returns notes."""
    digest, ended = state.digest(folder), int((folder / "record.json").stat().st_mtime * 1000)
    began = ended - int(1000 * record.seconds.get("total", 0))
    tracked = _open_run(store, folder, record.cell, record.id, began, record)
    if tracked.final == digest:
        return []
    tracked = _log_curves(store, folder, tracked, record)
    state.save(folder, store.name, tracked)
    _log_finals(store, folder, tracked.run_id, record, ended)
    notes = _log_artifacts(store, folder, tracked.run_id)
    with translated():
        store.client.set_terminated(tracked.run_id, _STATES[record.status], ended)
    source = str(record.receipt.get("source", ""))
    state.save(folder, store.name, replace(tracked, final=digest, source=source))
    return notes


def log_killed(store: Store, run_id: str, reason: str) -> bool:
    """A run whose cell ended without a record. Returns whether it was open: one that ended meanwhile is left alone."""
    with translated():
        info = store.client.get_run(run_id).info
        if info.status != "RUNNING" or info.lifecycle_stage != "active":
            return False
        store.client.set_tag(run_id, "status_note", reason)
        store.client.set_terminated(run_id, "KILLED")
    return True


def log_batch(
    store: Store,
    run_id: str,
    *,
    metrics: Sequence[tuple[str, float, int, int]] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Metrics ``(name, value, step, milliseconds)``, parameters and tags in as few calls as MLflow allows."""
    from mlflow.entities import Metric, Param, RunTag

    batches: dict[str, list[Any]] = {
        "metrics": [Metric(name, value, ms, step) for name, value, step, ms in metrics],
        "params": [Param(*pair) for pair in (params or {}).items()],
        "tags": [RunTag(*pair) for pair in (tags or {}).items()],
    }
    with translated():
        for kind, entities in batches.items():
            for part in _chunks(entities, _BATCH[kind]):
                store.client.log_batch(run_id, **{kind: part})


def now_ms() -> int:
    """Time as MLflow counts it."""
    return int(time.time() * 1000)


def _open_run(
    store: Store, folder: Path, cell: Mapping[str, Any], cell_id: str, began_ms: int, record: Record | None
) -> Tracked:
    """The run of a cell, opened where there is none, or only that of an earlier training; ``record``: None = it runs.

    The run of an earlier training is deleted: its points cannot be taken back one by one.
    """
    tracked = _present(store, folder)
    if tracked is not None and not _trained_anew(store, folder, tracked, record):
        return tracked
    with store.alone():
        tracked = _present(store, folder)
        if tracked is not None:
            if not _trained_anew(store, folder, tracked, record):
                return tracked
            store.delete_run(tracked.run_id)
        place = state.place(folder.parent)
        run_id = _orphan(store, cell_id, place)
        if run_id is None:
            tags = describe.opening_tags(cell, cell_id) | {"place": place}
            run_id = store.create_run(str(cell["title"]), tags, began_ms)
        log_batch(store, run_id, params=describe.params(cell))
        tracked = Tracked(run_id)
        state.save(folder, store.name, tracked)
    return tracked


def _present(store: Store, folder: Path) -> Tracked | None:
    tracked = state.load(folder, store.name)
    return None if tracked is None or store.started_ms(tracked.run_id) is None else tracked


def _trained_anew(store: Store, folder: Path, tracked: Tracked, record: Record | None) -> bool:
    """Whether what is logged is of an earlier training: of another first row or method, or finished before."""
    first = describe.first_row(describe.read_train_rows(folder))
    if first and tracked.first and first != tracked.first:
        return True
    if record is not None:
        source = record.receipt.get("source")
        if source and tracked.source and source != tracked.source:
            return True
        if tracked.final in ("", state.digest(folder)):
            return False
    with translated():
        return store.client.get_run(tracked.run_id).info.status == "FINISHED"


def _orphan(store: Store, cell_id: str, place: str) -> str | None:
    """A run of this cell that was opened by a runner which was killed before it could note so."""
    wanted = f"tags.cell = '{cell_id}' and tags.place = '{place}' and attributes.status = 'RUNNING'"
    for run in store.runs(wanted):
        if run.info.lifecycle_stage == "active":
            return run.info.run_id
    return None


def _log_curves(store: Store, folder: Path, tracked: Tracked, record: Record | None = None) -> Tracked:
    rows = describe.read_train_rows(folder)
    known = rows[: tracked.rows]
    if len(known) == tracked.rows and (not known or int(known[-1]["step"]) == tracked.step):
        new = rows[tracked.rows :]
    else:  # the cell went back to its checkpoint and wrote the file anew
        new = [row for row in rows if int(row["step"]) > tracked.step]
    points = describe.curve(new)
    if not rows and record is not None and tracked.step < 0:  # the curves were not kept
        points = [("val/dice", one["dice"], int(one["step"]), 0.0) for one in record.validation]
    if not points:
        return tracked
    began = store.started_ms(tracked.run_id) or now_ms()
    log_batch(
        store,
        tracked.run_id,
        metrics=[(name, value, step, began + int(1000 * seconds)) for name, value, step, seconds in points],
    )
    last = max(step for _, _, step, _ in points)
    return replace(tracked, rows=len(rows), step=last, first=describe.first_row(rows))


def _log_finals(store: Store, folder: Path, run_id: str, record: Record, ended_ms: int) -> None:
    found = describe.final_metrics(record, describe.read_scores(folder))
    step = int(record.cell["training"]["steps"])
    log_batch(
        store,
        run_id,
        metrics=[(name, value, step, ended_ms) for name, value in found.items()],
        tags=describe.closing_tags(record),
    )
    if record.split.get("digest"):
        _log_dataset(store, run_id, record)


def _log_dataset(store: Store, run_id: str, record: Record) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    counts = {name: value for name, value in record.split.items() if isinstance(value, (int, float))}
    data = Dataset(
        name=record.cell["dataset"],
        digest=str(record.split["digest"])[:36],
        source_type="local",
        source=json.dumps({"uri": record.cell["dataset"]}),
        profile=json.dumps(counts),
    )
    with translated():
        store.client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "train")])])


def _log_artifacts(store: Store, folder: Path, run_id: str) -> list[str]:
    with translated():
        for name in ("record.json", "scores.csv"):
            if (folder / name).exists():
                store.client.log_artifact(run_id, str(folder / name))
    examples = folder / "examples.npz"
    if not examples.exists():
        return []
    with tempfile.TemporaryDirectory() as place:
        picture = Path(place) / "overlay.png"
        try:
            from ..report.plots import overlay_png

            overlay_png(examples, picture)
        except ImportError as error:
            return [f"no overlay pictures in the tracker: {first_line(error)}"]
        except Exception as error:  # a picture is never worth a cell's numbers
            return [f"no overlay picture of {folder.name} in the tracker: {first_line(error)}"]
        with translated():
            store.client.log_artifact(run_id, str(picture))
    return []


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    for first in range(0, len(items), size):
        yield list(items[first : first + size])
