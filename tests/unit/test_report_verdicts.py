"""Crossed intervals, Holm, and the words that follow; expected values worked out by hand, or by simulation."""

from __future__ import annotations

from math import exp, nan, sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from benchmark.report import frame, intervals, sensitivity, summary, verdict_tables, verdicts
from benchmark.report.verdicts import ENDPOINTS, crossed, holm, verdict
from tests.unit.report_records import score, write_cell

DICE, HD95 = ENDPOINTS


def _verdicts(results: Path) -> pd.DataFrame:
    loaded = frame.load(results / "toy")
    designs = verdicts.designs(loaded, summary.patient_values(summary.class_values(loaded)))
    return verdicts.against_lower_bounds(loaded, designs)


def _two_methods(results: Path, gain: float, *, seeds: int = 3, noise: float = 0.0, **more: str) -> None:
    """A lower bound and a method that is ``gain`` Dice ahead; HD95 4 against 9, so 1 + HD95 has the ratio 5/10."""
    random = np.random.default_rng(0)
    for seed in range(seeds):
        wobble = noise * random.normal(size=6)
        level = 0.5 + 0.02 * seed
        write_cell(
            results, [score(f"p{i}", dice=level + 0.01 * i, hd95=9.0) for i in range(6)], method="supervised",
            role="lower", seed=seed,
        )  # fmt: skip
        rows = [score(f"p{i}", dice=level + 0.01 * i + gain + wobble[i], hd95=4.0) for i in range(6)]
        write_cell(results, rows, method="cps", seed=seed, **more)


def test_the_crossed_error_of_an_additive_table_is_that_of_the_formula() -> None:
    # seed effects -1, 0, 1 and patient effects -2, 0, 2 without residual: MS_seed = 3 · 2/2 = 3, MS_patient = 3 · 8/2 =
    # 12, MS_residual = 0. SE² = (3 + 12)/9. Satterthwaite: 15² / (3²/2 + 12²/2) = 225/76.5.
    values = np.array([-1.0, 0, 1])[:, None] + np.array([-2.0, 0, 2]) + 7
    found = crossed(values)
    assert found.mean == pytest.approx(7)
    assert found.se == pytest.approx(sqrt(15 / 9))
    assert found.df == pytest.approx(225 / 76.5)
    half = stats.t.ppf(0.975, 225 / 76.5) * sqrt(15 / 9)
    assert found.interval() == pytest.approx((7 - half, 7 + half))
    assert found.p_value() == pytest.approx(2 * stats.t.sf(7 / sqrt(15 / 9), 225 / 76.5))


def test_the_error_is_never_below_what_seeds_alone_show() -> None:
    # columns (0,1,0), (2,3,1), (1,0,3): the floor holds whatever the negative residual term says
    random = np.random.default_rng(1)
    for _ in range(200):
        values = random.normal(size=(4, 5))
        by_seed = values.mean(axis=1)
        assert crossed(values).se >= by_seed.std(ddof=1) / sqrt(4) - 1e-12
        assert crossed(values).df >= 3


def test_seed_luck_is_not_taken_for_a_difference() -> None:
    # no true difference; standard deviations of seed, patient and residual 1, 2, 3 points, as measured designs have:
    # the crossed test keeps its 5 % (± 3 standard errors of 600 repeats, 2.7 %), Wilcoxon on one run does not
    random = np.random.default_rng(7)
    mistaken = {"crossed": 0, "one run": 0}
    repeats, seeds, patients = 600, 5, 40
    for _ in range(repeats):
        values = random.normal(size=(seeds, 1)) + 2 * random.normal(size=patients)
        values = values + 3 * random.normal(size=(seeds, patients))
        mistaken["crossed"] += crossed(values).p_value() < 0.05
        mistaken["one run"] += stats.wilcoxon(values[0]).pvalue < 0.05
    assert 0.02 < mistaken["crossed"] / repeats < 0.08
    assert mistaken["one run"] / repeats > 0.2


def test_a_true_difference_of_the_detectable_size_is_found_in_four_of_five_studies() -> None:
    # the true variance of the mean gives the detectable difference; power there must be 80 % ± 6 %
    random = np.random.default_rng(3)
    seeds, patients, repeats = 6, 30, 500
    truth = sqrt(1 / seeds + 4 / patients + 9 / (seeds * patients))
    study = verdicts.Crossed(0.0, truth, 14.0, seeds, patients)  # about the df that such tables have
    found = 0
    for _ in range(repeats):
        values = random.normal(size=(seeds, 1)) + 2 * random.normal(size=patients) + study.detectable()
        found += crossed(values + 3 * random.normal(size=(seeds, patients))).p_value() < 0.05
    assert found / repeats == pytest.approx(0.8, abs=0.06)


def test_an_incomplete_table_is_refused() -> None:
    with pytest.raises(ValueError, match="1 values that are not finite"):
        crossed(np.array([[1.0, nan], [0.0, 1.0]]))


def test_two_seeds_give_no_interval() -> None:
    found = crossed(np.arange(20.0).reshape(2, 10))
    assert np.isnan([found.se, *found.interval(), found.p_value()]).all()
    assert found.mean == pytest.approx(9.5)


def test_holm_agrees_with_statsmodels() -> None:
    p_values = np.random.default_rng(5).uniform(0, 0.2, 15)
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_leaves_out_what_was_not_tested() -> None:
    # two tests: .01 · 2 and .04 · 1
    assert holm([0.04, nan, 0.01]) == pytest.approx([0.04, nan, 0.02], nan_ok=True)


