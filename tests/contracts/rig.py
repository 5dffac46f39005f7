"""A miniature of the trainer that watches: what each descent minimises, what its gradients reach, and what moves."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from benchmark.promises import BrokenPromise, require_terms
from datasets.types import Batch, Task
from methods import networks
from methods.base import MAIN, Clock, Method, Terms

from .phantom import tiny_task

Check = Callable[..., None]
"""``check(method_class, **settings)`` raises AssertionError with one sentence, or returns nothing."""

WIDTH, LEVELS = 4, 4
SCALES = (1, 2, 4)
"""By what the sides of the smallest patch are multiplied, for methods that refuse it."""
GRADIENT_FLOOR = 1e-12
"""Largest absolute gradient that still counts as none."""

_first: ContextVar[int] = ContextVar("first", default=2)


def title(method_class: type[Method]) -> str:
    """What messages call a method: its registered name, or its class's name where several share a file."""
    registered = method_class.__module__.startswith("methods.")
    return method_class.name() if registered else method_class.__name__


def require(holds: object, method_class: type[Method], sentence: str) -> None:
    """Fail the check with one plain sentence that names the method."""
    __tracebackhide__ = True
    if not holds:
        raise AssertionError(f"{title(method_class)}: {sentence}")


@contextmanager
def saying(method_class: type[Method], when: str) -> Iterator[None]:
    """An error of the method's own becomes a sentence that says when it came."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{title(method_class)}: fails {when}: {type(error).__name__}: {error}") from error


def applies(to: Callable[[type[Method]], bool]) -> Callable[[Check], Check]:
    """A check is for the methods of which this fact holds."""

    def mark(check: Check) -> Check:
        check.applies = to  # type: ignore[attr-defined]
        return check

    return mark


@contextmanager
def at_home_in(ndim: int) -> Iterator[None]:
    """Within, the home task of methods that take so many dimensions has them."""
    token = _first.set(ndim)
    try:
        yield
    finally:
        _first.reset(token)


def home_task(method_class: type[Method], *, classes: int = 3) -> Task:
    """The smallest task that the method takes: 2-D if it can, unless :func:`at_home_in` says otherwise."""
    for ndim in sorted(method_class.ndims, key=lambda ndim: (ndim != _first.get(), ndim)):
        if (task := task_in(method_class, ndim, classes=classes)) is not None:
            return task
    task = tiny_task(min(method_class.ndims))
    raise AssertionError(
        f"{title(method_class)}: unsupported() refuses every tiny task of {method_class.ndims} dimensions, with 1 or 3 "
        f"channels, 2 or 3 classes and patches of up to {max(SCALES)} times {task.patch}, so that nothing can be "
        f"checked; of one it says {method_class.unsupported(task)!r}"
    )


def task_in(method_class: type[Method], ndim: int, *, classes: int = 3) -> Task | None:
    """The smallest task of these dimensions that the method takes: of one channel and small patches, if it can."""
    for scale, channels in itertools.product(SCALES, (1, 3)):
        for n in (classes, 3, 2):
            task = tiny_task(ndim, channels, n, scale)
            if method_class.unsupported(task) is None:
                return task
    return None


def network_of(task: Task) -> Callable[..., nn.Module]:
    """``build`` as the runner gives it: a small U-Net; keyword arguments override its fields."""

    def build(**overrides: Any) -> nn.Module:
        fields = {
            "ndim": task.ndim,
            "channels": task.channels,
            "classes": task.n_classes,
            "width": WIDTH,
            "levels": LEVELS,
        } | overrides
        return networks.make(fields.pop("name", "unet"), **fields)

    return build


@dataclass
class Descent:
    """One call of ``descend``: its terms, their largest gradient per parameter (None = not connected), what moved."""

    player: str
    terms: Terms
    reach: dict[str, dict[str, float | None]] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)


class Rig:
    """A method, its players and a trainer of a few lines, in one thread on the CPU.

    Args:
        method_class: what is checked.
        task: default: the smallest that it takes.
        seed: of the initialisation and of every step's stream.
        settings: hyper-parameters that differ from their defaults.
    """

    def __init__(
        self, method_class: type[Method], task: Task | None = None, *, seed: int = 0, settings: Mapping[str, Any] = {}
    ) -> None:
        self.method_class, self.seed = method_class, seed
        self.task = task or home_task(method_class)
        torch.manual_seed(seed)
        self.method = method_class(self.task, method_class.Hyper(**settings), network_of(self.task))
        self.players: dict[str, Optimizer] = dict(self.method.optimizers(_base))
        self._maps: Tensor | None = None
        self._memory: Tensor | None = None

    def parameters(self, player: str) -> dict[str, nn.Parameter]:
        """Parameters of the method that the player's optimizer holds, by name."""
        held = {id(p) for group in self.players[player].param_groups for p in group["params"]}
        return {name: p for name, p in self.method.named_parameters() if id(p) in held}

    def jolt(self) -> Rig:
        """Move every parameter a little, so that teacher and student, or two networks, differ."""
        draw = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for p in self.method.parameters():
                p.add_(0.05 * torch.randn(p.shape, generator=draw))
        return self

    def step(self, batch: Batch, clock: Clock, *, watch: bool = False, after: bool = True) -> list[Descent]:
        """One step as the trainer takes it.

        With ``watch``, gradients are measured term by term, and ``stray`` names what moved outside the descents.
        """
        batch = self._relabelled(batch, clock.step)
        torch.manual_seed(1_000_003 * self.seed + clock.step)
        self.method.train()
        descents: list[Descent] = []

        def descend(terms: Terms, player: str = MAIN) -> None:
            descents.append(self._descend(terms, player, watch))

        self._seen = parameters_of(self.method) if watch else {}
        self.stray: set[str] = set()
        self._run(batch, clock, descend)
        if watch:
            self._note()
        if after:
            with torch.no_grad():
                self.method.after_step(clock)
        return descents

    def observe(self, batch: Batch, clock: Clock, *, evaluating: bool = False) -> list[Descent]:
        """The terms of one step, in call order, without optimising; the random stream is the same in every call.

        With ``evaluating``, the method is in evaluation mode, so that samples do not meet in batch statistics.
        """
        torch.manual_seed(self.seed)
        self.method.train(not evaluating)
        descents: list[Descent] = []

        def descend(terms: Terms, player: str = MAIN) -> None:
            self._require_terms(terms)
            descents.append(Descent(player, dict(terms)))

        self._run(batch, clock, descend)
        return descents

    def predict(self, image: Tensor) -> Tensor:
        """Probabilities as the evaluation asks for them."""
        self.method.eval()
        with torch.inference_mode():
            return self.method.predict(image)

    def checkpoint(self) -> bytes:
        """What a killed run leaves on disk."""
        state = {
            "method": self.method.state_dict(),
            "players": {name: o.state_dict() for name, o in self.players.items()},
            "maps": self._maps,
            "memory": self._memory,
        }
        file = io.BytesIO()
        torch.save(state, file)
        return file.getvalue()

    def resume(self, checkpoint: bytes) -> Rig:
        """Take over a run from its checkpoint."""
        state = torch.load(io.BytesIO(checkpoint), weights_only=True)
        try:
            self.method.load_state_dict(state["method"])
        except RuntimeError as error:
            name = title(self.method_class)
            raise AssertionError(f"{name}: a new instance refuses its checkpoint: {error}") from error
        for name, optimizer in self.players.items():
            optimizer.load_state_dict(state["players"][name])
        self._maps, self._memory = state["maps"], state["memory"]
        return self

    # Internals ------------------------------------------------------------------------------------------------------
    def _run(self, batch: Batch, clock: Clock, descend: Callable[..., None]) -> None:
        try:
            self.method.step(batch, clock, descend)
        except AttributeError as error:
            if "'Unlabelled' object" in str(error):
                raise AssertionError(
                    f"{title(self.method_class)}: reads something of unlabelled images that only labelled ones have, "
                    f"such as their label: {error}"
                ) from error
            raise

    def _descend(self, terms: Terms, player: str, watch: bool) -> Descent:
        name = title(self.method_class)
        self._require_terms(terms)
        if player not in self.players:
            raise AssertionError(f"{name}: descends for player {player!r}, but optimizers() names {list(self.players)}")
        made = Descent(player, {k: v.detach().clone() for k, v in terms.items()})
        if watch:
            mine = self.parameters(player)
            made.reach = {term: _reach(value, mine) for term, value in terms.items()}
        for optimizer in self.players.values():
            optimizer.zero_grad(set_to_none=True)
        total = sum(terms.values())
        if not (isinstance(total, Tensor) and total.requires_grad):
            raise AssertionError(f"{name}: no loss term of player {player!r} requires gradient: {sorted(terms)}")
        total.backward()
        before = self._note() if watch else {}
        self.players[player].step()
        if watch:
            self._seen = parameters_of(self.method)
            made.moved = set(differing(before, self._seen))
        return made

    def _require_terms(self, terms: object) -> None:
        """What the trainer asks of terms, in its words, and names that columns can have."""
        try:
            require_terms(self.method, terms)
        except BrokenPromise as error:
            raise AssertionError(f"{title(self.method_class)}: {str(error).partition(': ')[2]}") from error
        for name in terms if isinstance(terms, Mapping) else ():
            good = isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name)
            text = f"loss term {name!r} is not named in lower-case letters, digits and underscores"
            require(good, self.method_class, text)

    def _note(self) -> dict[str, Tensor]:
        """The parameters as they are; those that moved since the last look did so outside descents."""
        now = parameters_of(self.method)
        self.stray.update(differing(self._seen, now))
        return now

    def _relabelled(self, batch: Batch, step: int) -> Batch:
        """The batch with the maps of the last relabelling, unless it brings its own."""
        if batch.labelled.pseudo is not None:
            return batch
        if self.method.relabel_at(step):
            self.method.eval()
            with torch.no_grad():
                made = self.method.relabel(batch.labelled, self._memory)
            self._maps, self._memory = made.label, made.memory
        if self._maps is None or len(self._maps) != len(batch.labelled.image):
            return batch
        return replace(batch, labelled=replace(batch.labelled, pseudo=self._maps))


