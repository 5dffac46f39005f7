r"""Tables -> Markdown, LaTeX (booktabs) and CSV.

``table.tex`` holds floats to ``\input`` into a paper that loads booktabs and graphicx; ``table_standalone.tex`` wraps
it into a document that compiles as it is.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import pandas as pd

from .tables import Column, Row, Table

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "−": r"$-$",
    "–": "--", "—": "---", "≤": r"$\le$", "≥": r"$\ge$", "≈": r"$\approx$", "→": r"$\to$", "°": r"$^\circ$",
    "∈": r"$\in$", "∞": r"$\infty$", "’": "'", "‘": "`", "“": "``", "”": "''", "…": r"\dots{}", "\n": " ",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "λ": r"$\lambda$", "μ": r"$\mu$", "σ": r"$\sigma$",
    "τ": r"$\tau$",
}  # fmt: skip


def markdown(tables: Sequence[Table], *, title: str, state: str) -> str:
    """All tables as one Markdown document."""
    parts = [f"# {title}\n", f"{state}\n"]
    for table in tables:
        parts.append(f"## {table.title}\n")
        head = [table.head, *(f"{_head(column)}" for column in table.columns)]
        lines = [pipes(head), pipes(["---", *["---:"] * len(table.columns)])]
        lines += [pipes([name(row), *(number.text for number in row.numbers)]) for row in table.rows]
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


def latex(tables: Sequence[Table], *, plan: str) -> str:
    """All tables as floats, captions and notes included."""
    parts = ["% Made from records. Needs \\usepackage{booktabs,graphicx}, T1 fonts and UTF-8.\n"]
    for table in tables:
        parts.append(_float(table, plan))
    return "\n".join(parts)


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


def name(row: Row) -> str:
    """A row's label with its marks, such as ``supervised (lower bound)``."""
    return f"{row.label} ({', '.join(row.marks)})" if row.marks else row.label


def _float(table: Table, plan: str) -> str:
    columns = "l" + "c" * len(table.columns)
    groups, rules, start = [], [], 2
    for dataset, width in table.spans:
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(dataset)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    lines = [
        r"\begin{table*}[!htbp]",
        r"\centering\footnotesize\setlength{\belowcaptionskip}{4pt}",
        rf"\caption{{{escape(table.title)}. {' '.join(escape(note) for note in table.notes[:1])}}}",
        rf"\label{{tab:{plan}-{table.key}}}",
        # shrinks a table that is too wide, and leaves the others alone
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(["", *groups]) + r" \\",
        " ".join(rules),
        " & ".join([escape(table.head), *(escape(column.amount) for column in table.columns)]) + r" \\",
        r"\midrule",
    ]
    for place, row in enumerate(table.rows):
        lines.append(" & ".join([escape(name(row)), *_latex_numbers(row, table)]) + r" \\")
        if row.role == "upper" and place + 1 < len(table.rows) and table.rows[place + 1].role != "upper":
            lines.append(r"\midrule")
    lines += [r"\bottomrule", r"\end{tabular}}", ""]
    below = [escape(note) for note in (*table.notes[1:], *table.shared)]
    if below:
        lines += [r"\par\smallskip\raggedright\scriptsize", "\\\\\n".join(below)]
    return "\n".join([*lines, r"\end{table*}", ""])


def _latex_numbers(row: Row, table: Table) -> list[str]:
    if row.role != "upper":
        return [_stacked(number.text) for number in row.numbers]
    texts, place = [], 0
    for _, width in table.spans:
        texts.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(row.numbers[place].text)}}}")
        place += width
    return texts


def _stacked(text: str) -> str:
    """Lines on top of each other, which a centred column of LaTeX does not do by itself."""
    lines = [escape(line) for line in text.split("\n")]
    return lines[0] if len(lines) == 1 else r"\shortstack{" + r"\\".join(lines) + "}"


def _head(column: Column) -> str:
    return f"{column.dataset} {column.amount}" + (f" ({column.unit})" if column.unit else "")


def pipes(texts: Sequence[str]) -> str:
    """One line of a table in Markdown."""
    return "| " + " | ".join(text.replace("|", r"\|").replace("\n", "<br>") for text in texts) + " |"
