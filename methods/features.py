"""What methods read off a network beside its logits: its last map before dropout, and unit vectors made of it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .networks.base import SegmentationNetwork


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


class Projection(nn.Module):
    """Unit vectors of single pixels: two layers of ``width`` channels that see one pixel each.

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
        """``(n, width, v)`` of ``(n, channels, *space)``, v pixels in raster order."""
        return F.normalize(self.layers(maps.flatten(2).float()), dim=1)

    def at(self, maps: Tensor, index: Tensor) -> Tensor:
        """``(n, k, width)`` at flat positions ``(n, k)``: what :meth:`forward` gives there, of these pixels alone."""
        chosen = maps.flatten(2).gather(2, index.unsqueeze(1).expand(-1, maps.shape[1], -1))
        return self(chosen).transpose(1, 2)
