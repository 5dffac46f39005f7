"""Agreement of two predicted distributions as directions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cosine_distance(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """Mean over the pixels that count of 1 - cos, in [0, 1]; gradient flows into both. None that counts: 0.

    Source: CycleMix (Zhang and Zhuang, CVPR 2022), https://github.com/BWGZK/CycleMix/blob/443fe95/engines.py, which
    divides by all pixels.

    Args:
        first, second: probabilities ``(n, c, *space)``.
        mask: ``(n, *space)`` booleans of the pixels that count.
    """
    distance = 1 - F.cosine_similarity(first.float(), second.float(), dim=1)
    return (distance * mask).sum() / mask.sum().clamp_min(1)
