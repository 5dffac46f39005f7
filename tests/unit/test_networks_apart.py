"""Several batches in one pass: what each pass alone gives, to outputs, gradients and statistics."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods import networks
from methods.networks import apart, blocks, fused
from methods.networks.apart import passes


def without_dropout(name: str, ndim: int) -> nn.Module:
    torch.manual_seed(1)
    made = networks.make(name, ndim=ndim, channels=1, classes=3, width=4, levels=3)
    for layer in made.modules():
        if hasattr(layer, "p"):
            layer.p = 0.0
    return made.to(memory_format=(torch.channels_last, torch.channels_last_3d)[ndim - 2]).train()  # type: ignore[call-overload]


def batches(ndim: int, *sizes: int) -> list[Tensor]:
    """Of different means, so that common statistics would show."""
    return [torch.randn(size, 1, *[16] * ndim) * (1 + k) + 3 * k for k, size in enumerate(sizes)]


def learnt(network: nn.Module, found: Any) -> list[Tensor]:
    loss = sum((1 + k) * (logits**2).mean() for k, logits in enumerate(found))
    return list(torch.autograd.grad(loss, list(network.parameters())))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("name", "ndim"), [("unet", 2), ("unet", 3), ("vnet", 3)])
def test_outputs_gradients_and_statistics_are_those_of_passes_one_by_one(
    name: str, ndim: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
):
    if not compiled:
        monkeypatch.setattr(fused, "_compiled", lambda: None)
    together = without_dropout(name, ndim)
    alone, given = copy.deepcopy(together), batches(ndim, 2, 3, 2)
    found, expected = passes(together, *given), [alone(batch) for batch in given]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    for one, other in zip(learnt(together, found), learnt(alone, expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    for one, other in zip(together.buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_one_batch_of_all_would_give_something_else():
    network, given = without_dropout("unet", 2), batches(2, 2, 2)
    mixed = network(torch.cat(given)).split(2)
    assert (passes(network, *given)[0] - mixed[0]).abs().max() > 0.05


def counted(network: nn.Module) -> list[int]:
    sizes: list[int] = []
    network.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    return sizes


def test_it_is_one_pass_unless_a_layer_does_not_know_the_batches():
    network, given = without_dropout("unet", 2), batches(2, 1, 2)
    sizes = counted(network)
    passes(network, *given)
    assert sizes == [3]
    network.add_module("foreign", nn.BatchNorm2d(1))
    passes(network, *given)
    assert sizes == [3, 1, 2]
    passes(network, given[0])
    assert sizes == [3, 1, 2, 1]


def test_what_fails_leaves_nothing_behind():
    with pytest.raises(ValueError, match="axes"):
        passes(without_dropout("unet", 2), torch.randn(1, 2, 16, 16), torch.randn(2, 2, 16, 16))
    assert apart.parts(torch.randn(3, 2)) == (3,)


def test_a_part_of_a_single_value_is_refused_as_a_batch_of_it_is():
    norm = blocks.batch_norm(2, 4)
    with pytest.raises(ValueError, match="more than one position, got one sample"):
        passes(norm, torch.randn(1, 4, 1, 1), torch.randn(3, 4, 1, 1))
