"""A signed distance map, turned back into a segmentation, agrees with the segmentation predicted beside it.

Paper: Luo et al., "Semi-supervised medical image segmentation through dual-task consistency", AAAI 2021,
arXiv:2009.04448.
Code: https://github.com/HiLab-git/DTC/blob/1db1700/code/train_la_dtc.py
Differences: the code's map of a crop without the class is 0 everywhere, as if all of it were boundary; here it is 1,
far outside, and ``variant: released`` keeps the 0. The paper prints the steepness with the other sign, the code is
right: inside is negative. For C classes there are C - 1 maps, each compared with the softmax of its class; for two
classes that is the code's sigmoid. The consistency weight is the code's 1, whose option of 0.1 is unused. As in the
code, Dice of the foreground is the only supervised segmentation loss and neither side of the consistency is held fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from datasets.types import IGNORE, Batch, Task

from ..base import Build, Clock, Method, Terms
from ..hyper import HyperBase, hyper, variant
from ..losses.consistency import squared_difference
from ..losses.distance import signed_distance_maps
from ..losses.overlap import foreground_dice_loss
from ..schedules import ramp_up

_SATURATED = 80.0  # the sigmoid of ±80 is 0 or 1 in float32, and its exponential does not overflow


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of DTC on the left atrium."""

    weight: float = hyper(1.0, "weight of consistency after the ramp", valid=(0, None), search=(0.05, 10, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    distance: float = hyper(0.3, "weight of the distance regression", valid=(0, None), search=(0.03, 3, "log"))
    steepness: float = hyper(1500.0, "of the sigmoid that turns distances into a segmentation", valid=(1, None))
    variant: str = variant("intended = an absent class is far away; released = an absent class is boundary everywhere")


class DTC(Method):
    """Dice and distance regression on labelled images, and consistency of the two tasks on all images."""

    Hyper = Hyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.distance_head = self.network.new_head(task.n_classes - 1)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, label = self.hyper, batch.labelled.label
        features = self.network.decode(self.network.encode(batch.images))
        probs = torch.softmax(self.network.head(features).float(), dim=1)
        distance = torch.tanh(self.distance_head(features).float())
        target = signed_distance_maps(label, self.task.n_classes, absent=1.0 if h.variant == "intended" else 0.0)
        regression = squared_difference(batch.split(distance)[0], target, label != IGNORE)
        consistency = squared_difference(_inside(distance, h.steepness), probs[:, 1:])
        return {
            "dice": foreground_dice_loss(batch.split(probs)[0], label),
            "distance": h.distance * regression,
            "consistency": h.weight * ramp_up(clock.progress, h.ramp) * consistency,
        }


def _inside(distance: Tensor, steepness: float) -> Tensor:
    """Probability of the class from its signed distance: 1 inside, where that is negative."""
    return torch.sigmoid((-steepness * distance).clamp(-_SATURATED, _SATURATED))
