"""Tiny batches with unlabelled images, methods on tiny networks, and short runs of them as the trainer takes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD

from datasets.types import Batch, Labelled, Task, Unlabelled
from methods import get, networks
from methods.base import Clock, Method, Terms
from methods.networks.base import SegmentationNetwork
from tests.reference import losses as reference

CLASSES = ("background", "wall", "cavity")
MIDDLE = Clock(step=50, total=101)
END = Clock(step=100, total=101)


def ramp(until: float = 1.0) -> float:
    """The Gaussian ramp at half of training."""
    return math.exp(-5 * (1 - min(0.5, until) / until) ** 2)


def method(name: str, *, ndim: int = 2, side: int = 16, classes: int = 3, network: str = "unet", **hyper) -> Method:
    """In eval mode: no dropout, no batch statistics, so that a loss can be recomputed from the networks' outputs."""
    cls = get(name)
    task = Task("toy", ndim, 1, CLASSES[:classes], (side,) * ndim, "px")

    make = networks.builder(network, ndim=ndim, channels=1, classes=classes, width=4, levels=3)

    def build(**overrides: Any) -> SegmentationNetwork:
        return awake(make(**overrides), side)

    m = cls(task, cls.Hyper(**hyper), build).eval()
    for decoder in [*getattr(m, "auxiliaries", ()), *getattr(m, "decoders", ())]:
        with torch.random.fork_rng(devices=()), torch.no_grad():
            normalised(decoder, m.network.encode(torch.randn(4, 1, *(side,) * ndim)))
    if hasattr(m, "critic"):  # an untrained one says the same of all maps
        with torch.no_grad():
            [p for p in m.critic.parameters() if p.ndim > 1][-1].mul_(20)
    return m


def awake(network: SegmentationNetwork, side: int) -> SegmentationNetwork:
    """Make what an untrained network puts out in eval mode depend on its input: by itself that hardly does.

    On noise, the maps after batch normalisation and the logits are of mean 0; the latter deviate by 2. Draws nothing
    from the global stream.
    """
    with torch.random.fork_rng(devices=()), torch.no_grad():
        image = torch.randn(4, 1, *(side,) * network.ndim)
        logits, head = normalised(network, image), network.head
        mean, scale = logits.transpose(0, 1).flatten(1).mean(dim=1), 2 / logits.transpose(0, 1).flatten(1).std(dim=1)
        head.bias.sub_(mean).mul_(scale)
        head.weight.mul_(scale.view(-1, *[1] * (network.ndim + 1)))
    return network


