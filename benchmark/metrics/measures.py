"""What is measured for one class of one case, and how directed surface distances become those numbers.

Every number of a row is made here from counts and directed distances, whichever engine found them: the two engines
cannot disagree on a definition. Definitions: Maier-Hein et al., "Metrics reloaded" (Nature Methods 2024) for Dice,
Jaccard, HD95, ASSD and MASD; Nikolov et al. 2021 (J Med Internet Res 23(7):e26151) for the normalised surface Dice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, hypot, inf, nan

import numpy as np

SLACK = 1e-9
"""Relative slack of ``distance <= tolerance``: 3 voxels of 0.1 mm lie within 0.3 mm, whatever the last digit says."""


@dataclass(frozen=True)
class ClassMeasures:
    """All numbers of one foreground class of one case.

    Distances are in mm where a spacing was given, else in pixels or voxels; ``*_vox`` are always in pixels or voxels.

    ``status`` is "ok"; "both_empty" (class in neither map: everything NaN); "missed" (in the reference only) or
    "spurious" (in the prediction only): overlaps 0 and distances infinite; or "failed" (no usable prediction, see
    `policy.failure_scores`). These are raw values: `policy.apply_rule` turns them into something that can be averaged.
    ``nsd`` and ``nsd_count`` are NaN where no tolerance was given.
    """

    label: int
    status: str
    dice: float
    jaccard: float
    hd95: float
    """Larger of the two directed 95th percentiles (linear interpolation)."""
    hd95_pooled: float
    """95th percentile of both directions thrown together: the definition of medpy, and of most published tables."""
    hd: float
    asd_pred_to_gt: float
    """Mean distance from the predicted surface to the reference surface: medpy's ``asd(prediction, reference)``."""
    asd_gt_to_pred: float
    assd: float
    """Mean over the surface voxels of both masks together."""
    masd: float
    """Mean of the two directed means."""
    nsd: float
    """Share of the two surfaces, by area, that lies within the tolerance of the other one."""
    nsd_count: float
    """The same share counted in surface voxels."""
    hd95_vox: float
    hd95_pooled_vox: float
    n_pred: int
    n_gt: int
    tp: int
    diagonal: float
    """Image diagonal sqrt(sum (N_i s_i)^2) in the unit of the distances: the declared penalty of a failure."""
    diagonal_vox: float
    """The same in pixels or voxels: the penalty of the ``*_vox`` distances."""


@dataclass(frozen=True)
class Directed:
    """Distances from every surface voxel of one mask to the surface of the other one.

    Most of them are zero on a good prediction, so that only the others are stored.
    """

    above: np.ndarray
    """The distances larger than zero, in any order."""
    zeros: int

    @property
    def count(self) -> int:
        return self.zeros + len(self.above)

    def scaled(self, factor: float) -> Directed:
        return Directed(self.above * factor, self.zeros)


def pooled(first: Directed, second: Directed) -> Directed:
    """Both directions thrown together."""
    return Directed(np.concatenate([first.above, second.above]), first.zeros + second.zeros)


def percentile(distances: Directed, share: float) -> float:
    """Quantile of the distances with linear interpolation between order statistics (type 7, NumPy's default)."""
    position = share * (distances.count - 1)
    low = floor(position)
    ranks = [low - distances.zeros, min(low + 1, distances.count - 1) - distances.zeros]
    wanted = [rank for rank in ranks if rank >= 0]
    ordered = np.partition(distances.above, wanted) if wanted else distances.above
    lower, upper = (float(ordered[rank]) if rank >= 0 else 0.0 for rank in ranks)
    return lower + (upper - lower) * (position - low)


def distance_measures(to_gt: Directed, to_pred: Directed) -> dict[str, float]:
    """All distance measures of two non-empty masks.

    Args:
        to_gt: from the predicted surface to the reference surface.
        to_pred: from the reference surface to the predicted surface.
    """
    sums = float(to_gt.above.sum()), float(to_pred.above.sum())
    means = sums[0] / to_gt.count, sums[1] / to_pred.count
    return {
        "hd95": max(percentile(to_gt, 0.95), percentile(to_pred, 0.95)),
        "hd95_pooled": percentile(pooled(to_gt, to_pred), 0.95),
        "hd": max(float(side.above.max(initial=0.0)) for side in (to_gt, to_pred)),
        "asd_pred_to_gt": means[0],
        "asd_gt_to_pred": means[1],
        "assd": (sums[0] + sums[1]) / (to_gt.count + to_pred.count),
        "masd": (means[0] + means[1]) / 2,
    }


def share_within(to_gt: Directed, to_pred: Directed, tolerance: float) -> float:
    """Share of all surface voxels whose distance to the other surface is at most ``tolerance``."""
    limit = tolerance * (1 + SLACK)
    within = sum(side.zeros + int(np.count_nonzero(side.above <= limit)) for side in (to_gt, to_pred))
    return within / (to_gt.count + to_pred.count)


def diagonals(shape: Sequence[int], spacing: Sequence[float] | None) -> dict[str, float]:
    """Diagonals of the image, sqrt(sum (N_i s_i)^2), in the unit of the spacing and in voxels."""
    in_voxels = hypot(*shape)
    in_unit = in_voxels if spacing is None else hypot(*(n * step for n, step in zip(shape, spacing, strict=True)))
    return {"diagonal": in_unit, "diagonal_vox": in_voxels}


def status_of(n_pred: int, n_gt: int) -> str:
    """Which of the two masks there are."""
    if n_pred and n_gt:
        return "ok"
    if n_gt:
        return "missed"
    return "spurious" if n_pred else "both_empty"


def without_surfaces(
    label: int,
    status: str,
    *,
    n_pred: int,
    n_gt: int,
    shape: Sequence[int],
    spacing: Sequence[float] | None,
    has_tolerance: bool,
) -> ClassMeasures:
    """The raw row of a class for which there are no two surfaces to compare (any status but "ok")."""
    overlap, distance = (nan, nan) if status == "both_empty" else (0.0, inf)
    nsd = overlap if has_tolerance else nan
    distances = ("hd95", "hd95_pooled", "hd", "asd_pred_to_gt", "asd_gt_to_pred", "assd", "masd")
    return ClassMeasures(
        label=label,
        status=status,
        dice=overlap,
        jaccard=overlap,
        nsd=nsd,
        nsd_count=nsd,
        **dict.fromkeys(distances, distance),
        hd95_vox=distance,
        hd95_pooled_vox=distance,
        n_pred=n_pred,
        n_gt=n_gt,
        tp=0,
        **diagonals(shape, spacing),
    )
