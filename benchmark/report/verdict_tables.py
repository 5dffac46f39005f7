"""Verdicts as tables: every method against its references, column by column and over all datasets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from .evidence import Evidence
from .numerals import fixed, probability
from .pairs import STRONGEST
from .summary import key_of
from .tables import Column, Number, Table, columns_of, rows_of
from .verdicts import ALPHA, BASELINE, ENDPOINTS, FEWEST_PATIENTS, FEWEST_SEEDS, LOWER, POWER, Endpoint, Key

EMPTY = Number("–")

SEEDS, SEEDS_AT_FEW_LABELS, FEW_LABELS = 5, 10, 0.05
"""Seeds that a claim should rest on, more of them up to this share of labels."""

MOST = 100
"""Where an MDE ends in print: Dice has no more points, and 1 + HD95 changes a hundredfold only from a hit to a miss."""

FAILING = 0.5
"""Share of failed predictions from which a method does not do its task, however like another one it is."""

BOTH_FAIL = "both fail"
_BOTH_FAIL = (
    f"Both fail: equivalent, but {100 * FAILING:g} % or more of the predictions of either are missed, spurious or "
    "absent (failed predictions): neither does its task."
)

_OVERALL = ("difference", "p (Holm)", "P(A > B)", "won/tied/lost", "false claim", "verdict")


def verdict_tables(table: pd.DataFrame, judged: pd.DataFrame, *, looked: bool = False) -> list[Table]:
    """One table per reference and endpoint from `verdicts.judge`; none without a comparison.

    Args:
        table: `summary.entries`.
        judged: `Evidence.judged`.
        looked: whether verdicts were looked at more than once.
    """
    made, columns = [], columns_of(table)
    cells = {key_of(entry): entry.ids for entry in table.itertuples()}
    rates = {key_of(entry): entry.failure_rate_mean for entry in table.itertuples()}
    for against in (LOWER, BASELINE, STRONGEST):
        for endpoint in ENDPOINTS:
            mine = judged[(judged["endpoint"] == endpoint.name) & (judged["against"] == against)]
            found = {key_of(row): row for row in mine.itertuples()}
            if not found:
                continue

            def number(
                entry: Any, found: dict = found, endpoint: Endpoint = endpoint, against: str = against
            ) -> Number:
                row = found.get(key_of(entry))
                if row is None:
                    return EMPTY
                other = _reference(row, against)
                fail = min(rates[key_of(entry)], rates.get(other, 0)) >= FAILING
                parts = _parts(row, endpoint, both_fail=fail, looked=looked and against != STRONGEST)
                text = _text(parts, named=row.reference if against == STRONGEST else "")
                return Number(text, (*entry.ids, *cells.get(other, ())), row.difference, "", tuple(parts.items()))

            rows = tuple(rows_of(table[table["role"] == "method"], columns, number))
            what = "difference in Dice points" if not endpoint.log else "ratio of 1 + HD95"
            whom = {LOWER: "the lower bound", STRONGEST: "the strongest rival"}.get(
                against, f"the baseline {mine['reference'].iloc[0]}"
            )
            # rivals are picked and compared at the end alone
            note = _verdict_note(mine, endpoint, whom, what, looked=looked and against != STRONGEST)
            fail = [_BOTH_FAIL] if any(BOTH_FAIL in number.text for row in rows for number in row.numbers) else []
            notes = (note, *fail, *screening(table, mine))
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
        few = columns[place].share <= FEW_LABELS
        if rows["seeds"].min() < (SEEDS_AT_FEW_LABELS if few else SEEDS):
            short.append(f"{place[0]} {place[1]}")
    if not short:
        return []
    return [
        f"For screening, to be confirmed with fresh seeds, because of fewer than {SEEDS} seeds ({SEEDS_AT_FEW_LABELS} "
        f"at {100 * FEW_LABELS:g} % of labels or less), with which false verdicts are less rare: {', '.join(short)}."
        + _family_error(mine)
    ]


def _family_error(mine: pd.DataFrame) -> str:
    """How often a table like this one, of methods without a difference, would hold a false verdict; "" if unknown."""
    each = mine["misleading"].dropna()
    if each.empty:
        return ""
    some = 1 - np.prod(1 - each.to_numpy())
    return (
        f" If no method differed, {fixed(100 * some, 0)} % of studies like this one would have at least one in this "
        "table (simulated with the variances measured here, comparisons taken for independent), not 5 %."
    )


def overall_tables(table: pd.DataFrame, evidence: Evidence) -> list[Table]:
    """The overall effects, where there is more than one dataset to average over; else none."""
    whole = evidence.overall
    if table["dataset"].nunique() < 2:
        return []
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
                    "Difference (Dice in points; HD95 as ratio of 1 + HD95, tested on its logarithm) averaged over the "
                    "amounts of a dataset, then over datasets with equal weight (entries of one dataset that share "
                    "patients count as one), with its 95 % interval, or the 90 % one that equivalence is read off. "
                    "P(A > B): share of random datasets, seeds and patients in which the method is ahead. Won, tied, "
                    "lost: columns with a difference beyond the margin, within it, and the other way. False claim: "
                    "posterior probability that who is ahead is in truth behind. “–”: incomplete in some dataset.",
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
    return fixed(np.exp(value), 2) if endpoint.log else fixed(100 * value, 1, sign)


def _reference(row: Any, against: str) -> Key:
    return ("lower" if against == LOWER else "method", row.reference, row.dataset, row.amount)


def _parts(row: Any, endpoint: Endpoint, *, both_fail: bool = False, looked: bool = False) -> dict[str, str]:
    """What is printed of a comparison: ``+9.4``, ``[6.1, 12.7]``, ``p = .003``, ``better``; only what there is.

    ``×0.62 [0.51, 0.75]`` where logarithms were compared. An equivalence shows the interval that it is read off.
    """
    found = {"difference": ("×" if endpoint.log else "") + _shown(row.difference, endpoint, "+")}
    same = row.verdict == "equivalent"
    low, high = (row.low_90, row.high_90) if same else (row.low, row.high)
    if low == low:
        low, high = (low, high) if endpoint.log else np.clip((low, high), -1, 1)  # Dice has no more points
        level = (" (equivalence)" if looked else " (90 %)") if same else ""
        found["interval"] = f"[{_shown(low, endpoint)}, {_shown(high, endpoint)}]{level}"
    if row.p_holm == row.p_holm:
        shown = probability(row.p_holm)
        found["p"] = f"p {shown}" if shown.startswith("<") else f"p = {shown}"
    if row.verdict == "not separable":
        found["verdict"] = f"not separable (MDE {least(row.detectable, endpoint)})"
    elif row.verdict:
        found["verdict"] = f"{row.verdict}, {BOTH_FAIL}" if same and both_fail else row.verdict
    return found


def _text(parts: Mapping[str, str], *, named: str = "") -> str:
    """Difference and interval, whom it is to (``named``), p and verdict, a line each."""
    lines = [("difference", "interval"), ("p", "verdict")]
    first, last = ([parts[name] for name in names if name in parts] for names in lines)
    return "\n".join(filter(None, [" ".join(first), f"to {named}" if named else "", ", ".join(last)]))


def _verdict_note(mine: pd.DataFrame, endpoint: Endpoint, whom: str, what: str, *, looked: bool) -> str:
    what = f"{what[0].upper()}{what[1:]} to {whom}"
    none = f"No verdict below {FEWEST_SEEDS} seeds or {FEWEST_PATIENTS} patients."
    if not (mine["verdict"] != "").any():
        return f"{what}; nothing is tested. {none}"
    margin = f"{100 * endpoint.margin:g} points" if not endpoint.log else f"{100 * np.expm1(endpoint.margin):.0f} %"
    first = (
        "The rival of each method is the best other one of the column with the same kind of labels by mean Dice, "
        "picked after seeing the results: Holm's correction of p is therefore over all pairs of methods, and these "
        "verdicts are exploratory."
        if mine["against"].iloc[0] == STRONGEST
        else f"Better or worse: p < {ALPHA:g} after Holm's correction over the {mine['family'].iloc[0]} planned "
        "comparisons of this endpoint" + (", and over all looks" if looked else "") + ", which p here includes, and a "
        f"difference of at least {margin}."
    )
    scale = "; tested as a difference of log(1 + HD95)" if endpoint.log else ""
    held = " (at the level of its look, so that it holds over all looks)" if looked else ""
    return (
        f"{what}, 95 % interval{held} over crossed seeds and patients (uncorrected for other comparisons), p and "
        f"verdict{scale}. {first} Equivalent: the 90 % interval{held} (uncorrected), which is then the one printed, "
        f"lies within ± {margin}. Else not separable, with the smallest difference (MDE) that this budget would detect "
        f"in {100 * POWER:g} % of studies, at the level of Holm's strictest step. "
        f"{none}"
    )


def _overall_numbers(row: Any, endpoint: Endpoint, ids: tuple[str, ...], against: str) -> tuple[Number, ...]:
    parts = _parts(row, endpoint)
    verdict = parts.get("verdict", "")
    alone = {name: text for name, text in parts.items() if name in ("difference", "interval")}
    text = _text(alone, named=row.reference if against == STRONGEST else "")
    part = f"{row.wins:.0f}/{row.ties:.0f}/{row.losses:.0f}"
    part += f" of {row.planned:.0f}" if row.columns < row.planned else ""
    return (
        Number(text, ids, row.difference, "", tuple(alone.items())),
        Number(probability(row.p_holm), sort=row.p_holm),
        Number(f"{100 * row.superiority:.0f} %", sort=row.superiority),
        Number(part, sort=row.wins),
        Number(probability(row.false_claim), sort=row.false_claim),
        Number(verdict),
    )
