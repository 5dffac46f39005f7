"""Minus signs and zeros, wherever numbers are printed for people."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark.report import build, numerals, render
from benchmark.report.numerals import fixed, probability, typeset, with_spread
from tests.unit.report_records import score, write_cell


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [(-0.04, "", "0.0"), (-0.04, "+", "+0.0"), (-0.06, "+", "−0.1"), (-12.34, "", "−12.3"), (0.06, "+", "+0.1")],
)
def test_numbers_are_rounded_before_they_are_signed(value: float, sign: str, text: str) -> None:
    assert fixed(value, 1, sign) == text


def test_a_minus_is_no_hyphen_in_text_and_a_sign_of_mathematics_in_latex() -> None:
    assert with_spread(-1.26, 0.2, sign="+") == "−1.3 ± 0.2"
    assert render.escape(with_spread(-1.26, 0.2)) == r"$-$1.3 $\pm$ 0.2"


def test_numbers_in_a_text_are_signed_and_names_keep_their_hyphens() -> None:
    assert typeset("-0.0 [-12.0, -0.04]\nto mask-mix-2") == "0.0 [−12.0, −0.04]\nto mask-mix-2"
    assert typeset("+0.1 [-0.00, 0.3]") == "+0.1 [0.00, 0.3]"


def test_p_is_printed_to_three_places() -> None:
    assert [probability(p) for p in (0.0004, 0.0124, 1.0, float("nan"))] == ["< .001", ".012", "1.000", "–"]


def test_no_table_prints_a_hyphen_or_a_negative_zero_for_a_minus(tmp_path: Path) -> None:
    # the method is worse, by what its seeds and patients do not agree on, and its label curve falls
    for seed in range(3):
        for ratio, gain in ((0.1, -0.0004), (0.2, -0.05)):
            for role, method, more in (("lower", "supervised", 0.0), ("method", "cps", gain)):
                wobble = 0.01 * (seed - 1) * (role == "method")
                rows = [
                    score(f"p{i}", dice=0.5 + 0.03 * i * seed + wobble + more, selection=selection)
                    for i in range(4)
                    for selection in ("last", "oracle")
                ]
                write_cell(tmp_path, rows, method=method, role=role, ratio=ratio, seed=seed)
    report = build("toy", tmp_path)
    cells = [line for line in (report / "table.md").read_text().splitlines() if line.startswith("| ")]
    told = " ".join(cells).replace("---:", "").replace("---", "")
    assert numerals.MINUS in told
    assert re.findall(r"(?<![\w)])-\.?\d", told) == []
    assert not re.search(rf"[-{numerals.MINUS}]0(\.0+)?(?![\d.])", told)
    latex = "".join(path.read_text() for path in (report / "tables").glob("*.tex"))
    assert "$-$" in latex
    assert all(ord(sign) < 128 for sign in (report / "verdicts.csv").read_text())
