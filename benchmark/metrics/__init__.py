"""Segmentation metrics: exact, all classes of a case in one pass, in mm, with failures kept as failures.

`measure` gives the raw row of every class; `policy` says how rows of classes that are missing somewhere are averaged.
Two engines find the distances: ``scipy`` needs nothing beyond NumPy and SciPy, ``numba`` is a compiled kernel, used
where numba is installed. Both are exact and their numbers agree to 1e-9.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from math import nan
from typing import Any
from warnings import warn

from . import checks
from .measures import ClassMeasures, diagonals, distance_measures, share_within, status_of, without_surfaces
from .policy import apply_rule, failure_scores
from .portable import PortableCase

__all__ = ["ENGINE", "ENGINES", "METRICS_VERSION", "ClassMeasures", "apply_rule", "failure_scores", "measure"]

METRICS_VERSION = "1"
"""Part of every cell's identity: raised whenever a definition, and with it a number, changes."""

ENGINES = ("numba", "scipy")
ENGINE = "numba" if find_spec("numba") else "scipy"
"""The engine that `measure` uses unless told otherwise."""


def measure(
    prediction: Any,
    reference: Any,
    *,
    classes: int,
    spacing: Sequence[float] | None,
    tolerance: Sequence[float] | None = None,
    engine: str | None = None,
) -> list[ClassMeasures]:
    """Compare two label maps, class by class.

    A surface voxel is one with a 4- or 6-neighbour outside its mask, where outside the image counts as outside;
    distances run between voxel centres. The surface Dice alone runs between the corner points of voxels (see
    `surfels`).

    Args:
        prediction: ``(*S)`` integer label map, 2-D or 3-D, values in ``range(classes)``.
        reference: label map of the same shape.
        classes: number of classes, background (0) included.
        spacing: mm per voxel along each axis, or None: distances in pixels or voxels.
        tolerance: surface distance that is still acceptable, one per foreground class, in the unit of the spacing;
            None: the surface Dice is NaN.
        engine: "numba" or "scipy"; None: `ENGINE`.

    Returns:
        One row per foreground class, ``classes - 1`` in all, in the order of the labels.

    Raises:
        TypeError: a map that is not of integers.
        ValueError: unequal shapes, a singleton axis, an unknown label, a spacing, tolerance or engine that cannot be.

    >>> import numpy as np
    >>> reference = np.zeros((6, 6), int); reference[1:3, 1:3] = 1
    >>> prediction = np.roll(reference, 2, axis=1)
    >>> row, = measure(prediction, reference, classes=2, spacing=(1.5, 1.5))
    >>> row.status, row.dice, row.hd95, row.hd95_vox
    ('ok', 0.0, 3.0, 2.0)
    """
    classes = checks.class_count(classes)
    pred = checks.label_map(prediction, name="prediction", classes=classes)
    gt = checks.label_map(reference, name="reference", classes=classes)
    checks.same_shape(pred, gt)
    spacing = checks.voxel_spacing(spacing, ndim=pred.ndim)
    limits = checks.tolerances(tolerance, classes=classes)
    case = _case_type(engine)(pred, gt, classes)
    return [
        _measure_class(
            case, label, shape=pred.shape, spacing=spacing, tolerance=None if limits is None else limits[label - 1]
        )
        for label in range(1, classes)
    ]


@cache
def _case_type(engine: str | None) -> type:
    if engine not in (None, *ENGINES):
        raise ValueError(f"engine is {engine!r}; allowed: {', '.join(ENGINES)}. Leave it out for {ENGINE!r}.")
    if (engine or ENGINE) == "numba":
        try:
            from . import compiled

            compiled.warm_up()
            return compiled.CompiledCase
        except (ImportError, OSError) as error:  # a numba that does not fit NumPy, a full disk
            if engine is not None:
                raise
            warn(f"numba cannot be used ({error}); metrics take longer with SciPy, and are the same.", stacklevel=3)
    return PortableCase


def _measure_class(
    case: Any, label: int, *, shape: tuple[int, ...], spacing: tuple[float, ...] | None, tolerance: float | None
) -> ClassMeasures:
    n_pred, n_gt, tp = int(case.n_pred[label]), int(case.n_gt[label]), int(case.tp[label])
    status = status_of(n_pred, n_gt)
    if status != "ok":
        return without_surfaces(
            label, status, n_pred=n_pred, n_gt=n_gt, shape=shape, spacing=spacing, has_tolerance=tolerance is not None
        )
    unit = (1.0,) * len(shape)
    size = spacing or unit
    in_voxels = case.directed(label, unit)
    twins = distance_measures(*in_voxels)
    if len(set(size)) == 1:  # then distances in mm are those in voxels, scaled
        to_gt, to_pred = (side.scaled(size[0]) for side in in_voxels)
        distances = {name: value * size[0] for name, value in twins.items()}
    else:
        to_gt, to_pred = case.directed(label, size)
        distances = distance_measures(to_gt, to_pred)
    return ClassMeasures(
        label=label,
        status=status,
        dice=2 * tp / (n_pred + n_gt),
        jaccard=tp / (n_pred + n_gt - tp),
        **distances,
        nsd=nan if tolerance is None else case.area_within(label, size, tolerance),
        nsd_count=nan if tolerance is None else share_within(to_gt, to_pred, tolerance),
        hd95_vox=twins["hd95"],
        hd95_pooled_vox=twins["hd95_pooled"],
        n_pred=n_pred,
        n_gt=n_gt,
        tp=tp,
        **diagonals(shape, spacing),
    )
