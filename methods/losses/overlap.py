"""Dice losses of probabilities against a label map; pixels at IGNORE count on neither side."""

from __future__ import annotations

import torch
from torch import Tensor

from datasets.types import IGNORE

SMOOTH = 1e-5
"""Added to numerator and denominator: an empty class predicted empty costs 0 (SSL4MIS, WSL4MIS, UA-MT)."""


def one_hot(label: Tensor, classes: int) -> Tensor:
    """``(n, classes, *space)`` float32 indicator of ``label`` ``(n, *space)``; all zero at IGNORE."""
    of_class = torch.arange(classes, device=label.device).view(-1, *[1] * (label.ndim - 1))
    return (label.unsqueeze(1) == of_class).float()


def dice_loss(probs: Tensor, label: Tensor) -> Tensor:
    """Squared Dice loss, background included: the mean over classes of 1 - (2 Σpg + ε) / (Σp² + Σg² + ε).

    Sums run over the whole batch, ε = 1e-5 (SSL4MIS, https://github.com/HiLab-git/SSL4MIS/tree/06df604; WSL4MIS is the
    same). A class in neither costs 0 and one that is only predicted costs almost 1. All IGNORE: 0, zero gradient.

    Args:
        probs: ``(n, c, *space)``, sum 1 over classes.
        label: ``(n, *space)`` int64 in range(c), or IGNORE.
    """
    return _dice_losses(probs, label).mean()


def foreground_dice_loss(probs: Tensor, label: Tensor) -> Tensor:
    """:func:`dice_loss` over the foreground classes only: the binary form of the left-atrium methods.

    Source: https://github.com/yulequan/UA-MT/tree/88ed29a.
    """
    return _dice_losses(probs, label)[1:].mean()


def linear_foreground_dice_loss(probs: Tensor, label: Tensor) -> Tensor:
    """The mean over the foreground classes of 1 - (2 Σpg + ε) / (Σp + Σg + ε), not squared; else as :func:`dice_loss`.

    Source: https://github.com/ycwu1997/MC-Net/tree/9a9730d (there ε = 1e-10 and one class).
    """
    return _dice_losses(probs, label, squared=False)[1:].mean()


def _dice_losses(probs: Tensor, label: Tensor, *, squared: bool = True) -> Tensor:
    known = (label != IGNORE).unsqueeze(1)
    probs = probs.float() * known
    target = one_hot(label, probs.shape[1])
    axes = [0, *range(2, probs.ndim)]
    overlap = (probs * target).sum(axes)
    # the target is 0 or 1, so the sum of its squares is its sum
    size = (probs.square() if squared else probs).sum(axes) + target.sum(axes)
    return 1 - (2 * overlap + SMOOTH) / (size + SMOOTH)
