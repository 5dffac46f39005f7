"""Cross-entropy on the scribbled pixels; each class shall be of one intensity and have short boundaries.

Paper: Kim and Ye, "Mumford-Shah loss functional for image segmentation with deep learning", IEEE TIP 2020,
arXiv:1904.02872.
Code: https://github.com/HiLab-git/WSL4MIS/blob/a594da8/code/train_weakly_supervised_pCE_MumfordShah_Loss_2D.py
Differences: intended, the roles are those of the paper and the sums are divided by the number of pixels; the weight is
that of the code (1e-6 per summed pixel) for 12 images of 256 x 256. Released: image and prediction have changed places,
which pulls each class towards a constant map, and the sums grow with the batch; it needs images in [0, 1], as without
negative intensities alone it has a minimum. The paper weighs the length by 0.001, the code by 1. Means carry no
gradient in either, as at a minimum they have none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.types import Labelled

from ..base import Clock, Terms
from ..family import PartialCE
from ..hyper import HyperBase, hyper, variant
from ..losses.mumford_shah import mumford_shah, mumford_shah_swapped


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of WSL4MIS."""

    weight: float = hyper(
        0.8, "weight of the functional per pixel", valid=(0, None), search=(0.1, 10, "log"), only="intended"
    )
    smoothness: float = hyper(1.0, "weight of the length in it", valid=(0, None), search=(0.001, 10, "log"))
    released_weight: float = hyper(
        1e-6, "weight of the sum over the batch", valid=(0, None), search=(1e-7, 1e-5, "log"), only="released"
    )
    variant: str = variant()


class PCEMumfordShah(PartialCE):
    """Partial cross-entropy and the Mumford-Shah functional."""

    Hyper = Hyper

    def regularise(self, logits: Tensor, samples: Labelled, clock: Clock) -> Terms:
        h, probs = self.hyper, torch.softmax(logits.float(), dim=1)
        if h.variant == "released":
            term = h.released_weight * mumford_shah_swapped(probs, samples.image, smoothness=h.smoothness)
        else:
            term = h.weight * mumford_shah(probs, samples.image, smoothness=h.smoothness)
        return {"mumford_shah": term}
