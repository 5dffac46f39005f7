"""What a method's labels are worth: area under the label curve, labels to reach the bound, and the label multiplier.

A label curve is mean Dice against the number of labelled patients or videos, on a logarithmic axis: twice the labels is
the same step everywhere. Between measured amounts it is read by straight lines; it is never continued beyond them, so
an answer may be "at most the fewest" or "more than the most" that were tried.

Intervals: the area is a weighted sum of Dice and gets the crossed interval of all other means. What is read off an
inverted curve gets percentiles of a crossed bootstrap, which draws seeds and patients anew, the same for both curves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from ..seeding import derive
from .crossed import FEWEST_PATIENTS, FEWEST_SEEDS, Crossed, crossed
from .frame import Results
from .summary import key_of
from .verdicts import ENDPOINTS

SHARES = (0.90, 0.95)
"""Of the upper bound's Dice, for "labels to reach"."""

DRAWS = 1000
"""Of the bootstrap: its 2.5th and 97.5th percentiles are then good to a tenth of the interval."""

Key = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Curve:
    """One label curve.

    Attributes:
        role, label, dataset: whose it is.
        kind: kind of its labels: "dense", "scribble" or a recipe of weak labels.
        keys: its entries, by rising number of labels; the last of a lower bound may be the upper bound.
        labels: labelled patients or videos of each, ``(k,)``.
        minutes: estimated minutes of annotation of each; NaN where no cost was recorded.
        dice: ``(k, seeds, patients)``, all seeds and patients of the dataset; infinite where there is no value, NaN
            where nothing is there and nothing was predicted.
    """

    role: str
    label: str
    dataset: str
    kind: str
    keys: tuple[Key, ...]
    labels: np.ndarray
    minutes: np.ndarray
    dice: np.ndarray


@dataclass(frozen=True)
class Reading:
    """A number read off an inverted curve, with its interval; ±inf: beyond the amounts tried, see ``least``, ``most``.

    ``low`` and ``high`` are NaN below three seeds or patients.
    """

    value: float
    low: float
    high: float
    least: float
    most: float


def curves(results: Results, table: pd.DataFrame, designs: Mapping[Key, Mapping[str, pd.DataFrame]]) -> list[Curve]:
    """The label curve of every method and bound, wherever it has finished at all; an upper bound's is a single point.

    The curve of a lower bound with dense labels ends in the upper bound: the same method with all labels.

    Args:
        results: the records, which know labels and costs.
        table: `summary.entries`.
        designs: `verdicts.designs`.
    """
    rows: dict[tuple[str, str, str, str], list[tuple[float, float, Key]]] = {}
    for entry in table.itertuples():
        key = key_of(entry)
        point = _point(results, entry)
        if key in designs and point is not None:
            rows.setdefault((entry.role, entry.label, entry.dataset, point[0]), []).append((*point[1:], key))
    upper = {dataset: points for (role, _, dataset, _), points in rows.items() if role == "upper"}
    everything = {dataset: _universe(dataset, designs) for dataset in dict.fromkeys(table["dataset"])}
    found = []
    for (role, label, dataset, kind), points in rows.items():
        ordered = sorted(points + (upper.get(dataset, []) if (role, kind) == ("lower", "dense") else []))
        # 5 % and 10 % of eight patients are both one patient: one place on the axis, and the first of them there
        distinct = [point for place, point in enumerate(ordered) if not place or point[0] > ordered[place - 1][0]]
        labels, minutes, keys = zip(*distinct, strict=True)
        seeds, patients = everything[dataset]
        dice = np.array([_whole(designs[key]["dice"], seeds, patients) for key in keys])
        found.append(Curve(role, label, dataset, kind, keys, np.array(labels), np.array(minutes), dice))
    return found


