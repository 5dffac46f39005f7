"""A mean over crossed seeds and patients, and how far it can be trusted.

Seeds and patients are both random and crossed: every seed is tested on every patient. A mean over both then has the
variance (MS_seed + MS_patient − MS_residual) / (n_seeds · n_patients), with Satterthwaite's degrees of freedom
(Satterthwaite 1946, Biometrics Bulletin 2:110-114).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from math import nan
from typing import Any, NamedTuple

import numpy as np

ALPHA = 0.05
POWER = 0.8
FEWEST_SEEDS = 3
"""Below it there is no interval: the spread of two seeds says next to nothing."""

FEWEST_PATIENTS = 3

_STUDIES = 4000
"""Studies that are made up to see what one like it would find."""

Numbers = Any
"""A float, or an array of them: everything here works on one table and on many of one shape at once."""


class MeanSquares(NamedTuple):
    """Of a two-way table: between seeds, between patients, and what neither explains; each ``(...)``."""

    seed: Numbers
    patient: Numbers
    residual: Numbers


@dataclass(frozen=True)
class Crossed:
    """A mean over crossed seeds and patients, with its standard error; NaN errors where there are too few of either.

    ``mean``, ``se`` and ``df`` are floats, or arrays of one shape for many tables; ``squares`` are their
    :class:`MeanSquares` along a last axis, NaN where a mean is of several tables.
    """

    mean: Numbers
    se: Numbers
    df: Numbers
    seeds: Numbers
    patients: Numbers
    squares: Numbers = (nan, nan, nan)

    def interval(self, level: Numbers = 1 - ALPHA) -> tuple[Numbers, Numbers]:
        """Two-sided t interval."""
        half = self.se * t_quantile(0.5 + level / 2, self.df)
        return self.mean - half, self.mean + half

    def p_value(self) -> Numbers:
        """Two-sided p for a true mean of 0; 1 where all values are 0."""
        from scipy import stats

        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2 * stats.t.sf(np.abs(np.divide(self.mean, self.se)), self.df)
        p = np.where(self.se == 0, np.where(self.mean == 0, 1.0, 0.0), p)
        return p if p.ndim else float(p)

    def false_claim(self) -> Numbers:
        """Posterior probability that the true mean is on the other side of 0 than the observed one.

        Student's t around the observed mean, which is the posterior under a flat prior: how often somebody who
        announces this winner is wrong (Christodoulou et al. 2025, arXiv 2505.04720, with the crossed standard error).
        """
        return self.p_value() / 2

    def detectable(self, alpha: Numbers = ALPHA, margin: float = 0.0) -> Numbers:
        """Smallest true difference that this budget finds in 80 % of studies, from the variance it measured.

        A finding is a mean beyond ``margin``, too. Studies are made up of the measured mean squares, taken for the true
        ones; each estimates its own standard error and degrees of freedom, which with few seeds are the larger part of
        its luck. Where only the standard error is known (means of several tables), its degrees of freedom are kept.
        """
        error, critical = self._studies(alpha, margin)
        found = np.quantile(critical - error, POWER, axis=-1)
        return found if found.ndim else float(found)

    def misleading(self, alpha: Numbers = ALPHA, margin: float = 0.0) -> Numbers:
        """Share of such studies in which a true difference of 0 is found to be one, nominally ``alpha``."""
        error, critical = self._studies(alpha, margin)
        found = np.where(np.isnan(critical[..., 0]), nan, (np.abs(error) >= critical).mean(axis=-1))
        return found if found.ndim else float(found)

    def _studies(self, alpha: Numbers, margin: float) -> tuple[np.ndarray, np.ndarray]:
        """Errors of the mean in made-up studies, and how large a mean must be in each to count; ``(..., studies)``."""
        from scipy.special import chdtri

        parts = np.broadcast_arrays(*(np.asarray(part, np.float64) for part in (self.se, self.df, alpha)))
        true, df, alpha = (part[..., None] for part in parts)
        shares, normal = _luck()
        squares = np.broadcast_to(self.squares, (*parts[0].shape, 3))[..., None]
        seeds, patients = (np.asarray(count, np.float64)[..., None] for count in (self.seeds, self.patients))
        freedoms = seeds - 1, patients - 1, (seeds - 1) * (patients - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            rest = squares[..., 2, :]
            expected = np.maximum(squares[..., 0, :], rest), np.maximum(squares[..., 1, :], rest), rest
            drawn = MeanSquares(
                *(
                    each * chdtri(freedom, share) / freedom
                    for each, freedom, share in zip(expected, freedoms, shares, strict=True)
                )
            )
            each_se, each_df = standard_error(drawn, seeds, patients)
            of_table = np.sqrt((expected[0] + expected[1] - rest) / (seeds * patients))
        known = np.isfinite(of_table)
        each_se = np.where(known, each_se, true * np.sqrt(chdtri(df, shares[0]) / df))
        each_df = np.where(known, each_df, df)
        critical = np.maximum(t_quantile(1 - alpha / 2, each_df) * each_se, margin)
        return np.where(known, of_table, true) * normal, np.where(np.isnan(true), nan, critical)


@lru_cache(maxsize=1)
def _luck() -> tuple[np.ndarray, np.ndarray]:
    """Of made-up studies: shares of the χ² distributions of three mean squares, and errors of the mean."""
    random = np.random.default_rng(0)
    return random.uniform(size=(3, _STUDIES)), random.standard_normal(_STUDIES)


def crossed(values: np.ndarray) -> Crossed:
    """Mean of complete tables of values with its standard error under two crossed random effects.

    Args:
        values: ``(..., seeds, patients)``, finite; one table gives floats, several give arrays.

    Raises:
        ValueError: not a table, or a value is not finite: an incomplete design has another standard error.
    """
    if values.ndim < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"values must be a finite table of seeds × patients, got shape {values.shape} with "
            f"{int((~np.isfinite(values)).sum())} values that are not finite; leave out incomplete seeds or patients"
        )
    *outside, seeds, patients = values.shape
    if seeds < FEWEST_SEEDS or patients < FEWEST_PATIENTS:
        mean = values.mean(axis=(-2, -1)) if seeds and patients else np.full(outside, nan)
        unknown = np.full(outside, nan)
        return _plain(Crossed(mean, unknown, unknown, seeds, patients, np.full((*outside, 3), nan)))
    mean, squares = mean_squares(values)
    error = standard_error(squares, seeds, patients)
    return _plain(Crossed(mean, *error, seeds, patients, np.stack(squares, axis=-1)))


def mean_squares(values: np.ndarray) -> tuple[np.ndarray, MeanSquares]:
    """Means ``(...)`` and mean squares of complete tables ``(..., seeds, patients)`` with two of each or more."""
    seeds, patients = values.shape[-2:]
    mean = values.mean(axis=(-2, -1), keepdims=True)
    by_seed = values.mean(axis=-1, keepdims=True) - mean
    by_patient = values.mean(axis=-2, keepdims=True) - mean
    residual = values - by_seed - by_patient - mean
    squares = MeanSquares(
        patients * (by_seed**2).sum(axis=(-2, -1)) / (seeds - 1),
        seeds * (by_patient**2).sum(axis=(-2, -1)) / (patients - 1),
        (residual**2).sum(axis=(-2, -1)) / ((seeds - 1) * (patients - 1)),
    )
    return mean[..., 0, 0], squares


def standard_error(squares: MeanSquares, seeds: Numbers, patients: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Standard error of the mean and its degrees of freedom, at least those of the factor with fewer levels.

    Satterthwaite's estimate may fall below; where patients are fewer than seeds and vary more, ``seeds − 1`` would be
    too many (10 to 15 % false findings instead of 5 with 3 or 4 patients and 10 seeds).
    """
    least = np.minimum(seeds, patients) - 1
    # an estimated component of variance may come out negative; the sum is at least what either factor alone shows
    total = np.maximum.reduce(
        [squares.seed + squares.patient - squares.residual, np.asarray(squares.seed), np.asarray(squares.patient)]
    )
    noise = (
        squares.seed**2 / (seeds - 1)
        + squares.patient**2 / (patients - 1)
        + squares.residual**2 / ((seeds - 1) * (patients - 1))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(noise > 0, np.maximum(total**2 / noise, least), least)
    return np.sqrt(total / (seeds * patients)), df


def stacked(found: Sequence[Crossed]) -> Crossed:
    """Many tests as one with arrays."""
    return Crossed(*(np.array([getattr(test, field.name) for test in found]) for field in fields(Crossed)))


def pooled(parts: Sequence[Crossed]) -> Crossed:
    """The mean of independent means with equal weights, such as one per dataset.

    SE = √(Σ SE²) / D, with Satterthwaite's degrees of freedom (Σ SE²)² / Σ (SE⁴ / df).
    """
    se2 = np.array([part.se**2 for part in parts])
    noise = (se2**2 / np.array([part.df for part in parts])).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(noise > 0, se2.sum(axis=0) ** 2 / noise, sum(part.df for part in parts))
    return _plain(
        Crossed(
            np.mean([part.mean for part in parts], axis=0),
            np.sqrt(se2.sum(axis=0)) / len(parts),
            df,
            np.min([part.seeds for part in parts], axis=0),
            np.sum([part.patients for part in parts], axis=0),
        )
    )


def holm(p_values: Any, family: int | None = None) -> list[float]:
    """Holm's step-down adjusted p values (Holm 1979); NaN is no test and stays NaN.

    Not ``statsmodels.multipletests``: it collects garbage at every call, half a minute for the maps of a large report.

    Args:
        p_values: of the comparisons.
        family: how many there are in all, with those that could not be tested yet, whose p counts as 1; default: those
            that were tested.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)  # NaN comes last
    tested = int((~np.isnan(p)).sum())
    adjusted = np.full(p.shape, nan)
    steps = np.minimum(p[order[:tested]] * ((family or tested) - np.arange(tested)), 1.0)
    adjusted[order[:tested]] = np.maximum.accumulate(steps)
    return adjusted.tolist()


def superiority(ahead: np.ndarray) -> Numbers:
    """P(A > B): share of (seed, patient) pairs ``(..., seeds, patients)`` above 0, ties half; NaN where none is."""
    if not ahead.shape[-1] * ahead.shape[-2]:
        return np.full(ahead.shape[:-2], nan)[()]
    return ((ahead > 0).mean(axis=(-2, -1)) + (ahead == 0).mean(axis=(-2, -1)) / 2)[()]


def t_quantile(share: Numbers, df: Numbers) -> Numbers:
    """Quantile of Student's t; NaN where ``df`` is."""
    from scipy import stats

    return stats.t.ppf(share, df)


def _plain(found: Crossed) -> Crossed:
    """Floats instead of arrays without axes."""
    if np.ndim(found.mean):
        return found
    counts = int(found.seeds), int(found.patients)
    return Crossed(float(found.mean), float(found.se), float(found.df), *counts, found.squares)
