"""Plan, Training, Cell: the grid as a generator, and the identity of a cell.

A plan multiplies methods × datasets × ratios × folds × seeds into cells. A cell's id is a readable prefix and a hash of
its canonical JSON: the same on every machine and Python, and computed from frozen data only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Literal

import datasets
import methods
from datasets.types import Annotation, Task
from datasets.weak import Weak, weakened

from .claims import Claims
from .config import ConfigError, from_mapping
from .metrics import METRICS_VERSION
from .training import Training

PROTOCOL_VERSION = "1"
"""Raise it when training or evaluation changes the numbers of a cell whose settings did not change."""


@dataclass(frozen=True)
class Cell:
    """One run: everything that decides its numbers, and two texts for people (``label``, ``role``) that do not.

    ``ratio`` is the share of training groups that carry the cell's annotation, in (0, 1]; ``count`` their number
    instead. Exactly one of them is given.
    """

    plan: str
    method: str
    hyper: Any
    dataset: str
    options: Any
    annotation: Annotation
    ratio: float | None
    count: int | None
    seed: int
    fold: int
    training: Training
    label: str
    role: Literal["method", "lower", "upper"] = "method"
    shapes: str = ""
    weak: Weak | None = None

    def canonical(self) -> dict[str, Any]:
        """What the id is made of: resolved settings and versions, plain JSON types."""
        settled = {
            "method": self.method,
            "hyper": asdict(self.hyper),
            "dataset": self.dataset,
            "options": asdict(self.options),
            "annotation": self.annotation,
            "ratio": self.ratio,
            "count": self.count,
            "seed": self.seed,
            "fold": self.fold,
            "training": self.training.canonical(),
            "versions": {
                "protocol": PROTOCOL_VERSION,
                "metrics": METRICS_VERSION,
                "data": datasets.get(self.dataset).version,
            },
        }
        settled |= {"shapes": self.shapes} if self.shapes else {}
        settled |= {"weak": self.weak.canonical()} if self.weak else {}
        return json.loads(json.dumps(settled))

    @property
    def id(self) -> str:
        """Readable prefix and hash, such as ``cps-phantom_2d-10pc-s0-1f2e3d4c5b``."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        digest = hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
        amount = self._share.replace("%", "pc").replace(" ", "") + (f"-{self.weak.kind}" if self.weak else "")
        return f"{self.method}-{self.dataset}-{amount}-s{self.seed}-{digest}"

    @property
    def amount(self) -> str:
        """How much is labelled, and how weakly, for people: ``10%``, ``8 labelled``, ``100% skeleton``."""
        return f"{self._share} {self.weak.name}" if self.weak else self._share

    @property
    def _share(self) -> str:
        return f"{100 * self.ratio:g}%" if self.ratio is not None else f"{self.count} labelled"

    @property
    def title(self) -> str:
        """Short name for lists: ``cps phantom_2d 10% s0``."""
        return f"{self.label} {self.dataset} {self.amount} s{self.seed}" + (f" f{self.fold}" if self.fold != 1 else "")


PER_METHOD = ("lr", "momentum", "weight_decay")
"""What tuning may set of :class:`Training` per method; all else is shared (but for supervised's ``labelled_batch``)."""


@dataclass(frozen=True)
class MethodEntry:
    """One method of a plan: registered name, changed hyper-parameters, name in tables, tuned optimizer settings."""

    name: str
    hyper: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        allowed = (*PER_METHOD, "labelled_batch") if self.name == "supervised" else PER_METHOD
        other = sorted(set(self.training) - set(allowed))
        if other:
            what = f"training.{other[0]} is shared by all methods of a plan"
            raise ValueError(f"method {self.name}: {what}; it may set {', '.join(allowed)} only")


HELD_OUT = "held-out"


