"""Cross-entropy on the scribbled pixels; neighbours of like intensity shall be of one class.

Paper: Obukhov et al., "Gated CRF loss for weakly supervised semantic image segmentation", arXiv:1906.04651.
Code: https://github.com/HiLab-git/WSL4MIS/blob/a594da8/code/train_weakly_supervised_pCE_GatedCRFLoss_2D.py
Differences: one kernel and none of the paper's gates, as the code. Intended: neighbours outside the image do not count.
Released: they are black pixels in the first corner, which adds a constant to the loss and nothing to its gradient, so
both learn the same. The loss is computed offset by offset with an explicit gradient, where the code unfolds 121 copies
of the probabilities. The scale of contrast supposes images in [0, 1]. In 3-D a window has 1330 neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.types import Labelled

from ..base import Clock, Terms
from ..family import PartialCE
from ..hyper import HyperBase, hyper, variant
from ..losses.crf import gated_crf, padding_constant


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of WSL4MIS."""

    weight: float = hyper(0.1, "weight of the CRF", valid=(0, None), search=(0.001, 1, "log"))
    radius: int = hyper(5, "neighbours up to this many pixels away along each axis", valid=(1, 50))
    sigma_xy: float = hyper(6.0, "scale of distance, in pixels", valid=(0.01, None), search=(1, 20, "log"))
    sigma_intensity: float = hyper(0.1, "scale of contrast", valid=(0.001, None), search=(0.02, 0.5, "log"))
    variant: str = variant()


class PCEGatedCRF(PartialCE):
    """Partial cross-entropy and the pairwise term of a CRF."""

    Hyper = Hyper

    def regularise(self, logits: Tensor, samples: Labelled, clock: Clock) -> Terms:
        h = self.hyper
        kernel = {"radius": h.radius, "sigma_xy": h.sigma_xy, "sigma_intensity": h.sigma_intensity}
        crf = gated_crf(torch.softmax(logits.float(), dim=1), samples.image, **kernel)
        if h.variant == "released":
            crf = crf + padding_constant(samples.image, **kernel)
        return {"crf": h.weight * crf}
