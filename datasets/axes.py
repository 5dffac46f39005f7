"""Axes of volumes: some datasets keep (x, y, z), others (z, y, x); files for other tools have the slices first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .types import Case, Task


def stored_slices_first(task: Task) -> bool:
    """Whether its cases are images, stacks of slices, or volumes (z, y, x)."""
    return task.ndim == 2 or task.in_plane == (1, 2)


def slices_first(case: Case, task: Task) -> Case:
    """A case of ``task`` with its volumes' axes as (z, y, x); images and stacks of slices are that already."""
    if stored_slices_first(task):
        return case

    def turned(volume: np.ndarray | None) -> np.ndarray | None:
        return None if volume is None else np.ascontiguousarray(volume.swapaxes(-3, -1))

    image = turned(case.image)
    assert image is not None
    spacing = None if case.spacing is None else case.spacing[::-1]
    return replace(case, image=image, label=turned(case.label), scribble=turned(case.scribble), spacing=spacing)
