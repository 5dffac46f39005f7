"""The structure loss: cross-entropy and overlap of probabilities, both weighted up near boundaries.

With w = 1 + 5 |mean of the target over 31 x 31 pixels - target|, the largest over foreground classes, an image costs
Σ w·CE / Σ w, plus the mean over foreground classes of 1 - (Σ w p y + 1) / (Σ w (p + y - p y) + 1). For two classes this
is the loss of F3Net and PraNet (https://github.com/DengPingFan/PraNet), but for means near the image's border, which
take what is inside the image here and count zeros outside there.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from datasets.types import IGNORE

from ..along import along
from ..compiled import loops, numbers, rows, takes
from .overlap import one_hot

_compiled = partial(loops, "structure")

_WINDOW = 31
_GAIN = 5
_SMOOTH = 1
"""Added to both sides of the overlap, in weighted pixels."""


def structure_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Mean over images of the structure loss against a label map.

    An image without any known pixel costs 0, with zero gradient. Where the label is IGNORE, no pixel counts; to the
    means around, it belongs to no class.

    Args:
        logits: ``(n, c, *space)``, c of 2 or more.
        label: ``(n, *space)`` int64 in range(c), or IGNORE.
    """
    known = (label != IGNORE).unsqueeze(1)
    return _structure(logits, one_hot(label, logits.shape[1]), known)


def structure_agreement(logits: Tensor, target: Tensor) -> Tensor:
    """The same against soft labels: ``target`` ``(n, c, *space)``, sum 1 over classes; detach it if it is constant."""
    return _structure(logits, target.float(), torch.ones_like(target[:, :1], dtype=torch.bool))


def released_structure(foreground: Tensor, mask: Tensor, known: Tensor) -> Tensor:
    """The loss as Min-Max Similarity computes it: its cross-entropy takes probabilities for logits, and no weights.

    Source: https://github.com/AngeLouCN/Min_Max_Similarity/blob/07571ea/loss.py

    Args:
        foreground: ``(n, k, *space)`` probabilities of the k foreground classes, each a task of its own.
        mask: the same shape, what they should be.
        known: ``(n, 1, *space)`` booleans of the pixels that count.
    """
    foreground, mask = foreground.float(), mask.float()
    weight = (1 + _GAIN * (_box_mean(mask, count_outside=True) - mask).abs()) * known
    costs = F.binary_cross_entropy_with_logits(foreground, mask, reduction="none") * known
    entropy = costs.sum() / (known.sum() * foreground.shape[1]).clamp_min(1)
    return entropy + _one_minus_overlap(foreground, mask, weight)


def _structure(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    foreground = target[:, 1:]
    near = _box_mean(foreground)
    if takes(logits) and not target.requires_grad and _compiled() is not None:
        planes = (each.flatten(2).contiguous() for each in (target, near))
        found: Tensor = _Structure.apply(logits, *planes, known.flatten(1).contiguous())
        return found
    log_probs = torch.log_softmax(logits.float(), dim=1)
    uneven = (near - foreground).abs().amax(dim=1, keepdim=True)
    weight = (1 + _GAIN * uneven) * known
    costs = -(target * log_probs).sum(dim=1, keepdim=True) * weight
    entropy = (costs.flatten(1).sum(dim=1) / weight.flatten(1).sum(dim=1).clamp_min(1)).mean()
    return entropy + _one_minus_overlap(log_probs[:, 1:].exp(), foreground, weight)


class _Structure(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, near: Tensor, known: Tensor) -> Tensor:
        total, overlap = np.zeros((len(logits), 2)), np.zeros((*near.shape[:2], 2))
        ctx.target = numbers(target)
        ctx.kept = np.empty((len(logits), logits.shape[1] + 1, known.shape[1]), np.float32)
        given = (numbers(each) for each in (target, near, known))
        _compiled().sums_of_structure(_positions(logits), *given, np.float32(_GAIN), total, overlap, ctx.kept)
        ctx.like, ctx.weights = (logits.shape, logits.dtype), np.maximum(total[:, 0], 1)
        both, either = overlap[..., 0] + _SMOOTH, overlap[..., 1] + _SMOOTH
        ctx.of_overlap = np.stack((-1 / either, both / either**2), axis=-1) / both.size
        found = (total[:, 1] / ctx.weights).mean() + (1 - both / either).mean()
        return torch.tensor(found, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (count, channels, *space), dtype = ctx.like
        found, arriving = torch.empty(count, *space, channels, dtype=dtype).movedim(-1, 1), gradient.item()
        by_sum = arriving / (count * ctx.weights), arriving * ctx.of_overlap
        of_sums = (each.astype(np.float32) for each in by_sum)
        _compiled().gradient_of_structure(ctx.target, ctx.kept, *of_sums, _positions(found))
        return found, None, None, None


def _positions(maps: Tensor) -> Any:
    return rows(maps).reshape(len(maps), -1, maps.shape[1])


def _one_minus_overlap(probs: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean over samples and classes of one minus the soft Jaccard index."""
    both = (weight * probs * target).flatten(2).sum(dim=2)
    either = (weight * (probs + target - probs * target)).flatten(2).sum(dim=2)
    return (1 - (both + _SMOOTH) / (either + _SMOOTH)).mean()


def _box_mean(maps: Tensor, *, count_outside: bool = False) -> Tensor:
    """Mean over the window around every pixel, axis by axis; zeros outside count if asked."""
    means = []
    for side in maps.shape[2:]:
        places = torch.arange(side, device=maps.device)
        near = ((places - places[:, None]).abs() <= _WINDOW // 2).to(maps.dtype)
        means.append(near / (_WINDOW if count_outside else near.sum(dim=1, keepdim=True)))
    with torch.autocast(maps.device.type, enabled=False):
        return along(maps, means)
