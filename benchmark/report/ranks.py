"""Rankings, and how stable they are: resampled seeds and patients, other metrics, other ways to aggregate.

Means first, then ranks (Wiesenfarth et al. 2021, Scientific Reports 11:2369). Stability by a crossed bootstrap: seeds
and patients are drawn anew, jointly for all methods, as multinomial weights; 2000 rankings follow from a matrix
product. With few seeds it is a little too narrow (it knows only the seeds that there are), so that the verdicts, not
these intervals, say who is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..seeding import derive
from .blocks import Block, Member, over_views

RESAMPLES = 2000
TOP = 0.95
"""The top group is the fewest methods that together are first in this share of resamples."""

OVERALL = "all datasets"


@dataclass(frozen=True)
class Ranking:
    """One ranking of one kind of annotation.

    Attributes:
        dataset, amount, annotation: what it is of; ``amount`` is "" for all amounts of a dataset, ``dataset`` is
            `OVERALL` for the mean over datasets.
        members: in the order of the ranking.
        score: mean Dice, ``(members,)``.
        rank: 1 is best; equal means share the better rank.
        low, high: 95 % interval of the rank.
        first: share of resamples in which the member was first.
        top: whether it belongs to the top group.
        tau: median, 2.5 % and 97.5 % quantile of Kendall's τ between the resampled rankings and this one; NaN where
            all means are equal.
        sensitivity: τ between this ranking and that by another choice, by its name.
        datasets: how many it averages over.
    """

    dataset: str
    amount: str
    annotation: str
    members: tuple[Member, ...]
    score: np.ndarray
    rank: np.ndarray
    low: np.ndarray
    high: np.ndarray
    first: np.ndarray
    top: np.ndarray
    tau: tuple[float, float, float]
    sensitivity: dict[str, float]
    datasets: int = 1


def rankings(columns: Sequence[Block], datasets: Sequence[Block]) -> list[Ranking]:
    """The ranking of every column, of every dataset with several amounts, and overall, where there are several.

    Args:
        columns: `blocks.blocks`.
        datasets: `blocks.over_amounts` of them.
    """
    amounts: dict[tuple[str, str], int] = {}
    for block in columns:
        amounts[block.dataset, block.annotation] = amounts.get((block.dataset, block.annotation), 0) + 1
    made = [ranking([block]) for block in columns]
    made += [ranking([block]) for block in datasets if amounts[block.dataset, block.annotation] > 1]
    for annotation in dict.fromkeys(block.annotation for block in datasets):
        parts = common([block for block in datasets if block.annotation == annotation])
        if len(parts) > 1:
            made.append(ranking(parts))
    return made


def common(parts: Sequence[Block]) -> list[Block]:
    """One block per dataset, with the members that all of them have; [] where that is fewer than two."""
    everywhere = [m for m in parts[0].members if all(m in part.members for part in parts)] if parts else []
    return over_views([part.only(everywhere) for part in parts]) if len(everywhere) > 1 else []


def ranking(parts: Sequence[Block]) -> Ranking:
    """The ranking by the mean over blocks of the same members, each block with equal weight."""
    primary, secondary = parts[0].values
    score = np.mean([part.values[primary].mean(axis=(1, 2)) for part in parts], axis=0)
    drawn = np.mean([resampled(part, primary) for part in parts], axis=0)
    order = np.argsort(-score, kind="stable")
    score, drawn = score[order], drawn[:, order]
    ranks = ranked(drawn)
    low, high = np.quantile(ranks, [0.025, 0.975], axis=0, method="inverted_cdf")
    leaders = ranks == 1
    first = (leaders / leaders.sum(axis=1, keepdims=True)).mean(axis=0)
    by_first = np.argsort(-first, kind="stable")
    top = np.zeros(len(score), bool)
    top[by_first[: 1 + int(np.searchsorted(np.cumsum(first[by_first]), TOP - 1e-12))]] = True
    known = taus(drawn, score)
    known = known[~np.isnan(known)]  # where a resample has all of them equal, it ranks nobody
    tau = np.quantile(known, [0.5, 0.025, 0.975]) if len(known) else np.full(3, np.nan)
    several = len(parts) > 1
    return Ranking(
        dataset=OVERALL if several else parts[0].dataset,
        amount="" if several else parts[0].amount,
        annotation=parts[0].annotation,
        members=tuple(parts[0].members[place] for place in order),
        score=score,
        rank=ranked(score[None])[0],
        low=low.astype(int),
        high=high.astype(int),
        first=first,
        top=top,
        tau=(float(tau[0]), float(tau[1]), float(tau[2])),
        sensitivity=_sensitivity([part.only([part.members[i] for i in order]) for part in parts], score, secondary),
        datasets=len(parts),
    )


def resampled(block: Block, endpoint: str, *, resamples: int = RESAMPLES) -> np.ndarray:
    """Means of all members under resampled seeds and patients, ``(resamples, members)``.

    The draws depend on the block's dataset, seeds and patients only: the same records give the same ranks, and a
    further method does not change those of the others.
    """
    values = block.values[endpoint]
    members, seeds, patients = values.shape
    random = np.random.default_rng(derive(0, "ranks", block.dataset, *block.seeds, *block.patients))
    of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    of_patients = random.multinomial(patients, np.full(patients, 1 / patients), size=resamples) / patients
    by_seed = of_patients @ values.reshape(members * seeds, patients).T
    return np.einsum("bms,bs->bm", by_seed.reshape(resamples, members, seeds), of_seeds)


def ranked(scores: np.ndarray) -> np.ndarray:
    """Ranks of ``(n, members)`` scores within each row, 1 for the highest; equal scores share the better rank."""
    from scipy.stats import rankdata

    return rankdata(-scores, axis=1, method="min").astype(int)


def taus(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Kendall's τ-b of each row of ``(n, members)`` with ``(members,)``; NaN where all are equal.

    scipy has it for one pair of rankings; here it is wanted for thousands, as one matrix product of signs.
    """
    above, below = np.triu_indices(len(reference), 1)
    mine, other = np.sign(scores[:, above] - scores[:, below]), np.sign(reference[above] - reference[below])
    with np.errstate(invalid="ignore", divide="ignore"):
        return (mine @ other) / np.sqrt(np.abs(mine).sum(axis=1) * np.abs(other).sum())


def _sensitivity(parts: Sequence[Block], score: np.ndarray, secondary: str) -> dict[str, float]:
    """τ between the ranking and those that other choices give."""
    from scipy.stats import kendalltau

    values = [next(iter(part.values.values())) for part in parts]
    others = {
        "rank, then aggregate": -np.mean([_mean_ranks(array) for array in values], axis=0),
        "median patient": np.mean([np.median(array.mean(axis=1), axis=1) for array in values], axis=0),
        secondary: np.mean([part.values[secondary].mean(axis=(1, 2)) for part in parts], axis=0),
    }
    if len(parts) > 1:
        means = np.array([array.mean(axis=(1, 2)) for array in values])
        for place, part in enumerate(parts):
            others[f"without {part.dataset}"] = np.delete(means, place, axis=0).mean(axis=0)
    return {name: float(kendalltau(score, other).statistic) for name, other in others.items()}


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    """Mean over seeds and patients of the ranks of ``(members, seeds, patients)``; ties share the mean rank."""
    from scipy.stats import rankdata

    return rankdata(-values, axis=0, method="average").mean(axis=(1, 2))
