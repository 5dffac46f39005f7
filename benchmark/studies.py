"""What is tuned: one study per method and dataset, of equally many dimensions, and the plan that comes of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import methods
from methods.hyper import Range, space

from .claims import Claims
from .config import from_mapping
from .plan import Cell, Plan
from .preflight import NotReady
from .training import Training

SEED_OFFSET = 1_000_003
"""Added to the tuning seed: trials never see a labelled subset or initialisation that the plan reports."""

TUNED = " (tuned)"
"""Behind the name of a method whose setting was tuned."""

SHARED: Mapping[str, Range] = {
    "lr": Range(1e-3, 0.3, log=True),
    "weight_decay": Range(1e-6, 1e-2, log=True),
    "momentum": Range(0.8, 0.99),
}
"""Optimizer settings that every method has: the first is always tuned, the others fill up to the equal number."""


@dataclass(frozen=True)
class Study:
    """One method on one dataset: what is tuned, from which cell."""

    name: str
    cell: Cell
    dimensions: Mapping[str, Range]

    @property
    def id(self) -> str:
        """Name for files: trials of another setting, budget per trial or search space belong to another study."""
        settled = [self.cell.canonical(), {key: str(found) for key, found in self.dimensions.items()}]
        digest = hashlib.blake2b(json.dumps(settled, sort_keys=True).encode(), digest_size=5).hexdigest()
        return re.sub(r"[^\w.+-]+", "_", self.name) + f"-{digest}"

    @property
    def default(self) -> dict[str, Any]:
        """The untuned setting: always trial 0."""
        return {key: current(self.cell, key) for key in self.dimensions}

    @property
    def changed(self) -> dict[str, Any]:
        """What the plan sets differently from the method's own defaults, by the same keys."""
        own, default = asdict(self.cell.hyper), asdict(type(self.cell.hyper)())
        return {f"hyper.{key}": value for key, value in own.items() if value != default[key]}

    def at(self, params: Mapping[str, Any]) -> Cell:
        """The study's cell with other hyper-parameters."""
        own = {k.removeprefix("hyper."): v for k, v in params.items() if k.startswith("hyper.")}
        shared = {k.removeprefix("training."): v for k, v in params.items() if k.startswith("training.")}
        hyper = from_mapping(type(self.cell.hyper), {**asdict(self.cell.hyper), **own}, self.name)
        training = from_mapping(Training, {**asdict(self.cell.training), **shared}, self.name)
        return replace(self.cell, hyper=hyper, training=training)


def current(cell: Cell, key: str) -> Any:
    """The value that a cell has of ``hyper.<name>`` or ``training.<name>``."""
    part, _, name = key.partition(".")
    return getattr(cell.hyper if part == "hyper" else cell.training, name)


def studies(plan: Plan) -> list[Study]:
    """One study per method and dataset, at the smallest labelled amount, on a seed and fold of its own.

    Raises:
        NotReady: no validation cases to score trials on, or a method with too few dimensions for an equal number.
    """
    tuning, found = plan.tuning, {}
    probe = replace(plan, seeds=(SEED_OFFSET + tuning.seed,))
    for cell in sorted(probe.cells(), key=lambda c: (c.dataset, c.label, c.count or 0, c.ratio or 0)):
        key = f"{cell.label}-{cell.dataset}"
        if cell.role == "upper" or key in found:
            continue
        training = replace(cell.training, steps=tuning.steps or cell.training.steps, validations=tuning.rungs)
        if training.validations < 1 or training.val_share == 0:
            raise NotReady(f"{key}: tuning needs validation cases; set training.val_share above 0")
        found[key] = Study(key, replace(cell, training=training), _dimensions(cell, tuning.dimensions))
    return list(found.values())


def tuned_plan(plan: Plan, best: Sequence[tuple[Study, Mapping[str, Any]]]) -> dict[str, Any]:
    """The plan with each method's best setting per dataset, as YAML holds it."""
    entries = []
    for entry in plan.datasets:
        mine = [(study, params) for study, params in best if study.cell.dataset == entry.name]
        tuned = [
            {
                "name": study.cell.method,
                "label": study.cell.label + TUNED,
                "hyper": _part(study.changed, "hyper") | _part(params, "hyper"),
                "training": _part(params, "training"),
            }
            for study, params in mine
        ]
        kept = {key: value for key, value in _plain(asdict(entry)).items() if value not in (None, {}, [])}
        entries.append(kept | {"methods": tuned})
    raw = _plain(asdict(plan)) | {
        "name": f"{plan.name}_tuned",
        "title": f"{plan.title}, tuned",
        "methods": [],
        "datasets": entries,
        "tuned": f"tuned, {plan.tuning.trials} trials of {plan.tuning.dimensions} hyper-parameters each",
    }
    if plan.claims == Claims():
        del raw["claims"]
    elif plan.claims.baseline:
        raw["claims"]["baseline"] += TUNED
    return {key: value for key, value in raw.items() if value not in (None, {})}


def _part(params: Mapping[str, Any], part: str) -> dict[str, Any]:
    return {key.split(".", 1)[1]: value for key, value in params.items() if key.startswith(f"{part}.")}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _dimensions(cell: Cell, wanted: int) -> dict[str, Range]:
    """Learning rate, then the method's own in order of declaration, then shared ones, up to ``wanted`` exactly."""
    first, *rest = SHARED
    own = [(f"hyper.{name}", r) for name, r in space(methods.get(cell.method).Hyper).items()]
    shared = [
        (f"training.{name}", SHARED[name]) for name in rest if cell.training.optimizer == "sgd" or name != "momentum"
    ]
    possible = [
        (key, widened)
        for key, searched in [(f"training.{first}", SHARED[first]), *own, *shared]
        if (widened := _holding(searched, current(cell, key)))
    ]
    if len(possible) < wanted:
        raise NotReady(
            f"{cell.method} has {len(possible)} tunable dimensions, tuning.dimensions asks for {wanted} of every method"
        )
    return dict(possible[:wanted])


def _holding(searched: Range, value: Any) -> Range | None:
    """The search range, widened to hold the setting that the plan has: it is trial 0. None = it cannot be."""
    if searched.choices or searched.holds(value):
        return searched if searched.holds(value) else None
    if searched.log and value <= 0:
        return None
    assert searched.low is not None
    assert searched.high is not None
    return replace(searched, low=min(searched.low, value), high=max(searched.high, value))
