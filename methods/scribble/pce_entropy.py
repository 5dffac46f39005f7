"""Cross-entropy on the scribbled pixels, and confident predictions everywhere.

Paper: Grandvalet and Bengio, "Semi-supervised learning by entropy minimization", NeurIPS 2004.
Code: https://github.com/HiLab-git/WSL4MIS/blob/a594da8/code/train_weakly_supervised_pCE_Entropy_Mini_2D.py
Differences: none that changes what is learnt: the entropy, over its maximum, of all pixels (the scribbled ones too)
with a constant weight. The code adds 1e-6 inside the logarithm; here it is a log-softmax. A ramp is an option, off by
default.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from datasets.types import Labelled

from ..base import Clock, Terms
from ..family import PartialCE
from ..hyper import HyperBase, hyper
from ..losses.entropy import entropy
from ..schedules import ramp_up


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of WSL4MIS."""

    weight: float = hyper(0.1, "weight of the entropy", valid=(0, None), search=(0.01, 1, "log"))
    ramp: float = hyper(0.0, "share of training over which the weight ramps up; 0 = constant", valid=(0, 1))


class PCEEntropy(PartialCE):
    """Partial cross-entropy and normalised entropy."""

    Hyper = Hyper

    def regularise(self, logits: Tensor, samples: Labelled, clock: Clock) -> Terms:
        return {"entropy": self.hyper.weight * ramp_up(clock.progress, self.hyper.ramp) * entropy(logits)}
