"""Prototypes of labelled images classify unlabelled ones, and prototypes of pseudo-labelled images labelled ones.

Paper: Xu et al., "All-around real label supervision: cyclic prototype consistency learning for semi-supervised medical
image segmentation", IEEE Journal of Biomedical and Health Informatics 2022, arXiv:2109.13930.
Code: https://github.com/lemoshu/CPCL/blob/58d23f9/code/train_CPCL_general_3D.py
Differences: the paper has both processes shape the features. In the code, features, prototypes and teacher are all
detached, so that neither trains anything, the unlabelled features are the teacher's, and the cross-entropy is fed
probabilities; ``variant: released`` does all that: what remains is a mean teacher on logits. Intended here: the
student's own features of both parts, with gradient, through the prototypes too (``prototype_gradient``); classes absent
from a prototype's image are left out of the comparison. Pooling and cosine maps never make full-resolution features;
features are upsampled edges on edges, as in the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from datasets.types import IGNORE, Batch

from ..base import Clock, Terms
from ..family import TeacherHyper, TeacherStudent, supervised_terms
from ..hyper import hyper, variant
from ..labels import most_probable
from ..losses.consistency import squared_difference
from ..losses.cross_entropy import cross_entropy
from ..losses.prototypes import class_prototypes, confidence_weights, cosine_maps
from ..perturb import noisy
from ..schedules import ramp_up

_IMPOSSIBLE = -1e4  # logit of a class without a prototype; finite, so that an image without any has no NaN


@dataclass(frozen=True)
class Hyper(TeacherHyper):
    """Defaults of CPCL on the left atrium."""

    weight: float = hyper(0.1, "weight of all consistencies after the ramp", valid=(0, None), search=(0.01, 10, "log"))
    ramp: float = hyper(0.6, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    u2l: float = hyper(10.0, "relative weight of unlabelled prototypes on labelled images", valid=(0, None))
    sharpness: float = hyper(20.0, "factor of the cosine: 1 over the temperature", valid=(0.1, None))
    prototype_gradient: bool = hyper(True, "whether gradient flows through prototypes too, not features only")
    noise: float = hyper(0.1, "standard deviation of the noise on the teacher's images", valid=(0, None))
    noise_clip: float = hyper(0.2, "largest absolute value of that noise", valid=(0, None))
    variant: str = variant("intended = the prototype terms train the features; released = they train nothing")


class CPCL(TeacherStudent):
    """Supervised terms, squared difference of logits to a noisy teacher, and the two prototype terms."""

    Hyper = Hyper
    released_inert: ClassVar[Mapping[str, str]] = {
        "l2u": "the released code detaches features and prototypes, and classifies the teacher's features",
        "u2l": "the released code detaches features and prototypes",
    }

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, label, released = self.hyper, batch.labelled.label, self.hyper.variant == "released"
        images = batch.images
        features = self.network.encode(images)
        logits = self.network.head(self.network.decode(features))
        known, guessed = batch.split(features[-1])
        with torch.no_grad():
            noisy_logits = self.teacher(noisy(images, h.noise, h.noise_clip))
            taught = self.teacher.encode(batch.split(images)[1])
            target = torch.softmax(self.teacher.head(self.teacher.decode(taught)).float(), dim=1)
        if released:
            known, guessed = known.detach(), taught[-1]
        labelled = batch.split(logits)[0]
        annotated = confidence_weights(torch.softmax(labelled.detach().float(), dim=1), label)
        l2u, seen = self._classified(guessed, known, annotated)
        u2l, possible = self._classified(known, guessed, confidence_weights(target))
        if released:
            # probabilities where logits belong, and classes without a prototype compared as if they had one
            u2l_loss = cross_entropy(torch.softmax(u2l, dim=1), label)
            l2u_loss = squared_difference(torch.softmax(l2u, dim=1), target)
        else:
            u2l_loss = cross_entropy(u2l, torch.where(_of(label, possible), label, IGNORE))
            l2u_loss = squared_difference(torch.softmax(l2u, dim=1), target, _of(most_probable(target), seen))
        weight = h.weight * ramp_up(clock.progress, h.ramp)
        return supervised_terms(labelled, label, h.dice_share) | {
            "l2u": weight * l2u_loss,
            "u2l": weight * h.u2l * u2l_loss,
            "stability": weight * squared_difference(logits, noisy_logits),
        }

    def _classified(self, features: Tensor, source: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of ``features`` by the prototypes of ``source``, paired in order, and which classes these have."""
        h = self.hyper
        paired = torch.arange(len(features), device=features.device) % len(source)
        prototypes = class_prototypes(source, weight)[paired]
        if not h.prototype_gradient:
            prototypes = prototypes.detach()
        logits = h.sharpness * cosine_maps(features, prototypes, weight.shape[2:])
        present = weight.flatten(2).amax(dim=2)[paired] > 0
        if h.variant == "released":
            return logits, present
        return torch.where(present.view(*present.shape, *[1] * (logits.ndim - 2)), logits, _IMPOSSIBLE), present


def _of(label: Tensor, classes: Tensor) -> Tensor:
    """Where ``label`` ``(n, *space)`` is one of its sample's ``classes`` ``(n, c)``."""
    flat = label.flatten(1)
    return (classes.gather(1, torch.where(flat == IGNORE, 0, flat)) & (flat != IGNORE)).view(label.shape)
