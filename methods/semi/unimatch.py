"""Two strong views of an image and one with perturbed features learn the confident predictions on the image as it is.

Paper: Yang et al., "Revisiting weak-to-strong consistency in semi-supervised semantic segmentation", CVPR 2023,
arXiv:2208.09910.
Code: https://github.com/LiheYoung/UniMatch/blob/818609d/more-scenarios/medical/unimatch.py
Differences: what is learnt is the code's for ACDC, where pseudo labels are learnt by Dice (cross-entropy in the paper's
natural images), and where the network is in evaluation mode while it labels the images that boxes are cut from. Those
are drawn from a third stream of batches there, and are the neighbours in the same batch here: a batch of one
unlabelled image has nothing to paste. The code halves its whole loss, which with SGD is half the learning rate: here
the supervised terms are those of all methods, and the others have the code's weights relative to them. Images are not
turned into 8-bit pictures; jitter keeps to their own range instead, channel by channel, and the blur is a true Gaussian
(``strong_views``). Volumes are treated in the same way, with boxes of the same shares of the volume; the paper has
images only. Epochs, learning rate and the selection on test cases are the plan's matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.types import Batch

from ..base import Clock, Method, Terms, as_judge
from ..family import SupervisedHyper, supervised_terms
from ..hyper import hyper
from ..labels import confident_labels
from ..perturb import drop_channels
from ..strong_views import blurred, jittered, mix_boxes

_JITTERED, _BLURRED = 0.8, 0.5  # shares of images, as released
_SIGMA = (0.1, 2.0)  # of the blur, in pixels, as released


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of the released code for ACDC."""

    threshold: float = hyper(0.95, "probability from which a prediction is a label", valid=(0, 1), search=(0.6, 0.99))
    image_weight: float = hyper(0.5, "weight of the two strong views", valid=(0, None), search=(0.05, 5, "log"))
    feature_weight: float = hyper(0.5, "weight of perturbed features", valid=(0, None), search=(0.05, 5, "log"))
    jitter: float = hyper(0.5, "largest relative change of brightness and of contrast", valid=(0, 1))
    mixed: float = hyper(0.5, "share of strong views with a box of another image", valid=(0, 1))
    feature_dropout: float = hyper(0.5, "share of feature channels that are dropped", valid=(0, 0.99))


class UniMatch(Method):
    """Supervised terms, and Dice of pseudo labels on strong views of images and of features."""

    Hyper = Hyper

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, images = self.hyper, batch.images
        unknown = batch.split(images)[1]
        with torch.no_grad(), as_judge(self.network):
            pasted = confident_labels(self.network(unknown), h.threshold).roll(1, 0)
        boxes, views = zip(*(self._strong_view(unknown) for _ in range(2)), strict=True)
        clean, perturbed = self._with_perturbed_features(images)
        labelled, weak = batch.split(clean)
        pseudo = confident_labels(weak, h.threshold)
        strong = self.network(torch.cat(views)).chunk(2)
        differences = [
            _dice(logits, torch.where(box.squeeze(1), pasted, pseudo))
            for box, logits in zip(boxes, strong, strict=True)
        ]
        return supervised_terms(labelled, batch.labelled.label, h.dice_share) | {
            "image": h.image_weight * torch.stack(differences).mean(),
            "feature": h.feature_weight * _dice(batch.split(perturbed)[1], pseudo),
        }

    def _strong_view(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes, and images that show in them another image: that before each in the batch."""
        h = self.hyper
        view = jittered(image, p=_JITTERED, brightness=h.jitter, contrast=h.jitter)
        view = blurred(view, p=_BLURRED, sigma=_SIGMA)
        box = mix_boxes(len(image), tuple(image.shape[2:]), p=h.mixed, device=image.device)
        return box, torch.where(box, view.roll(1, 0), view)

    def _with_perturbed_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of all images, and of all with dropped channels; normalised together in the decoder, as released."""
        features = self.network.encode(image)
        dropped = drop_channels(features, self.hyper.feature_dropout, self.training)
        both = [torch.cat(pair) for pair in zip(features, dropped, strict=True)]
        clean, perturbed = self.network.head(self.network.decode(both)).chunk(2)
        return clean, perturbed


def _dice(logits: Tensor, label: Tensor) -> Tensor:
    return supervised_terms(logits, label, dice_share=1.0)["dice"]
