"""Contrast of two dense feature maps position by position: the same place attracts, or every pair repels.

Everything is float32, under autocast too: similarities are divided by a small temperature and exponentiated. Pairs are
within a sample, never across the batch.

Source: Min-Max Similarity, https://github.com/AngeLouCN/Min_Max_Similarity/blob/07571ea/contrastive_loss.py
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def position_contrast(query: Tensor, key: Tensor, temperature: float, *, order: float = 2) -> Tensor:
    """Mean over positions i of -log [e^s_ii / Σ_j e^s_ij], s_ij the product of query i and key j over the temperature.

    Identical vectors everywhere cost ln N, N being the number of positions.

    Args:
        query: ``(n, d, *space)``, where gradient flows.
        key: the same shape; taken as constant.
        temperature: small = only the nearest matter.
        order: vectors are divided by their norm of this order: 2 makes products cosines; the released code takes 1.
    """
    logits = _similarities(query, key, temperature, order)
    return (torch.logsumexp(logits, dim=2) - logits.diagonal(dim1=1, dim2=2)).mean()


def repulsion(query: Tensor, key: Tensor, temperature: float, *, order: float = 2, diagonal: bool = True) -> Tensor:
    """Mean over positions i of log [1 + Σ_j e^s_ij]: every position repels all of the other map.

    Mutually orthogonal vectors cost ln(1 + N), or ln N without the diagonal.

    Args:
        query, key, temperature, order: see :func:`position_contrast`.
        diagonal: whether a position also repels the same position of the other map. It should where the maps are of
            different images; the released code leaves it out.
    """
    logits = _similarities(query, key, temperature, order)
    if not diagonal:
        itself = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(itself, -math.inf)
    return torch.logsumexp(F.pad(logits, (1, 0)), dim=2).mean()  # the added column of zeros is the 1


def pooled(maps: Tensor, positions: int) -> Tensor:
    """``maps`` ``(n, d, *space)`` averaged to at most ``positions`` of them, as long as ``space`` is.

    Every side is divided by the same whole number, the smallest that suffices, and rounded down. Similarities take
    memory of the square of the number of positions.
    """
    space, factor = maps.shape[2:], 1
    while math.prod(max(1, side // factor) for side in space) > positions:
        factor += 1
    if factor == 1:
        return maps
    pool: Callable[..., Tensor] = (F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[len(space) - 2]
    return pool(maps, [max(1, side // factor) for side in space])


def _similarities(query: Tensor, key: Tensor, temperature: float, order: float) -> Tensor:
    """``(n, N, N)``."""
    with torch.autocast(query.device.type, enabled=False):
        query, key = (F.normalize(maps.flatten(2).float(), p=order, dim=1) for maps in (query, key.detach()))
        return query.transpose(1, 2) @ key / temperature
