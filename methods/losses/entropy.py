"""Entropy of predictions."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropy_map(logits: Tensor) -> Tensor:
    """Entropy of the softmax at every pixel over its maximum ln c: ``(n, *space)`` in [0, 1].

    From the log-softmax, so a probability of exactly 0 contributes 0 with a finite gradient; released codes add 1e-6
    inside the logarithm instead, which moves the value by less than 1e-5.

    Args:
        logits: ``(n, c, *space)``, c of 2 or more.
    """
    log_probs = torch.log_softmax(logits.float(), dim=1)
    return -(log_probs.exp() * log_probs).sum(dim=1) / math.log(logits.shape[1])


def entropy(logits: Tensor) -> Tensor:
    """Mean of :func:`entropy_map` over all pixels of the batch."""
    return entropy_map(logits).mean()
