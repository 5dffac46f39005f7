"""Two networks learn from dense labels alone, and their mean predicts: what a method of two networks has to beat.

Paper: Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep ensembles", NIPS 2017,
arXiv:1612.01474: members differ in their first weights, the mean of their probabilities predicts.
Code: none is followed.
Differences: two members; the paper's learn from adversarial examples as well, each shuffles for itself, and here both
see the same batches. ``partner`` may be a network of another kind. A control rather than a method: CPS, cross teaching,
MCF and others train two networks with unlabelled images, some predict with the mean of both, and are compared with one
network's supervision. What they gain over this is due to the unlabelled images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from torch import Tensor

from datasets.types import Batch, Task

from ..base import Build, Clock, Method, Terms
from ..family import SupervisedHyper, supervised_terms
from ..hyper import hyper
from ..networks import names
from ..views import dual_prediction

_SAME = "same"
_ALONE = ("first", "second")


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """The supervised loss of each network, and which the second is."""

    partner: str = hyper(_SAME, "kind of the second network; same = the plan's", choices=(_SAME, *names()))


class SupervisedPair(Method):
    """Cross-entropy and Dice of each network, which never see each other."""

    Hyper = Hyper
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "full"

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.network2 = build() if hyper.partner == _SAME else build(name=hyper.partner)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        terms: Terms = {}
        for k, network in enumerate((self.network, self.network2), start=1):
            supervised = supervised_terms(network(batch.labelled.image), batch.labelled.label, self.hyper.dice_share)
            terms |= {f"{name}_{k}": term for name, term in supervised.items()}
        return terms

    def predict(self, image: Tensor) -> Tensor:
        return dual_prediction(self.network, self.network2, image, "mean")

    def other_predictions(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {which: partial(dual_prediction, self.network, self.network2, evaluate=which) for which in _ALONE}
