"""Further decoders over the features of one encoder, and how they teach one another by sharpened predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn

from datasets.types import Batch

from .base import Terms
from .hyper import HyperBase, hyper
from .losses.consistency import squared_difference
from .losses.overlap import dice_loss, linear_foreground_dice_loss
from .networks import blocks
from .networks.base import SegmentationNetwork

_TRANSPOSED = "transposed"


@dataclass(frozen=True)
class MutualHyper(HyperBase):
    """Base of the ``Hyper`` of methods whose decoders learn by :func:`mutual_terms`; defaults of MC-Net on the atrium.

    Source: https://github.com/ycwu1997/MC-Net/blob/9a9730d/mcnet/train_mcnet_3d.py
    """

    weight: float = hyper(1.0, "weight of consistency after the ramp", valid=(0, None), search=(0.05, 10, "log"))
    ramp: float = hyper(0.4, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    supervised: float = hyper(0.5, "weight of each decoder's Dice loss", valid=(0, None))
    temperature: float = hyper(0.1, "of the sharpening; 1 = none", valid=(0.01, 1), search=(0.05, 1.0, "log"))


def every_logits(network: SegmentationNetwork, decoders: nn.ModuleList, image: Tensor) -> list[Tensor]:
    """Logits ``(n, c, *space)`` of the network's own decoder and of each further one, the image encoded once."""
    features = network.encode(image)
    return [network.head(network.decode(features)), *(decode(features) for decode in decoders)]


def mutual_terms(logits: Sequence[Tensor], batch: Batch, h: MutualHyper, weight: float) -> Terms:
    """Dice of every decoder on labelled images, and :func:`mutual_consistency` of all images times ``weight``.

    Dice has linear denominators and no background where there is one foreground class; with several it is squared and
    counts the background.

    Args:
        logits: of every decoder, ``(n, c, *space)`` of ``batch.images``.
    """
    probs = [torch.softmax(one.float(), dim=1) for one in logits]
    consistency = mutual_consistency(logits, probs, h.temperature)
    overlap = linear_foreground_dice_loss if probs[0].shape[1] == 2 else dice_loss
    dice = [overlap(batch.split(one)[0], batch.labelled.label) for one in probs]
    terms = {f"dice_{k}": h.supervised * loss for k, loss in enumerate(dice, start=1)}
    return terms | {"consistency": weight * consistency}


def mutual_consistency(logits: Sequence[Tensor], probs: Sequence[Tensor], temperature: float) -> Tensor:
    """Sum over ordered pairs of outputs of the squared difference of one to the other sharpened; both sides learn.

    Sharpening is the softmax of logits over the temperature: for two classes the power form of MC-Net's code, without
    its 0/0; with more classes that sharpens each against its complement, so that what no class has half of vanishes.

    Args:
        logits: of every output, ``(n, c, *space)``.
        probs: their softmaxes.
    """
    sharp = [torch.softmax(one.float() / temperature, dim=1) for one in logits]
    differences = [squared_difference(probs[i], sharp[j]) for i, j in permutations(range(len(logits)), 2)]
    return torch.stack(differences).sum()


def decoders_upsampled_otherwise(network: SegmentationNetwork, count: int) -> nn.ModuleList:
    """``count`` (1 or 2) further decoders and heads that raise the resolution otherwise than the network's own.

    Instead of transposed convolutions they interpolate linearly and by nearest; where a U-Net's decoder is linear, by
    transposed convolutions and by nearest; on other encoders by nearest and by another initialisation.
    """
    linear = ("bilinear", "trilinear")[network.ndim - 2]
    modes = (linear, "nearest")
    if any(isinstance(layer, nn.Upsample) for layer in network.decoder.modules()):
        modes = (_TRANSPOSED, "nearest") if hasattr(network.decoder, "ups") else ("nearest", linear)
    return nn.ModuleList(_upsampled(network.new_decoder(), network.ndim, mode) for mode in modes[:count])


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
