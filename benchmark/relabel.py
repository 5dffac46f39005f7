"""Pseudo labels made anew for all labelled samples, and kept on disk where they follow from the data alone."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datasets import cache as disk
from datasets.feed import Feed
from datasets.files import atomic_write
from datasets.types import IGNORE, Labelled
from methods.base import Method, Relabelled

from .pulse import meanwhile
from .receipt import of_methods

_SAMPLES_PER_CORE = 4
"""Of those that are labelled at once where the weights do not matter, so that no core waits long for the others."""


class Relabeller:
    """Calls ``relabel`` on every labelled sample of a feed, which gets the maps.

    Maps of methods with ``offline_labels`` are made by all cores of this process and kept, one file per sample: the
    next seed, fold or attempt reads them. A file belongs to the content of image and annotation, the code of all
    methods, the hyper-parameters and the number of classes; a damaged one is made anew. Processes that want the same
    maps wait for one to make them.

    Args:
        cache: folder for kept maps; None = they are not kept.
        heartbeat: told the share done, in per cent.
    """

    def __init__(self, cache: Path | None = None, heartbeat: Callable[[int], None] = lambda percent: None) -> None:
        self.cache, self.heartbeat = cache, heartbeat

    @torch.no_grad()
    def __call__(
        self, method: Method, feed: Feed, memory: dict[int, Tensor], cast: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        """Label all samples anew; ``memory`` (by sample) is what the method remembered, and is brought up to date.

        Args:
            method: put into eval mode.
            feed: gets the maps.
            memory: of earlier calls, changed in place.
            cast: makes the context of every call, for autocast.
        """
        method.eval()
        if method.offline_labels:
            self._offline(method, feed)
            return
        done = 0
        for indices, samples in feed.relabel_samples():
            known = [memory.get(int(i)) for i in indices]
            whole = not any(m is None for m in known)
            before = torch.stack(known).to(samples.image.device) if whole else None  # type: ignore[arg-type]
            with cast():
                made = relabel_padded(method, samples, before)
            feed.set_pseudo(indices, made.label)
            if made.memory is not None:
                memory.update({int(i): m.cpu() for i, m in zip(indices, made.memory, strict=True)})
            done += len(indices)
            self.heartbeat(100 * done // feed.labelled_samples)

    def _offline(self, method: Method, feed: Feed) -> None:
        recipe = [method.name(), *of_methods(), asdict(method.hyper), method.task.n_classes]
        folder = self.cache and self.cache / f"{method.name()}-{_digest(json.dumps(recipe, sort_keys=True).encode())}"
        with _all_cores() as cores, ExitStack() as held:
            if folder:
                with meanwhile(partial(self.heartbeat, 0)):
                    held.enter_context(disk.exclusive(folder / "labels"))
            done = 0
            for indices, samples in feed.relabel_samples(_SAMPLES_PER_CORE * cores):
                feed.set_pseudo(indices, _kept_or_made(method, samples, folder))
                done += len(indices)
                self.heartbeat(100 * done // feed.labelled_samples)


def relabel_padded(method: Method, samples: Labelled, memory: Tensor | None) -> Relabelled:
    """``relabel`` on samples padded to what the network can take (whole volumes have any size), cut back afterwards.

    Images are padded with their minimum, label maps with IGNORE; memory stays padded, it is the method's own.
    """
    divisor = getattr(method.network, "divisor", 1)
    space = samples.image.shape[2:]
    pads = [p for side in reversed(space) for p in (0, -side % divisor)]
    if not any(pads):
        return method.relabel(samples, memory)
    image = nn.functional.pad(samples.image, pads, value=float(samples.image.min()))
    label = nn.functional.pad(samples.label, pads, value=IGNORE)
    made = method.relabel(Labelled(image, label, keys=samples.keys), memory)
    inside: tuple[Any, ...] = (..., *(slice(0, side) for side in space))
    return Relabelled(made.label[inside], made.memory)


def _kept_or_made(method: Method, samples: Labelled, folder: Path | None) -> Tensor:
    """The maps of n samples: read where they are kept, else made and kept."""
    label = samples.label.clone()
    paths = [folder / f"{_content(samples, i)}.npz" if folder else None for i in range(len(label))]
    missing = []
    for i, path in enumerate(paths):
        found = _read(path, tuple(label.shape[1:])) if path else None
        if found is None:
            missing.append(i)
        else:
            label[i] = torch.from_numpy(found).to(label)
    if missing:
        keys = tuple(samples.keys[i] for i in missing)
        made = method.relabel(Labelled(samples.image[missing], samples.label[missing], keys=keys), None).label
        label[missing] = made
        for i, one in zip(missing, made.cpu().numpy().astype(np.uint8), strict=True):
            if path := paths[i]:
                _write(path, one)
    return label


def _content(samples: Labelled, i: int) -> str:
    image, label = samples.image[i].float().cpu().contiguous(), samples.label[i].cpu().contiguous()
    return _digest(repr(tuple(image.shape)).encode(), image.numpy().tobytes(), label.numpy().tobytes())


def _digest(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _read(path: Path, space: tuple[int, ...]) -> np.ndarray | None:
    try:
        with np.load(io.BytesIO(path.read_bytes())) as file:  # of a damaged path, numpy would leave the file open
            label = file["label"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return label if label.shape == space else None


def _write(path: Path, label: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, label=label)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, buffer.getvalue())
    except OSError as error:
        print(f"a label map is not kept in {str(path.parent)!r} ({error}); the next run makes it again")


@contextmanager
def _all_cores() -> Iterator[int]:
    """For a while, torch's number of threads is that of the cores this process may use."""
    before, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    try:
        yield cores
    finally:
        torch.set_num_threads(before)
