"""The plan's optimizers against PyTorch's plain ones, for weights in either layout and gradients in any."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from benchmark import optimizers
from benchmark.training import Training

_SHAPES = ((8, 4, 3, 3, 3), (8, 4, 3, 3), (8, 4, 1, 1), (8, 1, 3, 3), (3, 5), (8,))
_RATE, _DECAY, _STEPS = 0.01, 0.1, 3


def _laid(tensor: Tensor, last: bool) -> Tensor:
    """A copy, channels-last where that means something."""
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.ndim) if last else None
    return tensor.clone(memory_format=layout or torch.contiguous_format)


def _plain(kind: str, params: list[nn.Parameter], momentum: float) -> torch.optim.Optimizer:
    settings: dict[str, Any] = {"lr": _RATE, "weight_decay": _DECAY, "foreach": False}
    if kind == "sgd":
        return torch.optim.SGD(params, momentum=momentum, **settings)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind](params, **settings)


def _ours(kind: Literal["sgd", "adam", "adamw"], params: list[nn.Parameter], momentum: float) -> torch.optim.Optimizer:
    training = Training(optimizer=kind, lr=_RATE, weight_decay=_DECAY, momentum=momentum)
    return optimizers.make(training, params, torch.device("cpu"))


def _gradients() -> list[list[Tensor]]:
    return [[torch.randn(shape) for shape in _SHAPES] for _ in range(_STEPS)]


@pytest.mark.parametrize("gradient_last", [False, True], ids=["plain_gradients", "channels_last_gradients"])
@pytest.mark.parametrize("weight_last", [False, True], ids=["plain_weights", "channels_last_weights"])
@pytest.mark.parametrize(("kind", "momentum"), [("sgd", 0.9), ("sgd", 0.0), ("adam", 0.9), ("adamw", 0.9)])
def test_a_step_is_pytorchs_own_whatever_the_layouts(
    kind: Literal["sgd", "adam", "adamw"], momentum: float, weight_last: bool, gradient_last: bool
) -> None:
    torch.manual_seed(0)
    start = [torch.randn(shape) for shape in _SHAPES]
    mine, theirs = ([nn.Parameter(_laid(w, last)) for w in start] for last in (weight_last, False))
    ours, plain = _ours(kind, mine, momentum), _plain(kind, theirs, momentum)
    unused = nn.Parameter(torch.ones(2))
    ours.param_groups[0]["params"].append(unused)
    for gradients in _gradients():
        for p, q, gradient in zip(mine, theirs, gradients, strict=True):
            p.grad, q.grad = _laid(gradient, gradient_last), gradient.clone()
        ours.step()
        plain.step()
    for p, q, before in zip(mine, theirs, start, strict=True):
        assert p.stride() == _laid(before, weight_last).stride()
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6)
        assert not torch.equal(q, before)
    assert torch.equal(unused, torch.ones(2)), "a weight without a gradient was moved"


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_what_it_keeps_goes_on_where_another_left_off(kind: Literal["sgd", "adam", "adamw"]) -> None:
    """As in a checkpoint: half of the steps, its state into a new one, the other half."""
    torch.manual_seed(0)
    start, gradients = [torch.randn(shape) for shape in _SHAPES], _gradients()
    through, resumed = ([nn.Parameter(_laid(w, True)) for w in start] for _ in range(2))
    one, other = _ours(kind, through, 0.9), _ours(kind, resumed, 0.9)
    for number, some in enumerate(gradients):
        if number == 1:
            kept, other = other.state_dict(), _ours(kind, resumed, 0.9)
            other.load_state_dict(kept)
        for optimizer, params in ((one, through), (other, resumed)):
            for p, gradient in zip(params, some, strict=True):
                p.grad = _laid(gradient, True)
            optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(through, resumed, strict=True))
    assert all(len(state) == (1 if kind == "sgd" else 3) for state in other.state.values())
    assert len(other.state) == len(_SHAPES), "something else than weights has a state"


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_no_weight_is_copied(kind: Literal["sgd", "adam", "adamw"]) -> None:
    params = [nn.Parameter(_laid(torch.randn(8, 4, 3, 3), True))]
    params[0].grad = _laid(torch.randn(8, 4, 3, 3), True)
    optimizer = _ours(kind, params, 0.9)
    optimizer.step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        optimizer.step()
    assert "aten::clone" not in {event.name for event in seen.events()}
