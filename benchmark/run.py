"""``run_cell``: one cell from its settings to its record. Failures are records too; finished cells are left alone."""

from __future__ import annotations

import resource
import time
import traceback as tracebacks
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from datasets.base import Dataset
from datasets.splits import Split

from . import receipt
from .evaluate import evaluate
from .examples import save_examples
from .plan import Cell
from .prepare import Places, Prepared, prepare
from .record import Record, Score, atomic_write, read, write
from .train import Trainer


def run_cell(
    cell: Cell,
    places: Places,
    *,
    heartbeat: Callable[[str, int], None] = lambda phase, step: None,
    checkpoint_seconds: float = 60.0,
) -> Record:
    """Train, evaluate and record one cell, resuming from its checkpoint; a finished cell is returned as it is.

    Any exception of the cell ends it with a ``failed`` record that holds reason and traceback; the caller goes on.
    KeyboardInterrupt and SystemExit pass through and leave the checkpoint for the next time.
    """
    folder = places.folder(cell)
    done = read(folder)
    if done is not None and done.status == "finished":
        return done
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        return _run(cell, places, folder, heartbeat, checkpoint_seconds)
    except Exception as error:  # the one place where a cell's error is caught
        failed = Record(
            id=cell.id,
            cell=describe(cell),
            status="failed",
            reason=f"{type(error).__name__}: {error}",
            traceback=tracebacks.format_exc(),
            seconds={"total": time.monotonic() - started},
            receipt=_receipt(cell, "", None, torch.float32),
        )
        write(folder, failed)
        return failed


def describe(cell: Cell) -> dict[str, Any]:
    """The cell as a record holds it."""
    texts = {"plan": cell.plan, "label": cell.label, "role": cell.role, "title": cell.title, "amount": cell.amount}
    return cell.canonical() | texts


def _run(
    cell: Cell, places: Places, folder: Path, heartbeat: Callable[[str, int], None], checkpoint_seconds: float
) -> Record:
    began = time.monotonic()
    ready = prepare(cell, places, folder, heartbeat=heartbeat, checkpoint_seconds=checkpoint_seconds)
    ready.trainer.run()
    evaluating = time.monotonic()
    last = {name: value.detach().cpu().clone() for name, value in ready.method.state_dict().items()}
    scores = _final_evaluation(cell, ready, last, folder, heartbeat)
    _save_weights(folder / "last.pt", last)
    evaluated = time.monotonic() - evaluating
    data = receipt.manifest(ready.dataset, places.cache)
    record = Record(
        id=cell.id,
        cell=describe(cell),
        status="finished",
        seconds={
            "train": ready.trainer.seconds,
            "evaluate": evaluated,
            "total": ready.trainer.seconds + evaluated,
            "wall": time.monotonic() - began,
        },
        memory_mib=_peak_memory_mib(ready.on["device"]),
        parameters=sum(p.numel() for p in ready.method.parameters() if p.requires_grad),
        split=_split_summary(ready.split, ready.dataset),
        validation=ready.trainer.validation,
        receipt=_receipt(cell, data, ready.split, ready.on["dtype"]) | {"openings": ready.vault.openings},
        notes=list(ready.feed.notes),
    )
    write(folder, record, scores)
    ready.trainer.finished()
    return record


def _final_evaluation(
    cell: Cell, ready: Prepared, last: dict[str, Any], folder: Path, heartbeat: Callable[[str, int], None]
) -> list[Score]:
    """The only place that opens the test labels."""
    scores: list[Score] = []
    test = ready.split.test
    with ready.vault.open("final evaluation"):
        for selection, state in _selections(ready.trainer, last):
            ready.method.load_state_dict(state)
            examples = []
            cases = evaluate(ready.method, ready.vault, test, cell.training, selection, **ready.on)
            for i, (case, prediction, rows) in enumerate(cases):
                scores += rows
                if selection == "last" and prediction is not None and i in {0, len(test) // 2, len(test) - 1}:
                    examples.append((case, prediction))
                heartbeat("evaluate", i + 1)
            if selection == "last":
                save_examples(folder / "examples.npz", examples, ready.dataset.task)
    return scores


def _selections(trainer: Trainer, last: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Which weights are scored on test: the last ones are the headline, the best on validation stand beside them."""
    found = [("last", last)]
    if trainer.best is not None:
        found.append(("best_val", trainer.best["state"]))
    return found


def _save_weights(path: Path, state: dict[str, Any]) -> None:
    import io

    buffer = io.BytesIO()
    torch.save(state, buffer)
    atomic_write(path, buffer.getvalue())


def _split_summary(split: Split, dataset: Dataset) -> dict[str, Any]:
    groups = dataset.groups()
    return {
        "labelled_groups": list(split.labelled_groups),
        "train_groups": len(split.train_groups),
        "unlabelled_groups": len(split.train_groups) - len(split.labelled_groups),
        "labelled_cases": len(split.labelled),
        "val_groups": len({groups[key] for key in split.val}),
        "val_cases": len(split.val),
        "test_groups": len({groups[key] for key in split.test}),
        "test_cases": len(split.test),
        "ratio": split.ratio,
        "digest": split.digest(),
    }


def _receipt(cell: Cell, data: str, split: Split | None, dtype: torch.dtype) -> dict[str, Any]:
    return {
        **receipt.code(),
        "data": data,
        "split": split.digest() if split else "",
        "versions": receipt.versions(),
        "hardware": receipt.hardware(),
        "precision": str(dtype).removeprefix("torch."),
        "source": receipt.source(cell.method),
        "hyper": asdict(cell.hyper),
    }


def _peak_memory_mib(where: torch.device) -> float:
    if where.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
