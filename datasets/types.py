"""The vocabulary shared by data, methods and runner: tasks, cases and batches.

Axis order is ``(n, c, *space)`` everywhere; class 0 is background; a label map is integer, with :data:`IGNORE` where
the class is unknown. Labelled and unlabelled images are different types: ``Unlabelled`` has no label attribute, so a
method that peeks at the label of an unlabelled image fails with an AttributeError instead of a better score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

IGNORE: Final = 255
"""Value of a label map where the class is unknown (an unscribbled pixel, padding, an unsure pseudo label)."""

Annotation = Literal["dense", "scribble"]
Unit = Literal["mm", "px"]


@dataclass(frozen=True)
class Task:
    """What is segmented, as a network sees it.

    Attributes:
        name: The dataset's registered name.
        ndim: Dimensions of a training sample: 2 (images, or slices of volumes) or 3 (volumes).
        channels: Image channels.
        classes: Class names, background first.
        patch: Default spatial size of a training sample in pixels or voxels, ``ndim`` numbers.
        unit: Unit of distances: "mm" where spacing is known, else "px" (pixels or voxels).
        annotations: The kinds of annotation that training cases carry.
        tolerance: Tolerance of the normalised surface distance per foreground class, in ``unit``; empty = 1 for each.
        in_plane: Spatial axes of a volume that lie in its slices: (0, 1) where axes are (x, y, z), (1, 2) where they
            are (z, y, x). Augmentation turns samples in this plane.
    """

    name: str
    ndim: int
    channels: int
    classes: tuple[str, ...]
    patch: tuple[int, ...]
    unit: Unit
    annotations: tuple[Annotation, ...] = ("dense",)
    tolerance: tuple[float, ...] = ()
    in_plane: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        if self.ndim not in (2, 3) or len(self.patch) != self.ndim:
            raise ValueError(
                f"task {self.name!r}: ndim must be 2 or 3 and match patch; got {self.ndim} and {self.patch}"
            )
        if self.in_plane not in ((0, 1), (1, 2))[: self.ndim - 1]:
            raise ValueError(f"task {self.name!r}: in_plane must be (0, 1), or (1, 2) in 3-D; got {self.in_plane}")
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ValueError(
                f"task {self.name!r}: needs two or more distinct classes, background first; got {self.classes}"
            )

    @property
    def n_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.classes)


@dataclass(frozen=True)
class Case:
    """One scan or image in its native geometry, never augmented.

    Attributes:
        key: Unique, stable name.
        group: Patient, video or image that must never straddle two parts of a split.
        image: ``(c, *space)`` float32, finite, normalised as the dataset's card says. ``space`` has ``task.ndim``
            axes, or one more: then samples are slices along the first spatial axis.
        label: ``(*space)`` uint8 label map, or None where there is none (or it is sealed); with IGNORE where the plan's
            option ``ignore`` says that pixels are of no class: nothing is learnt or scored there.
        scribble: ``(*space)`` uint8 label map with IGNORE where unscribbled, or None.
        spacing: Size of a voxel along each spatial axis, in mm; None where unknown (distances are then in pixels).
    """

    key: str
    group: str
    image: np.ndarray
    label: np.ndarray | None = None
    scribble: np.ndarray | None = None
    spacing: tuple[float, ...] | None = None

    @property
    def space(self) -> tuple[int, ...]:
        """Spatial shape in native geometry."""
        return self.image.shape[1:]

    def without_label(self) -> Case:
        """The same case as a method may see it at test time."""
        return replace(self, label=None, scribble=None)


@dataclass(frozen=True)
class Labelled:
    """Annotated samples of a batch, on the device.

    Attributes:
        image: ``(n, c, *space)`` float32.
        label: ``(n, *space)`` int64 in range(classes), or IGNORE. Dense, or a scribble: the cell says which.
        pseudo: ``(n, *space)`` int64 map that the method's ``relabel`` made, augmented with the image; or None.
        keys: Sample names, for error messages only.
    """

    image: Tensor
    label: Tensor
    pseudo: Tensor | None = None
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unlabelled:
    """Samples without annotation: ``image`` is ``(n, c, *space)`` float32, and that is all there is."""

    image: Tensor
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """What a method sees of one step.

    Attributes:
        labelled: Annotated samples; with ``views = 2`` the first half is of view 1 and the second of view 2.
        unlabelled: Samples without annotation, or None.
        shapes: ``(n, *space)`` int64 unpaired label maps for methods that say ``wants_shapes``; else None.
    """

    labelled: Labelled
    unlabelled: Unlabelled | None = None
    shapes: Tensor | None = None

    @property
    def images(self) -> Tensor:
        """All images, labelled first: ``(n_labelled + n_unlabelled, c, *space)``."""
        if self.unlabelled is None:
            return self.labelled.image
        return torch.cat([self.labelled.image, self.unlabelled.image])

    def split(self, stacked: Tensor) -> tuple[Tensor, Tensor]:
        """Undo :attr:`images` on a tensor of the same leading size: ``(labelled part, unlabelled part)``.

        Raises:
            ValueError: the leading size is not that of :attr:`images`.
        """
        n = len(self.labelled.image)
        total = n + (0 if self.unlabelled is None else len(self.unlabelled.image))
        if len(stacked) != total:
            raise ValueError(f"Batch.split expects {total} samples ({n} labelled first), got {len(stacked)}")
        if not (stacked.requires_grad and torch.is_grad_enabled()):
            return stacked[:n], stacked[n:]
        parts: tuple[Tensor, Tensor] = _InTwo.apply(stacked, n)
        return parts


class _InTwo(torch.autograd.Function):
    """The first n samples and the others. Gradients of slices would each be filled up with zeros, and then added."""

    @staticmethod
    def forward(ctx: Any, stacked: Tensor, n: int) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.n, ctx.like, ctx.device = n, torch.empty_like(stacked, device="meta"), stacked.device
        return stacked[:n], stacked[n:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None]:
        found = torch.empty_like(ctx.like, device=ctx.device)
        for part, gradient in zip((found[: ctx.n], found[ctx.n :]), gradients, strict=True):
            part.zero_() if gradient is None else part.copy_(gradient)
        return found, None


@dataclass(frozen=True)
class Card:
    """What a person must know about a dataset before using or citing it (texts, no paths).

    ``spacing`` says where voxel sizes come from and in which order axes are, or that distances are in pixels.
    ``caveat`` is printed under every table that holds a number of the dataset. ``counts`` are those of the published
    copy, "cases" and "slices", which ``data verify`` compares with the copy at hand.
    """

    title: str
    source: str
    licence: str
    how_to_get: str
    layout: str
    spacing: str
    protocol: str
    known_issues: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    caveat: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
