"""What tables and the draft say in words: of seeds, patients, names, checkpoints, and only of what there is."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datasets
from benchmark.report import appendix, assemble, evidence, footnotes, frame, naming, setup_text, summary, verdict_tables
from benchmark.report.tables import Table
from tests.unit.report_designs import noisy, study
from tests.unit.report_records import score, write_cell
from tests.unit.test_report_stat_tables import entries_of


def _tables(results: Path) -> dict[str, Table]:
    """Every table of a report, without its figures."""
    return {table.key: table for table in assemble._tables(assemble._study(frame.load(results / "toy"), "penalised"))}


def _entries(results: Path):  # type: ignore[no-untyped-def]
    loaded = frame.load(results / "toy")
    return loaded, summary.entries(loaded, summary.patient_values(summary.class_values(loaded)))


def _pair(results: Path, *, seeds: int = 3, ratios: tuple[float, ...] = (0.1,), **more: Any) -> None:
    """A lower bound and a method that is some ten points ahead, at some amounts of labels."""
    random = np.random.default_rng(0)
    for seed in range(seeds):
        for ratio in ratios:
            for role, method, gain in (("lower", "supervised", 0.0), ("method", "cps", 0.1), ("upper", "all", 0.3)):
                if role == "upper" and ratio != ratios[0]:
                    continue
                rows = [score(f"p{i}", dice=0.5 + ratio + gain + 0.01 * random.normal()) for i in range(6)]
                at = 1.0 if role == "upper" else ratio
                write_cell(results, rows, method=method, role=role, ratio=at, seed=seed, **more)


# Captions ------------------------------------------------------------------------------------------------------------
def test_a_caption_says_seeds_patients_and_what_bold_means(tmp_path: Path) -> None:
    _pair(tmp_path)
    first = _tables(tmp_path)["main-phantom_2d"].notes[0]
    assert first.startswith("Mean ± standard deviation over seeds, n = 3, on 6 test patients. Bold: the best mean of")


def test_one_seed_explains_no_spread_no_correction_and_no_verdict(tmp_path: Path) -> None:
    _pair(tmp_path, seeds=1, ratios=(0.1, 0.2))
    found = _tables(tmp_path)
    said = " ".join(note for table in found.values() for note in (*table.notes, *table.shared))
    assert (
        found["main-phantom_2d"].notes[0].startswith("Mean of one seed, without a spread, n = 1, on 6 test patients.")
    )
    for word in ("deviation", "Holm", "MDE", "quivalent", "Bold"):
        assert word not in said, word
    assert found["verdicts-dice"].notes == (
        "Difference in Dice points to the lower bound; nothing is tested. No verdict below 3 seeds or 3 patients.",
    )


def test_unfinished_seeds_are_not_counted(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")])
    for seed in (1, 2):
        write_cell(tmp_path, seed=seed, status="failed", reason="NaN")
    assert footnotes.count_of_seeds(_entries(tmp_path)[1]).startswith("n = 1 of 3 planned")


# Order and what is left out -------------------------------------------------------------------------------------------
def test_rows_with_unfinished_seeds_come_last(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A", dice=0.9)], method="lucky", seed=0)
    write_cell(tmp_path, method="lucky", seed=1, status="failed", reason="NaN")
    for seed in range(2):
        write_cell(tmp_path, [score("A", dice=0.5)], method="steady", seed=seed)
        write_cell(tmp_path, [score("A", dice=0.4)], method="weak", seed=seed)
    loaded, entries = _entries(tmp_path)
    assert summary.order(entries) == ["steady", "weak", "lucky"]
    (said,) = (note for note in footnotes.notes(loaded, entries) if note.startswith("Rows"))
    assert said == "Rows are sorted by mean Dice; upper bounds come first, rows with unfinished seeds last."


def test_how_rows_are_sorted_over_several_columns_is_said(tmp_path: Path) -> None:
    _pair(tmp_path, ratios=(0.1, 0.2))
    assert any(
        note.startswith("Rows are sorted by mean Dice less that of all rows, averaged over the columns of a table;")
        for note in footnotes.notes(*_entries(tmp_path))
    )


def test_one_amount_has_no_curve_and_one_dataset_nothing_over_all(tmp_path: Path) -> None:
    _pair(tmp_path)
    assert not {"economics", "overall-lower"} & set(_tables(tmp_path))
    _pair(tmp_path, ratios=(0.1, 0.2))
    found = _tables(tmp_path)
    assert "economics" in found
    assert "overall-lower" not in found
    _pair(tmp_path, dataset="phantom_3d")
    found = _tables(tmp_path)
    assert "overall-lower" in found
    assert {column.dataset for column in found["economics"].columns} == {"phantom_2d"}, "the other has one amount"


# Verdicts ------------------------------------------------------------------------------------------------------------
def _judged(first: np.ndarray, second: np.ndarray):  # type: ignore[no-untyped-def]
    tables = {("lower", "supervised", "heart", "10%"): first, ("method", "a", "heart", "10%"): second}
    results, designs = study(tables)
    return entries_of(results), evidence.gather(results, designs).judged


def test_an_equivalence_shows_the_90_percent_interval_that_it_rests_on() -> None:
    random = np.random.default_rng(2)
    base = noisy(0.8, random)
    entries, judged = _judged(base, base + 0.003 + 0.004 * random.normal(size=base.shape))
    (row,) = judged[(judged["endpoint"] == "Dice") & (judged["against"] == "lower bound")].itertuples()
    assert row.verdict == "equivalent"
    assert row.low < row.low_90 < row.high_90 < row.high
    dice, hd95, *_ = verdict_tables.verdict_tables(entries, judged)
    (number,) = dice.rows[0].numbers
    assert f", {100 * row.high_90:.1f}] (90 %)\n" in number.text
    assert number.text.endswith(", equivalent")
    assert "the 90 % interval (uncorrected), which is then the one printed" in dice.notes[0]
    assert "tested as a difference of log(1 + HD95)" in hd95.notes[0]


def test_two_that_fail_alike_are_not_plainly_equivalent() -> None:
    base = noisy(0.1, np.random.default_rng(2))
    entries, judged = _judged(base, base.copy())
    for rate, end in ((0.5, "equivalent, both fail"), (0.4, "equivalent")):
        table = verdict_tables.verdict_tables(entries.assign(failure_rate_mean=rate), judged)[0]
        assert table.rows[0].numbers[0].text.endswith(f", {end}")
        assert any(note.startswith("Both fail:") for note in table.notes) == (rate == 0.5)
    one = entries.assign(failure_rate_mean=[0.9, 0.1])
    assert verdict_tables.verdict_tables(one, judged)[0].rows[0].numbers[0].text.endswith(", equivalent")


def test_p_stands_beside_every_verdict_and_each_part_has_a_name() -> None:
    random = np.random.default_rng(2)
    entries, judged = _judged(noisy(0.75, random), noisy(0.85, random))
    (number,) = verdict_tables.verdict_tables(entries, judged)[0].rows[0].numbers
    parts = dict(number.parts)
    assert number.text == f"{parts['difference']} {parts['interval']}\n{parts['p']}, {parts['verdict']}"
    assert (parts["p"], parts["verdict"]) == ("p < .001", "better")


# Checkpoints ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("count", "said"),
    [
        (2, "2, at steps 50 and 100. Fewer than 5 are too few to say what choosing adds or costs."),
        (5, "5, at steps 50, 100, 150, 200 and 250."),
        (9, "9, at steps 50, 100, … 450."),
    ],
)
def test_how_many_checkpoints_there_were_to_choose_among_is_said(count: int, said: str, tmp_path: Path) -> None:
    validation = [{"step": 50 * (i + 1), "dice": 0.5} for i in range(count)]
    write_cell(tmp_path, [score("A"), score("A", selection="oracle")], validation=validation)
    loaded = frame.load(tmp_path / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    (table,) = appendix.selection_tables(loaded, summary.entries(loaded, patients), patients)
    assert table.notes[1] == f"Checkpoints to choose among: {said}"


# Names ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("dataset", "options", "title", "on"),
    [
        ("acdc", {}, "ACDC", "1 test patient"),
        ("la", {}, "Left atrium", "1 test patient"),
        ("msd", {"task_folder": "Task09_Spleen"}, "Spleen (Medical Segmentation Decathlon)", "1 test case"),
        ("image_folder", {"folder": "nuclei"}, "nuclei", "1 test image"),
        ("image_folder", {"folder": "frames", "group_pattern": "v.."}, "frames", "1 test group"),
        ("not_registered", {}, "not_registered", "1 test group"),
    ],
)
def test_datasets_and_their_groups_go_by_their_names(
    dataset: str, options: dict[str, Any], title: str, on: str, tmp_path: Path
) -> None:
    write_cell(tmp_path, [score("A")], dataset=dataset, options=options)
    loaded = frame.load(tmp_path / "toy")
    assert (naming.title(loaded, dataset), naming.tested(loaded, [dataset])) == (title, on)


def test_what_is_known_of_datasets_by_name_is_of_datasets_that_there_are() -> None:
    assert set(naming.WORDS) | set(naming.NAMED_BY) <= set(datasets.names())
    for name, option in naming.NAMED_BY.items():
        assert option in {f.name for f in fields(datasets.get(name).Options)}


def test_titles_keep_what_tells_datasets_apart(tmp_path: Path) -> None:
    for seed, task in enumerate(("Task02_Heart", "Task09_Spleen")):
        write_cell(tmp_path, [score("A")], dataset="msd", options={"task_folder": task}, seed=seed)
    loaded = frame.load(tmp_path / "toy")
    name = "msd [task_folder=Task02_Heart]"
    assert naming.title(loaded, name) == "Heart (Medical Segmentation Decathlon) [task_folder=Task02_Heart]"


# The draft -----------------------------------------------------------------------------------------------------------
def _draft(results: Path) -> str:
    return " ".join(setup_text.paragraphs(*_entries(results), rule="penalised"))


def test_the_draft_speaks_of_unlabelled_samples_only_where_there_are_any(tmp_path: Path) -> None:
    training = {"labelled_batch": 6, "unlabelled_batch": 4, "steps": 10}
    write_cell(tmp_path, [score("A")], training=training)
    assert "batches of 6 labelled and 4 unlabelled samples" in _draft(tmp_path)
    split = {"labelled_groups": ["p1"], "unlabelled_groups": 0, "val_groups": 0, "test_groups": 1, "train_groups": 1}
    write_cell(tmp_path, [score("A")], training=training, split=split)
    assert "batches of 6 labelled samples, and augmentation" in _draft(tmp_path)


def test_the_draft_says_who_learns_from_weak_labels_and_where_these_come_from(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], method="supervised", role="upper", ratio=1.0)
    folder = write_cell(tmp_path, [score("A")], method="pce", annotation="scribble")
    assert "pce learn from scribble labels (as the dataset publishes them); all others from dense ones." in _draft(
        tmp_path
    )
    loaded, entries = _entries(tmp_path)
    made = loaded.records[folder.name]
    simulated = replace(made, cell={**made.cell, "weak": {"kind": "skeleton"}})
    loaded = replace(loaded, records={**loaded.records, folder.name: simulated})
    text = " ".join(setup_text.paragraphs(loaded, entries, rule="penalised"))
    assert "pce learn from scribble labels (simulated from dense ones: skeleton)" in text


def test_the_draft_of_one_seed_has_no_spread_and_tests_nothing(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")])
    text = _draft(tmp_path)
    assert "of one seed, on 1 test patient; scans" in text
    assert "Differences are not tested: that takes 3 seeds." in text
    assert "The cell took" in text
    assert "deviation" not in text
