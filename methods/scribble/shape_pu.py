"""Pixels beyond a class's estimated share are not of it, and a cut and turned image is segmented like the whole one.

Paper: Zhang and Zhuang, "ShapePU: a new PU learning framework regularized by global consistency for scribble supervised
cardiac segmentation", MICCAI 2022, arXiv:2206.02118. Only its abstract could be read: formulas and weights are the
code's.
Code: https://github.com/BWGZK/ShapePU/blob/0283c3a/engine.py; another version of that file adds the consistency.
Differences: the abstract estimates shares among unlabelled pixels, the code among annotated ones, where they stay near
the scribbles' own. That is the default (``shares: annotated``): among unlabelled pixels the network's probabilities,
once classes were excluded, have been corrected already; they are corrected again at every step, until small classes
vanish. Intended, what is cut out is unlabelled. Released: it is labelled background, and every sample is compared with
the first one alone. In both, images are turned by quarters, one turn a batch, not by any angle and flipped, and holes
lie within the image; shares are estimated from the training pass, not one in evaluation mode, in a fixed number of
rounds; a class without scribbles in the batch excludes nothing (the code fails or skips it all).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from datasets.types import IGNORE, Batch

from ..base import Clock, Method, Terms
from ..hyper import HyperBase, hyper, variant
from ..losses.cosine import cosine_distance
from ..losses.cross_entropy import cross_entropy
from ..losses.proportions import beyond_share, class_shares, marginal_loss
from ..networks.apart import passes
from ..perturb import random_box, random_turn

_BACKGROUND = 0


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of the released code: 100 of 4000 epochs on scribbles alone, holes of 32 of 212 pixels."""

    exclusion: float = hyper(1.0, "weight of the excluded classes", valid=(0, None), search=(0.1, 10, "log"))
    consistency: float = hyper(0.05, "weight of the consistency", valid=(0, None), search=(0.01, 1, "log"))
    warm_up: float = hyper(100 / 4000, "share of training that excludes nothing", valid=(0, 1), search=(0.0, 0.5))
    hole: float = hyper(32 / 212, "sides of the hole, as a share of the image's", valid=(0, 1), search=(0.1, 0.5))
    shares: str = hyper(
        "annotated", "pixels whose shares of the classes are estimated", choices=("annotated", "unlabelled")
    )
    rounds: int = hyper(20, "rounds of expectation and maximisation", valid=(1, None))
    variant: str = variant()


class ShapePU(Method):
    """Partial cross-entropy of both images, the loss of excluded classes, and consistency."""

    Hyper = Hyper
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "scribble"

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, image, label = self.hyper, batch.labelled.image, batch.labelled.label
        released = h.variant == "released"
        turn = random_turn(image)
        hole = torch.stack([random_box(image.shape[2:], h.hole, image.device) for _ in image])
        cut_label = label.masked_fill(hole, _BACKGROUND if released else IGNORE)
        cut_label = turn(cut_label.unsqueeze(1)).squeeze(1)
        logits, cut_logits = passes(self.network, image, turn(image.masked_fill(hole.unsqueeze(1), 0)))
        probs, cut_probs = (torch.softmax(z.float(), dim=1) for z in (logits, cut_logits))
        if released:
            cut_probs = cut_probs[:1].expand_as(probs)
        visible = turn(~hole.unsqueeze(1)).squeeze(1)
        active = float(clock.progress >= h.warm_up)
        return {
            "partial_ce": cross_entropy(logits, label),
            "partial_ce_cut": cross_entropy(cut_logits, cut_label),
            "exclusion": h.exclusion * active * self._excluded(logits, probs, label),
            "consistency": h.consistency * cosine_distance(turn(probs), cut_probs, visible),
        }

    def _excluded(self, logits: Tensor, probs: Tensor, label: Tensor) -> Tensor:
        """The loss of the classes that the estimated shares leave no room for, at unlabelled pixels."""
        unlabelled = label == IGNORE
        among = ~unlabelled if self.hyper.shares == "annotated" else unlabelled
        share = class_shares(probs, label, among, self.hyper.rounds)
        return marginal_loss(logits, beyond_share(probs, share, unlabelled))
