"""Published numbers beside ours, with what keeps them from being comparable; as Markdown, HTML, LaTeX and CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from html import escape
from textwrap import wrap
from typing import Any

import pandas as pd

from ...metrics.policy import DEFAULT_RULE
from ..frame import Results
from ..render import pipes
from ..tables import Column, Number, Table
from ..tables import Row as Entry
from .numbers import Protocol, Published, Row, load, shown
from .ours import Ours, ours_of

WORDS = {
    "dataset": "dataset",
    "annotation": "annotation",
    "split": "groups that train / validate / test",
    "folds": "folds",
    "labelled": "labelled groups",
    "subset": "which groups are labelled",
    "grid": "grid",
    "network": "network",
    "steps": "steps",
    "unit": "unit of distances (px: pixels or voxels)",
    "selection": "which weights are scored",
    "components": "connected components kept",
}
"""The tags of a protocol, as people read them."""

CAUTION = (
    "Both HD95 are one percentile of the distances of both directions together, as medpy takes it; other tables here "
    "show the larger of two percentiles. Ours stands in voxels where the published one does. Published deviations are "
    "over cases where a source gives any, ours are {}. Equal tags do not make equal training: batches, optimiser, "
    "augmentation, and how empty predictions count, still differ between codes."
)

_NEAREST = "Beside each published row stands our entry of the same method with the nearest amount of labels."

WIDTH = 28
"""Signs of a line of text in LaTeX."""

_HEAD = ("Method", "Dice (%)", "HD95", "Ours", "Our Dice (%)", "Our HD95", "Comparable")
_MARKS = {"read": "", "image": "read off a picture", "text": "from another's text"}
_SILENT = "not stated"
_MINE = ("label", "amount", "dice", "dice_sd", "hd95", "hd95_sd", "seeds")


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
            return "Dice comparable; HD95 not comparable: unit"
        return "not comparable: " + ", ".join(self.differing) if self.differing else "comparable"


@dataclass(frozen=True)
class Comparison:
    """One published table with the entries of ours that belong to it."""

    table: Published
    pairs: tuple[Pair, ...]


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


def markdown(comparisons: Sequence[Comparison]) -> str:
    """The comparisons as the end of a Markdown document; empty without any."""
    if not comparisons:
        return ""
    parts = ["\n## Published numbers\n", f"{caution(comparisons)}\n"]
    for one in comparisons:
        lines = [pipes(_HEAD), pipes(["---", "---:", "---:", "---", "---:", "---:", "---"])]
        lines += [pipes(cells) for cells in _cells(one)]
        parts += [f"### {_title(one.table)}\n", "\n".join(lines) + "\n", *(f"- {note}" for note in _notes(one)), ""]
    return "\n".join(parts).rstrip("\n") + "\n"


def html(comparisons: Sequence[Comparison]) -> str:
    """The comparisons as a part of the page; empty without any."""
    if not comparisons:
        return ""
    parts = [f"<p>{escape(caution(comparisons))}</p>"]
    for one in comparisons:
        head = "".join(f'<th scope="col"{" class=first" if not i else ""}>{text}</th>' for i, text in enumerate(_HEAD))
        rows = "\n".join(
            f'<tr><th scope="row">{escape(cells[0])}</th>'
            + "".join(
                f"<td{' class=text' if i in (2, 5) else ''}>{escape(text)}</td>" for i, text in enumerate(cells[1:])
            )
            + "</tr>"
            for cells in _cells(one)
        )
        notes = "".join(f"<li>{escape(note)}</li>" for note in _notes(one))
        parts.append(
            f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(_title(one.table))}">\n<table>\n'
            f"<caption>{escape(_title(one.table))}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n"
            f'</table>\n</div>\n<ul class="notes">{notes}</ul>'
        )
    return "\n".join(parts)


def caution(comparisons: Sequence[Comparison]) -> str:
    """What must be known before any two numbers are compared; of spreads only what there is."""
    spread = any(pair.ours and pair.ours.dice_sd == pair.ours.dice_sd for one in comparisons for pair in one.pairs)
    return CAUTION.format("over seeds" if spread else "absent: each mean is of one seed")


def tables(comparisons: Sequence[Comparison]) -> list[Table]:
    """The comparisons as tables of text, which LaTeX is made of; long words are broken into lines."""
    columns = tuple(Column("published" if place < 3 else "ours", head) for place, head in enumerate(_HEAD[1:6], 1))
    columns = (*columns, Column("", _HEAD[6]))
    made = []
    for number, one in enumerate(comparisons, start=1):
        rows = tuple(
            Entry(cells[0], "method", tuple(Number("\n".join(wrap(text, WIDTH)) or text) for text in cells[1:]))
            for cells in _cells(one)
        )
        title = f"Published numbers beside ours: {_title(one.table)}"
        made.append(Table(f"published-{number}", title, columns, rows, (_NEAREST, caution(comparisons), *_notes(one))))
    return made


def csv(comparisons: Sequence[Comparison]) -> str:
    """One line per pair: what was published, with its source, and ours; percentages and the units named."""
    lines = [_line(one.table, pair) for one in comparisons for pair in one.pairs]
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


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


def _title(table: Published) -> str:
    return f"{table.title} (family {table.family})" if table.family else table.title


def _cells(one: Comparison) -> Iterator[list[str]]:
    for pair in one.pairs:
        unit = f" {pair.row.protocol.unit}" if pair.row.protocol.unit else ""
        values = pair.row.values
        digits = pair.row.decimals
        cells = [pair.row.name, _number(values.dice, values.dice_sd, digits)]
        cells.append("–" if values.hd95 is None else _number(values.hd95, values.hd95_sd, digits) + unit)
        if pair.ours is None:
            cells += ["–", "–", "–"]
        else:
            mine = pair.ours
            cells += [f"{mine.label}, {mine.amount}{mine.unfinished}", _number(mine.dice, mine.dice_sd, 1)]
            cells.append(f"{_number(mine.hd95, mine.hd95_sd, 2)} {mine.protocol.unit}")
        yield [*cells, pair.verdict]


def _number(value: float, sd: float | None, digits: int) -> str:
    spread = "" if sd is None or sd != sd else f" ± {sd:.{digits}f}"
    return "–" if value != value else f"{value:.{digits}f}{spread}"


def _notes(one: Comparison) -> Iterator[str]:
    """Sources, what the table says of itself, and every tag that differs with both of its values."""
    sources: dict[str, list[str]] = {}
    for row in dict.fromkeys(pair.row.name for pair in one.pairs):
        first = next(pair.row for pair in one.pairs if pair.row.name == row)
        mark = f" ({_MARKS[first.mark]})" if _MARKS[first.mark] and "picture" not in first.source else ""
        sources.setdefault(f"{first.source}{mark}{', ' + first.url if first.url else ''}", []).append(row)
    for source, names in sources.items():
        yield f"Source: {source}." if len(sources) == 1 else f"Source of {', '.join(names)}: {source}."
    if one.table.note:
        yield one.table.note
    yield from dict.fromkeys(f"{pair.row.name}: {pair.row.note}." for pair in one.pairs if pair.row.note)
    for tag in (f.name for f in fields(Protocol)):
        apart = [pair for pair in one.pairs if pair.ours and tag in pair.differing]
        if apart:
            theirs = dict.fromkeys(_value(pair.row.protocol, tag) for pair in apart)
            mine = dict.fromkeys(_value(pair.ours.protocol, tag) for pair in apart if pair.ours)
            words = WORDS[tag] if tag in WORDS[tag] else f"{tag}, {WORDS[tag]}"
            yield f"{words}: {' or '.join(theirs)} there, {' or '.join(mine)} here."


def _value(protocol: Protocol, tag: str) -> str:
    value: Any = getattr(protocol, tag)
    if value in (None, ()):
        return _SILENT
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _line(table: Published, pair: Pair) -> dict[str, Any]:
    """One line of the csv; what is not stated or not run is empty."""
    row, ours = pair.row, pair.ours
    published = {"table": table.title, "family": table.family, "published": row.name, "mark": row.mark}
    published |= {f"published_{f.name}": getattr(row.values, f.name) for f in fields(row.values)}
    published |= {"source": row.source, "url": row.url, "verdict": pair.verdict}
    tags = {f"{tag}_{who}": _value(protocol, tag) for tag in WORDS for who, protocol in _protocols(pair)}
    mine = {name: getattr(ours, name) if ours else None for name in _MINE}
    return published | mine | tags


def _protocols(pair: Pair) -> list[tuple[str, Protocol]]:
    nothing = Protocol(pair.row.protocol.dataset)
    return [("there", pair.row.protocol), ("here", pair.ours.protocol if pair.ours else nothing)]
