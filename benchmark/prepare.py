"""A cell made ready: where things are, data opened and split, test labels sealed, method and trainer set up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import datasets
import methods
from datasets.base import Dataset, MissingData, Vault, data_root
from datasets.contents import manifest_of
from datasets.feed import Feed
from datasets.splits import Split, left_out, make_split, passed_over
from datasets.store import Canonical, Store
from datasets.types import Task
from datasets.weak import Weakened, strong
from methods import networks
from methods.base import Method
from methods.networks import trust

from . import ROOT, device, receipt, shapes
from .encoders import encoder_weights, weights_file
from .evaluate import validation_dice
from .plan import HELD_OUT, Cell
from .pulse import Pulse, meanwhile
from .relabel import Relabeller
from .seeding import derive, streams
from .train import Trainer
from .training import Training


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
        results=Path(results or os.environ.get("BENCH_RESULTS") or ROOT / "results").expanduser(),
        data=data_root(data),
        cache=Path(os.environ.get("BENCH_CACHE") or ROOT / ".bench_cache").expanduser(),
    )


@dataclass(frozen=True)
class Prepared:
    """A cell that is ready to be trained: data split and sealed, method initialised, trainer set up."""

    dataset: Dataset
    split: Split
    vault: Vault
    method: Method
    feed: Feed
    trainer: Trainer
    on: dict[str, Any]
    notes: tuple[str, ...]
    beside: dict[str, str]  # for the receipt, see beside_hashes


def prepare(
    cell: Cell,
    places: Places,
    folder: Path,
    *,
    heartbeat: Callable[[str, int], None] = lambda phase, step: None,
    checkpoint_seconds: float = 60.0,
) -> Prepared:
    """Open the data, seal the test labels, initialise the method: everything before the first step."""
    where, pulse = device.pick(), Pulse(heartbeat)
    trust.remember_in(places.cache / "bfloat16")
    dataset = open_dataset(cell, places)
    dtype = device.precision(cell.training.precision, where)
    on: dict[str, Any] = {"device": where, "dtype": dtype}
    split = split_of(cell, dataset)
    vault = Vault(strong(dataset), split.test)
    method = build_method(cell, dataset).to(where)
    layout = torch.channels_last if dataset.task.ndim == 2 else torch.channels_last_3d
    method = method.to(memory_format=layout)  # type: ignore[call-overload, unused-ignore]
    with meanwhile(partial(heartbeat, "start", 0)):
        store = open_store(cell, dataset, split, places.cache)
        feed, note = make_feed(cell, dataset, store, split, places, where)
    notes = (
        *store.notes,
        *feed.notes,
        *filter(None, [note, _never_labelled(cell, dataset, store, split), encoder_weights(cell.training.network)[1]]),
        *_never_relabelled(method, cell.training.steps),
        *filter(None, [_passed_over(cell, dataset, split), left_out(split, dataset.groups())]),
    )
    (beside,) = beside_hashes([cell], places)
    validate = partial(
        validation_dice, vault=vault, keys=split.val, training=cell.training, heartbeat=pulse.again, **on
    )
    trainer = Trainer(
        method,
        feed,
        cell.training,
        seed=cell.seed,
        folder=folder,
        origin=" ".join([receipt.source(cell.method), dataset.fingerprint(), *beside.values()]),
        validate=validate if split.val else None,
        checkpoint_seconds=checkpoint_seconds,
        heartbeat=partial(pulse, "train"),
        relabel=Relabeller(places.cache, partial(pulse, "label")),
        code=receipt.code()["tree"],
        machine=receipt.where(where, dtype),
        **on,
    )
    return Prepared(dataset, split, vault, method, feed, trainer, on, notes, beside)


def open_dataset(cell: Cell, places: Places) -> Dataset:
    """The cell's dataset on this machine, with weak labels where the cell asks for them.

    Raises:
        MissingData: its folder is absent; the message says where to get it.
        DataError: weak labels are asked for, and there are no dense ones to make them of.
    """
    dataset = datasets.get(cell.dataset)(places.data, cell.options)
    return Weakened(dataset, cell.weak) if cell.weak else dataset


def data_hashes(cells: Iterable[Cell], places: Places, *, may_lack: bool = False) -> list[str]:
    """The hash of each cell's data as receipts hold it; each dataset is opened once.

    Raises:
        MissingData: unless a dataset ``may_lack``, which then has an empty hash.
    """
    known: dict[tuple[str, str], str] = {}
    found = []
    for cell in cells:
        key = (cell.dataset, str(cell.options))
        if key not in known:
            try:
                known[key] = manifest_of(open_dataset(cell, places), places.cache)
            except MissingData:
                if not may_lack:
                    raise
                known[key] = ""
        found.append(known[key])
    return found


def beside_hashes(cells: Sequence[Cell], places: Places, *, may_lack: bool = False) -> list[dict[str, str]]:
    """Hashes of what each cell reads beside its own data, by their keys in receipts; of what it does not read, none.

    ``shapes_data`` are the data of the dataset that lends it shapes, ``weights`` the file its encoder starts from.

    Raises:
        MissingData: unless a dataset ``may_lack``, which then has no hash.
    """
    lenders = {cell.shapes: cell for cell in cells if cell.shapes not in ("", HELD_OUT)}
    lent = [replace(c, dataset=name, options=datasets.get(name).Options(), weak=None) for name, c in lenders.items()]
    shown = dict(zip(lenders, data_hashes(lent, places, may_lack=may_lack), strict=True))
    files = {name: weights_file(name)[1] for name in {cell.training.network for cell in cells}}
    found = [{"shapes_data": shown.get(cell.shapes), "weights": files[cell.training.network]} for cell in cells]
    return [{key: value for key, value in each.items() if value} for each in found]


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
        strata=dataset.strata(),
        unannotated=dataset.unannotated(cell.annotation),
        unscored=dataset.unannotated("dense"),
    )


def open_store(cell: Cell, dataset: Dataset, split: Split, cache: Path | None) -> Store:
    """The training side, decoded once per machine."""
    keys = sorted((*split.labelled, *split.unlabelled))
    return Store.open(dataset, keys, canonical_of(cell), cache=cache)


def canonical_of(cell: Cell) -> Canonical:
    """The grid on which the cell trains."""
    assert cell.training.patch is not None
    return Canonical(cell.training.patch, cell.training.interpolation)


def build_method(cell: Cell, dataset: Dataset) -> Method:
    """A freshly initialised method: same seed, same network weights, whatever the method."""
    training = cell.training
    build = networks.builder(
        training.network, **(encoder_weights(training.network)[0] | network_settings(training, dataset.task))
    )
    torch.manual_seed(derive(cell.seed, "init"))
    return methods.get(cell.method)(dataset.task, cell.hyper, build)


def network_settings(training: Training, task: Task) -> dict[str, Any]:
    """What `networks.make` is told of a plan and its data, besides the name."""
    sizes = {"ndim": task.ndim, "channels": task.channels, "classes": task.n_classes, "width": training.width}
    return sizes | dict(training.network_options)


def make_feed(
    cell: Cell, dataset: Dataset, store: Store, split: Split, places: Places, where: torch.device
) -> tuple[Feed, str]:
    """The cell's batches, and a sentence for the record where they use more labels than the split says.

    Raises:
        ValueError, DataError: no unlabelled case for a method that needs some, or sizes that do not go together.
    """
    cls, training = methods.get(cell.method), cell.training
    split, held, extra = shapes.without_held_out(cell, dataset, split)
    if cls.supervision == "semi" and not split.unlabelled:
        raise ValueError(f"{cell.method} needs unlabelled cases, but at {cell.amount} none is left; lower the ratio")
    bank, origin = shapes.pool_of(cell, dataset, store, split, held, places.data, places.cache)
    assert training.patch is not None
    feed = Feed(
        store.pool(split.labelled, cell.annotation),
        store.pool(split.unlabelled, None) if cls.supervision == "semi" else None,
        labelled_batch=training.labelled_batch,
        unlabelled_batch=training.unlabelled_batch,
        patch=training.patch,
        augment=training.augment,
        stream=streams(cell.seed),
        views=cls.views,
        shapes=bank,
        device=where,
        in_plane=dataset.task.in_plane,
    )
    return feed, "; ".join(filter(None, (extra, origin)))


def _passed_over(cell: Cell, dataset: Dataset, split: Split) -> str:
    """A sentence for the record where the carved validation groups are among the published first; else nothing."""
    if cell.training.subset != "first":
        return ""
    return passed_over(split, dataset.groups(), dataset.partition(cell.fold), dataset.published_order())


def _never_labelled(cell: Cell, dataset: Dataset, store: Store, split: Split) -> str:
    """A sentence for the record where no labelled sample shows some class; else nothing."""
    shown = store.pool(split.labelled, cell.annotation).values()
    absent = [name for value, name in enumerate(dataset.task.classes) if value not in shown]
    return f"no labelled sample shows {', '.join(absent)}: its labels cannot teach that" if absent else ""


def _never_relabelled(method: Method, steps: int) -> list[str]:
    """A sentence for the record where a method that makes pseudo labels is trained too briefly to make any."""
    if type(method).relabel_at is Method.relabel_at or any(map(method.relabel_at, range(steps))):
        return []
    return [f"{method.name()} makes no pseudo labels within {steps} steps: what learns from them learns nothing"]
