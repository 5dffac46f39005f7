"""What labels are worth: every expected number follows from label curves of two or three points."""

from __future__ import annotations

from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.report import economics, frame, summary, verdicts, worth
from benchmark.report.economics import Curve, area, labels_to_reach, multiplier, reached
from tests.unit.report_records import score, write_cell

SEEDS, PATIENTS = 3, ("A", "B", "C")


def _cells(results: Path, points: dict[int, float], *, seeds: int = SEEDS, minutes: float | None = None, **who: Any):
    """One entry for each number of labelled patients, with that mean Dice in every seed and patient."""
    for labels, dice in points.items():
        for seed in range(seeds):
            split = {"labelled_groups": [f"p{i}" for i in range(labels)], "train_groups": 32, "val_groups": 4}
            receipt = {} if minutes is None else {"annotation": {"labelled": {"minutes": minutes * labels}}}
            rows = [score(patient, dice=dice) for patient in PATIENTS]
            write_cell(results, rows, ratio=labels / 32, seed=seed, split=split, receipt=receipt, **who)


def _study(results: Path, method: dict[int, float], **who: Any) -> None:
    """Full supervision: 50 with 2 labelled patients, 70 with 8, 90 with all 32; and one method."""
    _cells(results, {2: 0.5, 8: 0.7}, method="supervised", role="lower")
    _cells(results, {32: 0.9}, method="supervised", label="all labels", role="upper")
    _cells(results, method, **({"method": "cps"} | who))


