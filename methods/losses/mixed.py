"""Cross-entropy of an image that two images were mixed into, where the class of either is known."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from datasets.types import IGNORE


def mixed_cross_entropy(logits: Tensor, first: Tensor, second: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the cross-entropies against two labels, weighted by their shares where they are known.

    Source: CycleMix, https://github.com/BWGZK/CycleMix/blob/443fe95/models/segmentation.py, on the mixed one-hot maps.

    Args:
        logits: ``(n, c, *space)``.
        first, second: ``(n, *space)`` int64, IGNORE where unknown.
        share: ``(n, *space)`` in [0, 1], of the first; the rest is the second's.

    Returns:
        The mean over the known part of the mixture, without any: 0; and the share of that part in all pixels.
    """
    logits, total, known = logits.float(), share.new_zeros(()), share.new_zeros(())
    for label, weight in ((first, share), (second, 1 - share)):
        total = total + (weight * F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none")).sum()
        known = known + (weight * (label != IGNORE)).sum()
    return total / known.clamp_min(1), known / share.numel()
