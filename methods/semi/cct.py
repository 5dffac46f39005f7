"""Auxiliary decoders that see perturbed features predict what the main decoder predicts from clean ones.

Paper: Ouali et al., "Semi-supervised semantic segmentation with cross-consistency training", CVPR 2020,
arXiv:2003.09005.
Code: https://github.com/HiLab-git/SSL4MIS/blob/06df604/code/train_cross_consistency_training_2D.py
Differences: in the paper only the encoder and the auxiliary decoders learn from unlabelled images: the main decoder is
the target, learns from labels alone, and the auxiliary decoders see no labels. The medical code supervises all four
decoders and lets the consistency change the main one too; ``variant: released`` does that. Both take the code's three
perturbations (the paper has seven), its mean squared error and its weight. The main decoder predicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.types import Batch, Task

from ..base import Build, Clock, Method, Terms
from ..family import SupervisedHyper, supervised_terms
from ..hyper import hyper, variant
from ..losses.consistency import squared_difference
from ..perturb import drop_attended, scale_values
from ..schedules import ramp_up


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of SSL4MIS."""

    weight: float = hyper(0.1, "weight of consistency after the ramp", valid=(0, None), search=(0.01, 100, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    feature_noise: float = hyper(0.3, "largest relative change of a feature by noise", valid=(0, 1))
    feature_dropout: float = hyper(0.3, "share of feature values that the second decoder does not see", valid=(0, 0.99))
    attended_from: float = hyper(0.7, "lowest share of the maximum from which positions are dropped", valid=(0, 1))
    attended_to: float = hyper(0.9, "highest such share", valid=(0, 1))
    variant: str = variant("intended = the main decoder learns from labels only; released = all learn from everything")


class CCT(Method):
    """Supervised terms of the main decoder, and squared difference of three perturbed decoders to it."""

    Hyper = Hyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.auxiliaries = nn.ModuleList(self.network.new_decoder() for _ in range(3))

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, label = self.hyper, batch.labelled.label
        released = h.variant == "released"
        features = self.network.encode(batch.images)
        logits = self.network.head(self.network.decode(features))
        seen = features if released else [batch.split(f)[1] for f in features]
        auxiliary = [decode(changed) for decode, changed in zip(self.auxiliaries, self._perturbed(seen), strict=True)]
        supervised = [supervised_terms(batch.split(logits)[0], label, h.dice_share)]
        target = torch.softmax(batch.split(logits)[1].float(), dim=1)
        if released:
            supervised += [supervised_terms(batch.split(one)[0], label, h.dice_share) for one in auxiliary]
            auxiliary = [batch.split(one)[1] for one in auxiliary]
        else:
            target = target.detach()
        differences = [squared_difference(torch.softmax(one.float(), dim=1), target) for one in auxiliary]
        return {
            "ce": torch.stack([terms["ce"] for terms in supervised]).mean(),
            "dice": torch.stack([terms["dice"] for terms in supervised]).mean(),
            "consistency": h.weight * ramp_up(clock.progress, h.ramp) * torch.stack(differences).mean(),
        }

    def _perturbed(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        h = self.hyper
        return (
            scale_values(features, h.feature_noise, self.training),
            [F.dropout(feature, h.feature_dropout, self.training) for feature in features],
            drop_attended(features, h.attended_from, h.attended_to, self.training),
        )
