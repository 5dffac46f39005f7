"""Predictions withstand adversarial noise, and features gather around the best ones of their class.

Paper: Wu et al., "Exploring smoothness and class-separation for semi-supervised medical image segmentation",
MICCAI 2022, arXiv:2203.01324; the separation is that of Alonso et al., ICCV 2021, arXiv:2104.13415.
Code: https://github.com/ycwu1997/SS-Net/blob/8b3ec97/code/train_ss_3d.py
Differences: intended keeps the correctly predicted vectors of a class that its attention ranks highest. The code keeps
the lowest and none of the background, whose share of the mean over classes is then 0, and its distance under noise is 0
in 3-D only between certain predictions: ``variant: released``. Intended takes the code's Dice of 2-D, 0 between equal
ones, in 3-D too. Both learn from the cross-entropy and Dice of all methods (the code: Dice alone), and contrast, rank
and normalise by a fixed number of random voxels per class and image, not by all. Features are those before dropout; the
target under noise is the step's own prediction (the code: another pass's). Candidates of the memory are projected with
the batch statistics of labelled voxels (the code: running ones). The code's ACDC has weight 0.1, ramp 1, epsilon 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.types import IGNORE, Batch, Task

from ..base import Build, Clock, Method, Terms
from ..family import SupervisedHyper, supervised_terms
from ..features import with_last_map
from ..hyper import hyper, variant
from ..labels import most_probable
from ..losses.virtual_adversarial import dice_distance, joint_dice_distance, virtual_adversarial
from ..schedules import ramp_up

_SLOPE, _EPS = 0.2, 1e-5  # of the attention's activation, as released; of batch normalisation, PyTorch's


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of SS-Net on the left atrium."""

    weight: float = hyper(1.0, "weight of both ideas after the ramp", valid=(0, None), search=(0.05, 10, "log"))
    ramp: float = hyper(0.4, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    epsilon: float = hyper(10.0, "length of the noise over a whole image", valid=(0, None), search=(1, 100, "log"))
    probe: float = hyper(10.0, "length of the random noise where its direction is found", valid=(1e-3, None))
    separation: float = hyper(0.1, "share of each separation in it", valid=(0, None), search=(0.01, 1, "log"))
    slots: int = hyper(32, "vectors that the memory holds per class", valid=(1, None))
    voxels: int = hyper(256, "voxels per class and image that are contrasted, and ranked", valid=(1, None))
    width: int = hyper(32, "length of the vectors", valid=(1, None))
    variant: str = variant()


class SSNet(Method):
    """Supervised terms, smoothness under adversarial noise on all images, and separation of classes on either kind."""

    Hyper = Hyper
    memory: Tensor
    filled: Tensor

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        classes, width = task.n_classes, hyper.width
        self.projection = _Layers(1, self.network.decoder_channels, width, width)
        self.prediction = _Layers(1, width, width, width)
        self.attention = _Layers(classes, width, width, 1, slope=_SLOPE)
        self.memory_attention = _Layers(classes, width, width, 1, slope=_SLOPE)
        self.register_buffer("memory", torch.zeros(classes, hyper.slots, width))
        self.register_buffer("filled", torch.zeros(classes, hyper.slots, dtype=torch.bool))

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, label, images = self.hyper, batch.labelled.label, batch.images
        logits, maps = with_last_map(self.network, images)
        (labelled, unlabelled), (known, guessed) = batch.split(logits), batch.split(maps)
        weight = h.weight * ramp_up(clock.progress, h.ramp)
        distance = joint_dice_distance if h.variant == "released" and self.task.ndim == 3 else dice_distance
        smoothness = virtual_adversarial(self.network, images, logits, distance, probe=h.probe, length=h.epsilon)
        with torch.autocast(logits.device.type, enabled=False):
            of_labelled = self._remembered(known, label, most_probable(labelled))
            vectors, exist = self._drawn(guessed, most_probable(unlabelled))
            of_unlabelled = self._separation(self.projection(vectors, exist), exist)
        return supervised_terms(labelled, label, h.dice_share) | {
            "smoothness": weight * smoothness,
            "separation_labelled": weight * h.separation * of_labelled,
            "separation_unlabelled": weight * h.separation * of_unlabelled,
        }

    def _remembered(self, maps: Tensor, label: Tensor, predicted: Tensor) -> Tensor:
        """Renew the memory, then the separation of labelled voxels."""
        least = 1 if self.hyper.variant == "released" else 0
        right = torch.where((label == predicted) & (label >= least), label, IGNORE)
        (vectors, exist), (candidates, there) = self._drawn(maps, label), self._drawn(maps.detach(), right)
        given = torch.cat([vectors, candidates], dim=1), torch.cat([exist, torch.zeros_like(there)], dim=1)
        projected, remembered = self.projection(*given).split([exist.shape[1], there.shape[1]], dim=1)
        self._renew(remembered.detach(), there)
        return self._separation(projected, exist)

    @torch.no_grad()
    def _renew(self, vectors: Tensor, exist: Tensor) -> None:
        """Keep the best of ``vectors`` ``(c, m, width)``; the memory of a class of which none exist stays."""
        rank = self.attention(vectors, exist).squeeze(2) * (-1 if self.hyper.variant == "released" else 1)
        best, index = torch.where(exist, rank, -torch.inf).topk(min(self.hyper.slots, rank.shape[1]), dim=1)
        free, present = self.hyper.slots - best.shape[1], exist.any(dim=1, keepdim=True)
        held = best > -torch.inf
        kept = vectors.gather(1, index.unsqueeze(2).expand(-1, -1, vectors.shape[2])) * held.unsqueeze(2)
        self.memory.copy_(torch.where(present.unsqueeze(2), F.pad(kept, (0, 0, 0, free)), self.memory))
        self.filled.copy_(torch.where(present, F.pad(held, (0, free)), self.filled))

    def _separation(self, projected: Tensor, exist: Tensor) -> Tensor:
        """Mean over classes of that over pairs of a voxel and a remembered vector of 1 - cosine, both weighted."""
        vectors, memory = self.prediction(projected, exist), F.normalize(self.memory, dim=2)
        own = _mean(F.normalize(vectors, dim=2), self.attention(vectors.detach(), exist), exist)
        others = _mean(memory, self.memory_attention(memory, self.filled), self.filled)
        both = exist.any(dim=1) & self.filled.any(dim=1)
        return ((1 - (own * others).sum(dim=1)) * both).mean()  # the mean over pairs is the product of two means

    def _drawn(self, maps: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """``(c, m, channels)`` vectors of random voxels of each class, and which of them exist, ``(c, m)``."""
        score, flat = torch.rand(label.shape, device=label.device).flatten(1), label.flatten(1)
        count = min(self.hyper.voxels, flat.shape[1])
        best = [torch.where(flat == k, score, -1.0).topk(count, dim=1) for k in range(self.task.n_classes)]
        index = torch.cat([each.indices for each in best], dim=1).unsqueeze(1).expand(-1, maps.shape[1], -1)
        vectors = maps.flatten(2).gather(2, index).float().unflatten(2, (-1, count))
        return vectors.permute(2, 0, 3, 1).flatten(1, 2), torch.stack([each.values >= 0 for each in best]).flatten(1)


class _Layers(nn.Module):
    """Linear, batch normalisation by the vectors that count, activation, linear; each of ``groups`` has its own."""

    def __init__(self, groups: int, channels: int, width: int, outputs: int, *, slope: float = 0.0) -> None:
        super().__init__()
        self.slope = slope
        self.first = nn.Parameter(torch.empty(groups, channels, width).uniform_(-1, 1) / channels**0.5)
        self.scale, self.shift = nn.Parameter(torch.ones(groups, 1, width)), nn.Parameter(torch.zeros(groups, 1, width))
        self.second = nn.Parameter(torch.empty(groups, width, outputs).uniform_(-1, 1) / width**0.5)
        self.bias = nn.Parameter(torch.empty(groups, 1, outputs).uniform_(-1, 1) / width**0.5)

    def forward(self, vectors: Tensor, counts: Tensor) -> Tensor:
        """``(c, m, outputs)`` of ``(c, m, channels)``; classes are groups, or all in one. ``counts`` is ``(c, m)``."""
        hidden = vectors.reshape(len(self.first), -1, vectors.shape[2]) @ self.first
        share = counts.reshape(len(hidden), -1, 1).float()
        share = share / share.sum(dim=1, keepdim=True).clamp_min(1)
        hidden = hidden - (share * hidden).sum(dim=1, keepdim=True)
        hidden = hidden * torch.rsqrt((share * hidden.square()).sum(dim=1, keepdim=True) + _EPS)
        hidden = F.leaky_relu(hidden * self.scale + self.shift, self.slope)
        return (hidden @ self.second + self.bias).view(*counts.shape, -1)


def _mean(vectors: Tensor, attention: Tensor, exist: Tensor) -> Tensor:
    """``(c, d)`` means of those of ``(c, m, d)`` that exist, weighted by the sigmoid of ``(c, m, 1)``."""
    weight = torch.sigmoid(attention) * exist.unsqueeze(2).float()
    return (weight * vectors).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-12)
