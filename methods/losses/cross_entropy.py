"""Cross-entropy where the class is known; nothing where it is not."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from datasets.types import IGNORE

from . import fused
from .overlap import SMOOTH, dice_loss


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Mean of ``-log softmax(logits)[label]`` over the labelled pixels of the whole batch: the partial cross-entropy.

    The mean runs over the batch's labelled pixels together, so a sample with longer scribbles weighs more
    (WSL4MIS, https://github.com/HiLab-git/WSL4MIS/tree/a594da8). Without any labelled pixel: 0, with zero gradient.

    Args:
        logits: ``(n, c, *space)``; ``space`` may be empty.
        label: ``(n, *space)`` int64 in range(c), or IGNORE.
    """
    if fused.fits(logits, label):
        return fused.entropy_and_dice(logits, label, SMOOTH)[0]
    total = F.cross_entropy(logits.float(), label, ignore_index=IGNORE, reduction="sum")
    return total / (label != IGNORE).sum().clamp_min(1)


def cross_entropy_and_dice(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`cross_entropy`, and ``overlap.dice_loss`` of the softmax, of one label map."""
    if fused.fits(logits, label):
        entropy, by_class = fused.entropy_and_dice(logits, label, SMOOTH)
        return entropy, by_class.mean()
    return cross_entropy(logits, label), dice_loss(torch.softmax(logits.float(), dim=1), label)
