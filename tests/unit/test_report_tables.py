"""Tables as data, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmark.report import appendix, build, frame, main_tables, render, summary, tables
from tests.unit.report_records import demo, score, write_cell


def _tables(results: Path, rule: str = "penalised") -> dict[str, tables.Table]:
    loaded = frame.load(results / "toy")
    entries = summary.entries(loaded, summary.patient_values(summary.class_values(loaded, rule)))
    made = tables.build(loaded, entries, rule=rule)
    return {part.key: part for table in made for part in tables.panels(table)}


def _texts(table: tables.Table) -> dict[str, list[str]]:
    return {render.name(row): [number.text for number in row.numbers] for row in table.rows}


def test_dice_is_in_percent_with_the_spread_over_seeds(tmp_path: Path) -> None:
    # .70, .72, .74: mean 72.0, sample standard deviation 2.0; HD95 3, 4, 5: 4.00 ± 1.00
    for seed in range(3):
        write_cell(tmp_path, [score("A", dice=0.7 + 0.02 * seed, hd95=3.0 + seed)], seed=seed)
    found = _tables(tmp_path)
    assert _texts(found["dice"]) == {"cps": ["72.0 ± 2.0"]}
    assert _texts(found["hd95"]) == {"cps": ["4.00 ± 1.00"]}
    assert found["hd95"].title.startswith("HD95 (mm)")


def test_bounds_frame_the_table_and_the_upper_one_stands_for_every_amount(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A", dice=0.9)], label="all labels", role="upper", ratio=1.0)
    for ratio, dice in ((0.05, 0.5), (0.1, 0.6)):
        write_cell(tmp_path, [score("A", dice=dice)], method="supervised", role="lower", ratio=ratio)
        write_cell(tmp_path, [score("A", dice=dice + 0.1)], method="cps", ratio=ratio)
    table = _tables(tmp_path)["dice"]
    assert [column.amount for column in table.columns] == ["5%", "10%"]
    assert list(_texts(table).items()) == [
        ("all labels (upper bound)", ["90.0", "90.0"]),
        ("cps", ["60.0", "70.0"]),
        ("supervised (lower bound)", ["50.0", "60.0"]),
    ]


def test_a_method_below_the_lower_bound_stays_below_it(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A", dice=0.6)], method="supervised", role="lower")
    write_cell(tmp_path, [score("A", dice=0.5)], method="cps")
    assert list(_texts(_tables(tmp_path)["dice"])) == ["supervised (lower bound)", "cps"]


def test_a_method_that_had_dense_labels_of_held_out_patients_is_named_below_the_table(tmp_path: Path) -> None:
    note = "uses extra dense labels: 7 of 72 labelled groups lend shapes and are not trained on"
    for seed in range(2):
        write_cell(
            tmp_path, [score("A")], method="mask_mix_adv", label="mix", seed=seed, notes=[f"{note}; 9 maps", "other"]
        )
    write_cell(tmp_path, [score("A")], method="pce", notes=["other"])
    below = [sentence for sentence in _tables(tmp_path)["dice"].shared if "extra dense labels" in sentence]
    assert below == [f"mix on phantom_2d {note}."]


def test_failed_and_missing_cells_are_shown_as_such(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A", dice=0.5)], seed=0)
    write_cell(tmp_path, seed=1, status="failed", reason="loss is NaN at step 7")
    write_cell(tmp_path, seed=0, method="dan", status="killed", reason="out of memory")
    found = _tables(tmp_path)
    assert _texts(found["dice"]) == {"cps": ["50.0 (1/2)"], "dan": ["– (0/1)"]}
    assert _texts(found["cells"]) == {"cps": ["1/2, 1 failed"], "dan": ["0/1, 1 failed"]}
    assert "Failed: cps, phantom_2d 10%, seed 1, fold 1: loss is NaN at step 7" in found["cells"].notes
    assert "Killed: dan, phantom_2d 10%, seed 0, fold 1: out of memory" in found["cells"].notes


def test_failed_predictions_are_counted_without_the_rows_that_are_empty_in_both(tmp_path: Path) -> None:
    rows = [score("A"), score("B", status="missed"), score("C", status="both_empty"), score("D", status="spurious")]
    write_cell(tmp_path, [*rows, score("E")])
    assert _texts(_tables(tmp_path)["failures"]) == {"cps": ["2/4 (50.0%) +1"]}


def test_failure_rates_are_means_over_complete_seeds_with_their_spread(tmp_path: Path) -> None:
    # of four pairs 2, 1 and 0 are missed in three seeds: 50, 25, 0 %, mean 25, standard deviation 25; the fourth seed
    # has one fold of two, and all of it missed
    for seed in range(3):
        rows = [score(f"case {i}", status="missed" if i < 2 - seed else "ok") for i in range(4)]
        write_cell(tmp_path, rows[:2], seed=seed, fold=1)
        write_cell(tmp_path, rows[2:], seed=seed, fold=2)
    write_cell(tmp_path, [score("case 0", status="missed")], seed=3, fold=1)
    write_cell(tmp_path, seed=3, fold=2, status="failed")
    loaded = frame.load(tmp_path / "toy")
    entries = summary.entries(loaded, summary.patient_values(summary.class_values(loaded)))
    (table,) = main_tables.main_tables(loaded, entries, rule="penalised", standings={})
    assert table.columns[2].amount == "failed (%)"
    assert table.rows[0].numbers[2].text == "25.0 ± 25.0 (3/4)"
    assert _texts(_tables(tmp_path)["failures"]) == {"cps": ["4/13 (25.0 ± 25.0%)"]}


def test_other_weights_have_the_spread_of_their_seeds_and_so_has_what_they_add(tmp_path: Path) -> None:
    # best on validation .52, .56, mean 54.0 ± 2.8; it adds 2 and 4 points to .5 and .52 of the same seed: 3.0 ± 1.4
    for seed in range(2):
        last = 0.5 + 0.02 * seed
        rows = [score("A", dice=last), score("A", dice=last + 0.02 + 0.02 * seed, selection="best_val")]
        write_cell(tmp_path, rows, seed=seed)
    write_cell(tmp_path, seed=2, status="failed")
    write_cell(tmp_path, seed=0, method="dan", status="failed")
    loaded = frame.load(tmp_path / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    entries = summary.entries(loaded, patients)
    (table,) = appendix.selection_tables(loaded, entries, patients)
    assert _texts(table) == {"cps": ["54.0 ± 2.8 (2/3)\n+3.0 ± 1.4"], "dan": ["– (0/1)"]}
    assert table.rows[0].numbers[0].sort == pytest.approx(3.0)
    assert "± standard deviation over seeds, n = 2 of 1–3 planned (complete/planned where" in table.notes[0]


def test_largest_components_teachers_and_partners_stand_in_tables_of_their_own(tmp_path: Path) -> None:
    # Dice .50 and .52, of largest components .53 and .57: + 3 and 5 points; HD95 8 and 8, then 5 and 4
    for seed in range(2):
        last = score("A", dice=0.5 + 0.02 * seed, hd95=8.0)
        largest = score("A", dice=0.53 + 0.04 * seed, hd95=5.0 - seed, selection="last_largest")
        others = [score("A", dice=0.6, selection=f"last_{name}") for name in ("elder", "partner", "teacher")]
        write_cell(tmp_path, [last, largest, *others], seed=seed)
        write_cell(tmp_path, [last, score("A", dice=0.5, hd95=8.0, selection="last_largest")], seed=seed, method="dan")
    loaded = frame.load(tmp_path / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    made = appendix.selection_tables(loaded, summary.entries(loaded, patients), patients)
    found = {table.key.removeprefix("selection-last_"): table for table in made}
    # what a method calls otherwise comes last
    assert list(found)[::2] == ["largest", "teacher", "partner", "elder"]
    assert list(found)[1::2] == ["largest-hd95", "teacher-hd95", "partner-hd95", "elder-hd95"]
    assert found["elder"].title == "Dice (%) of elder"
    assert _texts(found["largest"])["cps"] == ["55.0 ± 2.8\n+4.0 ± 1.4"]
    assert _texts(found["largest-hd95"])["cps"] == ["4.50 ± 0.71\n\u22123.50 ± 0.71"]
    assert set(_texts(found["largest"])) == {"cps", "dan"}
    assert set(_texts(found["teacher"])) == set(_texts(found["partner"])) == {"cps"}
    assert "26-connected" in found["largest"].notes[0]
    assert not any("Checkpoints" in note for table in found.values() for note in table.notes)


def test_a_mean_of_one_class_says_how_many_seeds_are_unfinished(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], seed=0)
    write_cell(tmp_path, seed=1, status="failed")
    loaded = frame.load(tmp_path / "toy")
    by_class = summary.class_values(loaded)
    entries = summary.entries(loaded, summary.patient_values(by_class))
    dice, hd95 = appendix.class_tables(loaded, summary.class_entries(loaded, by_class), entries)
    assert (_texts(dice), _texts(hd95)) == ({"cps": ["50.0 (1/2)"]}, {"cps": ["4.00 (1/2)"]})
    assert dice.notes[0].startswith("Mean of one seed, without a spread, n = 1 of 2 planned")
    assert "on 1 test patient." in dice.notes[0]


def test_a_method_that_a_dataset_was_not_planned_for_is_not_called_missing(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], method="cps", dataset="one")
    write_cell(tmp_path, [score("A")], method="dan", dataset="two")
    assert _texts(_tables(tmp_path)["dice"]) == {"cps": ["50.0", "n/a"], "dan": ["n/a", "50.0"]}


def test_the_rule_the_budget_and_the_meaning_of_n_are_printed(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], ratio=0.1)
    table = _tables(tmp_path, "monai_skip")["dice"]
    text = " ".join((*table.notes, *table.shared))
    assert "failures: monai_skip. MONAI:" in text
    assert "phantom_2d, in patients, labelled + validation: 10% = 4 + 4; of 40 for training. Test: 8." in text
    assert "Mean of one seed, without a spread, n = 1, on 1 test patient." in text
    assert "standard deviation" not in text


def test_units_stand_in_the_header_where_datasets_differ(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A", unit="mm")], dataset="one")
    write_cell(tmp_path, [score("A", unit="px")], dataset="two")
    assert _tables(tmp_path)["hd95"].spans == [("one (mm)", 1), ("two (px)", 1)]


def test_the_kind_of_labels_is_named_where_a_table_mixes_kinds(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A", dice=0.9)], method="cps")
    assert list(_texts(_tables(tmp_path)["dice"])) == ["cps"]
    write_cell(tmp_path, [score("A")], method="pce", role="lower", annotation="scribble")
    table = _tables(tmp_path)["dice"]
    assert list(_texts(table)) == ["cps (dense labels)", "pce (lower bound, scribble labels)"]
    assert any(note.startswith("Dense labels name every pixel") for note in table.shared)


def test_many_datasets_go_into_panels_of_whole_datasets(tmp_path: Path) -> None:
    # three datasets with five amounts each: two panels of ten and five columns, at most twelve
    for dataset in "abc":
        for ratio in (0.1, 0.2, 0.3, 0.4, 0.5):
            write_cell(tmp_path, [score("A")], dataset=dataset, ratio=ratio)
    found = _tables(tmp_path)
    assert [len(found[key].columns) for key in ("dice-1", "dice-2")] == [10, 5]
    assert found["dice-2"].title.endswith("(2 of 2)")


def test_every_number_knows_its_cells(tmp_path: Path) -> None:
    names = [write_cell(tmp_path, [score("A")], seed=seed).name for seed in range(2)]
    assert _tables(tmp_path)["dice"].rows[0].numbers[0].ids == tuple(names)


def test_latex_signs_are_escaped() -> None:
    assert render.escape(r"a_b & 5% #1 {x} ~ ^ \ $ ± ☃") == (
        r"a\_b \& 5\% \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$ $\pm$ [U+2603]"
    )


def test_the_latex_table_has_one_ampersand_less_than_columns_in_every_row(tmp_path: Path) -> None:
    demo(tmp_path)
    text = "".join(render.latex(list(_tables(tmp_path).values()), plan="toy").values())
    for body in re.findall(r"\\midrule\n(.*?)\\bottomrule", text, re.DOTALL):
        for line in body.strip().splitlines():
            line = line.split(" % numbers")[0]
            if line != r"\midrule":
                spanned = sum(int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d)\}", line))
                assert line.count(" & ") + spanned == 4, line
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_the_standalone_table_compiles(tmp_path: Path) -> None:
    demo(tmp_path)
    write_cell(tmp_path, [score("A")], method="odd", label=r"x_1 & 50% \ {y} ^~ #$ ± ☃ é")
    report = build("toy", tmp_path, out=tmp_path / "report")
    assert "Overfull" not in _compiled(report, "table_standalone.tex")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_a_tall_table_leaves_room_on_its_page_for_what_is_said_below_it(tmp_path: Path) -> None:
    numbers = (tables.Number("+0.1 [-0.2, 0.4]\nto another\nnot separable (MDE > 100)"),) * 2
    rows = tuple(tables.Row(f"method {i}", "method", numbers) for i in range(40))
    columns = (tables.Column("heart", "5%"), tables.Column("heart", "10%"))
    notes = ("Some ten words that say how a difference was tested. " * 8,)
    below = (
        "Protocol: " + "a few words on how all of it was trained. " * 12,
        "heart: a caveat that must be read. " * 6,
    )
    made = render.latex([tables.Table("tall", "Tall", columns, rows, notes, below)], plan="toy")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "tall.tex").write_text(made["tall"])
    (tmp_path / "table.tex").write_text(render.inputs(list(made)))
    (tmp_path / "alone.tex").write_text(render.standalone("One tall table"))
    log = _compiled(tmp_path, "alone.tex")
    assert "Float too large" not in log
    assert "Overfull" not in log


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_single_tables_the_draft_and_numbers_by_name_go_into_a_paper(tmp_path: Path) -> None:
    demo(tmp_path)
    report = build("toy", tmp_path, out=tmp_path / "report")
    paper = [
        r"\documentclass[twocolumn]{article}", r"\usepackage{booktabs,graphicx}", r"\usepackage[T1]{fontenc}",
        r"\usepackage[utf8]{inputenc}", r"\input{numbers}", r"\begin{document}", r"\input{setup}",
        r"CPS reaches \scant{toy/main-phantom_2d/cps-dense-labels/10pc/Dice-pc}; see \ref{tab:toy-main-phantom_2d}.",
        r"It is \scant{toy/verdicts-dice/cps/phantom_2d/10pc/verdict} than the lower bound.",
        r"\input{tables/main-phantom_2d}", r"\input{tables/selection-oracle}",
        r"\begin{figure}\includegraphics[width=\linewidth]{figures/pareto}\end{figure}", r"\end{document}",
    ]  # fmt: skip
    (report / "paper.tex").write_text("\n".join(paper))
    log = _compiled(report, "paper.tex", times=2)
    assert "undefined" not in log
    (report / "paper.tex").write_text("\n".join(paper).replace("10pc/Dice", "11pc/Dice"))
    assert "There is no number toy/main-phantom_2d/cps-dense-labels/11pc/Dice-pc" in _compiled(
        report, "paper.tex", code=1
    )


def _compiled(folder: Path, name: str, *, times: int = 1, code: int = 0) -> str:
    """What pdflatex says when it is done, or when it stops at the first error."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", name]
    for _ in range(times):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == code, done.stdout[-2000:]
    return done.stdout.replace("\n", "")  # lines are broken anywhere


def test_the_csv_holds_raw_numbers_for_every_entry(tmp_path: Path) -> None:
    for seed, dice in ((0, 0.25), (1, 0.75)):
        write_cell(tmp_path, [score("A", dice=dice)], seed=seed)
    loaded = frame.load(tmp_path / "toy")
    entries = summary.entries(loaded, summary.patient_values(summary.class_values(loaded)))
    (row,) = csv.DictReader(io.StringIO(render.csv(entries)))
    assert (float(row["dice_mean"]), row["seeds"], row["n"]) == (0.5, "0 1", "2")
    assert row["ids"].split() == sorted(loaded.records)
