"""Agreement of two predicted distributions as directions."""

from __future__ import annotations

from torch import Tensor

_LEAST = 1e-8
"""Lengths below it count as it, as in PyTorch's cosine similarity."""


def cosine_distance(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """Mean over the pixels that count of 1 - cos, in [0, 1]; gradient flows into both. None that counts: 0.

    Source: CycleMix (Zhang and Zhuang, CVPR 2022), https://github.com/BWGZK/CycleMix/blob/443fe95/engines.py, which
    divides by all pixels.

    Args:
        first, second: probabilities ``(n, c, *space)``.
        mask: ``(n, *space)`` booleans of the pixels that count.
    """
    # with classes outermost, sums over them take a fraction of the time on a CPU
    one, other = (each.float().movedim(1, 0).contiguous() for each in (first, second))
    dot, *squares = ((a * b).sum(dim=0) for a, b in ((one, other), (one, one), (other, other)))
    length, length_2 = (each.clamp_min(_LEAST**2).sqrt() for each in squares)
    return ((1 - dot / (length * length_2)) * mask).sum() / mask.sum().clamp_min(1)
