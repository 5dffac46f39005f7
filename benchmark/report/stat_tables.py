"""Tables behind the verdicts: ranks and their stability, where variance comes from, and looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from . import sequential
from .blocks import Block
from .components import DIFFERENCE, METHOD, SUBSET
from .frame import Results
from .numerals import fixed
from .ranks import OVERALL, RESAMPLES, TOP, Ranking
from .tables import Column, Number, Row, Table, columns_of, rows_of
from .verdict_tables import EMPTY
from .verdicts import ENDPOINTS, FEWEST_SEEDS


def rank_tables(table: pd.DataFrame, rankings: Sequence[Ranking], blocks: Sequence[Block] = ()) -> list[Table]:
    """Ranks with intervals, and how the ranking changes with other choices; ``blocks`` say who has none, and why."""
    if not rankings:
        return []
    columns = _ordered(table, rankings)
    places = {(_column(found), member): (found, at) for found in rankings for at, member in enumerate(found.members)}
    ids = {(row.role, row.label, row.dataset, row.amount): row.ids for row in table.itertuples()}

    def number(column: Column, role: str, label: str) -> Number:
        if (column, (role, label)) not in places:
            return EMPTY
        found, at = places[column, (role, label)]
        text = f"{found.rank[at]}{'*' if found.top[at] else ''} [{found.low[at]}–{found.high[at]}]"
        cells = ids.get((role, label, found.dataset, found.amount), ())
        first = f"{100 * found.first[at]:.0f} %"
        parts = (("", f"{found.rank[at]}"), ("interval", f"[{found.low[at]}–{found.high[at]}]"), ("first", first))
        return Number(f"{text}\n{first}", cells, float(found.rank[at]), parts=parts)

    rows = [
        replace(row, numbers=tuple(number(column, row.role, row.label) for column in columns))
        for row in rows_of(table[table["role"] != "upper"], columns_of(table), lambda entry: EMPTY)
    ]
    notes = (
        "Rank by mean Dice among methods and lower bounds with the same kind of labels [95 % interval], and in how "
        f"many of {RESAMPLES} resamples of seeds and patients it came first. *: top group, the fewest that together "
        f"are first in {100 * TOP:g} %. No rank below {FEWEST_SEEDS} seeds; of few seeds, intervals and top group are "
        "too narrow, and hold less often than they say.",
        *_not_ranked(blocks),
    )
    made = [Table("ranks", "Ranks and how sure they are", tuple(columns), tuple(rows), notes)]
    by_column: dict[str, dict[Column, Number]] = {}
    for found in rankings:
        kind = f" ({found.annotation} labels)" if len({r.annotation for r in rankings}) > 1 else ""
        median, low, high = found.tau
        again = (
            EMPTY
            if np.isnan(median)
            else Number(f"{fixed(median, 2)} [{fixed(low, 2)}, {fixed(high, 2)}]", sort=median)
        )
        by_column.setdefault(f"resampled seeds and patients{kind}", {})[_column(found)] = again
        for name, tau in found.sensitivity.items():
            text = "–" if np.isnan(tau) else fixed(tau, 2)
            by_column.setdefault(name + kind, {})[_column(found)] = Number(text, sort=tau)
    stability = tuple(
        Row(name, "method", tuple(numbers.get(column, EMPTY) for column in columns))
        for name, numbers in by_column.items()
    )
    note = "Kendall's τ between the ranking by mean Dice and another one: 1 is the same order, −1 the reversed one."
    return [
        *made,
        Table("stability", "Rankings under other choices", tuple(columns), stability, (note,), head="Ranking by"),
    ]


def _not_ranked(blocks: Sequence[Block]) -> list[str]:
    """Who has no rank in some column, and why."""
    reasons: dict[str, list[str]] = {}
    for block in blocks:
        for (_, label), why in block.left_out.items():
            reasons.setdefault(f"{label} ({why})", []).append(f"{block.dataset} {block.amount}")
    told = "; ".join(f"{who} in {', '.join(where)}" for who, where in reasons.items())
    return [f"Not ranked: {told}."] if told else []


def component_tables(table: pd.DataFrame, found: pd.DataFrame) -> list[Table]:
    """Where the variance of Dice comes from; none where no entry has seeds enough."""
    of_dice = found[found["endpoint"] == ENDPOINTS[0].name]
    if of_dice.empty:
        return []
    columns = columns_of(table)
    rows = []
    for what in (METHOD, DIFFERENCE):
        mine = {(row.dataset, row.amount): row for row in of_dice[of_dice["of"] == what].itertuples()}
        for source in ("seed", "patient", "residual"):
            numbers = tuple(_component(mine.get((column.dataset, column.amount)), source) for column in columns)
            if mine:
                rows.append(Row(f"{what}: {_SOURCES[source]}", "method", numbers))
    places: dict[str, list[str]] = {}
    for row in of_dice.drop_duplicates(["dataset", "amount"]).itertuples():
        places.setdefault(row.seeds_draw, []).append(f"{row.dataset} {row.amount}")
    draws = "; ".join(f"{what} ({', '.join(where)})" for what, where in places.items())
    notes = (
        "Standard deviation in Dice points (share of the variance), by analysis of variance, mean over the methods. "
        "What makes a patient hard for both methods cancels in a difference. More seeds average out the part of the "
        "seeds, more patients that of the patients; the rest shrinks with both.",
        f"Seeds draw: {draws}. What a seed draws together cannot be told apart"
        + (
            ": run the plan once more with training.subset: first, which keeps the labelled patients, and the "
            "difference of the two seed variances is that of the labelled subset."
            if any(SUBSET in what for what in places)
            else "."
        ),
    )
    return [Table("components", "Where the variance comes from", columns, tuple(rows), notes, head="Varies")]


def look_tables(results: Results) -> list[Table]:
    """What was looked at, and what of the error rate that cost; none where nobody looked before the end."""
    looks = results.looks
    if looks is None:
        return []
    spending = looks.spending
    levels = sequential.levels(looks.alpha, looks.counts, spending)
    columns = tuple(Column("", title) for title in ("seeds", "p below", "spent", "open", "decided", "cells added"))
    rows = []
    for place, count in enumerate(looks.counts):
        told = looks.history[place] if place < len(looks.history) else {}
        spent = sequential.spent(looks.alpha, count / looks.counts[-1], spending)
        texts = [str(count), f"{levels[place]:.2g}", f"{100 * spent:.2g} %"]
        texts += [str(len(told[name])) if told else "–" for name in ("open", "decided", "added")]
        rows.append(Row(str(place + 1), "method", tuple(Number(text) for text in texts)))
    notes = (
        f"Declared before the first look; spending function: {spending.replace('_', '–')}. “p below”: what a single "
        "comparison needs at that look, before Holm's correction; “spent”: how much of the error rate may be used up "
        "by then. Seeds were added where the verdict on Dice against the lower bound or the baseline was "
        "open, and to their references. Ranks, maps and overall effects use the seeds of the first look only.",
    )
    return [Table("looks", "Looks at the verdicts", columns, tuple(rows), notes, head="Look")]


_SOURCES = {"seed": "seeds", "patient": "patients", "residual": "seed × patient, rest"}


def _component(row: Any, source: str) -> Number:
    if row is None:
        return EMPTY
    spread, share = getattr(row, f"sd_{source}"), getattr(row, f"share_{source}")
    return Number(f"{100 * spread:.1f} ({100 * share:.0f} %)", sort=spread)


def _column(found: Ranking) -> Column:
    return Column(found.dataset, found.amount or ("mean" if found.dataset == OVERALL else "all amounts"))


def _ordered(table: pd.DataFrame, rankings: Sequence[Ranking]) -> list[Column]:
    """The columns of other tables, behind each dataset's the one of all its amounts, and the overall one last."""
    planned = list(columns_of(table))
    datasets = list(dict.fromkeys(column.dataset for column in planned))
    place = {column: at for at, column in enumerate(planned)}
    found = dict.fromkeys(_column(each) for each in rankings)
    return sorted(
        found,
        key=lambda column: (
            datasets.index(column.dataset) if column.dataset in datasets else len(datasets),
            place.get(column, len(place)),
        ),
    )
