"""V-Net as the left-atrium methods use it: plain convolution blocks, strided resampling, skips by addition.

Source: UA-MT (https://github.com/yulequan/UA-MT/tree/88ed29a), after Milletari et al., 3DV 2016. Unlike the paper, its
blocks are not residual and its skips add instead of concatenating; that is the network of every published table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from . import blocks
from .base import Decoder, SegmentationNetwork
from .elementwise import forked, summed
from .fused import activated

_MOST_CONVS = 3


class Network(SegmentationNetwork):
    """V-Net: 9 448 866 parameters for one channel, two classes, width 16. In 2-D, the same with 2-D layers.

    Args:
        ndim, channels, classes, width: see ``networks.make``.
        levels: resolutions, 2 to 5; level k has min(k, 3) convolutions on either side.
        dropout: probability of dropping a whole channel of the deepest map and of the last decoder map.
        norm: "batch" as published, or "instance": then no crop is seen in the light of the others of its batch.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("levels", "dropout", "norm")

    def __init__(
        self,
        *,
        ndim: int,
        channels: int,
        classes: int,
        width: int,
        levels: int = 5,
        dropout: float = 0.5,
        norm: Literal["batch", "instance"] = "batch",
    ) -> None:
        if not 2 <= levels <= 5:
            raise ValueError(f"vnet: levels must be in [2, 5], got {levels}")
        if not 0 <= dropout < 1:
            raise ValueError(f"vnet: dropout must be in [0, 1), got {dropout}")
        super().__init__(
            ndim=ndim, in_channels=channels, classes=classes, widths=tuple(width * 2**k for k in range(levels))
        )
        self.dropout = dropout
        self.norm = blocks.normalisation(norm, "vnet")
        self.encoder = _Encoder(ndim, channels, self.channels, dropout, self.norm)
        self.decoder = self._make_decoder()
        self.head = self._make_head(self.decoder_channels, classes)

    def _make_decoder(self) -> Decoder:
        return _Decoder(self.ndim, self.channels, self.dropout, self.norm)

    def _make_head(self, channels: int, outputs: int) -> nn.Module:
        return blocks.conv(self.ndim, channels, outputs, kernel=1)


class _Encoder(nn.Module):
    def __init__(self, ndim: int, channels: int, widths: tuple[int, ...], dropout: float, norm: blocks.Norm) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            _convs(ndim, channels if k == 0 else width, width, k + 1, norm) for k, width in enumerate(widths)
        )
        self.downs = nn.ModuleList(
            _normalised(ndim, blocks.conv(ndim, width, 2 * width, kernel=2, stride=2), 2 * width, norm)
            for width in widths[:-1]
        )
        self.dropout = blocks.channel_dropout(ndim, dropout)

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [self.levels[0](image)]
        for down, level in zip(self.downs, self.levels[1:], strict=True):
            smaller, features[-1] = forked(features[-1])
            features.append(level(down(smaller)))
        features[-1] = self.dropout(features[-1])
        return features


class _Decoder(Decoder):
    def __init__(self, ndim: int, widths: tuple[int, ...], dropout: float, norm: blocks.Norm) -> None:
        super().__init__()
        self.channels = widths[-2::-1]
        self.ups = nn.ModuleList(
            _normalised(ndim, blocks.conv_up(ndim, 2 * width, width), width, norm) for width in self.channels
        )
        self.levels = nn.ModuleList(
            _convs(ndim, width, width, len(self.channels) - k, norm) for k, width in enumerate(self.channels)
        )
        self.dropout = blocks.channel_dropout(ndim, dropout)

    def pyramid(self, features: Sequence[Tensor]) -> list[Tensor]:
        maps = [features[-1]]
        for up, level, skip in zip(self.ups, self.levels, features[-2::-1], strict=True):
            maps.append(level(summed(up(maps[-1]), skip)))
        maps[-1] = self.dropout(maps[-1])
        return maps[1:]


def _convs(ndim: int, channels_in: int, channels_out: int, level: int, norm: blocks.Norm) -> nn.Sequential:
    before = (channels_in, *[channels_out] * (min(level, _MOST_CONVS) - 1))
    return nn.Sequential(
        *(_normalised(ndim, blocks.conv(ndim, width, channels_out), channels_out, norm) for width in before)
    )


class _Activated(nn.Sequential):
    """Convolution, normalisation, activation."""

    def forward(self, maps: Tensor) -> Tensor:
        convolution, norm, activation = self
        return activated(convolution(maps), norm, activation)


def _normalised(ndim: int, layer: nn.Module, channels: int, norm: blocks.Norm) -> nn.Sequential:
    return _Activated(layer, norm(ndim, channels), nn.ReLU(inplace=True))
