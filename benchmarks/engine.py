"""Our side: the trainer of the runner, step by step, and what a step computes and moves."""

from __future__ import annotations

import time
from pathlib import Path
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmark.plan import Cell
from benchmark.prepare import Prepared, prepare
from benchmark.stepping import as_written
from methods.base import Clock, Method

from .settings import Setting

_PASSES = (torch.ops.aten.convolution, torch.ops.aten._convolution, torch.ops.aten.convolution_backward)


class Work(NamedTuple):
    """What one step of a cell is.

    Attributes:
        flops: floating-point operations of convolutions and matrix products, forward and backward.
        passes: those of convolutions alone: they measure how many forward and backward passes a step makes.
        moved: bytes that its operations read and write, each counted as if no cache kept anything.
        precision: of the convolutions.
    """

    flops: float
    passes: float
    moved: float
    precision: str


class Engine:
    """Trainers in this process, by name.

    Args:
        setting: dataset and size.
        scratch: where decoded data are kept.
    """

    def __init__(self, setting: Setting, scratch: Path) -> None:
        self.setting, self.scratch = setting, scratch
        self._ready: dict[str, Prepared] = {}
        self._step: dict[str, int] = {}

    def load(self, cell: Cell) -> Work:
        """Get a cell ready in the middle of training and take one step, counting.

        What is labelled anew between steps, or before the first, is not part of a step: such maps are the labels.
        """
        ready = prepare(cell, self.setting.places(self.scratch), self.scratch)
        if type(ready.method).relabel_at is not Method.relabel_at:
            for indices, samples in ready.feed.relabel_samples():
                ready.feed.set_pseudo(indices, samples.label)
            ready.method.relabel_at = MethodType(lambda self, step: False, ready.method)  # type: ignore[method-assign]
        self._ready[cell.method], self._step[cell.method] = ready, cell.training.steps // 2
        with as_written(ready.trainer.device), Counted() as counted:
            self._one_step(cell.method)
        return Work(counted.flops, counted.passes, counted.bytes, str(ready.on["dtype"]).removeprefix("torch."))

    def steps(self, method: str, n: int) -> float:
        """Seconds of one step, on average over ``n``."""
        began = time.perf_counter()
        for _ in range(n):
            self._one_step(method)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / n

    def batches(self, method: str, n: int) -> float:
        """Seconds by which one batch makes a step longer, on average over ``n``.

        On a CPU those of the batch alone; on a GPU, where a batch is made while the step before it runs, the difference
        to steps that take one batch again and again.
        """
        feed = self._ready[method].feed
        if torch.cuda.is_available():
            fed, batch = self.steps(method, n), feed.batch(0)
            feed.batch = lambda step: batch  # type: ignore[method-assign]
            spared = self.steps(method, n)
            del feed.batch  # the class's own again
            return max(0.0, fed - spared)
        began = time.perf_counter()
        for step in range(n):
            feed.batch(step)
        return (time.perf_counter() - began) / n

    def forget(self, method: str) -> None:
        """Free what a cell takes."""
        del self._ready[method]

    def _one_step(self, method: str) -> None:
        trainer = self._ready[method].trainer
        trainer._one_step(Clock(self._step[method], trainer.training.steps))
        self._step[method] = (self._step[method] + 1) % trainer.training.steps


class Counted(TorchDispatchMode):
    """Counts what operations compute, and the bytes of the tensors that they take and give; views move nothing.

    torch's own ``FlopCounterMode`` follows modules as well, and fails where one is given a leaf that asks for gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.passes = self.bytes = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        packet = func.overloadpacket
        if packet in flop_registry:
            flops = flop_registry[packet](*args, **kwargs, out_val=found)
            self.flops += flops
            self.passes += flops if packet in _PASSES else 0
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, found)) if isinstance(leaf, torch.Tensor)]
            self.bytes += sum(tensor.nbytes for tensor in tensors)
        return found
