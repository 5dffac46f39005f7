"""The most probable class of every pixel, or of those whose class is sure, and scores in the channel of a class."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from datasets.types import IGNORE

from .compiled import loops, rows, takes, takes_any
from .losses.overlap import one_hot

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


def of_own_class(scores: Tensor, label: Tensor) -> Tensor:
    """``(n, c, *space)`` float32: ``scores`` in the channel of ``label`` ``(n, *space)``, 0 elsewhere and at IGNORE."""
    scores = scores.detach()
    if not (takes(scores) and label.is_contiguous() and _compiled() is not None):
        return scores.float() * one_hot(label, scores.shape[1])
    found, given = torch.zeros(scores.shape), rows(scores).reshape(len(scores), -1, scores.shape[1])
    _compiled().of_own_class(given, label.flatten(1).numpy(), found.flatten(2).numpy())
    return found


def own_probability(logits: Tensor, label: Tensor | None = None) -> Tensor:
    """:func:`of_own_class` of the softmax of ``logits`` ``(n, c, *space)``; without ``label`` of the most probable."""
    logits = logits.detach()
    if not (takes(logits) and (label is None or label.is_contiguous()) and _compiled() is not None):
        probs = torch.softmax(logits.float(), dim=1)
        return of_own_class(probs, most_probable(probs) if label is None else label)
    found = torch.empty(logits.shape)
    own = torch.empty(0, 0, dtype=torch.int64) if label is None else label.flatten(1)
    _compiled().own_probability(rows(logits), own.numpy(), found.flatten(2).numpy())
    return found


def nearest_if_sure(similarity: Tensor, confident: Tensor, confidence: float, margin: float) -> Tensor:
    """``(n, v)`` int64: the most similar class where it is sure, IGNORE elsewhere.

    Args:
        similarity, confident: ``(n, c, v)``, without gradient.
        confidence: sure is where a number of ``confident`` is above it,
        margin: or where the highest similarity leads by more than this.
    """
    if all(each.dtype == torch.float32 and each.is_contiguous() for each in (similarity, confident)) and (
        takes_any(similarity) and _compiled() is not None
    ):
        found = torch.empty_like(similarity[:, 0], dtype=torch.int64, memory_format=torch.contiguous_format)
        limits = np.float32(confidence), np.float32(margin)
        _compiled().nearest_if_sure(similarity.numpy(), confident.numpy(), *limits, found.numpy())
        return found
    nearest = most_probable(similarity)
    second = similarity.scatter(1, nearest.unsqueeze(1), -torch.inf).amax(dim=1)  # topk takes twice as long
    sure = (confident.amax(dim=1) > confidence) | (similarity.amax(dim=1) - second > margin)
    return torch.where(sure, nearest, IGNORE)


def confident_labels(logits: Tensor, threshold: float) -> Tensor:
    """``(n, *space)`` int64: the most probable class where its probability reaches ``threshold``, IGNORE elsewhere."""
    probs = torch.softmax(logits.detach().float(), dim=1)
    return torch.where(probs.amax(dim=1) >= threshold, most_probable(probs), IGNORE)
