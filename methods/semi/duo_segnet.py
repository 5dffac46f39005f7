"""Two networks of different labelled halves agree on unlabelled images, and a critic judges every pixel of both.

Paper: Peiris et al., "Duo-SegNet: adversarial dual-views for semi-supervised medical image segmentation", MICCAI 2021,
arXiv:2108.11154.
Code: https://github.com/himashi92/Duo-SegNet/blob/74593f1/train.py
Differences: intended, as the paper, Dice and agreement have a gradient (of the agreement's target none), both networks
must pass for real on all images, and the critic sees all their maps as made. Released: Dice and agreement are mere
numbers, labelled maps are judged detached and against the wrong verdict, and the critic never sees unlabelled maps as
made, so that each network learns from half a cross-entropy and from the verdict on unlabelled images. While the
networks step, the critic is in evaluation mode; its RMSprop keeps its own learning rate. Maps are of K classes (the
code: one). ``critic: patch`` takes MaskMixAdv's. Encoders are trained from scratch, as in the paper. Both networks
predict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, RMSprop

from datasets.types import IGNORE, Batch, Task

from ..base import MAIN, Build, Clock, Descend, Terms, as_judge
from ..family import DualNetwork, SupervisedHyper, supervised_terms
from ..hyper import hyper, variant
from ..losses.adversarial import as_made, as_real
from ..losses.agreement import soft_cross_entropy
from ..networks.apart import passes
from ..networks.discriminators import PatchCritic, PixelCritic
from ..views import dual_prediction, two_views

CRITIC = "critic"
_NETWORKS = 2


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of the released code."""

    agreement: float = hyper(0.4, "weight of the agreement", valid=(0, None), search=(0.04, 4, "log"))
    adversarial: float = hyper(0.2, "weight of the critic's verdicts", valid=(0, None), search=(0.01, 2, "log"))
    critic: str = hyper("pixel", "what a verdict is of; patch: sides of 32 or more", choices=("pixel", "patch"))
    critic_width: int = hyper(64, "channels of the critic's first level", valid=(1, None))
    critic_lr: float = hyper(5e-5, "learning rate of the critic", valid=(0, None), search=(1e-5, 1e-3, "log"))
    share_labels: bool = hyper(False, "both networks learn from both halves of the labels")
    evaluate: str = hyper("mean", "what predicts", choices=("mean", "first", "second"))
    variant: str = variant("intended = every term trains; released = cross-entropy and one verdict do")


class DuoSegNet(DualNetwork):
    """Supervised terms of both networks, their agreement, and the verdicts of a critic; two players."""

    Hyper = Hyper
    views: ClassVar[int] = 2
    released_inert: ClassVar[Mapping[str, str]] = {
        "dice_1": "the code computes Dice outside the graph",
        "dice_2": "the code computes Dice outside the graph",
        "agreement": "the code adds it up as a number",
        "adversarial_labelled": "the code detaches labelled maps before they are judged",
    }

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.released = hyper.variant == "released"
        critic = PixelCritic if hyper.critic == "pixel" else PatchCritic
        self.critic = critic(task.n_classes, ndim=task.ndim, width=hyper.critic_width)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        return self._segmenters(batch)[0]

    def step(self, batch: Batch, clock: Clock, descend: Descend) -> None:
        terms, made = self._segmenters(batch)
        descend(terms)
        label = batch.labelled.label
        # what no one annotated lies outside the image, and is background there
        real = self.critic.of_labels(torch.where(label == IGNORE, 0, label))
        descend({"critic_real": as_real(real), "critic_made": self.critic.taken_for_made(made.detach())}, player=CRITIC)

    def optimizers(self, base: Callable[[Iterable[nn.Parameter]], Optimizer]) -> Mapping[str, Optimizer]:
        return {
            MAIN: base(chain(self.network.parameters(), self.network2.parameters())),
            CRITIC: RMSprop(self.critic.parameters(), lr=self.hyper.critic_lr),
        }

    def predict(self, image: Tensor) -> Tensor:
        return dual_prediction(self.network, self.network2, image, self.hyper.evaluate)

    def _segmenters(self, batch: Batch) -> tuple[Terms, Tensor]:
        """Their terms, and the probability maps that the critic is to take for made."""
        h, image = self.hyper, batch.split(batch.images)[1]
        view, view2 = (batch.labelled, batch.labelled) if h.share_labels else two_views(batch.labelled)
        labelled, logits = passes(self.network, view.image, image)
        labelled2, logits2 = passes(self.network2, view2.image, image)
        supervised = supervised_terms(labelled, view.label, h.dice_share)
        supervised2 = supervised_terms(labelled2, view2.label, h.dice_share)
        probs, probs2 = torch.softmax(logits.float(), dim=1), torch.softmax(logits2.float(), dim=1)
        known = torch.softmax(torch.cat([labelled, labelled2]).float(), dim=1)
        guessed = torch.cat([probs, probs2])
        agreement = soft_cross_entropy(logits, probs2.detach()) + soft_cross_entropy(logits2, probs.detach())
        with as_judge(self.critic):
            verdict = as_made(self.critic(known.detach())) if self.released else as_real(self.critic(known))
            adversarial = as_real(self.critic(guessed))
        terms = {
            **{f"{name}_1": term for name, term in supervised.items()},
            **{f"{name}_2": term for name, term in supervised2.items()},
            "agreement": h.agreement * agreement,
            # means over the maps of both networks, where the code adds those of each
            "adversarial_labelled": _NETWORKS * h.adversarial * verdict,
            "adversarial_unlabelled": _NETWORKS * h.adversarial * adversarial,
        }
        if self.released:
            return {n: t.detach() if n in self.released_inert else t for n, t in terms.items()}, known
        return terms, torch.cat([known, guessed])
