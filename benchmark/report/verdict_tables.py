"""Verdicts as tables: every method against its references, column by column and over all datasets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from .evidence import Evidence
from .pairs import STRONGEST
from .summary import key_of
from .tables import Column, Number, Table, columns_of, rows_of
from .verdicts import ALPHA, BASELINE, ENDPOINTS, FEWEST_PATIENTS, FEWEST_SEEDS, LOWER, POWER, Endpoint

EMPTY = Number("–")

SEEDS, SEEDS_AT_FEW_LABELS, FEW_LABELS = 5, 10, 0.05
"""Seeds that a claim should rest on, more of them up to this share of labels."""

MOST = 100
"""Where an MDE ends in print: Dice has no more points, and 1 + HD95 changes a hundredfold only from a hit to a miss."""

_OVERALL = ("difference", "p (Holm)", "P(A > B)", "won/tied/lost", "false claim", "verdict")


def verdict_tables(table: pd.DataFrame, judged: pd.DataFrame, *, looked: bool = False) -> list[Table]:
    """One table per reference and endpoint from `verdicts.judge`; none without a comparison.

    Args:
        table: `summary.entries`.
        judged: `Evidence.judged`.
        looked: whether verdicts were looked at more than once.
    """
    made, columns = [], columns_of(table)
    cells = {(entry.label, entry.dataset, entry.amount): entry.ids for entry in table.itertuples()}
    for against in (LOWER, BASELINE, STRONGEST):
        for endpoint in ENDPOINTS:
            mine = judged[(judged["endpoint"] == endpoint.name) & (judged["against"] == against)]
            found = {key_of(row): row for row in mine.itertuples()}
            if not found:
                continue

            def number(
                entry: Any, found: dict = found, endpoint: Endpoint = endpoint, named: bool = against == STRONGEST
            ) -> Number:
                row = found.get(key_of(entry))
                return (
                    EMPTY
                    if row is None
                    else Number(
                        _verdict_text(row, endpoint, named=named),
                        (*entry.ids, *cells.get((row.reference, entry.dataset, entry.amount), ())),
                        row.difference,
                    )
                )

            rows = tuple(rows_of(table[table["role"] == "method"], columns, number))
            what = "difference in Dice points" if not endpoint.log else "ratio of 1 + HD95"
            whom = {LOWER: "the lower bound", STRONGEST: "the strongest rival"}.get(
                against, f"the baseline {mine['reference'].iloc[0]}"
            )
            note = _verdict_note(endpoint, against, whom, what, int(mine["family"].iloc[0]), looked=looked)
            notes = (note, *screening(table, mine))
            key = (
                f"verdicts-{endpoint.metric}"
                if against == LOWER
                else f"verdicts-{against.split()[0]}-{endpoint.metric}"
            )
            made.append(Table(key, f"Against {whom}: {what}", columns, rows, notes))
    return made


def screening(table: pd.DataFrame, mine: pd.DataFrame) -> list[str]:
    """A sentence on the columns whose verdicts rest on fewer seeds than a claim should; none where there is none."""
    columns = {(row.dataset, row.amount): row for row in table.itertuples()}
    short = []
    for place, rows in mine[mine["verdict"] != ""].groupby(["dataset", "amount"], sort=False):
        few = columns[place].is_share and columns[place].level <= FEW_LABELS
        if rows["seeds"].min() < (SEEDS_AT_FEW_LABELS if few else SEEDS):
            short.append(f"{place[0]} {place[1]}")
    if not short:
        return []
    return [
        f"For screening, to be confirmed with fresh seeds, because of fewer than {SEEDS} seeds ({SEEDS_AT_FEW_LABELS} "
        f"at {100 * FEW_LABELS:g} % of labels or less), with which false verdicts are less rare: {', '.join(short)}."
    ]


def overall_tables(table: pd.DataFrame, evidence: Evidence) -> list[Table]:
    """The overall effects, where there is more than one column to average over; else none."""
    whole = evidence.overall
    ids = {(row.role, row.label): () for row in table.itertuples()}
    for row in table.itertuples():
        ids[row.role, row.label] += row.ids
    made = []
    for against in (LOWER, BASELINE, STRONGEST):
        mine = whole[whole["against"] == against]
        if mine.empty or mine["planned"].max() < 2:
            continue
        columns, numbers = [], {}
        for endpoint in ENDPOINTS:
            columns += [Column(endpoint.name, title) for title in _OVERALL]
            for row in mine[mine["endpoint"] == endpoint.name].itertuples():
                numbers[row.label, endpoint.name] = _overall_numbers(row, endpoint, ids["method", row.label], against)
        rows = []
        for skeleton in rows_of(table[table["role"] == "method"], columns_of(table), lambda entry: EMPTY):
            cells = [numbers.get((skeleton.label, endpoint.name), (EMPTY,) * len(_OVERALL)) for endpoint in ENDPOINTS]
            rows.append(replace(skeleton, numbers=tuple(cell for part in cells for cell in part)))
        whom = {LOWER: "the lower bounds", STRONGEST: "the strongest rival overall"}.get(
            against, f"the baseline {mine['reference'].iloc[0]}"
        )
        made.append(
            Table(
                f"overall-{against.split()[0]}", f"Over all datasets, against {whom}", tuple(columns), tuple(rows),
                (
                    "Difference (Dice in points; HD95 as ratio of 1 + HD95) averaged over the amounts of a dataset, "
                    "then over datasets with equal weight (entries of one dataset that share patients count as one), "
                    "with its 95 % interval. P(A > B): share of random datasets, "
                    "seeds and patients in which the method is ahead. Won, tied, lost: columns with a difference "
                    "beyond the margin, within it, and the other way. False claim: posterior probability that who is "
                    "ahead is in truth behind. “–”: incomplete in some dataset.",
                ),
            )
        )  # fmt: skip
    return made


def least(detectable: float, endpoint: Endpoint) -> str:
    """A smallest detectable difference as it is printed: ``3.1`` Dice points, ``×1.35`` of 1 + HD95, ``> 100``."""
    if endpoint.log:
        return f"> ×{MOST}" if detectable > np.log(MOST) else f"×{np.exp(detectable):.2f}"
    return f"> {MOST}" if 100 * detectable > MOST else f"{100 * detectable:.1f}"


def _shown(value: float, endpoint: Endpoint, sign: str = "") -> str:
    return f"{np.exp(value):.2f}" if endpoint.log else f"{100 * value:{sign}.1f}"


def _verdict_text(row: Any, endpoint: Endpoint, *, named: bool = False) -> str:
    """Such as ``+9.4 [6.1, 12.7]`` and below it ``better``; ``×0.62 [0.51, 0.75]`` where logarithms were compared."""
    text = ("×" if endpoint.log else "") + _shown(row.difference, endpoint, "+")
    if row.low == row.low:
        text += f" [{_shown(row.low, endpoint)}, {_shown(row.high, endpoint)}]"
    if named:
        text += f"\nto {row.reference}"
    if row.verdict == "not separable":
        return f"{text}\nnot separable (MDE {least(row.detectable, endpoint)})"
    return f"{text}\n{row.verdict}".rstrip()


def _verdict_note(endpoint: Endpoint, against: str, whom: str, what: str, family: int, *, looked: bool) -> str:
    margin = f"{100 * endpoint.margin:g} points" if not endpoint.log else f"{100 * np.expm1(endpoint.margin):.0f} %"
    first = (
        "The rival of each method is the best other one of the column by mean Dice, picked after seeing the results: "
        "Holm's correction is therefore over all pairs of methods, and these verdicts are exploratory."
        if against == STRONGEST
        else f"Better or worse: p < {ALPHA:g} after Holm's correction over the {family} planned comparisons of this "
        "endpoint" + (", and over all looks" if looked else "") + f", and a difference of at least {margin}."
    )
    return (
        f"{what[0].upper()}{what[1:]} to {whom}, 95 % interval over crossed seeds and patients (uncorrected), and "
        f"verdict. {first} Equivalent: the 90 % interval (uncorrected) lies within ± {margin}. Else not separable, "
        f"with the smallest difference (MDE) that this budget would detect in {100 * POWER:g} % of studies. No verdict "
        f"below {FEWEST_SEEDS} seeds or {FEWEST_PATIENTS} patients."
    )


def _overall_numbers(row: Any, endpoint: Endpoint, ids: tuple[str, ...], against: str) -> tuple[Number, ...]:
    text = _verdict_text(row, endpoint, named=against == STRONGEST).rpartition("\n")[0]
    verdict = (
        f"{row.verdict} (MDE {least(row.detectable, endpoint)})" if row.verdict == "not separable" else row.verdict
    )
    part = f"{row.wins:.0f}/{row.ties:.0f}/{row.losses:.0f}"
    part += f" of {row.planned:.0f}" if row.columns < row.planned else ""
    return (
        Number(text, ids, row.difference),
        Number(_probability(row.p_holm), sort=row.p_holm),
        Number(f"{100 * row.superiority:.0f} %", sort=row.superiority),
        Number(part, sort=row.wins),
        Number(_probability(row.false_claim), sort=row.false_claim),
        Number(verdict),
    )


def _probability(p: float) -> str:
    return "–" if np.isnan(p) else "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0")
