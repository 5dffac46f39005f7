"""``run_cell``: one cell from its settings to its record. Failures are records too; finished cells are left alone."""

from __future__ import annotations

import os
import resource
import time
import traceback as tracebacks
from collections.abc import Callable
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from datasets.base import Dataset
from datasets.contents import manifest_of
from datasets.splits import Split

from . import annotation, promises, receipt, weights
from .config import ConfigError
from .evaluate import evaluate
from .examples import Examples
from .plan import Cell
from .prepare import Places, Prepared, prepare
from .readings import Other, cleaned_up
from .record import METRICS, OTHER, Record, Score, read, write
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
            reason=f"{type(error).__name__}: {error}{promises.place(error)}",
            traceback=tracebacks.format_exc(),
            seconds={"total": time.monotonic() - started},
            receipt=_receipt(cell, "", None, None, torch.float32),
        )
        write(folder, failed)
        return failed


def checkpoint_seconds() -> float:
    """How much work a crash may cost: ``BENCH_CHECKPOINT_SECONDS``, else a minute."""
    given = os.environ.get("BENCH_CHECKPOINT_SECONDS", "60")
    try:
        return float(given)
    except ValueError:
        raise ConfigError(f"BENCH_CHECKPOINT_SECONDS must be a number of seconds, got {given!r}") from None


def describe(cell: Cell) -> dict[str, Any]:
    """The cell as a record holds it."""
    texts = {"plan": cell.plan, "label": cell.label, "role": cell.role, "title": cell.title, "amount": cell.amount}
    return cell.canonical() | texts


def _run(
    cell: Cell, places: Places, folder: Path, heartbeat: Callable[[str, int], None], checkpoint_seconds: float
) -> Record:
    began = time.monotonic()
    receipt.loaded()  # where no runner has asked before: what this process imports is of now
    ready = prepare(cell, places, folder, heartbeat=heartbeat, checkpoint_seconds=checkpoint_seconds)
    # before the first step: whoever edits a file or its data while the cell trains must not change what it was made of
    made_of = _receipt(cell, manifest_of(ready.dataset, places.cache), ready.split, **ready.on) | ready.beside
    with ready.vault.watch(f"method {cell.method} in plan {cell.plan}"):
        promises.require_probabilities(ready.method, cell.training, **ready.on)
        ready.trainer.run()
        evaluating = time.monotonic()
        last = {name: value.detach().cpu().clone() for name, value in ready.method.state_dict().items()}
        lost = _lost(ready)
        scores, selections, predicting = _final_evaluation(cell, ready, last, folder, heartbeat)
    weights.save(folder / "last.pt", last)
    evaluated = time.monotonic() - evaluating
    record = Record(
        id=cell.id,
        cell=describe(cell),
        status="finished",
        seconds={
            "train": ready.trainer.seconds,
            "evaluate": evaluated,
            "predict": predicting,
            "total": ready.trainer.seconds + evaluated,
            "wall": time.monotonic() - began,
        },
        memory_mib=_peak_memory_mib(ready.on["device"]),
        parameters=sum(p.numel() for p in ready.method.parameters() if p.requires_grad),
        split=_split_summary(ready.split, ready.dataset),
        validation=ready.trainer.validation,
        selections=selections,
        receipt=made_of
        | {
            "openings": ready.vault.openings,
            "annotation": annotation.summary(cell, ready.dataset, ready.split, places.cache),
        },
        notes=[*ready.notes, *_mixed(made_of["tree"], ready.trainer), *_slow(ready), *_idle(ready.trainer.rows), *lost],
    )
    write(folder, record, scores)
    ready.trainer.finished()
    return record


def _final_evaluation(
    cell: Cell, ready: Prepared, last: dict[str, Any], folder: Path, heartbeat: Callable[[str, int], None]
) -> tuple[list[Score], dict[str, int], float]:
    """The only place that opens the test labels: scores of each selection rule, and the step that each chose.

    The third is the mean number of seconds that predicting a case took, of the last step's weights.

    "last" is the headline. "best_val" has the highest validation Dice. "oracle" has the highest *test* Dice: nobody
    may claim it; it measures how much selecting on the test set inflates a number. What else is scored of the last step
    see ``readings``.
    """
    steps, examples = cell.training.steps, Examples(ready.dataset.task, len(ready.split.test))
    found: dict[int, list[Score]] = {}
    spent: list[float] = []
    further: list[Score] = []
    with ready.vault.open("final evaluation"):
        for step in [*(int(v["step"]) for v in ready.trainer.validation if v["step"] != steps), steps]:
            snapshot = ready.trainer.snapshot(step)
            state = last if step == steps else weights.load(snapshot, ready.on["device"])
            ready.method.load_state_dict(state)
            found[step], spent = [], []
            cases = evaluate(ready.method, ready.vault, ready.split.test, cell.training, "", spent=spent, **ready.on)
            for i, (case, prediction, rows) in enumerate(cases):
                found[step] += rows
                if step == steps:
                    examples.add(case, prediction, rows)
                    further += cleaned_up(prediction, case, ready.dataset.task, rows)
                heartbeat("evaluate", i + 1)
        for name, predict in ready.method.other_predictions().items():
            network, title = Other(ready.method, predict), f"{OTHER}{name}"
            cases = evaluate(network, ready.vault, ready.split.test, cell.training, title, **ready.on)
            for i, (_, _, rows) in enumerate(cases):
                further += rows
                heartbeat("evaluate", i + 1)
    examples.save(folder / "examples.npz")
    chosen = {"last": steps}
    if ready.trainer.validation:
        measured = [v for v in ready.trainer.validation if isfinite(v["dice"])] or ready.trainer.validation
        chosen["best_val"] = int(max(measured, key=lambda v: v["dice"])["step"])
        chosen["oracle"] = max(found, key=lambda step: _mean_dice(found[step]))
    scores = [replace(score, selection=rule) for rule, step in chosen.items() for score in found[step]] + further
    chosen |= {score.selection: steps for score in further}
    return scores, chosen, sum(spent) / max(len(spent), 1)


