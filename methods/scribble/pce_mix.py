"""Partial cross-entropy of mixtures of two scribbled images, or of images that miss a box, and nothing else.

Paper: mixup, Zhang et al., ICLR 2018, arXiv:1710.09412; Cutout, DeVries and Taylor, arXiv:1708.04552; CutMix, Yun et
al., ICCV 2019, arXiv:1905.04899; Puzzle Mix, Kim et al., ICML 2020, arXiv:2009.06962. On scribbles, CycleMix and
MaskMixAdv compare with all four.
Code: https://github.com/facebookresearch/mixup-cifar10/blob/1fe8c5e/train.py,
https://github.com/clovaai/CutMix-PyTorch/blob/5ee7b8d/train.py, https://github.com/snu-mllab/PuzzleMix/tree/062ccac
and, of holes in scribbles, https://github.com/BWGZK/CycleMix/blob/443fe95/cutout.py.
Differences: those classify images, and a mixture has the shares of its two images. Here every pixel has what its own
two pixels are annotated as, with their shares of it; what is not annotated costs nothing. A hole is black and has no
label, as in CycleMix's code, whose hole is the default. CutMix mixes every batch (its commands: every second one of
CIFAR). Puzzle Mix is without moved parts and graph cut (``methods/puzzle.py``), its saliency that of the scribbles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.distributions import Beta

from datasets.types import IGNORE, Batch, Labelled

from ..base import Clock, Method, Terms
from ..hyper import HyperBase, hyper
from ..losses.cross_entropy import cross_entropy
from ..losses.mixed import mixed_cross_entropy
from ..perturb import cut_boxes
from ..puzzle import puzzle, saliency


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of the released codes."""

    mixing: str = hyper("mixup", "how images are mixed", choices=("mixup", "cutmix", "puzzle", "cutout"))
    alpha: float = hyper(
        1.0, "both parameters of the Beta distribution of an image's share", valid=(0.01, None), search=(0.1, 4, "log")
    )
    hole: float = hyper(32 / 212, "cutout: sides of the hole, as a share of the image's", valid=(0, 1))
    smooth: float = hyper(1.2, "puzzle: weight of neighbouring cells", valid=(0, None))
    prior: float = hyper(0.2, "puzzle: weight of the drawn share", valid=(0, None))


class PceMix(Method):
    """Learns from mixtures alone; images as they are, are seen when they are predicted."""

    Hyper = Hyper
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "scribble"

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        image, label, space = batch.labelled.image, batch.labelled.label, batch.labelled.label.shape[1:]
        if self.hyper.mixing == "cutout":
            hole = cut_boxes(len(image), space, self.hyper.hole, image.device)
            logits = self.network(image.masked_fill(hole.unsqueeze(1), 0))
            return {"partial_ce": cross_entropy(logits, label.masked_fill(hole, IGNORE))}
        other = torch.rand(len(image), device=image.device).argsort()
        share = self._share(batch.labelled, other)
        logits = self.network(torch.lerp(image[other], image, share))
        return {"partial_ce": mixed_cross_entropy(logits, label, label[other], share.squeeze(1))[0]}

    def _share(self, samples: Labelled, other: Tensor) -> Tensor:
        """What every pixel ``(n, 1, *space)`` of the mixtures has of the first image; the draw is one for the batch."""
        h, (n, _, *space) = self.hyper, samples.image.shape
        alpha = torch.full((), h.alpha, device=samples.image.device)
        drawn = Beta(alpha, alpha, validate_args=False).sample()
        if h.mixing == "puzzle":
            salient = saliency(self.network, samples)
            return puzzle(salient, salient[other], drawn, smooth=h.smooth, prior=h.prior)
        if h.mixing == "cutmix":
            box = cut_boxes(1, tuple(space), (1 - drawn) ** (1 / len(space)), drawn.device)
            return (~box).float().unsqueeze(1).expand(n, 1, *space)
        return drawn.expand(n, 1, *space)
