"""Two teachers take turns to follow the student, each under views of its own, and both say what it should predict.

Paper: Zhao et al., "Alternate diverse teaching for semi-supervised medical image segmentation", ECCV 2024.
Code: https://github.com/ZhenZHAO/AD-MT/blob/8cf8dec/code/train_post_3d_aut.py and train_post_2d_aut.py beside it
Differences: intended and released differ in two slips of the code. Its student's prediction of the plain images is
compared with mixed pseudo labels without being mixed itself, and in 2-D the weights of the two teachers cancel out.
In both variants the teachers are the student after the first step; the code's are, in their turns, for 80 steps, and
start at random. Both run in the student's mode and keep the batch-norm statistics of their own passes; the code has the
resting one in eval mode and averages statistics too. The code jitters volumes by a gain and an offset, here as images.
It blurs images, and adds noise to volumes, as here. Defaults are those of the left atrium; the code's of ACDC are
``ramp: 0.25, period: 50, loss: dice, threshold: 0.95``. Periods count steps, as the teachers' memory does; their most
is half a pass over the unlabelled images in the code. The student is evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Beta

from datasets.types import IGNORE, Batch, Task

from ..base import Build, Clock, Terms, frozen_copy
from ..ema import average_parameters, ema_decay
from ..family import TeacherHyper, TeacherStudent, supervised_terms
from ..hyper import hyper, variant
from ..labels import most_probable
from ..losses.cross_entropy import cross_entropy
from ..losses.overlap import dice_loss
from ..schedules import ramp_up
from ..strong_views import blurred, jittered

# of the strong views and the boxes, as released
_JITTERED, _JITTER = 0.8, 0.5
_FURTHER, _BLUR, _NOISE, _NOISE_CLIP = 0.2, (0.1, 2.0), (0.1, 1.0), 2.0  # the last in standard deviations
_BOX_FROM = 8  # centres of boxes keep this part of a side from its beginning


@dataclass(frozen=True)
class Hyper(TeacherHyper):
    """Defaults of AD-MT on the left atrium."""

    weight: float = hyper(2.0, "weight of pseudo labels after the ramp", valid=(0, None), search=(0.1, 10, "log"))
    ramp: float = hyper(0.4, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    period: int = hyper(19, "most steps that one teacher follows the student for", valid=(1, None), search=(5, 100))
    threshold: float = hyper(0.8, "probability from which a pseudo label counts", valid=(0, 1), search=(0.5, 0.95))
    loss: str = hyper("ce", "how pseudo labels are learnt", choices=("ce", "dice"))
    alpha: float = hyper(4.0, "both parameters of the Beta distribution of the pasted share", valid=(0.01, None))
    variant: str = variant("intended = all is mixed, the surer teacher weighs more; released = the code's slips")


class ADMT(TeacherStudent):
    """Supervised terms, and pseudo labels of both teachers on strong views or on mixtures, by whose turn it is."""

    Hyper = Hyper
    first: Tensor
    left: Tensor

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.teacher2 = frozen_copy(self.network)
        # on the device, so that no step waits to be told whose turn it is
        self.register_buffer("first", torch.tensor(True))  # whether it is the first teacher's
        self.register_buffer("left", torch.randint(1, hyper.period + 1, ()))  # steps left of the turn

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, (_, image) = self.hyper, batch.split(batch.images)
        label, confidence, conflict = self._agreed(self.teach(image), self.teach2(image))
        box = _boxes(len(image), tuple(image.shape[2:]), h.alpha, image.device) & ~self.first
        partner = torch.rand(len(image), device=image.device).argsort()

        def mixed(maps: Tensor) -> Tensor:
            inside = box if maps.ndim == box.ndim else box.unsqueeze(1)
            return torch.where(inside, maps.index_select(0, partner), maps)

        strong = torch.where(self.first, _strong(image), mixed(image))
        plain, logits = self.network(torch.cat([batch.images, strong])).tensor_split([len(batch.images)])
        known, weak = batch.split(plain)
        own = torch.softmax(weak.detach().float(), dim=1)
        own_label, own_confidence = most_probable(own), own.amax(dim=1)
        label, confidence, conflict = mixed(label), mixed(confidence), mixed(conflict)
        if h.variant == "intended":
            own_label, own_confidence = mixed(own_label), mixed(own_confidence)
        better = conflict & (own_label != label) & (own_confidence > confidence)
        sure = torch.where(better, own_confidence, confidence) >= h.threshold
        pseudo = torch.where(sure, torch.where(better, own_label, label), IGNORE)
        learnt = cross_entropy(logits, pseudo) if h.loss == "ce" else dice_loss(logits.float().softmax(dim=1), pseudo)
        return supervised_terms(known, batch.labelled.label, h.dice_share) | {
            "pseudo": h.weight * ramp_up(clock.progress, h.ramp) * learnt
        }

    def after_step(self, clock: Clock) -> None:
        """The teacher whose turn it is follows, at the first step both; then its turn may end."""
        decay = ema_decay(clock.step / 2, self.hyper.ema_limit)  # each teacher follows for half of the steps
        for teacher, turn in ((self.teacher, self.first), (self.teacher2, ~self.first)):
            average_parameters(teacher, self.network, decay if clock.step == 0 else torch.where(turn, decay, 1.0))
        ends = self.left <= 1
        drawn = torch.randint(1, self.hyper.period + 1, (), device=ends.device)
        self.left.copy_(torch.where(ends, drawn, self.left - 1))
        self.first.logical_xor_(ends)

    @torch.no_grad()
    def teach2(self, image: Tensor) -> Tensor:
        """The second teacher's probabilities ``(n, classes, *space)``, without gradient."""
        return torch.softmax(self.teacher2(image).float(), dim=1)

    def other_predictions(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {"teacher": self.teach, "teacher2": self.teach2}

    def _agreed(self, probs: Tensor, probs2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Label, confidence and where the teachers disagree, each ``(n, *space)``; less entropy, more weight."""
        bits, bits2 = (torch.special.entr(one).sum(dim=1, keepdim=True) / math.log(2) for one in (probs, probs2))
        share = torch.sigmoid(bits2 - bits)  # of exp(-bits) in exp(-bits) + exp(-bits2)
        if self.hyper.variant == "released" and self.task.ndim == 2:
            share = torch.full_like(share, 0.5)
        fused = torch.lerp(probs2, probs, share)
        return most_probable(fused), fused.amax(dim=1), most_probable(probs) != most_probable(probs2)


def _strong(image: Tensor) -> Tensor:
    changed = jittered(image, p=_JITTERED, brightness=_JITTER, contrast=_JITTER)
    if image.ndim == 4:
        return blurred(changed, p=_FURTHER, sigma=_BLUR)
    draws = torch.rand(2, len(image), *[1] * (image.ndim - 1), device=image.device)
    std = _NOISE[0] + (_NOISE[1] - _NOISE[0]) * draws[0]
    noise = std * torch.randn_like(image).clamp(-_NOISE_CLIP, _NOISE_CLIP)
    return torch.where(draws[1] < _FURTHER, changed + noise, changed)


def _boxes(n: int, space: tuple[int, ...], alpha: float, device: torch.device) -> Tensor:
    """Booleans ``(n, *space)``: True in one box of each sample, of the same sides, cut off at the borders."""
    shape = torch.full((), alpha, device=device)
    share = (1 - Beta(shape, shape, validate_args=False).sample()).sqrt()  # of a side, in volumes too
    inside = torch.ones((n, *[1] * len(space)), dtype=torch.bool, device=device)
    for axis, side in enumerate(space):
        half = (share * side).floor().div(2, rounding_mode="floor")
        along = torch.arange(side, device=device) - torch.randint(side // _BOX_FROM, side, (n, 1), device=device)
        seen = (along >= -half) & (along < half)
        inside = inside & seen.view(n, *[1] * axis, side, *[1] * (len(space) - axis - 1))
    return inside
