"""Scribbled images are mixed, and pixels that neighbours hold least to a class, beyond its share, are not of it.

Paper: Zhang, Wang, Zhou and Zhuang, "ZScribbleSeg: a comprehensive segmentation framework with modeling of efficient
annotation and maximization of scribble supervision", Medical Image Analysis 2026, arXiv:2605.06266 (first version:
arXiv:2301.04882). Only its abstract could be read: formulas and constants are those that its second author restates in
https://github.com/DLwbm123/phd-thesis/blob/120b2ff/chapters/ch05_scribble_samcl.tex
Code: https://github.com/DLwbm123/ZScribbleSeg/blob/a648f3d/engines.py, constants there and in main.py (7919e9f).
Differences: intended as restated there, and as its code where that is silent. Images are mixed in pairs, both ways
round, and only one of the two mixtures has labels; similarity is that of whole maps without their holes; shares are
estimated among unlabelled pixels, from the class frequencies of all labels learnt from, mixtures' and holes' included
(without these, more classes' shares shrink to 0); each excluded class is judged by itself, and the sum is averaged over
all pixels; whole shapes are of every class, background included, as in the code. Released: each image leads a mixture,
turned by quarters, similar pixel by pixel, its cross-entropy averaged over all pixels; shares are those among scribbled
pixels, the background's too; excluded classes are judged together.
In both, mixtures are without moved parts and graph cut and of up to 16 cells a side (``methods/puzzle.py``), where the
code has 2 or 4; a hole is background, as the paper says; shares are estimated from the training pass, in a fixed number
of rounds; a class without scribbles excludes nothing; parts that touch by a corner are one; the code's occasional
constant added to all images is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Beta

from datasets.types import IGNORE, Batch, Labelled

from ..base import Clock, Method, Terms
from ..components import largest_components
from ..hyper import HyperBase, hyper, variant
from ..labels import most_probable
from ..losses.cosine import cosine_distance
from ..losses.cross_entropy import cross_entropy
from ..losses.mixed import mixed_cross_entropy
from ..losses.proportions import beyond_share, class_shares, marginal_loss
from ..losses.spatial_prior import exclusion_loss, spatial_energy
from ..networks.apart import passes
from ..perturb import random_box, random_turn
from ..puzzle import puzzle, saliency

_BACKGROUND = 0


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of the paper: 100 of 1000 epochs without the spatial prior, holes of 32 of 212 pixels."""

    consistency: float = hyper(0.05, "weight of the mixed predictions", valid=(0, None), search=(0.01, 1, "log"))
    spatial: float = hyper(1.0, "weight of the spatial prior", valid=(0, None), search=(0.1, 10, "log"))
    shape: float = hyper(1.0, "weight of the largest components", valid=(0, None), search=(0.01, 10, "log"))
    warm_up: float = hyper(
        100 / 1000, "share of training without the spatial prior", valid=(0, 1), search=(0.0, 0.5), only="intended"
    )
    released_warm_up: float = hyper(
        60 / 6000, "share of training without the spatial prior", valid=(0, 1), search=(0.0, 0.5), only="released"
    )
    radius: int = hyper(5, "neighbours up to this many pixels away along each axis", valid=(1, 50), only="intended")
    released_radius: int = hyper(
        8, "neighbours up to this many pixels away along each axis", valid=(1, 50), only="released"
    )
    sigma_xy: float = hyper(6.0, "scale of distance, in pixels", valid=(0.3, None), search=(1, 20, "log"))
    sigma_intensity: float = hyper(0.1, "scale of contrast", valid=(0.001, None), search=(0.02, 0.5, "log"))
    rounds: int = hyper(20, "rounds of expectation and maximisation", valid=(1, None))
    alpha: float = hyper(0.5, "both parameters of the Beta distribution of the first image's share", valid=(0.01, None))
    smooth: float = hyper(1.2, "weight of neighbouring cells of the mixture", valid=(0, None), search=(0.1, 10, "log"))
    prior: float = hyper(0.2, "weight of the drawn share in the mixture", valid=(0, None))
    hole: float = hyper(32 / 212, "sides of the hole, as a share of the image's", valid=(0, 1), search=(0.1, 0.5))
    variant: str = variant()


