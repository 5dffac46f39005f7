"""What a plan lists: its methods, its datasets, and which methods are bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from datasets.weak import Weak

Role = Literal["method", "lower", "upper"]
"""What a cell is in the tables: a method, a lower or an upper bound."""

BOUNDS: Mapping[str, tuple[str, ...]] = {"lower": ("supervised", "pce"), "upper": ("supervised",)}
"""The methods that bounds are made of."""

Amount = tuple[float | None, int | None]
"""How much is labelled: ratio and count, one of them None."""

PER_METHOD = ("lr", "momentum", "weight_decay")
"""What tuning may set of :class:`Training` per method; all else is shared (but for supervised's ``labelled_batch``)."""


@dataclass(frozen=True)
class MethodEntry:
    """One method of a plan: registered name, changed hyper-parameters, name in tables, tuned optimizer settings.

    With a ``role`` it stands for the bound of its name and role that the plan would add, and gives it these settings.
    """

    name: str
    hyper: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    role: Role = "method"

    def __post_init__(self) -> None:
        if self.name not in BOUNDS.get(self.role, (self.name,)):
            raise ValueError(f"method {self.name}: role: {self.role} is for {' and '.join(BOUNDS[self.role])} only")
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
