"""How far the filters of one network are mixtures of those of another.

Source: CauSSL (Miao et al., ICCV 2023), https://github.com/JuzhengMiao/CauSSL/blob/ab0f86d/utils/losses.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LEAST = 1e-24
"""Squared lengths below it count as it: what has no length depends on nothing."""


class Products(NamedTuple):
    """Of the filters of two networks with each other, layer by layer ``(n, n)``; no gradient."""

    across: Sequence[Tensor]
    """Of each of one network's (rows) with each of the other's."""
    own: Sequence[Tensor]
    others: Sequence[Tensor]

    def turned(self) -> Products:
        """The same for the other network."""
        return Products([each.T for each in self.across], self.others, self.own)


def filters(network: nn.Module) -> list[Tensor]:
    """Of each convolution, ``(n, m)``: its weights by their first axis, one row per filter; of a transposed, per input.

    Rows are in the order of channels-last weights, which are not copied for it. Layers of m ≤ n are left out: any
    vector of m numbers is a mixture of so many others.
    """
    weights = [
        layer.weight.movedim(1, -1).flatten(1) for layer in network.modules() if isinstance(layer, _CONVOLUTIONS)
    ]
    return [weight for weight in weights if len(weight) < weight.shape[1]]


@torch.no_grad()
def products(own: Sequence[Tensor], others: Sequence[Tensor]) -> Products:
    """What :func:`linear_dependence` asks of filters, either way and whatever the coefficients."""
    with torch.autocast(own[0].device.type, enabled=False):
        return Products(
            [w @ v.T for w, v in zip(own, others, strict=True)], [w @ w.T for w in own], [v @ v.T for v in others]
        )


def linear_dependence(
    own: Sequence[Tensor], others: Sequence[Tensor], mixing: Sequence[Tensor], known: Products | None = None
) -> Tensor:
    """Mean over layers of that over filters of cos²(w_i, Σ_j a_ij v_j), in [0, 1]; gradient into w and a.

    Args:
        own: filters w of each layer, ``(n, m)``.
        others: filters v of the same layers of another network.
        mixing: coefficients a of each layer, ``(n, n)``.
        known: the products of these filters; made here if not given.
    """
    with torch.autocast(own[0].device.type, enabled=False):
        found: Tensor = _Dependence.apply(list(others), known or products(own, others), *own, *mixing)
    return found


class _Dependence(torch.autograd.Function):
    """Products of filters with each other are few numbers: by them, the mixtures need not be made."""

    @staticmethod
    def forward(ctx: Any, others: list[Tensor], known: Products, *tensors: Tensor) -> Tensor:
        own, mixing = tensors[: len(others)], tensors[len(others) :]
        mixed = [a @ g for a, g in zip(mixing, known.others, strict=True)]
        along = torch.cat([(a * p).sum(dim=1) for a, p in zip(mixing, known.across, strict=True)])
        squared = torch.cat([(a * m).sum(dim=1) for a, m in zip(mixing, mixed, strict=True)])
        lengths = torch.cat([g.diagonal() for g in known.own])
        shares = torch.cat([a.new_full((len(a),), 1 / len(a) / len(own)) for a in mixing])
        ctx.save_for_backward(*own, *others, *mixing, *mixed, *known.across, along, squared, lengths, shares)
        return (shares * _squared_cosines(along, squared, lengths)).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *layers, along, squared, lengths, shares = ctx.saved_tensors
        n = len(layers) // 5
        own, others, mixing, mixed, across = (layers[i * n : (i + 1) * n] for i in range(5))
        share = gradients[0] * shares
        cosines = share * _squared_cosines(along, squared, lengths)
        on_along = 2 * share * along / squared.clamp_min(_LEAST) / lengths.clamp_min(_LEAST)
        on_mixed = -2 * cosines / squared.clamp_min(_LEAST) * (squared >= _LEAST)
        on_own = -2 * cosines / lengths.clamp_min(_LEAST) * (lengths >= _LEAST)
        sizes = [len(a) for a in mixing]
        a_row, m_row, w_row = (each[:, None].split(sizes) for each in (on_along, on_mixed, on_own))
        needs = ctx.needs_input_grad[2:]
        found: list[Tensor | None] = [None] * (2 * n)
        if any(needs[:n]):
            found[:n] = [torch.addmm(w_row[i] * own[i], a_row[i] * mixing[i], others[i]) for i in range(n)]
        if any(needs[n:]):
            found[n:] = [torch.addcmul(a_row[i] * across[i], m_row[i], mixed[i]) for i in range(n)]
        return None, None, *found


def _squared_cosines(along: Tensor, squared: Tensor, lengths: Tensor) -> Tensor:
    return along.square() / squared.clamp_min(_LEAST) / lengths.clamp_min(_LEAST)
