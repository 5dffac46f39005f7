"""What a report refuses to build, and what it says to do about it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark import receipt
from benchmark.report import build, footnotes, frame, receipts, stale
from tests.unit.report_records import score, write_cell
from tests.unit.test_report_frame import _cell, _Plan


def _edit(folder: Path, part: str, **values: Any) -> None:
    """Change what a record says, as an older version or another checkout would have written it."""
    path = folder / "record.json"
    content = json.loads(path.read_text())
    content[part] |= values
    path.write_text(json.dumps(content))


def _refused(results: Path, plan: Any = None, **options: Any) -> str:
    with pytest.raises(frame.ReportError) as caught:
        build("toy", results, plan=plan, **options)
    return str(caught.value)


def test_records_of_another_metric_version_share_no_table_with_this_one(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], seed=0)
    old = write_cell(tmp_path, [score("A")], seed=1)
    _edit(old, "cell", versions={"protocol": "1", "metrics": "0", "data": "1"})
    text = _refused(tmp_path)
    assert f"1 cell ({old.name}) was made under protocol 1, metrics 0, this checkout has protocol 1, metrics 1" in text
    assert "python -m benchmark run toy" in text
    assert "commit 0123456789ab" in text


def test_a_changed_file_of_scores_is_named_with_what_to_do(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, [score("A", dice=0.5)])
    path = folder / "scores.csv"
    path.write_text(path.read_text().replace("0.5,", "0.9,"))
    text = _refused(tmp_path)
    assert text.startswith(f"{path} is not the file that its record describes")
    assert "delete the folder of this cell and run the plan again" in text


def test_records_without_a_digest_of_their_scores_are_reported(tmp_path: Path) -> None:
    # as written before digests existed
    folder = write_cell(tmp_path, [score("A")])
    content = json.loads((folder / "record.json").read_text())
    del content["receipt"]["scores"]
    (folder / "record.json").write_text(json.dumps(content))
    assert (build("toy", tmp_path) / "index.html").is_file()


def test_seeds_of_two_versions_of_a_method_have_no_mean(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], seed=0)
    _edit(write_cell(tmp_path, [score("A")], seed=1), "receipt", source="changed")
    text = _refused(tmp_path)
    assert "seeds of cps on phantom_2d at 10% were made with different versions of its file" in text
    assert "python -m benchmark run toy --redo-stale" in text


def test_advice_has_the_plan_as_the_command_line_had_it(tmp_path: Path) -> None:
    assert _refused(tmp_path, called="my/toy.yaml").endswith("Run it first: python -m benchmark run my/toy.yaml")
    write_cell(tmp_path, [score("A")], seed=0)
    other = write_cell(tmp_path, [score("A")], seed=1)
    _edit(other, "receipt", source="changed")
    assert "python -m benchmark run my/toy.yaml --redo-stale computes" in _refused(tmp_path, called="my/toy.yaml")
    _edit(other, "receipt", source="", data="another")
    text = _refused(tmp_path, called="my/toy.yaml")
    assert "python -m benchmark plan my/toy.yaml names" in text
    assert "python -m benchmark run my/toy.yaml --redo-stale computes" in text
    _edit(other, "cell", versions={"protocol": "0", "metrics": "1", "data": "1"})
    assert "(python -m benchmark run my/toy.yaml)" in _refused(tmp_path, called="my/toy.yaml")
    plan = _Plan((_cell(other.name.replace("s1", "s2"), seed=1),))
    assert "(python -m benchmark run my/toy.yaml)" in _refused(tmp_path, plan, called="my/toy.yaml")


def test_methods_on_different_files_do_not_compare(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], method="cps")
    _edit(write_cell(tmp_path, [score("A")], method="dan"), "receipt", data="another")
    assert "cells of phantom_2d were made with different files" in _refused(tmp_path)


@pytest.mark.parametrize(
    ("key", "words"), [("shapes_data", "files that lend shapes"), ("weights", "pre-trained weights")]
)
def test_cells_that_read_different_files_beside_their_data_do_not_compare(tmp_path: Path, key: str, words: str) -> None:
    def write(seed: int, **known: str) -> None:
        folder = write_cell(tmp_path, [score("A")], seed=seed)
        _edit(folder, "cell", shapes="mscmr", training={"network": "encoder:toy@pretrained", "width": 4})
        _edit(folder, "receipt", **known)

    write(0, **{key: "of before"})
    write(1)  # made before receipts knew this
    assert (build("toy", tmp_path) / "index.html").is_file()
    write(2, **{key: "of now"})
    assert f"cells of phantom_2d were made with different {words}: " in _refused(tmp_path)


def test_methods_on_different_splits_do_not_compare(tmp_path: Path) -> None:
    # two seeds may have two splits; two methods of one seed may not
    write_cell(tmp_path, [score("A")], method="cps", seed=0)
    _edit(write_cell(tmp_path, [score("A")], method="cps", seed=1), "receipt", split="of seed 1")
    _edit(write_cell(tmp_path, [score("A")], method="dan", role="upper", ratio=1.0), "receipt", split="of the bound")
    _edit(write_cell(tmp_path, [score("A")], method="pce", annotation="scribble"), "receipt", split="of the scribbled")
    assert (build("toy", tmp_path) / "index.html").is_file()
    _edit(write_cell(tmp_path, [score("A")], method="bcp", seed=0), "receipt", split="another")
    assert "cells of phantom_2d were made with different splits" in _refused(tmp_path)


def test_gaps_where_an_older_version_has_records_are_refused_unless_asked_for(tmp_path: Path) -> None:
    done = write_cell(tmp_path, [score("A")], seed=0)
    old = write_cell(tmp_path, [score("A")], seed=1)
    _edit(old, "cell", versions={"protocol": "0", "metrics": "1", "data": "1"})
    plan = _Plan((_cell(done.name), _cell("cps-of-the-new-version", seed=1)))
    text = _refused(tmp_path, plan)
    assert f"1 cell ({old.name}) was made under protocol 0" in text
    assert "--leave-out-stale" in text
    folder = build("toy", tmp_path, plan=plan, leave_out_stale=True)  # type: ignore[arg-type]
    assert "1 of 2 cells finished; 1 missing." in (folder / "table.md").read_text()


def test_a_cell_that_was_repeated_under_this_version_lets_the_old_one_lie(tmp_path: Path) -> None:
    done = write_cell(tmp_path, [score("A")], seed=0)
    old = write_cell(tmp_path, [score("A")], seed=1, hyper={"weight": 1})
    _edit(old, "cell", versions={"protocol": "0", "metrics": "1", "data": "1"})
    again = write_cell(tmp_path, [score("A")], seed=1)
    plan: Any = _Plan((_cell(done.name), _cell(again.name, seed=1)))
    assert stale.refuse(frame.load(tmp_path / "toy", plan), tmp_path / "toy").strays == (old.name,)


# Methods whose file has changed since ---------------------------------------------------------------------------------
AGAIN = "python -m benchmark run toy --redo-stale computes them again."


def _texts(report: Path) -> tuple[str, str]:
    return (report / "table.md").read_text(), (report / "index.html").read_text().replace("&#x27;", "'")


def test_rows_of_an_older_file_of_their_method_are_named_below_the_tables(tmp_path: Path) -> None:
    for seed in range(2):
        _edit(write_cell(tmp_path, [score("A")], method="cps", seed=seed), "receipt", source="of yesterday")
        write_cell(tmp_path, [score("A")], method="bcp", seed=seed)
    told: list[str] = []
    report = build("toy", tmp_path, say=told.append)
    (sentence,) = told
    assert sentence == (
        "phantom_2d: 2 of 4 finished cells were computed by another version of their method's file than the present "
        f"one, those of cps (10%); {AGAIN}"
    )
    for text in _texts(report):
        assert text.count(sentence.replace("phantom_2d", "Procedural short-axis hearts")) == 1
    latex = (report / "tables" / "main-phantom_2d.tex").read_text()
    assert r"those of cps (10\%); python -m benchmark run toy --redo-stale" in latex


def test_a_report_whose_rows_are_all_stale_is_built_and_says_so(tmp_path: Path) -> None:
    _edit(write_cell(tmp_path, [score("A")]), "receipt", source="of yesterday")
    text, page = _texts(build("toy", tmp_path, called="my/toy.yaml"))
    said = (
        "Procedural short-axis hearts: 1 of 1 finished cells was computed by another version of its method's file than "
        "the present one, that of all rows; python -m benchmark run my/toy.yaml --redo-stale computes it again."
    )
    assert said in text
    assert said in page


def test_a_note_on_stale_cells_stands_below_tables_of_their_dataset_only(tmp_path: Path) -> None:
    _edit(write_cell(tmp_path, [score("A")], dataset="phantom_3d"), "receipt", source="of yesterday")
    write_cell(tmp_path, [score("A")], dataset="phantom_2d")
    loaded = frame.load(tmp_path / "toy")
    loaded = replace(loaded, stale=stale.cells(loaded))
    for dataset, said in (("phantom_2d", False), ("phantom_3d", True)):
        assert any("--redo-stale" in note for note in footnotes.everywhere(loaded, {dataset})) == said


def test_nothing_is_said_of_a_version_that_nobody_knows_or_that_is_the_present_one(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], method="cps")
    _edit(write_cell(tmp_path, [score("A")], method="bcp"), "receipt", source="")
    _edit(write_cell(tmp_path, [score("A")], method="gone"), "receipt", source="of a method that is gone")
    _edit(write_cell(tmp_path, method="dan", status="failed", reason="NaN"), "receipt", source="of yesterday")
    told: list[str] = []
    text, page = _texts(build("toy", tmp_path, say=told.append))
    assert told == []
    assert "another version of" not in text + page


def test_a_report_is_outdated_once_a_method_is_edited_and_again_when_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the records stay what they are, but what is to be said of them is not
    write_cell(tmp_path, [score("A")], method="cps")
    write_cell(tmp_path, [score("A")], method="bcp")
    report = build("toy", tmp_path)
    built = _texts(report)
    assert receipts.outdated(tmp_path / "toy", report) == []
    before = ["the file of cps has changed: its cells are stale now, or no longer"]
    source = receipt.source
    with monkeypatch.context() as edited:
        edited.setattr("benchmark.receipt.source", lambda name: "edited" if name == "cps" else source(name))
        assert receipts.outdated(tmp_path / "toy", report) == before
        assert _texts(build("toy", tmp_path)) != built
        assert receipts.outdated(tmp_path / "toy", report) == []
    assert receipts.outdated(tmp_path / "toy", report) == before
    assert _texts(build("toy", tmp_path)) == built


def test_a_report_of_a_version_that_did_not_ask_is_not_outdated_by_it(tmp_path: Path) -> None:
    _edit(write_cell(tmp_path, [score("A")]), "receipt", source="of yesterday")
    path = build("toy", tmp_path) / receipts.FILE
    content = json.loads(path.read_text())
    del content["stale"]
    path.write_text(json.dumps(content))
    assert receipts.outdated(tmp_path / "toy", path.parent) == []


# A report of nothing over one of something ----------------------------------------------------------------------------
def test_a_report_of_finished_cells_is_not_lost_to_one_without_any(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")])
    report = build("toy", tmp_path)
    files = {path: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    changed = _Plan((_cell("cps-of-other-settings"),))
    text = _refused(tmp_path, changed, called="my/toy.yaml")
    assert text == (
        f"no cell of plan toy as it is now has finished, and {report} holds a report of 1 finished cell, which would "
        "be lost: nothing was written. Run the plan first (python -m benchmark run my/toy.yaml), or choose another "
        "folder of results (--results)."
    )
    assert {path: path.read_bytes() for path in report.rglob("*") if path.is_file()} == files


def test_a_report_of_nothing_may_be_the_first_and_may_be_built_again(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")])  # of other settings
    plan: Any = _Plan((_cell("cps-of-other-settings"),))
    for _ in range(2):
        text = (build("toy", tmp_path, plan=plan) / "table.md").read_text()
        assert "No cell has finished yet" in text
        assert "Mean of one seed" not in text
        assert "No mean yet: no seed is complete, of 1 planned." in text
