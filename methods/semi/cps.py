"""Two networks of different initialisation learn from each other's hard pseudo labels.

Paper: Chen et al., "Semi-supervised semantic segmentation with cross pseudo supervision", CVPR 2021, arXiv:2106.01226.
Code: https://github.com/HiLab-git/SSL4MIS/blob/06df604/code/train_cross_pseudo_supervision_3D.py
Differences: the paper has the networks supervise each other on labelled and unlabelled images, the medical code on
unlabelled ones only; ``variant: released`` does that. Both take the code's weight, 0.1 after a ramp over all of
training (the paper: 1.5, constant, with CutMix). The code draws one network's initialisation from Kaiming's and the
other's from Xavier's distribution; here both are independent draws of the plan's network. The first network predicts,
as in the paper; ``evaluate: mean`` averages both, at twice the cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.types import Batch

from ..base import Clock, Terms
from ..family import DualNetwork, SupervisedHyper, supervised_terms
from ..hyper import hyper, variant
from ..losses.cross_entropy import cross_entropy
from ..schedules import ramp_up


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of SSL4MIS, on the paper's images."""

    weight: float = hyper(0.1, "weight of the pseudo labels after the ramp", valid=(0, None), search=(0.01, 10, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    evaluate: str = hyper("first", "what predicts: the first network or the mean of both", choices=("first", "mean"))
    variant: str = variant("intended = pseudo labels on all images; released = on unlabelled images only")


class CPS(DualNetwork):
    """Supervised terms of both networks, and cross-entropy of each on the other's most probable classes."""

    Hyper = Hyper

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        label = batch.labelled.label
        logits1, logits2 = self.network(batch.images), self.network2(batch.images)
        terms1 = supervised_terms(batch.split(logits1)[0], label, h.dice_share)
        terms2 = supervised_terms(batch.split(logits2)[0], label, h.dice_share)
        if h.variant == "released":
            logits1, logits2 = batch.split(logits1)[1], batch.split(logits2)[1]
        weight = h.weight * ramp_up(clock.progress, h.ramp)
        return {
            **{f"{name}_1": term for name, term in terms1.items()},
            **{f"{name}_2": term for name, term in terms2.items()},
            "pseudo_1": weight * cross_entropy(logits1, logits2.argmax(dim=1)),
            "pseudo_2": weight * cross_entropy(logits2, logits1.argmax(dim=1)),
        }

    def predict(self, image: Tensor) -> Tensor:
        probs = super().predict(image)
        if self.hyper.evaluate == "first":
            return probs
        return (probs + torch.softmax(self.network2(image).float(), dim=1)) / 2
