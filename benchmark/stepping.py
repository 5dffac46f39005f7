"""How a training step is taken: by Python, or on a GPU, once it has gone the same way a few times, as one CUDA graph.

A step of a small network launches hundreds of kernels that each take microseconds, and Python needs longer to launch
them than the GPU to run them. A graph launches them all at once. It replays exactly the recorded kernels, so a step is
recorded only if that is what Python would do again: it must not have had the host wait, nor drawn on the host, nor kept
anything outside tensors that stay where they are; what it asked of the clock is asked again (``methods.following``).
A step that is not like that is taken by Python, as on a CPU, and :attr:`Replayed.refusal` says why.
"""

from __future__ import annotations

import copy
import os
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from datasets.types import Batch, Labelled, Unlabelled
from methods.base import Clock, Method
from methods.following import CannotFollow, Recording
from methods.networks.base import Decoder, SegmentationNetwork

Terms = list[tuple[str, Tensor]]
"""Names and values, scalars on the device, of all loss terms of a step, in the order of its descents."""

Act = Callable[[Batch, Clock], Terms]
"""Everything of a step that happens on the device: forward, backward, optimizers, and what follows them."""

ALIKE = 3
"""Steps that must have gone one way, taken by Python, before the next is recorded: they are the warm-up, too."""


MOST_WATCHED = 60
"""Steps that may be watched, which costs as much again, before most others must have been replayed."""


class Replayed:
    """Takes steps; those that go one way again and again as one graph.

    Args:
        act: the step.
        method, players: what it may change.
        device: where it happens; graphs need CUDA. Elsewhere (tests), steps are recorded and never replayed.

    Attributes:
        refusal: why steps are taken one kernel at a time, for the record; "" as long as they need not be.
        replays: how many steps were.
    """

    def __init__(self, act: Act, method: Method, players: Mapping[str, Optimizer], device: torch.device) -> None:
        self.refusal = ""
        self.replays = 0
        self._act, self._method, self._players, self._device = act, method, players, device
        self._recording = Recording(device)
        self._layout: object = None
        self._alike = self._watched = 0
        self._graph: Any = None
        self._batch: Batch | None = None
        self._names: tuple[str, ...] = ()
        self._values: Tensor | None = None

    def __call__(self, batch: Batch, clock: Clock) -> Terms:
        if self.refusal:
            return self._act(batch, clock)
        layout = _layout(batch)
        known = layout == self._layout and self._recording.holds(clock)
        if not known:
            self._layout, self._alike, self._graph = layout, 0, None
        if self._graph is None and (self._alike < ALIKE or self._device.type != "cuda"):
            return self._by_python(batch, clock)
        if self._graph is None and not self._record(batch, clock):
            return self._act(batch, clock)
        return self._replay(batch, clock)

    def _by_python(self, batch: Batch, clock: Clock) -> Terms:
        """One step with a watched clock; taken again, as if nothing had been, where the clock cannot be followed."""
        before, drawn, plain = self._state(), _Drawn(self._device), _plain_state(self._method)
        self._recording.begin(clock)
        waits: list[str] = []
        try:
            with _watched(self._device, waits):
                found = self._act(_nameless(batch), self._recording.clock)
        except Exception as error:  # not only CannotFollow: whatever it is, the step as it is written must show it
            self.refusal = f"{type(error).__name__}: {error}"
            self._restore(before)
            drawn.restore()
            return self._act(batch, clock)
        self._alike += 1
        self._watched += 1
        if self._watched > MOST_WATCHED and self.replays < self._watched:
            self.refusal = "steps go another way again and again"
        if waits and self._alike > 1:  # the first sets up optimizers and libraries
            self.refusal = f"the host waits for the device in {', '.join(waits)}"
        elif drawn.moved():
            self.refusal = "a random number is drawn on the host"
        elif _plain_state(self._method) != plain:
            self.refusal = "the method keeps something outside its tensors, or puts new ones in their place"
        return found

    def _record(self, batch: Batch, clock: Clock) -> bool:
        """Record the step; whether that went well. Nothing is computed."""
        drawn, plain = _Drawn(self._device), _plain_state(self._method)
        self._batch = _nameless(batch, torch.clone)
        self._recording.turn(clock)
        self._recording.begin(clock, ready=True)
        graph = torch.cuda.CUDAGraph()
        try:
            here = torch.cuda.current_stream(self._device)
            with torch.cuda.graph(graph, stream=here, capture_error_mode="thread_local"):
                terms = self._act(self._batch, self._recording.clock)
                self._values = torch.stack([value.detach().float() for _, value in terms])
            if _plain_state(self._method) != plain:
                raise CannotFollow("the method puts new tensors in the place of old ones")
        except Exception as error:
            self.refusal = f"could not be recorded, {type(error).__name__}: {error}"
            drawn.restore()
            return False
        self._names, self._graph = tuple(name for name, _ in terms), graph
        return True

    def _replay(self, batch: Batch, clock: Clock) -> Terms:
        assert self._batch is not None
        assert self._values is not None
        for old, new in zip(_tensors(self._batch), _tensors(batch), strict=True):
            if old is not None and new is not None:
                old.copy_(new, non_blocking=True)
        self._recording.turn(clock)
        self._graph.replay()
        self.replays += 1
        return list(zip(self._names, self._values.clone(), strict=True))

    def _state(self) -> dict[str, Any]:
        """A copy of all that a step may change."""
        return {
            "method": [tensor.detach().clone() for tensor in _owned(self._method)],
            "players": {name: copy.deepcopy(optimizer.state_dict()) for name, optimizer in self._players.items()},
        }

    @torch.no_grad()
    def _restore(self, state: dict[str, Any]) -> None:
        for tensor, kept in zip(_owned(self._method), state["method"], strict=True):
            tensor.copy_(kept)
        for name, optimizer in self._players.items():
            optimizer.load_state_dict(state["players"][name])


