"""What a strongly changed image shows is learnt from the confident predictions on the same image as it is.

Paper: Sohn et al., "FixMatch: simplifying semi-supervised learning with consistency and confidence", NeurIPS 2020,
arXiv:2001.07685.
Code: https://github.com/HiLab-git/SSL4MIS/blob/296ece6/code/train_fixmatch_standard_augs.py; the paper's own:
https://github.com/google-research/fixmatch/blob/3ae6800/fixmatch.py
Differences: the paper classifies; as in the medical code, pixels take the place of images, Dice stands beside the
cross-entropy, the strong view is a jitter of brightness and contrast (paper: learnt or random policies and a cut-out
square) and the weight ramps up to 0.1 (paper: 1 from the start). The default follows the paper in what is learnt: from
unlabelled images alone, where the probability reaches 0.95, its cross-entropy averaged over unsure pixels too.
``variant: released`` does as the code: it judges the largest probability less the smallest, over the largest, which
nearly all pixels pass, and calls those that do not background; and it adds a complementary term on labelled and
unlabelled images, from which the strong view learns to avoid the class that is least probable on the weak one, weighed
by the square of how gathered in space its probabilities are. The code gives its jitter images of any range and clips
them to [0, 1]; here they keep their own (``strong_views``). Its moving average, which labels nothing, is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from datasets.types import IGNORE, Batch

from ..base import Clock, Method, Terms
from ..family import SupervisedHyper, supervised_terms
from ..hyper import hyper, variant
from ..labels import confident_labels, most_probable
from ..networks.apart import passes
from ..schedules import ramp_up
from ..strong_views import jittered


@dataclass(frozen=True)
class Hyper(SupervisedHyper):
    """Defaults of SSL4MIS, and the threshold of the paper."""

    weight: float = hyper(0.1, "weight of pseudo labels after the ramp", valid=(0, None), search=(0.01, 10, "log"))
    ramp: float = hyper(1.0, "share of training over which the weight ramps up", valid=(0, 1), search=(0.1, 1.0))
    threshold: float = hyper(
        0.95, "probability from which a prediction is a label", valid=(0, 1), search=(0.6, 0.99), only="intended"
    )
    released_threshold: float = hyper(
        0.8, "normalised probability above which it is no background", valid=(0, 1), search=(0.5, 0.99), only="released"
    )
    jitter: float = hyper(0.8, "largest relative change of brightness and of contrast", valid=(0, 1))
    variant: str = variant()


class FixMatch(Method):
    """Supervised terms, and the same of pseudo labels on strong views of unlabelled images."""

    Hyper = Hyper

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, images = self.hyper, batch.images
        released = h.variant == "released"
        shown = images if released else batch.split(images)[1]
        changed = jittered(shown, p=1.0, brightness=h.jitter, contrast=h.jitter)
        weak, strong = passes(self.network, images, changed)
        labelled, unlabelled = batch.split(weak)
        terms = supervised_terms(labelled, batch.labelled.label, h.dice_share)
        weight = h.weight * ramp_up(clock.progress, h.ramp)
        if released:
            pseudo = _confident_or_background(unlabelled, h.released_threshold)
            terms["complementary"] = weight * (1 - h.dice_share) * _complementary(weak, strong)
            strong = batch.split(strong)[1]
        else:
            pseudo = confident_labels(unlabelled, h.threshold)
        guessed = supervised_terms(strong, pseudo, h.dice_share)
        sure = (pseudo != IGNORE).float().mean()  # the mean over known pixels becomes one over all
        return terms | {"pseudo_ce": weight * sure * guessed["ce"], "pseudo_dice": weight * guessed["dice"]}


def _confident_or_background(logits: Tensor, threshold: float) -> Tensor:
    probs = torch.softmax(logits.detach().float(), dim=1)
    largest, smallest = probs.amax(dim=1), probs.amin(dim=1)
    return torch.where((largest - smallest) / largest > threshold, most_probable(probs), 0)


def _complementary(weak: Tensor, strong: Tensor) -> Tensor:
    """Cross-entropy of 1 - p, taken for logits as in the code, with the class that is least probable on the weak view.

    Its factor is the square of 1 less the entropy of each class's probability over the pixels of an image, as a share
    of the largest possible, averaged over classes and images: 0 where the maps are flat, 1 where each is one pixel.
    """
    logs = torch.log_softmax(strong.float(), dim=1)
    probs = logs.exp()
    total = probs.flatten(2).sum(dim=2)
    entropy = total.log() - (probs * logs).flatten(2).sum(dim=2) / total
    gathered = 1 - (entropy / math.log(math.prod(strong.shape[2:]))).mean()
    return gathered.square() * F.cross_entropy(1 - probs, most_probable(-weak))
