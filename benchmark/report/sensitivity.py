"""Whether the first place depends on what a missing organ counts for: a declared choice must not decide silently."""

from __future__ import annotations

import pandas as pd

from ..metrics.policy import HIGHER_IS_BETTER, RULES
from .frame import Results
from .summary import class_values, entries, patient_values

COMPARED = {"dice": "Dice", "hd95": "HD95"}


def flips(results: Results, table: pd.DataFrame, *, rule: str) -> list[str]:
    """One sentence for every column whose best method is another one under another rule; none where all agree.

    Args:
        results: the records.
        table: `summary.entries` under ``rule``.
        rule: the rule of the report.
    """
    if (results.scores["status"] == "ok").all():
        return []
    best = _best(table)
    sentences = []
    for other in RULES:
        if other == rule:
            continue
        under = _best(entries(results, patient_values(class_values(results, other))))
        for key, label in best.items():
            if under.get(key, label) != label:
                dataset, amount, metric = key
                sentences.append(
                    f"The winner depends on the rule: {COMPARED[metric]} of {dataset} at {amount} is best for {label} "
                    f"under {rule}, but for {under[key]} under {other}."
                )
    return sentences


def _best(table: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    """The label with the best mean of every dataset, amount and metric; upper bounds do not compete."""
    found = {}
    for (dataset, amount), rows in table[table["role"] != "upper"].groupby(["dataset", "amount"], sort=False):
        for metric in COMPARED:
            means = rows.set_index("label")[f"{metric}_mean"].dropna().sort_index()
            if len(means) > 1:
                found[dataset, amount, metric] = means.idxmax() if HIGHER_IS_BETTER[metric] else means.idxmin()
    return found
