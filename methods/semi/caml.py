"""Two networks, of which one attends across the images of a batch, agree on classes and on what features are like.

Paper: Gao et al., "Correlation-aware mutual learning for semi-supervised medical image segmentation", MICCAI 2023,
arXiv:2307.06312.
Code: https://github.com/Herschel555/CAML/blob/3b1dbc1/code/train_caml.py
Differences: of the paper only abstract and summaries could be read, beside the code. Intended correlates by cosines, to
which the temperature fits; the code by products of vectors of any length, of which a single remembered one may take all
of a correlation: ``variant: released``. The code keeps every right vector of each labelled image and draws 256 per
class; here an image renews 16 of each class's 256, which so come from as many images as the code has labelled ones. It
correlates the surest 12 800 voxels per class, here as many in proportion to the crop, and builds heads of 32 channels
though it is told 64. Vectors are from before dropout, and heads normalise labelled and unlabelled ones together. Where
the plan's network has transposed convolutions the second interpolates; where it interpolates, the second takes the
nearest. Sharpening and Dice are as in ``mc_net``. The code's ramps are 0.4, 0.2 and 0.15 for 4, 8 and 16 labels. The
first network predicts; attention is for training alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.types import IGNORE, Batch, Task

from ..banks import Bank
from ..base import Build, Clock, Terms
from ..cross_sample import attend_across
from ..family import DualNetwork
from ..features import with_last_map
from ..hyper import HyperBase, hyper, variant
from ..labels import most_probable
from ..losses.consistency import squared_difference
from ..losses.correlation import correlation_consistency
from ..losses.overlap import dice_loss, linear_foreground_dice_loss
from ..networks import blocks
from ..schedules import ramp_up


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of CAML on the left atrium, the ramp that for four labelled scans."""

    weight: float = hyper(1.0, "weight of consistency after the ramp", valid=(0, None), search=(0.05, 10, "log"))
    correlation: float = hyper(0.05, "weight of correlations after it", valid=(0, None), search=(0.005, 0.5, "log"))
    ramp: float = hyper(0.4, "share of training over which both ramp up", valid=(0, 1), search=(0.1, 1.0))
    supervised: float = hyper(0.5, "weight of each network's Dice loss", valid=(0, None))
    temperature: float = hyper(0.1, "of the sharpening; 1 = none", valid=(0.01, 1), search=(0.05, 1.0, "log"))
    nearness: float = hyper(0.1, "temperature of correlations", valid=(0.01, None), search=(0.05, 1.0, "log"))
    slots: int = hyper(256, "vectors that the memory holds per class", valid=(1, None))
    fresh: int = hyper(16, "of these, how many each labelled image renews", valid=(1, None))
    share: float = hyper(0.0064, "most voxels of a class to be correlated, of all unlabelled ones", valid=(0, 1))
    width: int = hyper(64, "length of the vectors", valid=(1, None))
    dropout: float = hyper(0.5, "of the attention", valid=(0, 0.99))
    variant: str = variant("intended = correlations of directions; released = of vectors of any length")


