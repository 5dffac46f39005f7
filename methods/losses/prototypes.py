"""Class prototypes of coarse features and cosine maps to them at full resolution, without full-resolution features.

CPCL upsamples edges on edges, so that a coarse position stands over the pixels that it is made of; of CVCL's released
code, what is compared is upsampled corners on corners (``align_corners``). Upsampling U is linear, so a mean over fine
pixels is a sum over coarse ones with weights Uᵀw, and a dot product with the upsampled features is the upsampled dot
product. The norm of an upsampled feature needs dot products of coarse neighbours only. All three are exact; the field
of 256 channels at the image's resolution, 1 GB for a crop of 112 x 112 x 80, is never made. Everything is float32,
under autocast too: a norm in bfloat16 is off by up to a percent.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..along import along, interpolation
from ..labels import most_probable, of_own_class

_PRIOR = 1e-5
"""Added to the sum of weights that a prototype is divided by (CPCL): an absent class has the prototype 0."""
_LEAST_SQUARE = 1e-12
"""Squared norms below it count as it: the cosine to a zero vector is 0, with a finite gradient."""


def confidence_weights(confidence: Tensor, label: Tensor | None = None) -> Tensor:
    """Weights of a prototype: the probability of the label, or of the most probable class, in that class's channel.

    Args:
        confidence: ``(n, c, *space)``.
        label: ``(n, *space)`` int64; no weight at IGNORE.

    Returns:
        ``(n, c, *space)`` float32, 0 in all other channels, without gradient.
    """
    return of_own_class(confidence, most_probable(confidence) if label is None else label)


def class_prototypes(features: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the upsampled features of each sample and class; upsampled edges on edges.

    Source: CPCL, https://github.com/lemoshu/CPCL/blob/58d23f9/code/train_CPCL_general_3D.py

    Args:
        features: ``(n, d, *coarse)``.
        weight: ``(n, c, *space)``, not negative.

    Returns:
        ``(n, c, d)``; 0 where a class has no weight.
    """
    with torch.autocast(features.device.type, enabled=False):
        features, weight = features.float(), weight.float()
        matrices = _upsampling(features.shape[2:], weight.shape[2:], features.device, align_corners=False)
        pooled = along(weight, [m.T for m in matrices])
        sums = pooled.flatten(2) @ features.flatten(2).transpose(1, 2)
        return sums / (weight.flatten(2).sum(dim=2, keepdim=True) + _PRIOR)


def cosine_maps(features: Tensor, prototypes: Tensor, space: Sequence[int]) -> Tensor:
    """Cosine of the upsampled features to each prototype of the same sample; upsampled edges on edges.

    Args:
        features: ``(n, d, *coarse)``.
        prototypes: ``(n, c, d)``.
        space: spatial size of the maps.

    Returns:
        ``(n, c, *space)`` in [-1, 1].
    """
    with torch.autocast(features.device.type, enabled=False):
        features, prototypes = features.float(), prototypes.float()
        dots = (prototypes @ features.flatten(2)).unflatten(2, features.shape[2:])
        norms = upsampled_squared_norm(features, space, align_corners=False).clamp_min(_LEAST_SQUARE).sqrt()
        lengths = prototypes.square().sum(dim=2).clamp_min(_LEAST_SQUARE).sqrt()
        lengths = lengths.view(*lengths.shape, *[1] * len(space))
        return upsampled(dots, space, align_corners=False) / (norms.unsqueeze(1) * lengths)


def upsampled(maps: Tensor, space: Sequence[int], *, align_corners: bool) -> Tensor:
    """``maps`` ``(n, c, *coarse)`` linearly upsampled to ``space``."""
    with torch.autocast(maps.device.type, enabled=False):
        return along(maps.float(), _upsampling(maps.shape[2:], space, maps.device, align_corners=align_corners))


def upsampled_squared_norm(features: Tensor, space: Sequence[int], *, align_corners: bool) -> Tensor:
    """Squared norm ``(n, *space)`` of linearly upsampled ``(n, d, *coarse)``.

    Along one axis the value between neighbours a and b is (1 - t) a + t b, and its square has the dot products aa, ab
    and bb only; so over all axes only neighbours that touch meet: 3^ndim maps of the coarse size.
    """
    with torch.autocast(features.device.type, enabled=False):
        features = features.float()
        ndim, coarse = features.ndim - 2, features.shape[2:]
        padded = F.pad(features, [1, 1] * ndim)
        offsets = torch.cartesian_prod(*[torch.arange(3)] * ndim).tolist()
        grams = torch.stack([(features * _window(padded, at, coarse)).sum(dim=1) for at in offsets], dim=1)
        grams = grams.unflatten(1, (3,) * ndim)
        pairs = [_pairs(m) for m in _upsampling(coarse, space, features.device, align_corners=align_corners)]
        equation = "nabxy,Xax,Yby->nXY" if ndim == 2 else "nabcxyz,Xax,Yby,Zcz->nXYZ"
        return torch.einsum(equation, grams, *pairs)


def upsampled_at(features: Tensor, space: Sequence[int], index: Tensor, *, align_corners: bool) -> Tensor:
    """Linearly upsampled features at single pixels: ``(k, d)`` of ``(d, *coarse)`` at flat positions ``(k,)``."""
    with torch.autocast(features.device.type, enabled=False):
        matrices = _upsampling(features.shape[1:], space, features.device, align_corners=align_corners)
        rows = [m[at] for m, at in zip(matrices, torch.unravel_index(index, tuple(space)), strict=True)]
        equation = "dxy,kx,ky->kd" if len(rows) == 2 else "dxyz,kx,ky,kz->kd"
        return torch.einsum(equation, features.float(), *rows)


def _window(maps: Tensor, start: Sequence[int], sides: Sequence[int]) -> Tensor:
    """``maps`` ``(n, c, *space)`` from ``start`` on, ``sides`` long."""
    for axis, (at, side) in enumerate(zip(start, sides, strict=True), start=2):
        maps = maps.narrow(axis, at, side)
    return maps


def _upsampling(
    coarse: Sequence[int], space: Sequence[int], device: torch.device, *, align_corners: bool
) -> list[Tensor]:
    """The matrix of linear interpolation along each axis, ``(fine, coarse)``."""
    return [
        interpolation(side, fine, align_corners=align_corners, device=device)
        for side, fine in zip(coarse, space, strict=True)
    ]


def _pairs(matrix: Tensor) -> Tensor:
    """Weights of the dot products with the coarse neighbour before, itself and the one after: ``(fine, 3, coarse)``."""
    padded = F.pad(matrix, [1, 1])
    return torch.stack([matrix * padded[:, at : at + matrix.shape[1]] for at in range(3)], dim=1)