def values(descents: Iterable[Descent]) -> dict[str, Tensor]:
    """Term values of one step; a term's name is unique within it."""
    return {name: value.detach().clone() for d in descents for name, value in d.terms.items()}


def parameters_of(method: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters, frozen ones included."""
    return {name: p.detach().clone() for name, p in method.named_parameters()}


def state_of(method: nn.Module) -> dict[str, Tensor]:
    """A copy of what a checkpoint holds."""
    return {name: value.detach().clone() for name, value in method.state_dict().items()}


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Names whose tensors are not equal bit for bit (NaN equals NaN), or that only one of the two has."""
    names = dict.fromkeys([*one, *other])
    return [n for n in names if n not in one or n not in other or not _same(one[n], other[n])]


def listed(names: Iterable[str], most: int = 4) -> str:
    """``a, b, c and 7 more`` for messages."""
    shown = list(names)
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def hidden_state(method: nn.Module) -> dict[str, str]:
    """A fingerprint of everything that a method's modules hold and their ``state_dict`` does not."""
    found: dict[str, str] = {}
    for path, module in method.named_modules():
        prefix = f"{path}." if path else ""
        for name in module._non_persistent_buffers_set:
            found[f"buffer {prefix}{name} (persistent=False)"] = _fingerprint(module._buffers[name])
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                found[f"attribute {prefix}{name}"] = _fingerprint(value)
    return found


def _base(parameters: Iterable[nn.Parameter]) -> Optimizer:
    return SGD(list(parameters), lr=0.05, momentum=0.9, weight_decay=1e-4)


def _reach(term: Tensor, parameters: Mapping[str, nn.Parameter]) -> dict[str, float | None]:
    if not term.requires_grad:
        return dict.fromkeys(parameters)
    asked = {name: p for name, p in parameters.items() if p.requires_grad}
    gradients = torch.autograd.grad(term, list(asked.values()), retain_graph=True, allow_unused=True)
    measured = {n: None if g is None else float(g.abs().max()) for n, g in zip(asked, gradients, strict=True)}
    return {name: measured.get(name) for name in parameters}


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(_bits(one), _bits(other))


def _bits(value: Tensor) -> Tensor:
    return value.nan_to_num(nan=1.2345e33) if value.is_floating_point() else value


def _fingerprint(value: Any, depth: int = 5) -> str:
    if isinstance(value, Tensor):
        return _digest(value)
    if isinstance(value, torch.Generator):
        return _digest(value.get_state())
    if isinstance(value, nn.Module):
        held = {**value.state_dict(), **dict(value.named_buffers())}
        return str({name: _digest(tensor) for name, tensor in held.items()})
    if depth and isinstance(value, Mapping):
        return str({repr(k): _fingerprint(v, depth - 1) for k, v in value.items()})
    if isinstance(value, np.ndarray):
        return f"{value.shape} {value.dtype} {hashlib.blake2b(value.tobytes(), digest_size=8).hexdigest()}"
    if depth and isinstance(value, list | tuple | set | frozenset | deque):
        return str([_fingerprint(v, depth - 1) for v in value])
    if depth and type(value).__module__.startswith("torch.") and hasattr(value, "state_dict"):  # a schedule, say
        return f"{type(value).__qualname__}{_fingerprint(value.state_dict(), depth - 1)}"
    if depth and type(value).__module__.split(".")[0] not in ("builtins", "torch") and hasattr(value, "__dict__"):
        return f"{type(value).__qualname__}{_fingerprint(vars(value), depth - 1)}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _digest(value: Tensor) -> str:
    raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return f"{tuple(value.shape)} {value.dtype} {hashlib.blake2b(raw, digest_size=8).hexdigest()}"
