"""Crossed means, their errors, and what follows from several; by hand, or by simulation of the promise."""

from __future__ import annotations

from dataclasses import replace
from math import nan, sqrt

import numpy as np
import pytest
from scipy import stats

from benchmark.report.crossed import Crossed, crossed, holm, mean_squares, pooled, standard_error, superiority


def test_many_tables_at_once_give_what_each_gives_alone() -> None:
    values = np.random.default_rng(0).normal(size=(6, 4, 9))
    together = crossed(values)
    for place, table in enumerate(values):
        alone = crossed(table)
        assert (alone.mean, alone.se, alone.df) == pytest.approx(
            (together.mean[place], together.se[place], together.df[place])
        )
        assert alone.p_value() == pytest.approx(together.p_value()[place])
        assert alone.detectable(0.01) == pytest.approx(together.detectable(0.01)[place])


def test_mean_squares_have_the_expectations_of_a_crossed_design() -> None:
    # E MS_seed = n σ_s² + σ_e², E MS_patient = S σ_p² + σ_e², E MS_residual = σ_e² (Searle et al. 1992, ch. 4);
    # σ = 2, 3, 1, S = 4, n = 6 : 25, 37, 1. Means over 4000 tables are within 4 % of that.
    random = np.random.default_rng(1)
    shape = (4000, 4, 6)
    values = 2 * random.normal(size=(4000, 4, 1)) + 3 * random.normal(size=(4000, 1, 6)) + random.normal(size=shape)
    _, squares = mean_squares(values)
    assert [float(part.mean()) for part in squares] == pytest.approx([25, 37, 1], rel=0.06)


def test_a_mean_over_datasets_has_the_error_of_the_formula() -> None:
    # SE² = (.3² + .4²)/2² = .25/4; df = (.09 + .16)² / (.09²/4 + .16²/8) = .0625/.005225
    found = pooled([Crossed(1.0, 0.3, 4.0, 5, 10), Crossed(3.0, 0.4, 8.0, 7, 20)])
    assert (found.mean, found.se) == pytest.approx((2.0, sqrt(0.0625)))
    assert found.df == pytest.approx(0.0625 / 0.005225)
    assert (found.seeds, found.patients) == (5, 30)


def test_equal_datasets_halve_the_error_when_there_are_four() -> None:
    one = Crossed(1.0, 0.4, 6.0, 5, 10)
    assert pooled([one] * 4).se == pytest.approx(0.2)
    assert pooled([one] * 4).df == pytest.approx(24.0)


def test_the_probability_of_a_false_claim_is_the_tail_behind_zero() -> None:
    found = Crossed(1.0, 0.5, 6.0, 5, 10)
    assert found.false_claim() == pytest.approx(stats.t.cdf(-2.0, 6))
    assert Crossed(-1.0, 0.5, 6.0, 5, 10).false_claim() == pytest.approx(stats.t.cdf(-2.0, 6))


@pytest.mark.parametrize(("df", "alpha"), [(2.0, 0.05), (2.0, 0.005), (5.0, 0.01), (40.0, 0.05)])
def test_a_difference_of_the_detectable_size_has_eighty_per_cent_power(df: float, alpha: float) -> None:
    # exact: T = (Z + δ)/√(χ²/df) is non-central t. The far tail, which is wrong in sign, is nothing here.
    delta = Crossed(0.0, 1.0, df, 5, 10).detectable(alpha)
    assert stats.nct.sf(stats.t.isf(alpha / 2, df), df, delta) == pytest.approx(0.8, abs=0.005)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_what_few_seeds_detect_and_how_often_they_mislead_is_what_such_studies_do(seeds: int) -> None:
    """Made-up tables themselves, each tested as reports do, against what is computed from true mean squares."""
    of_seed, of_patient, rest, patients, alpha = 1.0, 2.0, 3.0, 20, 0.01
    random = np.random.default_rng(seeds)
    values = of_seed * random.normal(size=(3000, seeds, 1)) + of_patient * random.normal(size=(3000, 1, patients))
    found = crossed(values + rest * random.normal(size=(3000, seeds, patients)))
    squares = (patients * of_seed**2 + rest**2, seeds * of_patient**2 + rest**2, rest**2)
    error = np.sqrt(of_seed**2 / seeds + of_patient**2 / patients + rest**2 / (seeds * patients))
    study = Crossed(0.0, error, 99.0, seeds, patients, squares)  # its own degrees of freedom are not what counts
    assert (found.p_value() < alpha).mean() == pytest.approx(study.misleading(alpha), abs=0.01)
    shifted = replace(found, mean=found.mean + study.detectable(alpha))
    assert ((shifted.p_value() < alpha) & (shifted.mean > 0)).mean() == pytest.approx(0.8, abs=0.03)


def test_a_margin_keeps_small_errors_from_misleading() -> None:
    study = Crossed(0.0, 0.1, 8.0, 5, 10)
    assert study.misleading(0.05) == pytest.approx(0.05, abs=0.015)
    assert study.misleading(0.05, margin=1.0) == 0
    assert np.isnan(Crossed(0.0, nan, nan, 2, 10).misleading())


def test_nothing_is_detectable_without_an_error() -> None:
    assert np.isnan(crossed(np.zeros((2, 9))).detectable())
    assert np.isnan(Crossed(np.array([0.0, 0.0]), np.array([nan, 1.0]), np.array([nan, 4.0]), 2, 9).detectable()[0])


def test_what_is_found_must_be_worth_having() -> None:
    """A budget that sees a tenth of a point still finds nothing below the margin."""
    sharp, blunt = Crossed(0.0, 0.001, 6.0, 5, 10), Crossed(0.0, 1.0, 6.0, 5, 10)
    # mean ~ N(δ, 0.001): beyond a margin of 0.05 in 80 % of studies where δ is 0.84 deviations above it
    assert sharp.detectable(0.05, 0.05) == pytest.approx(0.05 + stats.norm.isf(0.2) * 0.001, rel=1e-3)
    assert blunt.detectable(0.05, 0.05) == pytest.approx(blunt.detectable(0.05), rel=1e-3)
    assert Crossed(0.0, 0.0, 6.0, 5, 10).detectable(0.05, 0.05) == 0.05


def test_holm_counts_those_that_are_still_to_come() -> None:
    assert holm([0.01, 0.04], family=3) == pytest.approx([0.03, 0.08])
    assert holm([0.01, nan, 0.04], family=3)[::2] == pytest.approx([0.03, 0.08])


def test_identical_tables_differ_by_nothing_at_all() -> None:
    found = crossed(np.zeros((4, 5)))
    assert (found.se, found.p_value(), found.interval()) == (0.0, 1.0, (0.0, 0.0))
    assert crossed(np.ones((4, 5))).p_value() == 0.0


def test_ties_count_half_in_superiority() -> None:
    assert superiority(np.array([[1.0, 0.0], [-1.0, 2.0]])) == pytest.approx((2 + 0.5) / 4)
    assert np.isnan(superiority(np.zeros((3, 0))))


def test_the_error_is_floored_at_what_one_factor_shows() -> None:
    # columns agree, rows differ, and the residual is larger than both: total = max(2 + 0 − 9, 2, 0) = 2
    se, df = standard_error(type(mean_squares(np.zeros((3, 3)))[1])(np.array(2.0), np.array(0.0), np.array(9.0)), 3, 4)
    assert se == pytest.approx(sqrt(2 / 12))
    assert df == 2
