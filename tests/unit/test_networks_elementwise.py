"""Sums of maps, gradients of one that goes two ways, scaled channels: PyTorch's numbers, and when loops are taken."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.compiled import channels_last
from methods.networks import elementwise
from methods.networks.elementwise import forked, scaled, summed

pytest.importorskip("numba")

SHAPES = [(2, 3, 6, 5), (2, 8, 4, 6, 2)]


def last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=channels_last(maps))


def leaf(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return last(torch.randn(shape).to(dtype)).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_and_the_gradient_of_two_uses_are_pytorchs_to_the_last_bit(shape: tuple[int, ...], dtype: torch.dtype):
    first, second = leaf(shape, dtype), leaf(shape, dtype)
    found = summed(first, second)
    assert type(found.grad_fn).__name__ == "_SummedBackward"
    assert torch.equal(found, first + second)
    assert found.is_contiguous(memory_format=channels_last(first))
    one, other = forked(first)
    assert torch.equal(one, first)
    assert torch.equal(other, first)
    arriving = last(torch.randn(shape).to(dtype)), last(torch.randn(shape).to(dtype))
    (gradient,) = torch.autograd.grad((one, other), first, arriving, retain_graph=True)
    assert torch.equal(gradient, arriving[0] + arriving[1])
    assert gradient.is_contiguous(memory_format=channels_last(first))
    for handle in (one, other):  # where only one of them is used
        (gradient,) = torch.autograd.grad(handle, first, arriving[0], retain_graph=True)
        assert torch.equal(gradient, arriving[0])
    both = torch.autograd.grad(summed(first, second), (first, second), arriving[0])
    assert all(torch.equal(gradient, arriving[0]) for gradient in both)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scaled_channels_are_those_of_a_product(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    maps, factor = leaf((2, 4, 4, 6, 2), dtype), torch.rand(2, 1, 4).to(dtype)
    long = factor.repeat(1, 1, 3)
    plain = maps * factor.movedim(1, -1).view(2, 4, 1, 1, 1)
    arriving = last(torch.randn(maps.shape).to(dtype))
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(elementwise, "_compiled", lambda: None)
        found = scaled(maps, long)
        assert (type(found.grad_fn).__name__ == "_ScaledChannelsBackward") == compiled
        assert torch.equal(found, plain)
        mine, theirs = (torch.autograd.grad(x, maps, arriving, retain_graph=True)[0] for x in (found, plain))
        assert torch.equal(mine, theirs)


def test_what_loops_cannot_take_is_left_to_pytorch():
    maps = torch.randn(2, 3, 6, 5, requires_grad=True)  # not channels-last
    one, other = forked(maps)
    assert one is other is maps
    assert type(summed(maps, maps).grad_fn).__name__ == "AddBackward0"
    with torch.no_grad():
        one, other = forked(last(maps.detach()))
    assert one is other
    wide = last(maps.detach())
    assert torch.equal(summed(wide, wide[:1]), wide + wide[:1])  # of another shape