def _mean_dice(scores: list[Score]) -> float:
    """Over a patient's scans, its classes, then patients, as in tables; classes that occur nowhere are left out."""
    known: dict[str, dict[str, list[float]]] = {}
    for score in scores:
        if score.status != "both_empty":
            of_class = known.setdefault(score.group, {}).setdefault(score.class_name, [])
            of_class.append(score.values[METRICS.index("dice")])
    return fmean(fmean(map(fmean, classes.values())) for classes in known.values()) if known else 0.0


def _split_summary(split: Split, dataset: Dataset) -> dict[str, Any]:
    groups = dataset.groups()
    return {
        "labelled_groups": list(split.labelled_groups),
        "train_groups": len(split.train_groups),
        "unlabelled_groups": len(split.train_groups) - len(split.labelled_groups),
        "labelled_cases": len(split.labelled),
        "unlabelled_cases": len(split.unlabelled),
        "val_groups": len({groups[key] for key in split.val}),
        "val_cases": len(split.val),
        "test_groups": len({groups[key] for key in split.test}),
        "test_cases": len(split.test),
        "ratio": split.ratio,
        "folds": dataset.folds,
        "digest": split.digest(),
    }


def _receipt(
    cell: Cell, data: str, split: Split | None, device: torch.device | None, dtype: torch.dtype
) -> dict[str, Any]:
    return {
        **receipt.code(),
        "data": data,
        "split": split.digest() if split else "",
        "versions": receipt.versions(),
        "lock": receipt.lock(),
        "hardware": receipt.hardware(device),
        "precision": str(dtype).removeprefix("torch."),
        "source": receipt.source(cell.method),
        "hyper": asdict(cell.hyper),
    }


def _mixed(tree: str, trainer: Trainer) -> list[str]:
    """Sentences for the record where more than one version of the code, or kind of machine, had a part in it."""
    found = []
    if receipt.loaded() != tree:
        found.append(f"files of the code changed between the start of the runner and of this cell: some parts are of "
                     f"tree {receipt.loaded()}")  # fmt: skip
    if len(trainer.codes) > 1:
        found.append(f"trained in parts under different code: trees {', '.join(trainer.codes)}")
    if len(trainer.machines) > 1:
        found.append(f"trained in parts on different hardware: {'; '.join(trainer.machines)}")
    return found


def _lost(ready: Prepared) -> list[str]:
    """Leave out validation points whose weights are gone or damaged, as by a power cut; a sentence then."""
    trainer = ready.trainer
    there = [v for v in trainer.validation if v["step"] == trainer.step or _readable(trainer.snapshot(int(v["step"])))]
    gone = [str(int(v["step"])) for v in trainer.validation if v not in there]
    trainer.validation[:] = there
    return [f"the weights of step {', '.join(gone)} were lost: no selection rule chose among them"] if gone else []


def _readable(path: Path) -> bool:
    """Whether a file holds weights as they were saved, not the part of them that reached a disk."""
    try:
        return isinstance(weights.load(path, "cpu"), dict)
    except (OSError, weights.Damaged):
        return False


def _slow(ready: Prepared) -> list[str]:
    """A sentence where a GPU took steps kernel by kernel, which is slower and computes the same."""
    replayed = ready.trainer.replayed
    return [f"steps are not replayed as one CUDA graph: {replayed.refusal}"] if replayed and replayed.refusal else []


def _idle(rows: list[dict[str, float]]) -> list[str]:
    """Sentences for loss terms that were exactly 0 throughout; a term of a phase that never came is one, too."""
    settings = {"step", "seconds", "lr", "val_dice"}
    terms = dict.fromkeys(name for row in rows for name in row if name not in settings)
    values = {name: [row[name] for row in rows if name in row] for name in terms}
    told = "loss term {!r} was 0 in all {} rows of train.csv: it seems to have taught nothing"
    return [told.format(name, len(of)) for name, of in values.items() if not any(of)]


def _peak_memory_mib(where: torch.device) -> float:
    if where.type == "cuda":
        return torch.cuda.max_memory_allocated(where) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
