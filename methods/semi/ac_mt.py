"""A mean teacher that teaches only where the student is torn between classes: what UA-MT does, the other way round.

Paper: Xu et al., "Ambiguity-selective consistency regularization for mean-teacher semi-supervised medical image
segmentation", Medical Image Analysis 2023.
Code: https://github.com/lemoshu/AC-MT/blob/f5f9dff/code/train_ACMT_Ent_3D.py and train_ACMT_MU_3D.py beside it
Differences: two of the code's four rules are here. ``entropy`` is its default in all but the logarithm, exact here.
``dropout`` judges by the teacher as UA-MT does, so that the two methods differ in the sign of the rule; the code judges
by passes of the student, which move the batch-norm statistics it is evaluated with, lets the threshold end at 0.9, and
divides by pixels, not by pixels and classes as elsewhere. Left out are the error of a prototype's prediction, which
comes with an entropy term of its own, and confident learning, which runs on the host. ``random`` is ours, a control: as
many pixels of each image as ``entropy`` takes, anywhere. The code's threshold rises; a falling one, down to 0.6, is
left in its comments. It was written for two classes; ln 2 stays the unit of entropy for more of them: of four, in units
of ln 4, a pixel torn between two would never reach the threshold.
"""

from __future__ import annotations

import math
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
from ..uncertainty import dropout_entropy

_TORN = math.log(2)  # entropy of a pixel that is torn between two classes


@dataclass(frozen=True)
class Hyper(TeacherHyper):
    """Defaults of AC-MT on the left atrium."""

    weight: float = hyper(0.1, "weight of consistency after the ramp", valid=(0, None), search=(0.1, 100, "log"))
    ramp: float = hyper(0.75, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    rule: str = hyper(
        "entropy",
        "what makes a pixel count: the student's entropy, the teacher's under dropout, or chance, as often as entropy",
        choices=("entropy", "dropout", "random"),
    )
    start: float = hyper(0.75, "entropy from which a pixel is ambiguous at first, in ln 2", valid=(0, None))
    end: float = hyper(0.95, "the same at the end of training", valid=(0, None), search=(0.5, 0.95))
    passes: int = hyper(8, "stochastic passes of the teacher; rule: dropout alone", valid=(1, None))
    noise: float = hyper(0.1, "standard deviation of the noise on the teacher's images", valid=(0, None))
    noise_clip: float = hyper(0.2, "largest absolute value of that noise", valid=(0, None))


class ACMT(TeacherStudent):
    """Supervised terms, and squared difference to the teacher where the entropy is above a threshold."""

    Hyper = Hyper

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        images = batch.images
        labelled, unlabelled = batch.split(self.network(images))
        image = batch.split(images)[1]
        target = self.teach(noisy(image, h.noise, h.noise_clip))
        probs = torch.softmax(unlabelled.float(), dim=1)
        threshold = h.start + (h.end - h.start) * ramp_up(clock.progress)
        ambiguous = self._entropy(probs.detach(), image) / _TORN >= threshold
        if h.rule == "random":
            ambiguous = _elsewhere(ambiguous)
        consistency = squared_difference(probs, target, ambiguous)
        return supervised_terms(labelled, batch.labelled.label, h.dice_share) | {
            "consistency": h.weight * ramp_up(clock.progress, h.ramp) * consistency
        }

    def _entropy(self, probs: Tensor, image: Tensor) -> Tensor:
        """By which pixels are chosen, in nats ``(n, *space)``."""
        h = self.hyper
        if h.rule == "dropout":
            return dropout_entropy(self.teach, image, passes=h.passes, noise=h.noise, noise_clip=h.noise_clip)
        return torch.special.entr(probs).sum(dim=1)


def _elsewhere(mask: Tensor) -> Tensor:
    """As many True in each sample of ``(n, *space)``, at random pixels; drawn on the device."""
    order = torch.rand(mask.flatten(1).shape, device=mask.device).argsort(dim=1)
    return mask.flatten(1).gather(1, order).view_as(mask)
