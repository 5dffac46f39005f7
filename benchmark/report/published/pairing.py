"""Which published rows stand beside which entries of ours, and what keeps two numbers from being comparable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from ...metrics.policy import DEFAULT_RULE
from ..frame import Results
from .numbers import Published, Row, load, shown
from .ours import Ours, ours_of


@dataclass(frozen=True)
class Pair:
    """One published row and one entry of ours; ``ours`` is None where the plan has no number for it.

    ``differing`` are the tags that are not equal or not stated; empty = comparable.
    """

    row: Row
    ours: Ours | None
    differing: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """Whether the two numbers can be compared, and if not, which tags differ."""
        if self.ours is None:
            return "not run here"
        if set(self.differing) == {"unit"}:
            return "Dice comparable; distances not comparable: unit"
        return "not comparable: " + ", ".join(self.differing) if self.differing else "comparable"


@dataclass(frozen=True)
class Comparison:
    """One published table with the entries of ours that belong to it."""

    table: Published
    pairs: tuple[Pair, ...]

    @property
    def overlaps(self) -> tuple[str, ...]:
        """What is compared of overlaps."""
        return ("Dice", "Jaccard") if any(pair.row.values.jaccard is not None for pair in self.pairs) else ("Dice",)

    @property
    def distances(self) -> tuple[str, ...]:
        """What is compared of distances."""
        return ("HD95", "ASD") if any(pair.row.values.asd is not None for pair in self.pairs) else ("HD95",)


def beside(
    results: Results, entries: pd.DataFrame, published: Sequence[Published] | None = None, *, rule: str = DEFAULT_RULE
) -> tuple[Comparison, ...]:
    """The published tables that are about a plan's data and labelled amounts, with ours beside each row.

    Rows from memory are never among them. A row meets the entries of the same method, hyper-parameters and kind of
    labels whose labelled amount is nearest. Tables of other labelled amounts than ours are left out, unless all of them
    are; one that does not state its amounts stays, and so does one of our data and annotation without any of our
    methods.

    Args:
        results: the records.
        entries: `summary.entries`.
        published: tables; default: all that come with the project.
        rule: what missed classes and failures count for in ``entries``.
    """
    ours = ours_of(results, entries, rule)
    known = {one.protocol.dataset for one in ours}
    made = []
    for table in shown(load() if published is None else tuple(published)):
        rows = [row for row in table.rows if row.protocol.dataset in known]
        pairs = tuple(pair for row in rows for pair in _pairs(row, ours))
        if pairs:
            made.append(Comparison(table, pairs))
    near = [one for one in made if any(_is_near(pair, ours) for pair in one.pairs)]
    return tuple(near or (one for one in made if any(pair.ours for pair in one.pairs)))


def _pairs(row: Row, ours: Sequence[Ours]) -> Iterator[Pair]:
    """The row with every entry of its method, at the nearest labelled amount, in its unit; with None if none is."""
    same = [
        one
        for one in ours
        if one.protocol.dataset == row.protocol.dataset
        and row.protocol.annotation in (None, one.protocol.annotation)
        and one.method == row.method
        and all(name in one.hyper and one.hyper[name] == value for name, value in row.hyper.items())
    ]
    if not same:
        yield Pair(row, None)
        return
    gaps = [_gap(row.protocol.labelled, one) for one in same]
    for one, gap in zip(same, gaps, strict=True):
        if gap == min(gaps):
            mine = one.beside(row.protocol)
            yield Pair(row, mine, row.protocol.differing(mine.protocol))


def _is_near(pair: Pair, ours: Sequence[Ours]) -> bool:
    """Whether a row is about an amount of labels that we ran, or does not say; of our data and annotation at least."""
    theirs = pair.row.protocol
    candidates = [pair.ours] if pair.ours else [one for one in ours if one.protocol.annotation == theirs.annotation]
    return any(
        theirs.dataset == one.protocol.dataset and theirs.labelled in (None, one.protocol.labelled)
        for one in candidates
    )


def _gap(labelled: str | None, ours: Ours) -> float:
    """How far our labelled amount is from a published one; equal words are nearest, and unknown amounts all alike."""
    mine = ours.protocol.labelled
    if labelled == mine:
        return -1.0
    numbers = [
        ours.groups if text == "all" else int(text) if text and text.isdigit() else None for text in (labelled, mine)
    ]
    return float("inf") if None in numbers else float(abs(numbers[0] - numbers[1]))  # type: ignore[operator]
