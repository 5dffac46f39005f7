"""Three methods as the released codes compute them, on the modules of ours, so that weights can be shared.

Full supervision and mean teacher after SSL4MIS, partial cross-entropy after WSL4MIS; their sources and what was
decided where paper and code disagree stand in the methods' own files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.types import IGNORE, Batch
from methods.base import Clock, Method, Terms

_SMOOTH = 1e-5


def supervised(method: Method, batch: Batch, clock: Clock) -> Terms:
    """Cross-entropy and Dice, half of each."""
    return _dense_terms(method.network(batch.labelled.image), batch.labelled.label)


def pce(method: Method, batch: Batch, clock: Clock) -> Terms:
    """Cross-entropy over the scribbled pixels of the batch."""
    logits = method.network(batch.labelled.image)
    return {"partial_ce": F.cross_entropy(logits, batch.labelled.label, ignore_index=IGNORE)}


def mean_teacher(method: Any, batch: Batch, clock: Clock) -> Terms:
    """Dense terms on the labelled images, and the squared difference to the teacher on the noisy unlabelled ones."""
    hyper = method.hyper
    images = batch.images
    n = len(batch.labelled.image)
    noise = torch.clamp(torch.randn_like(images[n:]) * hyper.noise, -hyper.noise_clip, hyper.noise_clip)
    logits = method.network(images)
    with torch.no_grad():
        target = torch.softmax(method.teacher(images[n:] + noise), dim=1)
    consistency = torch.mean((torch.softmax(logits[n:], dim=1) - target) ** 2)
    reached = 1.0 if hyper.ramp == 0 else min(clock.progress / hyper.ramp, 1.0)
    weight = hyper.weight * float(np.exp(-5.0 * (1.0 - reached) ** 2))
    return _dense_terms(logits[:n], batch.labelled.label) | {"consistency": weight * consistency}


def update_teacher(teacher: nn.Module, student: nn.Module, step: int, limit: float) -> None:
    """Parameter by parameter."""
    decay = min(1 - 1 / (step + 1), limit)
    for mine, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.data.mul_(decay).add_(theirs.data, alpha=1 - decay)


WRITTEN_ANEW: dict[str, Callable[[Any, Batch, Clock], Terms]] = {
    "supervised": supervised,
    "pce": pce,
    "mean_teacher": mean_teacher,
}
"""The methods that a plain loop computes by itself; for all others it calls ours."""


def _dense_terms(logits: Tensor, label: Tensor) -> Terms:
    return {"ce": 0.5 * F.cross_entropy(logits, label), "dice": 0.5 * _dice(torch.softmax(logits, dim=1), label)}


def _dice(probs: Tensor, label: Tensor) -> Tensor:
    """One class after the other."""
    loss = torch.zeros((), device=probs.device)
    for k in range(probs.shape[1]):
        score, target = probs[:, k], (label == k).float()
        overlap, size = torch.sum(score * target), torch.sum(score * score) + torch.sum(target * target)
        loss = loss + 1 - (2 * overlap + _SMOOTH) / (size + _SMOOTH)
    return loss / probs.shape[1]