class ZScribbleSeg(Method):
    """Partial cross-entropy of images and of mixtures, their consistency, the spatial prior and whole shapes."""

    Hyper = Hyper
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "scribble"

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, image, label = self.hyper, batch.labelled.image, batch.labelled.label
        released = h.variant == "released"
        first, second, share, hole = self._mixing(batch.labelled)
        turn: Callable[[Tensor], Tensor] = random_turn(image) if released else nn.Identity()

        def mixed(maps: Tensor) -> Tensor:
            return turn(torch.lerp(maps[second], maps[first], share).masked_fill(hole, 0))

        logits, mixed_logits = passes(self.network, image, mixed(image))
        probs, mixed_probs = (torch.softmax(z.float(), dim=1) for z in (logits, mixed_logits))
        once = len(first) if released else len(first) // 2
        labels = torch.stack([label[first], label[second]], dim=1).masked_fill(hole, _BACKGROUND)[:once]
        own, others = turn(labels).unbind(dim=1)
        ce, known = mixed_cross_entropy(mixed_logits[:once], own, others, turn(share)[:once].squeeze(1))
        seen = turn(~hole)
        if released:
            distance = cosine_distance(mixed(probs), mixed_probs, seen.squeeze(1))
        else:
            flat, mixed_flat = (maps.flatten(1).unsqueeze(2) for maps in (mixed(probs), mixed_probs * seen))
            distance = cosine_distance(flat, mixed_flat, torch.ones_like(flat[:, 0], dtype=torch.bool))
        active = float(clock.progress >= (h.released_warm_up if released else h.warm_up))
        whole = torch.where(label == IGNORE, largest_components(most_probable(probs)), IGNORE)
        return {
            "partial_ce": cross_entropy(logits, label),
            "partial_ce_mixed": ce * known if released else ce,
            "consistency": h.consistency * distance,
            "spatial": h.spatial * active * self._spatial(logits, probs, batch.labelled, labels),
            "shape": h.shape * cross_entropy(logits, whole),
        }

    def _mixing(self, samples: Labelled) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Which images make which mixture, the first's share of its pixels ``(m, 1, *space)``, and holes alike.

        Intended, the mixtures that have no labels come last: the same pairs, shares and holes, the other way round.
        """
        h, (n, _, *space) = self.hyper, samples.image.shape
        order = torch.rand(n, device=samples.image.device).argsort()
        once = n if h.variant == "released" else n - n // 2
        first, second = order[:once], order.flip(0)[:once]
        salient = saliency(self.network, samples)
        alpha = torch.full((), h.alpha, device=order.device)
        drawn = Beta(alpha, alpha, validate_args=False).sample()
        share = puzzle(salient[first], salient[second], drawn, smooth=h.smooth, prior=h.prior)
        hole = torch.stack([random_box(tuple(space), h.hole, order.device) for _ in range(once)]).unsqueeze(1)
        if h.variant == "released":
            return first, second, share, hole
        pairs = torch.cat([first, second]), torch.cat([second, first])
        return *pairs, torch.cat([share, share]), torch.cat([hole, hole])

    def _spatial(self, logits: Tensor, probs: Tensor, samples: Labelled, mixed_labels: Tensor) -> Tensor:
        """The loss of the classes that unlabelled pixels are not of, by rank among them and the classes' shares."""
        h, unlabelled = self.hyper, samples.label == IGNORE
        released = h.variant == "released"
        learnt = samples.label if released else torch.cat([samples.label.flatten(), mixed_labels.flatten()])
        share = class_shares(probs, learnt, ~unlabelled if released else unlabelled, h.rounds)
        radius = h.released_radius if released else h.radius
        kernel = {"radius": radius, "sigma_xy": h.sigma_xy, "sigma_intensity": h.sigma_intensity}
        energy = spatial_energy(probs, samples.image, **kernel)
        if not released:
            return exclusion_loss(logits, beyond_share(energy, share, unlabelled))
        # a channel in front, which is spared as the background is, so that the background is not
        energy, share = torch.cat([energy[:, :1], energy], dim=1), torch.cat([share[:1], share])
        excluded = beyond_share(energy, share, unlabelled)[:, 1:]
        excluded = excluded & ~excluded.all(dim=1, keepdim=True)
        return marginal_loss(logits, excluded) * excluded.any(dim=1).float().mean()
