"""Stored label values as classes: what is no class is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .base import DataError
from .types import IGNORE


def label_map(values: np.ndarray, where: str, classes: Sequence[str], *, unlabelled: int | None = None) -> np.ndarray:
    """Stored label values as uint8, the code for "unlabelled" as IGNORE; nothing is clipped, rounded or wrapped.

    Args:
        values: integers, in whatever type they are stored.
        where: names the case and the file, for the message.
        classes: class names; their places are the allowed values.
        unlabelled: the code that the files use for "no annotation here"; None = there is none.

    Raises:
        DataError: a value outside the classes (a fraction, a negative number, 255 of a black-and-white mask).
    """
    allowed = set(range(len(classes))) | ({unlabelled} if unlabelled is not None else set())
    narrow = values.dtype in (np.uint8, np.uint16)  # counting is several times faster than sorting
    found = np.flatnonzero(np.bincount(values.ravel())) if narrow else np.unique(values)
    unknown = [value for value in found.tolist() if value not in allowed]
    if unknown:
        names = [f"{place} {name}" for place, name in enumerate(classes)]
        names += [f"{unlabelled} unlabelled"] if unlabelled is not None else []
        raise DataError(
            f"{where}: unknown label value(s) {unknown[:8]}; allowed are {', '.join(names)}. "
            "Map the values of the file to these, or choose the dataset that it belongs to."
        ).of("unknown_label")
    labels = values.astype(np.uint8)
    if unlabelled is not None:
        labels[values == unlabelled] = IGNORE
    return labels
