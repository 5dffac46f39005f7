"""What tables and the draft say in words: of seeds, patients, names, checkpoints, and only of what there is."""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datasets
from benchmark.report import (
    appendix,
    assemble,
    evidence,
    footnotes,
    frame,
    naming,
    setup_text,
    summary,
    tables,
    verdict_tables,
)
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
        ("acdc", {}, "ACDC", "1 test patient (fold 1 of 5)"),
        ("acdc", {"protocol": "maag"}, "ACDC", "1 test patient"),
        ("la", {}, "Left atrium", "1 test patient"),
        (
            "msd",
            {"task_folder": "Task09_Spleen"},
            "Spleen (Medical Segmentation Decathlon)",
            "1 test case (fold 1 of 5)",
        ),
        ("image_folder", {"folder": "nuclei"}, "nuclei", "1 test image (fold 1)"),
        ("image_folder", {"folder": "frames", "group_pattern": "v.."}, "frames", "1 test group (fold 1)"),
        ("not_registered", {}, "not_registered", "1 test group (fold 1)"),
    ],
)
def test_datasets_and_their_groups_go_by_their_names(
    dataset: str, options: dict[str, Any], title: str, on: str, tmp_path: Path
) -> None:
    write_cell(tmp_path, [score("A")], dataset=dataset, options=options)
    loaded = frame.load(tmp_path / "toy")
    assert (naming.title(loaded, dataset), naming.tested(loaded, [dataset])) == (title, on)


@pytest.mark.parametrize(
    ("folds", "on"),
    [
        ((2,), "1 test patient (fold 2 of 5)"),
        ((1, 2, 4), "3 test patients (folds 1, 2 and 4 of 5)"),
        ((1, 2, 3, 4, 5), "5 test patients (all 5 folds)"),
    ],
)
def test_the_folds_that_were_tested_are_said_below_the_main_table_and_in_the_draft(
    folds: tuple[int, ...], on: str, tmp_path: Path
) -> None:
    for fold in folds:
        write_cell(tmp_path, [score(f"patient of fold {fold}")], dataset="acdc", fold=fold)
    assert f", on {on}. " in _tables(tmp_path)["main-acdc"].notes[0]
    assert f"of one seed, on {on}; scans" in _draft(tmp_path)


@pytest.mark.parametrize(("folds", "on"), [(5, "1 test image (fold 1 of 5)"), (1, "1 test image")])
def test_how_many_folds_a_folder_has_is_told_by_its_records(folds: int, on: str, tmp_path: Path) -> None:
    split = {"labelled_groups": ["p1"], "train_groups": 9, "unlabelled_groups": 8, "folds": folds}
    write_cell(tmp_path, [score("A")], dataset="image_folder", options={"folder": "nuclei"}, split=split)
    assert naming.tested(frame.load(tmp_path / "toy"), ["image_folder"]) == on


def test_folds_of_several_datasets_are_told_apart(tmp_path: Path) -> None:
    for dataset in ("acdc", "phantom_2d"):
        write_cell(tmp_path, [score("A")], dataset=dataset)
    said = naming.tested(frame.load(tmp_path / "toy"), ["acdc", "phantom_2d"])
    assert said == "1 test patient (fold 1 of 5) of acdc, 1 test patient of phantom_2d"


def test_datasets_whose_files_tell_how_many_folds_there_are_are_known_as_such() -> None:
    def by_files(name: str) -> bool:
        classes = [cls for cls in datasets.get(name).__mro__ if cls.__module__.startswith("datasets.catalogue")]
        return any("self.folds = " in inspect.getsource(sys.modules[cls.__module__]) for cls in classes)

    several = [name for name in datasets.names() if datasets.get(name).folds > 1]
    assert [name for name in several if by_files(name)] == sorted(naming.FILES_TELL)
    assert set(naming.FOLDED) <= set(several)
    for name, (option, value) in naming.FOLDED.items():
        assert getattr(datasets.get(name).Options(), option) == value


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


def test_people_are_told_titles_and_paths_and_other_words_keep_their_codes(tmp_path: Path) -> None:
    for dataset in ("la", "acdc"):
        write_cell(tmp_path, [score("A")], dataset=dataset)
    write_cell(tmp_path, [score("A")], dataset="msd", options={"task_folder": "Task04_Hippocampus"})
    spoken = naming.spoken(frame.load(tmp_path / "toy"))
    told = {
        "bcp on msd 5%": "bcp on Hippocampus 5%",
        "acdc: 3 seeds. la, acdc.": "ACDC: 3 seeds. Left atrium, ACDC.",
        "`acdc` from data/acdc/x.h5, acdc.csv, acdc_small, plan-la, flat, `option la`s": (
            "`acdc` from data/acdc/x.h5, acdc.csv, acdc_small, plan-la, flat, `option la`s"
        ),
    }
    assert {text: spoken(text) for text in told} == told


def test_what_two_datasets_would_be_called_alike_is_not_said(tmp_path: Path) -> None:
    for seed, name in enumerate(("image_folder", "csv_manifest", "nnunet")):
        folder = "others" if name == "nnunet" else "tools"
        write_cell(tmp_path, [score("A")], dataset=name, options={"folder": folder}, seed=seed)
    spoken = naming.spoken(frame.load(tmp_path / "toy"))
    assert spoken("image_folder, csv_manifest, nnunet") == "image_folder, csv_manifest, others"


