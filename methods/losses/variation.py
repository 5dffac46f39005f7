"""How long the boundaries of a probability map are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def contour_length(probs: Tensor) -> Tensor:
    """Mean over all values of a soft contour: the opening of each map minus its erosion, both over 3 × 3 (× 3) pixels.

    It is the outermost pixels of a region; a region that the erosion deletes has none. Without any sample: 0. Ties of
    the pooling give a one-sided gradient.
    Source: https://github.com/HiLab-git/WSL4MIS/blob/a594da8/code/train_weakly_supervised_pCE_TV_2D.py

    Args:
        probs: ``(n, c, *space)`` of the classes whose boundaries count, 2-D or 3-D.
    """
    pool = (F.max_pool2d, F.max_pool3d)[probs.ndim - 4]
    eroded = -pool(-probs.float(), kernel_size=3, stride=1, padding=1)
    contour = torch.relu(pool(eroded, kernel_size=3, stride=1, padding=1) - eroded)
    return contour.sum() / max(1, contour.numel())


def total_variation(probs: Tensor) -> Tensor:
    """Anisotropic: the sum over axes and classes of ``|difference of neighbours|``, over the number of pixels.

    Args:
        probs: ``(n, c, *space)``; without any sample: 0.
    """
    wide = probs.float()
    pixels = max(1, wide.shape[0] * wide[0:1, 0:1].numel())
    return sum((wide.diff(dim=axis).abs().sum() for axis in range(2, wide.ndim)), wide.new_zeros(())) / pixels
