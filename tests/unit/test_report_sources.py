"""Every printed number leads to its per-case files, and a report knows when it is no longer true."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import record
from benchmark.report import build, receipts, render
from benchmark.report.tables import Column, Number, Row, Table
from tests.unit.report_records import demo, score, write_cell


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    demo(results)
    return build("toy", results)


def _numbers(report: Path) -> list[dict[str, str]]:
    with (report / "numbers.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _per_case(report: Path, cells: str, case: str = "last") -> Iterator[dict[str, str]]:
    for name in cells.split():
        with (report.parent / name / "scores.csv").open(newline="") as file:
            yield from (row for row in csv.DictReader(file) if row["selection"] == case)


# From a number to its cases ------------------------------------------------------------------------------------------
def test_every_number_leads_to_cells_by_itself_or_through_others(report: Path) -> None:
    rows = _numbers(report)
    assert [int(row["number"]) for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        if re.search(r"\d", row["text"]):
            behind = [row, *(rows[int(number) - 1] for number in row["numbers"].split())]
            cells = {name for each in behind for name in each["cells"].split()}
            assert cells, row
            assert all((report.parent / name / "record.json").is_file() for name in cells)


def test_a_verdict_names_the_cells_of_both_and_a_rank_the_dice_of_its_column(report: Path) -> None:
    rows = _numbers(report)

    def find(table: str, label: str, column: str) -> dict[str, str]:
        return next(
            r for r in rows if (r["table"], r["row"], r["group"], r["column"]) == (table, label, "phantom_2d", column)
        )

    cells = find("verdicts-dice", "cps", "10%")["cells"].split()
    assert {name.split("-")[0] for name in cells} == {"cps", "supervised"}
    assert len(cells) == 6
    tau = find("stability", "resampled seeds and patients", "10%")
    behind = [rows[int(number) - 1] for number in tau["numbers"].split()]
    assert {(row["table"], row["group"], row["column"]) for row in behind} == {("main-phantom_2d", "10%", "Dice (%)")}


def test_a_printed_mean_follows_from_the_files_that_it_names(report: Path) -> None:
    (row,) = [
        row
        for row in _numbers(report)
        if (row["table"], row["row"], row["group"], row["column"]) == ("dice", "cps", "phantom_3d", "10%")
    ]
    # scans, then classes, then patients, then seeds; every patient has the same number of each, so that is one mean
    values = [float(case["dice"]) for case in _per_case(report, row["cells"])]
    assert len(values) == 3 * 8 * 2 * 3
    assert row["text"].startswith(f"{100 * sum(values) / len(values):.1f} ± ")


def test_a_row_of_latex_and_a_table_of_markdown_say_which_numbers_they_hold(report: Path) -> None:
    rows = _numbers(report)
    lines = (report / "tables" / "hd95.tex").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("cps ")]
    first, last = map(int, re.search(r"% numbers (\d+) to (\d+) of numbers.csv", line).groups())  # type: ignore[union-attr]
    named = rows[first - 1 : last]
    assert {(row["table"], row["row"]) for row in named} == {("hd95", "cps")}
    for row in named:
        assert render.escape(row["text"]) in line
    markdown = (report / "table.md").read_text()
    by_class = "".join(path.read_text() for path in (report / "tables").glob("*.md"))
    places = re.findall(r"numbers (\d+) to (\d+) of numbers.csv", markdown + by_class)
    held = sorted(range_ for first, last in places for range_ in range(int(first), int(last) + 1))
    assert held == list(range(1, len(rows) + 1))


def test_a_number_can_be_had_by_name_and_an_unknown_one_does_not_compile(report: Path) -> None:
    text = (report / "numbers.tex").read_text()
    (row,) = [
        row
        for row in _numbers(report)
        if (row["table"], row["row"], row["group"], row["column"]) == ("dice", "dan", "phantom_2d", "5%")
    ]
    name = "scant@toy/dice/dan-dense-labels/phantom_2d/5pc"
    plain = row["text"].rstrip("†‡≈")
    assert rf"\csname {name}\endcsname{{{render.escape(plain)}}}%" in text
    assert r"\errmessage" in text


def test_numbers_by_name_are_plain_text_of_one_plan_and_add_no_space(report: Path) -> None:
    first, *lines = (report / "numbers.tex").read_text().splitlines()
    assert first.startswith("% ")
    assert all(line.endswith("%") for line in lines), "or a paper gets a space for each"
    assert lines[0].startswith(r"\providecommand{\scant}"), "several plans may be read in"
    assert all(line.startswith(r"\expandafter\def\csname scant@toy/") for line in lines[1:])
    for sign in ("textbf", "shortstack", "oracle}", "dagger", "approx", "-0.0"):
        assert not any(sign in line.split(r"\endcsname")[1] for line in lines[1:]), sign


def test_a_verdict_has_a_macro_for_each_of_its_parts() -> None:
    parts = (("difference", "−1.2"), ("interval", "[−2.0, 0.1]"), ("p", "p = .012"), ("verdict", "better"))
    number = Number("−1.2 [−2.0, 0.1]\np = .012, better", ("a",), parts=parts)
    table = Table("v", "Title", (Column("d", "5%"),), (Row("m", "method", (number,)),), ())
    lines = render.macros([table], plan="p").splitlines()[2:]
    assert lines == [
        r"\expandafter\def\csname scant@p/v/m/d/5pc/difference\endcsname{$-$1.2}%",
        r"\expandafter\def\csname scant@p/v/m/d/5pc/interval\endcsname{[$-$2.0, 0.1]}%",
        r"\expandafter\def\csname scant@p/v/m/d/5pc/p\endcsname{p = .012}%",
        r"\expandafter\def\csname scant@p/v/m/d/5pc/verdict\endcsname{better}%",
    ]


def test_classes_lie_beside_the_other_tables_with_seeds_and_patients(report: Path) -> None:
    for suffix in ("md", "tex"):
        text = (report / "tables" / f"classes-dice-phantom_2d.{suffix}").read_text()
        assert "n = 3, on 8 test patients" in text
        assert "cps" in text
        assert "classes-dice" not in (report / "table.tex").read_text(), "which is long enough"
    assert "n = 3, on 8 test patients" in (report / "index.html").read_text().split("of every class</caption>")[1]
    (row,) = [
        r
        for r in _numbers(report)
        if (r["table"], r["row"], r["group"], r["column"])
        == ("classes-dice-phantom_2d", "cps", "10%", "left ventricle")
    ]
    values = [float(c["dice"]) for c in _per_case(report, row["cells"]) if c["class"] == "left ventricle"]
    assert row["text"].startswith(f"{100 * sum(values) / len(values):.1f} ± ")


def test_the_protocol_is_written_out_below_one_float_and_referred_to_by_the_others() -> None:
    shared = ("Protocol: Nobody's.",)
    tables = [
        Table(key, "Title", (Column("d", "5%"),), (Row("m", "method", (Number("1"),)),), ("Note.",), shared)
        for key in ("main-d", "cost")
    ]
    first, second = render.latex(tables, plan="p").values()
    caption, below = first.split(r"\end{tabular}")
    assert (caption.count("Nobody"), below.count("Protocol: Nobody's.")) == (0, 1)
    assert "Nobody" not in second
    assert r"Protocol: see Table~\ref{tab:p-main-d}." in second


def test_winners_are_bold_and_the_oracle_is_watermarked_wherever_it_is_printed() -> None:
    numbers = (Number("80.0†", ("a",), 0.8, "winner"), Number("90.0 (+1.0)", ("a",), 1.0, "oracle"))
    table = Table("t", "Title", (Column("d", "5%"), Column("d", "10%")), (Row("m", "method", numbers),), ())
    markdown = render.markdown([table], title="x", state="y")
    assert "| m | **80.0†** | _90.0 (+1.0)_ (oracle) |" in markdown
    latex = render.latex([table], plan="p")["t"]
    assert r"{\boldmath\textbf{80.0$^\dagger$}} & \textit{90.0 (+1.0)}\textsuperscript{oracle}" in latex


def test_the_oracle_is_never_bold(report: Path) -> None:
    text = (report / "tables" / "selection-oracle.tex").read_text()
    assert r"\textbf" not in text
    assert text.count(r"\textsuperscript{oracle}") >= 20
    page = (report / "index.html").read_text()
    section = page[page.index('id="table-selection-oracle"') :]
    assert "<strong>" not in section[: section.index("</table>")]


# Receipts ------------------------------------------------------------------------------------------------------------
def test_the_receipt_has_the_digest_of_every_record_and_of_every_file_of_the_report(report: Path) -> None:
    found = json.loads((report / receipts.FILE).read_text())
    assert len(found["cells"]) == 66
    for name, cell in found["cells"].items():
        assert cell["record"] == record.digest((report.parent / name / "record.json").read_bytes())
        if cell["status"] == "finished":
            assert cell["scores"] == record.digest((report.parent / name / "scores.csv").read_bytes())
    there = {path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file()}
    assert set(found["files"]) == there - {receipts.FILE}


def test_the_receipt_of_a_table_says_what_its_cells_were_made_with(report: Path) -> None:
    found = json.loads((report / receipts.FILE).read_text())
    table = found["tables"]["dice"]
    assert table["cells"] == 65, "one failed"
    assert (table["commit"], table["seeds"]) == (["0123456789abcdef"], [0, 1, 2])
    assert table["data"] == [["phantom_2d", "5ca1ab1e"], ["phantom_3d", "5ca1ab1e"]]
    assert table["made_under"] == [{"protocol": "1", "metrics": "1", "data": "1"}]
    assert found["tables"]["main-phantom_2d"]["cells"] == 33
    assert table["content"] != found["tables"]["main-phantom_2d"]["content"]
    first, last = table["numbers"]
    assert {row["table"] for row in _numbers(report)[first - 1 : last]} == {"dice"}


def test_the_receipt_says_which_shapes_and_weights_cells_read_beside_their_data(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, [score("A")])
    path = folder / "record.json"
    found = json.loads(path.read_text())
    found["receipt"] |= {"shapes_data": "1e4de4", "weights": "0fa11"}
    path.write_text(json.dumps(found))
    found = json.loads((build("toy", tmp_path) / receipts.FILE).read_text())
    assert {"shapes_data": "1e4de4", "weights": "0fa11"}.items() <= found["cells"][folder.name].items()
    assert found["tables"]["main-phantom_2d"]["data"] == [
        ["phantom_2d", "5ca1ab1e", "shapes_data 1e4de4", "weights 0fa11"]
    ]


def test_the_runs_that_trackers_know_a_cell_by_are_in_its_receipt(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, [score("A")])
    (folder / "tracked.json").write_text(json.dumps({"sqlite:///mlflow.db": {"run_id": "abc123", "rows": 4}}))
    found = json.loads((build("toy", tmp_path) / receipts.FILE).read_text())
    assert found["cells"][folder.name]["runs"] == {"sqlite:///mlflow.db": "abc123"}


def test_a_report_knows_what_has_changed_since_it_was_built(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, [score("A")])
    report = build("toy", tmp_path)
    assert receipts.outdated(tmp_path / "toy", report) == []
    (report / "table.md").write_text("a better number")
    new = write_cell(tmp_path, [score("A")], seed=1)
    write_cell(tmp_path, [score("A", dice=0.9)])
    assert receipts.outdated(tmp_path / "toy", report) == [
        f"{new.name}: a new record",
        f"{folder.name}: record.json is no longer the one that was reported",
        f"{folder.name}: scores.csv is no longer the one that was reported",
        "table.md is no longer the file that was built",
    ]


def test_a_report_of_other_code_is_outdated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cell(tmp_path, [score("A")])
    report = build("toy", tmp_path)
    monkeypatch.setattr(receipts, "built_by", lambda: "another")
    assert receipts.outdated(tmp_path / "toy", report) == ["the code that makes tables of records has changed"]


@pytest.mark.parametrize("suffix", [".py", ".yaml", ".css", ".js"])
def test_a_changed_file_of_the_code_or_of_published_numbers_is_noticed(
    suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, read = receipts.built_by(), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"\n" if path.suffix == suffix else b""))
    assert receipts.built_by() != before


def test_a_folder_without_a_receipt_is_no_report(tmp_path: Path) -> None:
    (sentence,) = receipts.outdated(tmp_path / "toy", tmp_path)
    assert "has no readable receipt.json" in sentence


def test_tables_that_are_no_longer_made_do_not_stay(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], dataset="one")
    report = build("toy", tmp_path)
    assert (report / "tables" / "main-one.tex").is_file()
    write_cell(tmp_path, [score("A")], dataset="two")
    build("toy", tmp_path)
    assert (report / "tables" / "dice.tex").is_file()
    (report / "tables" / "main-three.tex").write_text("of an earlier plan")
    build("toy", tmp_path)
    assert not (report / "tables" / "main-three.tex").exists()
