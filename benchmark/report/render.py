r"""Tables -> Markdown, LaTeX (booktabs) and CSV.

``tables/<key>.tex`` hold one float each, ``table.tex`` has them all: to be ``\input`` into a paper that loads booktabs
and graphicx. ``table_standalone.tex`` wraps them into a document that compiles as it is.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from . import sources
from .tables import Column, Number, Row, Table

_HEAD = "% Made from records. Needs \\usepackage{booktabs,graphicx}, T1 fonts and UTF-8.\n"

_TALLEST = 0.6
"""Share of a page that the rows of a float may take; caption and notes have the rest."""

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "−": r"$-$",
    "–": "--", "—": "---", "≤": r"$\le$", "≥": r"$\ge$", "≈": r"$\approx$", "→": r"$\to$", "°": r"$^\circ$",
    "∈": r"$\in$", "∞": r"$\infty$", "’": "'", "‘": "`", "“": "``", "”": "''", "…": r"\dots{}", "\n": " ",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "λ": r"$\lambda$", "μ": r"$\mu$", "σ": r"$\sigma$",
    "τ": r"$\tau$", "†": r"$^\dagger$", "‡": r"$^\ddagger$",
}  # fmt: skip


def markdown(tables: Sequence[Table], *, title: str, state: str, first: Mapping[str, int] | None = None) -> str:
    """All tables as one Markdown document; ``first`` as for `latex`."""
    parts = [f"# {title}\n", f"{state}\n"]
    first = sources.firsts(tables) if first is None else first
    for table in tables:
        parts.append(f"## {table.title}\n")
        head = [table.head, *(_head(table, column) for column in table.columns)]
        lines = [pipes(head), pipes(["---", *["---:"] * len(table.columns)])]
        lines += [pipes([name(row), *(_marked(number) for number in row.numbers)]) for row in table.rows]
        if table.rows and table.key in first:
            last = first[table.key] + len(table.rows) * len(table.columns) - 1
            lines.append(f"<!-- row by row, numbers {first[table.key]} to {last} of numbers.csv -->")
        parts.append("\n".join(lines) + "\n")
        parts += [f"- {note}" for note in table.notes] + [""]
    shared = dict.fromkeys(note for table in tables for note in table.shared)
    if shared:
        parts += ["## Reading the tables\n", *(f"- {note}" for note in shared)]
    return "\n".join(parts).rstrip("\n") + "\n"


def csv(entries: pd.DataFrame) -> str:
    """`summary.entries` as it is, raw: overlaps in [0, 1], distances in the column ``unit``, ids joined by spaces."""
    flat = entries.assign(
        ids=entries["ids"].map(" ".join), seeds=entries["seeds"].map(lambda seeds: " ".join(map(str, seeds)))
    )
    return flat_csv(flat)


def flat_csv(frame: pd.DataFrame) -> str:
    """A frame of plain columns as csv; numbers as `repr` writes them, NaN as an empty field."""
    text = io.StringIO()
    frame.to_csv(text, index=False, lineterminator="\n")
    return text.getvalue()


def latex(tables: Sequence[Table], *, plan: str, first: Mapping[str, int] | None = None) -> dict[str, str]:
    """Each table as a float of its own, by key: caption and notes included, the source of each row in a comment.

    The protocol stands below the first table that has it; the others refer to that one.

    Args:
        tables: what to write.
        plan: its name, for labels.
        first: where the numbers of each table begin in ``numbers.csv``; default: as if these were all tables. Tables
            that it lacks get no comments.
    """
    first = sources.firsts(tables) if first is None else first
    told = next((table.key for table in tables if any(map(_is_protocol, table.shared))), "")
    return {table.key: _HEAD + _float(table, plan, first.get(table.key), told) for table in tables}


def inputs(keys: Sequence[str]) -> str:
    """Several tables at once."""
    return _HEAD + "".join(f"\\input{{tables/{key}}}\n" for key in keys)


def macros(tables: Sequence[Table], *, plan: str) -> str:
    r"""Every number as a macro, for running text: ``\scant{demo/dice/cps/acdc/10pc}``; an unknown key does not compile.

    The key is the plan's name and that of the table, then row, column group and column; of what is not a letter, digit
    or one of ``_.+-`` only ``%`` stays, as "pc". The value is plain text, such as ``72.0 $\pm$ 2.0``: no bold, no sign.
    What has parts has a macro for each: ``demo/verdicts-dice/cps/acdc/10pc/verdict``, or ``difference``, ``interval``
    and ``p``. Several plans may be read in one after the other.
    """
    lines = [
        "% Made from records. \\input this file, then write \\scant{plan/table/row/group/column} for a number.",
        r"\providecommand{\scant}[1]{\ifcsname scant@#1\endcsname\csname scant@#1\endcsname"
        r"\else\errmessage{There is no number #1: the table it was in has changed}\fi}%",
    ]
    for table in tables:
        for row in table.rows:
            for column, number in zip(table.columns, row.numbers, strict=True):
                names = (plan, table.key, name(row), column.dataset, column.amount)
                for part, text in number.parts or (("", number.text),):
                    key = "/".join(_key(each) for each in (*names, *filter(None, [part])))
                    value = escape(text.replace("\n", ", "))
                    lines.append(rf"\expandafter\def\csname scant@{key}\endcsname{{{value}}}%")
    return "\n".join(lines) + "\n"


def standalone(title: str) -> str:
    """A document around ``table.tex``, which must lie beside it."""
    return "\n".join(
        [
            r"\documentclass[10pt]{article}",
            r"\usepackage[utf8]{inputenc}",
            r"\usepackage[T1]{fontenc}",
            r"\usepackage[a4paper,landscape,margin=15mm]{geometry}",
            r"\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}",
            r"\usepackage{booktabs,graphicx}",
            r"\pagestyle{empty}",
            r"\begin{document}",
            rf"\begin{{center}}\large {escape(title)}\end{{center}}",
            r"\input{table}",
            r"\end{document}",
            "",
        ]
    )


def escape(text: str) -> str:
    r"""Text as LaTeX prints it literally. What pdfLaTeX has no sign for is named: ``☃`` becomes ``[U+2603]``.

    >>> escape("5% of mean_teacher & co")
    '5\\% of mean\\_teacher \\& co'
    """
    return "".join(_LATEX.get(sign, sign if ord(sign) < 0x180 else f"[U+{ord(sign):04X}]") for sign in text)


def _begun(text: str) -> str:
    """:func:`escape` for what may follow the end of a line, where LaTeX takes ``[`` and ``*`` for commands."""
    return ("{}" if text.startswith(("[", "*")) else "") + escape(text)


def name(row: Row) -> str:
    """A row's label with its marks, such as ``supervised (lower bound)``."""
    return f"{row.label} ({', '.join(row.marks)})" if row.marks else row.label


def _is_protocol(note: str) -> bool:
    return note.startswith("Protocol: ")


def _float(table: Table, plan: str, first: int | None, told: str) -> str:
    columns = "l" + "c" * len(table.columns)
    groups, rules, start = [], [], 2
    for dataset, width in table.spans:
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(dataset)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    caption = [f"{table.title}.", *table.notes[:1]]
    lines = [
        r"\begin{table*}[!htbp]",
        r"\centering\footnotesize\setlength{\belowcaptionskip}{4pt}",
        rf"\caption{{{' '.join(escape(sentence) for sentence in caption)}}}",
        rf"\label{{tab:{plan}-{table.key}}}",
        # shrinks a table that is too wide, or so tall that its notes would not be on the page, and leaves others alone
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\resizebox*{{!}}{{\ifdim\totalheight>{_TALLEST}\textheight{_TALLEST}\textheight\else\totalheight\fi}}{{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(["", *groups]) + r" \\",
        " ".join(rules),
        " & ".join([escape(table.head), *(escape(column.amount) for column in table.columns)]) + r" \\",
        r"\midrule",
    ]
    for place, row in enumerate(table.rows):
        start = (first or 0) + place * len(table.columns)
        source = f" % numbers {start} to {start + len(table.columns) - 1} of numbers.csv" if first else ""
        numbers = (
            _latex_number(number) if width == 1 else rf"\multicolumn{{{width}}}{{c}}{{{_latex_number(number)}}}"
            for number, width in table.cells(row)
        )
        end = r" \\[3pt]" if any("\n" in number.text for number in row.numbers) else r" \\"
        lines.append(" & ".join([_begun(name(row)), *numbers]) + end + source)
        if row.role == "upper" and place + 1 < len(table.rows) and table.rows[place + 1].role != "upper":
            lines.append(r"\midrule")
    lines += [r"\bottomrule", r"\end{tabular}}}", ""]
    elsewhere = rf"Protocol: see Table~\ref{{tab:{plan}-{told}}}."
    below = [
        elsewhere if _is_protocol(note) and told != table.key else escape(note)
        for note in (*table.notes[1:], *table.shared)
    ]
    if below:
        lines += [r"\par\smallskip\raggedright\scriptsize", "\\\\\n".join(below)]
    return "\n".join([*lines, r"\end{table*}", ""])


def _latex_number(number: Number) -> str:
    text = _stacked(number.text)
    if number.look == "winner":
        return rf"{{\boldmath\textbf{{{text}}}}}"
    return rf"\textit{{{text}}}\textsuperscript{{oracle}}" if number.look == "oracle" else text


def _marked(number: Number) -> str:
    """As Markdown prints it."""
    if number.look == "winner":
        return f"**{number.text}**"
    return f"_{number.text}_ (oracle)" if number.look == "oracle" else number.text


def _key(part: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", part.replace("%", "pc"), flags=re.ASCII).strip("-")


def _stacked(text: str) -> str:
    """Lines on top of each other, which a centred column of LaTeX does not do by itself."""
    lines = [_begun(line) for line in text.split("\n")]
    return lines[0] if len(lines) == 1 else r"\shortstack{" + r"\\".join(lines) + "}"


def _head(table: Table, column: Column) -> str:
    return f"{table.spoken(column.dataset)} {column.amount}" + (f" ({column.unit})" if column.unit else "")


def pipes(texts: Sequence[str]) -> str:
    """One line of a table in Markdown."""
    return "| " + " | ".join(text.replace("|", r"\|").replace("\n", "<br>") for text in texts) + " |"
