"""Cross-entropy and Dice of one label map in one go, where that pays: on one thread of a CPU.

PyTorch's own pass over the logits some thirty times for them, which is a tenth of a small network's step. Together they
pass over them once each way, and over unlabelled positions not at all.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .compiled import loops, rows, takes

_compiled = partial(loops, "losses")


def fits(logits: Tensor, label: Tensor) -> bool:
    """Whether the compiled loops can take it."""
    return (
        takes(logits)
        and logits.numel() > 0
        and label.device.type == "cpu"
        and label.dtype == torch.int64
        and label.shape == (len(logits), *logits.shape[2:])
        and label.is_contiguous()
        and _compiled() is not None
    )


def entropy_and_dice(logits: Tensor, label: Tensor, smooth: float) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over the known positions, and squared Dice loss of every class; for what :func:`fits`.

    Args:
        logits: ``(n, classes, *space)``.
        label: ``(n, *space)`` int64 in range(classes), or IGNORE.
        smooth: added to numerator and denominator of Dice.

    Returns:
        A number, and ``(classes,)``. Nothing known: zeros, with zero gradient.

    Raises:
        IndexError: a label that is no class.
    """
    found: tuple[Tensor, Tensor] = _EntropyAndDice.apply(logits, label, smooth)
    return found


class _EntropyAndDice(torch.autograd.Function):
    @staticmethod
    @np.errstate(all="ignore")  # a loss that is not finite ends the cell, with a sentence of its own
    def forward(ctx: Any, logits: Tensor, label: Tensor, smooth: float) -> tuple[Tensor, Tensor]:
        given, places = rows(logits), label.reshape(-1).numpy()
        probs = np.empty(given.shape, np.float32)
        overlap, squares, count = np.zeros((3, given.shape[1]))
        total, wrong = _compiled().sums_of_known(given, places, probs, overlap, squares, count)
        if wrong != _compiled().IGNORE:
            raise IndexError(f"Target {wrong} is out of bounds: {given.shape[1]} classes")
        known, sizes = max(count.sum(), 1), squares + count + smooth
        ctx.save_for_backward(logits, label)
        ctx.kept = probs, known, overlap, sizes, smooth
        losses = 1 - (2 * overlap + smooth) / sizes
        return torch.tensor(total / known, dtype=torch.float32), torch.from_numpy(losses.astype(np.float32))

    @staticmethod
    @once_differentiable
    @np.errstate(all="ignore")
    def backward(ctx: Any, of_entropy: Tensor, of_losses: Tensor) -> tuple[Tensor, None, None]:
        logits, label = ctx.saved_tensors
        probs, known, overlap, sizes, smooth = ctx.kept
        by_class = of_losses.double().numpy()
        of_overlap = (-2 * by_class / sizes).astype(np.float32)
        of_squares = (by_class * (2 * overlap + smooth) / sizes**2).astype(np.float32)
        found = torch.empty_like(logits)
        each = np.float32(of_entropy.item() / known)
        _compiled().gradient_of_known(
            probs, label.reshape(-1).numpy(), each, of_overlap, of_squares, rows(logits), rows(found)
        )
        return found, None, None
