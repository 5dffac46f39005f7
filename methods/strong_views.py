"""Strong views of images: jittered intensities, blur, and boxes in which another image is pasted.

Every sample of a batch draws for itself, all samples are changed in one go, and nothing waits for the device. Labels
stay where they are: no view moves a pixel. Published codes turn images into 8-bit pictures first and clip them to
0..255; here an image's own extremes take the place of black and white, channel by channel, so that a view commutes with
any change of scale: of images in [0, 1], of standardised ones, and of channels of different modalities.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_NEGLIGIBLE = -16.0
"""Exponent of weights that a float32 sum with 1 loses; kept, they would become denormal numbers, and those are slow."""

_ASPECTS = 64
"""Aspects from which a box draws its own, evenly spaced; far finer than the pixels of its sides."""


def jittered(image: Tensor, *, p: float, brightness: float, contrast: float) -> Tensor:
    """``image`` with the brightness and the contrast of each sample changed with probability ``p``, else as it is.

    Values are scaled about their minimum (brightness) and about their mean (contrast), one after the other in random
    order, each time clipped to the extremes that the image had: what the colour jitter of torchvision does to a grey
    image in [0, 1] that has black and white in it. Saturation and hue, which it leaves alone in grey images, are left
    out. All channels of a sample take the same factors, and each its own minimum, mean and maximum.

    Args:
        image: ``(n, c, *space)`` on any scale.
        p: in [0, 1].
        brightness, contrast: a factor is uniform in ``[1 - limit, 1 + limit]``, and never negative.

    Source: UniMatch, https://github.com/LiheYoung/UniMatch/blob/818609d/more-scenarios/medical/dataset/acdc.py
    """
    space = tuple(range(2, image.ndim))

    def drawn() -> Tensor:
        return torch.rand(len(image), *[1] * (image.ndim - 1), device=image.device, dtype=image.dtype)

    def factor(limit: float) -> Tensor:
        low = max(0.0, 1 - limit)
        return torch.where(changed, low + (1 + limit - low) * drawn(), 1)

    def scaled(values: Tensor, about: Tensor, by: Tensor) -> Tensor:
        return (values * by).add_(about * (1 - by)).clamp_(black, white)  # exactly the values where ``by`` is 1

    black, white = image.amin(space, keepdim=True), image.amax(space, keepdim=True)
    changed, contrast_first = drawn() < p, drawn() < 0.5
    brighter, sharper = factor(brightness), factor(contrast)
    mean = image.mean(space, keepdim=True)
    once = scaled(image, torch.where(contrast_first, mean, black), torch.where(contrast_first, sharper, brighter))
    mean = once.mean(space, keepdim=True)
    return scaled(once, torch.where(contrast_first, black, mean), torch.where(contrast_first, brighter, sharper))


def blurred(image: Tensor, *, p: float, sigma: tuple[float, float]) -> Tensor:
    """``image`` with each sample blurred by a Gaussian with probability ``p``, else as it is.

    At a border the weights of what lies inside add up to 1. Every axis is one product with a matrix of weights: on one
    thread of a CPU faster than a convolution with kernels that differ between samples, most of all for volumes.

    Args:
        image: ``(n, c, *space)`` on any scale.
        p: in [0, 1].
        sigma: smallest and largest standard deviation in pixels or voxels, positive; each sample's is uniform between.

    Source: as :func:`jittered`; there the Gaussian is approximated by three box filters.
    """
    n, shape = len(image), image.shape
    low, high = sigma
    widths = low + (high - low) * torch.rand(n, 1, device=image.device)
    spared = torch.rand(n, *[1] * (image.ndim - 1), device=image.device) >= p
    smooth = image.contiguous()
    with torch.autocast(image.device.type, enabled=False):  # in half precision, steps of intensity would show
        for axis in range(2, image.ndim):
            weights = _bells(widths, shape[axis])
            if axis == image.ndim - 1:
                smooth = smooth.view(n, -1, shape[axis]) @ (weights / weights.sum(dim=1, keepdim=True))
            else:
                inward = weights / weights.sum(dim=2, keepdim=True)
                smooth = inward.unsqueeze(1) @ smooth.view(n, -1, shape[axis], math.prod(shape[axis + 1 :]))
    return torch.where(spared, image, smooth.view(shape))


def _bells(widths: Tensor, side: int) -> Tensor:
    """``(n, side, side)``: of every pixel for every other along an axis, 1 for itself; ``widths`` ``(n, 1)``."""
    place = torch.arange(side, device=widths.device)
    exponent = place.square() / (-2 * widths.square())
    bell = exponent.exp().where(exponent > _NEGLIGIBLE, 0)
    apart = (place - place.view(-1, 1)).abs()
    return bell.index_select(1, apart.view(-1)).view(-1, side, side)


def mix_boxes(
    n: int,
    space: tuple[int, ...],
    *,
    p: float,
    share: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    device: torch.device,
) -> Tensor:
    """Booleans ``(n, 1, *space)``: True in one box of each sample with probability ``p``, else False everywhere.

    The released code draws an aspect and a place until the box lies inside, so an aspect counts as often as its box has
    places inside. Here the aspect is drawn with these odds at once, and then one of its places.

    Args:
        n: samples.
        space: sides in pixels or voxels.
        p: in [0, 1].
        share: smallest and largest share of the image that a box takes, uniform between, before its sides are rounded
            down; at most so large that a box of the image's own aspect has a place.
        aspect: smallest and largest ratio of the box's first side to its second, as shares of the image's, uniform
            between but for the odds above. Further axes are taken by the same share as the mean of the first two.
        device: where the draws and the result are; nothing waits for it.

    Source: https://github.com/LiheYoung/UniMatch/blob/818609d/more-scenarios/medical/dataset/transform.py
    """
    taken = share[0] + (share[1] - share[0]) * torch.rand(n, 1, device=device)
    side_share = taken.pow(1 / len(space))
    stretch = torch.linspace(*aspect, _ASPECTS, device=device).sqrt()
    stretches = [stretch, 1 / stretch, *[torch.ones_like(stretch)] * (len(space) - 2)]
    lengths = [(side_share * one * side).floor() for one, side in zip(stretches, space, strict=True)]
    places = torch.ones_like(lengths[0])
    for length, side in zip(lengths, space, strict=True):
        places = places * (side - length + 1).clamp_min(0)
    # the first of events that each come at their own rate is one of them with odds as the rates
    chosen = (torch.empty_like(places).exponential_() / places).argmin(dim=1, keepdim=True)
    inside = torch.rand(n, *[1] * (len(space) + 1), device=device) < p
    for axis, (choice, side) in enumerate(zip(lengths, space, strict=True)):
        length = choice.gather(1, chosen)
        start = (torch.rand(n, 1, device=device) * (side - length + 1)).floor()
        along = torch.arange(side, device=device) - start
        seen = (along >= 0) & (along < length)
        inside = inside & seen.view(n, *[1] * (axis + 1), side, *[1] * (len(space) - axis - 1))
    return inside
