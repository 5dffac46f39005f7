"""The three abstract families between ``Method`` and the final classes, and the supervised terms that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from datasets.types import Batch, Labelled, Task

from . import label_terms
from .base import Build, Clock, Method, Terms, frozen_copy
from .ema import average_parameters, ema_decay
from .hyper import HyperBase, hyper
from .losses.cross_entropy import cross_entropy
from .losses.overlap import SMOOTH, dice_loss


@dataclass(frozen=True)
class SupervisedHyper(HyperBase):
    """Base of the ``Hyper`` of methods that train on dense labels."""

    dice_share: float = hyper(0.5, "share of Dice in the supervised loss; the rest is cross-entropy", valid=(0, 1))


@dataclass(frozen=True)
class TeacherHyper(SupervisedHyper):
    """Base of the ``Hyper`` of :class:`TeacherStudent` methods."""

    ema_limit: float = hyper(0.99, "decay of the teacher after its warm-up", valid=(0, 1), search=(0.9, 0.999))


def supervised_terms(logits: Tensor, label: Tensor, dice_share: float) -> Terms:
    """Cross-entropy and Dice on a label map: half of each by default (SSL4MIS, WSL4MIS, UA-MT)."""
    if label_terms.fits(logits, label):
        entropy, by_class = label_terms.entropy_and_dice(logits, label, SMOOTH)
        dice = by_class.mean()
    else:
        entropy, dice = cross_entropy(logits, label), dice_loss(torch.softmax(logits.float(), dim=1), label)
    return {"ce": (1 - dice_share) * entropy, "dice": dice_share * dice}


class TeacherStudent(Method):
    """A student trained by gradients and a teacher that is its moving average (see ``ema`` for its buffers).

    The teacher follows the method's mode: in training it draws its own dropout and uses batch statistics.
    """

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.teacher = frozen_copy(self.network)

    @torch.no_grad()
    def teach(self, image: Tensor) -> Tensor:
        """The teacher's probabilities ``(n, classes, *space)``, without gradient."""
        return torch.softmax(self.teacher(image).float(), dim=1)

    def other_predictions(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {"teacher": self.teach}

    def after_step(self, clock: Clock) -> None:
        average_parameters(self.teacher, self.network, ema_decay(clock.step, self.hyper.ema_limit))


class DualNetwork(Method):
    """Two networks of the same kind, initialised independently and trained together."""

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.network2 = build()


class PartialCE(Method):
    """Cross-entropy on the scribbled pixels plus what :meth:`regularise` adds; the family of scribble methods."""

    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "scribble"

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        logits = self.network(batch.labelled.image)
        further = self.regularise(logits, batch.labelled, clock)
        if not isinstance(further, Mapping) or "partial_ce" in further:
            raise TypeError(
                f"{self.name()}: regularise must return named terms, of which none is called partial_ce, got "
                f"{sorted(further) if isinstance(further, Mapping) else type(further).__name__}"
            )
        return {"partial_ce": cross_entropy(logits, batch.labelled.label)} | further

    def regularise(self, logits: Tensor, samples: Labelled, clock: Clock) -> Terms:
        """Further weighted terms of the same forward pass. Default: none."""
        return {}
