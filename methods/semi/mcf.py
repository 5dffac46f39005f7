"""Two unlike networks review where they differ on labels, and the one that fits labels better teaches the other.

Paper: Wang et al., "MCF: mutual correction framework for semi-supervised medical image segmentation", CVPR 2023.
Code: https://github.com/WYC-321/MCF/blob/92cb9b6/code/train_MCF.py
Differences: only the paper's abstract and the code could be read; the code's file of losses is not stored, and its two
squared differences are taken for plain ones of probabilities. Dice, also where it judges which network fits labels
better, is the mean over all classes, background included; the code's is that of the foreground. The code's networks are
V-Net and one with ResNet-34's encoder; here the second is another of the project's, from scratch (``partner``, by
default the U-Net, beside a plan's U-Net the same from other initial weights). For K classes two predictions differ
where their most probable classes do, and a squared difference is the mean over classes, which for two is that of the
foreground. Both networks step with one optimizer, which is the same step. The ramp is without its staircase of 150
iterations. As in the code, the mean of both networks predicts; each is scored beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from datasets.types import IGNORE, Batch, Task

from ..base import Build, Clock, Method, Terms
from ..family import SupervisedHyper, supervised_terms
from ..hyper import hyper
from ..labels import most_probable
from ..losses.consistency import squared_difference
from ..losses.overlap import one_hot
from ..networks import names
from ..schedules import ramp_up
from ..views import dual_prediction


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of MCF on the left atrium."""

    weight: float = hyper(0.1, "weight of the correction after the ramp", valid=(0, None), search=(0.01, 10, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    review: float = hyper(0.5, "weight of labelled pixels where both differ", valid=(0, None), search=(0.05, 5, "log"))
    temperature: float = hyper(0.1, "of the better network's sharpened prediction", valid=(0.01, 1))
    partner: str = hyper("unet", "the network that the plan's one learns with", choices=names())


class MCF(Method):
    """Supervised terms and a review of each network, and the correction of the one that is worse in this step."""

    Hyper = Hyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.network2 = build(name=hyper.partner)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, label = self.hyper, batch.labelled.label
        pairs = [batch.split(network(batch.images)) for network in (self.network, self.network2)]
        (labelled, unlabelled), (labelled2, unlabelled2) = pairs
        differ = (most_probable(labelled) != most_probable(labelled2)) & (label != IGNORE)
        terms: Terms = {}
        for k, logits in enumerate((labelled, labelled2), start=1):
            for name, term in supervised_terms(logits, label, h.dice_share).items():
                terms[f"{name}_{k}"] = 2 * term  # the sum of cross-entropy and Dice, by default, not their mean
            probs = torch.softmax(logits.float(), dim=1)
            terms[f"review_{k}"] = h.review * squared_difference(probs, one_hot(label, self.task.n_classes), differ)
        corrections = [self._correction(unlabelled2, unlabelled), self._correction(unlabelled, unlabelled2)]
        fit = "dice" if h.dice_share else "ce"  # by which the code judges, or what there is
        better = terms[f"{fit}_1"].detach() < terms[f"{fit}_2"].detach()  # the first network, whose partner then learns
        terms["correction"] = h.weight * ramp_up(clock.progress, h.ramp) * torch.where(better, *corrections)
        return terms

    def predict(self, image: Tensor) -> Tensor:
        return self._predicted("mean", image)

    def other_predictions(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {which: partial(self._predicted, which) for which in ("first", "second")}

    def _predicted(self, which: str, image: Tensor) -> Tensor:
        return dual_prediction(self.network, self.network2, image, which)

    def _correction(self, logits: Tensor, teaching: Tensor) -> Tensor:
        sharp = torch.softmax(teaching.detach().float() / self.hyper.temperature, dim=1)
        return squared_difference(torch.softmax(logits.float(), dim=1), sharp)
