"""What is tuned: a study per method, dataset and fold, of equally many dimensions, and the plan that comes of it.

Each fold is tuned on its own and gets its own settings: the patients that one fold is tuned on are tested by others.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from methods.hyper import Range, space

from . import receipt
from .claims import Claims
from .config import from_mapping
from .entries import Amount, DataEntry, MethodEntry
from .plan import Cell, Plan, resolve_options
from .preflight import NotReady
from .prepare import Places, beside_hashes, data_hashes
from .training import Training
from .tuning import MOST_DIMENSIONS

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
    """One method on one dataset and fold: what is tuned, from which cell.

    ``data`` is the hash of the data's files, ``beside`` are those of what else is read (see `prepare.beside_hashes`).
    """

    name: str
    cell: Cell
    dimensions: Mapping[str, Range]
    data: str = ""
    beside: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The first part of the id: trials of another setting, budget per trial or search space have another."""
        settled = [self.cell.canonical(), {key: str(found) for key, found in self.dimensions.items()}]
        return re.sub(r"[^\w.+-]+", "_", self.name) + f"-{_digest(settled)}"

    @property
    def id(self) -> str:
        """Name for files. Trials of another version of the method's file or of what it reads are another study's."""
        return f"{self.stem}-{_digest([receipt.source(self.cell.method), self.data, *self.beside])}"

    @property
    def default(self) -> dict[str, Any]:
        """The untuned setting: always trial 0."""
        return {key: current(self.cell, key) for key in self.dimensions}

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
    """One study per method, dataset and fold, at the smallest labelled amount, on a seed of its own; bounds too.

    Entries that differ in their amounts alone share a study, as does a bound that several entries have in common.

    Raises:
        NotReady: no validation cases to score trials on, or a method with too few dimensions for an equal number.
    """
    found: dict[str, Study] = {}
    for entry, _, rows in _rows(plan):
        for _, cell in rows:
            name = _name(plan, entry, cell)
            if cell.training.val_share == 0:
                raise NotReady(f"{name}: tuning needs validation cases; set training.val_share above 0 in a copy")
            known = found.get(_key(cell))
            if known is None:
                found[_key(cell)] = Study(name, cell, _dimensions(cell))
            elif _size(cell) < _size(known.cell):
                found[_key(cell)] = replace(known, cell=cell)
    fewest = min([MOST_DIMENSIONS, *(len(study.dimensions) for study in found.values())])
    wanted = plan.tuning.dimensions or max(1, fewest)
    for study in found.values():
        if len(study.dimensions) < wanted:
            raise NotReady(
                f"{study.cell.method} has {len(study.dimensions)} tunable dimensions, tuning.dimensions asks for "
                f"{wanted} of every method; leave it out for as many as all have"
            )
    return [replace(s, dimensions=dict(list(s.dimensions.items())[:wanted])) for s in found.values()]


def on_data(found: Sequence[Study], places: Places) -> list[Study]:
    """The studies with the hashes of their data and of what else they read, as receipts hold them."""
    cells = [study.cell for study in found]
    hashes = zip(found, data_hashes(cells, places), beside_hashes(cells, places), strict=True)
    return [replace(study, data=data, beside=tuple(sorted(beside.values()))) for study, data, beside in hashes]


def tuned_plan(plan: Plan, best: Sequence[tuple[Study, Mapping[str, Any]]]) -> dict[str, Any]:
    """The plan with the best setting of each method and bound per dataset and fold, as YAML holds it."""
    found = {_key(study.cell): params for study, params in best}
    entries = []
    for entry, fold, rows in _rows(plan):
        tuned = [_tuned(method, cell.label, found[_key(cell)]) for method, cell in rows]
        entries.append(_set(asdict(entry) | {"folds": [fold], "methods": tuned}))
    dimensions = max(len(study.dimensions) for study, _ in best)
    apart = ", each fold on its own" if len(entries) > len(plan.datasets) else ""
    raw = _plain(asdict(plan)) | {
        "name": f"{plan.name}_tuned",
        "title": f"{plan.title}, tuned",
        "methods": [],
        "datasets": entries,
        "tuned": f"tuned, {plan.tuning.trials} trials of {dimensions} hyper-parameters each{apart}",
    }
    if plan.claims == Claims():
        del raw["claims"]
    elif plan.claims.baseline:
        raw["claims"]["baseline"] += TUNED
    return {key: value for key, value in raw.items() if value not in (None, {})}


