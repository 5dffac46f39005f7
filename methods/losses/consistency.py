"""Agreement between two predictions of the same pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..compiled import flat, loops, numbers, takes, takes_flat

_LEAST_CERTAINTY = 1e-8
"""Added to the mean weight that URPC divides by: scales that contradict each other everywhere have weights of 0."""

_compiled = partial(loops, "scales")
_differences = partial(loops, "differences")


def squared_difference(probs: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over classes and pixels of ``(probs - target)²``; gradients flow into whichever argument has them.

    Args:
        probs, target: ``(n, c, *space)``.
        mask: ``(n, *space)`` weights or booleans of the pixels that count; default: all. None that counts: 0.
    """
    if mask is None and _alike(probs, target) and _differences() is not None:
        found: Tensor = _SquaredDifference.apply(probs, target)
        return found
    difference = (probs.float() - target.float()).square()
    if mask is None:
        return difference.mean()
    weight = mask.unsqueeze(1).float()
    return (difference * weight).sum() / (probs.shape[1] * weight.sum()).clamp_min(1)


class _SquaredDifference(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        ctx.save_for_backward(first, second)
        total = _differences().sum_of_squares(*(flat(each) for each in (first, second)))
        return torch.tensor(total / first.numel(), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        both = ctx.saved_tensors
        scale = np.float32(2 * gradient.item() / both[0].numel())
        first, second = (
            _gradient(own, other, scale) if needed else None
            for needed, (own, other) in zip(ctx.needs_input_grad, (both, both[::-1]), strict=True)
        )
        return first, second


def _gradient(own: Tensor, other: Tensor, scale: np.float32) -> Tensor:
    found = torch.empty_like(own)
    _differences().differences(flat(own), flat(other), scale, flat(found))
    return found


def _alike(first: Tensor, second: Tensor) -> bool:
    """Whether compiled loops can take both, number by number as they lie in memory."""
    lie_alike = first.shape == second.shape and first.stride() == second.stride()
    return lie_alike and takes_flat(first) and takes_flat(second)


def symmetric_divergence(first: Tensor, second: Tensor, axis: int = 1) -> Tensor:
    """Mean over elements of ½ [KL(p‖q) + KL(q‖p)], p and q the softmaxes along ``axis`` of ``(n, c, *space)`` logits.

    The mean runs over classes too, as the released R-Drop takes it: 1/c of the divergence of a pixel
    (https://github.com/HiLab-git/SSL4MIS/blob/06df604/code/train_regularized_dropout_3D.py). From log-softmaxes, so a
    probability of 0 is harmless.
    """
    log_p, log_q = (torch.log_softmax(logits.float(), dim=axis) for logits in (first, second))
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).mean() / 2


def rectified_consistency(scales: Sequence[Tensor]) -> Tensor:
    """Squared difference of each prediction to the mean of all, weighted down where the two diverge.

    With p̄ the mean of the softmaxes and v the divergence KL(p̄‖p) of a pixel: the mean of (p̄ - p)² exp(-v) over classes
    and pixels, over the mean of exp(-v), plus the mean of v; averaged over the predictions. Gradient flows through p̄.

    Source: URPC (SSL4MIS, https://github.com/HiLab-git/SSL4MIS/tree/06df604), from log-softmaxes where the code takes
    logarithms of probabilities that can be 0.

    Args:
        scales: logits ``(n, c, *space)`` of the same pixels.
    """
    if all(takes(logits) and logits.dtype == scales[0].dtype for logits in scales) and _compiled() is not None:
        found: Tensor = _Rectified.apply(torch.stack([logits.movedim(1, -1).flatten(0, -2) for logits in scales]))
        return found
    log_probs = torch.stack([torch.log_softmax(logits.float(), dim=1) for logits in scales])
    log_mean = torch.logsumexp(log_probs, dim=0) - math.log(len(scales))
    mean = log_mean.exp()
    divergence = (mean * (log_mean - log_probs)).sum(dim=2)
    certainty = torch.exp(-divergence)
    pixels = list(range(1, divergence.ndim))
    squared = (mean - log_probs.exp()).square().mean(dim=2)
    rectified = (squared * certainty).mean(pixels) / (certainty.mean(pixels) + _LEAST_CERTAINTY)
    return (rectified + divergence.mean(pixels)).mean()


class _Rectified(torch.autograd.Function):
    """:func:`rectified_consistency` of ``(scales, positions, classes)``."""

    @staticmethod
    def forward(ctx: Any, scales: Tensor) -> Tensor:
        total = np.zeros((len(scales), 3))
        _compiled().sums_of_scales(numbers(scales.detach()), total)
        rectified, certain, divergence = total.T / scales.shape[1]
        certain = certain + _LEAST_CERTAINTY
        ctx.save_for_backward(scales)
        ctx.kept = 1 / certain, -rectified / certain**2, np.ones_like(certain)
        return torch.tensor((rectified / certain + divergence).mean(), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (scales,) = ctx.saved_tensors
        by_sum = np.stack(ctx.kept, axis=1) * (gradient.item() / scales.shape[:2].numel())
        found = torch.empty_like(scales)
        _compiled().gradient_of_scales(numbers(scales.detach()), by_sum.astype(np.float32), numbers(found))
        return found
