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
constant in 2-D. Dice, the only supervised loss, has linear denominators and no background where there is one foreground
class, as the code's for the left atrium; with several it is squared and counts the background, as the code's for ACDC,
which lacks the factor of 2 (a perfect prediction costs 1/2): that is taken for a slip.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from torch import nn

from datasets.types import Batch, Task

from ..base import Build, Clock, Method, Terms
from ..hyper import HyperBase, hyper
from ..losses.consistency import squared_difference
from ..losses.overlap import dice_loss, linear_foreground_dice_loss
from ..networks import blocks
from ..schedules import ramp_up

_TRANSPOSED = "transposed"


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of MC-Net on the left atrium."""

    weight: float = hyper(1.0, "weight of consistency after the ramp", valid=(0, None), search=(0.05, 10, "log"))
    ramp: float = hyper(0.4, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    decoders: int = hyper(2, "decoders: 2 is MC-Net, 3 is MC-Net+", valid=(2, 3))
    supervised: float = hyper(0.5, "weight of each decoder's Dice loss", valid=(0, None))
    temperature: float = hyper(0.1, "of the sharpening; 1 = none", valid=(0.01, 1), search=(0.05, 1.0, "log"))


class MCNet(Method):
    """Dice of every decoder on labelled images, and mutual consistency on all images."""

    Hyper = Hyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        linear = ("bilinear", "trilinear")[task.ndim - 2]
        modes = (linear, "nearest")
        if any(isinstance(layer, nn.Upsample) for layer in self.network.decoder.modules()):
            modes = (_TRANSPOSED, "nearest") if hasattr(self.network.decoder, "ups") else ("nearest", linear)
        self.decoders = nn.ModuleList(
            _upsampled(self.network.new_decoder(), task.ndim, mode) for mode in modes[: hyper.decoders - 1]
        )

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        features = self.network.encode(batch.images)
        logits = [self.network.head(self.network.decode(features)), *(decode(features) for decode in self.decoders)]
        probs = [torch.softmax(one.float(), dim=1) for one in logits]
        sharp = [torch.softmax(one.float() / h.temperature, dim=1) for one in logits]
        differences = [squared_difference(probs[i], sharp[j]) for i, j in permutations(range(len(logits)), 2)]
        weight = h.weight * ramp_up(clock.progress, h.ramp)
        overlap = linear_foreground_dice_loss if self.task.n_classes == 2 else dice_loss
        dice = [overlap(batch.split(one)[0], batch.labelled.label) for one in probs]
        return {f"dice_{k}": h.supervised * loss for k, loss in enumerate(dice, start=1)} | {
            "consistency": weight * torch.stack(differences).sum()
        }


def _upsampled(decoder: nn.Module, ndim: int, mode: str) -> nn.Module:
    """``decoder`` with interpolation of ``mode``, or transposed convolutions, wherever it raises the resolution.

    Where that was a transposed convolution, a convolution of kernel 3 follows.
    """
    if mode == _TRANSPOSED:
        return _with_transposed(decoder, ndim)
    raised = {"mode": mode} if mode == "nearest" else {"mode": mode, "align_corners": True}
    for parent in list(decoder.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Upsample):
                setattr(parent, name, nn.Upsample(scale_factor=2, **raised))
            elif isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d):
                convolution = blocks.conv(ndim, layer.in_channels, layer.out_channels)
                setattr(parent, name, nn.Sequential(nn.Upsample(scale_factor=2, **raised), convolution))
    return decoder


def _with_transposed(decoder: Any, ndim: int) -> nn.Module:
    """A U-Net's ``decoder`` and head, with transposed convolutions for interpolation and what projects before it."""
    ups = decoder[0].ups
    for k, (up, width) in enumerate(zip(ups, decoder[0].channels, strict=True)):
        ups[k] = blocks.conv_up(ndim, 2 * width, width if isinstance(up, nn.Sequential) else 2 * width)
    return decoder
