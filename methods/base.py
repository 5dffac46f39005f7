"""The seven hooks that serve every method, and what a method may know: a typed batch and a clock."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from datasets.types import Batch, Labelled, Task

from .hyper import HyperBase
from .networks.base import SegmentationNetwork

Terms = dict[str, Tensor]
"""Named scalar loss terms, already weighted; their sum is minimised."""

Build = Callable[..., SegmentationNetwork]
"""Makes a freshly initialised network of the plan's kind; keyword arguments override its fields (see networks)."""

MAIN = "main"

_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True)
class Clock:
    """Where training is. Methods schedule by ``progress`` only; an epoch's length depends on the ratio."""

    step: int
    total: int

    @property
    def progress(self) -> float:
        """Share of the steps done, in [0, 1]: 0 at the first step, 1 at the last."""
        return self.step / max(1, self.total - 1)


class Descend(Protocol):
    """Given by the trainer: one optimisation step of one player on the sum of ``terms``.

    Zeroes *all* players' gradients first, so no player inherits another's; logs every term under its name.
    """

    def __call__(self, terms: Terms, player: str = MAIN) -> None: ...


class Relabelled(NamedTuple):
    """What ``relabel`` returns for n samples: the map, and what to remember of them until the next time.

    ``label`` is ``(n, *space)`` int64 with IGNORE where unsure; ``memory`` any ``(n, ...)`` tensor or None.
    """

    label: Tensor
    memory: Tensor | None = None


class Method(nn.Module):
    """Base of every method. A final class overrides ``losses`` and, rarely, more; it is never subclassed itself.

    Facts (class attributes):
        Hyper: frozen dataclass of hyper-parameters (``methods.hyper``).
        supervision: "full" (dense labels only), "semi" (dense labels and unlabelled images) or "scribble".
        ndims: dimensions it works in.
        views: 2 = the labelled *set* is cut into two disjoint halves for the whole run, and every labelled batch
            holds one half of each, in order.
        wants_shapes: needs unpaired label maps in ``batch.shapes``.
        offline_labels: ``relabel`` looks at samples and hyper-parameters only, never at weights: the runner keeps its
            maps on disk.
        contract_exceptions: contract check -> why it cannot hold here; the key ``released:check_x`` excepts the
            variant "released" only, ``3d:check_x`` volumes. The contract asserts that an excepted check does fail.
        released_inert: loss term, or prefix of parameter names, that trains nothing under ``variant: released``
            -> why. The contract asserts that it does not.
    """

    Hyper: ClassVar[type[HyperBase]] = HyperBase
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "semi"
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    views: ClassVar[int] = 1
    wants_shapes: ClassVar[bool] = False
    offline_labels: ClassVar[bool] = False
    contract_exceptions: ClassVar[Mapping[str, str]] = {}
    released_inert: ClassVar[Mapping[str, str]] = {}

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__()
        self.task = task
        self.hyper = hyper
        self.network = build()

    @classmethod
    def name(cls) -> str:
        """Registered name = module name."""
        return cls.__module__.rsplit(".", 1)[-1]

    @classmethod
    def unsupported(cls, task: Task) -> str | None:
        """Why this method cannot run on ``task``, or None if it can. Overriders call ``super().unsupported(task)``."""
        if task.ndim not in cls.ndims:
            return f"{cls.name()} works in {' or '.join(f'{n}-D' for n in cls.ndims)}, {task.name} is {task.ndim}-D"
        kind = "scribble" if cls.supervision == "scribble" else "dense"
        if kind not in task.annotations:
            return f"{cls.name()} needs {kind} annotations, {task.name} has {' and '.join(task.annotations)} only"
        return None

    # The hooks ------------------------------------------------------------------------------------------------------
    def losses(self, batch: Batch, clock: Clock) -> Terms:
        """Weighted, named scalar terms whose sum is minimised. May write registered buffers (banks), nothing else."""
        raise NotImplementedError(f"{type(self).__name__} must define losses(batch, clock)")

    def predict(self, image: Tensor) -> Tensor:
        """Probabilities ``(n, classes, *space)`` float32 of ``image`` ``(n, c, *space)``; in eval mode, no grad."""
        return torch.softmax(self.network(image).float(), dim=1)

    def other_predictions(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Further networks that are tested beside :meth:`predict`, by name: a teacher. Default: none."""
        return {}

    def after_step(self, clock: Clock) -> None:
        """After every optimisation step: EMA and the like. Default: nothing."""

    def optimizers(self, base: Callable[[Iterable[nn.Parameter]], Optimizer]) -> Mapping[str, Optimizer]:
        """Players and their optimizers; ``base`` makes the plan's optimizer, and only those follow its schedule."""
        return {MAIN: base([p for p in self.parameters() if p.requires_grad])}

    def step(self, batch: Batch, clock: Clock, descend: Descend) -> None:
        """One training step. Default: descend on ``losses``. Adversarial methods descend once per player."""
        descend(self.losses(batch, clock))

    def relabel_at(self, step: int) -> bool:
        """Whether pseudo labels are made anew before ``step`` (0 = offline, before training). Default: never."""
        return False

    def relabel(self, samples: Labelled, memory: Tensor | None) -> Relabelled:
        """New label maps of un-augmented labelled samples, in eval mode, no grad.

        Args:
            samples: n training samples in canonical coordinates, with their annotation.
            memory: what the previous call returned for these samples; None at first.

        Returns:
            Maps that keep every annotated pixel, IGNORE where unsure; they come back, augmented, as
            ``batch.labelled.pseudo``.
        """
        raise NotImplementedError(f"{type(self).__name__} says relabel_at but does not define relabel")


def frozen_copy(module: _Module) -> _Module:
    """A deep copy whose parameters take no gradient: a teacher."""
    return copy.deepcopy(module).requires_grad_(False)


@contextmanager
def as_judge(module: nn.Module) -> Iterator[None]:
    """``module`` in eval mode and taking no gradient for a while, though gradient flows through it to its inputs.

    For a player whose turn it is not. Mode and gradients are as before afterwards, also after an error.
    """
    training = module.training
    asked = [p for p in module.parameters() if p.requires_grad]
    module.eval()
    for p in asked:
        p.requires_grad_(False)
    try:
        yield
    finally:
        module.train(training)
        for p in asked:
            p.requires_grad_(True)
