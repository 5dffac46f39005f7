"""The training side of a dataset, decoded once into canonical samples and kept as tensors; pools are parts of it.

Images are kept as float32, in fewer bytes where that loses nothing (``datasets.packing``), or as float16 where that is
asked for: a value then moves by at most 1/2048 of itself, which on images in [0, 1] is 2.5e-4, a sixteenth of an 8-bit
grey level; memory halves. Label maps are uint8.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import cache as disk
from .base import DataError, Dataset
from .canonical import KINDS, Canonical
from .decode import Decoded, decode, pieces_of, stem_of
from .pool import Column, Pool
from .types import Annotation


class Store:
    """Canonical samples of the training side, labelled or not; it hands out pools and shows nothing itself.

    Attributes:
        canonical: the grid.
        notes: remarks for the record, such as a cache that could not be written.
    """

    def __init__(
        self,
        about: dict[str, Any],
        image: Column,
        maps: dict[Annotation, Column],
        canonical: Canonical,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.canonical = canonical
        self.notes = notes
        self._about = about
        self._image = image
        self._maps = maps

    @classmethod
    def open(cls, dataset: Dataset, keys: Sequence[str], canonical: Canonical, *, cache: Path | None) -> Store:
        """Decode the cases ``keys``, or map them from the cache that an earlier call left.

        Args:
            dataset: where cases come from; each is checked against the task.
            keys: training cases, labelled and unlabelled; their order does not matter. Never test cases.
            canonical: the grid.
            cache: folder for decoded samples; None = memory only. An entry belongs to the content of the files, the
                options, the grid and the keys; several processes may share the folder; a damaged entry is made anew.

        Raises:
            DataError: a case is not as the dataset's layout says, or there is none.
            ValueError: the patch has not the task's dimensions.
        """
        keys = sorted(set(keys))
        if not keys:
            raise DataError(f"{dataset.name}: no training case to open; check the split and the data folder")
        ndim = dataset.task.ndim
        if len(canonical.patch) != ndim:
            raise ValueError(f"{dataset.name} is {ndim}-D: its patch needs {ndim} numbers, got {canonical.patch}")
        if cache is None:
            return cls(*_in_memory(decode(dataset, keys, canonical)), canonical)
        stem = stem_of(dataset, keys, canonical, cache)
        notes: tuple[str, ...] = ()
        found = _read(stem)
        if found is None:
            with disk.exclusive(stem):
                found = _read(stem)  # another process may have made it while this one waited
                if found is None:
                    decoded = decode(dataset, keys, canonical, pieces_of(stem))
                    try:
                        _write(stem, decoded)
                    except OSError as error:
                        notes = (
                            f"decoded samples are not kept in {str(cache)!r} ({error}); every run decodes them again",
                        )
                    found = _read(stem) or _in_memory(decoded)
        if not notes:  # the entry is whole; whoever decodes ahead may have gone on with pieces after it was
            shutil.rmtree(pieces_of(stem), ignore_errors=True)
        return cls(*found, canonical, notes)

    @staticmethod
    def kept(dataset: Dataset, keys: Sequence[str], canonical: Canonical, cache: Path) -> bool:
        """Whether :meth:`open` would find these cases decoded."""
        return _read(stem_of(dataset, keys, canonical, cache)) is not None

    def pool(self, keys: Sequence[str], annotation: Annotation | None) -> Pool:
        """The samples of some cases.

        Args:
            keys: cases of this store, in any order.
            annotation: "dense" or "scribble": samples with that annotation, without those that carry none at all
                (counted in ``Pool.skipped``). None: every sample, and an object that refers to no annotation.

        Raises:
            KeyError: a case that the store does not hold.
            DataError: no sample is left.
            ValueError: an unknown kind of annotation.
        """
        if annotation not in (None, *KINDS):
            raise ValueError(f'annotation must be "dense", "scribble" or None, got {annotation!r}')
        about, wanted = self._about, set(keys)
        unknown = sorted(wanted - set(about["cases"]))
        if unknown:
            raise KeyError(
                f"{about['dataset']}: case(s) {unknown[:3]} are not in this store, which was opened without them"
            )
        rows = [row for row, case in enumerate(about["cases"]) if case in wanted]
        label, skipped = None, 0
        if annotation is not None:
            label, annotated = self._maps.get(annotation), about["annotated"].get(annotation)
            kept = [row for row in rows if annotated[row]] if annotated else []
            skipped, rows = len(rows) - len(kept), kept
        if not rows:
            what = f"has a {annotation} annotation" if annotation else "is left"
            raise DataError(
                f"{about['dataset']}: no sample of {len(wanted)} case(s) {sorted(wanted)[:3]} {what}; "
                "choose another kind of annotation, other cases or a larger ratio"
            )
        return Pool(
            sample_keys=tuple(about["samples"][row] for row in rows),
            cases=tuple(about["cases"][row] for row in rows),
            groups=tuple(about["groups"][row] for row in rows),
            patch=self.canonical.patch,
            interpolation=self.canonical.interpolation,
            annotation=annotation,
            skipped=skipped,
            _rows=np.asarray(rows),
            _image=self._image,
            _label=label,
        )


def _in_memory(decoded: Decoded) -> tuple[dict[str, Any], Column, dict[Annotation, Column]]:
    def column(pieces: list[Tensor]) -> Column:
        if decoded.about["stacked"]:
            return torch.cat(pieces)
        return tuple(sample for piece in pieces for sample in piece)

    return decoded.about, column(decoded.images), {kind: column(pieces) for kind, pieces in decoded.maps.items()}


def _write(stem: Path, decoded: Decoded) -> None:
    """One file for the images and one per kind of annotation, so that mapping the images maps no label."""
    for kind, pieces in (*decoded.maps.items(), ("image", decoded.images)):
        if decoded.about["stacked"]:
            arrays = {"all": [piece.numpy() for piece in pieces]}
        else:
            samples = [sample for piece in pieces for sample in piece]
            arrays = {str(row): [sample.numpy()] for row, sample in enumerate(samples)}
        disk.save(_file(stem, kind), arrays, decoded.about if kind == "image" else {})


def _read(stem: Path) -> tuple[dict[str, Any], Column, dict[Annotation, Column]] | None:
    stored = disk.load(_file(stem, "image"))
    if stored is None:
        return None
    maps: dict[Annotation, Column] = {}
    for kind in KINDS:
        if kind in stored.about["annotated"]:
            labels = disk.load(_file(stem, kind))
            if labels is None:
                return None
            maps[kind] = _column(labels.arrays)
    return stored.about, _column(stored.arrays), maps


def _column(arrays: dict[str, np.ndarray]) -> Column:
    if "all" in arrays:
        return torch.from_numpy(arrays["all"])
    return tuple(torch.from_numpy(arrays[str(row)]) for row in range(len(arrays)))


def _file(stem: Path, kind: str) -> Path:
    return stem.with_name(f"{stem.name}.{kind}")
