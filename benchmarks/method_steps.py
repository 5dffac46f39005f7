"""One step of a method on a made-up batch, as the trainer would take it: what the costs of methods are measured on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import SGD, Optimizer

import methods
from benchmark import device
from datasets.types import IGNORE, Batch, Labelled, Task, Unlabelled
from methods import networks
from methods.base import MAIN, Clock, Method, Terms

START = "@start"
"""Ends the name of a method that is measured at its first step: where it has phases, the first of them."""
_LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}
_LATE = 100
"""Progress in per cent at which steps are measured else: every ramp and phase is over."""


@dataclass(frozen=True)
class Size:
    """Of a step."""

    side: int
    batch: int
    width: int
    precision: str
    depth: int = 0
    network: str = "unet"
    classes: int = 4

    @property
    def space(self) -> tuple[int, ...]:
        """Square images, or with a depth volumes of a square plane."""
        return (self.side, self.side, self.depth) if self.depth else (self.side, self.side)

    def __str__(self) -> str:
        return f"{self.batch} × {'×'.join(map(str, self.space))}, {self.network} of width {self.width}"


class Stepper:
    """One method on one batch, with the optimizers that the trainer would give it."""

    def __init__(self, name: str, family: str, size: Size) -> None:
        ndim = len(size.space)
        self.where = device.pick()
        self.dtype = device.precision(size.precision, self.where)
        kinds: tuple[str, ...] = ("scribble",) if family == "scribble" else ("dense",)
        names = ("background", *(f"class {k}" for k in range(1, size.classes)))
        task = Task("made_up", ndim, 1, names, size.space, "px", kinds)  # type: ignore[arg-type]
        build = networks.builder(size.network, ndim=ndim, channels=1, classes=size.classes, width=size.width)
        torch.manual_seed(0)
        cls = methods.get(name.removesuffix(START))
        self.clock = Clock(0 if name.endswith(START) else _LATE, _LATE + 1)
        made = cls(task, cls.Hyper(), build).to(self.where)
        self.method: Method = made.to(memory_format=_LAYOUTS[ndim])  # type: ignore[call-overload]
        self.batch = _batch(cls, size, self.where)
        self.players = dict(self.method.optimizers(self._sgd))

    def step(self) -> None:
        """As the trainer takes it, without logging."""
        self.method.train()
        with device.autocast(self.where, self.dtype):
            self.method.step(self.batch, self.clock, self._descend)
        with torch.no_grad():
            self.method.after_step(self.clock)

    def relabel(self) -> None:
        """Label the batch anew once."""
        self.method.eval()
        with torch.no_grad(), device.autocast(self.where, self.dtype):
            self.method.relabel(self.batch.labelled, None)

    def seconds(self, action: Callable[[], None]) -> float:
        """Of one call: processor time on a CPU, the clock on the wall on a GPU."""
        clock = time.process_time if self.where.type == "cpu" else time.perf_counter
        self._wait()
        started = clock()
        action()
        self._wait()
        return clock() - started

    def _wait(self) -> None:
        if self.where.type == "cuda":
            torch.cuda.synchronize()

    def _sgd(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        return SGD(list(parameters), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def _descend(self, terms: Terms, player: str = MAIN) -> None:
        for optimizer in self.players.values():
            optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.where.type, enabled=False):
            torch.stack([term.float() for term in terms.values()]).sum().backward()
        self.players[player].step()


def _batch(cls: type[Method], size: Size, where: torch.device) -> Batch:
    """Noise, with a scribble on every ninth row and column where the method learns from scribbles."""
    draw = torch.Generator().manual_seed(0)

    def image() -> torch.Tensor:
        made = torch.rand(size.batch, 1, *size.space, generator=draw)
        return made.to(where).contiguous(memory_format=_LAYOUTS[len(size.space)])

    dense = torch.randint(0, size.classes, (size.batch, *size.space), generator=draw).to(where)
    label = dense
    if cls.supervision == "scribble":
        label = torch.full_like(dense, IGNORE)
        label[:, ::9, ::9] = dense[:, ::9, ::9]
    pseudo = dense if cls.relabel_at is not Method.relabel_at else None
    unlabelled = Unlabelled(image()) if cls.supervision == "semi" else None
    return Batch(Labelled(image(), label, pseudo), unlabelled, dense if cls.wants_shapes else None)
