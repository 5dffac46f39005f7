"""Every method against every other: the significance map, and the strongest rival where none was declared.

Whoever picks the strongest rival after seeing the results has in truth made all comparisons; such a verdict is
therefore corrected over all pairs of methods, and exploratory.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np
import pandas as pd

from .blocks import Block
from .crossed import ALPHA, Crossed, crossed, holm, pooled, superiority
from .ranks import OVERALL, common
from .verdicts import ENDPOINTS, Endpoint, verdict

MOST_VALUES = 4_000_000
"""Differences held in memory at once, 32 MB."""

STRONGEST = "strongest rival"

_COLUMNS = [
    "endpoint", "dataset", "amount", "annotation", "role", "label", "other_role", "other", "difference", "se", "df",
    "ms_seed", "ms_patient", "ms_residual", "low", "high", "p", "p_holm", "superiority", "seeds", "patients", "verdict",
]  # fmt: skip


def all_pairs(columns: Sequence[Block]) -> pd.DataFrame:
    """Every pair of members of every block, for both endpoints.

    Returns:
        One row per pair, the first member in the order of the plan: ``endpoint``, where (``dataset``, ``amount``,
        ``annotation``), who (``role``, ``label``, ``other_role``, ``other``), ``difference`` (first − other, on the
        scale of the endpoint), ``se``, ``df``, ``ms_seed``, ``ms_patient``, ``ms_residual`` (mean squares; NaN over
        several datasets), ``low`` and ``high`` (95 %), ``p``, ``p_holm`` (over all pairs of this
        block and endpoint), ``superiority``, ``seeds``, ``patients``, ``verdict`` of the first.
    """
    parts = []
    for endpoint in ENDPOINTS:
        for block in columns:
            above, below = np.triu_indices(len(block.members), 1)
            test, ahead = differences(block, endpoint, above, below)
            where = {"dataset": block.dataset, "amount": block.amount, "annotation": block.annotation}
            parts.append(_rows(endpoint, where, [block], above, below, test, ahead))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_COLUMNS)


def differences(block: Block, endpoint: Endpoint, above: np.ndarray, below: np.ndarray) -> tuple[Crossed, np.ndarray]:
    """Crossed tests of members ``above`` − ``below``, ``(pairs,)``, as the endpoint counts; and P(above > below)."""
    values = block.values[endpoint.name]
    step = max(1, MOST_VALUES // values[0].size)
    tests, ahead = [], []
    for start in range(0, max(len(above), 1), step):
        part = values[above[start : start + step]] - values[below[start : start + step]]
        tests.append(crossed(part))
        ahead.append(superiority(part))
    sign = 1 if endpoint.higher_is_better else -1
    names = ("mean", "se", "df", "squares")
    means, ses, dfs, squares = (np.concatenate([getattr(test, name) for test in tests]) for name in names)
    return Crossed(sign * means + 0.0, ses, dfs, tests[0].seeds, tests[0].patients, squares), np.concatenate(ahead)


def overall_pairs(datasets: Sequence[Block]) -> pd.DataFrame:
    """As `all_pairs`, of the mean over datasets with equal weight, for each kind of annotation."""
    parts = []
    for annotation in dict.fromkeys(block.annotation for block in datasets):
        blocks = common([block for block in datasets if block.annotation == annotation])
        for endpoint in ENDPOINTS if blocks else ():
            above, below = np.triu_indices(len(blocks[0].members), 1)
            each = [differences(block, endpoint, above, below) for block in blocks]
            where = {"dataset": OVERALL, "amount": "", "annotation": annotation}
            test, ahead = pooled([test for test, _ in each]), np.mean([ahead for _, ahead in each], axis=0)
            parts.append(_rows(endpoint, where, blocks, above, below, test, ahead))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_COLUMNS)


def against_strongest(pairs: pd.DataFrame, columns: Sequence[Block]) -> pd.DataFrame:
    """Every method against the best *other* method of its column, as `verdicts.judge` says it.

    Args:
        pairs: `all_pairs` of the same blocks.
        columns: the blocks.
    """
    rivals = [best_rivals(block.dataset, block.amount, [block]) for block in columns]
    return against_rivals(pairs, pd.concat(rivals or [best_rivals("", "", [])]))


def against_rivals(pairs: pd.DataFrame, rivals: pd.DataFrame) -> pd.DataFrame:
    """The rows of `all_pairs` or `overall_pairs` of some rivals, corrected over all pairs of methods of all columns."""
    methods = pairs[(pairs["role"] == "method") & (pairs["other_role"] == "method")]
    parts = []
    for endpoint in ENDPOINTS:
        of = methods[methods["endpoint"] == endpoint.name]
        family = int(of["p"].notna().sum())
        mine = both_ways(of.assign(p_holm=holm(of["p"]))).merge(
            rivals, on=["dataset", "amount", "annotation", "label", "other"]
        )
        named = {"mean": "difference", "se": "se", "df": "df", "seeds": "seeds", "patients": "patients"}
        numbers = {field: mine[column].to_numpy(np.float64) for field, column in named.items()}
        squares = mine[["ms_seed", "ms_patient", "ms_residual"]].to_numpy(np.float64)
        test = Crossed(**numbers, squares=squares)
        low_90, high_90 = test.interval(1 - 2 * ALPHA)
        parts.append(
            mine.assign(
                low_90=low_90, high_90=high_90, against=STRONGEST, reference=mine["other"], look=1, family=family,
                detectable=test.detectable(ALPHA / max(family, 1), endpoint.margin), misleading=nan,
                verdict=verdict(test, mine["p_holm"].to_numpy(np.float64), endpoint),
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def best_rivals(dataset: str, amount: str, parts: Sequence[Block]) -> pd.DataFrame:
    """For every method of blocks with the same members the best other one, by mean Dice: ``label`` and ``other``."""
    rows = []
    if parts:
        means = np.mean([part.values[ENDPOINTS[0].name].mean(axis=(1, 2)) for part in parts], axis=0)
        members = parts[0].members
        ordered = sorted((i for i, (role, _) in enumerate(members) if role == "method"), key=lambda i: (-means[i], i))
        for place in ordered if len(ordered) > 1 else ():
            best = ordered[0] if place != ordered[0] else ordered[1]
            rows.append((dataset, amount, parts[0].annotation, members[place][1], members[best][1]))
    return pd.DataFrame(rows, columns=["dataset", "amount", "annotation", "label", "other"])


def both_ways(pairs: pd.DataFrame) -> pd.DataFrame:
    """Every pair as it is and seen from the other side."""
    turned = pairs.assign(
        role=pairs["other_role"], label=pairs["other"], other_role=pairs["role"], other=pairs["label"],
        difference=0.0 - pairs["difference"], low=0.0 - pairs["high"], high=0.0 - pairs["low"],
        superiority=1 - pairs["superiority"],
        verdict=pairs["verdict"].replace({"better": "worse", "worse": "better"}),
    )  # fmt: skip
    return pd.concat([pairs, turned], ignore_index=True)


def _rows(
    endpoint: Endpoint, where: dict[str, str], blocks: Sequence[Block], above: np.ndarray, below: np.ndarray,
    test: Crossed, ahead: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    roles, labels = (np.array(part, dtype=object) for part in zip(*blocks[0].members, strict=True))
    low, high = test.interval()
    p = test.p_value()
    adjusted = np.array(holm(p))
    return pd.DataFrame(
        {"endpoint": endpoint.name}
        | where
        | {"role": roles[above], "label": labels[above], "other_role": roles[below], "other": labels[below]}
        | {"difference": test.mean, "se": test.se, "df": test.df}
        | dict(zip(("ms_seed", "ms_patient", "ms_residual"), np.broadcast_to(test.squares, (len(p), 3)).T, strict=True))
        | {"low": low, "high": high, "p": p, "p_holm": adjusted}
        | {"superiority": ahead, "seeds": min(len(block.seeds) for block in blocks)}
        | {"patients": sum(len(block.patients) for block in blocks), "verdict": verdict(test, adjusted, endpoint)}
    )
