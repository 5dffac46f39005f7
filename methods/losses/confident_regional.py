"""Confident regional cross-entropy: what another network is sure of is learnt, and what it rules out is avoided."""

from __future__ import annotations

import torch
from torch import Tensor

from ..labels import most_probable
from .overlap import one_hot

_LEAST = 1e-6
"""Least of 1 - p in its logarithm, as released."""


def confident_regional_cross_entropy(
    logits: Tensor, target: Tensor, *, sure: float, ruled_out: float, label_too: bool = False
) -> Tensor:
    """Cross-entropy with sure classes, plus that of not being a class that is ruled out; gradient into logits alone.

    The first is the mean, over the pixels whose largest target reaches ``sure``, of this target times -log p of its
    class. The second is the mean, over those whose smallest target is below ``ruled_out``, of this target times
    -log(1 - p), the mean over all classes but the most probable one. No such pixel: 0.

    Source: TraCoCo, https://github.com/yyliu01/TraCoCo/blob/4105759/Code/VnetPancreas/Utils/losses.py, of two classes.
    In that of several, https://github.com/yyliu01/TraCoCo/blob/1410c45/Code/UnetACDC/Utils/losses.py, a complement of
    integers takes the place of one of booleans: see ``label_too``.

    Args:
        logits: ``(n, c, *space)``, c of 2 or more.
        target: ``(n, c, *space)`` probabilities.
        sure, ruled_out: in [0, 1].
        label_too: the most probable class of the target is avoided too, twice as much as each other one, and the mean
            is over all classes.
    """
    target = target.detach().float()
    log_probs = torch.log_softmax(logits.float(), dim=1)
    label, largest, smallest = one_hot(most_probable(target), logits.shape[1]), target.amax(dim=1), target.amin(dim=1)
    avoided = 1 + label if label_too else 1 - label
    classes = logits.shape[1] - (not label_too)
    not_it = (1 - log_probs.exp()).clamp_min(_LEAST).log()
    learnt = _mean(-(label * log_probs).sum(dim=1) * largest, largest >= sure)
    return learnt + _mean(-(avoided * not_it).sum(dim=1) / classes * smallest, smallest < ruled_out)


def _mean(losses: Tensor, counted: Tensor) -> Tensor:
    return (losses * counted).sum() / counted.sum().clamp_min(1)
