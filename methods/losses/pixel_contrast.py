"""Contrast of two dense feature maps position by position: the same place attracts, or every pair repels.

Everything is float32, under autocast too: similarities are divided by a small temperature and exponentiated. Pairs are
within a sample, never across the batch.

Source: Min-Max Similarity, https://github.com/AngeLouCN/Min_Max_Similarity/blob/07571ea/contrastive_loss.py
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .contrastive import LEAST

_ROWS = 256
"""Positions compared with all others at a time, so that their similarities stay in the cache."""


def position_contrast(query: Tensor, key: Tensor, temperature: float, *, order: float = 2) -> Tensor:
    """Mean over positions i of -log [e^s_ii / Σ_j e^s_ij], s_ij the product of query i and key j over the temperature.

    Identical vectors everywhere cost ln N, N being the number of positions.

    Args:
        query: ``(n, d, *space)``, where gradient flows.
        key: the same shape; taken as constant.
        temperature: small = only the nearest matter.
        order: vectors are divided by their norm of this order: 2 makes products cosines; the released code takes 1.

    Raises:
        ValueError: a single position, which has nothing to be told from: its contrast is 0 whatever it is.
    """
    if query[0, 0].numel() < 2:
        raise ValueError(
            f"the contrast of positions needs two or more, got maps of {tuple(query.shape[2:])}: compare more "
            "positions, or take a larger patch"
        )
    return _compared(query, key, temperature, order, own=True, one=False, diagonal=True)


def repulsion(query: Tensor, key: Tensor, temperature: float, *, order: float = 2, diagonal: bool = True) -> Tensor:
    """Mean over positions i of log [1 + Σ_j e^s_ij]: every position repels all of the other map.

    Mutually orthogonal vectors cost ln(1 + N), or ln N without the diagonal.

    Args:
        query, key, temperature, order: see :func:`position_contrast`.
        diagonal: whether a position also repels the same position of the other map. It should where the maps are of
            different images; the released code leaves it out.
    """
    return _compared(query, key, temperature, order, own=False, one=True, diagonal=diagonal)


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


def _compared(
    query: Tensor, key: Tensor, temperature: float, order: float, *, own: bool, one: bool, diagonal: bool
) -> Tensor:
    """Mean over positions i of log Σ_j e^s_ij.

    Args:
        query, key, temperature, order: see :func:`position_contrast`.
        own: less s_ii.
        one: 1 is added to the sum.
        diagonal: whether s_ii is in the sum.
    """
    with torch.autocast(query.device.type, enabled=False):
        query, key = (F.normalize(maps.flatten(2).float(), p=order, dim=1) for maps in (query, key.detach()))
        key = key / temperature
        if query.device.type == "cpu":
            found: Tensor = _Blockwise.apply(query, key, own, one, diagonal)
            return found
        return _at_once(query, key, own, one, diagonal)


def _at_once(query: Tensor, key: Tensor, own: bool, one: bool, diagonal: bool) -> Tensor:
    """:func:`_compared` of all pairs ``(n, d, N)`` in one go, as suits an accelerator."""
    logits = query.transpose(1, 2) @ key
    itself = logits.diagonal(dim1=1, dim2=2)
    if not diagonal:
        places = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(places, -math.inf)
    total = torch.logsumexp(F.pad(logits, (1, 0)) if one else logits, dim=2)  # the added column of zeros is the 1
    return (total - itself if own else total).mean()


class _Blockwise(torch.autograd.Function):
    """:func:`_compared`, some rows of one sample at a time, with the gradient found on the way.

    A thousand positions have a million pairs, which PyTorch's own passes over ten times, each time to memory and back.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, own: bool, one: bool, diagonal: bool) -> Tensor:
        gradient, total = torch.empty_like(query), query.new_zeros((), dtype=torch.float64)
        for mine, theirs, found in zip(query, key, gradient, strict=True):
            for start, rows in enumerate(mine.T.split(_ROWS)):
                at = start * _ROWS
                similar = rows @ theirs
                itself = similar.diagonal(at)
                if own:
                    total -= itself.sum()
                if not diagonal:
                    itself.fill_(-math.inf)
                most = similar.amax(dim=1, keepdim=True)
                most = most.clamp_min(0) if one else most
                shares = similar.sub_(most).clamp_min_(LEAST).exp_()
                if not diagonal:
                    itself.zero_()
                whole = shares.sum(dim=1, keepdim=True)
                whole = whole + torch.exp(-most) if one else whole
                total += (whole.log() + most).sum()
                pull = (shares @ theirs.T).div_(whole).T
                found[:, at : at + len(rows)] = pull - theirs[:, at : at + len(rows)] if own else pull
        positions = query.shape[0] * query.shape[2]
        ctx.save_for_backward(gradient.div_(positions))
        return (total / positions).to(query.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, arriving: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * arriving, None, None, None, None
