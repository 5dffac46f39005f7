"""Of a network and its averaged teacher, the one that fits the scribbles better labels the pixels that it is sure of.

Paper: Wang et al., "ScribbleVS: scribble-supervised medical image segmentation via dynamic competitive pseudo label
selection", 2024, arXiv:2411.10237. Only abstract and summaries could be read: formulas and constants are the code's.
Code: https://github.com/ortonwang/ScribbleVS/blob/5370721/code/train.py and utils/util.py beside it
Differences: intended, the student is trained by its loss alone. Released: all its weights also shrink by 2e-4 in every
step, after the teacher has followed, whatever the learning rate, which came with the code of the average. In both, the
teacher's average warms up, as everywhere here, and the ramp does not move in stairs. One of the two labels the whole
batch. The teacher is in training mode: it draws dropout and uses batch statistics. The student predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from datasets.types import Batch

from ..base import Clock, Terms
from ..family import TeacherStudent, supervised_terms
from ..hyper import HyperBase, hyper, variant
from ..labels import confident_labels
from ..losses.cross_entropy import cross_entropy
from ..schedules import ramp_up

_SHRINK = 0.02 * 0.01  # of every weight in every released step


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of the released code."""

    weight: float = hyper(1.0, "weight of the pseudo labels after the ramp", valid=(0, None), search=(0.1, 10, "log"))
    ramp: float = hyper(0.2, "share of training over which the weight ramps up", valid=(0, 1), search=(0.05, 1.0))
    threshold: float = hyper(0.5, "probability from which a pixel is labelled", valid=(0, 1), search=(0.4, 0.95))
    dice_share: float = hyper(0.5, "share of Dice on pseudo labels; the rest is cross-entropy", valid=(0, 1))
    ema_limit: float = hyper(0.99, "decay of the teacher after its warm-up", valid=(0, 1), search=(0.9, 0.999))
    variant: str = variant()


class ScribbleVS(TeacherStudent):
    """Partial cross-entropy, and cross-entropy and Dice on the sure pixels of the better of student and teacher."""

    Hyper = Hyper
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "scribble"
    contract_exceptions: ClassVar[Mapping[str, str]] = {
        "3d:check_unannotated_pixels_get_no_gradient_from_labels": "scribbles choose whose pseudo labels are learnt",
        "3d:released:check_unannotated_pixels_get_no_gradient_from_labels": "scribbles choose whose labels are learnt",
        "released:check_teachers_are_frozen_and_follow": "the code's average shrinks the student's weights, too",
    }

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, image, label = self.hyper, batch.labelled.image, batch.labelled.label
        logits = self.network(image)
        partial_ce = cross_entropy(logits, label)
        with torch.no_grad():
            taught = self.teacher(image)
            better = cross_entropy(taught, label) < partial_ce
            pseudo = confident_labels(torch.where(better, taught, logits), h.threshold)
        weight = h.weight * ramp_up(clock.progress, h.ramp)
        terms = supervised_terms(logits, pseudo, h.dice_share)
        return {"partial_ce": partial_ce, "pseudo": weight * (terms["ce"] + terms["dice"])}

    def after_step(self, clock: Clock) -> None:
        super().after_step(clock)
        if self.hyper.variant == "released":
            torch._foreach_mul_(list(self.network.parameters()), 1 - _SHRINK)
