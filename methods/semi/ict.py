"""The student's prediction on a mixture of two unlabelled images is the mixture of the teacher's predictions.

Paper: Verma et al., "Interpolation consistency training for semi-supervised learning", IJCAI 2019, arXiv:1903.03825.
Code: https://github.com/HiLab-git/SSL4MIS/blob/06df604/code/train_interpolation_consistency_training_3D.py
Differences: none that changes what is learnt. As in the code, the student sees each pair of unlabelled images as one
mixture (two become one, an odd one out is used twice), the teacher sees them clean, and the share is drawn per pair
from Beta(0.2, 0.2). The student is evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta

from datasets.types import Batch

from ..base import Clock, Terms
from ..family import TeacherHyper, TeacherStudent, supervised_terms
from ..hyper import hyper
from ..losses.consistency import squared_difference
from ..perturb import halves
from ..schedules import ramp_up


@dataclass(frozen=True)
class Hyper(TeacherHyper):
    """Defaults of SSL4MIS."""

    weight: float = hyper(0.1, "weight of consistency after the ramp", valid=(0, None), search=(0.1, 100, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    alpha: float = hyper(
        0.2, "both parameters of the Beta distribution of the share; small = hardly mixed", valid=(0.01, None)
    )


class ICT(TeacherStudent):
    """Supervised terms on labelled images, and squared difference to the mixed teacher on mixed unlabelled ones."""

    Hyper = Hyper

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        known, image = batch.split(batch.images)
        first, second = halves(image, -(-len(image) // 2))
        share = self._shares(first)
        logits = self.network(torch.cat([known, torch.lerp(second, first, share)]))
        labelled, mixed = logits.tensor_split([len(known)])
        target = torch.lerp(self.teach(second), self.teach(first), share)
        consistency = squared_difference(torch.softmax(mixed.float(), dim=1), target)
        return supervised_terms(labelled, batch.labelled.label, h.dice_share) | {
            "consistency": h.weight * ramp_up(clock.progress, h.ramp) * consistency
        }

    def _shares(self, pairs: Tensor) -> Tensor:
        """One share per pair, to be broadcast over the pair's axes."""
        alpha = torch.full((len(pairs), *[1] * (pairs.ndim - 1)), self.hyper.alpha, device=pairs.device)
        return Beta(alpha, alpha, validate_args=False).sample()
