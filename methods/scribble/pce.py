"""Cross-entropy on the scribbled pixels and nothing else: the lower bound of scribble supervision.

Paper: Tang et al., "Normalized cut loss for weakly-supervised CNN segmentation", CVPR 2018, arXiv:1804.01346, which
names it the partial cross-entropy.
Code: https://github.com/HiLab-git/WSL4MIS/blob/a594da8/code/train_weakly_supervised_pCE_2D.py
Differences: the code trains at a learning rate of 0.03, its other methods at 0.01; here the plan's rate serves all.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..family import PartialCE
from ..hyper import HyperBase


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Nothing to choose."""


class PCE(PartialCE):
    """Partial cross-entropy."""

    Hyper = Hyper
