"""Where a running average of the network's own predictions is sure, it extends the scribbles.

Paper: Lee and Jeong, "Scribble2Label: scribble-supervised cell segmentation via self-generating pseudo-labels with
consistency", MICCAI 2020, arXiv:2006.12890.
Code: https://github.com/HiLab-git/WSL4MIS/blob/a594da8/code/train_s2l.py (the cardiac port, whose constants these are)
Differences: intended, ``relabel`` predicts in eval mode, as in the original. The average starts at zero and is divided
by its mass, the sum over classes, which matters only for the first refreshes. Besides every ``period`` steps, the maps
are refreshed at 1/8, 1/4 and 1/2 of the first period, so that a short run has some; in a long one these are forgotten
when the warm-up ends. Released: the port predicts slice by slice in training mode, with dropout and the statistics of
one slice, which also enter the running ones; it divides by nothing, and refreshes every ``period`` steps only. In
neither do rotated corners become background, nor are refreshed maps withheld for an epoch, as in the port's loader. The
average is kept in half precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from datasets.types import IGNORE, Labelled

from ..base import Clock, Relabelled, Terms
from ..family import PartialCE
from ..hyper import HyperBase, hyper, variant
from ..losses.cross_entropy import cross_entropy

_EARLY = (8, 4, 2)


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of the cardiac port."""

    weight: float = hyper(0.5, "weight of the pseudo labels", valid=(0, None), search=(0.05, 5, "log"))
    threshold: float = hyper(0.8, "averaged probability above which it is a label", valid=(0.5, 1), search=(0.6, 0.95))
    momentum: float = hyper(0.2, "share of the new prediction in the average", valid=(0.001, 1), search=(0.1, 1.0))
    period: int = hyper(100, "steps between refreshes", valid=(1, None))
    warm_up: float = hyper(0.1, "share of training on scribbles alone", valid=(0, 1), search=(0.05, 0.5))
    variant: str = variant()


class Scribble2Label(PartialCE):
    """Partial cross-entropy on the scribbles and, after the warm-up, on the pseudo labels outside them."""

    Hyper = Hyper
    contract_exceptions: ClassVar[Mapping[str, str]] = {
        "released:check_relabel": "the port predicts with dropout, and its running statistics take part",
    }

    def regularise(self, logits: Tensor, samples: Labelled, clock: Clock) -> Terms:
        beyond = torch.full_like(samples.label, IGNORE)
        if samples.pseudo is not None and clock.progress >= self.hyper.warm_up:
            beyond = torch.where(samples.label == IGNORE, samples.pseudo, beyond)
        return {"pseudo": self.hyper.weight * cross_entropy(logits, beyond)}

    def relabel_at(self, step: int) -> bool:
        period, early = self.hyper.period, () if self.hyper.variant == "released" else _EARLY
        return step > 0 and (step % period == 0 or step in {period // part for part in early})

    def relabel(self, samples: Labelled, memory: Tensor | None) -> Relabelled:
        h, released = self.hyper, self.hyper.variant == "released"
        probs = self._predict_in_training(samples.image) if released else self.predict(samples.image)
        before = torch.zeros_like(probs) if memory is None else memory.float()
        average = torch.lerp(before, probs, h.momentum)
        shares = average if released else average / average.sum(dim=1, keepdim=True)
        confidence, sure = shares.max(dim=1)
        pseudo = torch.where(confidence > h.threshold, sure, IGNORE)
        return Relabelled(torch.where(samples.label == IGNORE, pseudo, samples.label), average.half())

    def _predict_in_training(self, image: Tensor) -> Tensor:
        """Probabilities of one sample at a time, with dropout and batch statistics; eval mode afterwards."""
        self.network.train()
        probs = torch.cat([self.predict(one) for one in image.split(1)])
        self.network.eval()
        return probs
