"""Two decoders learn from a soft mixture of their predictions, and then from scribbles that their sure pixels extend.

Paper: Han et al., "DMSPS: Dynamically mixed soft pseudo-label supervision for scribble-supervised medical image
segmentation", Medical Image Analysis 2024. Only its abstract could be read: formulas and constants are the code's.
Code: https://github.com/HiLab-git/DMSPS/blob/689b5df/code/train/A_train_weaklySup_SPS_2d_soft.py, and for the second
stage https://github.com/HiLab-git/DMSPS/blob/bf42e88/code/test/test_2d_forall_fast_txtver_forTrainSetUncertaintyOnly_Mean.py
Differences: intended, the mixture is compared with the branches' predictions, and pixels that are not sure stay
unlabelled, as in the authors' port (pymic 0.5.4 on PyPI, net_run/weak_sup/wsl_dmsps.py, where their README sends one).
Released: that comparison takes the softmax twice, as the port does, too, which sharpens all predictions; and pixels
that are not sure are background. In both, the stages are shares of one run: the second goes on with the last weights of
the first, its optimizer and its learning rate, where the code loads the best weights and starts the others anew.
Scribbles are kept, and components touch by corners too. Left out are the share in [0.1, 1.1] by which the code's second
stage in 2-D mixes, and the port's ramp over 100 steps. The main decoder predicts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from datasets.types import IGNORE, Batch, Labelled, Task

from ..base import Build, Clock, Method, Relabelled, Terms
from ..components import largest_components
from ..hyper import HyperBase, hyper, variant
from ..labels import most_probable
from ..losses.agreement import soft_cross_entropy
from ..losses.cross_entropy import cross_entropy
from ..perturb import drop_channels

_ASKED_EVERY = 16  # steps between looks at a number on a GPU, so that the host does not wait for it in each


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of the released code for ACDC."""

    weight: float = hyper(8.0, "weight of the soft pseudo labels", valid=(0, None), search=(0.5, 16, "log"))
    channel_dropout: float = hyper(
        0.5, "share of encoder channels that the auxiliary decoder does not see", valid=(0, 0.99), search=(0.1, 0.7)
    )
    second_stage: float = hyper(
        0.5, "share of training after which scribbles are extended; 1 = never", valid=(0, 1), search=(0.25, 0.75)
    )
    uncertainty: float = hyper(
        0.1, "share of the largest entropy below which a pixel is sure", valid=(0, 1), search=(0.02, 0.5, "log")
    )
    variant: str = variant()


class DMSPS(Method):
    """Partial cross-entropy of both branches, on more pixels later, and cross-entropy with their soft mixture."""

    Hyper = Hyper
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "scribble"
    contract_exceptions: ClassVar[Mapping[str, str]] = {
        "released:check_learns": "after half of so few steps most pixels are unsure, and become background",
    }

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.auxiliary = self.network.new_decoder()
        self.due: Tensor  # whether the scribbles are to be extended before the next step
        self.register_buffer("due", torch.ones((), dtype=torch.bool))

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, samples = self.hyper, batch.labelled
        self.due.fill_(samples.pseudo is None and clock.progress >= h.second_stage)
        label = samples.label if samples.pseudo is None else samples.pseudo
        branches = self._branches(samples.image)
        probs = [torch.softmax(logits.float(), dim=1) for logits in branches]
        mixture = torch.rand((), device=label.device)  # one number per step
        target = torch.lerp(probs[1].detach(), probs[0].detach(), mixture)
        compared = probs if h.variant == "released" else branches
        return {
            "partial_ce": sum(cross_entropy(logits, label) for logits in branches) / 2,
            "pseudo": h.weight * sum(soft_cross_entropy(one, target) for one in compared) / 2,
        }

    def relabel_at(self, step: int) -> bool:
        if step == 0 or (self.due.is_cuda and step % _ASKED_EVERY):
            return False
        return bool(self.due)

    def relabel(self, samples: Labelled, memory: Tensor | None) -> Relabelled:
        h = self.hyper
        main, auxiliary = (torch.softmax(logits.float(), dim=1) for logits in self._branches(samples.image))
        mean = (main + auxiliary) / 2
        sure = torch.special.entr(mean).sum(dim=1) < h.uncertainty * math.log(self.task.n_classes)
        if h.variant == "released":
            extended = largest_components(torch.where(sure, most_probable(mean), 0))
        else:  # background is a class like the others here, and no class is 0
            kept = largest_components(torch.where(sure, most_probable(mean) + 1, 0))
            extended = torch.where(kept > 0, kept - 1, IGNORE)
        return Relabelled(torch.where(samples.label == IGNORE, extended, samples.label))

    def _branches(self, image: Tensor) -> list[Tensor]:
        """Logits of both decoders; of the auxiliary one, without some channels while training."""
        features = self.network.encode(image)
        dropped = drop_channels(features, self.hyper.channel_dropout, self.training)
        return [self.network.head(self.network.decode(features)), self.auxiliary(dropped)]
