"""What stands beside a number: bold for verdict winners, and a sign for the verdict against the lower bound.

A higher mean alone makes nobody bold. Whoever no other row of its column is better than is bold, ties included, as soon
as somebody there has been found worse: to leave out a row that cannot be told apart from the best would be a claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from .summary import key_of
from .verdicts import ENDPOINTS, LOWER

SIGNS = {"better": "†", "worse": "‡", "equivalent": "≈"}
"""Behind a number: its verdict against the lower bound. No sign: not separable, or not tested."""


@dataclass(frozen=True)
class Standing:
    """How one number is shown: a verdict's ``sign``, and whether it is a ``winner``."""

    sign: str = ""
    winner: bool = False


Key = tuple[str, ...]
Standings = Mapping[Key, Standing]
"""By metric, role, label, dataset and amount."""


def standings(judged: pd.DataFrame, pairs: pd.DataFrame) -> dict[Key, Standing]:
    """The standing of every entry that was tested.

    Args:
        judged: `verdicts.judge`.
        pairs: `pairs.all_pairs`.
    """
    metrics = {endpoint.name: endpoint.metric for endpoint in ENDPOINTS}
    signs = {
        (metrics[row.endpoint], *key_of(row)): SIGNS.get(row.verdict, "")
        for row in judged[judged["against"] == LOWER].itertuples()
    }
    winners: set[Key] = set()
    for _, column in pairs[pairs["verdict"] != ""].groupby(["endpoint", "dataset", "amount", "annotation"], sort=False):
        tested: set[Key] = set()
        beaten: set[Key] = set()
        for row in column.itertuples():
            both = [
                (metrics[row.endpoint], role, label, row.dataset, row.amount)
                for role, label in ((row.role, row.label), (row.other_role, row.other))
            ]
            tested.update(both)
            beaten.update(both[1:] if row.verdict == "better" else both[:1] if row.verdict == "worse" else ())
        winners |= tested - beaten if beaten else set()
    return {key: Standing(signs.get(key, ""), key in winners) for key in [*signs, *sorted(winners - signs.keys())]}


def legend(shown: Standings) -> str:
    """The sentence that explains bold type and signs, as far as there are any."""
    parts = []
    if any(standing.winner for standing in shown.values()):
        parts.append(
            "Bold: no other row of the column with the same kind of labels is better by the crossed test with Holm's "
            "correction over all its pairs, and at least one is worse; ties share it."
        )
    else:
        parts.append(
            "Nothing is bold: no two rows of any column could be told apart by the crossed test with Holm's correction "
            "over all its pairs, or there are too few seeds to try."
        )
    if any(standing.sign for standing in shown.values()):
        parts.append("† better, ‡ worse than the lower bound, ≈ equivalent to it (see “Against the lower bound”).")
    return " ".join([*parts, "A higher mean alone is no evidence."])
