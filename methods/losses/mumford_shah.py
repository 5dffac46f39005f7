"""Piecewise constant images with short boundaries: the functional of Mumford and Shah on soft segmentations."""

from __future__ import annotations

import torch
from torch import Tensor

from .variation import total_variation

_NO_MASS = 1e-12


def mumford_shah(probs: Tensor, image: Tensor, *, smoothness: float) -> Tensor:
    """``Σ p_c (I - m_c)²`` over classes and pixels plus ``smoothness`` times the variation of p, over the pixels.

    m_c is the mean of the sample's image under p_c. Source: Kim and Ye, arXiv:1904.02872, there without the division.

    Args:
        probs: ``(n, c, *space)``.
        image: ``(n, channels, *space)``; the deviations of its channels add up.
        smoothness: weight of :func:`~methods.losses.variation.total_variation`.
    """
    pixels = probs.shape[0] * probs[0, 0].numel()
    return deviation(probs, image) / pixels + smoothness * total_variation(probs)


def mumford_shah_swapped(probs: Tensor, image: Tensor, *, smoothness: float) -> Tensor:
    """What WSL4MIS computes: the roles of image and probabilities swapped, and a sum over the batch.

    ``Σ I (p_c - m_c)²``, with m_c the mean of p_c under the image, pulls each class towards a constant map. Images must
    not be negative, or the sum has no minimum (under an image that sums to about 0 it explodes). Source:
    https://github.com/HiLab-git/WSL4MIS/blob/a594da8/code/train_weakly_supervised_pCE_MumfordShah_Loss_2D.py
    """
    pixels = probs.shape[0] * probs[0, 0].numel()
    return deviation(image, probs) + smoothness * pixels * total_variation(probs)


def deviation(weight: Tensor, value: Tensor) -> Tensor:
    """``Σ w (v - mean_w v)²`` over samples, pixels and all pairs of a channel of each; means are per sample and pair.

    Args:
        weight: ``(n, a, *space)``, not negative; without mass its mean is 0.
        value: ``(n, b, *space)``.
    """
    weight = weight.float().flatten(2).unsqueeze(2)
    value = value.float().flatten(2).unsqueeze(1)
    mass = weight.sum(dim=3, keepdim=True)
    mass = torch.where(mass.abs() < _NO_MASS, _NO_MASS, mass)
    # the weighted mean minimises the sum, so no gradient flows through it
    mean = ((weight * value).sum(dim=3, keepdim=True) / mass).detach()
    return (weight * (value - mean).square()).sum()
