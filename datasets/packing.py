"""Images in the smallest type that gives back every value: photographs of 8 bits take a quarter of the memory.

Only what is lossless is done unasked: an image is packed where unpacking gives the very same float32 numbers, which
8-bit photographs do as long as nothing resized them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

GREY_LEVELS = 255


def packed(images: Sequence[Tensor]) -> list[Tensor]:
    """All as uint8 where every value is a 255th, else all as float16 where that holds every value, else as they are.

    >>> packed([torch.tensor([0.0, 128 / 255, 1.0])])[0].tolist()
    [0, 128, 255]
    >>> packed([torch.tensor([0.5, -3.0])])[0].dtype, packed([torch.tensor([0.3])])[0].dtype
    (torch.float16, torch.float32)
    """
    for kind in (torch.uint8, torch.float16):
        found: list[Tensor] = []
        for image in images:
            small = _as(image, kind)
            if small is None:
                break
            found.append(small)
        else:
            return found
    return list(images)


def unpacked(values: Tensor) -> Tensor:
    """Float32 values of what :func:`packed` made, the same to the last bit on every device."""
    if values.dtype != torch.uint8:
        return values.float()
    if values.device.type == "cpu":
        return values.float().div_(GREY_LEVELS)
    return _levels(values.device)[values.long()]  # other devices may multiply by the rounded reciprocal instead


def _as(image: Tensor, kind: torch.dtype) -> Tensor | None:
    """The image in another type, or None where that would change a value."""
    if kind == torch.uint8:
        small = (image.float() * GREY_LEVELS).round().clamp(0, GREY_LEVELS).to(kind)
    else:
        small = image.to(kind)
    return small if torch.equal(unpacked(small), image.float()) else None


@cache
def _levels(device: torch.device) -> Tensor:
    return (torch.arange(GREY_LEVELS + 1) / GREY_LEVELS).to(device)
