"""All that can be wrong is found before any training, with one clear message: data, splits, sizes, names, disk."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from datasets.base import Dataset
from datasets.contents import manifest_of
from datasets.decode import decode_apart
from datasets.files import atomic_write
from datasets.splits import Split
from datasets.store import Store
from datasets.weak import strong
from methods import networks

from . import device
from .encoders import encoder_weights
from .feasible import Judge, NotReady, Say, named, opened_as, size
from .metrics import ENGINE, measure
from .plan import Cell
from .prepare import (
    Places,
    canonical_of,
    make_feed,
    network_settings,
    open_dataset,
    open_store,
    split_of,
)

MIB_PER_CELL = 40
"""Scores, curves, examples and two sets of weights of a published-size network."""

FAR_OFF = 0.05
"""By how much a realised share may differ from the one asked for before that is said."""

PROBE_BYTES = 2**16
"""Written and forgotten before a run, to see whether a folder can be written to."""


def check(cells: Sequence[Cell], places: Places, say: Say = lambda line: None) -> None:
    """Check every cell and decode every dataset once. Trains nothing.

    Raises:
        NotReady, ConfigError, DataError, MissingData: with the first thing that is wrong.
    """
    _disk(cells, places)
    _compile(say)
    opened: dict[str, Dataset] = {}
    stores: dict[tuple[object, ...], Store] = {}
    amounts: dict[tuple[object, ...], Cell] = {}
    judge, told = Judge(say), {""}
    for cell in cells:
        key = opened_as(cell)
        if key not in opened:
            opened[key] = open_dataset(cell, places)
            _cases(strong(opened[key]), places, say)
        dataset = opened[key]
        with named(cell):
            judge(cell, dataset.task)
            device.pick()  # refuses a BENCH_DEVICE that cannot be
            split = split_of(cell, dataset)
            _amount(cell, split, amounts)
            if (sentence := _rounded(cell, split)) not in told:
                told.add(sentence)
                say(sentence)
            grid = (key, cell.fold, cell.training.patch, cell.training.interpolation, split.train_groups)
            if grid not in stores:
                stores[grid] = open_store(cell, dataset, split, places.cache)
            make_feed(cell, dataset, stores[grid], split, places, torch.device("cpu"))
    _weights(cells, opened, say)


def decode_ahead(cells: Sequence[Cell], places: Places, *, workers: int, say: Say = lambda line: None) -> int:
    """Check and decode what cells need in several processes, so that a run finds it done. May be killed and repeated.

    Returns:
        How many cases were read: 0 where all was done before.

    Raises:
        DataError, MissingData: with the first thing that is wrong; what was decoded before stays.
    """
    read, seen = 0, set()
    for cell in cells:
        dataset = open_dataset(cell, places)
        with named(cell):
            size(cell, dataset.task)
            split = split_of(cell, dataset)
        keys, grid = sorted((*split.labelled, *split.unlabelled)), canonical_of(cell)
        if (grid_of_cell := (dataset.fingerprint(), tuple(keys), grid)) in seen:
            continue
        seen.add(grid_of_cell)
        mark = _checked(strong(dataset), places)
        others = [] if mark.exists() else sorted(set(dataset.groups()) - set(keys))
        if not Store.kept(dataset, keys, grid, places.cache):
            opener = partial(open_dataset, cell, places)
            read += decode_apart(opener, keys, others, grid, places.cache, workers=workers, say=say)
            open_store(cell, dataset, split, places.cache)
            say(f"{cell.dataset}: {len(keys)} cases of fold {cell.fold} decoded for {grid.patch}")
            _remember(strong(dataset), places)
    return read


def _compile(say: Say) -> None:
    """Compile the metric kernels once, here, instead of in every worker at the same time."""
    if ENGINE != "numba":
        return
    started = time.monotonic()
    for shape, spacing in (((8, 8), (1.0, 1.0)), ((4, 8, 8), (1.0, 1.0, 1.0)), ((4, 8, 8), (3.0, 1.0, 1.0))):
        reference = np.zeros(shape, np.uint8)
        reference[..., 2:5, 2:5] = 1
        measure(np.roll(reference, 2, -1), reference, classes=2, spacing=spacing, tolerance=(1.0,))
    if time.monotonic() - started > 5:
        say(f"metric kernels compiled once, in {time.monotonic() - started:.0f} s")


def _cases(dataset: Dataset, places: Places, say: Say) -> None:
    """Load and check every case once; remembered, so that the second start is instant."""
    if _checked(dataset, places).exists():
        return
    groups = dataset.groups()
    say(f"{dataset.name}: checking {len(groups)} cases once")
    for key in groups:
        dataset.check(dataset.load(key))
    _remember(dataset, places)


def _checked(dataset: Dataset, places: Places) -> Path:
    """The mark that every case was read once and is as it should be."""
    return places.cache / f"checked-{dataset.name}-{dataset.fingerprint()}"


def _remember(dataset: Dataset, places: Places) -> None:
    manifest_of(dataset, places.cache)
    places.cache.mkdir(parents=True, exist_ok=True)
    atomic_write(_checked(dataset, places), b"")


def _amount(cell: Cell, split: Split, known: dict[tuple[object, ...], Cell]) -> None:
    """Refuse a second amount that labels the very groups of a first: tables would show one number as two results.

    Raises:
        NotReady: naming both, how many groups they label, and of how many.
    """
    if cell.role == "upper":
        return
    drawn = (cell.seed, cell.fold, cell.training.val_share, cell.training.subset, split.labelled_groups)
    first = known.setdefault((opened_as(cell), cell.annotation, *drawn), cell)
    if first.amount != cell.amount:
        n, most = len(split.labelled_groups), len(split.train_groups)
        raise NotReady(
            f"{cell.dataset}: {first.amount} and {cell.amount} label the same {n} of {most} training groups in fold "
            f"{cell.fold}; keep one of the two, or count groups under the dataset, such as labelled: "
            f"[{', '.join(str(2**i) for i in range(3) if 2**i < most)}]"
        )


def _rounded(cell: Cell, split: Split) -> str:
    """A sentence where groups are too few for the share that was asked for; else nothing."""
    if cell.ratio is None or abs(split.ratio - cell.ratio) <= FAR_OFF:
        return ""
    n, most = len(split.labelled_groups), len(split.train_groups)
    return f"{cell.dataset}: {cell.amount} is {n} of {most} training groups, so {100 * split.ratio:.0f} %"


def _weights(cells: Sequence[Cell], opened: Mapping[str, Dataset], say: Say) -> None:
    """Read the weights of pre-trained encoders once, which fetches what timm fetches: no cell may find them missing.

    Raises:
        NotReady: they cannot be had, or are not this encoder's.
    """
    seen = []
    for cell in cells:
        name, settings = cell.training.network, network_settings(cell.training, opened[opened_as(cell)].task)
        if not name.endswith(networks.PRETRAINED) or (name, settings) in seen:
            continue
        seen.append((name, settings))
        origin, words = encoder_weights(name)
        say(words)
        try:
            networks.make(name, **(origin | settings))
        except Exception as error:  # whatever timm, its hub or a file reader may raise
            model = networks.encoder_of(name)
            raise NotReady(
                f"training.network {name}: its weights cannot be read ({type(error).__name__}: {error}); put them as "
                f"{model}.safetensors or {model}.pth into a folder that BENCH_WEIGHTS names, connect to a network for "
                f"timm to fetch them, or train from scratch: network: {networks.ENCODER}{model}"
            ) from error


def _disk(cells: Sequence[Cell], places: Places) -> None:
    for folder, variable in ((places.results, "BENCH_RESULTS"), (places.cache, "BENCH_CACHE")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(bytes(PROBE_BYTES))
        except OSError as error:
            why = "a file of that name is there" if isinstance(error, FileExistsError) else error.strerror
            raise NotReady(f"{folder}: cannot be written ({why}); set {variable} to a folder that can") from error
    free = shutil.disk_usage(places.results).free / 2**20
    needed = MIB_PER_CELL * len(cells)
    if free < min(needed, 2048) or free < 200:
        raise NotReady(
            f"{places.results}: {free:.0f} MiB free, this plan may write {needed} MiB; "
            "free some space or set BENCH_RESULTS to a folder on another disk"
        )
