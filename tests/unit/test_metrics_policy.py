"""What a missing organ counts for under each named rule."""

from __future__ import annotations

from dataclasses import fields
from math import inf, nan, sqrt

import numpy as np
import pytest

from benchmark.metrics import ClassMeasures, apply_rule, failure_scores, measure, policy

STATUSES = ["ok", "both_empty", "missed", "spurious", "failed"]
DIAGONALS = [100.0, 110.0, 120.0, 130.0, 140.0]
RAW = {"dice": [0.8, nan, 0.0, 0.0, 0.0], "hd95": [3.0, nan, inf, inf, inf]}


@pytest.mark.parametrize(
    ("rule", "metric", "expected"),
    [
        # one row per status: ok, both_empty, missed, spurious, failed
        ("penalised", "dice", [0.8, nan, 0, 0, 0]),
        ("penalised", "hd95", [3, nan, 120, 130, 140]),
        ("successes", "dice", [0.8, nan, nan, nan, nan]),
        ("successes", "hd95", [3, nan, nan, nan, nan]),
        ("empty_is_perfect", "dice", [0.8, 1, 0, 0, 0]),
        ("empty_is_perfect", "hd95", [3, 0, 120, 130, 140]),
        ("monai_skip", "dice", [0.8, nan, 0, nan, nan]),
        ("monai_skip", "nsd", [0.8, nan, 0, 0, nan]),
        ("empty_is_perfect", "nsd", [0.8, 1, 0, 0, 0]),
        ("monai_skip", "hd95", [3, nan, nan, nan, nan]),
        ("ssl4mis_zero", "dice", [0.8, 0, 0, 0, 0]),
        ("ssl4mis_zero", "hd95", [3, 0, 0, 130, 0]),
        ("maskmixadv_constants", "dice", [0.8, nan, 0, 0, 0]),
        ("maskmixadv_constants", "hd95", [3, nan, 50, 50, 50]),
        ("maskmixadv_constants", "assd", [3, nan, 10, 10, 10]),
    ],
)
def test_each_rule_gives_each_status_what_it_says(rule, metric, expected):
    raw = RAW["dice" if metric in policy.OVERLAPS else "hd95"]
    np.testing.assert_array_equal(apply_rule(raw, STATUSES, DIAGONALS, metric, rule), expected)


def test_the_default_is_the_penalised_rule():
    np.testing.assert_array_equal(apply_rule(RAW["hd95"], STATUSES, DIAGONALS, "hd95"), [3, nan, 120, 130, 140])


def test_two_missed_organs_of_ten_do_not_look_like_none():
    # 8 cases at 2 mm and 2 missed ones: what MONAI averages to 2.0, and the published zero rule to 1.6
    values, statuses, diagonals = [2.0] * 8 + [inf] * 2, ["ok"] * 8 + ["missed"] * 2, [102.0] * 10
    means = {rule: np.nanmean(apply_rule(values, statuses, diagonals, "hd95", rule)) for rule in policy.RULES}
    assert means["penalised"] == pytest.approx((8 * 2 + 2 * 102) / 10)
    assert means["monai_skip"] == means["successes"] == 2.0
    assert means["ssl4mis_zero"] == pytest.approx(1.6)
    assert means["maskmixadv_constants"] == pytest.approx((16 + 100) / 10)


@pytest.mark.parametrize("rule", policy.RULES)
def test_values_of_classes_that_are_in_both_maps_are_never_touched(rule):
    values = np.random.default_rng(0).random(20)
    for metric in policy.HIGHER_IS_BETTER:
        np.testing.assert_array_equal(apply_rule(values, ["ok"] * 20, [9.0] * 20, metric, rule), values)


@pytest.mark.parametrize("rule", policy.RULES)
@pytest.mark.parametrize("metric", policy.HIGHER_IS_BETTER)
def test_no_rule_leaves_an_infinite_value(rule, metric):
    raw = RAW["dice" if metric in policy.OVERLAPS else "hd95"]
    assert not np.isinf(apply_rule(raw, STATUSES, DIAGONALS, metric, rule)).any()


@pytest.mark.parametrize("rule", policy.RULES)
def test_a_surface_dice_that_nobody_measured_stays_unmeasured(rule):
    assert np.isnan(apply_rule([nan] * 5, STATUSES, DIAGONALS, "nsd", rule)).all()


