"""What a report refuses to build, and what it says to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.report import build, frame, stale
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


def test_methods_on_different_files_do_not_compare(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], method="cps")
    _edit(write_cell(tmp_path, [score("A")], method="dan"), "receipt", data="another")
    assert "cells of phantom_2d were made with different files" in _refused(tmp_path)


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
