"""What methods read off a network beside its logits: its last map before dropout, and vectors made of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .networks.base import SegmentationNetwork

_LEAST = 1e-12
"""Lengths below it count as it."""


def with_last_map(network: SegmentationNetwork, image: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the decoder's last map as it is before its dropout; where it has none, what the head sees.

    After dropout of whole channels, two pixels differ by what was dropped more than by what they are.
    """
    seen: list[Tensor] = []
    last = getattr(network.decoder, "dropout", network.head)
    handle = last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        return network(image), seen[0]
    finally:
        handle.remove()


def lengths(vectors: Tensor) -> Tensor:
    """``(n, v)`` of ``(n, v, d)``; never 0, so that what is divided by it is finite."""
    return torch.linalg.vector_norm(vectors, dim=-1).clamp_min(_LEAST)


def directions_sum(weight: Tensor, vectors: Tensor) -> Tensor:
    """Weighted sums ``(n, c, d)`` of the unit vectors along ``vectors`` ``(n, v, d)``, which are never made.

    Args:
        weight: ``(n, c, v)``.
        vectors: of any length.
    """
    return (weight / lengths(vectors).unsqueeze(1)) @ vectors


class Projection(nn.Module):
    """Vectors of single pixels, of which the direction counts: two layers of ``width`` channels that see one pixel.

    The layers are matrix products, which on a CPU take a fraction of the time of convolutions with a kernel of 1.
    Without biases, which would be a common direction of all vectors and make them alike before any training.

    Args:
        channels: of the maps.
        width: length of the vectors.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        first, second = nn.Conv1d(channels, width, 1, bias=False), nn.Conv1d(width, width, 1, bias=False)
        self.layers = nn.Sequential(first, nn.ReLU(inplace=True), second)

    def forward(self, maps: Tensor) -> Tensor:
        """``(n, v, width)`` of ``(n, channels, *space)``, v pixels in raster order; of any length."""
        first, second = (weight.squeeze(2) for weight in self.parameters())
        return F.linear(F.relu(F.linear(maps.flatten(2).transpose(1, 2).float(), first), inplace=True), second)

    def at(self, maps: Tensor, index: Tensor) -> Tensor:
        """``(n, k, width)`` at flat positions ``(n, k)``: what :meth:`forward` gives there, of these pixels alone."""
        return self(maps.flatten(2).gather(2, index.unsqueeze(1).expand(-1, maps.shape[1], -1)))
