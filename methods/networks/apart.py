"""Several batches through one network in one pass, each normalised by its own statistics, as if they came one by one.

Convolutions of few samples leave a CPU's units idle, and every pass brings the weights into their types and layouts
anew. Batch normalisation is all that makes samples of a batch depend on each other, so it alone must know the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_PARTS: ContextVar[tuple[int, ...]] = ContextVar("parts", default=())
"""Samples of each batch of the pass that is going on; empty = it is one batch."""


class BatchNorm2d(nn.BatchNorm2d):
    """PyTorch's, which knows the batches of :func:`passes`."""

    def forward(self, input: Tensor) -> Tensor:
        return _by_parts(super().forward, input, training=self.training)


class BatchNorm3d(nn.BatchNorm3d):
    """PyTorch's, which knows the batches of :func:`passes`."""

    def forward(self, input: Tensor) -> Tensor:
        return _by_parts(super().forward, input, training=self.training)


def passes(network: nn.Module, *batches: Tensor) -> Sequence[Tensor]:
    """``[network(batch) for batch in batches]``, in one pass where that pays: on a CPU, for networks of this package.

    Args:
        network: a tensor's map to one, sample by sample but for batch normalisation and what it draws at random.
        batches: ``(n, channels, *space)`` each, of one space.

    Returns:
        What the network makes of each batch. Running statistics move by one batch after the other.
    """
    sizes = tuple(len(batch) for batch in batches)
    if len(batches) < 2 or batches[0].device.type != "cpu" or not _knows_parts(network):
        return [network(batch) for batch in batches]
    token = _PARTS.set(sizes)
    try:
        found: Tensor = network(torch.cat(batches))
    finally:
        _PARTS.reset(token)
    return found.split(sizes)


def parts(maps: Tensor) -> tuple[int, ...]:
    """Samples of each batch that ``maps`` are made of."""
    sizes = _PARTS.get()
    return sizes if sum(sizes) == len(maps) else (len(maps),)


def _knows_parts(network: nn.Module) -> bool:
    norms = (layer for layer in network.modules() if isinstance(layer, _BatchNorm))
    return all(isinstance(layer, BatchNorm2d | BatchNorm3d) for layer in norms)


def _by_parts(norm: Callable[[Tensor], Tensor], maps: Tensor, *, training: bool) -> Tensor:
    sizes = parts(maps)
    if training and maps.numel() and min(sizes) * maps[0, 0].numel() == 1:
        raise ValueError(
            f"batch normalisation needs more than one position, got one sample of {tuple(maps.shape)} in training: "
            "take a larger batch or patch, or fewer levels"
        )
    return norm(maps) if len(sizes) == 1 else torch.cat([norm(part) for part in maps.split(sizes)])
