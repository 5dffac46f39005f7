"""Cross-entropy on the scribbled pixels; each foreground class shall have little spread of intensity.

Paper: Luo et al., "WORD: a large scale dataset, benchmark and clinical applicable study for abdominal organ
segmentation from CT image", Medical Image Analysis 2022, arXiv:2111.02403.
Code: https://github.com/HiLab-git/WSL4MIS/blob/a594da8/code/train_weakly_supervised_pCE_Inter&Intra_Class_2D.py
Differences: intended, the variance within each foreground class falls, about its own mean; the background, which is not
one tissue, is left out; the means may be pushed apart (off by default). Released: the sign is inverted, so that classes
come closer and spread more, and the products of probability and intensity are not divided by the mass of their class.
The weight is the code's; its ramp ends at step 30 000, where the script's own run ends and half of the 60 000 steps of
the other methods. As a variance in [0, 1] is of the order of 0.01, the weight deserves a search.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.types import Labelled

from ..base import Clock, Terms
from ..family import PartialCE
from ..hyper import HyperBase, hyper, variant
from ..losses.intensity import between_class_variance, spread_difference, within_class_variance
from ..schedules import ramp_up


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of WSL4MIS."""

    weight: float = hyper(0.1, "weight of the variance after the ramp", valid=(0, None), search=(0.1, 100, "log"))
    between: float = hyper(0.0, "reward of variance between the classes' means, in it", valid=(0, None))
    floor: float = hyper(0.001, "share of the pixels at which a class counts by half", valid=(1e-6, 1))
    ramp: float = hyper(0.5, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    variant: str = variant()


class PCEIntensityVariance(PartialCE):
    """Partial cross-entropy and the variance of intensity within classes."""

    Hyper = Hyper

    def regularise(self, logits: Tensor, samples: Labelled, clock: Clock) -> Terms:
        h, probs, image = self.hyper, torch.softmax(logits.float(), dim=1), samples.image
        if h.variant == "released":
            variance = spread_difference(probs, image)
        else:
            variance = within_class_variance(probs, image, floor=h.floor)
            variance = variance - h.between * between_class_variance(probs, image)
        return {"variance": h.weight * ramp_up(clock.progress, h.ramp) * variance}
