"""The plain training loop: one sample after the other, float32, channels first, every loss read at every step."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark.device import pick
from benchmark.plan import Cell
from benchmark.prepare import Places, build_method, open_dataset, split_of
from benchmark.train import lr_factor
from datasets.types import Batch
from methods import get
from methods.base import MAIN, Clock, Terms

from ..settings import Setting
from .loader import Loader
from .losses import WRITTEN_ANEW, update_teacher


class PlainLoop:
    """Trains one cell as the released codes train, with the same method, split, batch sizes and schedule.

    Args:
        cell: what is trained.
        setting: where its files are.
        steps_done: where in its schedule training stands.
    """

    def __init__(self, cell: Cell, setting: Setting, steps_done: int = 0) -> None:
        self.cell, self.device, self.step = cell, pick(), steps_done
        places = Places(Path(), setting.source.root, Path())
        self.dataset = open_dataset(cell, places)
        self.split = split_of(cell, self.dataset)
        self.method: Any = build_method(cell, self.dataset).to(self.device)
        training = cell.training
        semi = get(cell.method).supervision == "semi"
        assert training.patch is not None
        self.loader = Loader(
            setting.source.samples,
            self.split.labelled,
            self.split.unlabelled,
            batch=(training.labelled_batch, training.unlabelled_batch if semi else 0),
            patch=training.patch,
            annotation=cell.annotation,
            seed=cell.seed,
        )
        self.optimizers = dict(self.method.optimizers(self._optimizer))
        self.log: list[tuple[int, dict[str, float]]] = []
        self.input_seconds = 0.0

    def run(self, steps: int) -> float:
        """Train ``steps`` steps; the seconds of one on average."""
        began = time.perf_counter()
        for _ in range(steps):
            self._one_step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / steps

    def _one_step(self) -> None:
        clock = Clock(self.step, max(self.cell.training.steps, self.step + 1))
        began = time.perf_counter()
        batch = self.loader.batch(self.device, shapes=self.method.wants_shapes)
        self.input_seconds += time.perf_counter() - began
        self.method.train()
        self._descend_on(batch, clock)
        with torch.no_grad():
            if self.cell.method == "mean_teacher":
                update_teacher(self.method.teacher, self.method.network, clock.step, self.cell.hyper.ema_limit)
            else:
                self.method.after_step(clock)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.cell.training.lr * lr_factor(self.cell.training, clock)
        self.step += 1

    def _descend_on(self, batch: Batch, clock: Clock) -> None:
        written = WRITTEN_ANEW.get(self.cell.method)
        if written is None:
            self.method.step(batch, clock, self._descend)
        else:
            self._descend(written(self.method, batch, clock))

    def _descend(self, terms: Terms, player: str = MAIN) -> None:
        loss = sum(terms.values(), torch.zeros((), device=self.device))
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        loss.backward()
        self.optimizers[player].step()
        self.log.append((self.step, {name: term.item() for name, term in terms.items()}))

    def _optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        t = self.cell.training
        if t.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=t.lr, momentum=t.momentum, weight_decay=t.weight_decay)
        kind = torch.optim.Adam if t.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, lr=t.lr, weight_decay=t.weight_decay)


class PlainBench:
    """Plain loops in a process of their own, one at a time."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.loop: PlainLoop | None = None

    def load(self, cell: Cell) -> None:
        """Get ready in the middle of training, where every ramp is up and no phase is left out."""
        self.loop = PlainLoop(cell, self.setting, steps_done=cell.training.steps // 2)

    def steps(self, n: int) -> float:
        """Seconds per step."""
        assert self.loop is not None
        return self.loop.run(n)
