"""Which differences can be believed: crossed seed × patient intervals, Holm's correction, a margin, and four verdicts.

The usual test, Wilcoxon over the test cases of one run, calls a method better than itself in 12 to 68 % of studies,
because it takes the luck of one labelled subset and one initialisation for a property of the method. Here seeds and
patients are both random and crossed (`crossed`), which keeps the error rate at its nominal level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, log1p, nan
from typing import Any

import numpy as np
import pandas as pd

from ..claims import Spending
from ..looks import Looks
from ..metrics.policy import DEFAULT_RULE, only_empty_left_out
from . import sequential
from .crossed import ALPHA, FEWEST_PATIENTS, FEWEST_SEEDS, POWER, Crossed, crossed, holm, stacked, superiority
from .frame import Results
from .summary import ENTRY, HEADLINE

__all__ = [
    "ALPHA", "ENDPOINTS", "FEWEST_PATIENTS", "FEWEST_SEEDS", "POWER", "Crossed", "Design", "Endpoint",
    "against_lower_bounds", "crossed", "designs", "holm", "judge", "paired", "verdict",
]  # fmt: skip

Design = dict[str, pd.DataFrame]
"""Of one entry, for each metric: seeds (rows) × patients (columns)."""

Key = tuple[str, ...]
"""One entry: role, label, dataset, amount."""

LOWER, BASELINE = "lower bound", "baseline"
"""Whom methods are compared with: column ``against``."""


@dataclass(frozen=True)
class Endpoint:
    """What is tested. ``margin``: the smallest difference worth having, declared before any result was seen."""

    name: str
    metric: str
    margin: float
    higher_is_better: bool
    log: bool = False
    right: float = 1.0
    """What predicting nothing is worth where nothing is."""

    def values(self, raw: np.ndarray) -> np.ndarray:
        """On the scale that is tested."""
        return np.log1p(raw) if self.log else raw

    def with_right_answers(self, raw: np.ndarray) -> np.ndarray:
        """``(..., patients)`` of several seeds or entries, with the patients in whom some of them predicted nothing.

        Where nothing of any class is there and nothing is predicted, a patient has no value (NaN). Where others predict
        something in that patient, this is no gap but the right answer, or they would be compared without their errors.
        """
        seen = np.isfinite(raw).any(axis=tuple(range(raw.ndim - 1)))
        return np.where(np.isnan(raw) & seen, self.right, raw)


ENDPOINTS = (
    Endpoint("Dice", "dice", 0.005, higher_is_better=True),
    # distances are skewed and a missed organ costs the image diagonal: on the raw scale such a test has no power
    Endpoint("log(1 + HD95)", "hd95", log1p(0.05), higher_is_better=False, log=True, right=0.0),
)
"""Jaccard, NSD and ASSD are described, never tested: they say the same as these two."""


def verdict(difference: Crossed, p_adjusted: Any, endpoint: Endpoint, *, level: Any = 1 - 2 * ALPHA) -> Any:
    """better, worse, equivalent, not separable, or "" where there are too few seeds for any.

    Better and worse need significance after correction *and* a difference of at least the margin; equivalent needs the
    90 % interval (``level``: higher where results are looked at more than once) within the margin on both sides. One
    word, or an array of them for many differences.
    """
    gain = difference.mean if endpoint.higher_is_better else np.negative(difference.mean)
    believed = (np.asarray(p_adjusted) < ALPHA) & (np.abs(gain) >= endpoint.margin)
    low, high = difference.interval(level)
    words = np.select(
        [np.isnan(p_adjusted), believed & (gain > 0), believed, (-endpoint.margin < low) & (high < endpoint.margin)],
        ["", "better", "worse", "equivalent"],
        "not separable",
    )
    return words if words.ndim else str(words)


def designs(results: Results, patients: pd.DataFrame, rule: str = DEFAULT_RULE) -> dict[Key, Design]:
    """The table of seeds × patients of every entry and metric; a seed counts once all its folds have finished.

    NaN: nothing of any class is in a patient, and nothing was predicted. Infinite: the rule leaves the patient out.

    Args:
        results: the records.
        patients: `summary.patient_values` under the rule.
        rule: of the report.
    """
    cells = results.cells
    complete = (cells["status"] == "finished").groupby([cells[key] for key in [*ENTRY, "seed"]]).transform("all")
    values = patients[(patients["selection"] == HEADLINE).to_numpy()]
    values = values[complete.to_numpy()[values["cell"].to_numpy()]]
    grouped = cells.groupby(ENTRY, sort=False)
    entry, seed = (column.to_numpy()[values["cell"].to_numpy()] for column in (grouped.ngroup(), cells["seed"]))
    groups = values["group"].astype("category").cat
    found = {}
    for number, key in enumerate(grouped.groups):
        mine = np.flatnonzero(entry == number)
        if len(mine):
            rows, columns = (np.unique(codes[mine], return_inverse=True) for codes in (seed, groups.codes.to_numpy()))
            found[key] = {
                metric: pd.DataFrame(
                    _means(rows[1], columns[1], values[metric].to_numpy()[mine]),
                    index=rows[0], columns=groups.categories[columns[0]],
                ).fillna(nan if only_empty_left_out(metric, rule) else inf)
                for metric in ("dice", "hd95")
            }  # fmt: skip
    return found


def judge(results: Results, designs: Mapping[Key, Design]) -> pd.DataFrame:
    """Every method against its lower bound and against the plan's declared baseline, for both endpoints.

    All comparisons of an endpoint that the plan makes are one family for Holm's correction, finished or not: a verdict
    never becomes weaker because further cells finish. Where seeds were added by looks, each
    comparison is tested at every look that it has reached, and the spent error is accounted for (`sequential`).

    Args:
        results: the records.
        designs: their values, see `designs`.

    Returns:
        One row per endpoint and comparison: :data:`ENTRY` of the method, ``endpoint``, ``against`` (lower bound or
        baseline), ``reference`` (its label), ``difference`` (method − reference; Dice in [0, 1], or log(1 + HD95)),
        ``low`` and ``high`` (95 %), ``low_90`` and ``high_90`` (which equivalence is read off), ``p`` (for all looks
        together), ``p_holm``, ``superiority`` (share of (seed, patient) pairs where the method is ahead, ties half),
        ``detectable`` (80 % power at the strictest step of Holm), ``misleading`` (share of studies like this one, but
        without a true difference, in which this comparison would be a verdict at that step), ``df``, ``seeds``,
        ``patients``, ``look`` (the last one, from 1), ``family`` (comparisons that were corrected for), ``verdict``.
    """
    looks = results.looks
    rows, found, p_values = [], [], []
    planned = list(comparisons(results))
    for endpoint in ENDPOINTS:
        for key, against, reference in planned:
            if key not in designs or reference not in designs:
                continue
            table = paired(designs[key][endpoint.metric], designs[reference][endpoint.metric], endpoint)
            values, seeds = table.to_numpy(), table.index.to_numpy()
            tests = [crossed(values)] if looks is None else _by_look(results, looks, values, seeds, (key, reference))
            last = max((place for place, test in enumerate(tests) if test is not None), default=-1)
            test = tests[last] if last >= 0 else None
            found.append(test or Crossed(nan, nan, nan, 0, 0))
            p_values.append([nan if test is None else test.p_value() for test in tests])
            used = values if looks is None or last < 0 else values[np.isin(seeds, looks.first(last))]
            ahead = superiority(used if endpoint.higher_is_better else -used)
            rows.append(
                dict(zip(ENTRY, key, strict=True))
                | {"endpoint": endpoint.name, "against": against, "reference": reference[1], "superiority": ahead}
                | {"look": last + 1}
            )
    return _judged(pd.DataFrame(rows, columns=_FIRST), found, np.array(p_values), looks, len(planned))


def against_lower_bounds(results: Results, designs: Mapping[Key, Design]) -> pd.DataFrame:
    """The rows of `judge` that compare with the lower bound."""
    judged = judge(results, designs)
    return judged[judged["against"] == LOWER].reset_index(drop=True)


def comparisons(results: Results) -> Iterator[tuple[Key, str, Key]]:
    """Who is compared with whom: (method, lower bound or baseline, reference), in the order of the plan.

    The lower bound has the same dataset, amount and kind of labels; the baseline the same dataset and amount.
    """
    entries = results.cells.drop_duplicates(ENTRY)
    lower = {
        (row.dataset, row.amount, row.annotation): row.label for row in entries[entries["role"] == "lower"].itertuples()
    }
    rivals = {
        (row.dataset, row.amount): (row.role, row.label, row.dataset, row.amount)
        for row in entries[(entries["label"] == results.baseline) & (entries["role"] != "upper")].itertuples()
    }
    for row in entries[entries["role"] == "method"].itertuples():
        key = (row.role, row.label, row.dataset, row.amount)
        bound = lower.get((row.dataset, row.amount, row.annotation))
        if bound is not None:
            yield key, LOWER, ("lower", bound, row.dataset, row.amount)
        rival = rivals.get((row.dataset, row.amount), key)
        if rival != key and rival[0] != "lower":
            yield key, BASELINE, rival


def paired(mine: pd.DataFrame, other: pd.DataFrame, endpoint: Endpoint) -> pd.DataFrame:
    """Differences over the seeds and patients that both have; patients of whom there is nothing to say are left out.

    See :meth:`Endpoint.with_right_answers` for those in whom one of the two predicted nothing.
    """
    if not (mine.index.equals(other.index) and mine.columns.equals(other.columns)):
        seeds, groups = mine.index.intersection(other.index), mine.columns.intersection(other.columns)
        mine, other = mine.loc[seeds, groups], other.loc[seeds, groups]
    raw = endpoint.with_right_answers(np.array([mine.to_numpy(np.float64), other.to_numpy(np.float64)]))
    first, second = endpoint.values(raw)
    with np.errstate(invalid="ignore"):  # a patient that the rule leaves out of both
        values = first - second
    known = np.isfinite(values).all(axis=0)
    return pd.DataFrame(values[:, known], index=mine.index, columns=mine.columns[known])


_FIRST = [*ENTRY, "endpoint", "against", "reference", "superiority", "look"]
_LAST = [
    *ENTRY, "endpoint", "against", "reference", "difference", "low", "high", "low_90", "high_90", "p", "p_holm",
    "superiority", "detectable", "misleading", "df", "seeds", "patients", "look", "family", "verdict",
]  # fmt: skip


def _judged(
    rows: pd.DataFrame, found: Sequence[Crossed], p_values: np.ndarray, looks: Looks | None, family: int
) -> pd.DataFrame:
    """Correct the p values of each endpoint together and say what follows."""
    counts = (1,) if looks is None else looks.counts
    spending: Spending = "obrien_fleming" if looks is None else looks.spending
    parts = []
    for endpoint in ENDPOINTS:
        of = np.flatnonzero((rows["endpoint"] == endpoint.name).to_numpy())
        if not len(of):
            continue
        tests = stacked([found[int(place)] for place in of])
        p = sequential.sequential_p(p_values[of], counts, spending)
        adjusted = np.array(holm(p, family))
        reached = np.maximum(rows["look"].to_numpy()[of], 1) - 1

        def level(alpha: float, reached: np.ndarray = reached) -> np.ndarray:
            return np.array(sequential.levels(alpha, counts, spending))[reached]

        low, high = tests.interval(1 - level(ALPHA))
        low_90, high_90 = tests.interval(1 - level(2 * ALPHA))
        parts.append(
            rows.iloc[of].assign(
                difference=tests.mean, low=low, high=high, low_90=low_90, high_90=high_90, p=p, p_holm=adjusted,
                df=tests.df, detectable=tests.detectable(level(ALPHA / family), endpoint.margin),
                misleading=tests.misleading(level(ALPHA / family), endpoint.margin),
                seeds=tests.seeds, patients=tests.patients, family=family,
                verdict=verdict(tests, adjusted, endpoint, level=1 - level(2 * ALPHA)),
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)[_LAST] if parts else pd.DataFrame(columns=_LAST)


def _by_look(
    results: Results, looks: Looks, values: np.ndarray, seeds: np.ndarray, pair: tuple[Key, Key]
) -> list[Crossed | None]:
    """The test at every look that both entries have reached: all their cells of its seeds have ended."""
    tests: list[Crossed | None] = []
    ended = [results.ended[key] for key in pair]
    for look in range(len(looks.counts)):
        first = looks.first(look)
        reached = all(seed in mine for mine in ended for seed in first)
        tests.append(crossed(values[np.isin(seeds, first)]) if reached else None)
    return tests


def _means(rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of what falls into each place of a table, NaN where nothing known does."""
    shape = (rows.max() + 1, columns.max() + 1)
    place, known = rows * shape[1] + columns, ~np.isnan(values)
    count = np.bincount(place[known], minlength=shape[0] * shape[1])
    total = np.bincount(place[known], weights=values[known], minlength=shape[0] * shape[1])
    return np.divide(total, count, out=np.full(total.shape, nan), where=count > 0).reshape(shape)
