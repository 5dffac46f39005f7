"""Two networks predict the same where an image is moved into another context, and teach each other what is sure.

Paper: Liu et al., "Translation consistent semi-supervised segmentation for 3D medical images", IEEE TMI 2024,
arXiv:2203.14523.
Code: https://github.com/yyliu01/TraCoCo/blob/4105759/Code/VnetLA/train.py; of several classes, the losses of
https://github.com/yyliu01/TraCoCo/blob/1410c45/Code/UnetACDC/Utils/losses.py
Differences: only the paper's abstract and the code could be read. There each volume gives two overlapping crops. Here a
batch has one crop of each, and smaller ones inside of it would leave networks of five levels a deepest map of one
voxel: the second view is the crop moved by its own number of voxels along each axis, and what it loses on one side
comes in on the other. Views are compared where both show the same place, each beside what the other lacks. The code
clamps their logits to [0, 1] and takes softmaxes along an axis of space before it compares them, and its divergence is
the sum over the samples of means over classes as well as voxels; with several classes, it pushes down the pseudo label
too, twice as much as the others. ``variant: released`` does all this; by default the divergence is that of the classes,
averaged over samples, and the complementary labels are the other classes. In both, the second network learns from
CutMix with boxes that are cut along every axis, as the paper's abstract has it, of the code's shares (it leaves out the
third axis). The first network learns from the other on the pass that its labels are learnt on (the code: one more, of
the same images under other noise). Noise is relative to an image's range, since the code's images are in [0, 1].
Weights are those of the left atrium; the code for ACDC has ``translation: 0.1, entropy: 0.01, noise: 0.05``, Dice and
largest components of pseudo labels, and CutMix for both networks. The first predicts; the second is scored beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.distributions import Beta

from datasets.types import Batch

from ..base import Clock, Terms
from ..family import DualNetwork, SupervisedHyper, supervised_terms
from ..hyper import hyper, variant
from ..losses.confident_regional import confident_regional_cross_entropy
from ..networks.apart import passes
from ..perturb import cut_boxes
from ..schedules import ramp_up
from ..views import dual_prediction

_ALPHA = 4.0  # both parameters of the Beta distribution of the share that CutMix keeps, as released
_LEAST, _MOST = 1e-6, 1.0  # between which logits are clamped, as released
_NEVER = -1e4  # in place of released logits outside of the overlap; theirs are in [0, 1]


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of the released code for 16 labelled scans of the left atrium, but for the shift."""

    weight: float = hyper(1.0, "weight of all that follows", valid=(0, None), search=(0.05, 5, "log"))
    ramp: float = hyper(40 * 8 / 9000, "share of training over which it ramps up", valid=(0, 1), search=(0.02, 1.0))
    translation: float = hyper(0.3, "weight in it of moved views", valid=(0, None), search=(0.03, 3, "log"))
    entropy: float = hyper(0.1, "weight in it of their entropy, which is to be high", valid=(0, None))
    shift: float = hyper(0.25, "largest move of the second view, in shares of a side", valid=(0, 0.9))
    threshold: float = hyper(
        0.65, "probability from which the other network's class is learnt", valid=(0, 1), search=(0.5, 0.95)
    )
    ruled_out: float = hyper(0.1, "probability below which a class is learnt not to be", valid=(0, 1))
    noise: float = hyper(0.2, "largest noise on images, as a share of their range", valid=(0, None))
    variant: str = variant()


