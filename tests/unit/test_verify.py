"""Two runs of one cell are compared row by row, where the second is of the same method and data."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark import receipt, verify
from benchmark.prepare import open_dataset
from benchmark.record import Record, write
from benchmark.run import describe
from benchmark.verify import Agreement, _made_otherwise, compare
from datasets.contents import manifest_of
from tests.unit.report_records import score

from .tiny_cells import places_in, tiny_cell

HEAD = "selection,case,class,dice,hd95\n"


def _folder(root: Path, name: str, rows: str) -> Path:
    (root / name).mkdir()
    (root / name / "scores.csv").write_text(HEAD + rows)
    return root / name


def test_equal_files_are_identical(tmp_path: Path) -> None:
    rows = "last,a,LV,0.5,2.0\n"
    assert compare("x", _folder(tmp_path, "old", rows), _folder(tmp_path, "new", rows)).identical


def test_a_different_dice_is_measured_and_named(tmp_path: Path) -> None:
    old = _folder(tmp_path, "old", "last,a,LV,0.5,2.0\nlast,b,LV,0.75,2.0\n")
    new = _folder(tmp_path, "new", "last,a,LV,0.5,2.0\nlast,b,LV,0.5,2.0\n")
    found = compare("x", old, new)
    # 0.75 - 0.5, exact in binary
    assert (found.identical, found.largest) == (False, 0.25)
    assert found.why == "differs in dice; Dice by at most 0.25"


def test_a_class_that_is_nowhere_does_not_hide_how_far_the_others_differ(tmp_path: Path) -> None:
    old = _folder(tmp_path, "old", "last,a,LV,nan,nan\nlast,b,LV,0.75,2.0\n")
    new = _folder(tmp_path, "new", "last,a,LV,nan,nan\nlast,b,LV,0.5,2.0\n")
    assert compare("x", old, new).largest == 0.25


def test_a_row_that_is_empty_in_one_run_only_is_a_change_of_unknown_size(tmp_path: Path) -> None:
    old = _folder(tmp_path, "old", "last,a,LV,nan,nan\nlast,b,LV,0.75,2.0\n")
    new = _folder(tmp_path, "new", "last,a,LV,0.0,90.0\nlast,b,LV,0.75,2.0\n")
    found = compare("x", old, new)
    assert found.largest != found.largest
    assert found.why.endswith(
        "Dice by at most 0 where both have one, and 1 rows are empty in both maps in one of the two only"
    )


def test_selections_that_only_the_later_run_scores_are_not_compared(tmp_path: Path) -> None:
    old = _folder(tmp_path, "old", "last,a,LV,0.5,2.0\n")
    new = _folder(tmp_path, "new", "last,a,LV,0.5,2.0\nlast_largest,a,LV,0.75,2.0\n")
    assert compare("x", old, new).identical
    assert "different cases" in compare("x", new, old).why


def test_what_the_runs_did_not_have_in_common_is_named() -> None:
    def record(**receipt: object) -> Record:
        return Record(id="x", cell={}, status="finished", receipt=receipt)

    before = record(tree="a", versions={"torch": "2.13"}, hardware={"cpu": "one"}, precision="float32")
    assert _made_otherwise(before, before) == ""
    after = record(tree="b", versions={"torch": "2.13"}, hardware={"cpu": "one"}, precision="bfloat16")
    assert _made_otherwise(before, after) == "; the record was made with other code, precision"
    flagged = record(
        tree="a", versions={"torch": "2.13"}, hardware={"cpu": "one", "flags": ["avx2"]}, precision="float32"
    )
    assert _made_otherwise(before, flagged) == "", "an earlier version recorded no flags"
    assert _made_otherwise(
        flagged, replace(flagged, receipt=flagged.receipt | {"hardware": {"cpu": "one", "flags": []}})
    )


def test_a_run_that_failed_chose_no_precision_and_is_told_apart_by_none() -> None:
    before, after = ({"tree": "a", "precision": precision} for precision in ("bfloat16", "float32"))
    finished, failed = Record("x", {}, "finished", receipt=before), Record("x", {}, "failed", receipt=after)
    assert _made_otherwise(finished, failed) == ""
    assert _made_otherwise(finished, replace(failed, receipt=after | {"tree": "b"})).endswith("made with other code")


def _finished(root: Path) -> dict[str, Any]:
    """The receipt of a finished cell as it is now, and its scores; nothing was trained."""
    cell, places = tiny_cell(), places_in(root)
    now = {"source": receipt.source(cell.method), "data": manifest_of(open_dataset(cell, places), places.cache)}
    write(places.folder(cell), Record(cell.id, describe(cell), "finished", receipt=dict(now)), [score("A")])
    return now


def _verified(root: Path, called: str = "") -> Agreement:
    (found,) = verify.verify([tiny_cell()], places_in(root), count=1, called=called, say=lambda line: None)
    return found


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"data": "another"}, "the files of phantom_2d changed since it ran"),
        ({"source": "another"}, "the file of supervised changed since it ran"),
    ],
)
def test_a_cell_of_other_data_or_another_method_is_told_and_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], why: str
) -> None:
    monkeypatch.setattr(verify, "run_cell", None)  # calling it would be an error
    cell, places = tiny_cell(), places_in(tmp_path)
    now = _finished(tmp_path)
    write(places.folder(cell), Record(cell.id, describe(cell), "finished", receipt=now | changed), [score("A")])
    found = _verified(tmp_path)
    assert not found.identical
    assert found.why == f"not run again: {why}; python -m benchmark run tiny --redo-stale makes a new record"
    said = _verified(tmp_path, "my/tiny.yaml").why
    assert said == f"not run again: {why}; python -m benchmark run my/tiny.yaml --redo-stale makes a new record"


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (Path.unlink, "is missing"),
        (lambda path: path.write_text(HEAD), "is not the file that its record describes"),
    ],
)
def test_scores_that_are_missing_or_changed_are_told_and_the_cell_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], Any], what: str
) -> None:
    monkeypatch.setattr(verify, "run_cell", None)
    _finished(tmp_path)
    path = places_in(tmp_path).folder(tiny_cell()) / "scores.csv"
    damage(path)
    found = _verified(tmp_path)
    assert not found.identical
    assert found.why.startswith(f"not run again: {path} {what}; restore it, or delete the folder of this cell")


def test_a_cell_that_fails_when_it_is_run_again_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _finished(tmp_path)
    failed = Record("x", {}, "failed", "ValueError: no such thing")
    monkeypatch.setattr(verify, "run_cell", lambda *_: failed)
    assert _verified(tmp_path).why.startswith("failed when it was run again: ValueError: no such thing")


def test_other_cases_cannot_be_compared(tmp_path: Path) -> None:
    old = _folder(tmp_path, "old", "last,a,LV,0.5,2.0\n")
    new = _folder(tmp_path, "new", "last,b,LV,0.5,2.0\n")
    found = compare("x", old, new)
    assert "different cases" in found.why
    assert not found.identical
