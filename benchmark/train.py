"""The one training loop: schedule, descend, relabelling, validation, checkpoints. It knows no method.

Every random number of step k comes from a stream derived from (seed, k), so a run that was killed and resumed from its
checkpoint equals an uninterrupted one, bit for bit on a CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from datasets.feed import Feed
from datasets.types import Batch
from methods.base import MAIN, Clock, Method, Terms

from . import optimizers, promises, weights
from .device import autocast, tiny_as_zero
from .plan import Training
from .pulse import SECONDS as BEAT_SECONDS
from .record import append_rows
from .relabel import Relabeller
from .seeding import derive
from .stepping import Terms as Named
from .stepping import as_written, on_its_own_stream, replaying

LOG_POINTS = 50
"""Rows of ``train.csv`` in a run of up to 2500 steps; longer ones have a row every 50. Only there the host waits."""

_COLUMNS = ("step", "seconds", "lr", "val_dice")
"""Of ``train.csv``; the loss terms stand before the last."""

Validate = Callable[[Method], float]


class Diverged(ArithmeticError):
    """A loss term is NaN or infinite: the cell ends, with the term and the step as its reason."""


class Trainer:
    """Trains one method on one feed.

    Args:
        method: on the device already.
        feed: batches as a pure function of the step.
        training: the plan's settings.
        seed: the cell's seed; streams "method" and "init" derive from it.
        device, dtype: where, and the precision of forwards.
        folder: the cell's folder, for ``train.csv`` and ``checkpoint.pt``.
        origin: what trains on what; a checkpoint of another origin (the method's file was edited since) is not resumed.
        validate: validation Dice of a method, in [0, 1]; None = no validation cases.
        checkpoint_seconds: how much work a crash may cost.
        heartbeat: told the step at every log point, and after a step if the last time is a while ago.
        relabel: labels all samples anew where the method says so.
        code: hash of all code as it is now; :attr:`codes` holds those that this training ran under, oldest first.
        machine: processor or GPU, and precision; :attr:`machines`, likewise.
    """

    def __init__(
        self,
        method: Method,
        feed: Feed,
        training: Training,
        *,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        folder: Path,
        origin: str = "",
        validate: Validate | None = None,
        checkpoint_seconds: float = 60.0,
        heartbeat: Callable[[int], None] = lambda step: None,
        relabel: Relabeller | None = None,
        code: str = "",
        machine: str = "",
    ) -> None:
        self.method, self.feed, self.training = method, feed, training
        self.seed, self.device, self.dtype, self.folder = seed, device, dtype, folder
        self.origin, self.validate, self.heartbeat = origin, validate, heartbeat
        self.checkpoint_seconds, self.relabel = checkpoint_seconds, relabel or Relabeller()
        self.codes, self.machines = [code], [machine]
        self._scheduled: list[Optimizer] = []
        self.players = dict(method.optimizers(self._base))
        self._descended: Named = []
        self.replayed = replaying(self._act, method, self.players, device)
        self.step = 0
        self.rows: list[dict[str, float]] = []
        self.validation: list[dict[str, float]] = []
        self.seconds = 0.0
        self._terms: dict[str, list[torch.Tensor]] = {}
        self._memory: dict[int, torch.Tensor] = {}

    def run(self) -> None:
        """Train to the last step, from the checkpoint if there is one.

        Raises:
            Diverged: a term is not finite.
        """
        self._resume()
        total = self.training.steps
        log_every = max(1, min(total // LOG_POINTS, 50))
        marks = {round(total * (i + 1) / self.training.validations) for i in range(self.training.validations)}
        started = saved = told = time.monotonic()
        base = self.seconds
        while self.step < total:
            self._one_step(Clock(self.step, total))
            self.step += 1
            validated = self._validate() if self.validate is not None and self.step in marks else None
            self.seconds = base + time.monotonic() - started
            logged = validated is not None or self.step % log_every == 0 or self.step == total
            if logged:
                self._log(validated)
            if logged or time.monotonic() - told > BEAT_SECONDS:
                self.heartbeat(self.step)
                told = time.monotonic()
            if time.monotonic() - saved > self.checkpoint_seconds and self.step < total:
                self._save()
                saved = time.monotonic()

    def finished(self) -> None:
        """Drop checkpoint and snapshots, also those that a killed writer left half-made: the record is written."""
        for path in (self.folder / "checkpoint.pt", *self.folder.glob("snapshot-*.pt"), *self.folder.glob(".*.pt.*")):
            path.unlink(missing_ok=True)

    # One step -------------------------------------------------------------------------------------------------------
    def _one_step(self, clock: Clock) -> None:
        with on_its_own_stream(self.device), tiny_as_zero():
            torch.manual_seed(derive(self.seed, "method", clock.step))
            if self.method.relabel_at(clock.step):
                with as_written(self.device):
                    self.relabel(self.method, self.feed, self._memory, partial(autocast, self.device, self.dtype))
            self._set_rate(self.training.lr * lr_factor(self.training, clock))
            batch = self.feed.batch(clock.step)
            self.method.train()
            for name, term in (self.replayed or self._act)(batch, clock):
                self._terms.setdefault(name, []).append(term)

    def _act(self, batch: Batch, clock: Clock) -> Named:
        """What the device does in a step, and the loss terms of it."""
        self._descended = []
        with autocast(self.device, self.dtype):
            self.method.step(batch, clock, self._descend)
        with torch.no_grad():
            self.method.after_step(clock)
        return self._descended

    def _descend(self, terms: Terms, player: str = MAIN) -> None:
        promises.require_terms(self.method, terms)
        for optimizer in self.players.values():
            optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, enabled=False):
            torch.stack([term.float() for term in terms.values()]).sum().backward()
        self.players[player].step()
        self._descended += [(name, term.detach()) for name, term in terms.items()]

    def _set_rate(self, lr: float) -> None:
        """The learning rate of the plan's optimizers; on a GPU it is a tensor, which a replayed step reads anew."""
        self._rate = lr
        for group in (group for optimizer in self._scheduled for group in optimizer.param_groups):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def _base(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        made = optimizers.make(self.training, parameters, self.device)
        self._scheduled.append(made)
        return made

    def _validate(self) -> float:
        """Measure validation Dice and keep these weights: selection rules choose among them at the end."""
        assert self.validate is not None
        self.method.eval()
        dice = self.validate(self.method)
        self.validation.append({"step": self.step, "dice": dice})
        weights.save(self.snapshot(self.step), self.method.state_dict())
        return dice

    def snapshot(self, step: int) -> Path:
        """Where the weights of a validation point are kept until the cell is finished."""
        return self.folder / f"snapshot-{step}.pt"

    # Curves ---------------------------------------------------------------------------------------------------------
    def _log(self, val_dice: float | None) -> None:
        row: dict[str, float] = {"step": self.step, "seconds": round(self.seconds, 3)}
        row["lr"] = self._rate if self._scheduled else math.nan
        series = {name: torch.stack([v.float() for v in values]) for name, values in self._terms.items()}
        self._terms.clear()
        row |= {name: values.mean().item() for name, values in series.items()}
        broken = {name: values for name, values in series.items() if not math.isfinite(row[name])}
        if broken:
            raise self._diverged(broken)
        if val_dice is not None:
            row["val_dice"] = val_dice
        header_known = bool(self.rows) and set(row) <= set(self.rows[0]) | {"val_dice"}
        self.rows.append(row)
        if header_known:
            append_rows(self.folder / "train.csv", (), [_cells(row, self._header())])
        else:
            self._write_curves()

    def _diverged(self, broken: dict[str, torch.Tensor]) -> Diverged:
        """Says which term was the first that is not finite; a term has one value per step since the last row."""
        ago = {name: len(v) - 1 - int((~v.isfinite()).int().argmax()) for name, v in broken.items()}
        name = max(ago, key=ago.__getitem__)
        value, step = broken[name][-1 - ago[name]].item(), self.step - ago[name]
        return Diverged(f"loss term {name!r} is {value} at step {step}; lower the learning rate or its weight")

    def _header(self) -> list[str]:
        terms = dict.fromkeys(name for row in self.rows for name in row if name not in _COLUMNS)
        return [*_COLUMNS[:-1], *terms, _COLUMNS[-1]]

    def _write_curves(self) -> None:
        header = self._header()
        path = self.folder / "train.csv"
        path.unlink(missing_ok=True)
        append_rows(path, header, [_cells(row, header) for row in self.rows])

    # Checkpoint -----------------------------------------------------------------------------------------------------
    def _save(self) -> None:
        state = {
            "origin": self.origin,
            "codes": self.codes,
            "machines": self.machines,
            "step": self.step,
            "method": self.method.state_dict(),
            "players": {name: optimizer.state_dict() for name, optimizer in self.players.items()},
            "feed": self.feed.state(),
            "memory": self._memory,
            "rows": self.rows,
            "terms": self._terms,
            "validation": self.validation,
            "seconds": self.seconds,
        }
        weights.save(self.folder / "checkpoint.pt", state)

    def _resume(self) -> None:
        state = _checkpoint(self.folder / "checkpoint.pt", self.device)
        if state is None or state["origin"] != self.origin:
            self._write_curves()
            return
        self.codes = list(dict.fromkeys([*state.get("codes", ()), *self.codes]))
        self.machines = list(dict.fromkeys([*state.get("machines", ()), *self.machines]))
        self.step = state["step"]
        self.method.load_state_dict(state["method"])
        for name, optimizer in self.players.items():
            optimizer.load_state_dict(state["players"][name])
        self.feed.load_state(state["feed"])
        self._memory = {i: m.cpu() for i, m in state["memory"].items()}
        self.rows, self.validation = state["rows"], state["validation"]
        self._terms, self.seconds = state["terms"], state["seconds"]
        self._write_curves()


def lr_factor(training: Training, clock: Clock) -> float:
    """What the learning rate is multiplied by at a step; in [0, 1]."""
    done = clock.step / clock.total
    if training.schedule == "poly":
        return (1 - done) ** training.power
    if training.schedule == "step":
        return 0.1 ** int(done * 12 / 5)
    return 1.0


def _cells(row: dict[str, float], header: Iterable[str]) -> list[str]:
    return ["" if name not in row else repr(row[name]) for name in header]


def _checkpoint(path: Path, device: torch.device) -> dict[str, Any] | None:
    """What a trainer saved; None where there is no file, or a damaged one."""
    try:
        state = weights.load(path, device)
    except FileNotFoundError:
        return None
    except weights.Damaged as error:
        print(f"{path} is damaged ({error}); training starts from the first step")
        return None
    return state if isinstance(state, dict) and "origin" in state else None