class TraCoCo(DualNetwork):
    """Supervised terms of both networks, what each makes of a moved view, and what the other is sure of."""

    Hyper = Hyper

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, images = self.hyper, batch.images
        n, space = len(images), tuple(images.shape[2:])
        with torch.no_grad():
            first_says = torch.softmax(self.network(images).float(), dim=1)
            second_says = torch.softmax(self.network2(batch.split(images)[1]).float(), dim=1)
        cut, first_says = _cut(images, first_says, len(second_says))
        most = [int(h.shift * side) for side in space]
        shift = torch.stack([torch.randint(-k, k + 1, (n,), device=images.device) for k in most], dim=1)
        moved, both = _moved(images, shift), _shown_by_both(shift, space)
        views = passes(self.network, self._noisy(images), self._noisy(moved))
        *views_2, on_cut = passes(self.network2, *map(self._noisy, (images, moved, cut)))
        taught = (batch.split(views[0])[1], second_says), (on_cut, first_says)
        weight = h.weight * ramp_up(clock.progress, h.ramp)
        terms: Terms = {}
        for k, ((plain, elsewhere), (logits, target)) in enumerate(zip((views, views_2), taught, strict=True), start=1):
            supervised = supervised_terms(batch.split(plain)[0], batch.labelled.label, h.dice_share)
            terms |= {f"{name}_{k}": term for name, term in supervised.items()}
            terms[f"pseudo_{k}"] = weight * self._sure(logits, target)
            divergence, entropy = self._compared(plain, _moved(elsewhere, -shift), both)
            terms[f"translation_{k}"] = weight * h.translation * divergence
            terms[f"entropy_{k}"] = -weight * h.entropy * entropy
        return terms

    def other_predictions(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {"second": partial(dual_prediction, self.network, self.network2, evaluate="second")}

    def _noisy(self, image: Tensor) -> Tensor:
        space = tuple(range(2, image.ndim))
        extent = image.amax(space, keepdim=True) - image.amin(space, keepdim=True)
        return image + (2 * torch.rand_like(image) - 1) * (self.hyper.noise * extent)

    def _sure(self, logits: Tensor, target: Tensor) -> Tensor:
        h = self.hyper
        slip = h.variant == "released" and self.task.n_classes > 2
        return confident_regional_cross_entropy(logits, target, sure=h.threshold, ruled_out=h.ruled_out, label_too=slip)

    def _compared(self, plain: Tensor, moved: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
        """Divergence of what the plain view says from what the moved one does, and the entropy of either, in nats."""
        released = self.hyper.variant == "released"
        views = [logits.float().clamp(_LEAST, _MOST) if released else logits.float() for logits in (plain, moved)]
        logs = torch.stack([torch.log_softmax(logits, dim=1) for logits in views])
        entropy = -(logs.exp() * logs).sum(dim=2).mean(dim=0)
        if released:
            logs = torch.stack([logits.where(both.unsqueeze(1), _NEVER).log_softmax(dim=2) for logits in views])
        divergence = (logs[1].exp() * (logs[1] - logs[0])).sum(dim=1)
        by_sample = [
            (both * values).flatten(1).sum(dim=1) / both.flatten(1).sum(dim=1) for values in (divergence, entropy)
        ]
        return by_sample[0].sum() / plain.shape[1] if released else by_sample[0].mean(), by_sample[1].mean()


def _cut(images: Tensor, probs: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The last ``n`` images, and predictions on them, with a box of any other image of the batch in each."""
    alpha = torch.full((), _ALPHA, device=images.device)
    share = (1 - Beta(alpha, alpha, validate_args=False).sample()).pow(1 / (images.ndim - 2))
    box = cut_boxes(n, tuple(images.shape[2:]), share, images.device).unsqueeze(1)
    partner = torch.rand(len(images), device=images.device).argsort()[:n]
    image, target = (torch.where(box, maps.index_select(0, partner), maps[-n:]) for maps in (images, probs))
    return image, target


def _moved(maps: Tensor, shift: Tensor) -> Tensor:
    """Each of ``(n, c, *space)`` by its ``shift`` ``(n, axes)``; what leaves on one side comes in on the other."""
    for axis, side in enumerate(maps.shape[2:]):
        place = (torch.arange(side, device=maps.device) - shift[:, axis, None]).remainder(side)
        index = place.view(len(maps), *[1] * (axis + 1), side, *[1] * (maps.ndim - axis - 3))
        maps = maps.gather(axis + 2, index.expand_as(maps))
    return maps


def _shown_by_both(shift: Tensor, space: tuple[int, ...]) -> Tensor:
    """Booleans ``(n, *space)``: where the place of a plain view has not come in on the other side of the moved one."""
    shown = torch.ones(len(shift), *[1] * len(space), dtype=torch.bool, device=shift.device)
    for axis, side in enumerate(space):
        place = torch.arange(side, device=shift.device) + shift[:, axis, None]
        inside = (place >= 0) & (place < side)
        shown = shown & inside.view(len(shift), *[1] * axis, side, *[1] * (len(space) - axis - 1))
    return shown
