"""Two decoders agree on labelled images and on unlabelled ones mixed with them, under a teacher's pseudo labels.

Paper: Chen et al., "Dual-decoder consistency via pseudo-labels guided data augmentation for semi-supervised medical
image segmentation", 2023, arXiv:2308.16573.
Code: https://github.com/BinYCn/DCPA/blob/44b5fac/code/train_3d.py
Differences: of the paper only the code's repository could be read. As there, the pseudo label is the class that the
teacher finds most probable over the mean of noisy copies; a copy is mixed with a labelled image, and keeps at least
half, but its target stays the pseudo label alone; the mean of both decoders' logits is supervised, and predicts. The
teacher follows from the first step, without warm-up. Every weight shrinks after a step by 0.02 of the learning rate,
here the scheduled one; the code's is constant. (It shrinks the running statistics of batch normalisation too, by 0.2 %
in the end: taken for a slip.) Sharpening is as in ``mc_net``. On ACDC the code's consistency has weight 0.1, ramp 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Beta
from torch.optim import Optimizer

from datasets.types import Batch, Task

from ..base import MAIN, Build, Clock, Terms, frozen_copy
from ..decoders import decoders_upsampled_otherwise, every_logits, mutual_consistency
from ..ema import average_parameters
from ..family import TeacherHyper, TeacherStudent, supervised_terms
from ..hyper import hyper
from ..losses.overlap import dice_loss
from ..perturb import noisy
from ..schedules import ramp_up


@dataclass(frozen=True)
class Hyper(TeacherHyper):
    """Defaults of DCPA on the left atrium."""

    weight: float = hyper(1.0, "weight of consistency after the ramp", valid=(0, None), search=(0.05, 10, "log"))
    ramp: float = hyper(0.4, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    pseudo: float = hyper(1.0, "weight of Dice on pseudo labels", valid=(0, None), search=(0.05, 4, "log"))
    temperature: float = hyper(0.1, "of the sharpening; 1 = none", valid=(0.01, 1), search=(0.05, 1.0, "log"))
    copies: int = hyper(2, "noisy copies of each unlabelled image", valid=(1, None))
    alpha: float = hyper(0.75, "both parameters of the Beta distribution of the share", valid=(0.01, None))
    decay: float = hyper(0.02, "beside the plan's: what a weight loses at a step, over the learning rate", valid=(0, 1))


class DCPA(TeacherStudent):
    """Supervised terms of the mean of two decoders, Dice on pseudo labels of mixed images, and mutual consistency."""

    Hyper = Hyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.decoders = decoders_upsampled_otherwise(self.network, 1)
        self.teacher_decoders = frozen_copy(self.decoders)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        known, image = batch.split(batch.images)
        copies = noisy(torch.cat([image] * h.copies), 0.1, 0.2)
        target = self.teach(copies).unflatten(0, (h.copies, -1)).mean(dim=0).argmax(dim=1)
        noisy_known = noisy(known, 0.1, 0.2)
        images = torch.cat([known, noisy_known, self._mixed(copies, noisy_known)])
        logits = every_logits(self.network, self.decoders, images)
        labelled, mixed = _mean(logits).tensor_split([2 * len(known)])
        probs = [torch.softmax(one.float(), dim=1) for one in logits]
        consistency = mutual_consistency(logits, probs, h.temperature)
        return supervised_terms(labelled, torch.cat([batch.labelled.label] * 2), h.dice_share) | {
            "pseudo": h.pseudo * dice_loss(torch.softmax(mixed, dim=1), torch.cat([target] * h.copies)),
            "consistency": h.weight * ramp_up(clock.progress, h.ramp) * consistency,
        }

    def _mixed(self, copies: Tensor, known: Tensor) -> Tensor:
        """Each copy with a share, of at most half, of a labelled image; partners are as even as numbers allow."""
        partners = known[torch.rand(len(copies), device=copies.device).argsort() % len(known)]
        alpha = torch.full((len(copies), *[1] * (copies.ndim - 1)), self.hyper.alpha, device=copies.device)
        share = Beta(alpha, alpha, validate_args=False).sample()
        return torch.lerp(partners, copies, torch.maximum(share, 1 - share))

    def predict(self, image: Tensor) -> Tensor:
        return torch.softmax(_mean(every_logits(self.network, self.decoders, image)), dim=1)

    @torch.no_grad()
    def teach(self, image: Tensor) -> Tensor:
        return torch.softmax(_mean(every_logits(self.teacher, self.teacher_decoders, image)), dim=1)

    def after_step(self, clock: Clock) -> None:
        average_parameters(self.teacher, self.network, self.hyper.ema_limit)
        average_parameters(self.teacher_decoders, self.decoders, self.hyper.ema_limit)

    def optimizers(self, base: Callable[[Iterable[nn.Parameter]], Optimizer]) -> Mapping[str, Optimizer]:
        players = super().optimizers(base)
        players[MAIN].register_step_post_hook(self._shrink)
        return players

    @torch.no_grad()
    def _shrink(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            torch._foreach_mul_(group["params"], 1 - self.hyper.decay * group["lr"])


def _mean(logits: list[Tensor]) -> Tensor:
    first, second = logits
    return (first.float() + second.float()) / 2