def area(curve: Curve, first: float, last: float, reference: Curve | None = None) -> Crossed | None:
    """Mean Dice along the logarithmic axis from ``first`` to ``last`` labels, with the crossed interval.

    Args:
        curve: measured at both ends, otherwise there is None.
        first, last: numbers of labels, ``first`` < ``last``.
        reference: subtract its area, on the seeds and patients that both have.
    """
    parts = []
    for each in (curve,) if reference is None else paired(curve, reference):
        inside = (each.labels >= first) & (each.labels <= last)
        if inside.sum() < 2 or each.labels[inside][0] != first or each.labels[inside][-1] != last:
            return None
        parts.append((_weights(each.labels[inside]), each.dice[inside]))
    seeds, patients = _common([dice for _, dice in parts])
    sums = [np.tensordot(weights, dice[:, seeds][:, :, patients], 1) for weights, dice in parts]
    return crossed(sums[0] if reference is None else sums[0] - sums[1])


def labels_to_reach(curve: Curve, bound: Curve, share: float) -> Reading:
    """Labels at which a curve first reaches ``share`` of the Dice of ``bound``, an upper bound's curve."""
    curve, bound = paired(curve, bound)
    common = _common([curve.dice, bound.dice])

    def read(means: np.ndarray, full: np.ndarray) -> np.ndarray:
        return _exp(reached(np.log(curve.labels), means, share * full[:, 0]))

    return _reading(read, (curve, bound), common, curve.labels[0], curve.labels[-1])


def multiplier(curve: Curve, place: int, reference: Curve, axis: str = "labels") -> Reading:
    """How many times its labels the reference needs for the same Dice.

    Args:
        curve: of the method.
        place: which of its amounts.
        reference: the curve that is inverted.
        axis: "labels" or "minutes".
    """
    curve, reference = paired(curve, reference)
    own, other = getattr(curve, axis)[place], getattr(reference, axis)
    common = _common([curve.dice[[place]], reference.dice])

    def read(means: np.ndarray, references: np.ndarray) -> np.ndarray:
        return _exp(reached(np.log(other), references, means[:, place])) / own

    return _reading(read, (curve, reference), common, other[0] / own, other[-1] / own)


@lru_cache(maxsize=512)
def paired(curve: Curve, reference: Curve) -> tuple[Curve, Curve]:
    """Both with what predicting nothing is worth in the patients in whom the other, or another amount, has a value.

    As in verdicts: curves would otherwise be compared without the errors that one makes where nothing is.
    """
    amounts, raw = len(curve.dice), np.concatenate([curve.dice, reference.dice])
    ran = np.isfinite(raw).any(axis=2, keepdims=True)
    filled = np.where(ran, ENDPOINTS[0].with_right_answers(raw), raw)
    filled[~np.isfinite(filled)] = np.nan
    return replace(curve, dice=filled[:amounts]), replace(reference, dice=filled[amounts:])


