"""Reports that may be shared where scans may not be: without slices of test images."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmark import ROOT
from benchmark.report import build, receipts
from tests.unit.report_records import _examples, score, write_cell


def _cell(results: Path) -> Path:
    folder = write_cell(results, [score("A")])
    _examples(folder, 0.9, 0)
    return folder


def _files(report: Path) -> dict[str, bytes]:
    return {path.relative_to(report).as_posix(): path.read_bytes() for path in report.rglob("*") if path.is_file()}


def test_a_report_without_examples_is_the_same_whether_or_not_the_records_have_them(tmp_path: Path) -> None:
    examples = _cell(tmp_path) / "examples.npz"
    report = build("toy", tmp_path, examples=False)
    built = _files(report)
    page = built["index.html"].decode()
    assert "examples_phantom_2d" not in page
    assert not [name for name in built if "examples" in name]
    assert "python -m benchmark report toy --examples draws them" in page
    examples.unlink()
    assert receipts.outdated(tmp_path / "toy", report) == []
    assert _files(build("toy", tmp_path)) == built, "a later build keeps what the receipt says"


def test_examples_come_back_when_they_are_asked_for(tmp_path: Path) -> None:
    _cell(tmp_path)
    first = _files(build("toy", tmp_path))
    assert b'id="examples_phantom_2d"' in first["index.html"]
    assert b"Slices of test images are left out" not in first["index.html"]
    build("toy", tmp_path, examples=False)
    assert _files(build("toy", tmp_path, examples=True)) == first


def test_a_report_of_an_earlier_version_had_examples(tmp_path: Path) -> None:
    assert receipts.with_examples(tmp_path), "there is none"
    (tmp_path / receipts.FILE).write_text(json.dumps({"plan": "toy"}))
    assert receipts.with_examples(tmp_path)


def test_no_report_in_git_shows_slices_of_scans() -> None:
    """Rebuild such a report: python -m benchmark report <plan> --results results/reference --no-examples."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "results/reference"], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not in a git repository")
    names = [name for name in listed.stdout.split("\0") if name]
    assert not [name for name in names if Path(name).name.startswith("examples")]
    pages = [ROOT / name for name in names if name.endswith("index.html")]
    assert pages, "the kept reports have pages"
    assert not [str(page) for page in pages if 'id="examples_' in page.read_text()]


def test_the_caption_of_examples_names_the_rows_that_have_none(tmp_path: Path) -> None:
    _cell(tmp_path)
    write_cell(tmp_path, [score("A")], method="bcp")
    page = (build("toy", tmp_path) / "index.html").read_text()
    assert "No examples.npz lies beside the records of: bcp." in page
