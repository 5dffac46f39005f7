"""Two decoders over one encoder learn from a random mixture of their own predictions.

Paper: Luo et al., "Scribble-supervised medical image segmentation via dual-branch network and dynamically mixed pseudo
labels supervision", MICCAI 2022, arXiv:2203.02106.
Code: https://github.com/HiLab-git/WSL4MIS/blob/a594da8/code/train_weakly_supervised_segmentation_pCE_ours_proposed.py
Differences: none that changes what is learnt. The code's Dice masks ignored pixels across samples, but its pseudo
labels have none, and it drops channels of the auxiliary branch also when evaluating, where that branch is not used;
here channels are dropped in training only. The main decoder predicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from datasets.types import Batch, Task

from ..base import Build, Clock, Method, Terms
from ..hyper import HyperBase, hyper
from ..labels import most_probable
from ..losses.cross_entropy import cross_entropy
from ..losses.overlap import dice_loss
from ..perturb import drop_channels


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of WSL4MIS."""

    weight: float = hyper(0.5, "weight of the mixed pseudo labels", valid=(0, None), search=(0.05, 5, "log"))
    channel_dropout: float = hyper(
        0.5, "share of encoder channels that the auxiliary decoder does not see", valid=(0, 0.99), search=(0.1, 0.7)
    )


class WSL4MIS(Method):
    """Partial cross-entropy of both branches, and Dice of both against the mixed pseudo labels."""

    Hyper = Hyper
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "scribble"

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.auxiliary = self.network.new_decoder()

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, label = self.hyper, batch.labelled.label
        features = self.network.encode(batch.labelled.image)
        main = self.network.head(self.network.decode(features))
        auxiliary = self.auxiliary(drop_channels(features, h.channel_dropout, self.training))
        probs1, probs2 = (torch.softmax(logits.float(), dim=1) for logits in (main, auxiliary))
        mixture = torch.rand((), device=probs1.device)  # one number per step
        pseudo = most_probable(torch.lerp(probs2, probs1, mixture))
        return {
            "partial_ce": (cross_entropy(main, label) + cross_entropy(auxiliary, label)) / 2,
            "pseudo": h.weight * (dice_loss(probs1, pseudo) + dice_loss(probs2, pseudo)) / 2,
        }
