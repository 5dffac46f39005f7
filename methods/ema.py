"""Exponential moving average of a network: the teacher of mean-teacher methods."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .following import Following, follows


@follows
def ema_decay(step: float, limit: float) -> float:
    """Decay after ``step`` (0 = first): ``min(1 - 1/(step + 1), limit)``, so it forgets its initialisation.

    Tarvainen and Valpola, NeurIPS 2017. 0 at the first step: the teacher becomes the student, whatever it was.

    >>> ema_decay(0, 0.99), ema_decay(9, 0.99), ema_decay(500, 0.99)
    (0.0, 0.9, 0.99)
    """
    return min(1 - 1 / (step + 1), limit)


@torch.no_grad()
def average_parameters(teacher: nn.Module, student: nn.Module, decay: float | Tensor) -> None:
    """``teacher <- decay * teacher + (1 - decay) * student``, parameters only; a scalar on their device at will.

    Buffers are left alone: the teachers of the published methods run in training mode, so that their batch-norm
    statistics follow from their own forward passes. A teacher that runs in eval mode needs :func:`average_buffers` too.
    """
    _move(list(teacher.parameters()), list(student.parameters()), 1 - decay)


@torch.no_grad()
def average_buffers(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """The same for floating-point buffers (batch-norm statistics); counters are copied."""
    pairs = list(zip(teacher.buffers(), student.buffers(), strict=True))
    averaged = [pair for pair in pairs if pair[0].is_floating_point()]
    copied = [pair for pair in pairs if not pair[0].is_floating_point()]
    if averaged:
        _move([mine for mine, _ in averaged], [theirs for _, theirs in averaged], 1 - decay)
    if copied:
        torch._foreach_copy_([mine for mine, _ in copied], [theirs for _, theirs in copied])


def _move(mine: list[Tensor], theirs: list[Tensor], share: float | Tensor) -> None:
    """``mine`` by ``share`` of the way to ``theirs``; lerp takes no share on the device or that follows the clock."""
    if not isinstance(share, Following | Tensor):
        torch._foreach_lerp_(mine, theirs, share)
        return
    way = torch._foreach_sub(theirs, mine)
    torch._foreach_mul_(way, share)
    torch._foreach_add_(mine, way)
