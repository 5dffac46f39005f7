"""GridMask: hides the squares between the stripes of a lattice of random period, place and direction.

Source: Chen et al., "GridMask data augmentation", arXiv:2001.04086, as Min-Max Similarity applies it, with the stripes
kept (https://github.com/AngeLouCN/Min_Max_Similarity/blob/07571ea/gridmask.py).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_DEGREES = 90
"""A lattice looks the same after a quarter turn."""


def grid_mask(image: Tensor, p: float, *, periods: tuple[int, int] = (20, 79), stripe: float = 0.4) -> Tensor:
    """``image`` ``(n, c, *space)``, with probability ``p`` for each sample masked to the mean of its channel.

    The released code masks to 0 after normalisation, which is the mean colour of all images; photographs are not
    normalised here, and 0 would be black, the background of many.

    Args:
        image: on any scale.
        p: in [0, 1]; 0 leaves the images as they are.
        periods, stripe: see :func:`visible_stripes`.
    """
    n = len(image)
    space = image.shape[2:]
    seen = visible_stripes(n, space, periods=periods, stripe=stripe, device=image.device)
    spared = torch.rand(n, device=image.device) >= p
    mean = image.mean(tuple(range(2, image.ndim)), keepdim=True)
    return torch.where(seen | spared.view(n, *[1] * (image.ndim - 1)), image, mean)


def visible_stripes(
    n: int, space: tuple[int, ...], *, periods: tuple[int, int] = (20, 79), stripe: float = 0.4, device: torch.device
) -> Tensor:
    """Booleans ``(n, 1, *space)``, broadcastable along all but the last two axes: True on the stripes of a lattice.

    In the plane of the last two axes, each sample has its own lattice; a volume has the same in every plane. A pixel
    is hidden with probability (1 - stripe)², 36 % by default, a little less since a stripe's width is rounded up.

    Args:
        n: samples.
        space: sides in pixels, two or more.
        periods: smallest and largest period in pixels, uniform in between, both included. Defaults are those for images
            of 512 x 288 pixels.
        stripe: width of a stripe over the period, in (0, 1).
        device: where the draws and the result are; nothing waits for it.
    """

    def draw(low: int, high: int) -> Tensor:
        return torch.randint(low, high + 1, (n, 1, 1), device=device)

    period = draw(*periods)
    width = (stripe * period).ceil()
    angle = draw(0, _DEGREES - 1) * (math.pi / 180)
    height, breadth = space[-2:]
    down = torch.arange(height, device=device).view(1, -1, 1) - (height - 1) / 2
    right = torch.arange(breadth, device=device).view(1, 1, -1) - (breadth - 1) / 2
    seen = torch.zeros((n, height, breadth), dtype=torch.bool, device=device)
    for along in (angle.cos() * down + angle.sin() * right, angle.cos() * right - angle.sin() * down):
        # a phase of its own per axis, so that every pixel is as likely as any other to lie on a stripe
        start = (torch.rand((n, 1, 1), device=device) * period).floor()
        seen |= (along.floor() + start).remainder(period) < width
    return seen.view(n, *[1] * (len(space) - 1), height, breadth)
