"""One self-contained page: nothing is fetched, every number leads to its cells, and it works without a mouse."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from .frame import Results
from .setup_text import Item
from .style import Picture
from .summary import ENTRY, HEADLINE, cell_units
from .tables import Number, Row, Table

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The browser itself refuses any request that a later change might add."""

MOST_NAMED = 6
"""Cells that a number names itself; its link leads to all of its own, and ``numbers.csv`` names every one."""


def render(
    results: Results,
    tables: Sequence[Table],
    per_class: Sequence[Table],
    figures: Sequence[tuple[Picture, bytes]],
    cells: pd.DataFrame,
    *,
    state: str,
    report: Path,
    draft: Sequence[str] = (),
    items: Sequence[Item] = (),
    published: str = "",
    figures_note: str = "",
) -> str:
    """The page as text.

    Args:
        results: the records.
        tables: main tables.
        per_class: tables of single classes, shown folded.
        figures: pictures with their PNG; the PDF is linked below ``figures/``.
        cells: `summary.cell_values`.
        state: sentence on what there is.
        report: folder that the page will lie in, to link the files of each cell.
        draft, items: `setup_text.paragraphs` and `setup_text.checklist`.
        published: published numbers beside ours, as HTML; without, there is no such section.
        figures_note: a sentence below the figures.
    """
    anchors = {name: number for number, ids in enumerate(_entry_ids(results)) for name in ids}
    main = [table for table in tables if table.leads]
    shared = dict.fromkeys(note for table in tables for note in table.shared)
    sections = {
        "State": _state(results, state),
        "Results": "\n".join([_search("tables", "table.sortable"), *(_table(table, anchors) for table in main)]),
        "Reading the tables": _list(shared),
        "Figures": ("\n".join(_figure(picture, png) for picture, png in figures) or "<p>No figure yet.</p>")
        + (f'\n<p class="faint">{escape(figures_note)}</p>' if figures_note else ""),
        "Further tables": "\n".join(_table(table, anchors) for table in tables if table not in main),
        "Classes": "\n".join(_folded(table, anchors) for table in per_class) or "<p>No class has a number yet.</p>",
        **({"Published numbers": published} if published else {}),
        "Cells": _cells(results, cells, anchors, report),
        "Set-up": _set_up(draft, items),
        "Receipts": _receipts(results),
    }
    slugs = {title: title.lower().replace(" ", "-") for title in sections}
    links = "".join(f'<li><a href="#{slugs[title]}">{title}</a></li>' for title in sections)
    body = "\n".join(
        f'<section aria-labelledby="{slugs[title]}">\n<h2 id="{slugs[title]}">{title}</h2>\n{content}\n</section>'
        for title, content in sections.items()
    )
    protocol = f"<p><strong>Protocol.</strong> {escape(results.protocol.strip())}</p>" if results.protocol else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(results.title)}: report</title>
