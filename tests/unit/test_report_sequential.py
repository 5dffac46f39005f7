"""Alpha spending: published boundaries, and error rates of whole sequences of looks by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmark.report import sequential
from benchmark.report.crossed import crossed
from benchmark.report.sequential import levels, sequential_p, spent


@pytest.mark.parametrize(
    ("looks", "published"),
    [
        # Lan & DeMets 1983; Reboussin et al. 2000 (Controlled Clinical Trials 21:190-207), two-sided .05
        ((1, 2), (2.963, 1.969)),
        ((1, 2, 3, 4, 5), (4.877, 3.357, 2.680, 2.290, 2.031)),
    ],
)
def test_boundaries_are_those_in_print(looks: tuple[int, ...], published: tuple[float, ...]) -> None:
    assert stats.norm.isf(np.array(levels(0.05, looks)) / 2) == pytest.approx(published, abs=0.0015)


def test_one_look_is_an_ordinary_test() -> None:
    assert levels(0.05, (5,)) == pytest.approx((0.05,))
    assert sequential_p(np.array([[0.03], [np.nan]]), (5,)) == pytest.approx([0.03, np.nan], nan_ok=True)


@pytest.mark.parametrize("spending", ["obrien_fleming", "quadratic"])
def test_what_is_spent_rises_to_the_whole(spending: sequential.Spending) -> None:
    shares = [spent(0.05, share, spending) for share in (0.3, 0.5, 0.7, 1.0)]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.05)
    assert shares[0] < 0.01


@pytest.mark.parametrize("spending", ["obrien_fleming", "quadratic"])
def test_paths_without_drift_cross_in_five_per_cent(spending: sequential.Spending) -> None:
    # a random walk with one unit step per seed, looked at after 4, 6, 8; ± 3 standard errors of 40 000 paths, .33 %
    looks = (4, 6, 8)
    paths = np.cumsum(np.random.default_rng(2).normal(size=(40_000, 8)), axis=1)[:, [3, 5, 7]]
    p = 2 * stats.norm.sf(np.abs(paths) / np.sqrt(looks))
    crossed_at = p <= np.array(levels(0.05, looks, spending))
    assert crossed_at.any(axis=1).mean() == pytest.approx(0.05, abs=0.0033)
    assert crossed_at[:, 0].mean() == pytest.approx(spent(0.05, 0.5, spending), abs=0.002)


def test_levels_do_not_depend_on_how_finely_they_are_integrated(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = (3, 4, 6, 12)
    rough = levels.__wrapped__(0.001, looks)
    monkeypatch.setattr(sequential, "NODES", 2 * sequential.NODES)
    assert levels.__wrapped__(0.001, looks) == pytest.approx(rough, rel=1e-9)


def test_the_p_value_of_all_looks_is_the_level_at_which_one_of_them_would_cross() -> None:
    looks = (5, 7, 10)
    for alpha in (0.001, 0.01, 0.05, 0.3):
        at = levels(alpha, looks)
        for look in range(3):
            p = np.full((1, 3), np.nan)
            p[0, look] = at[look]
            assert sequential_p(p, looks)[0] == pytest.approx(alpha, rel=1e-3)
    # the better of two looks counts, and a look that was not taken does not
    both = sequential_p(np.array([[levels(0.01, looks)[0], 0.9, np.nan]]), looks)
    assert both[0] == pytest.approx(0.01, rel=1e-3)


def test_looking_five_times_at_five_per_cent_each_is_wrong_twice_as_often_as_spending() -> None:
    """Tables grow by seeds, patients stay; a family is three methods. Counted: families with a false verdict."""
    random = np.random.default_rng(5)
    looks, patients, repeats, methods = (4, 5, 6, 7, 8), 12, 400, 3
    shape = (repeats, methods, 8, patients)
    values = 1.5 * random.normal(size=(*shape[:3], 1)) + 2 * random.normal(size=(repeats, methods, 1, patients))
    values += 3 * random.normal(size=shape)
    p = np.stack([crossed(values[:, :, :count]).p_value() for count in looks], axis=-1)
    naive = np.mean((3 * p.min(axis=(1, 2))) < 0.05)  # somebody is significant after Holm if the least p is, thrice
    kept = np.mean(3 * sequential_p(p.reshape(-1, 5), looks).reshape(-1, 3).min(axis=1) < 0.05)
    assert kept <= 0.05 + 0.02
    assert naive > 2 * kept
