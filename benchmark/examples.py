"""A few slices of the test cases with reference and prediction, so that pictures need records only."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.types import Case, Task

from .record import atomic_write


def save_examples(path: Path, examples: Sequence[tuple[Case, np.ndarray]], task: Task) -> None:
    """Write the slice with most foreground of each case: image and maps as uint8, in-plane spacing, class names.

    Keys ``<i>_image`` (h, w) or (h, w, 3), ``<i>_label``, ``<i>_prediction`` (h, w), ``<i>_name``, ``<i>_spacing``; and
    ``classes``. Nothing is written without examples.
    """
    if not examples:
        return
    arrays: dict[str, np.ndarray] = {"classes": np.array(task.classes)}
    for i, (case, prediction) in enumerate(examples):
        assert case.label is not None
        image, label, spacing, name = case.image, case.label, case.spacing or (1.0,) * case.label.ndim, case.key
        if label.ndim == 3:
            axis = 0 if task.ndim == 2 else int(np.argmin(label.shape))
            z = int(np.argmax((label > 0).sum(axis=tuple(a for a in range(3) if a != axis))))
            image, label = image.take(z, axis=axis + 1), label.take(z, axis=axis)
            prediction = prediction.take(z, axis=axis)
            spacing = tuple(s for a, s in enumerate(spacing) if a != axis)
            name = f"{case.key} slice {z}"
        arrays |= {
            f"{i}_image": _grey_or_rgb(image),
            f"{i}_label": label.astype(np.uint8),
            f"{i}_prediction": prediction.astype(np.uint8),
            f"{i}_name": np.array(name),
            f"{i}_spacing": np.array(spacing),
        }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    atomic_write(path, buffer.getvalue())


def _grey_or_rgb(image: np.ndarray) -> np.ndarray:
    """``(c, h, w)`` float to uint8, stretched between its 1st and 99th percentile; the first channel unless RGB."""
    low, high = np.percentile(image, (1, 99))
    scaled = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    shown = scaled.transpose(1, 2, 0) if len(image) == 3 else scaled[0]
    return (shown * 255).round().astype(np.uint8)
