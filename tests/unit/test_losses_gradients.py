"""Gradients of divergences and entropies against finite differences: a factor that is held fixed keeps the value."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from methods.losses.agreement import jensen_shannon, soft_cross_entropy
from methods.losses.consistency import rectified_consistency, squared_difference, symmetric_divergence
from methods.losses.entropy import entropy


def rectified(*scales: Tensor) -> Tensor:
    return rectified_consistency(scales)


LOSSES: dict[str, tuple[Callable[..., Tensor], int]] = {
    "entropy": (entropy, 1),
    "symmetric_divergence over classes": (symmetric_divergence, 2),
    "symmetric_divergence over the last axis": (partial(symmetric_divergence, axis=-1), 2),
    "squared_difference": (squared_difference, 2),
    "jensen_shannon": (jensen_shannon, 2),
    "soft_cross_entropy": (soft_cross_entropy, 2),
    "rectified_consistency": (rectified, 3),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_differences(name: str, monkeypatch: pytest.MonkeyPatch):
    loss, arguments = LOSSES[name]
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    given = tuple(torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(arguments))
    assert torch.autograd.gradcheck(loss, given)
