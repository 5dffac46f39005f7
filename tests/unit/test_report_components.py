"""Variance components against statsmodels, and what a seed draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.regression.mixed_linear_model import MixedLM

from benchmark import record
from benchmark.report import components, frame, intervals, summary, verdicts
from benchmark.report.components import DIFFERENCE, INITIALISATION, METHOD, SUBSET
from tests.unit.report_designs import noisy, study
from tests.unit.report_records import score, write_cell


def _table(seed: int, shape: tuple[int, int] = (6, 15)) -> np.ndarray:
    random = np.random.default_rng(seed)
    return 2 * random.normal(size=(shape[0], 1)) + 3 * random.normal(size=shape[1]) + random.normal(size=shape)


@pytest.mark.parametrize("seed", [0, 1])
def test_components_of_a_balanced_table_are_those_of_statsmodels(seed: int) -> None:
    # REML with two crossed random effects, as variance components of one all-embracing group
    values = _table(seed)
    long = pd.DataFrame(values).stack().rename("value").rename_axis(["seed", "patient"]).reset_index()
    crossed_effects = {"seed": "0 + C(seed)", "patient": "0 + C(patient)"}
    model = MixedLM.from_formula("value ~ 1", long, groups=np.ones(len(long)), vc_formula=crossed_effects)
    fitted = model.fit(reml=True, method="lbfgs")
    of_patients, of_seeds = fitted.vcomp  # alphabetical
    found = components.components(values)
    assert found.seed**2 == pytest.approx(of_seeds, rel=2e-3)
    assert found.patient**2 == pytest.approx(of_patients, rel=2e-3)
    assert found.residual**2 == pytest.approx(fitted.scale, rel=2e-3)


def test_the_standard_error_is_made_of_the_components() -> None:
    # σ_s²/S + σ_p²/n + σ_e²/(S n), where no floor is reached
    values = _table(3)
    found, (seeds, patients) = components.components(values), values.shape
    variance = found.seed**2 / seeds + found.patient**2 / patients + found.residual**2 / (seeds * patients)
    assert verdicts.crossed(values).se == pytest.approx(variance**0.5)


def test_a_component_that_comes_out_negative_is_nothing() -> None:
    # rows 0 1, 1 0: both means are equal everywhere, all of it is residual
    found = components.components(np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert (found.seed, found.patient, found.residual) == (0.0, 0.0, 1.0)


def test_what_both_methods_find_hard_cancels_in_their_difference() -> None:
    hard = 0.05 * np.random.default_rng(5).normal(size=12)
    random = np.random.default_rng(6)
    tables = {
        ("lower", "supervised", "heart", "10%"): noisy(0.7, random, hard=hard),
        ("method", "a", "heart", "10%"): noisy(0.8, random, hard=hard),
    }
    found = components.decomposition(*study(tables))
    of = found[found["endpoint"] == "Dice"].set_index("of")
    assert of.loc[METHOD, "sd_patient"] == pytest.approx(hard.std(ddof=1), abs=0.004)
    assert of.loc[DIFFERENCE, "sd_patient"] < 0.004
    shares = of[["share_seed", "share_patient", "share_residual"]].sum(axis=1)
    assert shares.tolist() == pytest.approx([1, 1])


def test_no_decomposition_below_three_seeds() -> None:
    assert components.decomposition(*study({("method", "a", "heart", "10%"): np.zeros((2, 9))})).empty


def test_the_upper_bound_is_no_method_whose_variance_is_averaged() -> None:
    random = np.random.default_rng(0)
    ours, bound = noisy(0.6, random), noisy(0.9, random)
    alone = components.decomposition(*study({("method", "a", "heart", "100%"): ours}))
    both = components.decomposition(
        *study({("method", "a", "heart", "100%"): ours, ("upper", "all labels", "heart", "100%"): bound})
    )
    pd.testing.assert_frame_equal(alone, both)
    assert set(both["tables"]) == {1}


def test_it_is_said_whether_seeds_draw_the_labelled_patients_too(tmp_path: Path) -> None:
    for seed in range(2):
        for ratio, groups in ((0.1, [f"p{seed}"]), (0.2, ["p0", "p1"])):
            folder = write_cell(tmp_path, [score("A")], seed=seed, ratio=ratio)
            rec = record.read(folder)
            assert rec is not None
            record.write(folder, replace(rec, split=rec.split | {"labelled_groups": groups}), [score("A")])
    found = components.seeds_draw(frame.load(tmp_path / "toy"))
    assert found == {("phantom_2d", "10%"): SUBSET, ("phantom_2d", "20%"): INITIALISATION}


def test_labelled_patients_that_change_with_the_fold_are_not_drawn_by_seeds(tmp_path: Path) -> None:
    for fold in (1, 2):
        split = {"labelled_groups": [f"of fold {fold}"], "train_groups": 1}
        write_cell(tmp_path, [score("A")], fold=fold, split=split)
    assert components.seeds_draw(frame.load(tmp_path / "toy")) == {("phantom_2d", "10%"): INITIALISATION}


def test_a_patient_whom_the_rule_leaves_out_of_a_seed_is_not_infinitely_far() -> None:
    dice, hd95 = (pd.DataFrame(np.tile(values, (3, 1))) for values in ([0.4, 0.6, 0.8, 1.0], [2.0, 4.0, 6.0, 8.0]))
    dice.iloc[0, 0] = hd95.iloc[0, 0] = np.inf
    key = ("method", "a", "heart", "10%")
    entries = pd.DataFrame([key], columns=summary.ENTRY)
    (row,) = intervals.intervals(entries, {key: {"dice": dice, "hd95": hd95}}).itertuples()
    assert row.dice_sd_patients == pytest.approx(np.std([0.4, 0.6, 0.8, 1.0], ddof=1))
    assert (row.hd95_q1, row.hd95_median, row.hd95_q3) == pytest.approx((3.5, 5, 6.5))


def test_an_entry_has_spreads_of_its_patients_and_a_failure_rate_with_that_of_its_seeds(tmp_path: Path) -> None:
    # four patients, Dice .4 .6 .8 1 in every seed, but the first one missed in seed 0: (0 + .4 + .4)/3. Failure rates
    # of the seeds 1/4, 0, 0: an interval that takes the twelve rows for independent is too narrow, so there is none
    for seed in range(3):
        rows = [score(f"p{i}", dice=0.4 + 0.2 * i, hd95=2.0 * (i + 1)) for i in range(4)]
        if seed == 0:
            rows[0] = score("p0", status="missed")
        write_cell(tmp_path, rows, seed=seed)
    loaded = frame.load(tmp_path / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    table = summary.entries(loaded, patients)
    (entry,) = table.itertuples()
    assert (entry.failure_rate_mean, entry.failure_rate_sd) == pytest.approx((1 / 12, np.std([0.25, 0, 0], ddof=1)))
    found = intervals.intervals(table, verdicts.designs(loaded, patients))
    assert not [name for name in found if name.startswith("failure")]
    (row,) = found.itertuples()
    assert row.dice_sd_patients == pytest.approx(np.std([0.8 / 3, 0.6, 0.8, 1.0], ddof=1))
    # HD95 of patients over seeds: (100 + 2 + 2)/3, 4, 6, 8
    assert (row.hd95_q1, row.hd95_median, row.hd95_q3) == pytest.approx(np.percentile([104 / 3, 4, 6, 8], [25, 50, 75]))
