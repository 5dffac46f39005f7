"""A critic tells shapes, as signed distance maps, of labelled from those of unlabelled images; it must be deceived.

Paper: Li, Zhang and He, "Shape-aware semi-supervised 3D semantic segmentation for medical images", MICCAI 2020,
arXiv:2007.10732.
Code: https://github.com/kleinzcy/SASSnet/blob/dc51bbc/code/train_gan_sdfloss.py
Differences: the code's map of a crop without the class is 0 everywhere, as if all of it were boundary; here it is 1,
far outside, and ``variant: released`` keeps the 0. For C classes there are C - 1 maps. The critic's final pooling spans
the image, whatever its size. As in the code, Dice of the foreground is the only supervised segmentation loss, the
critic judges maps of the updated segmenter in evaluation mode, and its Adam keeps its own learning rate. The
adversarial weight is that for 16 labelled scans; for 8 the code takes 0.015. The segmentation head predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from datasets.types import IGNORE, Batch, Task

from ..base import MAIN, Build, Clock, Descend, Method, Terms, as_judge
from ..hyper import HyperBase, hyper, variant
from ..losses.consistency import squared_difference
from ..losses.cross_entropy import cross_entropy
from ..losses.distance import signed_distance_maps
from ..losses.overlap import foreground_dice_loss
from ..networks.discriminators import Critic
from ..schedules import ramp_up

CRITIC = "critic"
_BETAS = (0.9, 0.99)  # of the critic's Adam, as released
_UNLABELLED, _LABELLED = 0, 1


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of SASSNet on the left atrium."""

    weight: float = hyper(0.01, "adversarial weight after the ramp", valid=(0, None), search=(0.001, 1, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    distance: float = hyper(0.3, "weight of the distance regression", valid=(0, None), search=(0.03, 3, "log"))
    critic_lr: float = hyper(1e-4, "learning rate of the critic", valid=(0, None), search=(1e-5, 1e-3, "log"))
    critic_width: int = hyper(64, "channels of the critic's first level", valid=(1, None))
    variant: str = variant("intended = an absent class is far away; released = an absent class is boundary everywhere")


class SASSNet(Method):
    """Dice and distance regression on labelled images, and an adversarial term on unlabelled ones; two players."""

    Hyper = Hyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        shapes = task.n_classes - 1
        self.distance_head = self.network.new_head(shapes)
        self.critic = Critic(ndim=task.ndim, classes=shapes, channels=task.channels, width=hyper.critic_width)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, label, images = self.hyper, batch.labelled.label, batch.images
        features = self.network.decode(self.network.encode(images))
        labelled, _ = batch.split(self.network.head(features))
        distance, unlabelled = batch.split(torch.tanh(self.distance_head(features).float()))
        target = signed_distance_maps(label, self.task.n_classes, absent=1.0 if h.variant == "intended" else 0.0)
        with as_judge(self.critic):
            verdict = self.critic(unlabelled, batch.split(images)[1])
        return {
            "dice": foreground_dice_loss(torch.softmax(labelled.float(), dim=1), label),
            "distance": h.distance * squared_difference(distance, target, label != IGNORE),
            "adversarial": h.weight
            * ramp_up(clock.progress, h.ramp)
            * cross_entropy(verdict, _all(verdict, _LABELLED)),
        }

    def step(self, batch: Batch, clock: Clock, descend: Descend) -> None:
        descend(self.losses(batch, clock))
        descend(self._critic_losses(batch), player=CRITIC)

    def optimizers(self, base: Callable[[Iterable[nn.Parameter]], Optimizer]) -> Mapping[str, Optimizer]:
        return {
            MAIN: base(chain(self.network.parameters(), self.distance_head.parameters())),
            CRITIC: Adam(self.critic.parameters(), lr=self.hyper.critic_lr, betas=_BETAS),
        }

    def _critic_losses(self, batch: Batch) -> Terms:
        with torch.no_grad(), as_judge(self.network):
            features = self.network.decode(self.network.encode(batch.images))
            shapes = torch.tanh(self.distance_head(features).float())
        labelled, unlabelled = batch.split(self.critic(shapes, batch.images))
        origin = torch.cat([_all(labelled, _LABELLED), _all(unlabelled, _UNLABELLED)])
        return {"critic": cross_entropy(torch.cat([labelled, unlabelled]), origin)}


def _all(verdict: Tensor, origin: int) -> Tensor:
    return torch.full((len(verdict),), origin, device=verdict.device)
