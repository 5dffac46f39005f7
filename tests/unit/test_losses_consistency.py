"""Squared difference of two predictions: hand-computed values, a slow reference, masks and their edges."""

from __future__ import annotations

import math

import pytest
import torch

from methods.losses import consistency
from methods.losses.consistency import squared_difference
from tests.reference import losses as reference


def test_mean_runs_over_classes_and_pixels():
    # differences of .2 and -.2 in one of two pixels: 2 * .04 / 4
    first = torch.tensor([[[0.7, 0.5], [0.3, 0.5]]])
    second = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]])
    assert squared_difference(first, second).item() == pytest.approx(0.02, rel=1e-5)


def test_a_mask_leaves_the_mean_to_the_pixels_that_count():
    # the same, but only the pixel that differs counts: 2 * .04 / 2
    first = torch.tensor([[[0.7, 0.5], [0.3, 0.5]]])
    second = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]])
    assert squared_difference(first, second, torch.tensor([[True, False]])).item() == pytest.approx(0.04, rel=1e-5)


@pytest.mark.parametrize("space", [(6,), (4, 3), (2, 3, 4)])
def test_agrees_with_the_slow_reference(space: tuple[int, ...]):
    first, second = (torch.softmax(torch.randn(3, 4, *space), dim=1) for _ in range(2))
    mask = torch.rand(3, *space) < 0.5
    arrays = first.numpy(), second.numpy()
    assert squared_difference(first, second).item() == pytest.approx(reference.squared_difference(*arrays), rel=1e-5)
    expected = reference.squared_difference(*arrays, mask.numpy())
    assert squared_difference(first, second, mask).item() == pytest.approx(expected, rel=1e-5)


def test_a_mask_without_pixels_gives_zero_with_zero_gradient():
    first = torch.rand(2, 3, 4, requires_grad=True)
    loss = squared_difference(first, torch.rand(2, 3, 4), torch.zeros(2, 4))
    loss.backward()
    assert loss.item() == 0
    assert first.grad.abs().max().item() == 0


def test_gradient_flows_into_both_arguments_unless_one_is_detached():
    first, second = torch.rand(2, 3, 4, requires_grad=True), torch.rand(2, 3, 4, requires_grad=True)
    squared_difference(first, second).backward()
    torch.testing.assert_close(first.grad, -second.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("space", [(9, 11), (5, 3, 7)])
def test_the_compiled_rectified_consistency_is_the_plain_one_in_double(
    space: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("numba")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    last = torch.channels_last if len(space) == 2 else torch.channels_last_3d
    logits = [(4 * torch.randn(2, 3, *space)).to(dtype).contiguous(memory_format=last) for _ in range(4)]
    logits[1] = logits[1] + 200 * (logits[0].argmax(dim=1, keepdim=True) != torch.arange(3).view(3, *[1] * len(space)))
    logits[1] = logits[1].contiguous(memory_format=last)  # probabilities of 0 on the class that another scale sees
    scales = [each.requires_grad_() for each in logits]
    found = consistency.rectified_consistency(scales)
    assert found.grad_fn is not None
    assert "Rectified" in type(found.grad_fn).__name__
    exact = [each.detach().double().requires_grad_() for each in scales]
    with monkeypatch.context() as plain:
        plain.setattr(torch.Tensor, "float", torch.Tensor.double)
        expected = consistency.rectified_consistency(exact)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    ours, theirs = torch.autograd.grad(3 * found, scales), torch.autograd.grad(3 * expected, exact)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.double() - other).norm() < {torch.float32: 1e-4, torch.bfloat16: 0.01}[dtype] * other.norm()


def test_what_is_not_finite_is_not_hidden_by_the_compiled_consistency(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    scales = [torch.randn(1, 2, 8, 8).contiguous(memory_format=torch.channels_last) for _ in range(2)]
    scales[0][0, 1, 3, 4] = math.nan
    assert math.isnan(consistency.rectified_consistency(scales).item())


@pytest.mark.parametrize("kinds", [("float32", "float32"), ("bfloat16", "float32"), ("bfloat16", "bfloat16")])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_compiled_loops_give_the_same_difference_and_gradients(
    layout: torch.memory_format, kinds: tuple[str, str], monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("numba")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    given = [torch.randn(2, 3, 30, 40).to(getattr(torch, kind)).contiguous(memory_format=layout) for kind in kinds]
    outcome = []
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(consistency, "_differences", lambda: None)
        leaves = [each.clone().requires_grad_() for each in given]
        loss = 5 * squared_difference(*leaves)
        gradients = torch.autograd.grad(loss, leaves)
        assert [each.dtype for each in gradients] == [each.dtype for each in given]
        outcome.append((loss, *gradients))
        assert ("SquaredDifference" in type(loss.grad_fn.next_functions[0][0]).__name__) == compiled
    assert [each.stride() for each in outcome[0][1:]] == [each.stride() for each in given]
    for one, other in zip(*outcome, strict=True):
        torch.testing.assert_close(
            one.float(), other.float(), rtol=1e-5 if one.dtype == torch.float32 else 1e-2, atol=0
        )


def test_the_difference_to_what_lies_otherwise_in_memory_is_that_of_the_same_numbers():
    torch.manual_seed(0)
    first, second = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    mixed = squared_difference(first, second.contiguous(memory_format=torch.channels_last))
    assert mixed.item() == pytest.approx(squared_difference(first, second).item(), rel=1e-6)
