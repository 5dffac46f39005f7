"""The training side of a dataset, decoded once into canonical samples and kept as tensors; pools are parts of it.

Canonical coordinates are the grid that training sees. In 2-D, every image or slice resized to the patch (the aspect is
not kept, as in the published recipes). In 3-D, the native grid, padded on both sides to at least the patch: images with
their minimum, label maps with IGNORE.

Images are kept as float32, or as float16 where that is asked for: a value then moves by at most 1/2048 of itself, which
on images in [0, 1] is 2.5e-4, a sixteenth of an 8-bit grey level; memory halves. Label maps are uint8.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import cache as disk
from .base import DataError, Dataset
from .pool import Column, Pool
from .resample import resize, resize_labels
from .types import IGNORE, Annotation, Case

_FORMAT = 1
_KINDS: tuple[Annotation, ...] = ("dense", "scribble")


@dataclass(frozen=True)
class Canonical:
    """The grid that training sees.

    Attributes:
        patch: spatial size of a training sample. 2-D: everything is resized to it. 3-D: the size of crops, to which
            smaller volumes are padded.
        interpolation: how images are resized and rotated: "linear", or "nearest" as the released code does.
        storage: type in which images are kept in memory and on disk, "float32" or "float16"; batches are float32.
    """

    patch: tuple[int, ...]
    interpolation: str = "linear"
    storage: str = "float32"

    def __post_init__(self) -> None:
        if len(self.patch) not in (2, 3) or min(self.patch) < 1:
            raise ValueError(f"patch must be 2 or 3 positive numbers, got {self.patch}")
        if self.interpolation not in ("linear", "nearest"):
            raise ValueError(f'interpolation must be "linear" or "nearest", got {self.interpolation!r}')
        if self.storage not in ("float32", "float16"):
            raise ValueError(f'storage must be "float32" or "float16", got {self.storage!r}')


class Samples(NamedTuple):
    """One case in canonical coordinates: n slices of a volume, or n = 1."""

    image: Tensor
    """``(n, c, *space)`` float32."""
    maps: dict[Annotation, Tensor]
    """``(n, *space)`` uint8 for each kind of annotation that the case has."""


def canonical_samples(case: Case, canonical: Canonical) -> Samples:
    """Cut a case into samples along its first spatial axis, if it has one axis more than the patch, and regrid them."""
    patch = canonical.patch
    image = _tensor(case.image)
    image = image.transpose(0, 1) if image.ndim == len(patch) + 2 else image[None]
    maps: dict[Annotation, Tensor] = {
        kind: _tensor(labels).reshape(len(image), *image.shape[2:])
        for kind, labels in zip(_KINDS, (case.label, case.scribble), strict=True)
        if labels is not None
    }
    if len(patch) == 2:
        image = resize(image, patch, canonical.interpolation)
        return Samples(image, {kind: resize_labels(labels, patch) for kind, labels in maps.items()})
    inside = _pad(torch.ones(image.shape[2:], dtype=torch.bool), patch, 0)
    image = torch.where(inside, _pad(image, patch, 0), image.amin((2, 3, 4), keepdim=True))
    return Samples(image, {kind: _pad(labels, patch, IGNORE) for kind, labels in maps.items()})


class Decoded(NamedTuple):
    """Everything a store keeps: lists per sample, and per case its samples' tensors."""

    about: dict[str, Any]
    images: list[Tensor]
    maps: dict[Annotation, list[Tensor]]


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
            cache: folder for decoded samples; None = memory only. An entry belongs to the dataset's fingerprint, the
                grid and the keys; several processes may share the folder, and a damaged entry is made anew.

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
            return cls(*_in_memory(_decode(dataset, keys, canonical)), canonical)
        identity = json.dumps([_FORMAT, dataset.fingerprint(), asdict(canonical), keys], sort_keys=True)
        stem = Path(cache) / f"{dataset.name}-{hashlib.blake2b(identity.encode(), digest_size=10).hexdigest()}"
        notes: tuple[str, ...] = ()
        found = _read(stem)
        if found is None:
            with disk.exclusive(stem):
                found = _read(stem)  # another process may have made it while this one waited
                if found is None:
                    decoded = _decode(dataset, keys, canonical)
                    try:
                        _write(stem, decoded)
                    except OSError as error:
                        notes = (
                            f"decoded samples are not kept in {str(cache)!r} ({error}); every run decodes them again",
                        )
                    found = _read(stem) or _in_memory(decoded)
        return cls(*found, canonical, notes)

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
        if annotation not in (None, *_KINDS):
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


def _decode(dataset: Dataset, keys: Sequence[str], canonical: Canonical) -> Decoded:
    about: dict[str, Any] = {"dataset": dataset.name, "stacked": len(canonical.patch) == 2}
    about |= {"samples": [], "cases": [], "groups": [], "annotated": {}}
    images: list[Tensor] = []
    found: list[dict[Annotation, Tensor]] = []
    for key in keys:
        case = dataset.check(dataset.load(key))
        samples = canonical_samples(case, canonical)
        n, whole = len(samples.image), case.image.ndim == len(canonical.patch) + 1
        about["samples"] += [key] if whole else [f"{key}/{i:03d}" for i in range(n)]
        about["cases"] += [key] * n
        about["groups"] += [case.group] * n
        images.append(samples.image.to(getattr(torch, canonical.storage)))
        if not images[-1].isfinite().all():
            raise DataError(f"{dataset.name}: case {key!r} has values too large for float16; use storage float32")
        found.append(samples.maps)
    maps: dict[Annotation, list[Tensor]] = {}
    for kind in _KINDS:
        if any(kind in each for each in found):
            maps[kind] = [
                each.get(kind, torch.full((len(image), *image.shape[2:]), IGNORE, dtype=torch.uint8))
                for each, image in zip(found, images, strict=True)
            ]
            about["annotated"][kind] = [bool((sample != IGNORE).any()) for case in maps[kind] for sample in case]
    return Decoded(about, images, maps)


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
    for kind in _KINDS:
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


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _pad(values: Tensor, patch: Sequence[int], value: int) -> Tensor:
    """``value`` on both sides of each of the last axes that is shorter than the patch (an odd one goes to the end)."""
    widths: list[int] = []
    for have, want in zip(reversed(values.shape), reversed(patch), strict=False):
        missing = max(0, want - have)
        widths += [missing // 2, missing - missing // 2]
    return F.pad(values, widths, value=value)
