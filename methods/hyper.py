"""Hyper-parameters: a frozen dataclass per method; one line states default, help, valid range and search range.

@dataclass(frozen=True)
class Hyper(HyperBase):
    weight: float = hyper(0.1, "weight of the consistency term", valid=(0, None), search=(0.01, 10, "log"))
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """Where a hyper-parameter may lie, or is searched: ``low``..``high`` inclusive, None = open, or ``choices``."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def holds(self, value: Any) -> bool:
        """Whether ``value`` lies in the range."""
        if self.choices:
            return value in self.choices
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(map(repr, self.choices))
        low = "-inf" if self.low is None else f"{self.low:g}"
        return f"in [{low}, {'inf' if self.high is None else f'{self.high:g}'}]"


@dataclass(frozen=True)
class HyperBase:
    """Base of every ``Hyper``: checks each value against its declared range when constructed.

    Raises:
        TypeError: a field was not declared by :func:`hyper`, or not as it asks.
        ValueError: a value outside its range.
    """

    def __post_init__(self) -> None:
        if told := misdeclared(type(self)):
            raise TypeError(f"{_owner(type(self))}: {told}")
        for field in dataclasses.fields(self):
            value, valid = getattr(self, field.name), field.metadata["valid"]
            if not _finite(value):
                raise ValueError(f"{_owner(type(self))}: {field.name} must be finite and {valid}, got {value!r}")
            if not valid.holds(value):
                raise ValueError(f"{_owner(type(self))}: {field.name} must be {valid}, got {value!r}")


def misdeclared(cls: type) -> str:
    """What is wrong with a ``Hyper`` whose fields are not all declared as :func:`hyper` asks; "" if they are."""
    for field in dataclasses.fields(cls):
        name, default = field.name, field.default
        if "valid" not in field.metadata:
            example = "hyper(0.5, 'what it is', valid=(0, 1))"
            return f"hyper-parameter {name!r} has no range; declare it as {name}: float = {example}"
        if fault := field.metadata["fault"]:
            return f"hyper-parameter {name!r}: {fault}"
        for kind, other in ((float, int), (int, float)):
            if field.type in (kind, kind.__name__) and _number(default) and isinstance(default, other):
                remedy = f"write {float(default)!r}" if kind is float else "declare it as float"
                return f"hyper-parameter {name!r} is of type {kind.__name__} with the default {default!r}: {remedy}"
    return ""


def hyper(
    default: Any,
    help: str,
    *,
    valid: tuple[float | None, float | None] | None = None,
    search: tuple[Any, ...] | None = None,
    choices: Sequence[Any] = (),
    only: str | None = None,
) -> Any:
    """Declare one hyper-parameter.

    Args:
        default: value of the intended reading of the paper; its type is the field's type, its value valid.
        help: one line for people.
        valid: inclusive bounds outside which the value makes no sense; None = unbounded.
        search: ``(low, high)`` or ``(low, high, "log")`` for tuning, within ``valid``; None = never tuned.
        choices: the allowed values of a categorical; searched over too if ``search=()``.
        only: the variant in which it does something, where it does nothing in the other: it is tuned in that one alone.
    """
    fault = _fault(default, valid, search, tuple(choices))
    low, high = valid if valid and not fault else (None, None)
    bounds = Range(low, high, choices=tuple(choices))
    searched = None
    if search is not None and not fault:
        searched = bounds if choices else Range(search[0], search[1], log="log" in search[2:])
    told = help if only is None else f"{help}; variant: {only} alone"
    about = {"help": told, "valid": bounds, "search": searched, "only": only, "fault": fault}
    return dataclasses.field(default=default, metadata=about)


def _fault(default: Any, valid: Any, search: Any, choices: tuple[Any, ...]) -> str:
    """What is wrong with what was given to :func:`hyper`, which does not know the field's name; "" if nothing is."""
    if valid is not None:
        ends = valid if isinstance(valid, tuple | list) else ()
        if len(ends) != 2 or not all(end is None or _number(end) for end in ends):
            return f"valid must be (low, high), two numbers, None = unbounded, got {valid!r}"
        if not _number(default):
            return f"valid bounds one number, but the default is {default!r}; leave valid out, or take choices=(...)"
    low, high = valid or (None, None)
    bounds = Range(low, high, choices=choices)
    if not bounds.holds(default):
        return f"the default {default!r} must be {bounds}"
    if search is None or (choices and not search):
        return ""
    ends = tuple(search) if isinstance(search, tuple | list) else ()
    if len(ends) >= 2 and all(map(_number, ends[:2])) and ends[2:] in ((), ("log",)) and not choices:
        return ""
    allowed = 'search must be (low, high) or (low, high, "log"), two numbers'
    return f"{allowed}, got {search!r}; to search over single values, give choices=(...) and search=()"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def variant(help: str = "intended = as the paper says; released = as the published code computes") -> Any:
    """The field ``variant`` of methods whose released code learns something else than their paper says."""
    return hyper("intended", help, choices=("intended", "released"))


def space(hyper: HyperBase) -> Mapping[str, Range]:
    """The hyper-parameters that are searched, and where, in order of declaration; those of its variant alone."""
    mine = getattr(hyper, "variant", None)
    searched = [f for f in dataclasses.fields(hyper) if f.metadata["search"] is not None]
    return {f.name: f.metadata["search"] for f in searched if f.metadata["only"] in (None, mine)}


def describe(cls: type) -> list[tuple[str, str, Any, str, str]]:
    """Rows (name, type, default, valid, help) for ``show``."""
    types = typing.get_type_hints(cls)
    return [
        (
            f.name,
            getattr(types[f.name], "__name__", str(types[f.name])),
            f.default,
            str(f.metadata["valid"]),
            f.metadata["help"],
        )
        for f in dataclasses.fields(cls)
    ]


def _finite(value: Any) -> bool:
    parts = value if isinstance(value, tuple) else (value,)
    return all(math.isfinite(part) for part in parts if isinstance(part, float))


def _owner(cls: type) -> str:
    return cls.__module__.rsplit(".", 1)[-1]
