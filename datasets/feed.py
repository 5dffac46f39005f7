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
    ) -> None:
        recipes.check_kind(augment)
        self.patch = tuple(patch)
        self.augment = augment
        self.device = torch.device(device)
        self.labelled_batch = labelled_batch
        self.unlabelled_batch = unlabelled_batch if unlabelled is not None else 0
        _check(labelled, unlabelled, shapes, labelled_batch, unlabelled_batch, self.patch, views)
        self._stream = stream
        self._chain = Chain(stream)
        self._format = _FORMATS[len(self.patch)] if channels_last else torch.contiguous_format
        self._halves = (np.arange(len(labelled)),)
        if views == 2:
            self._halves = halves(labelled, np.random.default_rng(stream("views")))
        self._labelled = _settle(labelled, self.device)
        self._unlabelled = unlabelled and _settle(unlabelled, self.device)
        self._shapes = shapes and _settle(shapes, self.device)
        self.notes = tuple(self._remarks())
        self.pseudo: Column | None = None

    def batch(self, step: int) -> Batch:
        """The batch of step ``step`` (from 0): the same in every feed of the same arguments, whatever was asked before.

        Pseudo label maps come with it once they are set, and then depend on what was set.
        """
        if step < 0:
            raise ValueError(f"step must be >= 0, got {step}")
        indices = self._labelled_indices(step)
        image, maps = self._samples("labelled", self._labelled, indices, step, annotated=True)
        keys = self._labelled.sample_keys
        labelled = Labelled(image, *maps, keys=tuple(keys[i] for i in indices))
        unlabelled, shapes = None, None
        if self._unlabelled is not None and self.unlabelled_batch:
            indices = self._order("unlabelled", np.arange(len(self._unlabelled)), step, self.unlabelled_batch)
            image, _ = self._samples("unlabelled", self._unlabelled, indices, step, annotated=False)
            unlabelled = Unlabelled(image, keys=tuple(self._unlabelled.sample_keys[i] for i in indices))
        if self._shapes is not None:
            shapes = self._draw_shapes(step)
        return Batch(labelled, unlabelled, shapes)

    def relabel_samples(self, size: int | None = None) -> Iterator[tuple[Tensor, Labelled]]:
        """All labelled samples once, not augmented, in canonical coordinates, with the indices for ``set_pseudo``.

        Args:
            size: samples at a time in 2-D, default ``labelled_batch``. In 3-D one whole volume at a time.
        """
        size = 1 if len(self.patch) == 3 else size or self.labelled_batch
        pool = self._labelled
        for start in range(0, len(pool), size):
            indices = np.arange(start, min(start + size, len(pool)))
            maps = [pool.labels(indices)] + (
                [] if self.pseudo is None else [gather(self.pseudo, indices, None, self.patch)]
            )
            maps = [labels.to(self.device).long() for labels in maps]
            image = self._image(pool.images(indices))
            yield torch.from_numpy(indices), Labelled(image, *maps, keys=tuple(pool.sample_keys[i] for i in indices))

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
        return {"pseudo": None if self.pseudo is None else [labels.cpu() for labels in self.pseudo]}

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
    def _labelled_indices(self, step: int) -> np.ndarray:
        if len(self._halves) == 1:
            return self._order("labelled", self._halves[0], step, self.labelled_batch)
        each = self.labelled_batch // 2
        return np.concatenate(
            [self._order(f"labelled/view{v}", half, step, each) for v, half in enumerate(self._halves)]
        )

    def _order(self, name: str, members: np.ndarray, step: int, size: int) -> np.ndarray:
        return members[self._chain.take(name, len(members), step * size, size)]

    def _samples(
        self, name: str, pool: Pool, indices: np.ndarray, step: int, *, annotated: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Augmented images and, if annotated, their int64 label and pseudo label maps."""
        rng = np.random.default_rng(self._stream(f"augment/{name}", step))
        starts = self._starts(pool, indices, rng)
        params = recipes.draw(self.augment, len(indices), len(self.patch), self.patch, rng)
        image = pool.images(indices, starts).to(self.device, non_blocking=True)
        maps = []
        if annotated:
            maps.append(pool.labels(indices, starts))
            if self.pseudo is not None:
                maps.append(gather(self.pseudo, indices, starts, self.patch))
        maps = [labels.to(self.device, non_blocking=True) for labels in maps]
        image, maps = recipes.apply(params, image, maps, interpolation=pool.interpolation)
        return self._image(image), [labels.long() for labels in maps]

    def _draw_shapes(self, step: int) -> Tensor:
        """Label maps alone, under their own augmentation; what is outside their image is background."""
        n = self.labelled_batch + self.unlabelled_batch
        indices = self._order("shapes", np.arange(len(self._shapes)), step, n)
        rng = np.random.default_rng(self._stream("augment/shapes", step))
        starts = self._starts(self._shapes, indices, rng)
        params = recipes.draw(self.augment, n, len(self.patch), self.patch, rng)
        _, (labels,) = recipes.apply(params, None, [self._shapes.labels(indices, starts).to(self.device)])
        return labels.masked_fill(labels == IGNORE, 0).long()

    def _starts(self, pool: Pool, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        if len(self.patch) == 2:
            return None
        room = np.array([pool.space(i) for i in indices]) - self.patch + 1
        return np.floor(rng.random(room.shape) * room).astype(np.int64)

    def _image(self, image: Tensor) -> Tensor:
        return image.to(self.device).contiguous(memory_format=self._format)

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
        for index in range(0 if pool is None else len(pool)):
            space = pool.space(index)
            larger = len(space) == len(patch) == 3 and min(np.subtract(space, patch)) >= 0
            if space != patch and not larger:
                key = pool.sample_keys[index]
                raise ValueError(f"{name} sample {key!r} has size {space}, which does not fit the patch {patch}")
