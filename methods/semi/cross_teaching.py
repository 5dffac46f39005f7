"""A convolutional network and a transformer, which err otherwise, teach each other with hard pseudo labels.

Paper: Luo et al., "Semi-supervised medical image segmentation via cross teaching between CNN and transformer", MIDL
2022, arXiv:2112.04894.
Code: https://github.com/HiLab-git/SSL4MIS/blob/03929ab/code/train_cross_teaching_between_cnn_transformer_2D.py
Differences: none in the losses. The code's transformer is a Swin-UNet of windowed attention that starts from weights of
ImageNet; neither is reproduced: the partner is a TransUNet from scratch, as wide as the plan's network, whose attention
is global on its deepest map and whose encoder is convolutional, so that the two are less unlike than there, and what
pre-training brought is missing. ``partner`` may name any other network (the plan's own: cross pseudo supervision by
Dice). The code steps with one optimizer per network at one learning rate, here one holds both, which is the same step.
The ramp is without its staircase of 150 iterations. The plan's network predicts, as from memory the paper's does; the
partner is scored beside it. The paper is in 2-D.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from datasets.types import Batch, Task

from ..base import Build, Clock, Method, Terms
from ..family import SupervisedHyper, supervised_terms
from ..hyper import hyper
from ..losses.overlap import dice_loss
from ..networks import names
from ..schedules import ramp_up


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of SSL4MIS."""

    weight: float = hyper(0.1, "weight of the pseudo labels after the ramp", valid=(0, None), search=(0.01, 10, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    partner: str = hyper("transunet", "the network that the plan's one learns with", choices=names())


class CrossTeaching(Method):
    """Supervised terms of both networks, and Dice of each against the other's most probable classes."""

    Hyper = Hyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.network2 = build(name=hyper.partner)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        weight = h.weight * ramp_up(clock.progress, h.ramp)
        both = [batch.split(network(batch.images)) for network in (self.network, self.network2)]
        terms: Terms = {}
        for k, (mine, other) in enumerate((both, both[::-1]), start=1):
            supervised = supervised_terms(mine[0], batch.labelled.label, h.dice_share)
            terms |= {f"{name}_{k}": term for name, term in supervised.items()}
            probs = torch.softmax(mine[1].float(), dim=1)
            terms[f"pseudo_{k}"] = weight * dice_loss(probs, other[1].argmax(dim=1))
        return terms

    def other_predictions(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {"partner": lambda image: torch.softmax(self.network2(image).float(), dim=1)}
