"""Agreement of two networks' features by what each is like: their similarities to the same remembered vectors.

Source: CAML (Gao et al., MICCAI 2023), https://github.com/Herschel555/CAML/blob/3b1dbc1/code/utils/correlation.py
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_NEVER = -1e4
"""Logit of what is not remembered; finite, so that an empty memory has no NaN."""
_ROWS = 256
"""Vectors that are compared with the memory at a time on a CPU."""


def correlation_consistency(
    first: Tensor, second: Tensor, memory: Tensor, filled: Tensor, counts: Tensor, temperature: float
) -> Tensor:
    """Mean over vectors of -Σ q log p, p and q the softmaxes over the memory of products with it over a temperature.

    p is of the first and q of the second; gradient flows into both. Two vectors that are as like every remembered one
    cost ln m. 0 with zero gradient where nothing is remembered, or no vector counts.

    Args:
        first, second: ``(v, d)`` of the same places; of unit length, as is the memory, if products are to be cosines.
        memory: ``(m, d)``.
        filled: ``(m,)`` booleans: which of these are.
        counts: ``(v,)`` booleans: which of the vectors count.
        temperature: small = only the nearest remembered vectors matter.
    """
    with torch.autocast(first.device.type, enabled=False):
        first, second, memory = first.float(), second.float(), memory.float()
        if first.device.type == "cpu":  # where it costs nothing to ask how many count
            pair = first[counts], second[counts]
            found: Tensor = _Blockwise.apply(*pair, memory[filled].detach(), temperature)
            return found
        log_p, log_q = (
            torch.log_softmax(torch.where(filled, each @ memory.T / temperature, _NEVER), dim=1)
            for each in (first, second)
        )
        counted = counts & filled.any()
        return (-(log_q.exp() * log_p).sum(dim=1) * counted).sum() / counted.sum().clamp_min(1)


class _Blockwise(torch.autograd.Function):
    """The same of vectors that all count, some at a time so that what is computed of them stays in the cache.

    The gradient is found on the way: with respect to the logits of p it is p - q, to those of q it is q times how much
    dearer than its vector a remembered one is.
    """

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, memory: Tensor, temperature: float) -> Tensor:
        gradients, total = (torch.zeros_like(first), torch.zeros_like(second)), first.new_zeros((), dtype=torch.float64)
        size = max(1, len(first)) * temperature
        blocks = (each.split(_ROWS) for each in (first, second, *gradients))
        for mine, theirs, of_mine, of_theirs in zip(*blocks, strict=True) if len(memory) else ():
            log_p, log_q = (torch.log_softmax((each @ memory.T).div_(temperature), dim=1) for each in (mine, theirs))
            q = log_q.exp_()
            cost = torch.linalg.vecdot(q, log_p).neg_()
            total += cost.sum()
            torch.mm(q * (log_p + cost[:, None]), memory, out=of_theirs).div_(-size)
            torch.mm(log_p.exp_().sub_(q), memory, out=of_mine).div_(size)
        ctx.save_for_backward(*gradients)
        return (total / max(1, len(first))).to(first.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, arriving: Tensor) -> tuple[Tensor | None, ...]:
        of_first, of_second = ctx.saved_tensors
        return of_first * arriving, of_second * arriving, None, None