def replaying(act: Act, method: Method, players: Mapping[str, Optimizer], device: torch.device) -> Replayed | None:
    """What replays steps on a GPU, unless ``BENCH_GRAPHS=0``; None elsewhere: there, steps are simply taken."""
    if device.type != "cuda":
        return None
    if os.environ.get("BENCH_COMPILE", "0") != "0":
        compile_networks(method)
    if os.environ.get("BENCH_GRAPHS", "1") == "0":
        return None
    for group in (group for optimizer in players.values() for group in optimizer.param_groups):
        if "capturable" in group:
            group["capturable"] = True
    return Replayed(act, method, players, device)


@contextmanager
def on_its_own_stream(device: torch.device) -> Iterator[None]:
    """Work on a GPU goes to a stream of its own, which recording needs, in order with what comes before and after."""
    if device.type != "cuda":
        yield
        return
    outer, own = torch.cuda.current_stream(device), _stream_of(device)
    own.wait_stream(outer)
    try:
        with torch.cuda.stream(own):
            yield
    finally:
        outer.wait_stream(own)


@cache
def _stream_of(device: torch.device) -> Any:
    return torch.cuda.Stream(device)


def compile_networks(method: Method) -> None:
    """Let torch.compile fuse what networks do between convolutions: it takes the better part of a minute, once.

    Encoders and decoders are compiled, each for every shape that it meets in training; methods that take networks
    apart use them as well. Names of parameters stay.
    """
    for module in method.modules():
        if isinstance(module, SegmentationNetwork):
            module.encoder.compile(dynamic=False)
        if isinstance(module, Decoder):
            module.compile(dynamic=False)


def as_written(device: torch.device) -> AbstractContextManager[Any]:
    """For a while, what is compiled runs as it is written: predicting meets too many shapes to compile for."""
    return torch.compiler.set_stance("force_eager") if device.type == "cuda" else nullcontext()


class _Drawn:
    """The states of all generators: whether the host's were used, and back to where they were."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._host = self._states()
        self._gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def moved(self) -> bool:
        """Whether a number was drawn on the host since; on a CPU, which is the device, torch's do not count."""
        mine, now = self._host, self._states()
        places = (1, 2) if self._device.type == "cpu" else (0, 1, 2)
        return any(mine[place] != now[place] for place in places)

    def restore(self) -> None:
        torch.set_rng_state(torch.frombuffer(bytearray(self._host[0]), dtype=torch.uint8))
        if self._gpu is not None:
            torch.cuda.set_rng_state(self._gpu, self._device)

    @staticmethod
    def _states() -> tuple[bytes, object, str]:
        old = np.random.get_state(legacy=False)  # noqa: NPY002, a method may draw from it
        return torch.get_rng_state().numpy().tobytes(), random.getstate(), repr(old)


@contextmanager
def _watched(device: torch.device, waits: list[str]) -> Iterator[None]:
    """Collects where the host waits for the GPU, as file and line."""
    if device.type != "cuda":
        yield
        return
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for one in heard:
        if "synchroniz" in str(one.message) and "prototype" not in str(one.message):
            waits.append(f"{Path(one.filename).name}:{one.lineno}")
        elif "prototype" not in str(one.message):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def _plain_state(method: nn.Module) -> dict[tuple[str, str], object]:
    """What a replayed step could not change: plain attributes, and where the tensors of all modules lie."""
    found: dict[tuple[str, str], object] = {}
    for name, module in method.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, bool | int | float | str | tuple | None):
                found[name, attribute] = value
            elif isinstance(value, Tensor):
                found[name, attribute] = value.data_ptr()
    found |= {("", name): tensor.data_ptr() for name, tensor in (*method.named_parameters(), *method.named_buffers())}
    return found


def _owned(method: nn.Module) -> Sequence[Tensor]:
    return [*method.parameters(), *method.buffers()]


# Batches -------------------------------------------------------------------------------------------------------------
def _tensors(batch: Batch) -> tuple[Tensor | None, ...]:
    labelled, unlabelled = batch.labelled, batch.unlabelled
    others = None if unlabelled is None else unlabelled.image
    return labelled.image, labelled.label, labelled.pseudo, others, batch.shapes


def _layout(batch: Batch) -> object:
    """Shapes, types and strides of all that a batch holds: equal for steps that a graph can take."""
    return tuple(
        tensor if tensor is None else (tensor.shape, tensor.dtype, tensor.stride()) for tensor in _tensors(batch)
    )


def _nameless(batch: Batch, change: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> Batch:
    """The batch, or its changed tensors, without the names of its samples, which a replayed step does not learn."""
    image, label, pseudo, others, shapes = (t if t is None else change(t) for t in _tensors(batch))
    assert image is not None
    assert label is not None
    return Batch(Labelled(image, label, pseudo), None if others is None else Unlabelled(others), shapes)