<link rel="icon" href="data:,">
<style>
{(_HERE / "page.css").read_text()}</style>
</head>
<body>
<a class="skip" href="#results">Skip to the results</a>
<header>
<h1>{escape(results.title)}</h1>
{protocol}
<nav aria-label="Contents"><ul>{links}</ul></nav>
</header>
<main>
{body}
</main>
<script>
{(_HERE / "page.js").read_text()}</script>
</body>
</html>
"""


def _state(results: Results, sentence: str) -> str:
    counts = results.cells["status"].value_counts()
    looks = {"finished": "good", "failed": "bad", "killed": "bad", "missing": ""}
    shown = [(name, look) for name, look in looks.items() if name == "finished" or counts.get(name, 0)]
    tiles = "".join(
        f'<li><strong class="{look}">{counts.get(name, 0)}</strong> {name} cells</li>' for name, look in shown
    )
    parts = [f'<p>{escape(sentence)}</p>\n<ul class="tiles">{tiles}</ul>']
    failed = results.cells[results.cells["status"].isin(["failed", "killed"])]
    for row in failed.itertuples():
        text = f"{row.label}, {row.dataset}, {row.amount}, seed {row.seed}, fold {row.fold}: {row.reason}"
        trace = results.records[row.id].traceback
        detail = f"<pre>{escape(trace)}</pre>" if trace else "<p>No traceback was recorded.</p>"
        parts.append(
            f'<details><summary><strong class="bad">{row.status}</strong> {escape(text)}</summary>{detail}</details>'
        )
    missing = results.cells[results.cells["status"] == "missing"]
    if len(missing):
        items = "".join(f"<li><code>{escape(name)}</code></li>" for name in missing["id"])
        parts.append(f"<details><summary>{len(missing)} missing cells</summary><ul>{items}</ul></details>")
    return "\n".join(parts)


def _table(table: Table, anchors: dict[str, int]) -> str:
    groups = "".join(f'<th scope="colgroup" colspan="{width}">{escape(dataset)}</th>' for dataset, width in table.spans)
    columns = "".join(
        f'<th scope="col"><button type="button" data-column="{place}">{escape(column.amount)}</button></th>'
        for place, column in enumerate(table.columns, start=1)
    )
    upper = [row for row in table.rows if row.role == "upper"]
    others = [row for row in table.rows if row.role != "upper"]
    bodies = []
    if upper:
        rows = "\n".join(_row(row, table, anchors) for row in upper)
        bodies.append(f'<tbody class="upper">\n{rows}\n</tbody>')
    bodies.append("<tbody>\n" + "\n".join(_row(row, table, anchors) for row in others) + "\n</tbody>")
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(table.title)}">\n'
        f'<table class="sortable" id="table-{escape(table.key)}">\n<caption>{escape(table.title)}</caption>\n'
        f'<thead>\n<tr><th rowspan="2" scope="col" class="first">{escape(table.head)}</th>{groups}</tr>\n'
        f"<tr>{columns}</tr>\n</thead>\n" + "\n".join(bodies) + f"\n</table>\n</div>\n{_list(table.notes)}"
    )


def _row(row: Row, table: Table, anchors: dict[str, int]) -> str:
    badges = "".join(f' <span class="badge">{escape(mark)}</span>' for mark in row.marks)
    parts = [f'<th scope="row">{escape(row.label)}{badges}</th>']
    for number, width in table.cells(row):
        colspan = f' colspan="{width}"' if width > 1 else ""
        known = number.sort == number.sort
        place = f"{number.sort:.6g}".replace("inf", "Infinity")  # as JavaScript spells it
        sort = f' data-sort="{place}"' if known else ""
        parts.append(f"<td{colspan}{sort}>{_number(number, anchors)}</td>")
    return f"<tr>{''.join(parts)}</tr>"


def _number(number: Number, anchors: dict[str, int]) -> str:
    text = escape(number.text).replace("\n", "<br>")
    if number.look == "winner":
        text = f"<strong>{text}</strong>"
    elif number.look == "oracle":
        text = f'<em class="oracle">{text}<span> oracle</span></em>'
    if not number.ids:
        return text
    title = f"from {len(number.ids)} cells: " + ", ".join(number.ids[:MOST_NAMED])
    title += ", …" if len(number.ids) > MOST_NAMED else ""
    return f'<a href="#from-{anchors[number.ids[0]]}" title="{escape(title)}">{text}</a>'


def _folded(table: Table, anchors: dict[str, int]) -> str:
    return f"<details><summary>{escape(table.title)}</summary>\n{_table(table, anchors)}\n</details>"


def _figure(picture: Picture, png: bytes) -> str:
    source = base64.b64encode(png).decode()
    return (
        f'<figure id="{escape(picture.name)}">\n<h3>{escape(picture.title)}</h3>\n'
        f'<img src="data:image/png;base64,{source}" alt="{escape(picture.alt)}">\n'
        f'<figcaption>{escape(picture.caption)} <a href="figures/{escape(picture.name)}.pdf">PDF</a></figcaption>\n'
        "</figure>"
    )


def _cells(results: Results, values: pd.DataFrame, anchors: dict[str, int], report: Path) -> str:
    """Every cell with a link to its per-case file, one ``tbody`` for each number of the tables."""
    last = {row.id: row for row in values[values["selection"] == HEADLINE].itertuples()}
    units = cell_units(results)
    bodies: dict[int, list[str]] = {}
    for place, row in enumerate(results.cells.itertuples()):
        file = results.folders.get(row.id, Path()) / "scores.csv"
        name = f"<code>{escape(row.id)}</code>"
        scores = last.get(row.id)
        if scores is not None:
            shown = [f"{100 * scores.dice:.1f}", f"{scores.hd95:.2f} {units[place]}"]
            shown += [f"{row.total_seconds:.0f}", f"{row.memory_mib:.0f}"]
            name = f'<a href="{escape(Path(os.path.relpath(file, report)).as_posix())}">{name}</a>'
        else:
            shown = ["–"] * 4
        texts = [row.label, row.dataset, row.amount, row.seed, row.fold, row.status]
        bodies.setdefault(anchors[row.id], []).append(
            f'<tr><th scope="row">{name}</th>'
            + "".join(f'<td class="text">{escape(str(text))}</td>' for text in texts)
            + "".join(f"<td>{escape(text)}</td>" for text in shown)
            + "</tr>"
        )
    heads = ("Cell", "Method", "Dataset", "Labelled", "Seed", "Fold", "State", "Dice (%)", "HD95", "Total s", "MiB")
    head = "".join(f'<th scope="col"{" class=first" if i < 7 else ""}>{text}</th>' for i, text in enumerate(heads))
    body = "\n".join(
        f'<tbody id="from-{number}">\n' + "\n".join(rows) + "\n</tbody>" for number, rows in bodies.items()
    )
    return (
        f"{_search('cells', '#every-cell')}\n"
        '<div class="scroll" role="region" tabindex="0" aria-label="Cells">\n<table id="every-cell">\n'
        "<caption>Every cell; its name leads to its scores by case and class</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n{body}\n</table>\n</div>"
    )


def _set_up(draft: Sequence[str], items: Sequence[Item]) -> str:
    words = {True: ("yes", "good"), False: ("no", "bad"), None: ("open", "faint")}
    rows = "".join(
        f'<li><strong class="{words[met][1]}">{words[met][0]}</strong> {escape(text)}</li>' for met, text in items
    )
    text = "".join(f"<p>{escape(part)}</p>" for part in draft)
    return (
        f'<div class="draft">{text}</div>\n<h3>Reproducibility checklist</h3>\n<ul class="checklist">{rows}</ul>\n'
        '<p class="faint">Both are drafts made of the receipts: <a href="setup.md">setup.md</a>, '
        '<a href="setup.tex">setup.tex</a>.</p>'
    )


def _receipts(results: Results) -> str:
    """What the numbers were made with: each distinct answer and how many cells gave it."""
    found: dict[str, dict[str, int]] = {}
    for record in results.records.values():
        receipt = record.receipt
        commit = str(receipt.get("commit", "")) + (" with uncommitted changes" if receipt.get("dirty") else "")
        answers = {
            "Commit": commit,
            "Versions": _pairs(receipt.get("versions")),
            "Hardware": _pairs(receipt.get("hardware")),
            "Precision": str(receipt.get("precision", "")),
            f"Data of {record.cell.get('dataset', '')}": str(receipt.get("data", "")),
        }
        for what, answer in answers.items():
            if answer:
                counts = found.setdefault(what, {})
                counts[answer] = counts.get(answer, 0) + 1
    if not found:
        return "<p>No receipt yet.</p>"
    rows = "\n".join(
        f'<tr><th scope="row">{escape(what)}</th><td class="text"><code>{escape(answer)}</code></td><td>{n}</td></tr>'
        for what, counts in sorted(found.items())
        for answer, n in sorted(counts.items())
    )
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="Receipts">\n<table>\n'
        "<caption>What the numbers were made with</caption>\n"
        '<thead><tr><th scope="col" class="first">What</th><th scope="col" class="first">Answer</th>'
        f'<th scope="col">Cells</th></tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>'
    )


def _entry_ids(results: Results) -> list[list[str]]:
    return [list(ids) for _, ids in results.cells.groupby(ENTRY, sort=False)["id"]]


def _pairs(mapping: Any) -> str:
    if not isinstance(mapping, dict):
        return str(mapping or "")
    return ", ".join(
        f"{key} {value if isinstance(value, str) else json.dumps(value)}" for key, value in mapping.items()
    )


def _search(name: str, selector: str) -> str:
    return (
        f'<p class="find"><label>Find: <input type="search" data-filter="{selector}" '
        f'aria-describedby="found-{name}"></label> <span id="found-{name}" class="faint" aria-live="polite"></span></p>'
    )


def _list(notes: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if items else ""
