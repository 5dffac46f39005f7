"""The canonical samples of some cases: what a feed draws from. Without an annotation there is none anywhere in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .packing import unpacked
from .types import IGNORE, Annotation

Column = Tensor | tuple[Tensor, ...]
"""One value per sample: a stacked tensor where all have one shape (2-D), else a tuple of tensors (3-D)."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Samples of some cases, made by ``Store.pool``.

    Attributes:
        sample_keys: name of each sample: its case, or ``case/007`` for a slice.
        cases: case of each sample.
        groups: patient or video of each sample.
        patch: spatial size of a training sample; every sample is at least as large (2-D: exactly).
        interpolation: how the images of this pool are resampled.
        annotation: kind of annotation, or None: then the object refers to no label map at all.
        skipped: samples of these cases that were left out because they carry no annotation.
    """

    sample_keys: tuple[str, ...]
    cases: tuple[str, ...]
    groups: tuple[str, ...]
    patch: tuple[int, ...]
    interpolation: str
    annotation: Annotation | None
    skipped: int
    _rows: np.ndarray
    _image: Column
    _label: Column | None

    def __len__(self) -> int:
        return len(self.sample_keys)

    def __repr__(self) -> str:
        cases = len(set(self.cases))
        return f"Pool({len(self)} samples of {cases} cases, annotation={self.annotation}, skipped={self.skipped})"

    @property
    def nbytes(self) -> int:
        """Memory that its own samples take, in bytes."""
        columns, own = [self._image] if self._label is None else [self._image, self._label], np.unique(self._rows)
        return sum(
            len(own) * column[0].nbytes if isinstance(column, Tensor) else sum(column[row].nbytes for row in own)
            for column in columns
        )

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self._image[0].device

    def space(self, index: int) -> tuple[int, ...]:
        """Spatial size of sample ``index``."""
        return tuple(self._image[int(self._rows[index])].shape[1:])

    def images(self, indices: np.ndarray, starts: np.ndarray | None = None) -> Tensor:
        """``(n, c, *patch)`` float32 of the samples ``indices``; see :func:`gather` for ``starts``."""
        return unpacked(gather(self._image, self._rows[indices], starts, self.patch))

    def labels(self, indices: np.ndarray, starts: np.ndarray | None = None) -> Tensor:
        """``(n, *patch)`` uint8 label maps of the samples ``indices``.

        Raises:
            TypeError: the pool has no annotation.
        """
        if self._label is None:
            raise TypeError("this pool was made without annotation: its samples are unlabelled")
        return gather(self._label, self._rows[indices], starts, self.patch)

    def values(self) -> frozenset[int]:
        """The label values that occur in its samples; none without annotation. IGNORE is no label."""
        column, own = self._label, np.unique(self._rows).tolist()
        if column is None:
            return frozenset()
        parts = [column[own]] if isinstance(column, Tensor) else [column[row] for row in own]
        counts = [torch.bincount(part.flatten(), minlength=IGNORE + 1) for part in parts]
        return frozenset(torch.stack(counts).sum(0).nonzero().flatten().tolist()) - {IGNORE}

    def pick(self, indices: np.ndarray) -> Pool:
        """The samples ``indices`` in that order, again and again where they repeat; nothing is copied."""
        chosen = indices.tolist()
        return replace(
            self,
            sample_keys=tuple(self.sample_keys[i] for i in chosen),
            cases=tuple(self.cases[i] for i in chosen),
            groups=tuple(self.groups[i] for i in chosen),
            _rows=self._rows[indices],
        )

    def to(self, device: torch.device | str) -> Pool:
        """A copy of its own samples on ``device``, one of each; itself if they are there."""
        device = torch.device(device)
        if self.device == device:
            return self
        own, rows = np.unique(self._rows, return_inverse=True)
        label = None if self._label is None else _moved(self._label, own, device)
        return replace(self, _rows=rows, _image=_moved(self._image, own, device), _label=label)


def gather(column: Column, rows: np.ndarray, starts: np.ndarray | None, patch: Sequence[int]) -> Tensor:
    """Stack samples, or crops of them, copying no more than what is asked for.

    Args:
        column: values of all samples; spatial axes last.
        rows: n row numbers.
        starts: ``(n, ndim)`` first voxel of each crop; None = whole samples, which must then have one shape.
        patch: spatial size of the crops.
    """
    if starts is None:
        if isinstance(column, Tensor):
            # without non_blocking, the host would wait here for every step that the device has not finished
            return column.index_select(0, torch.from_numpy(rows).to(column.device, non_blocking=True))
        return torch.stack([column[row] for row in rows])
    crops = []
    for row, start in zip(rows.tolist(), starts.tolist(), strict=True):
        crop = column[row]
        for axis, (first, size) in enumerate(zip(start, patch, strict=True), start=-len(patch)):
            crop = crop.narrow(axis, first, size)
        crops.append(crop)
    return torch.stack(crops)


def _moved(column: Column, rows: np.ndarray, device: torch.device) -> Column:
    if isinstance(column, Tensor):
        return column[torch.as_tensor(rows)].to(device)
    return tuple(column[row].to(device) for row in rows)
