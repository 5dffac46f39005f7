"""Published numbers beside ours, with what keeps them from being comparable; as Markdown, HTML, LaTeX and CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from html import escape
from textwrap import wrap
from typing import Any

import pandas as pd

from ..render import pipes
from ..tables import Column, Number, Table
from ..tables import Row as Entry
from .numbers import Protocol, Published, Values
from .ours import Ours
from .pairing import Comparison, Pair

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
    "show the larger of two percentiles.{} Ours stand in voxels where the published ones do. Published deviations are "
    "over cases where a source gives any, ours are {}. Equal tags do not make equal training: batches, optimiser, "
    "augmentation, and how empty predictions count, still differ between codes."
)

_ASD = (
    " Both ASD are the mean distance from the predicted surface to the reference, as medpy takes it; ours in voxels is "
    "left out where these are no cubes."
)

_NEAREST = "Beside each published row stands our entry of the same method with the nearest amount of labels."

WIDTH = 28
"""Signs of a line of text in LaTeX."""

_HEAD = ("Method", "{} (%)", "{}", "Ours", "Our {} (%)", "Our {}", "Comparable")
_MARKS = {"read": "", "image": "read off a picture", "text": "from another's text"}
_SILENT = "not stated"
_MINE = (
    "label", "amount", "dice", "dice_sd", "jaccard", "jaccard_sd", "hd95", "hd95_sd", "asd", "asd_sd", "seeds",
)  # fmt: skip


def markdown(comparisons: Sequence[Comparison]) -> str:
    """The comparisons as the end of a Markdown document; empty without any."""
    if not comparisons:
        return ""
    parts = ["\n## Published numbers\n", f"{caution(comparisons)}\n"]
    for one in comparisons:
        lines = [pipes(_head(one)), pipes(["---", "---:", "---:", "---", "---:", "---:", "---"])]
        lines += [pipes(cells) for cells in _cells(one)]
        parts += [f"### {_title(one.table)}\n", "\n".join(lines) + "\n", *(f"- {note}" for note in _notes(one)), ""]
    return "\n".join(parts).rstrip("\n") + "\n"


def html(comparisons: Sequence[Comparison]) -> str:
    """The comparisons as a part of the page; empty without any."""
    if not comparisons:
        return ""
    parts = [f"<p>{escape(caution(comparisons))}</p>"]
    for one in comparisons:
        head = "".join(
            f'<th scope="col"{" class=first" if place in (0, 3, 6) else ""}>{text}</th>'
            for place, text in enumerate(_head(one))
        )
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
    averages = any("ASD" in one.distances for one in comparisons)
    return CAUTION.format(_ASD if averages else "", "over seeds" if spread else "absent: each mean is of one seed")


def tables(comparisons: Sequence[Comparison]) -> list[Table]:
    """The comparisons as tables of text, which LaTeX is made of; long words are broken into lines."""
    made = []
    for number, one in enumerate(comparisons, start=1):
        columns = tuple(
            Column("published" if place < 3 else "ours", text) for place, text in enumerate(_head(one)[1:6], 1)
        )
        columns = (*columns, Column("", _head(one)[6]))
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


def _head(one: Comparison) -> tuple[str, ...]:
    """Of the columns: Jaccard and ASD are shown beside Dice and HD95 where the source has any."""
    overlaps, distances = " / ".join(one.overlaps), " / ".join(one.distances)
    return tuple(text.format(distances if place in (2, 5) else overlaps) for place, text in enumerate(_HEAD))


def _title(table: Published) -> str:
    return f"{table.title} (family {table.family})" if table.family else table.title


def _cells(one: Comparison) -> Iterator[list[str]]:
    names = [name.lower() for name in one.overlaps], [name.lower() for name in one.distances]
    for pair in one.pairs:
        theirs, mine = pair.row.protocol.unit, pair.ours
        cells = [pair.row.name, *(_numbers(pair.row.values, of, pair.row.decimals) for of in names)]
        cells[2] += f" {theirs}" if theirs and cells[2] != "–" else ""
        if mine is None:
            cells += ["–", "–", "–"]
        else:
            cells += [f"{mine.label}, {mine.amount}{mine.unfinished}", _numbers(mine, names[0], 1)]
            cells.append(f"{_numbers(mine, names[1], 2)} {mine.protocol.unit}")
        yield [*cells, pair.verdict]


def _numbers(values: Values | Ours, names: Sequence[str], digits: int) -> str:
    """Means with their deviations, where there are any; a dash alone where there is none of them."""
    texts = [_number(getattr(values, name), getattr(values, f"{name}_sd", None), digits) for name in names]
    return " / ".join(texts) if set(texts) != {"–"} else "–"


def _number(value: float | None, sd: float | None, digits: int) -> str:
    spread = "" if sd is None or sd != sd else f" ± {sd:.{digits}f}"
    return "–" if value is None or value != value else f"{value:.{digits}f}{spread}"


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