def test_rows_of_empty_maps_alone_may_be_said_to_be_measured():
    (alone,) = apply_rule([nan], ["both_empty"], [9.0], "nsd", "empty_is_perfect")
    (known,) = apply_rule([nan], ["both_empty"], [9.0], "nsd", "empty_is_perfect", measured=True)
    assert np.isnan(alone)
    assert known == 1


def test_rules_apply_to_no_rows():
    assert apply_rule([], [], [], "dice").shape == (0,)


def test_every_rule_is_described_in_one_line_and_knows_every_status():
    for rule in policy.RULES.values():
        assert "\n" not in rule.description
        assert len(rule.description) <= 120
        for metric in policy.HIGHER_IS_BETTER:
            assert set(rule.worths(metric)) == set(policy.STATUSES) - {"ok"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], ["ok"], [1.0], "hd59"), "unknown metric 'hd59'; allowed: dice, .* Did you mean 'hd95'?"),
        (([1.0], ["ok"], [1.0], "hd95", "penalized"), "unknown rule 'penalized'; .* Did you mean 'penalised'?"),
        (([1.0], ["mised"], [1.0], "hd95"), "unknown status 'mised'; .* Did you mean 'missed'?"),
        (([1.0, 2.0], ["ok"], [1.0], "hd95"), r"have the shapes \(2,\), \(1,\) and \(1,\); allowed: equal shapes"),
        (([inf], ["ok"], [1.0], "hd95"), "hd95 is inf in a row with status 'ok'"),
        (([nan], ["ok"], [1.0], "dice"), "dice is nan in a row with status 'ok'.*failure_scores"),
    ],
)
def test_columns_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        apply_rule(*arguments)


def test_every_measured_number_has_a_direction_and_a_unit():
    about = {"label", "status", "n_pred", "n_gt", "tp", "diagonal", "diagonal_vox"}
    assert set(policy.HIGHER_IS_BETTER) == set(policy.UNITS) == {field.name for field in fields(ClassMeasures)} - about
    assert policy.HIGHER_IS_BETTER["nsd"]
    assert not policy.HIGHER_IS_BETTER["hd95"]


def test_units_follow_the_spacing():
    assert policy.unit_of("dice", spacing=None) == "1"
    assert policy.unit_of("hd95", spacing=None) == "px"
    assert policy.unit_of("hd95", spacing=(1.0, 1.0)) == "mm"
    assert policy.unit_of("hd95_vox", spacing=(1.0, 1.0)) == "px"


def test_a_failed_case_keeps_a_row_of_every_class():
    reference = np.zeros((4, 5, 6), np.int16)
    reference[1:3, 2, 2] = 2
    rows = failure_scores(reference, classes=3, spacing=(3.0, 1.0, 1.0), tolerance=[1.0, 1.0])
    assert [(row.label, row.status, row.n_pred, row.n_gt, row.tp) for row in rows] == [
        (1, "failed", 0, 0, 0),
        (2, "failed", 0, 2, 0),
    ]
    for row in rows:
        assert [getattr(row, name) for name in policy.OVERLAPS] == [0.0] * 4
        assert [getattr(row, name) for name in policy.DISTANCES] == [inf] * len(policy.DISTANCES)
        # 4 x 5 x 6 voxels of 3 x 1 x 1 mm
        assert row.diagonal == pytest.approx(sqrt(12**2 + 5**2 + 6**2))
        assert row.diagonal_vox == pytest.approx(sqrt(4**2 + 5**2 + 6**2))


def test_a_failed_case_without_a_tolerance_has_no_surface_dice():
    (row,) = failure_scores(np.zeros((4, 5), np.uint8), classes=2, spacing=None)
    assert np.isnan([row.nsd, row.nsd_count]).all()
    assert row.dice == 0.0


def test_a_failed_case_is_checked_like_any_other():
    with pytest.raises(ValueError, match="reference holds the label 3"):
        failure_scores(np.full((4, 5), 3), classes=2, spacing=None)


def test_the_penalty_is_no_smaller_than_any_distance_in_the_image():
    # Opposite corners of the image: N - 1 voxels apart along each axis.
    first, second = np.zeros((2, 7, 8, 9), np.uint8)
    first[0, 0, 0], second[-1, -1, -1] = 1, 1
    (row,) = measure(first, second, classes=2, spacing=(3.0, 1.0, 2.0))
    for name, diagonal in policy.PENALTIES.items():
        assert getattr(row, name) < getattr(row, diagonal)
