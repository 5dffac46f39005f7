"""Whether the first place depends on what a missing organ counts for: a declared choice must not decide silently."""

from __future__ import annotations

import pandas as pd

from ..metrics.policy import HIGHER_IS_BETTER, RULES
from .frame import Results
from .summary import ENTRY, HEADLINE, class_values, patient_values, seed_values

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
    best = _best(table.set_index(ENTRY)[[f"{metric}_mean" for metric in COMPARED]].set_axis(list(COMPARED), axis=1))
    sentences = []
    for other in RULES:
        if other == rule:
            continue
        rows = class_values(results, other, metrics=tuple(COMPARED), selection=HEADLINE)
        seeds = seed_values(results, patient_values(rows))
        under = _best(seeds.groupby(ENTRY, sort=False)[list(COMPARED)].mean())
        for key, label in best.items():
            if under.get(key, label) != label:
                dataset, amount, metric = key
                sentences.append(
                    f"The winner depends on the rule: {COMPARED[metric]} of {dataset} at {amount} is best for {label} "
                    f"under {rule}, but for {under[key]} under {other}."
                )
    return sentences


def _best(means: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    """The label with the best mean of every dataset, amount and metric; upper bounds do not compete.

    Args:
        means: a column per metric, indexed by :data:`ENTRY`.
    """
    found = {}
    rows = means.reset_index()
    for (dataset, amount), competing in rows[rows["role"] != "upper"].groupby(["dataset", "amount"], sort=False):
        for metric in COMPARED:
            values = competing.set_index("label")[metric].dropna().sort_index()
            if len(values) > 1:
                found[dataset, amount, metric] = values.idxmax() if HIGHER_IS_BETTER[metric] else values.idxmin()
    return found
