"""Cross-entropy on the scribbled pixels, and short boundaries of the predicted classes.

Paper: Javanmardi et al., "Unsupervised total variation loss for semi-supervised deep learning of semantic
segmentation", arXiv:1605.01368, names the idea; the length used here is that of the code.
Code: https://github.com/HiLab-git/WSL4MIS/blob/a594da8/code/train_weakly_supervised_pCE_TV_2D.py
Differences: the code calls it total variation; it is a soft contour, a proxy of boundary length. Intended: of the
foreground classes of all samples. Released: the code's slice drops the first sample of the batch instead of the
background channel (of a batch of one nothing is left: NaN there, 0 here). The anisotropic total variation is an option.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.types import Labelled

from ..base import Clock, Terms
from ..family import PartialCE
from ..hyper import HyperBase, hyper, variant
from ..losses.variation import contour_length, total_variation

_LENGTHS = {"contour": contour_length, "variation": total_variation}


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of WSL4MIS."""

    weight: float = hyper(0.01, "weight of the boundary length", valid=(0, None), search=(0.001, 1, "log"))
    length: str = hyper("contour", "contour = mean soft contour; variation = sum over classes", choices=tuple(_LENGTHS))
    variant: str = variant()


class PCETV(PartialCE):
    """Partial cross-entropy and boundary length."""

    Hyper = Hyper

    def regularise(self, logits: Tensor, samples: Labelled, clock: Clock) -> Terms:
        probs = torch.softmax(logits.float(), dim=1)
        counted = probs[1:] if self.hyper.variant == "released" else probs[:, 1:]
        return {"length": self.hyper.weight * _LENGTHS[self.hyper.length](counted)}
