"""What every table of a dataset must say, such as that the left atrium's scans are cropped around the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

import datasets
from benchmark.report import build, frame
from benchmark.report.caveats import caveats
from benchmark.report.render import escape
from tests.unit.report_records import score, write_cell


def test_caveats_are_those_of_the_datasets_with_a_record(tmp_path: Path) -> None:
    for dataset in ("phantom_3d", "la", "a dataset of another version"):
        write_cell(tmp_path, [score("a")], dataset=dataset)
    assert caveats(frame.load(tmp_path / "toy")) == (f"la: {datasets.get('la').card.caveat}",)


def test_a_caveat_of_an_option_is_said_where_the_option_is_set(tmp_path: Path) -> None:
    for seed, split in enumerate(("by_video", "by_frame")):
        write_cell(tmp_path / split, [score("a")], dataset="endovis17", seed=seed, options={"split": split})
    assert caveats(frame.load(tmp_path / "by_video" / "toy")) == ()
    (said,) = caveats(frame.load(tmp_path / "by_frame" / "toy"))
    assert said.startswith("endovis17: split by frame")


@pytest.mark.slow
def test_every_table_of_the_left_atrium_says_that_its_crops_follow_the_ground_truth(tmp_path: Path) -> None:
    """In Markdown and on the page under all tables, in LaTeX under each float of its means and verdicts."""
    for seed in range(2):
        for method, role in (("supervised", "lower"), ("ua_mt", "method")):
            write_cell(tmp_path, [score("a"), score("b")], dataset="la", method=method, role=role, seed=seed)
    caveat = datasets.get("la").card.caveat
    assert "cropped to the ground truth" in caveat
    report = build("toy", tmp_path)
    assert f"- la: {caveat}" in (report / "table.md").read_text()
    assert f"<li>la: {caveat}</li>".replace("'", "&#x27;") in (report / "index.html").read_text()
    told = {path: path.read_text() for path in (report / "tables").glob("*.tex")}
    assert {path.stem for path, text in told.items() if f"la: {escape(caveat)}" in text} == {
        "main-la", "verdicts-dice", "verdicts-hd95",
    }  # fmt: skip
