"""Two runs of one cell are compared row by row."""

from pathlib import Path

from benchmark.record import Record
from benchmark.verify import _made_otherwise, compare

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


def test_what_the_runs_did_not_have_in_common_is_named() -> None:
    def record(**receipt: object) -> Record:
        return Record(id="x", cell={}, status="finished", receipt=receipt)

    before = record(tree="a", versions={"torch": "2.13"}, hardware={"cpu": "one"}, precision="float32")
    assert _made_otherwise(before, before) == ""
    after = record(tree="b", versions={"torch": "2.13"}, hardware={"cpu": "one"}, precision="bfloat16")
    assert _made_otherwise(before, after) == "; the record was made with other code, precision"


def test_other_cases_cannot_be_compared(tmp_path: Path) -> None:
    old = _folder(tmp_path, "old", "last,a,LV,0.5,2.0\n")
    new = _folder(tmp_path, "new", "last,b,LV,0.5,2.0\n")
    found = compare("x", old, new)
    assert "different cases" in found.why
    assert not found.identical
