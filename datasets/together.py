"""What only all cases of a dataset together tell: voxels and slices unlike the others', dim images, full scribbles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from .base import DataError
from .scans import ENDINGS, read_axes

OUTLYING = 10.0
"""Voxels so many times larger or smaller than the median come from a wrong unit: scanners' differ less in one set."""
TURNED = 0.5
"""Least cosine between the slice axes of two volumes: oblique planes differ by some 30 degrees, other planes by 90."""
FILLED = 0.9
"""Share of marked pixels above which scribbles are none: of a stroke in each structure it is a few hundredths."""
_BODY = ("left-right", "back-front", "feet-head")
"""Directions of the axes of space."""
DIM = 0.25
"""Brightest value of photographs that use little of [0, 1]: 12 bits in a 16-bit file reach 1/16, 14 bits 1/4."""


def outlying(spacings: Mapping[str, tuple[float, ...]]) -> dict[str, str]:
    """Case -> a sentence, for those whose voxels are more than ``OUTLYING`` times larger or smaller than the median.

    Args:
        spacings: case -> size of its voxels in mm along each axis; cases of another number of axes are compared apart.
    """
    found = {}
    for axes in {len(spacing) for spacing in spacings.values()}:
        alike = {key: spacing for key, spacing in spacings.items() if len(spacing) == axes}
        median = np.median(np.array(list(alike.values())), axis=0)
        for key, spacing in alike.items():
            times = np.array(spacing) / median
            if (np.maximum(times, 1 / times) > OUTLYING).any():
                found[key] = (
                    f"{key}: voxels of {_listed(spacing)} mm, but {_listed(median)} mm is the median of the cases; if "
                    "the unit is wrong, mend the header"
                )
    return {key: found[key] for key in spacings if key in found}


def turned(paths: Iterable[Path]) -> str:
    """A sentence where the slices of scans (their last axis) cut the body in different planes, else "".

    The first file of each direction is named. Other files, and those that state no place or cannot be read, are passed
    over. Only headers are read.
    """
    first: tuple[Path, np.ndarray] | None = None
    others: list[tuple[Path, np.ndarray]] = []
    count = 0
    for path in paths:
        along = _slice_axis(path)
        if along is None:
            continue
        count += 1
        first = first or (path, along)
        if abs(along @ first[1]) < TURNED:
            others.append((path, along))
    if first is None or not others:
        return ""
    return (
        f"the slices (the last axis of the file) go {_named(first[1])} in {first[0]} but {_named(others[0][1])} in "
        f"{others[0][0]}, and so in {len(others)} of {count} files; store all in one order of axes, such as nibabel's "
        "as_closest_canonical, or slices of different planes are mixed"
    )


def dim(low: float, high: float) -> str:
    """A sentence where the values of all photographs, between ``low`` and ``high``, use little of [0, 1], else ""."""
    if not 0 <= low < high <= DIM:
        return ""
    return (
        f"the values of all images lie between {low:.3g} and {high:.3g}: 8-bit values are divided by 255, 16-bit by "
        "65535, so that 12 bits in a 16-bit file reach 0.0625. Stretch the files to their full range (12 bits: times "
        "16), or networks see little contrast"
    )


def filled(marked: int, unmarked: int) -> str:
    """A sentence where more than ``FILLED`` of all pixels of the scribbles are marked, else ""."""
    if not marked or marked / (marked + unmarked) <= FILLED:
        return ""
    return (
        f"scribbles mark {marked / (marked + unmarked):.1%} of all pixels, as dense labels do: where 0 means not drawn "
        "and not background, state that value as unlabelled (csv_manifest: the option unlabelled; nnU-Net: the label "
        "ignore of dataset.json, the highest number), or methods learn that everything beside the strokes is background"
    )


def _slice_axis(path: Path) -> np.ndarray | None:
    if not path.name.endswith(ENDINGS):
        return None
    try:
        axes = read_axes(path)
    except DataError:  # said of its case
        return None
    length = 0.0 if axes is None else float(np.linalg.norm(axes[:, 2]))
    return None if axes is None or not np.isfinite(length) or length == 0 else axes[:, 2] / length


def _named(along: np.ndarray) -> str:
    return _BODY[int(np.abs(along).argmax())]


def _listed(sizes: Iterable[float]) -> str:
    return " × ".join(f"{size:g}" for size in sizes)
