"""Rotations of some samples of a batch in the plane; images and label maps read the same points."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .types import IGNORE


def rotate(
    degrees: np.ndarray,
    rows: np.ndarray,
    image: Tensor | None,
    maps: Sequence[Tensor],
    interpolation: str,
    *,
    in_place: bool = False,
) -> tuple[Tensor | None, list[Tensor]]:
    """Rotate the samples ``rows``. Label maps take the nearest pixel, and IGNORE where a corner is uncovered.

    Args:
        degrees: ``(n,)``, one angle per sample, from the first in-plane axis towards the second.
        rows: which samples.
        image: ``(n, c, height, width)``, or None; corners become its minimum.
        maps: label maps ``(n, height, width)`` of integer type.
        interpolation: of images, "linear" or "nearest".
        in_place: what is given may be written to.

    Returns:
        Tensors of the same types: those given, if they may be written to, or new ones.
    """
    like = image if image is not None else maps[0]
    compiled = like.device.type == "cpu" and interpolation == "linear" and _kernels() is not None
    if compiled and (image is None or image.dtype == torch.float32) and all(m.dtype == torch.uint8 for m in maps):
        if not in_place:
            image, maps = None if image is None else image.clone(), [labels.clone() for labels in maps]
        return _on_a_core(degrees, rows, image, maps)
    return _at_once(degrees, rows, image, maps, interpolation)


def sent(values: np.ndarray, device: torch.device) -> Tensor:
    """A small array on the device; the host does not wait until what the device still has to do is done."""
    return torch.from_numpy(values).to(device, non_blocking=True)


@cache
def _kernels() -> Any:
    try:
        from . import kernels
    except (ImportError, OSError):  # no numba, or one that does not fit NumPy: PyTorch's own, then
        return None
    return kernels


def _on_a_core(
    degrees: np.ndarray, rows: np.ndarray, image: Tensor | None, maps: Sequence[Tensor]
) -> tuple[Tensor | None, list[Tensor]]:
    """One sample after the other, in place, in compiled loops: a third of the time of :func:`_at_once` there."""
    like = image if image is not None else maps[0]
    height, width = like.shape[-2:]
    x, y = _centres(width, like.device).numpy(), _centres(height, like.device).numpy()
    for row, turn in zip(rows.tolist(), _turns(degrees[rows], height, width).T, strict=True):
        for labels in (each[row].numpy() for each in maps):
            _kernels().rotate_labels(labels, x, y, tuple(turn), np.uint8(IGNORE), labels)
        for channel in () if image is None else image[row].numpy():
            _kernels().rotate_picture(channel, x, y, tuple(turn), channel.min(), channel)
    return image, list(maps)


def _at_once(
    degrees: np.ndarray, rows: np.ndarray, image: Tensor | None, maps: Sequence[Tensor], interpolation: str
) -> tuple[Tensor | None, list[Tensor]]:
    """All of them in a few operations of PyTorch, on any device."""
    like = image if image is not None else maps[0]
    height, width = like.shape[-2:]
    grid = _grid(degrees[rows], height, width, like.device)
    index = sent(rows, like.device)
    turned = []
    if maps:
        # Float32 holds every class exactly. Samples from outside are 0, so classes are moved up by one meanwhile.
        raised = torch.stack([labels[index] for labels in maps], dim=1).float().add_(1)
        raised = F.grid_sample(raised, grid, mode="nearest", align_corners=False)
        values = torch.where(raised == 0, float(IGNORE), raised - 1)
        turned = [labels.index_copy(0, index, values[:, i].to(labels.dtype)) for i, labels in enumerate(maps)]
    if image is None:
        return None, turned
    picture = image[index]
    floor = picture.amin((2, 3), keepdim=True)
    if interpolation == "nearest":
        inside = F.grid_sample(torch.ones_like(picture), grid, mode="nearest", align_corners=False)
        sampled = F.grid_sample(picture, grid, mode="nearest", align_corners=False)
        picture = torch.where(inside == 1, sampled, floor)
    else:
        # The fill of 0 becomes the minimum, towards which the border blends, if that is subtracted meanwhile.
        picture = F.grid_sample(picture - floor, grid, mode="bilinear", align_corners=False).add_(floor)
    return image.index_copy(0, index, picture), turned


def _grid(degrees: np.ndarray, height: int, width: int, device: torch.device) -> Tensor:
    """``(n, height, width, 2)`` points (x, y) to read, where the picture spans -1 to 1 on both axes.

    With the picture turned by t, output pixel (y, x), in pixels from the centre, reads (cos t y + sin t x, cos t x -
    sin t y). The two terms are added by broadcasting, which is five times as fast as ``affine_grid``.
    """
    cosine, down, across = sent(_turns(degrees, height, width), device)[:, :, None]
    x, y = _centres(width, device), _centres(height, device)
    grid = torch.empty(len(degrees), height, width, 2, device=device)
    torch.sub((cosine * x)[:, None, :], (down * y)[:, :, None], out=grid[..., 0])
    torch.add((across * x)[:, None, :], (cosine * y)[:, :, None], out=grid[..., 1])
    return grid


def _turns(degrees: np.ndarray, height: int, width: int) -> np.ndarray:
    """``(3, n)`` float32: cosines of the angles, and sines times height / width and times width / height."""
    radians = np.deg2rad(degrees)
    turns = [np.cos(radians), np.sin(radians) * height / width, np.sin(radians) * width / height]
    return np.stack(turns).astype(np.float32)


def _centres(side: int, device: torch.device) -> Tensor:
    """Of the pixels along one axis of a picture that spans -1 to 1."""
    return (2 * torch.arange(side, device=device) + 1) / side - 1
