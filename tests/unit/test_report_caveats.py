"""What every table of a dataset must say, such as that the left atrium's scans are cropped around the truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import datasets
from benchmark.report import build, footnotes, frame, naming
from benchmark.report.caveats import caveats, mixed_code
from benchmark.report.conditions import between_rows
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


def test_a_caveat_stands_under_the_dataset_as_tables_call_it(tmp_path: Path) -> None:
    for seed, split in enumerate(("by_video", "by_frame")):
        write_cell(tmp_path, [score("a")], dataset="endovis17", seed=seed, options={"split": split})
    loaded = frame.load(tmp_path / "toy")
    assert caveats(loaded, {"endovis17 [split=by_video]"}) == ()
    (said,) = caveats(loaded, {"endovis17 [split=by_frame]"})
    assert said.startswith("endovis17: split by frame")


def test_no_table_goes_without_protocol_extra_labels_caveats_and_mixed_code(tmp_path: Path) -> None:
    note = "uses extra dense labels: 7 of 72 labelled groups lend shapes and are not trained on"
    for seed in range(2):
        write_cell(tmp_path, [score("a")], dataset="la", seed=seed, receipt={"tree": f"version {seed}"}, notes=[note])
    write_cell(tmp_path, [score("a")], dataset="phantom_3d")
    loaded = replace(frame.load(tmp_path / "toy"), protocol="Nobody's.")
    assert footnotes.everywhere(loaded, {"la"}) == (
        "Protocol: Nobody's.", f"cps on la {note}.", *caveats(loaded), *mixed_code(loaded),
    )  # fmt: skip
    assert footnotes.everywhere(loaded, {"phantom_3d"}) == ("Protocol: Nobody's.",)


def test_rows_whose_seeds_ran_under_different_shared_code_are_named_in_one_sentence(tmp_path: Path) -> None:
    for seed in range(2):
        for method in ("a", "b", "c"):
            for ratio in (0.1, 0.2):
                # c and the smaller amount of b are of one version
                changed = seed and (method == "a" or (method, ratio) == ("b", 0.2))
                receipt = {"tree": "new" if changed else "old"}
                write_cell(tmp_path, [score("p")], method=method, ratio=ratio, seed=seed, receipt=receipt)
    write_cell(tmp_path, method="c", seed=2, status="failed", receipt={"tree": "new"})
    assert mixed_code(frame.load(tmp_path / "toy")) == (
        "phantom_2d: the seeds of a (10%, 20%); b (20%) ran under different versions of the shared code, of which "
        "every file counts, also one that these numbers do not depend on; receipt.json and each record.json name them "
        "(tree).",
    )


@pytest.mark.parametrize(("unmixed", "words"), [(0, "all rows"), (1, "m3 (10%); m4 (10%); m5 (10%) and 2 more rows")])
def test_many_rows_of_mixed_code_are_counted(unmixed: int, words: str, tmp_path: Path) -> None:
    for number in range(8 + unmixed):
        for seed in range(2):
            tree = "new" if seed and number < 8 else "old"
            write_cell(tmp_path, [score("p")], method=f"m{number}", seed=seed, receipt={"tree": tree})
    (said,) = mixed_code(frame.load(tmp_path / "toy"))
    assert f"{words} ran under" in said


def test_records_before_there_was_a_hash_of_the_code_are_of_one_version(tmp_path: Path) -> None:
    for seed in range(2):
        write_cell(tmp_path, [score("p")], seed=seed)
    assert mixed_code(frame.load(tmp_path / "toy")) == ()
    write_cell(tmp_path, [score("p")], seed=2, receipt={"tree": "first"})
    assert len(mixed_code(frame.load(tmp_path / "toy"))) == 1


def test_rows_that_differ_in_precision_or_code_are_named_by_what_they_ran_under(tmp_path: Path) -> None:
    trees = {"a": "0123456789", "b": "abcdefabcd", "c": "0123456789", "d": "0123456789"}
    for method, tree in trees.items():
        precision = "bfloat16" if method in "ab" else "float32"
        for seed in range(2):
            # of c one seed is of other code
            own = "abcdefabcd" if (method, seed) == ("c", 1) else tree
            receipt = {"tree": own, "precision": precision}
            write_cell(tmp_path, [score("p")], method=method, seed=seed, receipt=receipt)
    write_cell(tmp_path, [score("p")], dataset="phantom_3d", receipt={"tree": "another", "precision": "float16"})
    loaded = frame.load(tmp_path / "toy")
    said = (
        "phantom_2d: rows differ in more than the method, which no test corrects for. Precision: bfloat16: a, b; "
        "float32: c, d. Code (tree, 6 digits): 012345 and abcdef: c; abcdef: b; 012345: a, d.",
    )
    assert between_rows(loaded) == said
    assert between_rows(loaded, {"phantom_3d"}) == (), "one row cannot differ from itself"
    assert said[0] in footnotes.everywhere(loaded, {"phantom_2d"})


def test_the_largest_group_of_rows_is_counted(tmp_path: Path) -> None:
    for number in range(4):
        precision = "float32" if number else "bfloat16"
        label = f"m{number}" if number else "supervised, full batch"
        write_cell(tmp_path, [score("p")], method=f"m{number}", label=label, receipt={"precision": precision})
    (said,) = between_rows(frame.load(tmp_path / "toy"))
    assert said.endswith('Precision: bfloat16: "supervised, full batch"; float32: all 3 others.')


@pytest.mark.slow
def test_every_table_of_the_left_atrium_says_that_its_crops_follow_the_ground_truth(tmp_path: Path) -> None:
    """In Markdown and on the page under all tables, in LaTeX under each float; and so for code that changed."""
    random = np.random.default_rng(0)
    for seed in range(3):
        levels = {("supervised", "upper", 1.0): 0.9}
        for ratio, level in ((0.1, 0.6), (0.2, 0.7)):
            levels |= {("supervised", "lower", ratio): level, ("ua_mt", "method", ratio): level + 0.05}
            levels |= {("dtc", "method", ratio): level + 0.02}
        for (method, role, ratio), level in levels.items():
            rows = [
                score(case, dice=level + 0.01 * random.normal(), selection=selection)
                for case in "abcd"
                for selection in ("last", "best_val", "oracle")
            ]
            write_cell(
                tmp_path, rows, dataset="la", method=method, label="all labels" if role == "upper" else None,
                role=role, ratio=ratio, seed=seed, receipt={"tree": str(seed)},
            )  # fmt: skip
    caveat = datasets.get("la").card.caveat
    assert "cropped to the ground truth" in caveat
    report = build("toy", tmp_path)
    told = {path.stem: path.read_text() for path in (report / "tables").glob("*.tex")}
    assert {
        "main-la", "cells", "cost", "verdicts-dice", "verdicts-hd95", "verdicts-strongest-dice", "economics",
        "multipliers", "ranks", "stability", "components", "selection-best_val", "selection-oracle",
        "classes-dice-la", "classes-hd95-la", "published-1",
    } <= set(told)  # fmt: skip
    loaded = frame.load(tmp_path / "toy")
    for said in (f"Left atrium: {caveat}", *map(naming.spoken(loaded), mixed_code(loaded))):
        assert f"- {said}" in (report / "table.md").read_text()
        assert f"<li>{said}</li>".replace("'", "&#x27;") in (report / "index.html").read_text()
        assert [key for key, text in told.items() if text.count(escape(said)) != 1] == []
