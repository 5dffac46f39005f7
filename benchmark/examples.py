"""One slice of the test cases with reference and prediction, so that pictures need records only.

Pictures of hand-picked cases prove nothing, so the rule is fixed: a cell shows its best, its median and its worst case,
and keeps the predicted slice of many more, so that a report can show every method on the same cases.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path

import numpy as np

from datasets.files import atomic_write
from datasets.types import Case, Task

from .evaluate import of_classes
from .record import METRICS, Score

MOST_KEPT = 60
"""Test cases whose predicted slice is kept, evenly spaced in the list of test cases: the same for every method."""

LARGEST_SIDE = 512
"""Pixels; larger slices are thinned out, since a picture in a page shows less than that."""


@dataclass(frozen=True)
class _Slice:
    name: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    spacing: tuple[float, ...]
    dice: float


class Examples:
    """Collects slices while the test cases are scored.

    Args:
        task: names the classes.
        total: number of test cases.
    """

    def __init__(self, task: Task, total: int) -> None:
        self._task = task
        self._kept = set(np.linspace(0, total - 1, min(total, MOST_KEPT)).round().astype(int).tolist())
        self._seen = 0
        self._slices: list[_Slice] = []

    def add(self, case: Case, prediction: np.ndarray | None, scores: Sequence[Score]) -> None:
        """The next test case: its slice with most foreground. A case without a prediction has no picture."""
        place, self._seen = self._seen, self._seen + 1
        if prediction is None or place not in self._kept:
            return
        assert case.label is not None
        label, prediction = (of_classes(each, case.label) for each in (case.label, prediction))
        image, spacing, name = case.image, case.spacing or (1.0,) * label.ndim, case.key
        if label.ndim == 3:
            axis = 0 if self._task.ndim == 2 else int(np.argmin(label.shape))
            z = int(np.argmax((label > 0).sum(axis=tuple(a for a in range(3) if a != axis))))
            image, label = image.take(z, axis=axis + 1), label.take(z, axis=axis)
            prediction = prediction.take(z, axis=axis)
            spacing = tuple(s for a, s in enumerate(spacing) if a != axis)
            name = f"{case.key} slice {z}"
        step = ceil(max(label.shape) / LARGEST_SIDE)
        self._slices.append(
            _Slice(
                name,
                _grey_or_rgb(image[:, ::step, ::step]),
                label[::step, ::step].astype(np.uint8),
                prediction[::step, ::step].astype(np.uint8),
                tuple(step * s for s in spacing),
                _mean_dice(scores),
            )
        )

    def save(self, path: Path) -> None:
        """Write what was collected; nothing without a prediction.

        Keys of the best, median and worst case, ``i`` = 0, 1, 2: ``<i>_image`` (h, w) or (h, w, 3) and ``<i>_label``,
        ``<i>_prediction`` (h, w), all uint8; ``<i>_name``, ``<i>_rank``, ``<i>_spacing`` in mm or px; ``classes``.
        Of every case kept: ``kept_names`` (n,), ``kept_shapes`` (n, 2) and ``kept_predictions``, the predicted slices
        one after the other as one row of uint8.
        """
        if not self._slices:
            return
        arrays: dict[str, np.ndarray] = {
            "classes": np.array(self._task.classes),
            "kept_names": np.array([each.name for each in self._slices]),
            "kept_shapes": np.array([each.prediction.shape for each in self._slices]),
            "kept_predictions": np.concatenate([each.prediction.ravel() for each in self._slices]),
        }
        for i, (rank, each) in enumerate(best_median_worst(self._slices).items()):
            arrays |= {
                f"{i}_image": each.image,
                f"{i}_label": each.label,
                f"{i}_prediction": each.prediction,
                f"{i}_name": np.array(each.name),
                f"{i}_rank": np.array(rank),
                f"{i}_spacing": np.array(each.spacing),
            }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        atomic_write(path, buffer.getvalue())


def best_median_worst(slices: Sequence[_Slice]) -> dict[str, _Slice]:
    """By mean Dice of the whole case; of an even number the lower median, of equal ones the first. None shown twice."""
    ranked = sorted(slices, key=lambda each: -each.dice)
    places = {len(ranked) // 2: "median", len(ranked) - 1: "worst", 0: "best"}  # the last one named counts
    return {places[place]: ranked[place] for place in sorted(places)}


def _mean_dice(scores: Sequence[Score]) -> float:
    """Over the classes that are in reference or prediction; a case without any is neither good nor bad: 1."""
    values = [score.values[METRICS.index("dice")] for score in scores if score.status != "both_empty"]
    finite = [value for value in values if isfinite(value)]
    return float(np.mean(finite)) if finite else 1.0


def _grey_or_rgb(image: np.ndarray) -> np.ndarray:
    """``(c, h, w)`` float to uint8, stretched between its 1st and 99th percentile; the first channel unless RGB."""
    low, high = np.percentile(image, (1, 99))
    scaled = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    shown = scaled.transpose(1, 2, 0) if len(image) == 3 else scaled[0]
    return (shown * 255).round().astype(np.uint8)
