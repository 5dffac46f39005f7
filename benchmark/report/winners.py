"""What stands beside a number: bold for the best of a column, and a sign for the verdict against the lower bound.

A higher mean alone makes nobody bold. The best mean of a column is bold together with the next best ones, down to the
first that can be told apart from it; where that is nobody, nothing is bold. No row is bold that a bold one is declared
better than, and none below a row that is not: a wide interval earns nothing that a narrow one costs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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


def standings(judged: pd.DataFrame, pairs: pd.DataFrame, table: pd.DataFrame) -> dict[Key, Standing]:
    """The standing of every entry that was tested.

    Args:
        judged: `verdicts.judge`, with whoever else was compared.
        pairs: `pairs.all_pairs`.
        table: `summary.entries`, whose means are printed.
    """
    metrics = {endpoint.name: endpoint.metric for endpoint in ENDPOINTS}
    signs = {
        (metrics[row.endpoint], *key_of(row)): SIGNS.get(row.verdict, "")
        for row in judged[(judged["against"] == LOWER) & (judged["verdict"] != "")].itertuples()
    }
    beats = _beats(judged, metrics) | _beats(
        pairs.assign(reference=pairs["other"], against=pairs["other_role"].replace("lower", LOWER)), metrics
    )
    means = {key_of(entry): entry for entry in table.itertuples()}
    every: dict[Key, None] = dict.fromkeys(signs)
    winners: set[Key] = set()
    for (name, *_), column in pairs[pairs["verdict"] != ""].groupby(
        ["endpoint", "dataset", "amount", "annotation"], sort=False
    ):
        (endpoint,) = (endpoint for endpoint in ENDPOINTS if endpoint.name == name)
        apart: dict[tuple[Key, Key], bool] = {}
        for row in column.itertuples():
            mine, other = (
                (endpoint.metric, role, label, row.dataset, row.amount)
                for role, label in ((row.role, row.label), (row.other_role, row.other))
            )
            apart[mine, other] = apart[other, mine] = not row.low <= 0 <= row.high
        sign = -1 if endpoint.higher_is_better else 1
        tested = dict.fromkeys(key for pair in apart for key in pair)
        ordered = sorted(tested, key=lambda key: sign * getattr(means[key[1:]], f"{key[0]}_mean"))
        bold = _bold(ordered, apart, beats)
        every |= tested
        winners |= set(bold if len(bold) < len(ordered) else ())
    return {key: Standing(signs.get(key, ""), key in winners) for key in every}


def legend(shown: Standings, *, mixed: bool = False) -> str:
    """The sentences that explain bold type and signs, as far as there are any; ``mixed``: kinds of labels."""
    if not shown:
        return (
            "Nothing is bold and no sign is given: no two rows of a column have three seeds and three test patients, "
            "which a test takes."
        )
    if any(standing.winner for standing in shown.values()):
        among = "with the same kind of labels, upper bounds aside" if mixed else "upper bounds aside"
        parts = [
            f"Bold: the best mean of the column ({among}) and the next best ones, down to the first whose 95 % "
            "interval of the difference to it (uncorrected) excludes 0, or that a bold row is declared better than; "
            "nothing is bold where no row can be told apart so."
        ]
    else:
        parts = ["Nothing is bold: no row of any column could be told apart from the best one."]
    if any(standing.sign for standing in shown.values()):
        parts.append("† better, ‡ worse than the lower bound, ≈ equivalent to it (see “Against the lower bound”).")
    return " ".join([*parts, "For HD95 both compare log(1 + HD95). A higher mean alone is no evidence."])


def _bold(
    ordered: Sequence[Key], apart: Mapping[tuple[Key, Key], bool], beats: Collection[tuple[Key, Key]]
) -> list[Key]:
    """The first of rows from the best mean down, as far as none can be told apart from the best or is beaten."""
    found = list(ordered[:1])
    for key in ordered[1:]:
        declared = any((bold, key) in beats or (key, bold) in beats for bold in found)
        if declared or apart.get((found[0], key), True):
            break
        found.append(key)
    return found


def _beats(compared: pd.DataFrame, metrics: Mapping[str, str]) -> set[tuple[Key, Key]]:
    """Who is declared better than whom, whatever the family of comparisons."""
    found: set[tuple[Key, Key]] = set()
    for row in compared[compared["verdict"].isin(["better", "worse"])].itertuples():
        metric, place = metrics[row.endpoint], (row.dataset, row.amount)
        mine = (metric, row.role, row.label, *place)
        other = (metric, "lower" if row.against == LOWER else "method", row.reference, *place)
        found.add((mine, other) if row.verdict == "better" else (other, mine))
    return found
