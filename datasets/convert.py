"""Any dataset of volumes written in the HDF5 layout of the published ACDC copy, for other tools that read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from .axes import slices_first
from .base import DataError, Dataset
from .io import write_h5
from .types import IGNORE, Case


def to_h5(dataset: Dataset, folder: Path, *, slices: bool, say: Callable[[str], None] = lambda _: None) -> int:
    """Write every case as ``<NAME>_volumes/<case>.h5``; if asked, its planes as ``<NAME>_slices/<case>_slice_<z>.h5``.

    ``image`` is float32 as the dataset's card says it is normalised, ``label`` uint8 where the case has dense labels,
    ``scribble`` uint8 where it has scribbles, with the number of classes as code of unlabelled voxels (4 for three
    classes and background). Axes are ``(z, y, x)``; the attribute ``spacing`` holds their voxel sizes in mm, where
    known.

    Args:
        dataset: its cases must be volumes of one channel.
        folder: where the two folders go; files of the same names are replaced.
        slices: write the planes too.
        say: hears how far it is.

    Returns:
        How many volumes were written.

    Raises:
        DataError: a case is no volume of one channel, or does not load.
    """
    volumes, planes = folder / f"{dataset.name.upper()}_volumes", folder / f"{dataset.name.upper()}_slices"
    keys = list(dataset.groups())
    for number, key in enumerate(keys, 1):
        case = slices_first(dataset.check(dataset.load(key)), dataset.task)
        if case.image.ndim != 4 or len(case.image) != 1:
            raise DataError(
                f"{dataset.name}: case {key!r} has an image of shape {case.image.shape}; this layout holds volumes of "
                "one channel, (1, z, y, x)"
            )
        arrays = _arrays(case, dataset.task.n_classes)
        spacing = {} if case.spacing is None else {"spacing": np.asarray(case.spacing, np.float64)}
        write_h5(volumes / f"{key}.h5", arrays, spacing)
        for z in range(case.space[0] if slices else 0):
            plane = {name: array[z] for name, array in arrays.items()}
            write_h5(planes / f"{key}_slice_{z}.h5", plane, spacing)
        say(f"{number} of {len(keys)} cases")
    return len(keys)


def _arrays(case: Case, unlabelled: int) -> dict[str, np.ndarray]:
    arrays = {"image": case.image[0]}
    if case.label is not None:
        arrays["label"] = case.label
    if case.scribble is not None:
        arrays["scribble"] = np.where(case.scribble == IGNORE, unlabelled, case.scribble).astype(np.uint8)
    return arrays
