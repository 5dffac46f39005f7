"""Agreement of two predicted distributions, in nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over pixels of ``-Σ target · log softmax(logits)``; of a constant target, KL up to a constant.

    Args:
        logits: ``(n, c, *space)``.
        target: ``(n, c, *space)``, sum 1 over classes; detach it if it is constant.
    """
    return -(target.float() * torch.log_softmax(logits.float(), dim=1)).sum(dim=1).mean()


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Mean over pixels of the Jensen-Shannon divergence of two softmaxes: in [0, ln 2], gradient into both.

    It is the entropy of their mean minus the mean of their entropies (Qiao et al., ECCV 2018). From log-softmaxes, so
    a probability of 0 is harmless.

    Args:
        first, second: logits ``(n, c, *space)``.
    """
    logs = torch.stack([torch.log_softmax(logits.float(), dim=1) for logits in (first, second)])
    log_mean = torch.logsumexp(logs, dim=0) - math.log(2)
    return (logs.exp() * (logs - log_mean)).sum(dim=2).mean()
