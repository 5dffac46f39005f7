"""Predictions at every scale of the decoder agree with their mean, less where they diverge from it.

Paper: Luo et al., "Efficient semi-supervised gross target volume of nasopharyngeal carcinoma segmentation via
uncertainty rectified pyramid consistency", MICCAI 2021, arXiv:2012.07042.
Code: https://github.com/HiLab-git/SSL4MIS/blob/06df604/code/train_uncertainty_rectified_pyramid_consistency_3D.py
Differences: the loss is the code's, with the divergence of the mean from each scale, computed from log-softmaxes (the
code's logarithm of a probability of 0 explodes). As there, the network drops nothing at its centre and at its end, and
scales are raised by linear interpolation in 3-D, by nearest neighbours in 2-D, where the finest map keeps all channels.
The code's 3-D network drops channels of every decoder map before the next level too, here before its head only; its 2-D
network perturbs the coarser maps in three different ways, here all drop channels. The budget and learning rate are the
plan's (the code's 3-D defaults are twice the others' steps at ten times their rate). The full-resolution scale
predicts. Networks of fewer than three resolutions have one scale, which would agree with itself, and are refused.
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
from ..hyper import hyper
from ..losses.consistency import rectified_consistency
from ..networks import blocks
from ..networks.spatial import interpolated
from ..schedules import ramp_up

_DROPOUT = (0.5, 0.3, 0.2, 0.1)  # of whole channels of the decoder's maps, deepest to shallowest, as released


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of SSL4MIS."""

    weight: float = hyper(0.1, "weight of consistency after the ramp", valid=(0, None), search=(0.01, 10, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))


class URPC(Method):
    """Supervised terms of every scale on labelled images, and their rectified consistency on unlabelled ones."""

    Hyper = Hyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        *coarser, _ = self.network.decoder.channels
        if not coarser:
            raise ValueError("urpc compares a decoder's scales, and this network has one; set its levels to 3 or more")
        for part in (self.network.encoder, self.network.decoder):
            part.dropout = nn.Identity()  # the dropout of the heads takes its place
        self.heads = nn.ModuleList(self.network.new_head(channels=width) for width in coarser)
        *deeper, finest = _DROPOUT
        shares = [deeper[0]] * len(coarser) + deeper
        shares = [*shares[-len(coarser) :], finest if task.ndim == 3 else 0.0]
        self.dropouts = nn.ModuleList(blocks.channel_dropout(task.ndim, share) for share in shares)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        scales = [batch.split(logits) for logits in self._scales(batch.images)]
        supervised = [supervised_terms(labelled, batch.labelled.label, h.dice_share) for labelled, _ in scales]
        consistency = rectified_consistency([unlabelled for _, unlabelled in scales])
        return {
            "ce": torch.stack([terms["ce"] for terms in supervised]).mean(),
            "dice": torch.stack([terms["dice"] for terms in supervised]).mean(),
            "consistency": h.weight * ramp_up(clock.progress, h.ramp) * consistency,
        }

    def _scales(self, image: Tensor) -> list[Tensor]:
        """Logits of every decoder level at full resolution, deepest first."""
        maps = self.network.decoder.pyramid(self.network.encode(image))
        logits = [
            head(dropout(features))
            for head, dropout, features in zip([*self.heads, self.network.head], self.dropouts, maps, strict=True)
        ]
        space = image.shape[2:]
        if self.task.ndim == 2:
            return [F.interpolate(one, size=space) for one in logits[:-1]] + logits[-1:]
        return [interpolated(one, space, align_corners=False) for one in logits[:-1]] + logits[-1:]
