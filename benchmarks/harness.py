"""What all speed scripts share: repetitions by turns, medians with their spread, ratios within each repetition.

Contenders take turns, so that a neighbour who comes or goes disturbs all of them alike; every other round runs
backwards. A ratio is formed within a round, then its median over rounds is taken.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

Contender = Callable[[], float]
"""Does its work once and says how long it took, in seconds of the clock that it chose."""

NO_TIME = "not measured: the part's time was over; --budget gives it more"


@dataclass(frozen=True)
class Kept:
    """A row as it was written by an earlier run."""

    content: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """As it was."""
        return self.content


@dataclass(frozen=True)
class Run:
    """What a part may use.

    Attributes:
        scratch: folder for data and results, gone afterwards.
        deadline: time of the monotonic clock after which nothing new is begun.
        data: where scans lie; None = phantoms only.
        quick: tiny sizes, to see that everything works; the numbers mean nothing.
        repeats: rounds wanted; fewer if the deadline comes first, but never less than one.
        threads: of a process that has the machine to itself.
        options: further arguments of the script.
        kept: rows of an earlier run of the same code that had no time for all, by subject.
    """

    scratch: Path
    deadline: float
    data: Path | None = None
    quick: bool = False
    repeats: int = 3
    threads: int = 1
    options: Any = None
    kept: Mapping[str, Sequence[Kept]] = field(default_factory=dict)

    def left(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.deadline - time.monotonic())

    def until(self, share: float) -> float:
        """The deadline of something that may take a share of the time left."""
        return time.monotonic() + share * self.left()


@dataclass(frozen=True)
class Row:
    """One line of a table: what somebody needed for something.

    Attributes:
        subject: what was done.
        contender: who did it.
        unit: of the values.
        values: one per round; none if it was not measured, and ``note`` says why.
        ratios: this contender's value over ours, one per round: how many times as fast ours is. None for ours.
        least: what the median ratio should reach.
        most: what the median value should stay below.
        note: what else a reader must know.
    """

    subject: str
    contender: str
    unit: str = ""
    values: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    least: float | None = None
    most: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none, or no value."""
        if self.least is not None and self.ratios:
            return median(self.ratios) >= self.least
        if self.most is not None and self.values:
            return median(self.values) < self.most
        return None

    def as_json(self) -> dict[str, Any]:
        """Plain types, with the medians and extremes that readers want."""
        found: dict[str, Any] = {"subject": self.subject, "contender": self.contender, "unit": self.unit}
        found |= {"value": _spread(self.values), "ratio": _spread(self.ratios), "rounds": len(self.values)}
        return found | {"least_ratio": self.least, "most": self.most, "met": self.met, "note": self.note}


def skipped(subject: str, why: str = NO_TIME, contender: str = "") -> Row:
    """A row that says what is missing and why."""
    return Row(subject, contender, note=why)


@dataclass(frozen=True)
class Terms:
    """How a comparison is shown: unit, what seconds are multiplied by, goals and notes by contender."""

    unit: str = "ms"
    scale: float = 1000.0
    least: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def compare(
    subject: str, contenders: Mapping[str, Contender], run: Run, *, until: float | None = None, terms: Terms = Terms()
) -> list[Row]:
    """Time the contenders by turns; one row each, with its ratio to the first, which is ours.

    Args:
        subject: what they all do.
        contenders: by name, ours first.
        run: how many rounds.
        until: end of the time for it; default: that of the part.
        terms: how it is shown.
    """
    found = by_turns(contenders, repeats=run.repeats, until=run.deadline if until is None else until)
    ours = next(iter(contenders))
    return [
        Row(
            subject,
            name,
            terms.unit,
            tuple(terms.scale * seconds for seconds in values),
            () if name == ours else tuple(a / b for a, b in zip(values, found[ours], strict=True)),
            least=terms.least.get(name),
            note=terms.notes.get(name, ""),
        )
        for name, values in found.items()
    ]


def by_turns(
    contenders: Mapping[str, Contender], *, repeats: int, until: float, warm: int = 1
) -> dict[str, list[float]]:
    """Seconds of every contender in each of at most ``repeats`` rounds, after ``warm`` rounds that do not count.

    A round begins only if the last one would still have fitted before ``until``; the first always does.
    """
    for _ in range(warm):
        for once in contenders.values():
            once()
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(repeats):
        began = time.monotonic()
        for name in list(contenders)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(contenders[name]())
        if time.monotonic() + (time.monotonic() - began) > until:
            break
    return found


def clocked(work: Callable[[], object], times: int = 1, clock: Callable[[], float] = time.perf_counter) -> Contender:
    """A contender that does ``work`` several times and says how long one took on average."""

    def once() -> float:
        began = clock()
        for _ in range(times):
            work()
        return (clock() - began) / times

    return once


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _spread(values: tuple[float, ...]) -> dict[str, float] | None:
    return {"median": median(values), "low": min(values), "high": max(values)} if values else None
