"""Contrast of vectors: those of one class attract, those of different classes repel.

Everything is float32, under autocast too: similarities are divided by a small temperature and exponentiated.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from datasets.types import IGNORE

from ..compiled import loops, numbers, takes_any

_compiled = partial(loops, "contrasts")

_NEVER = -1e4
"""Logit of a pair that does not count; finite, so that a row without any pair has a finite gradient."""
LEAST = -80.0
"""Exponents below it count as it: next to 1 they are nothing, and where e^x underflows a CPU takes 20 times as long."""


def supervised_contrast(
    vectors: Tensor,
    label: Tensor,
    temperature: float,
    *,
    hardness: float = 0.0,
    importance: Tensor | None = None,
    anchors: Tensor | None = None,
    narcissists: Tensor | None = None,
) -> Tensor:
    """Mean over anchors i and their positives p of -log [e^s_ip / (e^s_ip + Σ_n e^s_in)], n of another label than i.

    s is the cosine over the temperature. Unlike in the supervised contrast of Khosla et al. (arXiv:2004.11362), a
    positive competes with the negatives only, not with the other positives. An anchor without a positive does not
    count; without any anchor the loss is 0.

    Sources: the voxel contrast of CVCL (https://github.com/maybeQi/Voxel-Contrastive/tree/65698b3); the re-weighting of
    hard positives of BHPC (https://github.com/PerPerZXY/BHPC/blob/2761c40/loss_functions/supcon_loss.py).

    Args:
        vectors: ``(r, d)``, of any length.
        label: ``(r,)`` int64; IGNORE leaves a vector out.
        temperature: small = only the nearest matter.
        hardness: β of the weight exp(-β max(0, cosine)) of a positive among those of its anchor; 0 = all alike.
        importance: ``(r,)``; a positive's weight is also multiplied by the root of both vectors' importance.
        anchors: ``(r,)`` booleans; default: all vectors.
        narcissists: ``(r,)`` booleans of anchors that are their own positive too, as CVCL's code leaves its background;
            default: none.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        unit = F.normalize(vectors.float(), dim=1)
        if takes_any(unit) and _compiled() is not None:
            marks = (
                (torch.ones_like(label, dtype=torch.bool) if anchors is None else anchors),
                (torch.zeros_like(label, dtype=torch.bool) if narcissists is None else narcissists),
            )
            roots = torch.ones(len(label)) if importance is None else importance.detach().float().sqrt()
            order = torch.where(label == IGNORE, torch.iinfo(label.dtype).max, label).argsort(stable=True)
            sorted_by_label = (each[order] for each in (unit, label, roots, *marks))
            found: Tensor = _OfLabels.apply(*sorted_by_label, temperature, hardness)
            return found
        cosine = unit @ unit.T
        logits = cosine / temperature
        counts = label != IGNORE
        both = counts[:, None] & counts
        same = label[:, None] == label
        others = _log_sum(logits, both & ~same).unsqueeze(1)
        itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
        if narcissists is not None:
            itself = itself & ~narcissists
        weight = (both & same & ~itself).float()
        if hardness:
            weight = weight * torch.exp(-hardness * cosine.detach().clamp_min(0))
        if importance is not None:
            weight = weight * (importance[:, None] * importance).sqrt()
        total = weight.sum(dim=1)
        counted = (total > 0) if anchors is None else (total > 0) & anchors
        rows = (weight * F.softplus(others - logits)).sum(dim=1) / total.clamp_min(1e-12)
        return (rows * counted).sum() / counted.sum().clamp_min(1)


class _OfLabels(torch.autograd.Function):
    """:func:`supervised_contrast` of unit vectors sorted by label; its gradient is found on the way."""

    @staticmethod
    def forward(ctx: Any, unit: Tensor, label: Tensor, *rest: Any) -> Tensor:
        *marks, temperature, hardness = rest
        arrays = [numbers(each.contiguous()) for each in (label, *marks)]
        pairs = unit @ unit.T
        numbers_of = np.float32(1 / temperature), np.float32(hardness), np.float32(_NEVER)
        cost, counted = _compiled().contrast_of_labels(numbers(pairs), *arrays, *numbers_of)
        ctx.save_for_backward(unit, pairs)
        ctx.counted = max(counted, 1)
        return torch.tensor(cost / ctx.counted, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, arriving: Tensor) -> tuple[Tensor | None, ...]:
        unit, pairs = ctx.saved_tensors
        return (pairs @ unit + pairs.T @ unit) * (arriving / ctx.counted), None, None, None, None, None, None


def prototype_contrast(
    query: Tensor, key: Tensor, present: Tensor, bank: Tensor, filled: Tensor, temperature: float
) -> Tensor:
    """Mean of -log [e^s(q,k) / (e^s(q,k) + Σ e^s(q,b))] over present classes; b: what the bank holds of other classes.

    Args:
        query: ``(n, c, d)``, where gradient flows.
        key: ``(n, c, d)`` of the same samples and classes.
        present: ``(n, c)`` booleans; where False, neither counts.
        bank: ``(c, slots, d)``.
        filled: ``(c, slots)`` booleans.
        temperature: divides the cosines.
    """
    with torch.autocast(query.device.type, enabled=False):
        query, key, bank = (F.normalize(each.float(), dim=-1) for each in (query, key, bank))
        positive = (query * key).sum(dim=2) / temperature
        classes, slots = filled.shape
        against = (query @ bank.flatten(0, 1).T / temperature).unflatten(2, (classes, slots))
        of_others = filled & ~torch.eye(classes, dtype=torch.bool, device=query.device).unsqueeze(2)
        others = _log_sum(against.flatten(2), of_others.flatten(1))
        return (F.softplus(others - positive) * present).sum() / present.sum().clamp_min(1)


def _log_sum(logits: Tensor, counts: Tensor) -> Tensor:
    """``log Σ e^logits`` of those that count, along the last axis; about ``_NEVER`` where none does."""
    most = torch.where(counts, logits.detach(), _NEVER).amax(dim=-1, keepdim=True)
    # None that counts is above 0. The bound is higher, for at a bound PyTorch 2.14 has no gradient.
    shares = (logits - most).clamp(LEAST, 1).exp() * counts
    return shares.sum(dim=-1).clamp_min(torch.finfo(shares.dtype).tiny).log() + most.squeeze(-1)
