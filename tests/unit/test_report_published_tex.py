"""Published numbers beside ours as floats of LaTeX, and what is said of seeds that are unfinished."""

from __future__ import annotations

from pathlib import Path

from benchmark.report import published, render
from benchmark.report.tables import Column, Number, Row, Table
from tests.unit.report_records import score, write_cell
from tests.unit.test_report_published import results_of, row, table


def test_a_comparison_is_a_float_without_numbers_of_its_own(tmp_path: Path) -> None:
    results, entries = results_of(tmp_path, {"method": "ua_mt", "dataset": "la", "ratio": 0.2})
    made = published.tables(published.beside(results, entries, [table(row())]))
    (text,) = render.latex(made, plan="toy", first={}).values()
    assert r"UA-MT & 84.25 & -- & ua\_mt, 20\% & 60.0 & 4.00 px & \shortstack{not comparable: split,\\subset" in text
    assert r"\multicolumn{2}{c}{published} & \multicolumn{3}{c}{ours}" in text
    assert "numbers.csv" not in text
    assert "as medpy takes it" in text
    assert "steps: 6000 there, 100 here." in text


def test_ours_says_which_seeds_are_unfinished_and_claims_no_spread(tmp_path: Path) -> None:
    write_cell(tmp_path, method="ua_mt", dataset="la", ratio=0.2, seed=1, status="failed", reason="NaN")
    cell = {"method": "ua_mt", "dataset": "la", "ratio": 0.2}
    found = published.beside(*results_of(tmp_path, cell), [table(row())])
    assert "| ua_mt, 20% (1/2) |" in published.markdown(found)
    assert "ours are absent: each mean is of one seed." in published.markdown(found)
    write_cell(tmp_path, [score("a"), score("b")], seed=1, **cell)  # type: ignore[arg-type]
    found = published.beside(*results_of(tmp_path, cell), [table(row())])
    assert "| ua_mt, 20% |" in published.markdown(found)
    assert "ours are over seeds." in published.markdown(found)


def test_no_line_of_latex_begins_with_what_is_part_of_a_command() -> None:
    r"""After the end of a line TeX takes ``[`` for a length and ``*`` for a variant, even on the next line."""
    lines = Number("first\n[second]\n*third")
    made = Table("t", "T", (Column("toy", "5%"),), (Row("[a] = 1", "method", (lines,)),), ())
    (text,) = render.latex([made], plan="p").values()
    assert r"\shortstack{first\\{}[second]\\{}*third}" in text
    assert "\n{}[a] = 1 & " in text
