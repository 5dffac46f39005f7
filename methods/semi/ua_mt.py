"""A mean teacher that teaches only where its own predictions under dropout and noise are certain.

Paper: Yu et al., "Uncertainty-aware self-ensembling model for semi-supervised 3D left atrium segmentation", MICCAI
2019, arXiv:1907.07034.
Code: https://github.com/yulequan/UA-MT/blob/88ed29a/code/train_LA_meanteacher_certainty_unlabel.py and
https://github.com/HiLab-git/SSL4MIS/blob/06df604/code/train_uncertainty_aware_mean_teacher_3D.py
Differences: the codes were written for two classes, and keep the threshold's ln 2 and the divisor 2 also where SSL4MIS
has four; here both follow the number of classes, and ``variant: released`` keeps them (the same for two classes). The
consistency is taken on unlabelled images, as in both codes named; another script of UA-MT takes all images. The
entropy's logarithm adds 1e-6 to the probability there and is exact here. UA-MT's supervised Dice is that of the
foreground alone; ours takes the background too, as SSL4MIS and our supervised baseline do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.types import Batch

from ..base import Clock, Terms
from ..family import TeacherHyper, TeacherStudent, supervised_terms
from ..hyper import hyper, variant
from ..losses.consistency import squared_difference
from ..perturb import noisy
from ..schedules import ramp_up
from ..uncertainty import dropout_entropy

_CERTAIN_FROM = 0.75  # the threshold rises from this share of the largest entropy to all of it


@dataclass(frozen=True)
class Hyper(TeacherHyper):
    """Defaults of UA-MT and SSL4MIS."""

    weight: float = hyper(0.1, "weight of consistency after the ramp", valid=(0, None), search=(0.1, 100, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    passes: int = hyper(8, "stochastic passes of the teacher that its uncertainty is taken from", valid=(1, None))
    noise: float = hyper(0.1, "standard deviation of the noise on the teacher's images", valid=(0, None))
    noise_clip: float = hyper(0.2, "largest absolute value of that noise", valid=(0, None))
    variant: str = variant("intended = threshold and divisor for C classes; released = those of two classes")


class UAMT(TeacherStudent):
    """Supervised terms, and squared difference to the teacher where the teacher's entropy is below a threshold."""

    Hyper = Hyper

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        classes = 2 if h.variant == "released" else self.task.n_classes
        images = batch.images
        labelled, unlabelled = batch.split(self.network(images))
        image = batch.split(images)[1]
        target = self.teach(noisy(image, h.noise, h.noise_clip))
        threshold = (_CERTAIN_FROM + (1 - _CERTAIN_FROM) * ramp_up(clock.progress)) * math.log(classes)
        certain = self._uncertainty(image) < threshold
        consistency = squared_difference(torch.softmax(unlabelled.float(), dim=1), target, certain)
        weight = h.weight * ramp_up(clock.progress, h.ramp) * self.task.n_classes / classes
        return supervised_terms(labelled, batch.labelled.label, h.dice_share) | {"consistency": weight * consistency}

    def _uncertainty(self, image: Tensor) -> Tensor:
        """Entropy in nats ``(n, *space)`` of the teacher's mean prediction over noise and dropout."""
        h = self.hyper
        return dropout_entropy(self.teach, image, passes=h.passes, noise=h.noise, noise_clip=h.noise_clip)
