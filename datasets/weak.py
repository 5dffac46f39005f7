"""Any dataset with dense labels as one with weak labels: the plan's ``weak: skeleton`` makes scribbles of its labels.

Marks depend on the recipe, the case's key and the slice's number alone: equal on every machine, for every method, and
whatever else was loaded. They are drawn in native geometry, on the slices along the first axis (which is how 2-D tasks
see volumes), in 3-D tasks along the axis of the largest voxel size, or across axial slices where sizes are equal.
Scribbles that the dataset has itself are left aside; test and validation cases keep their dense labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from . import scribbles
from .base import DataError, Dataset, Partition
from .cost import Cost, Tool, cost_of
from .streams import stream
from .types import IGNORE, Annotation, Case, Task

VERSIONS = {2: "1", 3: "2"}
"""By the dimensions of a task. Raise one when the same recipe draws other marks there."""
SAME_SPACING = 0.01
"""Share of the largest voxel size within which another is as large: headers round."""

Kind = Literal["skeleton", "curves", "points", "boxes", "slices"]
TOOLS: Mapping[Kind, Tool] = {
    "skeleton": "scribble", "curves": "scribble", "points": "click", "boxes": "box", "slices": "outline",
}  # fmt: skip
_OWN: Mapping[str, Kind] = {"count": "points", "radius": "points", "margin": "boxes"}


@dataclass(frozen=True)
class Weak:
    """A recipe for weak labels.

    Attributes:
        kind: "skeleton" (a stroke along the middle of each class), "curves" (an interior and a boundary curve per
            class), "points" (discs), "boxes" (outside = background), "slices" (a few slices, densely labelled).
        seed: another seed, other marks.
        slices: how many slices of a volume are annotated, spread evenly over those that show a structure; 0 = all.
        count, radius: of points: discs per part of a class, and their radius in pixels.
        margin: of boxes: how many pixels wider than tight.
    """

    kind: Kind
    seed: int = 0
    slices: int = 0
    count: int = 1
    radius: int = 2
    margin: int = 0

    def __post_init__(self) -> None:
        if self.kind not in TOOLS:
            raise ValueError(f"weak.kind must be one of {', '.join(TOOLS)}, got {self.kind!r}")
        for name, low in (("seed", 0), ("slices", 0), ("count", 1), ("radius", 0), ("margin", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"weak.{name} must be {low} or more, got {getattr(self, name)}")
        for name, kind in _OWN.items():
            if name in self.changed and kind != self.kind:
                raise ValueError(f"weak.{name} belongs to {kind}, not to {self.kind}")
        if self.kind == "slices" and not self.slices:
            raise ValueError("weak.slices must say how many slices are labelled, where kind is slices")

    @property
    def changed(self) -> dict[str, int]:
        """Settings that are not the defaults."""
        return {f.name: getattr(self, f.name) for f in fields(self)[1:] if getattr(self, f.name) != f.default}

    @property
    def name(self) -> str:
        """For tables: ``skeleton``, ``points radius=3``, ``3 slices``."""
        settings = {key: f"{key}={value}" for key, value in self.changed.items()} | (
            {"slices": f"{self.slices} slices"} if self.slices else {}
        )
        return " ".join([*([self.kind] if self.kind != "slices" else []), *settings.values()])

    def canonical(self, ndim: int = 2) -> dict[str, Any]:
        """What identity is made of in ``ndim`` dimensions: settings added later leave earlier recipes as they are."""
        return {"kind": self.kind, "version": VERSIONS[ndim], **self.changed}

    def mark(self, label: np.ndarray, rng: np.random.Generator) -> scribbles.Marks:
        """Weak labels of one ``(h, w)`` image or slice."""
        if self.kind == "points":
            return scribbles.points(label, rng, count=self.count, radius=self.radius)
        if self.kind == "boxes":
            return scribbles.boxes(label, rng, margin=self.margin)
        if self.kind == "slices":
            return scribbles.outlines(label)
        return scribbles.skeleton(label, rng) if self.kind == "skeleton" else scribbles.curves(label, rng)


class Weakened(Dataset):
    """Another dataset whose training labels are weak ones of a recipe, made when a case is loaded.

    Raises:
        DataError: the other dataset has no dense labels, or no slices to choose from.
    """

    Options: ClassVar[type] = object

    def __init__(self, dense: Dataset, weak: Weak) -> None:
        if "dense" not in dense.task.annotations:
            raise DataError(f"{dense.name}: weak labels are made of dense ones, and its training cases have none")
        self.dense, self.weak = dense, weak
        self.options, self.root, self.folds, self.version = dense.options, dense.root, dense.folds, dense.version  # type: ignore[misc]
        self.card, self.task = dense.card, weakened(dense.task)  # type: ignore[misc]

    @property
    def name(self) -> str:
        return self.dense.name

    def make_task(self) -> Task:
        return self.task

    def groups(self) -> Mapping[str, str]:
        return self.dense.groups()

    def load(self, key: str) -> Case:
        case = self.dense.load(key)
        return replace(case, scribble=None if case.label is None else self.simulate(case)[0])

    def unannotated(self, annotation: Annotation) -> frozenset[str]:
        return self.dense.unannotated("dense")

    def simulate(self, case: Case) -> tuple[np.ndarray, Cost]:
        """The weak labels of a case, ``(*space)`` uint8 with IGNORE, and what drawing them costs."""
        if case.label is None:
            raise DataError(f"{self.name}: case {case.key!r} has no dense label to make a weak one of")
        axis = slicing_axis(case, self.task)
        marks, cost = np.full(case.label.shape, IGNORE, np.uint8), Cost()
        chosen = self._chosen(case, axis)
        for number, (plane, drawn) in enumerate(zip(planes(case.label, axis), planes(marks, axis), strict=True)):
            if number in chosen:
                rng = stream(self.weak.seed, self.weak.kind, self.name, case.key, number)
                drawn[...], strokes = self.weak.mark(plane, rng)
                cost += cost_of(drawn, strokes, TOOLS[self.weak.kind])
        return marks, cost

    def partition(self, fold: int) -> Partition:
        return self.dense.partition(fold)

    def published_order(self) -> Sequence[str]:
        return self.dense.published_order()

    def strata(self) -> Mapping[str, str]:
        return self.dense.strata()

    def files(self) -> Sequence[Path]:
        return self.dense.files()

    def lists(self) -> Sequence[Path]:
        return self.dense.lists()

    def fingerprint(self) -> str:
        text = json.dumps([self.dense.fingerprint(), self.weak.canonical(self.task.ndim)], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()

    def settings(self) -> str:
        return json.dumps([self.dense.settings(), self.weak.canonical(self.task.ndim)], sort_keys=True)

    def manifest(self) -> str:
        return self.dense.manifest()

    def _chosen(self, case: Case, axis: int | None) -> Sequence[int]:
        """Numbers of the slices that are annotated."""
        assert case.label is not None
        if axis is None and self.weak.slices:
            raise DataError(f"{self.name}: case {case.key!r} is one image: weak.slices chooses slices of a volume")
        if axis is None or not self.weak.slices:
            return range(1 if axis is None else case.label.shape[axis])
        foreground = (case.label > 0) & (case.label != IGNORE)
        shown = [n for n, plane in enumerate(planes(foreground, axis)) if plane.any()] or [foreground.shape[axis] // 2]
        # In the middle of equal shares: k of n slices, none at the ends, where a structure is smallest.
        wanted = min(self.weak.slices, len(shown))
        return [shown[(2 * i + 1) * len(shown) // (2 * wanted)] for i in range(wanted)]


def weakened(task: Task) -> Task:
    """The task as its training cases look with weak labels beside the dense ones."""
    kinds: tuple[Annotation, ...] = ("dense", "scribble")
    return replace(task, annotations=kinds)


def strong(dataset: Dataset) -> Dataset:
    """The dataset with its own labels: for validation and test, and wherever weak labels would be made in vain."""
    return dataset.dense if isinstance(dataset, Weakened) else dataset


def slicing_axis(case: Case, task: Task) -> int | None:
    """Along which axis annotators leaf through a case: the first in 2-D tasks, else that of the largest voxel size.

    None = a single image. Where sizes are equal (to within ``SAME_SPACING``) or unknown, the axis across the task's
    slices, so that isotropic volumes are marked on axial ones; where that is not among the largest, the first that is.
    """
    if len(case.space) == 2:
        return None
    if task.ndim == 2:
        return 0
    through = 3 - sum(task.in_plane)
    if case.spacing is None:
        return through
    largest = np.asarray(case.spacing) >= (1 - SAME_SPACING) * max(case.spacing)
    return through if largest[through] else int(np.argmax(largest))


def planes(volume: np.ndarray, axis: int | None) -> Iterator[np.ndarray]:
    """Slices along an axis, as views; the image itself where there is none."""
    return iter([volume] if axis is None else np.moveaxis(volume, axis, 0))
