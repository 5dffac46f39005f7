"""Cases decoded for a store: all at once, or one by one by several processes, each into a file of its own.

The files of single cases are pieces of an entry that is not there yet: what a killed run decoded is not decoded again.
They go once the entry is whole, which another process may see to while some are being written: then those are lost,
and nobody needs them.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import cache as disk
from .base import DataError, Dataset
from .canonical import KINDS, Canonical, Samples, canonical_samples
from .contents import manifest_of
from .packing import packed
from .types import IGNORE, Annotation
from .weak import strong

FORMAT = 3


class Decoded(NamedTuple):
    """Everything a store keeps: lists per sample, and per case its samples' tensors."""

    about: dict[str, Any]
    images: list[Tensor]
    maps: dict[Annotation, list[Tensor]]


def stem_of(dataset: Dataset, keys: Sequence[str], canonical: Canonical, cache: Path) -> Path:
    """Where these decoded cases are kept: the name stands for what the files hold, the grid and the cases."""
    content = [dataset.settings(), manifest_of(dataset, cache)]
    identity = json.dumps([FORMAT, content, asdict(canonical), sorted(set(keys))], sort_keys=True)
    return Path(cache) / f"{dataset.name}-{hashlib.blake2b(identity.encode(), digest_size=10).hexdigest()}"


def pieces_of(stem: Path) -> Path:
    """Where decoded cases lie one by one until all are there, see ``datasets.decode``."""
    return stem.with_name(f"{stem.name}.pieces")


def piece_file(pieces: Path, key: str) -> Path:
    """The file of one case there."""
    return pieces / hashlib.blake2b(key.encode(), digest_size=10).hexdigest()


def write_piece(dataset: Dataset, key: str, canonical: Canonical, pieces: Path) -> None:
    """Decode one case into its file; into none where the folder goes meanwhile.

    Raises:
        DataError: the case is not as the dataset's layout says.
    """
    about, samples = _case(dataset, key, canonical)
    with suppress(FileNotFoundError):
        disk.save(
            piece_file(pieces, key),
            {"image": [samples.image.numpy()], **{kind: [labels.numpy()] for kind, labels in samples.maps.items()}},
            about,
        )


def decode(dataset: Dataset, keys: Sequence[str], canonical: Canonical, pieces: Path | None = None) -> Decoded:
    """Decode cases in this process, those whose file lies in ``pieces`` from there.

    Raises:
        DataError: a case is not as the dataset's layout says.
    """
    about: dict[str, Any] = {"dataset": dataset.name, "stacked": len(canonical.patch) == 2}
    about |= {"samples": [], "cases": [], "groups": [], "annotated": {}}
    images: list[Tensor] = []
    found: list[dict[Annotation, Tensor]] = []
    for key in keys:
        stored = disk.load(piece_file(pieces, key)) if pieces is not None else None
        case, samples = _case(dataset, key, canonical) if stored is None else (stored.about, _samples(stored.arrays))
        n = len(samples.image)
        about["samples"] += [key] if case["whole"] else [f"{key}/{i:03d}" for i in range(n)]
        about["cases"] += [key] * n
        about["groups"] += [case["group"]] * n
        images.append(samples.image)
        found.append(samples.maps)
    maps: dict[Annotation, list[Tensor]] = {}
    for kind in KINDS:
        if any(kind in each for each in found):
            maps[kind] = [
                each.get(kind, torch.full((len(image), *image.shape[2:]), IGNORE, dtype=torch.uint8))
                for each, image in zip(found, images, strict=True)
            ]
            about["annotated"][kind] = [bool((sample != IGNORE).any()) for case in maps[kind] for sample in case]
    return Decoded(about, packed(images), maps)


def decode_apart(
    opener: Callable[[], Dataset],
    keys: Sequence[str],
    others: Sequence[str],
    canonical: Canonical,
    cache: Path,
    *,
    workers: int,
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Decode cases in several processes, each into its file; what lies there already is left alone.

    Args:
        opener: opens the dataset; must be a function or ``partial`` that another process can import.
        keys: cases of one store, which then finds them decoded.
        others: further cases, read and checked only.
        canonical, cache: as of the store.
        workers: processes.
        say: hears how far it is.

    Returns:
        How many cases were read: 0 where everything was there.

    Raises:
        DataError: the first case that is not as the dataset's layout says. What was decoded before stays.
    """
    pieces = pieces_of(stem_of(opener(), keys, canonical, cache))
    wanted = [(key, True) for key in sorted(set(keys))] + [(key, False) for key in sorted(set(others))]
    missing = [job for job in wanted if not piece_file(pieces, job[0]).exists()]
    if not missing:
        return 0
    pieces.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(min(workers, len(missing)), context, _begin, (opener, canonical, pieces)) as pool:
        jobs = [pool.submit(_work, *job) for job in missing]
        try:
            for number, job in enumerate(as_completed(jobs), 1):
                job.result()
                if number % 50 == 0:
                    say(f"{number} of {len(missing)} cases")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return len(missing)


_worker: dict[str, Any] = {}
"""What a worker process opened when it began."""


def _begin(opener: Callable[[], Dataset], canonical: Canonical, pieces: Path) -> None:
    torch.set_num_threads(1)
    _worker.update(dataset=opener(), canonical=canonical, pieces=pieces)


def _work(key: str, kept: bool) -> None:
    if kept:
        write_piece(_worker["dataset"], key, _worker["canonical"], _worker["pieces"])
    else:
        dataset = strong(_worker["dataset"])
        dataset.check(dataset.load(key))
        with suppress(FileNotFoundError):
            piece_file(_worker["pieces"], key).touch()


def _case(dataset: Dataset, key: str, canonical: Canonical) -> tuple[dict[str, Any], Samples]:
    """One case, checked and on the grid: its group, whether it is one sample, and its samples as they are stored."""
    case = dataset.check(dataset.load(key))
    image, maps = canonical_samples(case, canonical)
    image = image.to(getattr(torch, canonical.storage))
    if not image.isfinite().all():
        raise DataError(f"{dataset.name}: case {key!r} has values too large for float16; use storage float32")
    return {"group": case.group, "whole": case.image.ndim == len(canonical.patch) + 1}, Samples(image, maps)


def _samples(arrays: dict[str, np.ndarray]) -> Samples:
    return Samples(torch.from_numpy(arrays["image"]), {k: torch.from_numpy(arrays[k]) for k in KINDS if k in arrays})
