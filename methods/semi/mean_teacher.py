"""The student agrees on unlabelled images with a moving average of itself that sees them with noise.

Paper: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv:1703.01780.
Code: https://github.com/HiLab-git/SSL4MIS/blob/06df604/code/train_mean_teacher_3D.py
Differences: the paper puts noise on both sides and weighs the term by 100 for classification. The segmentation code,
the default here, puts clamped noise on the teacher's side only and reaches a weight of 0.1 at the end of training,
averaged over classes and pixels, which makes the term small: the weight is worth tuning. The 2-D code also leaves the
term out for its first 1000 of 30 000 iterations, where the ramp keeps it below 1 % of its maximum: not reproduced. The
student is evaluated, as in the code; ``evaluate: teacher`` evaluates the teacher with the batch-norm statistics of its
own training passes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.types import Batch

from ..base import Clock, Terms
from ..family import TeacherHyper, TeacherStudent, supervised_terms
from ..hyper import hyper
from ..losses.consistency import squared_difference
from ..perturb import noisy
from ..schedules import ramp_up


@dataclass(frozen=True)
class Hyper(TeacherHyper):
    """Defaults of SSL4MIS."""

    weight: float = hyper(0.1, "weight of consistency after the ramp", valid=(0, None), search=(0.1, 100, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    noise: float = hyper(0.1, "standard deviation of the noise on the teacher's images", valid=(0, None))
    noise_clip: float = hyper(0.2, "largest absolute value of that noise", valid=(0, None))
    evaluate: str = hyper("student", "which of the two networks predicts", choices=("student", "teacher"))


class MeanTeacher(TeacherStudent):
    """Supervised terms on labelled images and squared difference to the teacher on unlabelled ones."""

    Hyper = Hyper

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        images = batch.images
        labelled, unlabelled = batch.split(self.network(images))
        target = self.teach(noisy(batch.split(images)[1], h.noise, h.noise_clip))
        consistency = squared_difference(torch.softmax(unlabelled.float(), dim=1), target)
        return supervised_terms(labelled, batch.labelled.label, h.dice_share) | {
            "consistency": h.weight * ramp_up(clock.progress, h.ramp) * consistency
        }

    def predict(self, image: Tensor) -> Tensor:
        return self.teach(image) if self.hyper.evaluate == "teacher" else super().predict(image)
