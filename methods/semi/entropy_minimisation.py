"""Predictions on all images, labelled and unlabelled, are made certain: their entropy is minimised.

Paper: Grandvalet and Bengio, "Semi-supervised learning by entropy minimization", NeurIPS 2004; for segmentation Vu et
al., "ADVENT", CVPR 2019, arXiv:1811.12833.
Code: https://github.com/HiLab-git/SSL4MIS/blob/06df604/code/train_entropy_minimization_3D.py
Differences: ADVENT weighs the term by 0.001 without a ramp and minimises it on the target images only; the medical
code, the default here, reaches 0.1 at the end of training and takes all images of the batch. Its logarithm adds 1e-6 to
the probability, here it is exact (less than 1e-5 apart). A large weight early pushes everything to background.
"""

from __future__ import annotations

from dataclasses import dataclass

from datasets.types import Batch

from ..base import Clock, Method, Terms
from ..family import SupervisedHyper, supervised_terms
from ..hyper import hyper
from ..losses.entropy import entropy
from ..schedules import ramp_up


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of SSL4MIS."""

    weight: float = hyper(0.1, "weight of the entropy after the ramp", valid=(0, None), search=(0.001, 1, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))


class EntropyMinimisation(Method):
    """Supervised terms on labelled images and the normalised entropy of all predictions."""

    Hyper = Hyper

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        logits = self.network(batch.images)
        return supervised_terms(batch.split(logits)[0], batch.labelled.label, h.dice_share) | {
            "entropy": h.weight * ramp_up(clock.progress, h.ramp) * entropy(logits)
        }