def _numbers(results: Path) -> dict[tuple[str, str, str], Any]:
    loaded = frame.load(results / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    entries = summary.entries(loaded, patients)
    found = worth.quantities(entries, economics.curves(loaded, entries, verdicts.designs(loaded, patients)))
    return {(row.quantity, row.label, row.amount): row for row in found.itertuples()}


def _texts(results: Path) -> dict[str, dict[str, list[str]]]:
    loaded = frame.load(results / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    entries = summary.entries(loaded, patients)
    found = worth.quantities(entries, economics.curves(loaded, entries, verdicts.designs(loaded, patients)))
    return {
        table.key: {row.label: [number.text for number in row.numbers] for row in table.rows}
        for table in worth.tables(found, entries)
    }


def _curve(labels: list[float], dice: list[Any], **more: Any) -> Curve:
    """``dice``: for each number of labels one value for all, or a table of seeds × patients."""
    tables = np.array([np.broadcast_to(np.asarray(each, float), (4, 5)) for each in dice])
    keys = tuple(("method", "m", "d", f"{n}") for n in labels)
    return Curve("method", "m", "d", "dense", keys, np.array(labels, float), np.full(len(labels), nan), tables, **more)


def test_the_area_weighs_amounts_by_their_distance_on_the_logarithmic_axis() -> None:
    # log2 of 1, 2, 8 = 0, 1, 3: (1 · (40 + 60)/2 + 2 · (60 + 80)/2) / 3 = (50 + 140) / 3
    found = area(_curve([1, 2, 8], [0.4, 0.6, 0.8]), 1, 8)
    assert found is not None
    assert found.mean == pytest.approx(1.9 / 3)
    assert found.interval() == (pytest.approx(1.9 / 3), pytest.approx(1.9 / 3)), "all seeds and patients are equal"


def test_the_area_has_the_interval_of_the_crossed_test_on_its_own_seeds_and_patients() -> None:
    # an area of two amounts is the plain mean of the two tables, so its test must be that of the mean table
    random = np.random.default_rng(3)
    tables = random.uniform(0.5, 0.9, (2, 4, 5))
    found = area(_curve([2, 16], list(tables)), 2, 16)
    expected = verdicts.crossed(tables.mean(axis=0))
    assert found is not None
    assert (found.mean, found.se, found.df) == pytest.approx((expected.mean, expected.se, expected.df))


def test_a_curve_that_lacks_an_end_has_no_area() -> None:
    curve = _curve([1, 2, 8], [0.4, 0.6, 0.8])
    assert area(curve, 1, 16) is None
    assert area(curve, 0.5, 8) is None


def test_the_gain_in_area_is_paired_on_the_seeds_and_patients_that_both_have() -> None:
    # the reference lacks seed 3; on the other seeds the method is ahead by .1 everywhere, whatever their spread
    tables = np.random.default_rng(0).uniform(0.4, 0.8, (2, 4, 5))
    below = tables - 0.1
    tables[:, 3] = 0.99
    below[:, 3] = nan
    found = area(_curve([2, 4], list(tables)), 2, 4, _curve([2, 4], list(below)))
    assert found is not None
    assert (found.mean, found.se, found.seeds) == (pytest.approx(0.1), pytest.approx(0, abs=1e-12), 3)


def test_a_patient_in_whom_one_alone_predicts_something_where_nothing_is_counts_on_both_sides() -> None:
    # the bound predicts nothing in patient 0, which is right (Dice 1), and the method something (Dice 0); else .1 ahead
    bound, method = (np.full((4, 5), dice) for dice in (0.5, 0.6))
    bound[:, 0], method[:, 0] = nan, 0.0
    below, own = _curve([2, 4], [bound, bound]), _curve([2, 4], [method, method])
    found = area(own, 2, 4, below)
    assert found is not None
    assert (found.mean, found.patients) == (pytest.approx((4 * 0.1 - 1) / 5), 5)
    assert multiplier(own, 0, below).value == -inf, "the bound needs fewer labels than were tried"
    alone = area(below, 2, 4)
    assert alone is not None
    assert (alone.mean, alone.patients) == (pytest.approx(0.5), 4), "of itself, it has no value there"
    bound[:, 0] = inf  # as the rule leaves it out
    found = area(own, 2, 4, _curve([2, 4], [bound, bound]))
    assert found is not None
    assert (found.mean, found.patients) == (pytest.approx(0.1), 4)


def test_a_curve_is_read_where_it_first_comes_up_to_the_target() -> None:
    # it rises to .7 at 1 and falls to .6: .65 is met at 0 + (.65 − .5)/.2 = .75, on the way up
    curve = np.array([[0.5, 0.7, 0.6]])
    places = np.array([0.0, 1.0, 2.0])
    assert reached(places, curve, np.array([0.65])) == pytest.approx([0.75])
    assert reached(places, curve, np.array([0.5])).tolist() == [-inf]
    assert reached(places, curve, np.array([0.71])).tolist() == [inf]


def test_labels_to_reach_a_share_of_the_bound() -> None:
    # 90 % of .9 = .81 lies (.81 − .7)/(.9 − .7) = .55 of the way from 8 to 32 labels: 8 · 4^.55 = 17.15
    found = labels_to_reach(_curve([2, 8, 32], [0.5, 0.7, 0.9]), _curve([32], [0.9]), 0.9)
    assert found.value == pytest.approx(8 * 4**0.55)
    assert (found.low, found.high) == (pytest.approx(found.value), pytest.approx(found.value))


@pytest.mark.parametrize(
    ("dice", "expected"),
    # supervised needs 8 labels for .7 and, half-way on the axis, √(2·8) = 4 for .6; the method has 2
    [(0.7, 4.0), (0.6, 2.0), (0.95, inf), (0.4, -inf)],
)
def test_the_multiplier_is_the_labels_that_the_reference_needs_over_those_that_the_method_has(
    dice: float, expected: float
) -> None:
    found = multiplier(_curve([2], [dice]), 0, _curve([2, 8, 32], [0.5, 0.7, 0.9]))
    assert found.value == pytest.approx(expected)
    assert (found.least, found.most) == (1, 16), "2/2 and 32/2"


def test_the_bootstrap_draws_the_same_seeds_and_patients_for_both_curves() -> None:
    # the method's table is the reference's own at 8 labels: whatever is drawn, the multiplier is 8/2
    tables = np.random.default_rng(1).uniform(0.6, 0.8, (4, 5))
    found = multiplier(_curve([2], [tables]), 0, _curve([2, 8, 32], [tables - 0.2, tables, tables + 0.1]))
    assert (found.low, found.value, found.high) == (pytest.approx(4), pytest.approx(4), pytest.approx(4))


def test_a_drawn_mean_weighs_each_seed_and_patient_by_how_often_it_was_drawn() -> None:
    of_seeds, of_patients = economics.resampled(4, 5)
    tables = np.random.default_rng(2).uniform(0, 1, (2, 4, 5))
    curve = _curve([1, 2], list(tables))
    drawn = economics._drawn(curve, (tuple(range(4)), tuple(range(5))))
    assert (of_seeds.sum(axis=1), of_patients.sum(axis=1)) == (pytest.approx(1), pytest.approx(1))
    for draw in (0, 7):
        slow = [
            sum(of_seeds[draw, s] * of_patients[draw, p] * tables[k, s, p] for s in range(4) for p in range(5))
            for k in range(2)
        ]
        assert drawn[draw] == pytest.approx(slow)


def test_the_interval_of_a_multiplier_covers_the_truth_as_often_as_other_bootstraps_of_ten_seeds_do() -> None:
    # truth: reference .5 at 2 and .7 at 8 labels, the method .6 at 2, so ×2; 150 studies of 10 seeds and 20 patients.
    # A percentile interval of ten seeds covers a little below 95 %: 87 to 99 % leaves room for that and for chance.
    random, covered = np.random.default_rng(5), 0
    for _ in range(150):
        seeds, patients = random.normal(0, 0.02, (3, 10, 1)), random.normal(0, 0.03, (1, 1, 20))
        noise = random.normal(0, 0.02, (3, 10, 20))
        low, high, mine = np.array([0.5, 0.7, 0.6])[:, None, None] + seeds + patients + noise
        curves = [
            Curve("lower", "l", "d", "dense", (), np.array([2.0, 8.0]), np.full(2, nan), np.array([low, high])),
            Curve("method", "m", "d", "dense", (), np.array([2.0]), np.full(1, nan), mine[None]),
        ]
        found = multiplier(curves[1], 0, curves[0])
        covered += found.low <= 2 <= found.high
    assert 0.87 <= covered / 150 <= 0.99


# From records to tables ---------------------------------------------------------------------------------------------
def test_records_become_curves_and_numbers_with_their_cells(tmp_path: Path) -> None:
    _study(tmp_path, {2: 0.6, 8: 0.8})
    found = _numbers(tmp_path)
    assert found["area", "cps", ""].value == pytest.approx(0.7)
    assert found["area gain", "cps", ""].value == pytest.approx(0.1)
    assert found["labels multiplier", "cps", "6.25%"].value == pytest.approx(2)
    # .8 is half-way from .7 at 8 to .9 at 32 labels: 16, over the 8 that it has
    assert found["labels multiplier", "cps", "25%"].value == pytest.approx(2)
    assert found["labels to 90% of the upper bound", "supervised", ""].value == pytest.approx(8 * 4**0.55)
    ids = found["labels multiplier", "cps", "25%"].ids
    assert len(ids) == len(set(ids)) == 3 * (1 + 3), "its own amount, and all three points of the supervised curve"


def test_tables_say_what_lies_beyond_the_amounts_tried(tmp_path: Path) -> None:
    _study(tmp_path, {2: 0.95, 8: 0.45})
    texts = _texts(tmp_path)
    assert texts["multipliers"] == {"cps": ["> ×16", "≤ ×0.2"]}
    assert texts["economics"]["cps"][2:] == ["≤ 2", "≤ 2"]
    assert texts["economics"]["supervised"][2:3] == [f"{8 * 4**0.55:.0f} [17, 17]"]
    assert "minutes" not in texts


def test_each_kind_of_labels_has_a_column_of_its_own(tmp_path: Path) -> None:
    _study(tmp_path, {2: 0.6})
    _cells(tmp_path, {8: 0.85}, method="cps", annotation="scribble")  # 94 % of the bound's .9
    loaded = frame.load(tmp_path / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    entries = summary.entries(loaded, patients)
    found = worth.quantities(entries, economics.curves(loaded, entries, verdicts.designs(loaded, patients)))
    (table,) = (each for each in worth.tables(found, entries) if each.key == "economics")
    texts = {row.label: [number.text for number in row.numbers] for row in table.rows}["cps"]
    shown = dict(zip([column.amount for column in table.columns], texts, strict=True))
    assert (shown["labels to 90%, dense"], shown["labels to 90%, scribble"]) == ("> 2", "≤ 8")


def test_below_three_seeds_there_is_no_interval(tmp_path: Path) -> None:
    _cells(tmp_path, {2: 0.5, 8: 0.7}, method="supervised", role="lower", seeds=2)
    _cells(tmp_path, {2: 0.6, 8: 0.8}, method="cps", seeds=2)
    found = _numbers(tmp_path)
    assert all(isnan(found[name].low) for name in found)
    assert _texts(tmp_path)["economics"]["cps"] == ["70.0", "+10.0"]


def test_one_amount_of_one_kind_of_labels_has_no_economics(tmp_path: Path) -> None:
    _cells(tmp_path, {2: 0.5}, method="supervised", role="lower")
    _cells(tmp_path, {2: 0.6}, method="cps")
    assert _texts(tmp_path) == {}


def test_two_amounts_that_are_the_same_number_of_patients_are_one_place_of_the_curve(tmp_path: Path) -> None:
    for ratio in (0.05, 0.06):
        split = {"labelled_groups": ["p0", "p1"], "train_groups": 32}
        write_cell(tmp_path, [score(p, dice=0.5) for p in PATIENTS], ratio=ratio, split=split, role="lower")
    _cells(tmp_path, {8: 0.7}, role="lower")
    loaded = frame.load(tmp_path / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    (curve,) = economics.curves(loaded, summary.entries(loaded, patients), verdicts.designs(loaded, patients))
    assert curve.labels.tolist() == [2, 8]
    assert np.isinf(curve.dice[:, 1:]).all(axis=2).tolist() == [[True, True], [False, False]]


# Minutes ------------------------------------------------------------------------------------------------------------
def test_weak_and_dense_labels_meet_on_the_axis_of_minutes(tmp_path: Path) -> None:
    # dense: 10 min a patient, 20 for .5 and 80 for .7, so √(20·80) = 40 for .6. Scribbles: 1 min a patient, 8 for .6.
    _cells(tmp_path, {2: 0.5, 8: 0.7}, method="supervised", role="lower", minutes=10)
    _cells(tmp_path, {8: 0.6}, method="wsl4mis", annotation="scribble", minutes=1)
    assert _numbers(tmp_path)["minutes multiplier", "wsl4mis", "25%"].value == pytest.approx(40 / 8)
    assert _texts(tmp_path)["minutes"]["wsl4mis"] == ["n/a", "8.0 min\n×5.0 [5.0, 5.0]"]
    assert _texts(tmp_path)["minutes"]["supervised"] == ["20 min", "80 min"]


def test_a_cost_that_was_not_recorded_is_said_to_be_missing_and_not_guessed(tmp_path: Path) -> None:
    _cells(tmp_path, {2: 0.5, 8: 0.7}, method="supervised", role="lower", minutes=10)
    _cells(tmp_path, {8: 0.6}, method="wsl4mis", annotation="scribble")
    loaded = frame.load(tmp_path / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    entries = summary.entries(loaded, patients)
    found = economics.curves(loaded, entries, verdicts.designs(loaded, patients))
    (note,) = worth.cost_note(found)
    assert note.startswith("No cost of annotation was recorded for phantom_2d")
    assert not any("wsl4mis" in key and "minutes" in key[0] for key in _numbers(tmp_path))
    assert worth.cost_note([curve for curve in found if curve.kind == "dense"]) == ()


def test_shapes_that_dense_labels_lend_are_paid_for() -> None:
    annotation = {"labelled": {"minutes": 3.0}, "shapes": {"minutes": 20.0}, "validation": {"minutes": 99.0}}
    assert economics._minutes(annotation) == 23.0
    assert isnan(economics._minutes(None))


def test_quantities_of_nothing_are_an_empty_frame_with_its_columns() -> None:
    found = worth.quantities(pd.DataFrame(columns=summary.ENTRY), [])
    assert found.empty
    assert worth.tables(found, pd.DataFrame(columns=[*summary.ENTRY, "annotation"])) == []
