"""Two scribbled images are mixed, with a hole, and the mixture is segmented as the images are.

The mixture is a simplified Puzzle Mix: no parts are moved, and sweeps stand for the graph cut (``methods/puzzle.py``).

Paper: Zhang and Zhuang, "CycleMix: a holistic strategy for medical image segmentation from scribble supervision", CVPR
2022, arXiv:2203.01475. Only its abstract could be read: formulas and weights are the code's.
Code: https://github.com/BWGZK/CycleMix/blob/443fe95/engines.py, constants from the command in its README (235b5da).
Differences: the mixture, see above; the code moves parts of images and not their labels. Intended, cross-entropy is
averaged over the scribbled pixels, as everywhere here; released, over all of them, which makes it lighter by their
share and the consistencies heavier in comparison. In both, mixtures are turned by quarters, one turn a batch, not by
any angle; holes lie within the image; saliency comes from a pass in evaluation mode; the code's occasional constant
added to all images is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch.distributions import Beta

from datasets.types import IGNORE, Batch

from ..base import Clock, Method, Terms
from ..components import largest_components
from ..hyper import HyperBase, hyper, variant
from ..labels import most_probable
from ..losses.cosine import cosine_distance
from ..losses.cross_entropy import cross_entropy
from ..losses.mixed import mixed_cross_entropy
from ..losses.overlap import one_hot
from ..networks.apart import passes
from ..perturb import random_box, random_turn
from ..puzzle import puzzle, saliency


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of the released code."""

    invariance: float = hyper(0.1, "weight of the mixed predictions", valid=(0, None), search=(0.01, 10, "log"))
    integrity: float = hyper(0.1, "weight of the largest components", valid=(0, None), search=(0.01, 10, "log"))
    alpha: float = hyper(0.5, "both parameters of the Beta distribution of the first image's share", valid=(0.01, None))
    smooth: float = hyper(1.2, "weight of neighbouring cells of the mixture", valid=(0, None), search=(0.1, 10, "log"))
    prior: float = hyper(0.2, "weight of the drawn share in the mixture", valid=(0, None))
    hole: float = hyper(32 / 212, "sides of the hole, as a share of the image's", valid=(0, 1), search=(0.1, 0.5))
    variant: str = variant()


class CycleMix(Method):
    """Partial cross-entropy of images and of mixtures, and two consistencies."""

    Hyper = Hyper
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "scribble"

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, image, label = self.hyper, batch.labelled.image, batch.labelled.label
        other = torch.rand(len(image), device=image.device).argsort()
        salient = saliency(self.network, batch.labelled)
        alpha = torch.full((), h.alpha, device=image.device)
        drawn = Beta(alpha, alpha, validate_args=False).sample()
        share = puzzle(salient, salient[other], drawn, smooth=h.smooth, prior=h.prior)
        hole = torch.stack([random_box(image.shape[2:], h.hole, image.device) for _ in image]).unsqueeze(1)
        turn = random_turn(image)
        mixture = turn(torch.lerp(image[other], image, share).masked_fill(hole, 0))
        logits, mixed_logits = passes(self.network, image, mixture)
        probs = torch.softmax(logits.float(), dim=1)
        own, others = turn(torch.stack([label, label[other]], dim=1).masked_fill(hole, IGNORE)).unbind(dim=1)
        terms = {"partial_ce": cross_entropy(logits, label)}
        terms["partial_ce_mixed"], known = mixed_cross_entropy(mixed_logits, own, others, turn(share).squeeze(1))
        if h.variant == "released":
            terms["partial_ce"] = terms["partial_ce"] * (label != IGNORE).float().mean()
            terms["partial_ce_mixed"] = terms["partial_ce_mixed"] * known
        expected = turn(torch.lerp(probs[other], probs, share))
        invariance = cosine_distance(torch.softmax(mixed_logits.float(), dim=1), expected, turn(~hole).squeeze(1))
        whole = one_hot(largest_components(most_probable(probs)), self.task.n_classes)
        integrity = cosine_distance(probs, whole, torch.ones_like(label, dtype=torch.bool))
        return terms | {"invariance": h.invariance * invariance, "integrity": h.integrity * integrity}
