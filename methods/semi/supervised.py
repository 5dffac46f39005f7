"""Dense labels only: the lower bound at few labels, the upper bound at all of them.

Paper: Milletari et al., "V-Net", 3DV 2016, arXiv:1606.04797 (the Dice loss with squared denominators).
Code: https://github.com/HiLab-git/SSL4MIS/blob/06df604/code/train_fully_supervised_3D.py, ½ (cross-entropy + Dice);
WSL4MIS's full supervision is the same.
Differences: none. Published lower bounds differ in batch and steps; here both are the plan's, equal for all methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from datasets.types import Batch

from ..base import Clock, Method, Terms
from ..family import SupervisedHyper, supervised_terms


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Nothing beyond the supervised loss."""


class Supervised(Method):
    """Cross-entropy and Dice; unlabelled images are not looked at, not even by batch normalisation."""

    Hyper = Hyper
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "full"

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        logits = self.network(batch.labelled.image)
        return supervised_terms(logits, batch.labelled.label, self.hyper.dice_share)