def test_the_protocol_keeps_the_words_of_the_plan() -> None:
    table = tables.Table("dice", "Dice on la", (tables.Column("la", "5%"),), (), ("la is small.",), ("Protocol: la.",))
    said = tables.in_words(table, lambda text: text.replace("la", "Left atrium"))
    assert (said.title, said.notes, said.shared) == (
        "Dice on Left atrium",
        ("Left atrium is small.",),
        ("Protocol: la.",),
    )
    assert said.spans == [("Left atrium", 1)]
    assert [column.dataset for column in said.columns] == ["la"]


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


def test_only_methods_that_learn_from_unlabelled_samples_have_them_in_their_batches(tmp_path: Path) -> None:
    # patients without a label are there, but a scribble method's batches hold none of them
    training = {"labelled_batch": 2, "unlabelled_batch": 4, "steps": 10}
    write_cell(tmp_path, [score("A")], method="pce", role="lower", annotation="scribble", training=training)
    write_cell(tmp_path, [score("A")], method="pce_tv", annotation="scribble", training=training)
    assert "batches of 2 labelled samples, and augmentation" in _draft(tmp_path)
    write_cell(tmp_path, [score("A")], method="cps", training=training)
    assert "batches of 2 labelled and, for methods that learn from them, 4 unlabelled samples" in _draft(tmp_path)


def test_the_draft_of_a_method_that_is_no_longer_there_says_what_its_record_does(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], method="gone", training={"labelled_batch": 2, "unlabelled_batch": 4})
    assert "batches of 2 labelled and 4 unlabelled samples" in _draft(tmp_path)


def test_the_draft_names_what_each_bound_is(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], method="pce", role="lower", annotation="scribble")
    assert "We train pce as lower bound. All" in _draft(tmp_path)
    write_cell(tmp_path, [score("A")], method="ustm", annotation="scribble")
    assert "We compare ustm with pce as lower bound. All" in _draft(tmp_path)
    write_cell(tmp_path, [score("A")], method="supervised", role="upper", label="supervised, all labels", ratio=1.0)
    write_cell(tmp_path, [score("A")], method="supervised", role="lower")
    said = "We compare ustm with “supervised, all labels” as upper bound and pce and supervised as lower bounds. All"
    assert said in _draft(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        # of two cells
        (0.2, "The 2 cells took 1 second in all on"),
        (40, "The 2 cells took 80 seconds in all on"),
        (50, "The 2 cells took 2 minutes in all on"),
        (5760, "The 2 cells took 3.2 hours in all on"),
        (None, "The 2 cells took [to be filled in] in all on"),
    ],
)
def test_the_draft_tells_time_in_a_unit_that_shows_it(seconds: float | None, said: str, tmp_path: Path) -> None:
    for seed in range(2):
        write_cell(tmp_path, [score("A")], seed=seed, seconds={} if seconds is None else {"total": seconds})
    assert said in _draft(tmp_path)


def _runs(results: Path) -> str:
    found = setup_text.checklist(frame.load(results / "toy"))
    (runs,) = (sentence for _, sentence in found if sentence.startswith("Runs: "))
    return runs


def test_the_checklist_says_what_seeds_draw_and_where_they_draw_less(tmp_path: Path) -> None:
    def run(seed: int, ratio: float, groups: list[str]) -> None:
        split = {"labelled_groups": groups, "unlabelled_groups": 0, "val_groups": 0, "train_groups": 2}
        write_cell(tmp_path, [score("A")], seed=seed, ratio=ratio, split=split)

    run(0, 0.1, ["p0"])
    run(0, 1.0, ["p0", "p1"])
    assert _runs(tmp_path) == "Runs: 1 seed (0), the same for all rows.", "one seed does not tell what seeds draw"
    run(1, 0.1, ["p1"])
    run(1, 1.0, ["p0", "p1"])
    assert _runs(tmp_path) == (
        "Runs: 2 seeds (0, 1), the same for all rows; each seed draws the labelled subset, the initialisation and the "
        "order of batches (at 100% the labelled subset is the same for all seeds)."
    )


def test_a_table_without_any_number_speaks_of_no_mean(tmp_path: Path) -> None:
    for seed in range(2):
        write_cell(tmp_path, seed=seed, status="failed", reason="NaN")
    note = _tables(tmp_path)["main-phantom_2d"].notes[0]
    assert note.startswith("No mean yet: no seed is complete, of 2 planned. Nothing is bold")


def test_the_draft_says_who_learns_from_weak_labels_and_where_these_come_from(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, [score("A")], method="pce", annotation="scribble")
    assert "pce learns from scribble labels (as the dataset publishes them). Validation" in _draft(tmp_path)
    write_cell(tmp_path, [score("A")], method="supervised", role="upper", ratio=1.0)
    said = "pce learns from scribble labels (as the dataset publishes them); supervised from dense ones."
    assert said in _draft(tmp_path)
    write_cell(tmp_path, [score("A")], method="cps")
    write_cell(tmp_path, [score("A")], method="ustm", annotation="scribble")
    said = "pce and ustm learn from scribble labels (as the dataset publishes them); all others from dense ones."
    assert said in _draft(tmp_path)
    loaded, entries = _entries(tmp_path)
    made = loaded.records[folder.name]
    simulated = replace(made, cell={**made.cell, "weak": {"kind": "skeleton"}})
    loaded = replace(loaded, records={**loaded.records, folder.name: simulated})
    text = " ".join(setup_text.paragraphs(loaded, entries, rule="penalised"))
    said = "pce and ustm learn from scribble labels (simulated from dense ones: skeleton; or as the dataset publishes"
    assert said in text


def test_the_draft_of_one_seed_has_no_spread_and_tests_nothing(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")])
    text = _draft(tmp_path)
    assert "of one seed, on 1 test patient; scans" in text
    assert "Differences are not tested: that takes two rows with 3 seeds and test patients." in text
    assert "The cell took" in text
    assert "deviation" not in text