@pytest.mark.parametrize(
    ("mean", "se", "p", "expected"),
    [
        (0.02, 0.002, 0.001, "better"),
        (-0.02, 0.002, 0.001, "worse"),
        (0.02, 0.02, 0.3, "not separable"),
        (0.004, 0.0001, 0.0001, "equivalent"),  # significant, but not worth having
        (0.0, 0.001, 0.9, "equivalent"),
        (0.02, 0.02, nan, ""),
    ],
)
def test_words_follow_from_correction_and_margin(mean: float, se: float, p: float, expected: str) -> None:
    assert verdict(verdicts.Crossed(mean, se, 20.0, 5, 40), p, DICE) == expected


def test_a_smaller_distance_is_better() -> None:
    assert verdict(verdicts.Crossed(-0.5, 0.05, 20.0, 5, 40), 0.001, HD95) == "better"


def test_methods_are_paired_with_the_lower_bound_by_seed_and_patient(tmp_path: Path) -> None:
    # the method is exactly .1 ahead on every seed and patient, though seeds differ by .02 and patients by .01
    _two_methods(tmp_path, 0.1, noise=1e-4)
    dice, hd95 = _verdicts(tmp_path).itertuples()
    assert (dice.label, dice.reference, dice.seeds, dice.patients) == ("cps", "supervised", 3, 6)
    assert dice.difference == pytest.approx(0.1, abs=2e-4)
    assert (dice.verdict, dice.superiority) == ("better", 1.0)
    assert exp(hd95.difference) == pytest.approx(0.5), "(1 + 4)/(1 + 9)"
    assert hd95.verdict == "better"


def test_scribble_methods_are_not_compared_with_the_dense_lower_bound(tmp_path: Path) -> None:
    _two_methods(tmp_path, 0.1, annotation="scribble")
    assert _verdicts(tmp_path).empty


def test_seeds_that_one_of_the_two_lacks_are_left_out(tmp_path: Path) -> None:
    _two_methods(tmp_path, 0.1, seeds=4, noise=1e-4)
    write_cell(tmp_path, method="cps", seed=3, status="failed", reason="NaN")
    assert set(_verdicts(tmp_path)["seeds"]) == {3}


def test_the_table_of_verdicts_gives_interval_and_word(tmp_path: Path) -> None:
    _two_methods(tmp_path, 0.1, noise=1e-3)
    loaded = frame.load(tmp_path / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    entries = summary.entries(loaded, patients)
    dice, hd95 = verdict_tables.verdict_tables(entries, _verdicts(tmp_path))
    ((row,), (distance,)) = dice.rows, hd95.rows
    assert row.label == "cps"
    low, high = (float(text) for text in row.numbers[0].text.split("[")[1].split("]")[0].split(","))
    assert low <= 10 <= high
    assert row.numbers[0].text.startswith("+10.0 [")
    assert row.numbers[0].text.endswith("]\np < .001, better")
    assert distance.numbers[0].text == "×0.50 [0.50, 0.50]\np < .001, better", "every difference is the same"
    assert "over the 1 planned comparisons" in dice.notes[0]


def test_a_winner_that_another_rule_would_change_is_flagged(tmp_path: Path) -> None:
    # "bold" misses one organ of two: Dice (0 + .9)/2 = .45 < .5 when penalised, .9 > .5 when only successes count.
    # HD95: (100 + 2)/2 = 51 > 4, but 2 < 4.
    write_cell(tmp_path, [score("A", status="missed"), score("B", dice=0.9, hd95=2.0)], method="bold")
    write_cell(tmp_path, [score("A", dice=0.5, hd95=4.0), score("B", dice=0.5, hd95=4.0)], method="steady")
    loaded = frame.load(tmp_path / "toy")
    entries = summary.entries(loaded, summary.patient_values(summary.class_values(loaded)))
    found = sensitivity.flips(loaded, entries, rule="penalised")
    assert (
        "The winner depends on the rule: Dice of phantom_2d at 10% is best for steady under penalised, but for bold "
        "under successes."
    ) in found
    # MONAI's rule keeps the 0 of a missed organ for Dice, and drops its distance
    assert not any("Dice" in sentence and "monai_skip" in sentence for sentence in found)
    assert any("HD95" in sentence and "monai_skip" in sentence for sentence in found)


def test_no_winner_is_flagged_where_nothing_was_missed(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A", dice=0.9)], method="bold")
    write_cell(tmp_path, [score("A", dice=0.5)], method="steady")
    loaded = frame.load(tmp_path / "toy")
    entries = summary.entries(loaded, summary.patient_values(summary.class_values(loaded)))
    assert sensitivity.flips(loaded, entries, rule="penalised") == []


def test_intervals_of_means_stay_within_the_scale(tmp_path: Path) -> None:
    # seed means .8, .99, .99: mean .927 and t(2) = 4.3 times a standard error of .063 lead far beyond 1
    for seed, level in enumerate((0.8, 0.99, 0.99)):
        write_cell(tmp_path, [score(f"p{i}", dice=level + 0.001 * i) for i in range(4)], seed=seed)
    loaded = frame.load(tmp_path / "toy")
    designs = verdicts.designs(loaded, summary.patient_values(summary.class_values(loaded)))
    entries = summary.entries(loaded, summary.patient_values(summary.class_values(loaded)))
    (row,) = intervals.intervals(entries, designs).itertuples()
    assert row.dice_low < 0.93 < row.dice_high == 1.0
