"""Agreement of two networks' features by what each is like: their similarities to the same remembered vectors.

Source: CAML (Gao et al., MICCAI 2023), https://github.com/Herschel555/CAML/blob/3b1dbc1/code/utils/correlation.py
"""

from __future__ import annotations

import torch
from torch import Tensor

_NEVER = -1e4
"""Logit of what is not remembered; finite, so that an empty memory has no NaN."""


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
        log_p, log_q = (
            torch.log_softmax(torch.where(filled, each.float() @ memory.float().T / temperature, _NEVER), dim=1)
            for each in (first, second)
        )
        counted = counts & filled.any()
        return (-(log_q.exp() * log_p).sum(dim=1) * counted).sum() / counted.sum().clamp_min(1)
