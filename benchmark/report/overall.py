"""One answer over all datasets: the mean difference, how often it would be wrong, and where it was won.

A difference is averaged over the labelled amounts of a dataset (the same patients), then over the entries of the plan
that show the same patients in several ways (two resolutions, say), then over datasets with equal weight: more datasets
narrow such an interval, more amounts or views of one dataset hardly do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .blocks import Block, same_patients
from .crossed import ALPHA, Crossed, crossed, holm, pooled, stacked, superiority
from .frame import Results
from .pairs import against_rivals, best_rivals, both_ways
from .ranks import OVERALL, common
from .verdicts import ENDPOINTS, Design, Endpoint, Key, comparisons, paired, verdict

COLUMNS = [
    "role", "label", "annotation", "endpoint", "against", "reference", "datasets", "columns", "planned", "difference",
    "low", "high", "low_90", "high_90", "p", "p_holm", "superiority", "wins", "ties", "losses", "false_claim",
    "detectable", "df", "seeds", "verdict",
]  # fmt: skip


def overall(results: Results, designs: Mapping[Key, Design]) -> pd.DataFrame:
    """Every method against its lower bounds, and against the declared baseline, over all columns that it has.

    Returns:
        One row per endpoint, method and reference: ``datasets`` and ``columns`` (dataset × amount) with a comparison,
        of those ``planned``; ``difference`` with ``low``, ``high``, ``low_90``, ``high_90``, ``df``; ``p`` and
        ``p_holm`` (over all rows of the endpoint); ``superiority``: P(method > reference) for a random dataset, seed
        and patient; ``wins``, ``ties``, ``losses``: columns with a difference above the margin, within it, below it;
        ``false_claim``: posterior probability that who is ahead is in truth behind; ``detectable``; ``verdict``.
    """
    methods = results.cells[results.cells["role"] == "method"]
    kinds = dict(zip(methods["label"], methods["annotation"], strict=True))
    grouped: dict[tuple[str, str, str], list[tuple[Key, Key]]] = {}
    for key, against, other in comparisons(results):
        grouped.setdefault((key[1], against, other[1]), []).append((key, other))
    rows, tests = [], []
    for endpoint in ENDPOINTS:
        for (label, against, reference), pairs in grouped.items():
            found = _over_datasets(results, designs, endpoint, pairs)
            if found is not None:
                test, more = found
                tests.append(test)
                rows.append(
                    {"role": "method", "label": label, "annotation": kinds[label], "endpoint": endpoint.name}
                    | {"against": against, "reference": reference, "planned": len(pairs)}
                    | more
                )
    return _judged(rows, tests, len(grouped))


def _over_datasets(
    results: Results, designs: Mapping[Key, Design], endpoint: Endpoint, pairs: Sequence[tuple[Key, Key]]
) -> tuple[Crossed, dict[str, float]] | None:
    """The mean difference over datasets with its error; None where some dataset supports none."""
    by_dataset: dict[str, list[pd.DataFrame]] = {}
    sign = 1 if endpoint.higher_is_better else -1
    outcome = []
    for key, reference in pairs:
        if key not in designs or reference not in designs:
            continue
        mine, other = designs[key][endpoint.metric], designs[reference][endpoint.metric]
        if results.looks is not None:  # later seeds exist because of what the first ones showed
            mine, other = (table[table.index.isin(results.looks.first(0))] for table in (mine, other))
        table = paired(mine, other, endpoint)
        if table.size:
            by_dataset.setdefault(key[2], []).append(table)
            gain = sign * float(table.to_numpy().mean())
            outcome.append(0 if abs(gain) < endpoint.margin else int(np.sign(gain)))
    over_amounts = [_mean_table(tables) for tables in by_dataset.values()]
    together = same_patients(list(by_dataset), [table.columns for table in over_amounts])
    means = [_mean_table([over_amounts[place] for place in places]).to_numpy() for places in together]
    tests = [crossed(mean) for mean in means]
    if not tests or any(np.isnan(test.se) for test in tests):
        return None
    return pooled(tests), {
        "datasets": len(tests),
        "columns": len(outcome),
        "superiority": float(np.mean([superiority(sign * mean) for mean in means])),
        "wins": outcome.count(1),
        "ties": outcome.count(0),
        "losses": outcome.count(-1),
    }


def _mean_table(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The mean of tables on the seeds and patients that all of them have."""
    seeds, groups = tables[0].index, tables[0].columns
    for table in tables[1:]:
        seeds, groups = seeds.intersection(table.index), groups.intersection(table.columns)
    mean = np.mean([table.loc[seeds, groups].to_numpy() for table in tables], axis=0)
    return pd.DataFrame(mean, index=seeds, columns=groups)


def strongest(whole: pd.DataFrame, pairs: pd.DataFrame, datasets: Sequence[Block]) -> pd.DataFrame:
    """Every method against the best other one over all datasets, as `overall`; corrected over all pairs of methods.

    Args:
        whole: `pairs.overall_pairs` of the datasets.
        pairs: `pairs.all_pairs` of the columns, where wins, ties and losses are counted.
        datasets: `blocks.over_amounts`.
    """
    kinds = dict.fromkeys(block.annotation for block in datasets)
    leaders = [common([block for block in datasets if block.annotation == kind]) for kind in kinds]
    rivals = pd.concat([best_rivals(OVERALL, "", parts) for parts in leaders if parts] or [best_rivals("", "", [])])
    found = against_rivals(whole, rivals)
    counted = both_ways(pairs[(pairs["role"] == "method") & (pairs["other_role"] == "method")])
    rows = []
    for row in found.itertuples():
        endpoint = next(endpoint for endpoint in ENDPOINTS if endpoint.name == row.endpoint)
        same = (counted["endpoint"] == row.endpoint) & (counted["annotation"] == row.annotation)
        of = counted[same & (counted["label"] == row.label) & (counted["other"] == row.reference)]
        gains = of["difference"].to_numpy() * (1 if endpoint.higher_is_better else -1)
        rows.append(
            {"datasets": of["dataset"].nunique(), "columns": len(of), "planned": len(of)}
            | {"wins": int((gains >= endpoint.margin).sum()), "losses": int((gains <= -endpoint.margin).sum())}
            | {"ties": int((np.abs(gains) < endpoint.margin).sum()), "false_claim": row.p / 2}
        )
    more = pd.DataFrame(rows, columns=["datasets", "columns", "planned", "wins", "losses", "ties", "false_claim"])
    return pd.concat([found, more], axis=1).reindex(columns=COLUMNS)


def _judged(rows: Sequence[dict], found: Sequence[Crossed], family: int) -> pd.DataFrame:
    """Correct the p values of each endpoint together, for ``family`` planned comparisons, and say what follows."""
    parts = []
    for endpoint in ENDPOINTS:
        mine = [place for place, row in enumerate(rows) if row["endpoint"] == endpoint.name]
        if not mine:
            continue
        test = stacked([found[place] for place in mine])
        low, high = test.interval()
        low_90, high_90 = test.interval(1 - 2 * ALPHA)
        p = test.p_value()
        adjusted = np.array(holm(p, family))
        parts.append(
            pd.DataFrame([rows[place] for place in mine]).assign(
                difference=test.mean, low=low, high=high, low_90=low_90, high_90=high_90, p=p, p_holm=adjusted,
                df=test.df, seeds=test.seeds, false_claim=test.false_claim(),
                detectable=test.detectable(ALPHA / family, endpoint.margin), verdict=verdict(test, adjusted, endpoint),
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)
