"""Agreement between two predictions of the same pixels."""

from __future__ import annotations

from torch import Tensor


def squared_difference(probs: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over classes and pixels of ``(probs - target)²``; gradients flow into whichever argument has them.

    Args:
        probs, target: ``(n, c, *space)``.
        mask: ``(n, *space)`` weights or booleans of the pixels that count; default: all. None that counts: 0.
    """
    difference = (probs.float() - target.float()).square()
    if mask is None:
        return difference.mean()
    weight = mask.unsqueeze(1).float()
    return (difference * weight).sum() / (probs.shape[1] * weight.sum()).clamp_min(1)
