"""Two networks agree on unlabelled images, and each resists the images that deceive the other, so that they stay two.

Paper: Peng et al., "Deep co-training for semi-supervised image segmentation", Pattern Recognition 2020,
arXiv:1903.11233, after Qiao et al., ECCV 2018, arXiv:1803.05984.
Code: https://github.com/jizongFox/Deep-Co-Training-for-Semi-Supervised-Image-Segmentation/tree/04699f7 (the file
generalframework/trainer/cotraining_totalloss.py, with config/ACDC_config_cotraing.yaml)
Differences: the supervised loss is that of the other methods (the code: cross-entropy alone; ``dice_share: 0``).
Deceiving images are not clamped to [0, 1], as images here are normalised otherwise, and ``epsilon`` is in their unit.
Each network resists on all its counterpart's images in one mean (the code: the mean of one of labelled and one of
unlabelled images), by cross-entropy (there KL, the same gradient). The paper has two or more networks, two here. The
code's runs on ACDC share all labels (``share_labels``); the paper cuts them in two, the default. SSL4MIS calls another
idea by this name: one network that agrees with itself under rotations. Both networks predict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from datasets.types import Batch

from ..base import Clock, Terms, as_judge
from ..family import DualNetwork, SupervisedHyper, supervised_terms
from ..hyper import hyper
from ..losses.agreement import jensen_shannon, soft_cross_entropy
from ..losses.cross_entropy import cross_entropy
from ..networks.apart import passes
from ..schedules import ramp_up
from ..views import dual_prediction, two_views


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of the code on ACDC: ramps over 50 of 120 epochs, resistance from the 20th on."""

    agreement: float = hyper(0.5, "weight of the agreement after its ramp", valid=(0, None), search=(0.05, 10, "log"))
    resistance: float = hyper(0.05, "weight of resistance after its ramp", valid=(0, None), search=(0.005, 5, "log"))
    start: float = hyper(1 / 6, "share of training before the networks resist", valid=(0, 1))
    ramp: float = hyper(5 / 12, "share of training at which both weights are full", valid=(0, 1), search=(0.1, 1.0))
    epsilon: float = hyper(
        0.03, "change of every pixel of a deceiving image", valid=(0, None), search=(0.003, 0.3, "log")
    )
    share_labels: bool = hyper(False, "both networks learn from both halves of the labels")
    evaluate: str = hyper("mean", "what predicts", choices=("mean", "first", "second"))


class DeepCoTraining(DualNetwork):
    """Supervised terms of both networks, Jensen-Shannon divergence between them, and mutual adversarial images."""

    Hyper = Hyper
    views: ClassVar[int] = 2

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h = self.hyper
        views = (batch.labelled, batch.labelled) if h.share_labels else two_views(batch.labelled)
        seen = [Batch(view, batch.unlabelled) for view in views]
        networks = (self.network, self.network2)
        deceiving = [_deceiving(network, one, h.epsilon) for network, one in zip(networks, seen, strict=True)]
        # batch normalisation sees labelled, unlabelled and deceiving images apart, as in the code
        logits = [passes(network, *one.split(one.images)) for network, one in zip(networks, seen, strict=True)]
        terms: Terms = {}
        for k, (view, z) in enumerate(zip(views, logits, strict=True), start=1):
            supervised = supervised_terms(z[0], view.label, h.dice_share)
            terms |= {f"{name}_{k}": term for name, term in supervised.items()}
        agreement = jensen_shannon(logits[0][1], logits[1][1])
        terms["agreement"] = h.agreement * ramp_up(clock.progress, h.ramp) * agreement
        weight = h.resistance / 2 * _late_ramp(clock.progress, h.start, h.ramp)
        for k, other in ((0, 1), (1, 0)):
            deceived = torch.cat(list(passes(networks[k], *seen[other].split(deceiving[other]))))
            target = torch.softmax(torch.cat(list(logits[other])).detach().float(), dim=1)
            terms[f"resistance_{k + 1}"] = weight * soft_cross_entropy(deceived, target)
        return terms

    def predict(self, image: Tensor) -> Tensor:
        return dual_prediction(self.network, self.network2, image, self.hyper.evaluate)


def _deceiving(network: nn.Module, batch: Batch, epsilon: float) -> Tensor:
    """All images, each pixel moved by ``epsilon`` to where the cross-entropy rises: to labels, or to what it predicts.

    The fast gradient sign method; the network is in evaluation mode meanwhile, as in the code.
    """
    image = batch.images.detach().requires_grad_(True)
    with as_judge(network):
        logits = network(image)
    free = batch.split(logits)[1]
    label = torch.cat([batch.labelled.label, free.argmax(dim=1)])
    # the sum over pixels: only the sign counts, and a mean would vanish in half precision
    (gradient,) = torch.autograd.grad(cross_entropy(logits, label) * label.numel(), image)
    return image.detach() + epsilon * gradient.sign()


def _late_ramp(progress: float, start: float, until: float) -> float:
    """0 before ``start``, then the ramp up to ``until``."""
    return ramp_up(progress - start, until - start) if progress >= start else 0.0
