"""Two networks of different labelled halves: features of the same unlabelled place attract, of labelled images repel.

Paper: Lou et al., "Min-max similarity: a contrastive semi-supervised deep learning network for surgical tools
segmentation", IEEE TMI 42(10), 2023, arXiv:2203.15177.
Code: https://github.com/AngeLouCN/Min_Max_Similarity/blob/07571ea/train_mms.py
Differences: intended, as the paper, each network is query and key in turn, agreement has a gradient (its target has
none), heads are trained, features have Euclidean unit length, all pairs of labelled positions repel, and the structure
loss weights its cross-entropy of logits. Released: keys are always the second network's, agreement is a mere number,
heads keep their random weights, features have unit L1 length, a position does not repel its own place, cross-entropy
is unweighted and of probabilities: the second network learns from its labels alone. For K classes the heads take K
logit maps and the structure loss averages the foreground classes. Features are pooled to ``positions`` (the code: 9216
of 512 x 288 pixels). Of the strong augmentation only GridMask is here, on the images that both networks see; the rest
is the plan's. The encoder is the plan's, from scratch unless it says otherwise (the paper's, Res2Net-101 v1b of
ImageNet, is ``encoder:res2net101d@pretrained``). Both networks predict (the paper: one, unsaid).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from datasets.types import IGNORE, Batch, Labelled, Task

from ..base import Build, Clock, Terms
from ..family import DualNetwork
from ..grid_mask import grid_mask
from ..hyper import HyperBase, hyper, variant
from ..losses.overlap import one_hot
from ..losses.pixel_contrast import pooled, position_contrast, repulsion
from ..losses.structure import released_structure, structure_agreement, structure_loss
from ..networks import blocks
from ..networks.apart import passes
from ..networks.fused import Once
from ..views import dual_prediction, two_views

_WIDTH = 8  # channels of a head's first level
_LEVELS_OF_PROJECTOR, _LEVELS_OF_CLASSIFIER = 2, 3


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of the released code."""

    supervised: float = hyper(0.25, "weight of each network's structure loss", valid=(0, None))
    agreement: float = hyper(0.25, "weight of the agreement", valid=(0, None), search=(0.02, 2, "log"))
    contrast: float = hyper(0.25, "weight of the unlabelled contrast", valid=(0, None), search=(0.02, 2, "log"))
    repulsion: float = hyper(0.25, "weight of the labelled repulsion", valid=(0, None), search=(0.02, 2, "log"))
    temperature: float = hyper(0.07, "of both contrasts", valid=(0.01, None), search=(0.03, 1.0, "log"))
    positions: int = hyper(2304, "most positions of a feature map that are compared", valid=(1, None))
    grid: float = hyper(0.8, "probability of GridMask on an unlabelled image", valid=(0, 1), search=(0.0, 1.0))
    share_labels: bool = hyper(False, "both networks learn from both halves of the labels")
    evaluate: str = hyper("mean", "what predicts", choices=("mean", "first", "second"))
    variant: str = variant("intended = symmetric, live and trained; released = the second network only has its labels")


class MinMaxSimilarity(DualNetwork):
    """Structure losses of both networks, their agreement, and two contrasts of dense features of logit maps."""

    Hyper = Hyper
    projector: nn.Module
    projector2: nn.Module
    classifier: nn.Module
    classifier2: nn.Module
    views: ClassVar[int] = 2
    released_inert: ClassVar[Mapping[str, str]] = {"agreement": "the code adds it up as a number"}
    contract_exceptions: ClassVar[Mapping[str, str]] = {
        "released:check_teachers_are_frozen_and_follow": "the heads are in no optimizer of the code and stay random"
    }

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.released = hyper.variant == "released"
        for name, levels in (("projector", _LEVELS_OF_PROJECTOR), ("classifier", _LEVELS_OF_CLASSIFIER)):
            for number in ("", "2"):
                head = _head(task.ndim, task.n_classes, levels).requires_grad_(not self.released)
                self.add_module(name + number, head)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        first, second = two_views(batch.labelled)
        if h.share_labels:
            first, second = batch.labelled, _swapped(batch.labelled)
        image = grid_mask(batch.split(batch.images)[1], h.grid)
        labelled, logits = passes(self.network, first.image, image)
        labelled2, logits2 = passes(self.network2, second.image, image)
        return {
            "structure_1": h.supervised * self._structure(labelled, first.label),
            "structure_2": h.supervised * self._structure(labelled2, second.label),
            "agreement": h.agreement * self._agreement(logits, logits2),
            "contrast": h.contrast * self._contrast(self.projector(logits), self.projector2(logits2)),
            "repulsion": h.repulsion * self._repulsion(self.classifier(labelled), self.classifier2(labelled2)),
        }

    def predict(self, image: Tensor) -> Tensor:
        return dual_prediction(self.network, self.network2, image, self.hyper.evaluate)

    def _structure(self, logits: Tensor, label: Tensor) -> Tensor:
        if self.released:
            mask = one_hot(label, self.task.n_classes)[:, 1:]
            return released_structure(_foreground(logits), mask, (label != IGNORE).unsqueeze(1))
        return structure_loss(logits, label)

    def _agreement(self, logits: Tensor, logits2: Tensor) -> Tensor:
        """Each network follows the other's probabilities."""
        if self.released:
            probs, probs2 = _foreground(logits.detach()), _foreground(logits2.detach())
            known = torch.ones_like(probs[:, :1], dtype=torch.bool)
            return released_structure(probs, probs2, known) + released_structure(probs2, probs, known)
        probs, probs2 = (torch.softmax(one.detach().float(), dim=1) for one in (logits, logits2))
        return structure_agreement(logits, probs2) + structure_agreement(logits2, probs)

    def _contrast(self, features: Tensor, features2: Tensor) -> Tensor:
        query, key = (pooled(one, self.hyper.positions) for one in (features, features2))
        if self.released:
            return position_contrast(query, key, self.hyper.temperature, order=1)
        tau = self.hyper.temperature
        return (position_contrast(query, key, tau) + position_contrast(key, query, tau)) / 2

    def _repulsion(self, features: Tensor, features2: Tensor) -> Tensor:
        query, key = (pooled(one, self.hyper.positions) for one in (features, features2))
        if self.released:
            return repulsion(query, key, self.hyper.temperature, order=1, diagonal=False)
        tau = self.hyper.temperature
        return (repulsion(query, key, tau) + repulsion(key, query, tau)) / 2


def _foreground(logits: Tensor) -> Tensor:
    return torch.softmax(logits.float(), dim=1)[:, 1:]


def _swapped(samples: Labelled) -> Labelled:
    """The second half first, so that the networks' n-th images are still different ones."""
    half = len(samples.image) // 2
    return Labelled(samples.image.roll(half, dims=0), samples.label.roll(half, dims=0))


def _head(ndim: int, channels: int, levels: int) -> nn.Sequential:
    """Convolution, normalisation and halving of the side, ``levels`` times, then a 1x1 convolution."""
    layers: list[nn.Module] = []
    for level in range(levels):
        width = _WIDTH * 2**level
        layers.append(Once(blocks.conv(ndim, channels, width), blocks.batch_norm(ndim, width), nn.ReLU(inplace=True)))
        layers.append(blocks.max_pool(ndim))
        channels = width
    return nn.Sequential(*layers, blocks.conv(ndim, channels, channels, kernel=1))
