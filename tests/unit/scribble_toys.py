"""Tiny scribbled batches, methods on tiny networks, and what every scribble method is asked."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from datasets.types import IGNORE, Batch, Labelled, Task
from methods import get, networks
from methods.base import Clock, Descend, Method, Terms

MIDDLE = Clock(step=50, total=101)
END = Clock(step=100, total=101)


def task(side: int = 16) -> Task:
    names = ("background", "wall", "cavity")
    return Task("toy", 2, 1, names, (side, side), "px", annotations=("scribble",))


def method(name: str, *, side: int = 16, **hyper) -> Method:
    """In eval mode: no dropout, no batch statistics, so that a loss can be recomputed from the network's output."""
    cls = get(name)
    build = partial(networks.make, "unet", ndim=2, channels=1, classes=3, width=4, levels=3)
    return cls(task(side), cls.Hyper(**hyper), build).eval()


def scribbled(n: int = 2, side: int = 16, shapes: Tensor | None = None) -> Batch:
    """Images in [0, 1] with three scribbled bands."""
    label = torch.full((n, side, side), IGNORE)
    label[:, 2:4], label[:, 8:9], label[:, 12:14, :5] = 0, 1, 2
    return Batch(Labelled(torch.rand(n, 1, side, side), label), shapes=shapes)


def logits_of(network: nn.Module, image: Tensor) -> Tensor:
    with torch.no_grad():
        return network(image)


def trained(name: str, batch: Batch, *, steps: int = 3, side: int = 16, **hyper) -> dict[str, Tensor]:
    """State of the method after a few steps of training, as the trainer takes them."""
    torch.manual_seed(1)
    m = method(name, side=side, **hyper).train()
    players = m.optimizers(lambda parameters: torch.optim.SGD(list(parameters), lr=0.01, momentum=0.9))
    for step in range(steps):
        torch.manual_seed(step)
        m.step(batch, Clock(step, steps), _descend(players))
        with torch.no_grad():
            m.after_step(Clock(step, steps))
    return m.state_dict()


def require_equal_networks(one: dict[str, Tensor], other: dict[str, Tensor], prefix: str = "network.") -> None:
    """The states of both have the same parameters and buffers under the prefix, bit for bit."""
    names = [name for name in one if name.startswith(prefix)]
    assert names
    assert names == [name for name in other if name.startswith(prefix)]
    assert all(torch.equal(one[name], other[name]) for name in names)


def _descend(players) -> Descend:
    def descend(terms: Terms, player: str = "main") -> None:
        for optimizer in players.values():
            optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        players[player].step()

    return descend


def assert_drops_channels_of_the_auxiliary_branch_in_training(name: str) -> None:
    """In training some channels of what the auxiliary decoder sees are gone, never of what the main one sees."""
    m, batch = method(name, channel_dropout=0.9), scribbled()
    seen: dict[str, list[Tensor]] = {}
    m.network.decoder.register_forward_pre_hook(lambda _, args: seen.update(main=args[0]))
    m.auxiliary.register_forward_pre_hook(lambda _, args: seen.update(auxiliary=args[0]))
    m.losses(batch, MIDDLE)
    assert all(torch.equal(a, b) for a, b in zip(seen["main"], seen["auxiliary"], strict=True))
    m.train()
    m.losses(batch, MIDDLE)
    for kept, dropped in zip(seen["main"], seen["auxiliary"], strict=True):
        gone = dropped.flatten(2).abs().amax(dim=2) == 0
        assert gone.any()
        torch.testing.assert_close(dropped[~gone], kept[~gone] / (1 - 0.9))
