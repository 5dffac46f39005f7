"""What every segmentation network offers: encode, decode, head, and further decoders over the same features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn


class Decoder(nn.Module):
    """Turns encoder features into one feature map of full resolution. Subclasses define :meth:`pyramid`."""

    channels: tuple[int, ...]
    """Channels of each map of :meth:`pyramid`, deepest first."""

    def pyramid(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The feature map after every decoder level, deepest first; the last has full resolution."""
        raise NotImplementedError(f"{type(self).__name__} must define pyramid(features)")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """``(n, channels[-1], *space)``."""
        return self.pyramid(features)[-1]


class SegmentationNetwork(nn.Module):
    """Encoder, decoder and head, so that a method can use the parts.

    Attributes:
        ndim: Spatial dimensions.
        classes: Channels of the logits.
        channels: Encoder widths, shallow to deep: channels of the maps that :meth:`encode` returns.
        decoder_channels: Channels of what :meth:`decode` returns.
        divisor: Every spatial side of the input must be a multiple of it.
        encoder, decoder, head: The parts; a subclass builds them with :meth:`new_decoder`'s two factories.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ()
    """Keyword arguments beyond ndim, channels, classes and width."""

    encoder: nn.Module
    decoder: Decoder
    head: nn.Module

    def __init__(self, *, ndim: int, in_channels: int, classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.ndim = ndim
        self.in_channels = in_channels
        self.classes = classes
        self.channels = widths
        self.decoder_channels = widths[0]
        self.divisor = 2 ** (len(widths) - 1)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Feature maps of every level, shallow to deep; level k has a 2**k times smaller side.

        Raises:
            ValueError: wrong number of axes or channels, or a side that :attr:`divisor` does not divide.
        """
        self._check(image)
        return self.encoder(image)

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Feature map of full resolution, ``(n, decoder_channels, *space)``."""
        return self.decoder(features)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(n, classes, *space)`` of ``image`` ``(n, in_channels, *space)``."""
        return self.head(self.decode(self.encode(image)))

    def new_decoder(self, outputs: int | None = None) -> nn.Sequential:
        """A further, freshly initialised decoder and head: call it on what :meth:`encode` returns.

        Args:
            outputs: output channels; default: as many as classes.
        """
        return nn.Sequential(self._make_decoder(), self.new_head(outputs))

    def new_head(self, outputs: int | None = None, channels: int | None = None) -> nn.Module:
        """A further, freshly initialised head: call it on what :meth:`decode` returns.

        Args:
            outputs: output channels; default: as many as classes.
            channels: of the maps that it is given; default: those of :meth:`decode`.
        """
        return self._make_head(channels or self.decoder_channels, self.classes if outputs is None else outputs)

    def _make_decoder(self) -> Decoder:
        raise NotImplementedError(f"{type(self).__name__} must define _make_decoder()")

    def _make_head(self, channels: int, outputs: int) -> nn.Module:
        raise NotImplementedError(f"{type(self).__name__} must define _make_head(channels, outputs)")

    def _check(self, image: Tensor) -> None:
        if image.ndim != self.ndim + 2 or image.shape[1] != self.in_channels:
            raise ValueError(
                f"this network takes images of {self.ndim + 2} axes (n, {self.in_channels}, *space), "
                f"got shape {tuple(image.shape)}"
            )
        for axis, side in enumerate(image.shape[2:]):
            if side % self.divisor:
                allowed = -(-side // self.divisor) * self.divisor
                raise ValueError(
                    f"side {side} of spatial axis {axis} is not divisible by {self.divisor}; "
                    f"pad to {allowed}, the next allowed size"
                )
