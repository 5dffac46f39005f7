"""The network shall say of an image what its averaged teacher says of the turned image, where the teacher is sure.

Paper: Liu et al., "Weakly supervised segmentation of COVID19 infection with scribble annotation on CT images", Pattern
Recognition 2022.
Code: https://github.com/HiLab-git/WSL4MIS/blob/a594da8/code/train_weakly_supervised_ustm_2D.py
Differences: intended, the largest uncertainty let through is a share of the maximum for C classes, ln C, and the
squares are divided by C. Released: ln 2 and 2 whatever C, left over from a method for two classes. Uncertainty is the
entropy of the teacher's mean prediction; the teacher is in training mode: it draws dropout and uses batch statistics.
Patches that are not square are turned by 0 or 180 degrees only. The code's schedules move in stairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from datasets.types import Batch

from ..base import Clock, Terms
from ..family import TeacherStudent
from ..hyper import HyperBase, hyper, variant
from ..losses.consistency import squared_difference
from ..losses.cross_entropy import cross_entropy
from ..perturb import noisy, random_turn
from ..schedules import ramp_up
from ..uncertainty import dropout_entropy

_CERTAIN_FROM = 0.75  # the threshold rises from this share of the largest entropy to all of it


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of WSL4MIS."""

    weight: float = hyper(1.0, "weight of the consistency after the ramp", valid=(0, None), search=(0.1, 10, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    passes: int = hyper(8, "stochastic passes of the teacher that its uncertainty is taken from", valid=(1, None))
    noise: float = hyper(0.1, "standard deviation of the noise on the teacher's images", valid=(0, None))
    noise_clip: float = hyper(0.2, "largest absolute value of that noise", valid=(0, None))
    ema_limit: float = hyper(0.99, "decay of the teacher after its warm-up", valid=(0, 1), search=(0.9, 0.999))
    variant: str = variant()


class USTM(TeacherStudent):
    """Partial cross-entropy, and consistency with the teacher under a quarter turn where it is sure."""

    Hyper = Hyper
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "scribble"

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, image = self.hyper, batch.labelled.image
        classes = 2 if h.variant == "released" else self.task.n_classes
        logits = self.network(image)
        turn = random_turn(image)
        turned, probs = turn(image), turn(torch.softmax(logits.float(), dim=1))
        target = self.teach(noisy(turned, h.noise, h.noise_clip))
        threshold = (_CERTAIN_FROM + (1 - _CERTAIN_FROM) * ramp_up(clock.progress)) * math.log(classes)
        certain = self._uncertainty(turned) < threshold
        weight = h.weight * ramp_up(clock.progress, h.ramp) * self.task.n_classes / classes
        return {
            "partial_ce": cross_entropy(logits, batch.labelled.label),
            "consistency": weight * squared_difference(probs, target, certain),
        }

    def _uncertainty(self, image: Tensor) -> Tensor:
        """Entropy in nats ``(n, *space)`` of the teacher's mean prediction over noise and dropout."""
        h = self.hyper
        return dropout_entropy(self.teach, image, passes=h.passes, noise=h.noise, noise_clip=h.noise_clip)
