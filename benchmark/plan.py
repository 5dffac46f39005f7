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
from typing import Any

import datasets
import methods
from datasets.base import canonical_options
from datasets.types import Annotation, Task
from datasets.weak import Weak, weakened

from .claims import Claims
from .config import ConfigError, from_mapping
from .entries import HELD_OUT, Amount, DataEntry, MethodEntry, Role
from .metrics import METRICS_VERSION
from .training import Training
from .tuning import Tuning

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
    role: Role = "method"
    shapes: str = ""
    weak: Weak | None = None

    def canonical(self) -> dict[str, Any]:
        """What the id is made of: resolved settings and versions, plain JSON types."""
        settled = {
            "method": self.method,
            "hyper": asdict(self.hyper),
            "dataset": self.dataset,
            "options": canonical_options(self.options),
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
        settled |= {"weak": self.weak.canonical(len(self.training.patch or (0, 0)))} if self.weak else {}
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
        """Short name for lists: ``cps phantom_2d 10% s0``, of one's own folder ``cps image_folder kidney 10% s0``."""
        own = getattr(self.options, "folder", "")
        where = f"{self.dataset} {own}" if own else self.dataset
        return f"{self.label} {where} {self.amount} s{self.seed}" + (f" f{self.fold}" if self.fold != 1 else "")


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
    tuning: Tuning = field(default_factory=Tuning)
    tuned: str = ""
    claims: Claims = field(default_factory=Claims)
    images: str | None = None  # the folder that `bench --images` wrote this plan for

    def __post_init__(self) -> None:
        for entry in self.datasets:
            given = [(m.role, m.name) for m in self.methods_on(entry) if m.role != "method"]
            twice = sorted({f"{name} as {role} bound" for role, name in given if given.count((role, name)) > 1})
            if twice:
                raise ValueError(f"dataset {entry.name}: {twice[0]} is listed several times; keep one")

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
        return reasons + self._merged()

    def _merged(self) -> list[str]:
        """Rows that are another one under another name, and so are neither run nor shown."""
        found, known = [], dict[str, str]()
        for cell in (c for entry in self.datasets for c in self._dataset_cells(entry, self.seeds[0])):
            first = known.setdefault(cell.id, cell.label)
            if first != cell.label:
                found.append(f"{cell.label} × {cell.dataset} at {cell.amount}: the same cell as {first}")
        return found

    def methods_on(self, entry: DataEntry) -> tuple[MethodEntry, ...]:
        """The methods run on a dataset: its own list (a tuned plan has one), else the plan's."""
        return self.methods if entry.methods is None else entry.methods

    def amounts(self, entry: DataEntry) -> list[Amount]:
        """How much is labelled on a dataset."""
        if entry.labelled is not None or (entry.ratios is None and self.labelled):
            return [(None, n) for n in (entry.labelled or self.labelled)]
        return [(r, None) for r in (entry.ratios or self.ratios)]

    def rows(self, entry: DataEntry) -> list[tuple[MethodEntry, list[Amount]]]:
        """What is run on a dataset, and at which amounts: bounds first, as added or as the methods with a role say."""
        task = nominal_task(entry)
        able = [m for m in self.methods_on(entry) if methods.get(m.name).unsupported(task) is None]
        given = {(m.role, m.name): m for m in able if m.role != "method"}
        wanted = [m for m in able if m.role == "method"]
        kinds = {methods.get(m.name).supervision for m in wanted}
        added = []
        if self.bounds and "dense" in task.annotations and wanted:
            added.append(MethodEntry("supervised", label="supervised, all labels", role="upper"))
        if self.bounds and kinds & {"semi", "full"}:
            added.append(MethodEntry("supervised", role="lower"))
        if self.bounds and "scribble" in kinds:
            added.append(MethodEntry("pce", role="lower"))
        bounds = {(m.role, m.name): m for m in added} | given
        return [(m, self._amounts_of(entry, m)) for m in (*bounds.values(), *wanted)]

    def cell(self, entry: DataEntry, method: MethodEntry, amount: Amount, *, seed: int, fold: int) -> Cell:
        """One cell of a row."""
        return _cell(self, entry, nominal_task(entry), method, *amount, seed=seed, fold=fold)

    def _amounts_of(self, entry: DataEntry, method: MethodEntry) -> list[Amount]:
        if method.role == "upper":
            return [(1.0, None)]
        supervision = methods.get(method.name).supervision
        partly = supervision == "semi" or (method.role == "lower" and supervision == "full")
        return [amount for amount in self.amounts(entry) if not (partly and amount == (1.0, None))]

    def _dataset_cells(self, entry: DataEntry, seed: int) -> Iterator[Cell]:
        rows, task = self.rows(entry), nominal_task(entry)
        for fold in entry.folds or self.folds:
            make = partial(_cell, self, entry, task, seed=seed, fold=fold)
            yield from (make(method, 1.0, None) for method, _ in rows if method.role == "upper")
            for amount in self.amounts(entry):
                yield from (make(m, *amount) for m, own in rows if m.role != "upper" and amount in own)


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
        role=method.role,
        shapes=entry.shapes if cls.wants_shapes else "",
        weak=entry.weak if cls.supervision == "scribble" else None,
    )
