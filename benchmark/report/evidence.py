"""All statistics of a report at once: who differs from whom, who is first, how sure that is, where variance lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from . import blocks, components, overall, pairs, ranks, verdicts
from .blocks import Block
from .frame import Results
from .ranks import Ranking
from .verdicts import Design, Key


@dataclass(frozen=True)
class Evidence:
    """What can be believed of the records.

    Attributes:
        judged: `verdicts.judge`, and below it `pairs.against_strongest` where no baseline was declared.
        columns, datasets: the blocks behind pairs and rankings.
        pairs: `pairs.all_pairs`.
        overall: `overall.overall` and, where no baseline was declared, `overall.strongest`.
        rankings: `ranks.rankings`.
        components: `components.decomposition`.
    """

    judged: pd.DataFrame
    columns: Sequence[Block]
    datasets: Sequence[Block]
    pairs: pd.DataFrame
    overall: pd.DataFrame
    rankings: Sequence[Ranking]
    components: pd.DataFrame


def gather(results: Results, designs: Mapping[Key, Design]) -> Evidence:
    """Everything, from the tables of seeds × patients of `verdicts.designs`."""
    columns = blocks.blocks(results, designs)
    datasets = blocks.over_amounts(columns)
    every = pairs.all_pairs(columns)
    judged, whole = verdicts.judge(results, designs), overall.overall(results, designs)
    if not results.baseline:
        judged = _joined(judged, pairs.against_strongest(every, columns).reindex(columns=judged.columns))
        whole = _joined(whole, overall.strongest(pairs.overall_pairs(datasets), every, datasets))
    return Evidence(
        judged=judged,
        columns=columns,
        datasets=datasets,
        pairs=every,
        overall=whole,
        rankings=ranks.rankings(columns, datasets),
        components=components.decomposition(results, designs),
    )


def ranking_rows(rankings: Sequence[Ranking]) -> pd.DataFrame:
    """One row per member of every ranking, as csv holds them; τ and sensitivities repeat within a ranking."""
    rows = []
    for found in rankings:
        shared = {"dataset": found.dataset, "amount": found.amount, "annotation": found.annotation}
        stability = dict(zip(("tau_median", "tau_low", "tau_high"), found.tau, strict=True))
        stability |= {f"tau_{name}": value for name, value in found.sensitivity.items()}
        for place, (role, label) in enumerate(found.members):
            rows.append(
                shared
                | {"role": role, "label": label, "dice": found.score[place], "rank": found.rank[place]}
                | {"rank_low": found.low[place], "rank_high": found.high[place], "p_first": found.first[place]}
                | {"top_group": found.top[place]}
                | stability
            )
    return pd.DataFrame(rows)


def _joined(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    parts = [part for part in (first, second) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else first
