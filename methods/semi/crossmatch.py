"""Confident predictions are learnt on strong views and from features of which few or most channels are dropped.

Paper: Zhao et al., "CrossMatch: enhance semi-supervised medical image segmentation with perturbation strategies and
knowledge distillation", IEEE JBHI 2024, arXiv:2405.00354.
Code: https://github.com/AiEson/CrossMatch/blob/0ee4385/LA/code/train_cross_match.py (volumes) and
https://github.com/AiEson/CrossMatch/blob/71ac4d4/ACDC/train_cross_match.py (images)
Differences: only the paper's abstract, its total loss and the code could be read. The code for volumes raises the
probability from which a prediction is a label from 0.75 towards 1, but multiplies it by ln 2, the maximum of an entropy
of two classes: 0.52 to 0.67, which of two classes nearly all pass. By default the factor is left out;
``variant: released`` has it. The code for images keeps 0.95 and half the distillation (``threshold: 0.95,
threshold_end: 0.95, distillation: 0.5``). It halves its whole loss: here the supervised terms are those of all methods,
and the others have the code's weights relative to them. Pseudo labels are learnt by the Dice of all classes, that of
the foreground alone in the code for volumes, whose strong views have a bias field and another gamma; here they are
jittered and blurred like the code's images, keeping their own range (``strong_views``). Boxes are UniMatch's, of the
neighbours in the same batch (a third stream there, and the box of a volume is cut along its axes in the wrong order):
a batch of one unlabelled image has nothing to paste. A network keeps the dropout of its own, which the code's V-Net
leaves out at its end where features are dropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.types import Batch

from ..base import Clock, Method, Terms, as_judge
from ..family import SupervisedHyper, supervised_terms
from ..hyper import hyper, variant
from ..labels import confident_labels
from ..perturb import drop_channels
from ..schedules import ramp_up
from ..strong_views import blurred, jittered, mix_boxes

_JITTERED, _BLURRED = 0.8, 0.5  # shares of images, as released
_SIGMA = (0.1, 2.0)  # of the blur, in pixels, as released


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of the released code for the left atrium; of the strong views, for ACDC."""

    image_weight: float = hyper(0.5, "weight of the two strong views", valid=(0, None), search=(0.05, 5, "log"))
    distillation: float = hyper(1.0, "weight of dropped features", valid=(0, None), search=(0.05, 5, "log"))
    eta: float = hyper(0.3, "share in it of learning from the same drop rate", valid=(0, 1), search=(0.1, 0.9))
    threshold: float = hyper(
        0.75, "probability from which a prediction is a label, at first", valid=(0, 1), search=(0.5, 0.95)
    )
    threshold_end: float = hyper(1.0, "what this probability rises to", valid=(0, 1))
    ramp: float = hyper(17 / 14, "length of this rise in shares of training; above 1 it is cut", valid=(0, None))
    weak: float = hyper(0.25, "share of feature channels that the weak decoding lacks", valid=(0, 0.99))
    strong: float = hyper(0.75, "share that the strong decoding lacks", valid=(0, 0.99), search=(0.3, 0.9))
    jitter: float = hyper(0.5, "largest relative change of brightness and of contrast", valid=(0, 1))
    mixed: float = hyper(0.5, "share of strong views with a box of another image", valid=(0, 1))
    variant: str = variant("intended = thresholds as they are; released = times ln 2")


class CrossMatch(Method):
    """Supervised terms, and Dice of pseudo labels on strong views of images and of features, and on both at once."""

    Hyper = Hyper

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, images = self.hyper, batch.images
        known, unknown = batch.split(images)
        (box, view), (box_2, view_2) = (self._strong_view(unknown) for _ in range(2))
        with torch.no_grad(), as_judge(self.network):
            _, *pasted = self._decodings(unknown, clean_only=0)
        labelled, *plain = self._decodings(images, clean_only=len(known))
        on_view, *on_view_2 = self._decodings(torch.cat([view, view_2]), clean_only=len(view))
        threshold = h.threshold + (h.threshold_end - h.threshold) * ramp_up(clock.progress, h.ramp)
        if h.variant == "released":
            threshold = threshold * math.log(2)
        own, other = ([confident_labels(logits, threshold) for logits in kind] for kind in (plain, pasted))
        # of a clean, a weak and a strong decoding, each
        mixed = [torch.where(box_2.squeeze(1), o.roll(1, 0), mine) for mine, o in zip(own, other, strict=True)]
        image = _dice(on_view, torch.where(box.squeeze(1), other[0].roll(1, 0), own[0])) + _dice(on_view_2[0], mixed[0])
        of_clean = [_dice(logits, own[0]) for logits in plain[1:]] + [
            _dice(logits, mixed[0]) for logits in on_view_2[1:]
        ]
        of_same = [_dice(logits, label) for logits, label in zip(on_view_2[1:], mixed[1:], strict=True)]
        return supervised_terms(labelled, batch.labelled.label, h.dice_share) | {
            "image": h.image_weight * image / 2,
            "teacher": h.distillation * (1 - h.eta) * torch.stack(of_clean).mean(),
            "decoder": h.distillation * h.eta * torch.stack(of_same).mean(),
        }

    def _strong_view(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes, and images that show in them another image: that before each in the batch."""
        h = self.hyper
        view = jittered(image, p=_JITTERED, brightness=h.jitter, contrast=h.jitter)
        view = blurred(view, p=_BLURRED, sigma=_SIGMA)
        box = mix_boxes(len(image), tuple(image.shape[2:]), p=h.mixed, device=image.device)
        return box, torch.where(box, view.roll(1, 0), view)

    def _decodings(self, image: Tensor, *, clean_only: int) -> tuple[Tensor, ...]:
        """Logits of the first few images, and three times of the others: with all, fewer and few feature channels.

        All are normalised together in the decoder, as released.
        """
        features = self.network.encode(image)
        others = [maps[clean_only:] for maps in features]
        dropped = (drop_channels(others, p, self.training) for p in (self.hyper.weak, self.hyper.strong))
        together = [torch.cat(maps) for maps in zip(features, *dropped, strict=True)]
        n = len(image) - clean_only
        return self.network.head(self.network.decode(together)).split([clean_only, n, n, n])


def _dice(logits: Tensor, label: Tensor) -> Tensor:
    return supervised_terms(logits, label, dice_share=1.0)["dice"]
