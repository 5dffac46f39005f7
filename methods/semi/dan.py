"""A critic tells segmentations of labelled from those of unlabelled images; the segmenter learns to deceive it.

Paper: Zhang et al., "Deep adversarial networks for biomedical image segmentation utilizing unannotated images",
MICCAI 2017.
Code: https://github.com/HiLab-git/SSL4MIS/blob/06df604/code/train_adversarial_network_3D.py
Differences: none that changes what is learnt. As in the code, the critic is in eval mode and frozen while the segmenter
steps, the segmenter (already updated, in eval mode) is fixed while the critic steps, and its Adam keeps its own
learning rate. The critic's final pooling spans the image, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from datasets.types import Batch, Task

from ..base import MAIN, Build, Clock, Descend, Method, Terms, as_judge
from ..family import SupervisedHyper, supervised_terms
from ..hyper import hyper
from ..losses.cross_entropy import cross_entropy
from ..networks.discriminators import Critic
from ..schedules import ramp_up

CRITIC = "critic"
_BETAS = (0.9, 0.99)  # of the critic's Adam, as released
_UNLABELLED, _LABELLED = 0, 1


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of SSL4MIS."""

    weight: float = hyper(0.1, "adversarial weight after the ramp", valid=(0, None), search=(0.001, 1, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    critic_lr: float = hyper(1e-4, "learning rate of the critic", valid=(0, None), search=(1e-5, 1e-3, "log"))
    critic_width: int = hyper(64, "channels of the critic's first level", valid=(1, None))


class DAN(Method):
    """Supervised terms plus an adversarial term on unlabelled images; two players."""

    Hyper = Hyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.critic = Critic(ndim=task.ndim, classes=task.n_classes, channels=task.channels, width=hyper.critic_width)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        images = batch.images
        labelled, unlabelled = batch.split(self.network(images))
        with as_judge(self.critic):
            verdict = self.critic(torch.softmax(unlabelled.float(), dim=1), batch.split(images)[1])
        return supervised_terms(labelled, batch.labelled.label, h.dice_share) | {
            "adversarial": h.weight * ramp_up(clock.progress, h.ramp) * cross_entropy(verdict, _all(verdict, _LABELLED))
        }

    def step(self, batch: Batch, clock: Clock, descend: Descend) -> None:
        descend(self.losses(batch, clock))
        descend(self._critic_losses(batch), player=CRITIC)

    def optimizers(self, base: Callable[[Iterable[nn.Parameter]], Optimizer]) -> Mapping[str, Optimizer]:
        return {
            MAIN: base(self.network.parameters()),
            CRITIC: Adam(self.critic.parameters(), lr=self.hyper.critic_lr, betas=_BETAS),
        }

    def _critic_losses(self, batch: Batch) -> Terms:
        with torch.no_grad(), as_judge(self.network):
            probs = torch.softmax(self.network(batch.images).float(), dim=1)
        labelled, unlabelled = batch.split(self.critic(probs, batch.images))
        origin = torch.cat([_all(labelled, _LABELLED), _all(unlabelled, _UNLABELLED)])
        return {"critic": cross_entropy(torch.cat([labelled, unlabelled]), origin)}


def _all(verdict: Tensor, origin: int) -> Tensor:
    return torch.full((len(verdict),), origin, device=verdict.device)
