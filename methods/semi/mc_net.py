"""Decoders that up-sample differently agree: each with the sharpened prediction of every other.

Paper: Wu et al., "Semi-supervised left atrium segmentation with mutual consistency training", MICCAI 2021,
arXiv:2103.02911 (MC-Net, two decoders), and "Mutual consistency learning for semi-supervised medical image
segmentation", Medical Image Analysis 2022, arXiv:2109.09960 (MC-Net+, three: ``decoders: 3``).
Code: https://github.com/ycwu1997/MC-Net/blob/9a9730d/mcnet/train_mcnet_3d.py
Differences: none that is meant to change what is learnt. Sharpening is the softmax of logits over the temperature: for
two classes the code's power form, without its 0/0; with more classes the code sharpens each against its complement, so
that what no class has half of vanishes. The first decoder is the network's own and predicts; the others replace its
transposed by linear and by nearest up-sampling or, where a U-Net's is linear, that by transposed and by nearest, as the
code's (on other encoders by nearest and by another initialisation). The learning rate is the plan's; the code's is
constant. Dice, the only supervised loss, has linear denominators and no background where there is one foreground class,
as the code's for the left atrium; with several it is squared and counts the background, as the code's for ACDC, which
lacks the factor of 2 (a perfect prediction costs 1/2): that is taken for a slip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datasets.types import Batch, Task

from ..base import Build, Clock, Method, Terms
from ..decoders import MutualHyper, decoders_upsampled_otherwise, every_logits, mutual_terms
from ..hyper import hyper
from ..schedules import ramp_up


@dataclass(frozen=True)
class Hyper(MutualHyper):
    """Defaults of MC-Net on the left atrium."""

    decoders: int = hyper(2, "decoders: 2 is MC-Net, 3 is MC-Net+", valid=(2, 3))


class MCNet(Method):
    """Dice of every decoder on labelled images, and mutual consistency on all images."""

    Hyper = Hyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.decoders = decoders_upsampled_otherwise(self.network, hyper.decoders - 1)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        logits = every_logits(self.network, self.decoders, batch.images)
        return mutual_terms(logits, batch, h, h.weight * ramp_up(clock.progress, h.ramp))
