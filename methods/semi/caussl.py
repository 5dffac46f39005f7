"""Two networks learn from each other's pseudo labels, and their filters from not being mixtures of the other's.

Paper: Miao et al., "CauSSL: causality-inspired semi-supervised learning for medical image segmentation", ICCV 2023.
Code: https://github.com/JuzhengMiao/CauSSL/blob/ab0f86d/train_CT_CPSCauSSL.py
Differences: only the paper's abstract and the code could be read. Dice is the mean over all classes, background
included; the code's is that of the foreground. This is the form on cross pseudo supervision. The code seeks the
coefficients that mix one network's filters into the other's 60 steps at a time before every 60th step; here one before
each, which are as many. They are sought from the start, and pseudo labels count from the start, when their weight is
next to nothing (the code: from 10 % and 8 % of training). Layers of as many filters as a filter has numbers, of which
the code's V-Net has none, do not count. The ramp lasts longer than training, as in the code. Both networks step with
one optimizer, which is the same step. The code tests both networks; the first predicts, the second is scored beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from datasets.types import Batch, Task

from ..base import MAIN, Build, Clock, Descend, Terms
from ..family import DualNetwork, SupervisedHyper, supervised_terms
from ..hyper import hyper
from ..labels import most_probable
from ..losses.cross_entropy import cross_entropy
from ..losses.dependence import Products, filters, linear_dependence, products
from ..schedules import ramp_up
from ..views import dual_prediction

MIXING = "mixing"
_STD = 1e-3  # of the coefficients at first, as released


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of CauSSL on Pancreas-CT: 0.1 * 0.3; 40 * 150 and 500 of 5000 steps."""

    weight: float = hyper(0.03, "weight of the pseudo labels after the ramp", valid=(0, None), search=(0.003, 3, "log"))
    ramp: float = hyper(1.2, "length of their ramp, in trainings", valid=(0, None), search=(0.1, 1.2))
    dependence: float = hyper(3.0, "weight of the dependence", valid=(0, None), search=(0.1, 30, "log"))
    start: float = hyper(0.1, "share of training before dependence counts", valid=(0, 1))
    mixing_lr: float = hyper(0.02, "learning rate of the coefficients", valid=(0, None), search=(0.002, 0.2, "log"))


class CauSSL(DualNetwork):
    """Supervised terms, cross pseudo labels, and the dependence of either network's filters; two players."""

    Hyper = Hyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        sizes = [len(layer) for layer in filters(self.network)]
        self.mixing, self.mixing2 = (
            nn.ParameterList(nn.Parameter(_STD * torch.randn(n, n)) for n in sizes) for _ in range(2)
        )

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        return self._losses(batch, clock, *self._filters())

    def _losses(self, batch: Batch, clock: Clock, own: list[Tensor], own2: list[Tensor], known: Products) -> Terms:
        h, label = self.hyper, batch.labelled.label
        labelled, unlabelled = batch.split(self.network(batch.images))
        labelled2, unlabelled2 = batch.split(self.network2(batch.images))
        terms1 = supervised_terms(labelled, label, h.dice_share)
        terms2 = supervised_terms(labelled2, label, h.dice_share)
        weight = h.weight * ramp_up(clock.progress, h.ramp)
        dependence = h.dependence if clock.progress >= h.start else 0.0
        mixing, mixing2 = _fixed(self.mixing), _fixed(self.mixing2)
        return {
            **{f"{name}_1": term for name, term in terms1.items()},
            **{f"{name}_2": term for name, term in terms2.items()},
            "pseudo_1": weight * cross_entropy(unlabelled, most_probable(unlabelled2)),
            "pseudo_2": weight * cross_entropy(unlabelled2, most_probable(unlabelled)),
            "dependence_1": dependence * linear_dependence(own, _fixed(own2), mixing, known),
            "dependence_2": dependence * linear_dependence(own2, _fixed(own), mixing2, known.turned()),
        }

    def step(self, batch: Batch, clock: Clock, descend: Descend) -> None:
        own, own2, known = self._filters()
        found = -linear_dependence(_fixed(own), _fixed(own2), list(self.mixing), known)
        found2 = -linear_dependence(_fixed(own2), _fixed(own), list(self.mixing2), known.turned())
        descend({"independence_1": found, "independence_2": found2}, player=MIXING)
        descend(self._losses(batch, clock, own, own2, known))

    def optimizers(self, base: Callable[[Iterable[nn.Parameter]], Optimizer]) -> Mapping[str, Optimizer]:
        return {
            MAIN: base(chain(self.network.parameters(), self.network2.parameters())),
            MIXING: Adam(chain(self.mixing, self.mixing2), lr=self.hyper.mixing_lr),
        }

    def other_predictions(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {"second": partial(dual_prediction, self.network, self.network2, evaluate="second")}

    def _filters(self) -> tuple[list[Tensor], list[Tensor], Products]:
        own, own2 = filters(self.network), filters(self.network2)
        return own, own2, products(own, own2)


def _fixed(parts: Iterable[Tensor]) -> list[Tensor]:
    return [part.detach() for part in parts]
