"""Perturbations of images and features that methods share. All draw from torch's global generator of the device."""

from __future__ import annotations

import torch
from torch import Tensor


def noisy(image: Tensor, std: float, clip: float) -> Tensor:
    """``image`` plus Gaussian noise of ``std``, each value of the noise clamped to ``[-clip, clip]``."""
    return image + (torch.randn_like(image) * std).clamp(-clip, clip)


def drop_channels(features: list[Tensor], p: float, training: bool) -> list[Tensor]:
    """Each map ``(n, c, *space)`` with whole channels zeroed with probability ``p`` and the rest scaled by 1/(1-p).

    Not training: the maps as they are.
    """
    return [torch.feature_dropout(feature, p, training) for feature in features]
