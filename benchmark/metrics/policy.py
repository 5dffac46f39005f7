"""What a missing organ counts for: the one place that says it.

Rows keep raw values (see `measures.ClassMeasures`). To average them one has to declare what an empty mask or a crash is
worth, and that choice can turn a ranking round; hence each choice is a rule with a name, and a table under another rule
is one option away.

Sources of the rules: Maier-Hein et al. 2018 and "Metrics reloaded" 2024 ask for a declared, worst-case value; the image
diagonal is what BraTS uses (373.13 mm = the diagonal of 240 x 240 x 155 mm). The other rules reproduce what published
code does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import nan
from typing import Literal

import numpy as np

from . import checks
from .measures import ClassMeasures, without_surfaces

STATUSES = ("ok", "both_empty", "missed", "spurious", "failed")
FAILED_STATUSES = frozenset({"missed", "spurious", "failed"})
"""Rows that the failure rate counts. "failed": the prediction crashed, is absent or holds NaN."""

OVERLAPS = ("dice", "jaccard", "nsd", "nsd_count")
AVERAGES = ("asd_pred_to_gt", "asd_gt_to_pred", "assd", "masd")
DISTANCES = ("hd95", "hd95_pooled", "hd", *AVERAGES, "hd95_vox", "hd95_pooled_vox")
OPTIONAL = frozenset({"nsd", "nsd_count"})
"""NaN in every row where no tolerance was given: not measured, and no rule invents a value."""

HIGHER_IS_BETTER = dict.fromkeys(OVERLAPS, True) | dict.fromkeys(DISTANCES, False)
UNITS = dict.fromkeys(OVERLAPS, "1") | {metric: "px" if metric.endswith("_vox") else "distance" for metric in DISTANCES}
""""1": a share in [0, 1]; "px": pixels or voxels; "distance": mm where the case has a spacing, else px (`unit_of`)."""
PENALTIES = {metric: "diagonal_vox" if UNITS[metric] == "px" else "diagonal" for metric in DISTANCES}
"""Which column of a row holds the penalty of a distance."""

Worth = Literal["exclude", "diagonal"] | float
"""What a row counts for: nothing, the image diagonal, or a constant."""


@dataclass(frozen=True)
class Rule:
    """What each status but "ok", which keeps its value, is worth."""

    description: str
    overlaps: Mapping[str, Worth]
    distances: Mapping[str, Worth]
    exceptions: Mapping[str, Mapping[str, Worth]] = field(default_factory=dict)
    """For single metrics, instead of the two above."""

    def worths(self, metric: str) -> Mapping[str, Worth]:
        """What each status but "ok" is worth for one metric."""
        return self.exceptions.get(metric, self.overlaps if metric in OVERLAPS else self.distances)


def _worths(*, both_empty: Worth, missed: Worth, spurious: Worth, failed: Worth) -> dict[str, Worth]:
    return {"both_empty": both_empty, "missed": missed, "spurious": spurious, "failed": failed}


_WORST_OVERLAP = _worths(both_empty="exclude", missed=0.0, spurious=0.0, failed=0.0)
_DIAGONAL = _worths(both_empty="exclude", missed="diagonal", spurious="diagonal", failed="diagonal")
_ONLY_OK = _worths(both_empty="exclude", missed="exclude", spurious="exclude", failed="exclude")

RULES: dict[str, Rule] = {
    "penalised": Rule(
        "Missed, spurious and failed: overlap 0, distance = image diagonal. Empty in both maps: left out and counted.",
        overlaps=_WORST_OVERLAP,
        distances=_DIAGONAL,
    ),
    "successes": Rule(
        "Only classes that are in both maps: to be read beside the failure rate, never alone.",
        overlaps=_ONLY_OK,
        distances=_ONLY_OK,
    ),
    "empty_is_perfect": Rule(
        "As penalised, but empty in both maps is a right answer, overlap 1 and distance 0 (Metrics Reloaded's code).",
        overlaps=_WORST_OVERLAP | {"both_empty": 1.0},
        distances=_DIAGONAL | {"both_empty": 0.0},
    ),
    "monai_skip": Rule(
        "MONAI: distances of missed and spurious classes, and the Dice of spurious ones, are dropped without a word.",
        overlaps=_ONLY_OK | {"missed": 0.0},
        distances=_ONLY_OK,
        # MONAI's surface Dice, unlike its Dice, is 0 where only the reference is empty.
        exceptions={metric: _ONLY_OK | {"missed": 0.0, "spurious": 0.0} for metric in OPTIONAL},
    ),
    "ssl4mis_zero": Rule(
        "SSL4MIS, UA-MT: an empty prediction has overlap 0 and distance 0, the best there is; spurious as penalised.",
        # Their scripts stop with an error on a spurious class.
        overlaps=_WORST_OVERLAP | {"both_empty": 0.0},
        distances=_worths(both_empty=0.0, missed=0.0, spurious="diagonal", failed=0.0),
    ),
    "maskmixadv_constants": Rule(
        "MaskMixAdv: overlap 0, Hausdorff distances 50 and average distances 10, whatever the size of the image.",
        overlaps=_WORST_OVERLAP,
        distances=_worths(both_empty="exclude", missed=50.0, spurious=50.0, failed=50.0),
        exceptions={
            metric: _worths(both_empty="exclude", missed=10.0, spurious=10.0, failed=10.0) for metric in AVERAGES
        },
    ),
}
DEFAULT_RULE = "penalised"


def only_empty_left_out(metric: str, rule: str = DEFAULT_RULE) -> bool:
    """Whether a rule leaves out no row of a metric but those of classes that are in neither map.

    >>> only_empty_left_out("dice"), only_empty_left_out("hd95", "monai_skip")
    (True, False)
    """
    return {status for status, worth in RULES[rule].worths(metric).items() if worth == "exclude"} <= {"both_empty"}


def apply_rule(
    values: Sequence[float] | np.ndarray,
    statuses: Sequence[str] | np.ndarray,
    diagonals: Sequence[float] | np.ndarray,
    metric: str,
    rule: str = DEFAULT_RULE,
    *,
    measured: bool = False,
) -> np.ndarray:
    """What each row counts for under a rule; NaN where it is left out.

    Args:
        values: raw values, ``(n,)``.
        statuses: statuses of the rows, ``(n,)``.
        diagonals: the rows' column ``PENALTIES[metric]``, ``(n,)``. Overlaps do not look at it.
        metric: which metric the values are, one of `HIGHER_IS_BETTER`.
        rule: name of one of `RULES`.
        measured: the metric was measured, though all rows may be of maps that hold nothing, where it has no value.

    Returns:
        ``(n,)`` float64. Average it with ``nanmean`` *and* print how many rows of each status there were.

    Raises:
        ValueError: unknown metric, rule or status, columns of unequal length, or an "ok" row without a finite value.

    >>> apply_rule([2.0, float("inf")], ["ok", "missed"], [90.0, 90.0], "hd95").tolist()
    [2.0, 90.0]
    """
    chosen = RULES[_known(rule, RULES, "rule")]
    worths = chosen.worths(_known(metric, HIGHER_IS_BETTER, "metric"))
    raw, diagonal = np.asarray(values, dtype=np.float64), np.asarray(diagonals, dtype=np.float64)
    status = np.asarray(statuses, dtype=str)
    if not raw.shape == status.shape == diagonal.shape:
        raise ValueError(
            f"values, statuses and diagonals have the shapes {raw.shape}, {status.shape} and {diagonal.shape}; "
            "allowed: equal shapes. Pass three columns of the same rows."
        )
    for found in np.unique(status):
        _known(str(found), STATUSES, "status")
    unmeasured = np.isnan(raw) & (metric in OPTIONAL)
    if measured or not unmeasured.all():  # then NaN is what both_empty has in a column that was measured
        unmeasured &= status != "both_empty"
    strange = (status == "ok") & ~np.isfinite(raw) & ~unmeasured
    if strange.any():
        raise ValueError(
            f"{metric} is {raw[strange][0]} in a row with status 'ok'; allowed: finite values. Store a case that could "
            "not be measured with failure_scores."
        )
    result = np.where(status == "ok", raw, nan)
    for name, worth in worths.items():
        if worth != "exclude":
            result = np.where(status == name, diagonal if worth == "diagonal" else worth, result)
    return np.where(unmeasured, nan, result)


def failure_scores(
    reference: np.ndarray,
    *,
    classes: int,
    spacing: Sequence[float] | None,
    tolerance: Sequence[float] | None = None,
) -> list[ClassMeasures]:
    """The rows of a case whose prediction crashed, is absent or holds NaN: nothing is lost, every class has "failed".

    Overlaps are 0 and distances infinite, as for a missed class; the arguments are those of `measure`.
    """
    classes = checks.class_count(classes)
    gt = checks.label_map(reference, name="reference", classes=classes)
    spacing = checks.voxel_spacing(spacing, ndim=gt.ndim)
    limits = checks.tolerances(tolerance, classes=classes)
    counts = np.bincount(gt.ravel(), minlength=classes)
    return [
        without_surfaces(
            label,
            "failed",
            n_pred=0,
            n_gt=int(counts[label]),
            shape=gt.shape,
            spacing=spacing,
            has_tolerance=limits is not None,
        )
        for label in range(1, classes)
    ]


def unit_of(metric: str, *, spacing: Sequence[float] | None) -> str:
    """Unit to print in the head of a column: "1", "mm" or "px"."""
    unit = UNITS[_known(metric, HIGHER_IS_BETTER, "metric")]
    if unit == "distance":
        return "px" if spacing is None else "mm"
    return unit


def _known(name: str, names: Collection[str], what: str) -> str:
    if name not in names:
        near = get_close_matches(str(name), names, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown {what} {name!r}; allowed: {', '.join(names)}.{hint}")
    return name
