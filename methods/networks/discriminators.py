"""Critics: networks that judge a segmentation."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from ..losses.adversarial import as_made
from ..losses.overlap import one_hot
from . import blocks, pixelwise
from .fused import LeakyReLU, activated

_SLOPE = 0.2
"""Of leaky ReLU."""
_SMALLEST_SIDE = 16
"""Four strided convolutions leave one pixel of it."""
_SMALLEST_PATCHED_SIDE = 32
"""Five do."""


class Critic(nn.Module):
    """Two logits per sample from its probability map and its image: of an unlabelled (0) or a labelled (1) image.

    Convolutions of kernel 4 and stride 2, to 1, 2, 4 and 8 times ``width`` channels; the first takes map and image
    apart and adds the results; leaky ReLU 0.2; channel dropout after all but the last; mean over space; a linear
    layer. The released one pools over a window of the training patch's size, which the mean over space replaces.

    Source: https://github.com/HiLab-git/SSL4MIS/blob/06df604/code/networks/discriminator.py

    Args:
        ndim: 2 or 3.
        classes: channels of the probability map.
        channels: image channels.
        width: channels of the first level.
        dropout: probability of dropping a channel while training.
    """

    def __init__(self, *, ndim: int, classes: int, channels: int, width: int = 64, dropout: float = 0.5) -> None:
        super().__init__()
        self.map_stem = blocks.conv_down(ndim, classes, width)
        self.image_stem = blocks.conv_down(ndim, channels, width)
        self.body = nn.Sequential(
            LeakyReLU(_SLOPE),
            blocks.channel_dropout(ndim, dropout),
            blocks.conv_down(ndim, width, 2 * width),
            LeakyReLU(_SLOPE),
            blocks.channel_dropout(ndim, dropout),
            blocks.conv_down(ndim, 2 * width, 4 * width),
            LeakyReLU(_SLOPE),
            blocks.channel_dropout(ndim, dropout),
            blocks.conv_down(ndim, 4 * width, 8 * width),
            LeakyReLU(_SLOPE),
        )
        self.classifier = nn.Linear(8 * width, 2)

    def forward(self, probs: Tensor, image: Tensor) -> Tensor:
        """``(n, 2)`` logits.

        Args:
            probs: ``(n, classes, *space)``.
            image: ``(n, channels, *space)``.

        Raises:
            ValueError: a side below 16.
        """
        if min(image.shape[2:]) < _SMALLEST_SIDE:
            raise ValueError(
                f"the critic needs sides of {_SMALLEST_SIDE} or more, got {tuple(image.shape[2:])}; use a larger patch"
            )
        features = self.body(self.map_stem(probs) + self.image_stem(image))
        return self.classifier(features.flatten(2).mean(dim=2))


class PatchCritic(nn.Module):
    """One logit per patch of a label map: real (positive) or made by a network.

    Five convolutions of kernel 4 and stride 2, to 1, 2, 4 and 8 times ``width`` channels and to one; leaky ReLU 0.2 in
    between, no normalisation. A logit sees 94 x 94 pixels; 2 762 689 parameters in 2-D for one channel.

    Source: https://github.com/lichen14/MaskMixAdv/tree/eb170d6

    Args:
        channels: channels of the map: classes, or 1.
        ndim: 2 or 3.
        width: channels of the first level.
    """

    def __init__(self, channels: int, *, ndim: int, width: int = 64) -> None:
        super().__init__()
        self.channels = channels
        widths = (channels, width, 2 * width, 4 * width, 8 * width)
        layers: list[nn.Module] = []
        for channels_in, channels_out in itertools.pairwise(widths):
            layers += [blocks.conv_down(ndim, channels_in, channels_out), LeakyReLU(_SLOPE)]
        self.body = nn.Sequential(*layers, blocks.conv_down(ndim, widths[-1], 1))

    def forward(self, maps: Tensor) -> Tensor:
        """``(n, 1, *patches)`` logits of ``maps`` ``(n, channels, *space)``; a patch for every 32 pixels of a side.

        Raises:
            ValueError: a side below 32.
        """
        if min(maps.shape[2:]) < _SMALLEST_PATCHED_SIDE:
            raise ValueError(
                f"the critic needs sides of {_SMALLEST_PATCHED_SIDE} or more, got {tuple(maps.shape[2:])}; "
                "use a larger patch"
            )
        return self.body(maps)

    def of_labels(self, label: Tensor) -> Tensor:
        """Verdicts on the one-hot maps of ``label`` ``(n, *space)``."""
        return self(one_hot(label, self.channels))

    def taken_for_made(self, maps: Tensor) -> Tensor:
        """What it learns from ``maps`` that a network has made: the mean of :func:`as_made`."""
        return as_made(self(maps))


class PixelCritic(nn.Sequential):
    """One logit per pixel of a label map, from its probabilities alone: real (positive) or made by a network.

    Three convolutions of kernel 1, to ``width``, twice as many and one channel; leaky ReLU 0.2 in between, after batch
    normalisation the second time. On one thread of a CPU see ``pixelwise``.

    Source: https://github.com/himashi92/Duo-SegNet/tree/74593f1

    Args:
        channels: channels of the map: classes, or 1.
        ndim: 2 or 3.
        width: channels of the first level.
    """

    def __init__(self, channels: int, *, ndim: int, width: int = 64) -> None:
        super().__init__(
            blocks.conv(ndim, channels, width, kernel=1),
            LeakyReLU(_SLOPE),
            blocks.conv(ndim, width, 2 * width, kernel=1),
            blocks.batch_norm(ndim, 2 * width),
            LeakyReLU(_SLOPE),
            blocks.conv(ndim, 2 * width, 1, kernel=1),
        )

    def forward(self, input: Tensor) -> Tensor:
        """``(n, 1, *space)`` logits of maps ``(n, channels, *space)``."""
        first, activation, second, norm, activation_2, last = self
        if pixelwise.fits(input, self):
            return pixelwise.verdicts(input, self)
        found: Tensor = last(activated(second(activation(first(input))), norm, activation_2))
        return found

    def of_labels(self, label: Tensor) -> Tensor:
        """Verdicts on the one-hot maps of ``label`` ``(n, *space)``, found once per class."""
        layers: Any = self
        first, activation, second, norm, activation_2, last = layers
        classes, kind = first.in_channels, norm.weight.dtype
        maps = one_hot(label, classes).to(kind)
        one_each = torch.eye(classes, dtype=kind, device=maps.device)[(...,) + (None,) * label[0].ndim]
        shares = maps.transpose(0, 1).flatten(1).mean(dim=1)
        normal = _normalised(second(activation(first(one_each))), norm, shares, label.numel())
        verdicts = last(activation_2(normal)).to(kind)
        found: Tensor = (maps * verdicts.transpose(0, 1)).sum(dim=1, keepdim=True)
        return found

    def taken_for_made(self, maps: Tensor) -> Tensor:
        """What it learns from ``maps`` that a network has made: the mean of :func:`as_made`."""
        if self.training and not maps.requires_grad and torch.is_grad_enabled() and pixelwise.fits(maps, self):
            return pixelwise.taken_for_made(maps, self)
        return as_made(self(maps))


def _normalised(rows: Tensor, norm: Any, shares: Tensor, count: int) -> Tensor:
    """Batch normalisation of ``count`` rows, in which each of ``rows`` ``(k, channels, ...)`` has one of ``shares``."""
    rows, shape = rows.to(norm.weight.dtype), (-1,) + (1,) * (rows.ndim - 2)
    mean, variance = norm.running_mean, norm.running_var
    if norm.training:
        weight = shares.view(-1, *[1] * (rows.ndim - 1))
        mean = (weight * rows).sum(dim=0).flatten()
        variance = (weight * (rows - mean.view(shape)).square()).sum(dim=0).flatten()
        with torch.no_grad():
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
            norm.num_batches_tracked += 1
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return rows * scale.view(shape) + (norm.bias - mean * scale).view(shape)