def reached(places: np.ndarray, means: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Where each curve first comes up to its target, by straight lines between the places.

    Args:
        places: ``(k,)``, rising.
        means: ``(n, k)``, one curve a row; it need not rise.
        targets: ``(n,)``.

    Returns:
        ``(n,)``: −inf where the first point is there already, +inf where none is.

    >>> reached(np.array([0.0, 1.0, 2.0]), np.array([[0.5, 0.7, 0.6]]), np.array([0.6])).round(9).tolist()
    [0.5]
    """
    above = means >= targets[:, None]
    first = above.argmax(axis=1)
    rows, before = np.arange(len(means)), np.maximum(first - 1, 0)
    low, rise = means[rows, before], means[rows, first] - means[rows, before]
    share = np.divide(targets - low, rise, out=np.zeros(len(means)), where=rise > 0)
    found = places[before] + share * (places[first] - places[before])
    return np.where(~above.any(axis=1), np.inf, np.where(first == 0, -np.inf, found))


@lru_cache(maxsize=64)
def resampled(seeds: int, patients: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights ``(DRAWS, seeds)`` and ``(DRAWS, patients)`` of a crossed bootstrap; each row adds up to 1."""
    random = np.random.default_rng(derive(0, "economics", seeds, patients))
    of_seeds, of_patients = (random.multinomial(n, np.full(n, 1 / n), DRAWS) / n for n in (seeds, patients))
    return of_seeds, of_patients


@lru_cache(maxsize=512)
def _drawn(curve: Curve, common: tuple[tuple[int, ...], tuple[int, ...]]) -> np.ndarray:
    """Means of a curve under resampled seeds and patients, ``(DRAWS, k)``."""
    dice = curve.dice[:, common[0]][:, :, common[1]]
    of_seeds, of_patients = resampled(*dice.shape[1:])
    by_seed = of_seeds @ dice.transpose(1, 0, 2).reshape(dice.shape[1], -1)
    return np.einsum("bkp,bp->bk", by_seed.reshape(DRAWS, len(dice), -1), of_patients)


def _reading(
    read: Any, pair: tuple[Curve, Curve], common: tuple[tuple[int, ...], tuple[int, ...]], least: float, most: float
) -> Reading:
    """``read`` of two curves ``(1, k)`` of means, and its percentiles over the bootstrap."""
    if not all(common):
        return Reading(np.nan, np.nan, np.nan, least, most)
    means = (curve.dice[:, common[0]][:, :, common[1]].mean(axis=(1, 2))[None] for curve in pair)
    value = float(read(*means)[0])
    if len(common[0]) < FEWEST_SEEDS or len(common[1]) < FEWEST_PATIENTS:
        return Reading(value, np.nan, np.nan, least, most)
    # order statistics, since between two infinities there is no mean
    drawn = np.sort(read(*(_drawn(curve, common) for curve in pair)))
    return Reading(value, float(drawn[int(0.025 * DRAWS)]), float(drawn[-1 - int(0.025 * DRAWS)]), least, most)


def _common(tables: Sequence[np.ndarray]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Places of the seeds and patients that all of several ``(k, seeds, patients)`` have."""
    known = np.isfinite(np.concatenate(tables))
    seeds = known.any(axis=2).all(axis=0)
    patients = known[:, seeds].all(axis=(0, 1)) & seeds.any()
    return tuple(np.flatnonzero(seeds).tolist()), tuple(np.flatnonzero(patients).tolist())


def _exp(places: np.ndarray) -> np.ndarray:
    """Off the logarithmic axis; below the first place stays below it."""
    return np.where(places == -np.inf, -np.inf, np.exp(places))


def _weights(labels: np.ndarray) -> np.ndarray:
    """Of the trapezoidal rule on the logarithmic axis, divided by its length."""
    steps = np.diff(np.log(labels))
    return (np.append(steps, 0) + np.append(0, steps)) / 2 / steps.sum()


def _whole(table: pd.DataFrame, seeds: list[int], patients: list[str]) -> np.ndarray:
    """Of one entry, with the seeds and patients that it lacks."""
    return table.reindex(seeds, columns=patients, fill_value=np.inf).to_numpy(np.float64)


def _universe(dataset: str, designs: Mapping[Key, Mapping[str, pd.DataFrame]]) -> tuple[list[int], list[str]]:
    """All seeds and patients of a dataset."""
    tables = [design["dice"] for key, design in designs.items() if key[2] == dataset]
    return (
        sorted({seed for table in tables for seed in table.index}),
        sorted({patient for table in tables for patient in table.columns}),
    )


def _point(results: Results, entry: Any) -> tuple[str, float, float] | None:
    """Kind of labels, their number and the minutes of annotation of an entry; None where no record knows them."""
    records = [results.records[name] for name in entry.ids if name in results.records]
    counts = [len(record.split["labelled_groups"]) for record in records if record.split.get("labelled_groups")]
    if not counts:
        return None
    costs = [_minutes(record.receipt.get("annotation")) for record in records if record.status == "finished"]
    weak = records[0].cell.get("weak") or {}
    return str(weak.get("kind", entry.annotation)), float(np.mean(counts)), float(np.mean(costs)) if costs else np.nan


def _minutes(annotation: Any) -> float:
    """Of what a method is trained on: its labels, and those that only lend their shapes. Never guessed."""
    if not isinstance(annotation, dict):
        return float("nan")
    return float(sum(annotation.get(part, {}).get("minutes", 0.0) for part in ("labelled", "shapes")))
