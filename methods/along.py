"""Matrices applied along the axes of maps: means of windows, linear interpolation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def along(maps: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """``maps`` ``(n, c, *space)`` with each matrix ``(new side, side)`` applied along its axis."""
    for axis, matrix in enumerate(matrices, start=2):
        before, side, after = maps.shape[:axis], maps.shape[axis], maps.shape[axis + 1 :]
        rows = maps.reshape(-1, side, after.numel())
        found = matrix @ rows if after else rows[..., 0] @ matrix.T
        maps = found.view(*before, len(matrix), *after)
    return maps


def interpolation(side: int, fine: int, *, align_corners: bool, device: torch.device | None = None) -> Tensor:
    """The matrix ``(fine, side)`` of linear interpolation: of what each new position is made."""
    one_each = torch.eye(side, device=device)[None]
    return F.interpolate(one_each, size=fine, mode="linear", align_corners=align_corners)[0].T