class CAML(DualNetwork):
    """Dice of both networks, mutual consistency of all images, and correlations of unlabelled with labelled voxels."""

    Hyper = Hyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        _raise_otherwise(self.network2.decoder, task.ndim)
        attend_across(self.network2, hyper.dropout)
        pair, width = (self.network, self.network2), hyper.width
        self.projections = nn.ModuleList(_head(network.decoder_channels, width) for network in pair)
        self.predictions = nn.ModuleList(_head(width, width) for _ in pair)
        self.bank = Bank(task.n_classes, hyper.slots, width)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, label = self.hyper, batch.labelled.label
        seen = [with_last_map(network, batch.images) for network in (self.network, self.network2)]
        logits, maps = zip(*seen, strict=True)
        probs, probs2 = (torch.softmax(one.float(), dim=1) for one in logits)
        sharp, sharp2 = (torch.softmax(one.float() / h.temperature, dim=1) for one in logits)
        overlap = linear_foreground_dice_loss if self.task.n_classes == 2 else dice_loss
        first, second = map(most_probable, logits)
        agreed = torch.where(first == second, first, IGNORE)
        ramp = ramp_up(clock.progress, h.ramp)
        return {
            "dice_1": h.supervised * overlap(batch.split(probs)[0], label),
            "dice_2": h.supervised * overlap(batch.split(probs2)[0], label),
            "consistency": h.weight * ramp * (squared_difference(probs, sharp2) + squared_difference(probs2, sharp)),
            "correlation": h.correlation * ramp * self._correlation(maps, agreed, probs.detach().amax(dim=1), label),
        }

    def _correlation(self, maps: tuple[Tensor, ...], agreed: Tensor, confidence: Tensor, label: Tensor) -> Tensor:
        """Renew the memory by voxels that both networks predict right, then correlate what they agree on with it.

        Args:
            maps: of each network, ``(n, channels, *space)``.
            agreed: ``(n, *space)`` classes that both predict, or IGNORE.
            confidence: ``(n, *space)``, of the first network.
            label: ``(m, *space)``, of the first m images.
        """
        h, classes, labelled = self.hyper, self.task.n_classes, label.numel()
        right = torch.where(agreed[: len(label)] == label, label, IGNORE)
        known, are_known = _highest(torch.rand(label.shape, device=label.device), right, classes, h.fresh)
        known = known + torch.arange(0, labelled, label[0].numel(), device=label.device).view(-1, 1, 1)
        free, sure = (each[len(label) :].unsqueeze(0) for each in (agreed, confidence))
        guessed, are_guessed = _highest(sure, free, classes, max(1, round(h.share * free.numel())))
        index = torch.cat([known.flatten(), labelled + guessed.flatten()])
        with torch.autocast(label.device.type, enabled=False):
            vectors = [head(_rows(one, index)) for head, one in zip(self.projections, maps, strict=True)]
            (remembered, first), (remembered2, second) = (one.tensor_split([known.numel()]) for one in vectors)
            fused = ((remembered + remembered2) / 2).detach().view(*known.shape, -1)
            self.bank.push(fused.transpose(1, 2).flatten(0, 1), are_known.transpose(1, 2).flatten(0, 1))
            compared = [head(one) for head, one in zip(self.predictions, (first, second), strict=True)]
        compared.append(self.bank.vectors.flatten(0, 1))
        if h.variant == "intended":
            compared = [F.normalize(one, dim=1) for one in compared]
        own, own2, memory = compared
        filled, counts = self.bank.filled.flatten(), are_guessed.flatten()
        return correlation_consistency(own, own2, memory, filled, counts, h.nearness)


def _highest(score: Tensor, label: Tensor, classes: int, count: int) -> tuple[Tensor, Tensor]:
    """Flat positions ``(n, classes, count)`` of each class's highest scores in [0, 1], and which are of that class."""
    score, label = score.flatten(1), label.flatten(1)
    count = min(count, label.shape[1])
    best = [torch.where(label == k, score, -1.0).topk(count, dim=1) for k in range(classes)]
    return torch.stack([one.indices for one in best], dim=1), torch.stack([one.values >= 0 for one in best], dim=1)


def _rows(maps: Tensor, index: Tensor) -> Tensor:
    """Vectors ``(k, channels)`` float32 of ``(n, channels, *space)`` at flat positions across the whole batch."""
    rows = maps.movedim(1, -1).flatten(0, -2)
    return rows.gather(0, index.unsqueeze(1).expand(-1, rows.shape[1])).float()


def _head(channels: int, width: int) -> nn.Sequential:
    """Two layers, normalised between by the vectors at hand."""
    norm = nn.BatchNorm1d(width, track_running_stats=False)
    return nn.Sequential(nn.Linear(channels, width, bias=False), norm, nn.ReLU(inplace=True), nn.Linear(width, width))


def _raise_otherwise(decoder: nn.Module, ndim: int) -> None:
    """Interpolate, with a convolution after it, for transposed convolutions, and by the nearest for interpolation."""
    for parent in list(decoder.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Upsample):
                setattr(parent, name, nn.Upsample(scale_factor=2, mode="nearest"))
            elif isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d):
                convolution = blocks.conv(ndim, layer.in_channels, layer.out_channels)
                setattr(parent, name, nn.Sequential(blocks.upsample(ndim, align_corners=True), convolution))
