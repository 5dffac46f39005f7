"""First features are pre-trained by contrast, with more weight on hard positives; then the network learns the labels.

Paper: "Semi-supervised medical image segmentation via hard positives oriented contrastive learning", as its code's
authors name it (2-D slices of hippocampus and heart).
Code: https://github.com/PerPerZXY/BHPC/blob/2761c40/loss_functions/supcon_loss.py
Differences: its three stages, each with an optimizer of its own, are two phases of one budget here, and the optimizer
forgets its moments in between: contrast of whole images, labelled or not, and contrast of labelled regions run together
in the first; the second learns cross-entropy and Dice. Compared are mean features of regions of all labelled images,
one view each, weighed by the share of the region's class; the code compares single pixels of two views within blocks of
16 x 16, weighed by their class's number. Positives of an anchor weigh exp(-β max(0, cosine)), normalised; the code
takes the root of a product of cosines, which can be negative, and its re-weighting of whole images, which have one
positive each, uses an undefined name. Views of an image differ by gain, noise and the network's dropout; its own
network has none, so regions are compared before the last one. Regions of background are negatives only, as in the code.
The mixing of labelled images and of decoder features in its last stage is left out, so that what is measured is the
contrast. Under instance normalisation, the means by which images are compared hardly differ: their contrast stays near
chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from datasets.types import IGNORE, Batch, Labelled, Task

from ..base import MAIN, Build, Clock, Descend, Method, Terms
from ..family import SupervisedHyper, supervised_terms
from ..features import with_last_map
from ..hyper import hyper
from ..losses.contrastive import supervised_contrast
from ..losses.overlap import one_hot
from ..perturb import noisy

_HIDDEN, _WIDTH = 512, 256  # of the head that whole images are compared by, as released


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Temperatures, hardness and head of BHPC's code; phases, regions, gain and noise are this project's."""

    pretrain: float = hyper(0.4, "share of training spent on the contrasts", valid=(0, 1), search=(0.1, 0.6))
    hardness: float = hyper(
        0.1, "β of the weight of positives; 0 = all alike", valid=(0, None), search=(0.01, 5, "log")
    )
    regions: int = hyper(8, "regions along each side of an image", valid=(2, None))
    image_temperature: float = hyper(0.5, "of the contrast of images", valid=(0.01, None))
    region_temperature: float = hyper(0.1, "of the contrast of regions", valid=(0.01, None), search=(0.05, 1.0, "log"))
    gain: float = hyper(0.2, "largest relative change of an image's intensities in a view", valid=(0, 1))
    noise: float = hyper(0.1, "standard deviation of the noise in a view", valid=(0, None))
    noise_clip: float = hyper(0.2, "largest absolute value of that noise", valid=(0, None))


class BHPC(Method):
    """Phase one: contrast of images and of labelled regions. Phase two: supervised terms; unlabelled images rest."""

    Hyper = Hyper
    contract_exceptions: ClassVar[dict[str, str]] = {
        "check_uses_unlabelled_images": "unlabelled images are used in the first phase only, the check looks at the end"
    }

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        deepest = self.network.channels[-1]
        self.image_head = nn.Sequential(nn.Linear(deepest, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _WIDTH))

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        nothing = torch.zeros((), device=batch.images.device)
        if clock.progress < self.hyper.pretrain:
            return {
                "image_contrast": self._image_contrast(batch.images),
                "region_contrast": self._region_contrast(batch.labelled),
                "ce": nothing,
                "dice": nothing,
            }
        logits = self.network(batch.labelled.image)
        supervised = supervised_terms(logits, batch.labelled.label, self.hyper.dice_share)
        return {"image_contrast": nothing, "region_contrast": nothing} | supervised

    def step(self, batch: Batch, clock: Clock, descend: Descend) -> None:
        share = self.hyper.pretrain
        if clock.step and clock.progress >= share > Clock(clock.step - 1, clock.total).progress:
            self.forget()
        descend(self.losses(batch, clock))

    def optimizers(self, base: Callable[[Iterable[nn.Parameter]], Optimizer]) -> Mapping[str, Optimizer]:
        made = base(self.parameters())
        self.forget = lambda: made.state.clear()  # its dictionary is another one after a checkpoint was loaded
        return {MAIN: made}

    def _image_contrast(self, image: Tensor) -> Tensor:
        """Two views of an image are each other's positive, all other images' views are negatives."""
        h = self.hyper
        deep = self.network.encode(torch.cat([self._view(image), self._view(image)]))[-1]
        which = torch.arange(len(image), device=image.device).repeat(2)
        return supervised_contrast(self.image_head(deep.flatten(2).mean(dim=2)), which, h.image_temperature)

    def _region_contrast(self, samples: Labelled) -> Tensor:
        """Mean features of regions; a region is of its most frequent class and matters by the share of that class."""
        h = self.hyper
        features = self._regions(with_last_map(self.network, samples.image)[1])
        share, label = self._regions(one_hot(samples.label, self.task.n_classes)).max(dim=1)
        label = torch.where(share > 0, label, IGNORE)
        return supervised_contrast(
            features, label, h.region_temperature, hardness=h.hardness, importance=share, anchors=label > 0
        )

    def _regions(self, maps: Tensor) -> Tensor:
        """``(regions of all samples, c)`` means of maps ``(n, c, *space)``."""
        pool = (F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[self.task.ndim - 2]
        return pool(maps.float(), self.hyper.regions).flatten(2).transpose(1, 2).flatten(0, 1)

    def _view(self, image: Tensor) -> Tensor:
        h = self.hyper
        gain = 1 + h.gain * (2 * torch.rand(len(image), *[1] * (image.ndim - 1), device=image.device) - 1)
        return noisy(gain * image, h.noise, h.noise_clip)
