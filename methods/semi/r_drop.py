"""Two passes of one network under different dropout agree on unlabelled images.

Paper: Liang et al., "R-Drop: regularized dropout for neural networks", NeurIPS 2021, arXiv:2106.14448.
Code: https://github.com/HiLab-git/SSL4MIS/blob/06df604/code/train_regularized_dropout_3D.py
Differences: the paper's two predictions are of the same network under two dropout masks, and diverge over classes. The
medical code trains two networks and takes the softmax along the last spatial axis; ``variant: released`` does both.
Both take the code's weight, 4 after a ramp over all of training, its mean over classes, and unlabelled images only. A
network without dropout, whose two passes are equal, is refused. The first network predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.nn.modules.dropout import _DropoutNd

from datasets.types import Batch, Task

from ..base import Build, Clock, Method, Terms
from ..family import SupervisedHyper, supervised_terms
from ..hyper import hyper, variant
from ..losses.consistency import symmetric_divergence
from ..schedules import ramp_up

_CLASSES, _LAST = 1, -1  # axes


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of SSL4MIS, on the paper's two passes."""

    weight: float = hyper(4.0, "weight of the divergence after the ramp", valid=(0, None), search=(0.1, 10, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    variant: str = variant("intended = one network twice, over classes; released = two networks, over the last axis")


class RDrop(Method):
    """Supervised terms of both predictions of the labelled images, and their divergence on unlabelled ones."""

    Hyper = Hyper
    contract_exceptions: ClassVar[Mapping[str, str]] = {
        "check_uses_unlabelled_images": "two passes differ by dropout alone, and the check is in evaluation mode"
    }

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        if hyper.variant == "released":
            self.network2 = build()
        elif not any(isinstance(layer, _DropoutNd) and layer.p > 0 for layer in self.network.modules()):
            raise ValueError(
                "r_drop compares two passes under different dropout, and this network has none: give it some (vnet's "
                "option dropout), take unet, or set variant: released, which compares two networks"
            )

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, label = self.hyper, batch.labelled.label
        released = h.variant == "released"
        second = self.network2 if released else self.network
        (labelled1, one), (labelled2, other) = (batch.split(net(batch.images)) for net in (self.network, second))
        both = [supervised_terms(logits, label, h.dice_share) for logits in (labelled1, labelled2)]
        share = 1 if released else 2  # two networks have a supervised loss each, two passes of one share it
        divergence = symmetric_divergence(one, other, axis=_LAST if released else _CLASSES)
        return {
            "ce": torch.stack([terms["ce"] for terms in both]).sum() / share,
            "dice": torch.stack([terms["dice"] for terms in both]).sum() / share,
            "divergence": h.weight * ramp_up(clock.progress, h.ramp) * divergence,
        }
