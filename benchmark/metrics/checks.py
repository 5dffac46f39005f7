"""What `measure` refuses, each with a message that says what to do: a metric must never guess what a map means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_CLASSES = 256


def label_map(values: object, *, name: str, classes: int) -> np.ndarray:
    """``values`` as a contiguous uint8 label map.

    Raises:
        TypeError: not integers (probabilities, NaN, booleans).
        ValueError: not 2-D or 3-D, an axis shorter than 2, or a label outside ``range(classes)``.
    """
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"{name} has dtype {array.dtype}; allowed: an integer label map. Take the argmax of probabilities over the "
            "classes; turn a boolean mask into 0 and 1 with .astype('uint8')."
        )
    if array.ndim not in (2, 3):
        raise ValueError(
            f"{name} has shape {array.shape}; allowed: 2-D or 3-D. Pass one image at a time, without batch or channels."
        )
    if min(array.shape) < 2:
        raise ValueError(
            f"{name} has shape {array.shape}; allowed: every axis at least 2, because all voxels of a single slice are "
            "surface. Pass a 2-D image as 2-D, for example with .squeeze()."
        )
    lowest = 0 if array.dtype == np.uint8 else int(array.min())
    highest = int(array.max())
    if lowest < 0 or highest >= classes:
        raise ValueError(
            f"{name} holds the label {lowest if lowest < 0 else highest}; allowed: 0..{classes - 1} "
            f"(classes={classes}). Map the file's values to class numbers first; a map with ignored pixels cannot be "
            "scored."
        )
    return np.ascontiguousarray(array, dtype=np.uint8)


def same_shape(prediction: np.ndarray, reference: np.ndarray) -> None:
    """Refuse maps of unequal shapes, which NumPy would silently broadcast where it can."""
    if prediction.shape != reference.shape:
        raise ValueError(
            f"prediction has shape {prediction.shape} and reference {reference.shape}; allowed: equal shapes, nothing "
            "is broadcast. Bring the prediction back to the reference's native grid first."
        )


def class_count(classes: int) -> int:
    """A number of classes that a uint8 label map can hold."""
    if isinstance(classes, bool) or not isinstance(classes, int | np.integer) or not 2 <= classes <= MOST_CLASSES:
        raise ValueError(
            f"classes is {classes!r}; allowed: a whole number in 2..{MOST_CLASSES}. Count the background as well."
        )
    return int(classes)


def voxel_spacing(spacing: Sequence[float] | None, *, ndim: int) -> tuple[float, ...] | None:
    """One finite size above 0 per axis, or None."""
    if spacing is None:
        return None
    values = tuple(float(value) for value in spacing)
    if len(values) != ndim:
        raise ValueError(
            f"spacing {values} has {len(values)} values; allowed: one per axis, {ndim} here. Give them in the order "
            "of the axes, or None for distances in voxels."
        )
    if not all(np.isfinite(values)) or min(values) <= 0:
        raise ValueError(
            f"spacing {values} has a value that is not above 0; allowed: mm per voxel. Read it from the image's "
            "header, or give None for distances in voxels."
        )
    return values


def tolerances(tolerance: Sequence[float] | None, *, classes: int) -> tuple[float, ...] | None:
    """One finite distance of 0 or more per foreground class, or None."""
    if tolerance is None:
        return None
    if np.ndim(tolerance) != 1 or len(tolerance) != classes - 1:
        raise ValueError(
            f"tolerance is {tolerance!r}; allowed: one per foreground class, {classes - 1} here "
            f"(classes={classes}). Give a list in the order of the labels, or None for no surface Dice."
        )
    values = tuple(float(value) for value in tolerance)
    if not all(np.isfinite(values)) or min(values) < 0:
        raise ValueError(
            f"tolerance {values} has a negative or non-finite value; allowed: distances of 0 or more. State them in "
            "the unit of the spacing."
        )
    return values
