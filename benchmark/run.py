"""``run_cell``: one cell from its settings to its record. Failures are records too; finished cells are left alone."""

from __future__ import annotations

import os
import resource
import time
import traceback as tracebacks
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import datasets
import methods
from datasets.base import Dataset, Vault
from datasets.feed import Feed
from datasets.splits import Split, make_split
from datasets.store import Canonical, Store
from methods import networks
from methods.base import Method

from . import ROOT, device, receipt
from .evaluate import evaluate, validation_dice
from .examples import save_examples
from .plan import Cell
from .record import Record, Score, atomic_write, read, write
from .seeding import derive, streams
from .train import Trainer


@dataclass(frozen=True)
class Places:
    """Where things are on this machine: never part of a cell.

    ``cache`` holds decoded data, keyed by content; deleting it costs time only.
    """

    results: Path
    data: Path
    cache: Path

    def folder(self, cell: Cell) -> Path:
        """The folder of one cell."""
        return self.results / cell.plan / cell.id


def default_places(data: str | None = None, results: str | None = None) -> Places:
    """Results and cache in the checkout (or BENCH_RESULTS, BENCH_CACHE); data as ``datasets.base.data_root`` says."""
    return Places(
        results=Path(results or os.environ.get("BENCH_RESULTS") or ROOT / "results"),
        data=datasets.base.data_root(data),
        cache=Path(os.environ.get("BENCH_CACHE") or ROOT / ".bench_cache"),
    )


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


def open_dataset(cell: Cell, places: Places) -> Dataset:
    """The cell's dataset on this machine.

    Raises:
        MissingData: its folder is absent; the message says where to get it.
    """
    return datasets.get(cell.dataset)(places.data, cell.options)


def split_of(cell: Cell, dataset: Dataset) -> Split:
    """The cell's split: the same for every method."""
    return make_split(
        dataset.groups(),
        dataset.partition(cell.fold),
        ratio=cell.ratio,
        count=cell.count,
        seed=derive(cell.seed, "split"),
        val_share=cell.training.val_share,
        subset=cell.training.subset,
        order=dataset.published_order(),
    )


def open_store(cell: Cell, dataset: Dataset, split: Split, cache: Path | None) -> Store:
    """The training side, decoded once per machine."""
    assert cell.training.patch is not None
    keys = sorted((*split.labelled, *split.unlabelled))
    return Store.open(dataset, keys, Canonical(cell.training.patch, cell.training.interpolation), cache=cache)


def build_method(cell: Cell, dataset: Dataset) -> Method:
    """A freshly initialised method: same seed, same network weights, whatever the method."""
    training = cell.training
    make = partial(
        networks.make,
        training.network,
        ndim=dataset.task.ndim,
        channels=dataset.task.channels,
        classes=dataset.task.n_classes,
        width=training.width,
    )
    torch.manual_seed(derive(cell.seed, "init"))
    return methods.get(cell.method)(dataset.task, cell.hyper, make)


def _run(
    cell: Cell, places: Places, folder: Path, heartbeat: Callable[[str, int], None], checkpoint_seconds: float
) -> Record:
    began = time.monotonic()
    where = device.pick()
    dtype = device.precision(cell.training.precision, where)
    dataset = open_dataset(cell, places)
    split = split_of(cell, dataset)
    vault = Vault(dataset, split.test)
    method = build_method(cell, dataset).to(where)
    layout = torch.channels_last if dataset.task.ndim == 2 else torch.channels_last_3d
    method = method.to(memory_format=layout)  # type: ignore[call-overload]
    feed = _feed(cell, dataset, split, places.cache, where)
    on = {"device": where, "dtype": dtype}
    trainer = Trainer(
        method,
        feed,
        cell.training,
        seed=cell.seed,
        folder=folder,
        validate=partial(validation_dice, vault=vault, keys=split.val, training=cell.training, **on)
        if split.val
        else None,
        checkpoint_seconds=checkpoint_seconds,
        heartbeat=partial(heartbeat, "train"),
        **on,
    )
    trainer.run()
    evaluating = time.monotonic()
    scores: list[Score] = []
    last = {name: value.detach().cpu().clone() for name, value in method.state_dict().items()}
    with vault.open("final evaluation"):
        for selection, state in _selections(trainer, last):
            method.load_state_dict(state)
            examples = []
            for i, (case, prediction, rows) in enumerate(
                evaluate(method, vault, split.test, cell.training, selection, **on)
            ):
                scores += rows
                if selection == "last" and prediction is not None and i in _chosen(len(split.test)):
                    examples.append((case, prediction))
                heartbeat("evaluate", i + 1)
            if selection == "last":
                save_examples(folder / "examples.npz", examples, dataset.task)
    _save_weights(folder / "last.pt", last)
    record = Record(
        id=cell.id,
        cell=describe(cell),
        status="finished",
        seconds={
            "train": trainer.seconds,
            "evaluate": time.monotonic() - evaluating,
            "total": trainer.seconds + time.monotonic() - evaluating,
            "wall": time.monotonic() - began,
        },
        memory_mib=_peak_memory_mib(where),
        parameters=sum(p.numel() for p in method.parameters() if p.requires_grad),
        split=_split_summary(split, dataset),
        validation=trainer.validation,
        receipt=_receipt(cell, receipt.manifest(dataset, places.cache), split, dtype) | {"openings": vault.openings},
        notes=list(feed.notes),
    )
    write(folder, record, scores)
    trainer.finished()
    return record


def _feed(cell: Cell, dataset: Dataset, split: Split, cache: Path, where: torch.device) -> Feed:
    cls, training = methods.get(cell.method), cell.training
    store = open_store(cell, dataset, split, cache)
    labelled = store.pool(split.labelled, cell.annotation)
    if cls.supervision == "semi" and not split.unlabelled:
        raise ValueError(f"{cell.method} needs unlabelled cases, but at {cell.amount} none is left; lower the ratio")
    assert training.patch is not None
    return Feed(
        labelled,
        store.pool(split.unlabelled, None) if cls.supervision == "semi" else None,
        labelled_batch=training.labelled_batch,
        unlabelled_batch=training.unlabelled_batch,
        patch=training.patch,
        augment=training.augment,
        stream=streams(cell.seed),
        views=cls.views,
        device=where,
    )


def _selections(trainer: Trainer, last: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Which weights are scored on test: the last ones are the headline, the best on validation stand beside them."""
    found = [("last", last)]
    if trainer.best is not None:
        found.append(("best_val", trainer.best["state"]))
    return found


def _chosen(n: int) -> set[int]:
    return {0, n // 2, n - 1}


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
