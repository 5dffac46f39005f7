"""What labels, and minutes of annotation, are worth to each method: `economics` as rows and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isinf, nan
from typing import Any

import numpy as np
import pandas as pd

from .economics import SHARES, Curve, Reading, area, labels_to_reach, multiplier
from .summary import ENTRY, key_of
from .tables import NOT_PLANNED, Column, Number, Row, Table, columns_of, rows_of

Key = tuple[str, ...]

AREA, GAIN, LABELS, MINUTES, SPENT = "area", "area gain", "labels multiplier", "minutes multiplier", "minutes"
REACH = {share: f"labels to {share:.0%} of the upper bound" for share in SHARES}
_COLUMNS = ["quantity", *ENTRY, "kind", "value", "low", "high", "least", "most", "reference", "ids"]

_CENSORED = (
    "≤ and >: the answer lies below the fewest or above the most labels that were tried; curves are never continued."
)


def quantities(table: pd.DataFrame, found: Sequence[Curve]) -> pd.DataFrame:
    """One row per number that can be said of a label curve or of one of its amounts.

    Columns: ``quantity``; whose, by :data:`ENTRY` (``amount`` is "" for a whole curve); ``kind`` of labels; ``value``,
    ``low``, ``high`` (95 %); ``least`` and ``most``, what could be read at most (±inf lies beyond); ``reference``, the
    label of the curve compared with; ``ids`` of all cells.

    Args:
        table: `summary.entries`.
        found: `economics.curves`.
    """
    ids = {key_of(entry): entry.ids for entry in table.itertuples()}
    rows = [row for curve in found if curve.role != "upper" for row in _of_curve(curve, found, ids)]
    return pd.DataFrame(rows, columns=_COLUMNS)


def tables(numbers: pd.DataFrame, table: pd.DataFrame) -> list[Table]:
    """All that `quantities` allows; none where every dataset has one amount of labels only and one kind of them."""
    shown = table[table["role"] != "upper"]
    made = []
    if len(numbers):
        known: dict[Key, Any] = {
            (row.quantity, row.role, row.label, row.dataset, row.amount): row
            for row in numbers[numbers["amount"] != ""].itertuples()
        }
        made = [_curves_table(numbers, shown), _multipliers_table(known, shown), _minutes_table(known, numbers, shown)]
    return [each for each in made if any(number.sort == number.sort for row in each.rows for number in row.numbers)]


def cost_note(found: Sequence[Curve]) -> tuple[str, ...]:
    """That weak and dense labels stand side by side without a recorded cost, where they do."""
    weak = {curve.dataset for curve in found if curve.kind != "dense" and np.isnan(curve.minutes).any()}
    if not weak:
        return ()
    return (
        f"No cost of annotation was recorded for {', '.join(sorted(weak))}: weak and dense labels cannot be put on one "
        "axis of minutes there, and nothing is guessed. Records made by this version carry it; run the plan again.",
    )


def _of_curve(curve: Curve, found: Sequence[Curve], ids: Mapping[Key, tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    def row(quantity: str, reading: Reading, amount: str = "", reference: Curve | None = None) -> dict[str, Any]:
        own = [key for key in curve.keys if not amount or key[3] == amount]
        cells = dict.fromkeys(name for key in (*own, *(reference.keys if reference else ())) for name in ids[key])
        return (
            {"quantity": quantity, "role": curve.role, "label": curve.label, "dataset": curve.dataset, "amount": amount}
            | {"kind": curve.kind, "reference": reference.label if reference else "", "ids": tuple(cells)}
            | vars(reading)
        )

    rival = _of_role(found, "lower", curve.dataset, curve.kind)
    rival = None if rival is curve else rival
    for quantity, reference in ((AREA, None), (GAIN, rival)):
        mean = area(curve, *_ends(found, curve), reference) if quantity == AREA or reference else None
        if mean is not None and mean.mean == mean.mean:
            least = 0.0 if quantity == AREA else -1.0
            low, high = (float(np.clip(end, least, 1.0)) for end in mean.interval())
            yield row(quantity, Reading(mean.mean, low, high, nan, nan), reference=reference)
    bound = _of_role(found, "upper", curve.dataset, "dense")
    for share, quantity in REACH.items() if bound else ():
        assert bound is not None
        yield row(quantity, labels_to_reach(curve, bound, share), reference=bound)
    dense = _of_role(found, "lower", curve.dataset, "dense")
    for place, key in enumerate(curve.keys):
        if key[0] == "upper":
            continue
        if rival is not None and len(rival.labels) > 1:
            yield row(LABELS, multiplier(curve, place, rival), key[3], rival)
        if curve.minutes[place] == curve.minutes[place]:
            yield row(SPENT, Reading(curve.minutes[place], nan, nan, nan, nan), key[3])
            if dense is not None and dense is not curve and len(dense.minutes) > 1 and np.isfinite(dense.minutes).all():
                yield row(MINUTES, multiplier(curve, place, dense, "minutes"), key[3], dense)


def _of_role(found: Sequence[Curve], role: str, dataset: str, kind: str) -> Curve | None:
    return next((curve for curve in found if (curve.role, curve.dataset, curve.kind) == (role, dataset, kind)), None)


def _ends(found: Sequence[Curve], curve: Curve) -> tuple[float, float]:
    """Fewest and most labels of a dataset and kind, the upper bound aside."""
    labels = [
        number
        for each in found
        if (each.dataset, each.kind) == (curve.dataset, curve.kind)
        for key, number in zip(each.keys, each.labels, strict=True)
        if key[0] != "upper"
    ]
    return min(labels), max(labels)


def _curves_table(numbers: pd.DataFrame, shown: pd.DataFrame) -> Table:
    """A column for each quantity of a dataset, and of each kind of labels where a dataset has several."""
    of_curves = numbers[numbers["amount"] == ""]
    known = {(row.dataset, row.kind, row.quantity, row.role, row.label): row for row in of_curves.itertuples()}
    kinds = of_curves.groupby("dataset")["kind"].unique()
    heads = {AREA: "area (%)", GAIN: "gain", **{q: f"labels to {share:.0%}" for share, q in REACH.items()}}
    wanted = [
        (dataset, kind, quantity)
        for dataset in dict.fromkeys(shown["dataset"])
        for kind in kinds.get(dataset, ())
        for quantity in heads
        if any(key[:3] == (dataset, kind, quantity) for key in known)
    ]
    rows = []
    for row in rows_of(shown, columns_of(shown), lambda entry: Number("", entry.ids)):
        found = (known.get((*place, row.role, row.label)) for place in wanted)
        rows.append(Row(row.label, row.role, tuple(_shown(number) for number in found), row.marks))
    columns = (
        Column(dataset, heads[quantity] + (f", {kind}" if len(kinds[dataset]) > 1 else ""))
        for dataset, kind, quantity in wanted
    )
    return Table(
        "economics",
        "Label efficiency: the whole curve",
        tuple(columns),
        tuple(rows),
        (
            "Area: mean Dice (%) along the label curve, labels on a logarithmic axis, from the fewest to the most; "
            "gain: that of the method minus that of the lower bound with the same kind of labels. 95 % intervals over "
            "crossed seeds and patients. Labels to x %: labelled patients, cases, images or videos at which the curve, "
            "in straight lines, first comes up to x % of the upper bound's Dice; 95 % percentiles of a bootstrap over "
            "seeds and patients, which are too narrow with few seeds. Validation labels are not counted.",
            _CENSORED,
        ),
    )


def _multipliers_table(known: Mapping[Key, Any], shown: pd.DataFrame) -> Table:
    columns = columns_of(shown)
    methods = shown[shown["role"] == "method"]
    rows = rows_of(methods, columns, lambda e: _shown(known.get((LABELS, e.role, e.label, e.dataset, e.amount)), "×"))
    return Table(
        "multipliers",
        "Label multiplier: how many times its labels the lower bound needs for the same Dice",
        columns,
        tuple(rows),
        (
            "Read off the curve of the lower bound with the same kind of labels, of which the upper bound is the last "
            "point where labels are dense: ×2 means that the method saves half of the labels. 95 % percentiles of a "
            "bootstrap over seeds and patients, too narrow with few seeds.",
            _CENSORED,
        ),
    )


def _minutes_table(known: Mapping[Key, Any], numbers: pd.DataFrame, shown: pd.DataFrame) -> Table:
    """Only where kinds of labels are mixed: otherwise minutes say what labels say."""
    mixed = numbers.groupby("dataset")["kind"].nunique()
    columns = tuple(column for column in columns_of(shown) if mixed.get(column.dataset, 0) > 1)

    def number(entry: Any) -> Number:
        key = (entry.role, entry.label, entry.dataset, entry.amount)
        spent, times = known.get((SPENT, *key)), known.get((MINUTES, *key))
        if spent is None:
            return Number("–", entry.ids)
        text = f"{spent.value:.0f} min" if spent.value >= 10 else f"{spent.value:.1f} min"
        if times is None:
            return Number(text, spent.ids, spent.value)
        return Number(f"{text}\n{_shown(times, '×').text}", times.ids, spent.value)

    return Table(
        "minutes",
        "Minutes of annotation, and how many times as many dense labels would take for the same Dice",
        columns,
        tuple(rows_of(shown, columns, number)),
        (
            "Minutes are estimated from strokes, for training labels, shapes lent by dense labels included and "
            "validation labels not; they are good for a factor of two at best, and their source is in the receipts. "
            "×k: supervised with dense labels needs k times these minutes for the same Dice; 95 % percentiles of a "
            "bootstrap over seeds and patients, which know nothing of the error of the estimate itself.",
            _CENSORED,
        ),
    )


def _shown(row: Any, sign: str = "") -> Number:
    """Such as ``72.1 [68.0, 75.9]``, ``×2.1 [1.4, > 5.0]``, ``≤ 9``."""
    if row is None:
        return Number(NOT_PLANNED)
    if row.value != row.value:
        return Number("–", row.ids)
    text = _one(row, row.value, sign)
    # "> 37 [> 37, > 37]" says nothing that "> 37" does not
    if row.low == row.low and not (isinf(row.value) and row.low == row.high):
        text += f" [{_one(row, row.low, '')}, {_one(row, row.high, '')}]"
    return Number(text, row.ids, row.value)


def _one(row: Any, value: float, sign: str) -> str:
    if row.quantity in (AREA, GAIN):
        return f"{100 * value:{'+' if row.quantity == GAIN else ''}.1f}"
    beyond = "≤ " if value < 0 else "> " if isinf(value) else ""
    number = (row.least if value < 0 else row.most) if isinf(value) else value
    whole = number >= 10 or (isinf(value) and row.quantity not in (LABELS, MINUTES))  # patients that were tried
    return f"{beyond}{sign}{number:.{0 if whole else 1}f}"
