"""Batches as a pure function of (stream, step): resumable, and the same for all methods of a plan.

A batch is an index gather from pools in memory, then batched augmentation on the device. There are no loader processes,
and no state that a batch depends on but for the pseudo label maps that the trainer sets.

Crops (3-D) start at any voxel from which the patch fits, all equally likely. The released loaders never draw the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from . import augment as recipes
from .pool import Column, Pool, gather
from .sampling import Chain, halves
from .types import IGNORE, Batch, Labelled, Unlabelled

_MEMORY_SHARE = 0.5
_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


class FeedState(TypedDict):
    """A feed's part of a checkpoint: one pseudo label map per labelled sample, or None."""

    pseudo: list[Tensor] | None


class Feed:
    """Batches of labelled and unlabelled samples.

    Args:
        labelled: samples with an annotation.
        unlabelled: samples without, or None.
        labelled_batch, unlabelled_batch: samples of each per batch; the second means nothing without unlabelled ones.
        patch: spatial size of a sample; in 2-D that of the pools.
        augment: recipe of ``datasets.augment``.
        in_plane: of 3-D samples, the axes of a slice.
        stream: seed from names: ``stream("labelled", epoch)`` and the like give a non-negative integer below 2**64.
        views: 2 = the labelled *set* is cut into two disjoint halves (``sampling.halves``), and each labelled batch
            holds one half of each, in order.
        shapes: densely labelled samples whose label maps are handed out unpaired, as ``batch.shapes``.
        device: where batches are made; pools move there if they take at most half of its free memory.
        channels_last: lay images out so that the channel axis is the innermost.

    Attributes:
        notes: remarks for the record, such as samples that repeat within a batch.
        pseudo: pseudo label maps of the labelled samples, uint8 with IGNORE; None until ``set_pseudo``.

    Raises:
        ValueError: sizes, recipe, pools and views that do not go together; the message says which.
    """

    def __init__(
        self,
        labelled: Pool,
        unlabelled: Pool | None,
        *,
        labelled_batch: int,
        unlabelled_batch: int,
        patch: Sequence[int],
        augment: str,
        stream: Callable[..., int],
        views: int = 1,
        shapes: Pool | None = None,
        device: torch.device | str = "cpu",
        channels_last: bool = True,
        in_plane: tuple[int, int] = (0, 1),
    ) -> None:
        recipes.check_kind(augment)
        self.patch = tuple(patch)
        self.augment, self._in_plane = augment, in_plane
        self.device = torch.device(device)
        self.labelled_batch = labelled_batch
        self.unlabelled_batch = unlabelled_batch if unlabelled is not None else 0
        _check(labelled, unlabelled, shapes, labelled_batch, unlabelled_batch, self.patch, views)
        self._stream = stream
        self._chain = Chain(stream)
        self._format = _FORMATS[len(self.patch)] if channels_last else torch.contiguous_format
        self._halves = halves(labelled, np.random.default_rng(stream("views"))) if views == 2 else None
        self._labelled = _settle(labelled, self.device)
        self._unlabelled = unlabelled and _settle(unlabelled, self.device)
        self._shapes = shapes and _settle(shapes, self.device)
        self.notes = tuple(self._remarks())
        self.pseudo: Column | None = None

    @property
    def labelled_samples(self) -> int:
        """How many samples are annotated."""
        return len(self._labelled)

    def batch(self, step: int) -> Batch:
        """The batch of step ``step`` (from 0): the same in every feed of the same arguments, whatever was asked before.

        Pseudo label maps come with it once they are set, and then depend on what was set.
        """
        if step < 0:
            raise ValueError(f"step must be >= 0, got {step}")
        shapes = None if self._shapes is None else self._draw_shapes(self._shapes, step)
        return Batch(self._draw_labelled(step), self._draw_unlabelled(step), shapes)

    def relabel_samples(self, size: int | None = None) -> Iterator[tuple[Tensor, Labelled]]:
        """All labelled samples once, not augmented, in canonical coordinates, with the indices for ``set_pseudo``.

        Args:
            size: samples at a time in 2-D, default ``labelled_batch``. In 3-D one whole volume at a time.
        """
        size = 1 if len(self.patch) == 3 else size or self.labelled_batch
        for start in range(0, len(self._labelled), size):
            indices = np.arange(start, min(start + size, len(self._labelled)))
            image = self._labelled.images(indices).to(self.device)
            yield torch.from_numpy(indices), self._bundle(indices, image, self._maps(indices, None))

    def set_pseudo(self, indices: Tensor | Sequence[int], label: Tensor) -> None:
        """Store pseudo label maps of some labelled samples, in canonical coordinates; all others are IGNORE at first.

        Args:
            indices: k sample numbers, as ``relabel_samples`` gives them.
            label: ``(k, *space)`` integer map with IGNORE where unsure.

        Raises:
            ValueError: a map whose shape or values do not fit.
        """
        pool, rows = self._labelled, [int(i) for i in indices]
        if [tuple(one.shape) for one in label] != [pool.space(row) for row in rows]:
            sizes = sorted({pool.space(row) for row in rows})
            raise ValueError(f"pseudo labels {tuple(label.shape)} do not fit {len(rows)} sample(s) of size {sizes}")
        low, high = label.min().item(), label.max().item()
        if label.is_floating_point() or low < 0 or high > IGNORE:
            raise ValueError(
                f"pseudo labels must be integer: classes, or {IGNORE} where unsure; got {label.dtype}, {low} to {high}"
            )
        if self.pseudo is None:
            blank = [torch.full(pool.space(i), IGNORE, dtype=torch.uint8, device=pool.device) for i in range(len(pool))]
            self.pseudo = torch.stack(blank) if len(self.patch) == 2 else tuple(blank)
        for row, one in zip(rows, label, strict=True):
            self.pseudo[row].copy_(one)

    def state(self) -> FeedState:
        """What a checkpoint must hold: the pseudo label maps. Batches need nothing else but the step."""
        return {"pseudo": None if self.pseudo is None else [labels.cpu().clone() for labels in self.pseudo]}

    def load_state(self, state: FeedState) -> None:
        """Undo :meth:`state`.

        Raises:
            ValueError: the maps are of another labelled set.
        """
        self.pseudo = None
        maps = state["pseudo"]
        if maps is not None:
            if len(maps) != len(self._labelled):
                raise ValueError(
                    f"{len(maps)} pseudo label maps in the checkpoint, {len(self._labelled)} labelled samples"
                )
            for row, labels in enumerate(maps):
                self.set_pseudo([row], labels[None])

    # ----------------------------------------------------------------------------------------------------------------
    def _draw_labelled(self, step: int) -> Labelled:
        pool = self._labelled
        if self._halves is None:
            indices = self._chain.take("labelled", len(pool), step * self.labelled_batch, self.labelled_batch)
        else:
            each = self.labelled_batch // 2
            views = enumerate(self._halves)
            indices = np.concatenate(
                [half[self._chain.take(f"labelled/view{v}", len(half), step * each, each)] for v, half in views]
            )
        starts, params = self._fate("labelled", pool, indices, step)
        image = pool.images(indices, starts).to(self.device, non_blocking=True)
        image, maps = recipes.apply(params, image, self._maps(indices, starts), interpolation=pool.interpolation)
        return self._bundle(indices, image, maps)

    def _draw_unlabelled(self, step: int) -> Unlabelled | None:
        pool, size = self._unlabelled, self.unlabelled_batch
        if pool is None or size == 0:
            return None
        indices = self._chain.take("unlabelled", len(pool), step * size, size)
        starts, params = self._fate("unlabelled", pool, indices, step)
        image = pool.images(indices, starts).to(self.device, non_blocking=True)
        image, _ = recipes.apply(params, image, interpolation=pool.interpolation)
        return Unlabelled(self._laid_out(image), keys=tuple(pool.sample_keys[i] for i in indices))

    def _draw_shapes(self, pool: Pool, step: int) -> Tensor:
        """Label maps alone, under their own augmentation; what is outside their image is background."""
        n = self.labelled_batch + self.unlabelled_batch
        indices = self._chain.take("shapes", len(pool), step * n, n)
        starts, params = self._fate("shapes", pool, indices, step)
        _, (labels,) = recipes.apply(params, None, [pool.labels(indices, starts).to(self.device)])
        return labels.masked_fill(labels == IGNORE, 0).long()

    def _fate(self, name: str, pool: Pool, indices: np.ndarray, step: int) -> tuple[np.ndarray | None, recipes.Params]:
        """Where the samples of one part of a batch are cropped (3-D), and how they are augmented."""
        rng = np.random.default_rng(self._stream(f"augment/{name}", step))
        starts = None
        if len(self.patch) == 3:
            room = np.array([pool.space(i) for i in indices]) - self.patch + 1
            starts = np.floor(rng.random(room.shape) * room).astype(np.int64)
        return starts, recipes.draw(self.augment, len(indices), len(self.patch), self.patch, rng, self._in_plane)

    def _maps(self, indices: np.ndarray, starts: np.ndarray | None) -> list[Tensor]:
        """Label maps of labelled samples, and their pseudo label maps if they have any; uint8, on the device."""
        maps = [self._labelled.labels(indices, starts)]
        if self.pseudo is not None:
            maps.append(gather(self.pseudo, indices, starts, self.patch))
        return [labels.to(self.device, non_blocking=True) for labels in maps]

    def _bundle(self, indices: np.ndarray, image: Tensor, maps: Sequence[Tensor]) -> Labelled:
        label, *pseudo = (labels.long() for labels in maps)
        keys = tuple(self._labelled.sample_keys[i] for i in indices)
        return Labelled(self._laid_out(image), label, pseudo[0] if pseudo else None, keys)

    def _laid_out(self, image: Tensor) -> Tensor:
        return image.contiguous(memory_format=self._format)

    def _remarks(self) -> Iterator[str]:
        parts = [
            ("labelled", self._labelled, self.labelled_batch),
            ("unlabelled", self._unlabelled, self.unlabelled_batch),
        ]
        for name, pool, size in parts:
            if pool is not None and len(pool) < size:
                yield f"{len(pool)} {name} sample(s) for a batch of {size}: samples repeat within a batch"
        if self._labelled.skipped:
            yield f"{self._labelled.skipped} sample(s) of labelled cases carry no annotation and are left out"