@dataclass(frozen=True)
class DataEntry:
    """One dataset of a plan, with what differs from the plan's axes for it.

    ``shapes`` says where methods that need unpaired label maps get them: another dataset's name, or "held-out": a tenth
    of the labelled groups gives its dense labels and is then not trained on (extra labels, noted in the record).
    ``weak`` makes weak labels of the dense ones, for methods that learn from scribbles; other methods see no change.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    ratios: tuple[float, ...] | None = None
    labelled: tuple[int, ...] | None = None
    folds: tuple[int, ...] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[MethodEntry, ...] | None = None
    shapes: str = HELD_OUT
    weak: Weak | None = None


@dataclass(frozen=True)
class Tuning:
    """The tuning budget, equal for every method.

    Attributes:
        trials: settings tried per method and dataset, the default among them.
        steps: optimiser steps per trial; None = the plan's.
        dimensions: hyper-parameters tuned at once.
        rungs: how often validation Dice is measured per trial; a trial below the median there is ended.
        seed: of the sampler, and of the trials' cells (offset, so that no cell of the plan shares it).
    """

    trials: int = 8
    steps: int | None = None
    dimensions: int = 3
    rungs: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("trials", 1), ("dimensions", 1), ("rungs", 1), ("seed", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"tuning.{name} must be {low} or more, got {getattr(self, name)}")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"tuning.steps must be 1 or more, got {self.steps}")


@dataclass(frozen=True)
class Plan:
    """A benchmark as data. ``protocol`` says in words which published protocol it follows, and how it deviates."""

    name: str
    title: str
    protocol: str
    datasets: tuple[DataEntry, ...]
    methods: tuple[MethodEntry, ...] = ()
    ratios: tuple[float, ...] = ()
    labelled: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    folds: tuple[int, ...] = (1,)
    training: Mapping[str, Any] = field(default_factory=dict)
    bounds: bool = True
    tuning: Tuning = Tuning()
    tuned: str = ""
    claims: Claims = field(default_factory=Claims)
    images: str | None = None  # the folder that `bench --images` wrote this plan for

    def cells(self) -> Iterator[Cell]:
        """Every cell, bounds included, in the order they are run: seeds outermost, so partial results compare."""
        seen = set()
        for seed in self.seeds:
            for entry in self.datasets:
                for cell in self._dataset_cells(entry, seed):
                    if cell.id not in seen:
                        seen.add(cell.id)
                        yield cell

    def dropped(self) -> list[str]:
        """Impossible pairs and the method's or dataset's own reason, one sentence each."""
        reasons = []
        for entry in self.datasets:
            task = nominal_task(entry)
            for method in self.methods_on(entry):
                reason = methods.get(method.name).unsupported(task)
                if reason:
                    reasons.append(f"{method.label or method.name} × {entry.name}: {reason}")
                elif methods.get(method.name).supervision == "semi":
                    reasons += [
                        f"{method.name} × {entry.name} at 100%: no unlabelled case is left"
                        for r in self.amounts(entry)
                        if r == (1.0, None)
                    ]
            if self.bounds and "dense" not in task.annotations:
                reasons.append(f"full-label upper bound × {entry.name}: its training cases carry no dense labels")
        return reasons

    def methods_on(self, entry: DataEntry) -> tuple[MethodEntry, ...]:
        """The methods run on a dataset: its own list (a tuned plan has one), else the plan's."""
        return self.methods if entry.methods is None else entry.methods

    def amounts(self, entry: DataEntry) -> list[tuple[float | None, int | None]]:
        """How much is labelled on a dataset: pairs (ratio, count), one of them None."""
        if entry.labelled is not None or (entry.ratios is None and self.labelled):
            return [(None, n) for n in (entry.labelled or self.labelled)]
        return [(r, None) for r in (entry.ratios or self.ratios)]

    def _dataset_cells(self, entry: DataEntry, seed: int) -> Iterator[Cell]:
        task = nominal_task(entry)
        for fold in entry.folds or self.folds:
            wanted = [m for m in self.methods_on(entry) if methods.get(m.name).unsupported(task) is None]
            kinds = {methods.get(m.name).supervision for m in wanted}
            make = partial(_cell, self, entry, task, seed=seed, fold=fold)
            if self.bounds and "dense" in task.annotations and wanted:
                yield make(MethodEntry("supervised", label="supervised, all labels"), 1.0, None, "upper")
            for ratio, count in self.amounts(entry):
                if self.bounds and kinds & {"semi", "full"} and ratio != 1.0:
                    yield make(MethodEntry("supervised"), ratio, count, "lower")
                if self.bounds and "scribble" in kinds:
                    yield make(MethodEntry("pce"), ratio, count, "lower")
                for method in wanted:
                    if methods.get(method.name).supervision != "semi" or ratio != 1.0:
                        yield make(method, ratio, count)


def nominal_task(entry: DataEntry) -> Task:
    """The task of a dataset entry without touching the disk: what methods are asked about when cells are made."""
    task = datasets.get(entry.name).nominal_task(resolve_options(entry))
    return weakened(task) if entry.weak else task


def resolve_options(entry: DataEntry) -> Any:
    """The dataset's frozen options, defaults filled in."""
    return from_mapping(datasets.get(entry.name).Options, entry.options, f"dataset {entry.name}: options")


def _cell(
    plan: Plan,
    entry: DataEntry,
    task: Task,
    method: MethodEntry,
    ratio: float | None,
    count: int | None,
    role: Literal["method", "lower", "upper"] = "method",
    *,
    seed: int,
    fold: int,
) -> Cell:
    cls = methods.get(method.name)
    hyper = from_mapping(cls.Hyper, method.hyper, f"method {method.name}: hyper")
    variant = getattr(hyper, "variant", "intended")
    name = method.name if variant == "intended" else f"{method.name} ({variant})"
    name += " + held-out dense labels" if cls.wants_shapes and entry.shapes == HELD_OUT else ""
    training = from_mapping(
        Training, {**plan.training, **entry.training, **method.training}, f"plan {plan.name}: training"
    )
    if training.patch is None:
        training = replace(training, patch=task.patch)
    if len(training.patch or ()) != task.ndim:
        raise ConfigError(
            f"plan {plan.name}: training.patch {training.patch} must have {task.ndim} numbers for {entry.name}"
        )
    return Cell(
        plan=plan.name,
        method=method.name,
        hyper=hyper,
        dataset=entry.name,
        options=resolve_options(entry),
        annotation="scribble" if cls.supervision == "scribble" else "dense",
        ratio=ratio,
        count=count,
        seed=seed,
        fold=fold,
        training=training,
        label=method.label or name,
        role=role,
        shapes=entry.shapes if cls.wants_shapes else "",
        weak=entry.weak if cls.supervision == "scribble" else None,
    )
