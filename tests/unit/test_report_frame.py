"""Records -> frames -> means: every expected number is worked out by hand from the few rows written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.claims import Claims
from benchmark.report import frame, summary
from tests.unit.report_records import demo, score, write_cell


@dataclass(frozen=True)
class _Plan:
    """What the report asks of a plan, without its methods and datasets."""

    known: tuple[Any, ...]
    title: str = "A small plan"
    protocol: str = "as published"
    tuned: str = ""
    claims: Claims = field(default_factory=Claims)
    extra: dict[str, Any] = field(default_factory=dict)

    def cells(self) -> tuple[Any, ...]:
        return self.known

    def dropped(self) -> list[str]:
        return ["full-label upper bound × mscmr: its training cases carry no dense labels"]


def _cell(name: str, **settings: Any) -> SimpleNamespace:
    canonical = {
        "method": "cps", "hyper": {}, "dataset": "phantom_2d", "options": {}, "annotation": "dense", "ratio": 0.1,
        "count": None, "seed": 0, "fold": 1,
    } | settings  # fmt: skip
    return SimpleNamespace(id=name, canonical=lambda: canonical, label="cps", role="method", amount="10%")


def _entries(results: Path, rule: str = "penalised") -> pd.DataFrame:
    loaded = frame.load(results / "toy")
    return summary.entries(loaded, summary.patient_values(summary.class_values(loaded, rule)))


def test_what_a_plan_cannot_run_is_said_with_its_reason(tmp_path: Path) -> None:
    loaded = frame.load(tmp_path / "toy", _Plan((_cell("a"),)))  # type: ignore[arg-type]
    assert loaded.notes == ("Left out: full-label upper bound × mscmr: its training cases carry no dense labels.",)


def test_scans_are_averaged_before_classes_and_classes_before_patients(tmp_path: Path) -> None:
    # Patient A has two scans of class x (0.2, 0.4) and one scan with class y (0.9); patient B has x 0.5 and y 0.7.
    # A = mean(mean(.2, .4), .9) = .6 (the plain mean of its rows would be .5); B = .6; mean of patients = .6.
    write_cell(
        tmp_path,
        [
            score("A ED", group="A", class_name="x", dice=0.2),
            score("A ES", group="A", class_name="x", dice=0.4),
            score("A ED", group="A", class_name="y", dice=0.9),
            score("B ED", group="B", class_name="x", dice=0.5),
            score("B ED", group="B", class_name="y", dice=0.7),
        ],
    )
    (entry,) = _entries(tmp_path).itertuples()
    assert entry.dice_mean == pytest.approx(0.6)
    assert np.isnan(entry.dice_sd), "one seed has no spread"


def test_the_spread_is_over_seeds_and_not_over_patients(tmp_path: Path) -> None:
    # Seed means .6, .7, .8: mean .7, sample standard deviation .1; patients differ by .2 within each seed.
    for seed in range(3):
        mean = 0.6 + 0.1 * seed
        write_cell(tmp_path, [score("A", dice=mean - 0.1), score("B", dice=mean + 0.1)], seed=seed)
    (entry,) = _entries(tmp_path).itertuples()
    assert (entry.dice_mean, entry.dice_sd, entry.n) == (pytest.approx(0.7), pytest.approx(0.1), 3)


def test_a_missed_organ_costs_the_diagonal_and_is_counted(tmp_path: Path) -> None:
    # HD95 4 and a miss worth the diagonal 100: mean 52. Dice .5 and 0: mean .25.
    write_cell(tmp_path, [score("A", hd95=4.0, dice=0.5), score("B", status="missed", diagonal=100.0)])
    (entry,) = _entries(tmp_path).itertuples()
    assert (entry.hd95_mean, entry.dice_mean) == (pytest.approx(52.0), pytest.approx(0.25))
    assert (entry.rows, entry.missed, entry.both_empty) == (2, 1, 0)


def test_another_rule_is_one_option_away(tmp_path: Path) -> None:
    # Under "successes" the miss is left out: HD95 4; under "maskmixadv_constants" it costs 50: mean 27.
    write_cell(tmp_path, [score("A", hd95=4.0), score("B", status="missed")])
    assert _entries(tmp_path, "successes")["hd95_mean"].item() == pytest.approx(4.0)
    assert _entries(tmp_path, "maskmixadv_constants")["hd95_mean"].item() == pytest.approx(27.0)


def test_a_class_empty_in_both_maps_is_left_out_and_counted(tmp_path: Path) -> None:
    # Patient B has class x in neither map: its mean is that of class y alone, .8. Patient A: (.4 + .6)/2 = .5.
    write_cell(
        tmp_path,
        [
            score("A", class_name="x", dice=0.4),
            score("A", class_name="y", dice=0.6),
            score("B", class_name="x", status="both_empty"),
            score("B", class_name="y", dice=0.8),
        ],
    )
    (entry,) = _entries(tmp_path).itertuples()
    assert entry.dice_mean == pytest.approx((0.5 + 0.8) / 2)
    assert (entry.rows, entry.both_empty) == (4, 1)


def test_all_folds_of_a_seed_are_one_set_of_patients(tmp_path: Path) -> None:
    # Fold 1 tests one patient (.9), fold 2 two patients (.6, .6): the mean over patients is .7, that of folds .75.
    write_cell(tmp_path, [score("A", dice=0.9)], fold=1)
    write_cell(tmp_path, [score("B", dice=0.6), score("C", dice=0.6)], fold=2)
    assert _entries(tmp_path)["dice_mean"].item() == pytest.approx(0.7)


def test_a_seed_with_a_failed_fold_does_not_enter_the_mean(tmp_path: Path) -> None:
    for seed, dice in ((0, 0.5), (1, 0.9)):
        write_cell(tmp_path, [score("A", dice=dice)], seed=seed, fold=1)
    write_cell(tmp_path, [score("B", dice=0.7)], seed=0, fold=2)
    write_cell(tmp_path, seed=1, fold=2, status="failed", reason="NaN")
    (entry,) = _entries(tmp_path).itertuples()
    assert entry.dice_mean == pytest.approx(0.6), "seed 0 alone: (.5 + .7)/2"
    assert (entry.seeds, entry.n, entry.planned, entry.failed_cells) == ((0,), 1, 2, 1)


def test_only_the_last_weights_make_the_headline(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A", dice=0.5), score("A", dice=0.9, selection="oracle")])
    assert _entries(tmp_path)["dice_mean"].item() == pytest.approx(0.5)


def test_the_frame_agrees_with_a_plain_loop_over_the_csv_files(tmp_path: Path) -> None:
    demo(tmp_path)
    loaded = frame.load(tmp_path / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    cells = summary.cell_values(loaded, patients).set_index(["id", "selection"])
    folder = next(iter(sorted((tmp_path / "toy").glob("pce-phantom_3d-5pc-s1*"))))
    rows = pd.read_csv(folder / "scores.csv")
    for selection in ("last", "best_val", "oracle"):
        means = []
        for _, patient in rows[rows["selection"] == selection].groupby("group"):
            classes = [
                np.mean([100.0 if r.status == "missed" else r.hd95 for r in scans.itertuples()])
                for _, scans in patient.groupby("class")
            ]
            means.append(np.mean(classes))
        assert cells.loc[(folder.name, selection), "hd95"] == pytest.approx(np.mean(means), rel=1e-12)


def test_chunks_do_not_change_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        write_cell(tmp_path, [score(f"case {seed}"), score("NA", class_name="nan")], seed=seed)
    whole = frame.load(tmp_path / "toy").scores
    monkeypatch.setattr(frame, "CHUNK", 1)
    pd.testing.assert_frame_equal(frame.load(tmp_path / "toy").scores, whole)
    assert list(whole["case"].astype(str)) == ["case 0", "NA", "case 1", "NA", "case 2", "NA"]


def test_cells_of_the_plan_without_a_record_are_missing_and_others_are_strays(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, [score("A")])
    stray = write_cell(tmp_path, [score("A", dice=0.99)], hyper={"weight": 2})
    plan = _Plan((_cell(folder.name), _cell("cps-not-run", seed=1)))
    loaded = frame.load(tmp_path / "toy", plan)  # type: ignore[arg-type]
    assert list(loaded.cells["status"]) == ["finished", "missing"]
    assert loaded.strays == (stray.name,)
    entry = summary.entries(loaded, summary.patient_values(summary.class_values(loaded))).iloc[0]
    assert (entry["dice_mean"], entry["n"], entry["planned"], entry["missing"]) == (0.5, 1, 2, 1)


def test_one_label_with_two_settings_is_told_apart(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A", dice=0.4)], hyper={"weight": 1, "ramp": 5})
    write_cell(tmp_path, [score("A", dice=0.6)], hyper={"weight": 2, "ramp": 5}, seed=1)
    assert sorted(_entries(tmp_path)["label"]) == ["cps [weight=1]", "cps [weight=2]"]


def test_two_records_of_one_cell_are_refused_by_name(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")])
    folder = write_cell(tmp_path, [score("A")], hyper={"weight": 1}, fold=1)
    text = (folder / "record.json").read_text().replace('"weight": 1', '"weight_": 1')
    (folder / "record.json").write_text(text.replace('"hyper": {\n   "weight_": 1\n  }', '"hyper": {}'))
    with pytest.raises(frame.ReportError, match="cps-phantom_2d-10pc-s0-1method and cps-phantom_2d-10pc-s0-1methodx"):
        frame.load(tmp_path / "toy")


def test_a_cut_off_table_of_scores_names_its_file(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, [score("A")])
    content = (folder / "scores.csv").read_bytes()
    (folder / "scores.csv").write_bytes(content[:-10])
    with pytest.raises(frame.ReportError, match=r"1method/scores\.csv: not a complete table"):
        frame.load(tmp_path / "toy")


def test_a_bad_number_is_found_by_the_digest_of_its_file_or_else_names_it(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A", dice=0.5)])
    folder = write_cell(tmp_path, [score("A", dice=0.5)], seed=1)
    path = folder / "scores.csv"
    path.write_text(path.read_text().replace(",0.5,", ",abc,"))
    with pytest.raises(frame.ReportError, match=rf"^{path} is not the file that its record describes"):
        frame.load(tmp_path / "toy")
    record = folder / "record.json"  # as written before digests existed
    record.write_text(re.sub(r'"scores": "\w+",', "", record.read_text()))
    with pytest.raises(frame.ReportError, match=rf"^{path}: not a table of scores: .*'abc'; delete the folder of this"):
        frame.load(tmp_path / "toy")


def test_a_copied_folder_replaces_no_cell_and_is_noted(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, [score("A", dice=0.9)])
    copied = folder.rename(folder.with_name(f"{folder.name}.bak"))
    write_cell(tmp_path, [score("A", dice=0.5)])
    assert _entries(tmp_path)["dice_mean"].item() == 0.5
    notes = frame.load(tmp_path / "toy").notes
    assert notes[-1].startswith(f"Left out: toy/{copied.name} holds the record of {folder.name}, ")


def test_nothing_finished_gives_empty_frames(tmp_path: Path) -> None:
    write_cell(tmp_path, status="failed", reason="out of memory")
    (entry,) = _entries(tmp_path).itertuples()
    assert (entry.n, entry.failed_cells, entry.rows) == (0, 1, 0)
    assert np.isnan(entry.dice_mean)


def test_rows_are_ordered_by_the_columns_that_methods_share(tmp_path: Path) -> None:
    # b is only on the easy dataset, where it is worse than a: it must not come first because its plain mean is higher.
    write_cell(tmp_path, [score("A", dice=0.9)], method="a", dataset="easy")
    write_cell(tmp_path, [score("A", dice=0.5)], method="a", dataset="hard")
    write_cell(tmp_path, [score("A", dice=0.8)], method="b", dataset="easy")
    write_cell(tmp_path, [score("A", dice=0.4)], method="c", dataset="hard")
    write_cell(tmp_path, status="failed", method="never")
    table = _entries(tmp_path)
    assert summary.order(table)[0] == "a"
    assert summary.order(table)[-1] == "never"