def _rows(plan: Plan) -> Iterator[tuple[DataEntry, int, list[tuple[MethodEntry, Cell]]]]:
    """Every entry of a dataset with each of its folds and, for each of its rows, the cell that is tuned for it."""
    twins = _twins(plan)
    for entry in plan.datasets:
        rows = [
            (method, min(amounts, key=lambda a: (a[1] or 0, a[0] or 0)))
            for method, amounts in plan.rows(entry)
            if amounts
        ]
        for fold in entry.folds or plan.folds if rows else ():
            yield entry, fold, [(method, _probe(plan, entry, method, least, fold, twins)) for method, least in rows]


def _probe(plan: Plan, entry: DataEntry, method: MethodEntry, amount: Amount, fold: int, twins: set[Any]) -> Cell:
    tuning = plan.tuning
    cell = plan.cell(entry, method, amount, seed=SEED_OFFSET + tuning.seed, fold=fold)
    training = replace(cell.training, steps=tuning.steps or cell.training.steps, validations=tuning.rungs)
    given = ", ".join(f"{key}={value}" for key, value in sorted({**method.hyper, **method.training}.items()))
    apart = f" [{given}]" if given and _entry(cell) in twins else ""
    return replace(cell, training=training, label=cell.label + apart)


def _twins(plan: Plan) -> set[tuple[str, ...]]:
    """Labels that stand for several settings at one amount: once these are tuned, only the label tells them apart."""
    found: dict[Any, set[str]] = {}
    for cell in replace(plan, seeds=plan.seeds[:1]).cells():
        found.setdefault((_entry(cell), cell.amount, cell.fold), set()).add(cell.id)
    return {entry for (entry, _, _), ids in found.items() if len(ids) > 1}


def _entry(cell: Cell) -> tuple[str, ...]:
    return cell.role, cell.label, cell.dataset, str(cell.options)


def _name(plan: Plan, entry: DataEntry, cell: Cell) -> str:
    """For people: label and dataset, and what tells this entry and fold from the plan's others."""
    mine = asdict(cell.options)
    others = [asdict(resolve_options(other)) for other in plan.datasets if other.name == entry.name]
    parts = [str(value) for key, value in mine.items() if any(other[key] != value for other in others)]
    parts += [cell.weak.name] if cell.weak else []
    parts += [f"f{cell.fold}"] if len(entry.folds or plan.folds) > 1 else []
    return "-".join([cell.label, cell.dataset, *parts])


def _key(cell: Cell) -> str:
    """What cells share that get the same tuned setting: all but how much is labelled; the upper bound has its own."""
    settled = {key: value for key, value in cell.canonical().items() if key not in ("ratio", "count")}
    return json.dumps([settled, cell.role == "upper"], sort_keys=True)


def _size(cell: Cell) -> tuple[float, float]:
    return cell.count or 0, cell.ratio or 0


def _tuned(method: MethodEntry, label: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the tuned plan: what the plan sets for it, but for what was tuned."""
    changed = {
        "label": label + TUNED,
        "hyper": {**method.hyper, **_part(params, "hyper")},
        "training": {**method.training, **_part(params, "training")},
        "role": method.role if method.role != "method" else None,
    }
    return _set(asdict(method) | changed)


def _set(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What is set of an entry, as YAML holds it."""
    return {key: value for key, value in _plain(raw).items() if value not in (None, {}, [])}


def _digest(settled: Any) -> str:
    return hashlib.blake2b(json.dumps(settled, sort_keys=True).encode(), digest_size=5).hexdigest()


def _part(params: Mapping[str, Any], part: str) -> dict[str, Any]:
    return {key.split(".", 1)[1]: value for key, value in params.items() if key.startswith(f"{part}.")}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _dimensions(cell: Cell) -> dict[str, Range]:
    """All that can be tuned: learning rate, then the method's own in order of declaration, then shared ones."""
    first, *rest = SHARED
    own = [(f"hyper.{name}", r) for name, r in space(cell.hyper).items()]
    shared = [
        (f"training.{name}", SHARED[name]) for name in rest if cell.training.optimizer == "sgd" or name != "momentum"
    ]
    return {
        key: widened
        for key, searched in [(f"training.{first}", SHARED[first]), *own, *shared]
        if (widened := _holding(searched, current(cell, key)))
    }


def _holding(searched: Range, value: Any) -> Range | None:
    """The search range, widened to hold the setting that the plan has: it is trial 0. None = it cannot be."""
    if searched.choices or searched.holds(value):
        return searched if searched.holds(value) else None
    if searched.log and value <= 0:
        return None
    assert searched.low is not None
    assert searched.high is not None
    return replace(searched, low=min(searched.low, value), high=max(searched.high, value))
