"""Tiny tasks and batches whose images are a known function of their labels: nested discs with seeded noise."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from datasets.types import IGNORE, Batch, Labelled, Task, Unlabelled
from methods.base import Method

SPACE = {2: (32, 32), 3: (16, 16, 16)}
NOISE = 0.1
SCRIBBLED = 0.15
"""Share of the pixels that a phantom scribble annotates."""


def tiny_task(ndim: int = 2, channels: int = 1, classes: int = 3, scale: int = 1) -> Task:
    """A task with both kinds of annotation; ``scale`` multiplies the sides of its patch."""
    names = ("background", "wall", "cavity", "valve", "clot")[:classes]
    patch = tuple(scale * side for side in SPACE[ndim])
    return Task("tiny", ndim, channels, names, patch, "px", annotations=("dense", "scribble"))


def other_space(task: Task) -> tuple[int, ...]:
    """Not square, and divisible by 8 as the networks of the rig ask."""
    return (*task.patch[:-1], task.patch[-1] * 3 // 2)


def images_and_labels(task: Task, n: int, *, seed: int, space: tuple[int, ...] | None = None) -> tuple[Tensor, Tensor]:
    """``n`` pairs: discs of every class nested in one another around a seeded centre.

    The intensity of class k is ``2 k / (classes - 1) - 1``, the same in every channel, plus Gaussian noise.
    """
    draw = torch.Generator().manual_seed(seed)
    space = space or task.patch
    axes = torch.meshgrid(*(torch.arange(s, dtype=torch.float32) for s in space), indexing="ij")
    centre = 0.5 + 0.1 * (2 * torch.rand(n, task.ndim, generator=draw) - 1)
    squared = sum((axis[None] - centre[:, i].view(-1, *[1] * task.ndim) * space[i]) ** 2 for i, axis in enumerate(axes))
    radius = squared.sqrt() / min(space)  # type: ignore[union-attr]
    label = torch.zeros(n, *space, dtype=torch.int64)
    for k in range(1, task.n_classes):
        label[radius < 0.42 * (task.n_classes - k) / (task.n_classes - 1)] = k
    clean = 2 * label.float() / (task.n_classes - 1) - 1
    noise = torch.randn(n, task.channels, *space, generator=draw)
    return clean[:, None] + NOISE * noise, label


def scribble_of(label: Tensor, *, seed: int) -> Tensor:
    """A seeded part of the pixels keeps its label; the rest is IGNORE."""
    draw = torch.Generator().manual_seed(seed)
    seen = torch.rand(label.shape, generator=draw) < SCRIBBLED
    return torch.where(seen, label, IGNORE)


def tiny_batch(
    method_class: type[Method],
    task: Task,
    *,
    labelled: int = 2,
    unlabelled: int = 3,
    seed: int = 0,
    space: tuple[int, ...] | None = None,
    relabelled: bool = True,
) -> Batch:
    """What the runner would give this class of methods: its kind of annotation, and what else it declares to need.

    A method that relabels also gets pseudo labels, unless ``relabelled`` is False: its scribble, and the truth of half
    of the other pixels.
    ``labelled`` counts per view.
    """
    n = labelled * method_class.views
    image, dense = images_and_labels(task, n, seed=1000 + seed, space=space)
    label = scribble_of(dense, seed=seed) if method_class.supervision == "scribble" else dense
    pseudo = None
    if relabelled and relabels(method_class):
        known = torch.rand(label.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
        pseudo = torch.where(known, dense, label)
    part = None
    if method_class.supervision == "semi":
        part = Unlabelled(images_and_labels(task, unlabelled, seed=2000 + seed, space=space)[0], _keys("u", unlabelled))
    shapes = images_and_labels(task, n, seed=3000 + seed, space=space)[1] if method_class.wants_shapes else None
    return Batch(Labelled(image, label, pseudo, _keys("l", n)), part, shapes)


def relabels(method_class: type[Method]) -> bool:
    """Whether the class makes pseudo labels."""
    return method_class.relabel is not Method.relabel


def with_label(batch: Batch, label: Tensor, pseudo: Tensor | None = None) -> Batch:
    """The same batch with another annotation; pseudo labels equal to it if the batch has any and none are given."""
    if batch.labelled.pseudo is not None and pseudo is None:
        pseudo = label
    return replace(batch, labelled=replace(batch.labelled, label=label, pseudo=pseudo))


def _keys(prefix: str, n: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{i}" for i in range(n))
