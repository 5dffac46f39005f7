"""Which differences can be believed: crossed seed × patient intervals, Holm's correction, a margin, and four verdicts.

The usual test, Wilcoxon over the test cases of one run, calls a method better than itself in 12 to 68 % of studies,
because it takes the luck of one labelled subset and one initialisation for a property of the method. Here seeds and
patients are both random and crossed: every seed is tested on every patient. A mean over both then has the variance
(MS_seed + MS_patient − MS_residual) / (n_seeds · n_patients), with Satterthwaite's degrees of freedom (Satterthwaite
1946, Biometrics Bulletin 2:110-114), which keeps the error rate at its nominal level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log1p, nan, sqrt

import numpy as np
import pandas as pd

from .frame import Results
from .summary import ENTRY, HEADLINE

ALPHA = 0.05
POWER = 0.8
FEWEST_SEEDS = 3
"""Below it there is no interval: the spread of two seeds says next to nothing."""

FEWEST_PATIENTS = 3


Design = dict[str, pd.DataFrame]
"""Of one entry, for each metric: seeds (rows) × patients (columns)."""


@dataclass(frozen=True)
class Endpoint:
    """What is tested. ``margin``: the smallest difference worth having, declared before any result was seen."""

    name: str
    metric: str
    margin: float
    higher_is_better: bool
    log: bool = False


ENDPOINTS = (
    Endpoint("Dice", "dice", 0.005, higher_is_better=True),
    # distances are skewed and a missed organ costs the image diagonal: on the raw scale such a test has no power
    Endpoint("log(1 + HD95)", "hd95", log1p(0.05), higher_is_better=False, log=True),
)
"""Jaccard, NSD and ASSD are described, never tested: they say the same as these two."""


@dataclass(frozen=True)
class Crossed:
    """A mean over crossed seeds and patients, with its standard error; NaN errors where there are too few of either."""

    mean: float
    se: float
    df: float
    seeds: int
    patients: int

    def interval(self, level: float = 1 - ALPHA) -> tuple[float, float]:
        """Two-sided t interval."""
        half = self.se * _t_quantile(0.5 + level / 2, self.df)
        return self.mean - half, self.mean + half

    def p_value(self) -> float:
        """Two-sided p for a true mean of 0; 1 where all values are 0."""
        from scipy import stats

        if not self.se > 0:
            return nan if np.isnan(self.se) else (1.0 if self.mean == 0 else 0.0)
        return float(2 * stats.t.sf(abs(self.mean) / self.se, self.df))

    def detectable(self, alpha: float = ALPHA) -> float:
        """Smallest true difference that this budget finds in 80 % of studies, from the variance it measured."""
        return self.se * (_t_quantile(1 - alpha / 2, self.df) + _t_quantile(POWER, self.df))


def crossed(values: np.ndarray) -> Crossed:
    """Mean of a complete table of values with its standard error under two crossed random effects.

    Args:
        values: ``(seeds, patients)``, finite.

    Raises:
        ValueError: not a table, or a value is not finite: an incomplete design has another standard error.
    """
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(
            f"values must be a finite table of seeds × patients, got shape {values.shape} with "
            f"{int((~np.isfinite(values)).sum())} values that are not finite; leave out incomplete seeds or patients"
        )
    seeds, patients = values.shape
    mean = float(values.mean()) if values.size else nan
    if seeds < FEWEST_SEEDS or patients < FEWEST_PATIENTS:
        return Crossed(mean, nan, nan, seeds, patients)
    by_seed, by_patient = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    residual = values - by_seed - by_patient + mean
    df_seed, df_patient = seeds - 1, patients - 1
    ms_seed = patients * float(((by_seed - mean) ** 2).sum()) / df_seed
    ms_patient = seeds * float(((by_patient - mean) ** 2).sum()) / df_patient
    ms_residual = float((residual**2).sum()) / (df_seed * df_patient)
    # an estimated component of variance may come out negative; the sum is at least what either factor alone shows
    total = max(ms_seed + ms_patient - ms_residual, ms_seed, ms_patient)
    noise = ms_seed**2 / df_seed + ms_patient**2 / df_patient + ms_residual**2 / (df_seed * df_patient)
    df = max(total**2 / noise, df_seed) if noise > 0 else df_seed
    return Crossed(mean, sqrt(total / values.size), float(df), seeds, patients)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values (Holm 1979); NaN is no test and stays NaN.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    tested = [i for i, p in enumerate(p_values) if not np.isnan(p)]
    adjusted, largest = [nan] * len(p_values), 0.0
    for rank, i in enumerate(sorted(tested, key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(tested) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def verdict(difference: Crossed, p_adjusted: float, endpoint: Endpoint) -> str:
    """better, worse, equivalent, not separable, or "" where there are too few seeds for any.

    Better and worse need significance after correction *and* a difference of at least the margin; equivalent needs the
    90 % interval within the margin on both sides.
    """
    if np.isnan(p_adjusted):
        return ""
    gain = difference.mean if endpoint.higher_is_better else -difference.mean
    if p_adjusted < ALPHA and abs(gain) >= endpoint.margin:
        return "better" if gain > 0 else "worse"
    low, high = difference.interval(1 - 2 * ALPHA)
    return "equivalent" if -endpoint.margin < low and high < endpoint.margin else "not separable"


def designs(results: Results, patients: pd.DataFrame) -> dict[tuple[str, ...], Design]:
    """The table of seeds × patients of every entry and metric; a seed counts once all its folds have finished.

    Args:
        results: the records.
        patients: `summary.patient_values` under the report's rule.
    """
    cells = results.cells
    complete = (cells["status"] == "finished").groupby([cells[key] for key in [*ENTRY, "seed"]]).transform("all")
    values = patients[patients["selection"] == HEADLINE].join(
        cells.loc[complete, [*ENTRY, "seed"]], on="cell", how="inner"
    )
    found = {}
    for key, mine in values.groupby(ENTRY, sort=False):
        by_pair = mine.groupby(["seed", "group"], observed=True)[["dice", "hd95"]].mean()
        found[key] = {metric: by_pair[metric].unstack("group") for metric in ("dice", "hd95")}
    return found


def intervals(designs: Mapping[tuple[str, ...], Design]) -> pd.DataFrame:
    """95 % interval of every entry's mean Dice over crossed seeds and patients, within [0, 1]: ``low`` and ``high``.

    An interval for the method on *other* labelled subsets and patients, unlike the standard deviation over seeds.
    """
    rows = []
    for key, tables in designs.items():
        values = tables["dice"].to_numpy(np.float64)
        low, high = crossed(values[:, np.isfinite(values).all(axis=0)]).interval()
        rows.append((*key, max(low, 0.0) if low == low else low, min(high, 1.0) if high == high else high))
    return pd.DataFrame(rows, columns=[*ENTRY, "dice_low", "dice_high"])


def against_lower_bounds(results: Results, designs: Mapping[tuple[str, ...], Design]) -> pd.DataFrame:
    """Every method against the lower bound of its dataset, amount and kind of labels, for both endpoints.

    Args:
        results: the records.
        designs: their values, see `designs`.

    Returns:
        One row per endpoint and comparison: :data:`ENTRY` of the method, ``endpoint``, ``reference``, ``difference``
        (method − reference; Dice in [0, 1], or log(1 + HD95)), ``low`` and ``high`` (95 %), ``p``, ``p_holm`` (over all
        comparisons of the endpoint), ``superiority`` (share of (seed, patient) pairs where the method is ahead, ties
        half), ``detectable`` (80 % power at the strictest step of Holm), ``df``, ``seeds``, ``patients``, ``verdict``.
    """
    entries = results.cells.drop_duplicates(ENTRY)
    lower = {
        (row.dataset, row.amount, row.annotation): row.label for row in entries[entries["role"] == "lower"].itertuples()
    }
    rows = []
    for endpoint in ENDPOINTS:
        for entry in entries[entries["role"] == "method"].itertuples():
            reference = lower.get((entry.dataset, entry.amount, entry.annotation), "")
            mine = designs.get(("method", entry.label, entry.dataset, entry.amount))
            other = designs.get(("lower", reference, entry.dataset, entry.amount))
            if mine is None or other is None:
                continue
            values = _paired(mine[endpoint.metric], other[endpoint.metric], endpoint)
            difference = crossed(values)
            low, high = difference.interval()
            ahead = values if endpoint.higher_is_better else -values
            rows.append(
                {key: getattr(entry, key) for key in ENTRY}
                | {"endpoint": endpoint.name, "reference": reference, "difference": difference.mean, "low": low}
                | {"high": high, "p": difference.p_value(), "p_holm": nan}
                | {"superiority": float((ahead > 0).mean() + (ahead == 0).mean() / 2) if ahead.size else nan}
                | {"detectable": nan, "df": difference.df, "seeds": difference.seeds, "patients": difference.patients}
                | {"verdict": "", "_crossed": difference, "_endpoint": endpoint}
            )
    return _judged(rows)


def _judged(rows: list[dict]) -> pd.DataFrame:
    """Correct the p values of each endpoint together and say what follows."""
    for endpoint in ENDPOINTS:
        family = [row for row in rows if row["_endpoint"] is endpoint]
        tested = sum(not np.isnan(row["p"]) for row in family)
        for row, adjusted in zip(family, holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = adjusted
            row["detectable"] = row["_crossed"].detectable(ALPHA / max(tested, 1))
            row["verdict"] = verdict(row["_crossed"], adjusted, endpoint)
    columns = [*ENTRY, "endpoint", "reference", "difference", "low", "high", "p", "p_holm", "superiority", "detectable"]
    return pd.DataFrame(rows, columns=[*columns, "df", "seeds", "patients", "verdict"])


def _paired(mine: pd.DataFrame, other: pd.DataFrame, endpoint: Endpoint) -> np.ndarray:
    """Differences over the seeds and patients that both have; patients without a value in some seed are left out."""
    seeds, groups = mine.index.intersection(other.index), mine.columns.intersection(other.columns)
    pair = [np.asarray(table.loc[seeds, groups], dtype=np.float64) for table in (mine, other)]
    values = np.log1p(pair[0]) - np.log1p(pair[1]) if endpoint.log else pair[0] - pair[1]
    return values[:, np.isfinite(values).all(axis=0)]


def _t_quantile(share: float, df: float) -> float:
    from scipy import stats

    return float(stats.t.ppf(share, df)) if df == df else nan
