"""How far the filters of one network are mixtures of those of another.

Source: CauSSL (Miao et al., ICCV 2023), https://github.com/JuzhengMiao/CauSSL/blob/ab0f86d/utils/losses.py
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LEAST = 1e-24
"""Squared lengths below it count as it: what has no length depends on nothing."""


def filters(network: nn.Module) -> list[Tensor]:
    """Of each convolution, ``(n, m)``: its weights by their first axis, one row per filter; of a transposed, per input.

    Those of m ≤ n are left out: any vector of m numbers is a mixture of so many others.
    """
    weights = [layer.weight.flatten(1) for layer in network.modules() if isinstance(layer, _CONVOLUTIONS)]
    return [weight for weight in weights if len(weight) < weight.shape[1]]


def linear_dependence(own: Sequence[Tensor], others: Sequence[Tensor], mixing: Sequence[Tensor]) -> Tensor:
    """Mean over layers of that over filters of cos²(w_i, Σ_j a_ij v_j), in [0, 1]; gradient into all three.

    Args:
        own: filters w of each layer, ``(n, m)``.
        others: filters v of the same layers of another network.
        mixing: coefficients a of each layer, ``(n, n)``.
    """
    with torch.autocast(own[0].device.type, enabled=False):
        return torch.stack([_layer(*each) for each in zip(own, others, mixing, strict=True)]).mean()


def _layer(own: Tensor, others: Tensor, mixing: Tensor) -> Tensor:
    """By products of filters with each other, which are few numbers, so that the mixtures are never made."""
    own, others = own.float(), others.float()
    products = (mixing * (own @ others.T)).sum(dim=1)
    squared = ((mixing @ (others @ others.T)) * mixing).sum(dim=1)
    cosines = products.square() / squared.clamp_min(_LEAST) / own.square().sum(dim=1).clamp_min(_LEAST)
    return cosines.mean()
