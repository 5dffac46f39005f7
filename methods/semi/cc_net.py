"""Two decoders that each lack every other skip connection agree with a whole one, and with each other.

Paper: Huang et al., "Complementary consistency semi-supervised learning for 3D left atrial image segmentation", 2022,
arXiv:2210.01438.
Code: https://github.com/Cuthbert-Huang/CC-Net/blob/e908265/code/train_ccnet_3d_v1.py
Differences: none that is meant to change what is learnt. The auxiliary decoders are built like the network's own and
see zeros in place of the maps that they lack, which is what V-Net's sums without them are; where a network joins maps
by concatenation, the weights of what is missing idle. Of the levels below the deepest the first auxiliary decoder lacks
the deepest and every second one above, the other the rest. Sharpening and Dice are as in ``mc_net``; the code computes
a cross-entropy but does not learn from it. The learning rate is the plan's; the code's is constant. The whole decoder
predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from datasets.types import Batch, Task

from ..base import Build, Clock, Method, Terms
from ..decoders import MutualHyper, mutual_terms
from ..hyper import hyper
from ..schedules import ramp_up


@dataclass(frozen=True)
class Hyper(MutualHyper):
    """Defaults of CC-Net on the left atrium; what it shares with MC-Net is the same."""

    ramp: float = hyper(0.6, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))


class CCNet(Method):
    """Dice of three decoders on labelled images, and mutual consistency on all images."""

    Hyper = Hyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.decoders = nn.ModuleList(self.network.new_decoder() for _ in range(2))

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        features = self.network.encode(batch.images)
        logits = [self.network.head(self.network.decode(features))]
        logits += [decode(without_every_other(features, lacks)) for lacks, decode in enumerate(self.decoders)]
        return mutual_terms(logits, batch, h, h.weight * ramp_up(clock.progress, h.ramp))


def without_every_other(features: Sequence[Tensor], lacks: int) -> list[Tensor]:
    """``features`` (shallow to deep) with zeros for every second skip from the deepest (0) or the next above it (1)."""
    last = len(features) - 1
    return [
        torch.zeros_like(one) if k < last and (last - 1 - k) % 2 == lacks else one for k, one in enumerate(features)
    ]