def normalised(part: nn.Module, given: Any) -> Tensor:
    """What the part makes of something, whose statistics its batch normalisation knows from then on."""
    part.eval()
    norms = [layer for layer in part.modules() if isinstance(layer, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    found: Tensor = part(given)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum
        norm.num_batches_tracked.zero_()
    return found


def toy_batch(labelled: int = 2, unlabelled: int = 3, *, ndim: int = 2, side: int = 16, classes: int = 3) -> Batch:
    """Noise: what is learnt from it does not matter."""
    image = torch.randn(labelled + unlabelled, 1, *(side,) * ndim)
    label = torch.randint(0, classes, (labelled, *(side,) * ndim))
    return Batch(Labelled(image[:labelled], label), Unlabelled(image[labelled:]))


def blobs(labelled: int = 2, unlabelled: int = 2, *, side: int = 16) -> Batch:
    """A square of class 2 inside one of class 1, and images that show them."""
    label = torch.zeros(labelled, side, side, dtype=torch.int64)
    label[:, 3 : side - 3, 3 : side - 3] = 1
    label[:, 6 : side - 6, 6 : side - 6] = 2
    image = label[:, None].float() + 0.1 * torch.randn(labelled, 1, side, side)
    other = label[:1, None].float() + 0.1 * torch.randn(unlabelled, 1, side, side)
    return Batch(Labelled(image, label), Unlabelled(other))


def moved(module: nn.Module, by: float = 1.1) -> None:
    """Multiply every parameter, so that a teacher differs from its student."""
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(by)


def logits_of(network: nn.Module, image: Tensor) -> np.ndarray:
    with torch.no_grad():
        return network(image).numpy()


def supervised(logits: np.ndarray, label: Tensor) -> dict[str, float]:
    """½ cross-entropy and ½ Dice."""
    return {
        "ce": reference.cross_entropy(logits, label.numpy()) / 2,
        "dice": reference.dice_loss(reference.softmax(logits), label.numpy()) / 2,
    }


def assert_terms(found: Terms, expected: dict[str, float]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-4), name


def trained(m: Method, batch: Batch, *, steps: int = 3, leave_out: Sequence[str] = ()) -> dict[str, Tensor]:
    """State after a few steps; terms of those names are left out of what is minimised."""
    m.train()
    players = m.optimizers(partial(SGD, lr=0.05, momentum=0.9))

    def descend(terms: Terms, player: str = "main") -> None:
        for optimizer in players.values():
            optimizer.zero_grad()
        torch.stack([term for name, term in terms.items() if name not in leave_out]).sum().backward()
        players[player].step()

    return _steps(m, lambda clock: m.step(batch, clock, descend), steps)


def trained_on_labels(m: Method, batch: Batch, terms: Callable[[Tensor, Tensor], Terms], *, steps: int = 3) -> dict:
    """State of the method's network after supervised steps whose batch normalisation sees the unlabelled images too."""
    m.train()
    optimizer = SGD(m.network.parameters(), lr=0.05, momentum=0.9)

    def step(_: Clock) -> None:
        optimizer.zero_grad()
        logits = batch.split(m.network(batch.images))[0]
        torch.stack(list(terms(logits, batch.labelled.label).values())).sum().backward()
        optimizer.step()

    return _steps(m, step, steps)


def require_equal_networks(
    one: dict[str, Tensor], other: dict[str, Tensor], prefix: str = "network.", within: float = 0.0
) -> None:
    """The parameters and buffers under the prefix are equal: bit for bit, unless something else is said."""
    names = [name for name in one if name.startswith(prefix)]
    assert names
    assert names == [name for name in other if name.startswith(prefix)]
    apart = [name for name in names if not torch.allclose(one[name], other[name], rtol=0, atol=within)]
    assert apart == []


def reached(term: Tensor, module: nn.Module) -> bool:
    """Whether the term sends gradient other than 0 into the module."""
    asked = [p for p in module.parameters() if p.requires_grad]
    if not asked or not term.requires_grad:
        return False
    gradients = torch.autograd.grad(term, asked, retain_graph=True, allow_unused=True)
    return any(g is not None and bool(g.abs().max() > 1e-12) for g in gradients)


def _steps(m: Method, step: Callable[[Clock], None], steps: int) -> dict[str, Tensor]:
    for k in range(steps):
        torch.manual_seed(k)
        step(Clock(k, steps))
        with torch.no_grad():
            m.after_step(Clock(k, steps))
    return {name: value.clone() for name, value in m.state_dict().items()}


def assert_ramps_up_until_two_fifths(prepared: Callable[[], tuple[Method, Batch]], name: str) -> None:
    """A term is exp(-5) of its full weight at first, exp(-5/4) at 0.2 of training, and full from 0.4 on."""
    found = []
    for clock in (Clock(0, 101), Clock(20, 101), Clock(40, 101), END):
        torch.manual_seed(1)
        m, batch = prepared()
        found.append(m.losses(batch, clock)[name].item())
    # the ramp ends at 0.4 of training: exp(-5) of the full weight at 0, exp(-5/4) at 0.2
    assert found[3] > 0
    assert found == pytest.approx([found[3] * math.exp(-5), found[3] * math.exp(-5 / 4), found[3], found[3]], rel=1e-4)
