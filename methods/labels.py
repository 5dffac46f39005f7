"""The most probable class of every pixel, or of those whose class is sure."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from datasets.types import IGNORE

from .compiled import loops, rows, takes

_compiled = partial(loops, "labels")


def most_probable(scores: Tensor) -> Tensor:
    """``scores.argmax(dim=1)``: ``(n, *space)`` int64 of ``(n, c, *space)``; of equal scores the first class.

    On a CPU by a compiled loop, or class by class, because PyTorch's argmax takes over ten times as long there. Only
    NaN may then be treated otherwise: argmax chooses it, here it wins in class 0 alone. That is the same for
    probabilities, where a softmax spreads it over all classes; logits with one make the loss NaN by themselves.
    """
    if scores.device.type != "cpu":
        return scores.argmax(dim=1)
    scores = scores.detach()
    if takes(scores) and _compiled() is not None:
        found = torch.empty_like(scores[:, 0], dtype=torch.int64, memory_format=torch.contiguous_format)
        _compiled().most_probable(rows(scores), found.numpy().reshape(-1))
        return found
    best, label = scores[:, 0], torch.zeros_like(scores[:, 0], dtype=torch.int64)
    for k in range(1, scores.shape[1]):
        label = torch.where(scores[:, k] > best, k, label)
        best = torch.maximum(best, scores[:, k])
    return label


def confident_labels(logits: Tensor, threshold: float) -> Tensor:
    """``(n, *space)`` int64: the most probable class where its probability reaches ``threshold``, IGNORE elsewhere."""
    probs = torch.softmax(logits.detach().float(), dim=1)
    return torch.where(probs.amax(dim=1) >= threshold, most_probable(probs), IGNORE)