def _settle(pool: Pool, device: torch.device) -> Pool:
    """The pool on the device if it fits, else where it is: its batches are then copied across."""
    if device.type == "cuda" and pool.nbytes > _MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]:
        return pool
    return pool.to(device)


def _check(
    labelled: Pool,
    unlabelled: Pool | None,
    shapes: Pool | None,
    labelled_batch: int,
    unlabelled_batch: int,
    patch: tuple[int, ...],
    views: int,
) -> None:
    if labelled.annotation is None:
        raise ValueError("the labelled pool was made without annotation; ask the store for dense or scribble")
    if unlabelled is not None and unlabelled.annotation is not None:
        raise ValueError("the unlabelled pool carries an annotation; ask the store for None")
    if shapes is not None and shapes.annotation != "dense":
        raise ValueError(f"shapes must be dense label maps, this pool has annotation {shapes.annotation!r}")
    if views not in (1, 2) or (views == 2 and labelled_batch % 2):
        raise ValueError(f"views must be 1 or 2, and 2 need an even labelled batch; got {views} and {labelled_batch}")
    if labelled_batch < 1 or unlabelled_batch < 0:
        raise ValueError(
            f"batches need at least 1 labelled and 0 unlabelled samples, got {labelled_batch} and {unlabelled_batch}"
        )
    for name, pool in (("labelled", labelled), ("unlabelled", unlabelled), ("shapes", shapes)):
        if pool is None:
            continue
        for index, key in enumerate(pool.sample_keys):
            space = pool.space(index)
            larger = len(space) == len(patch) == 3 and min(np.subtract(space, patch)) >= 0
            if space != patch and not larger:
                raise ValueError(f"{name} sample {key!r} has size {space}, which does not fit the patch {patch}")
