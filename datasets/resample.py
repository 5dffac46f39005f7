"""Change the grid of images and label maps, with one convention for both.

Half-pixel centres: pixel ``i`` of ``n`` stands at ``(i + 1/2) / n`` of the extent, on both grids, and the extent stays.
Output pixel ``i`` therefore reads input position ``(i + 1/2) * n_in / n_out - 1/2``. "linear" interpolates there, with
the border value beyond the first and last centre and no smoothing when shrinking; "nearest" takes the pixel whose area
holds that point (in a tie the later one). Label maps always use "nearest": they gain no value that they did not hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def resize(volume: Tensor, size: Sequence[int], mode: str = "linear") -> Tensor:
    """Images or probabilities on a grid of ``size``; the input itself where the size is right already.

    Args:
        volume: ``(n, c, *space)`` floating point.
        size: new spatial size, one number per spatial axis.
        mode: "linear" or "nearest".

    Raises:
        ValueError: an unknown mode, or a size with the wrong number of axes or below 1.
    """
    size = _checked(volume.shape[2:], size)
    if mode not in ("linear", "nearest"):
        raise ValueError(f'interpolation must be "linear" or "nearest", got {mode!r}')
    if tuple(volume.shape[2:]) == size:
        return volume
    if mode == "nearest":
        return _nearest(volume, size, first=2)
    return F.interpolate(volume, size=size, mode=_LINEAR[len(size)], align_corners=False)


def resize_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Label maps ``(n, *space)`` of any integer type on a grid of ``size``, by nearest neighbour.

    >>> resize_labels(torch.tensor([[0, 1, 2, 3]]), (2,)).tolist()
    [[1, 3]]
    >>> resize_labels(torch.tensor([[0, 1]]), (4,)).tolist()
    [[0, 0, 1, 1]]
    """
    size = _checked(labels.shape[1:], size)
    return labels if tuple(labels.shape[1:]) == size else _nearest(labels, size, first=1)


def _checked(space: Sequence[int], size: Sequence[int]) -> tuple[int, ...]:
    size = tuple(int(s) for s in size)
    if len(size) != len(space) or min(size) < 1:
        raise ValueError(
            f"cannot resize {len(space)} spatial axes {tuple(space)} to {size}: give {len(space)} sizes >= 1"
        )
    return size


def _nearest(values: Tensor, size: tuple[int, ...], first: int) -> Tensor:
    """Index gather along each axis from ``first`` on; in whole numbers, so that no rounding moves a border."""
    for axis, n_out in enumerate(size, start=first):
        n_in = values.shape[axis]
        if n_in != n_out:
            index = torch.arange(n_out, device=values.device)
            values = values.index_select(axis, (2 * index + 1) * n_in // (2 * n_out))
    return values
