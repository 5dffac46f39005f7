"""Pictures of predictions: one cell's examples, and methods side by side on the same slices.

Predictions are filled, the reference is a line on top of them: what sticks out or is missing can be seen at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd

from ..record import atomic_write
from . import style
from .frame import Results

MOST_TILES = 8
"""Tiles side by side; further methods go into a second band."""

MARGIN = 0.25
"""Border around everything segmented, as a share of its size."""


@dataclass(frozen=True)
class Example:
    """One test slice: ``(h, w)`` or ``(h, w, 3)`` image, label maps of ``(h, w)``, in-plane spacing in mm or px."""

    name: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    spacing: tuple[float, float]


def read_examples(path: Path) -> tuple[list[Example], tuple[str, ...]]:
    """The examples of one cell, and its class names with the background first."""
    with np.load(path, allow_pickle=False) as stored:
        classes = tuple(str(name) for name in stored["classes"])
        numbers = sorted(int(key.split("_")[0]) for key in stored.files if key.endswith("_label"))
        examples = []
        for i in numbers:
            spacing = stored[f"{i}_spacing"] if f"{i}_spacing" in stored.files else np.ones(2)
            image, label, prediction = (stored[f"{i}_{kind}"] for kind in ("image", "label", "prediction"))
            place = (float(spacing[0]), float(spacing[1]))
            examples.append(Example(str(stored[f"{i}_name"]), image, label, prediction, place))
    return examples, classes


def overlay_png(examples_npz: Path, out_png: Path) -> None:
    """Draw one cell's examples: a row per case; image, reference and prediction.

    Raises:
        FileNotFoundError: the cell has no examples.
    """
    examples, classes = read_examples(examples_npz)
    with style.settings():
        columns = ["Image", "Reference", "Prediction"]
        figure, grid = _grid(len(examples), columns, classes)
        for axes, example in zip(grid, examples, strict=True):
            window = _window(example, [example.prediction])
            _tile(axes[0], example, None, window)
            _tile(axes[1], example, example.label, window)
            _tile(axes[2], example, example.prediction, window, reference=True)
            _side(axes[0], example.name)
        atomic_write(out_png, style.png(figure))


def comparison(results: Results, of: pd.DataFrame, amount: str, rows: Sequence[str]) -> tuple[Any, list[str]] | None:
    """The same slices under every method of a dataset at one amount: the figure and the names of the cases.

    Of each method the first cell with examples is shown; None where no cell has any.
    """
    found: dict[str, list[Example]] = {}
    classes: tuple[str, ...] = ()
    wanted = of[(of["role"] == "upper") | (of["amount"] == amount)]
    place = {label: number for number, label in enumerate(rows)}
    for entry in sorted(wanted.itertuples(), key=lambda entry: place.get(entry.label, -1)):
        for name in entry.ids:
            path = results.folders.get(name, Path("/nonexistent")) / "examples.npz"
            if path.is_file():
                found[entry.label], classes = read_examples(path)
                break
    if not found:
        return None
    first = next(iter(found.values()))
    labels = list(found)
    bands = [labels[i : i + MOST_TILES - 2] for i in range(0, len(labels), MOST_TILES - 2)]
    columns = ["Image", "Reference", *bands[0]]
    figure, grid = _grid(len(first) * len(bands), columns, classes)
    for band, members in enumerate(bands):
        for i, example in enumerate(first):
            axes = grid[band * len(first) + i]
            same = {label: _same(found[label], example) for label in labels}
            window = _window(example, [e.prediction for e in same.values() if e is not None])
            _tile(axes[0], example, None, window)
            _tile(axes[1], example, example.label, window)
            _side(axes[0], example.name)
            for tile, label in zip(axes[2:], members, strict=False):
                shown = same[label]
                if shown is not None:
                    _tile(tile, shown, shown.prediction, window, reference=True)
                if i == 0:
                    _title(tile, label)
    return figure, [example.name for example in first]


def slice_dice(prediction: np.ndarray, label: np.ndarray) -> float:
    """Mean Dice over the foreground classes that are in either map; NaN where there are none.

    >>> slice_dice(np.array([[1, 1, 2]]), np.array([[1, 2, 2]]))  # both classes: 2 · 1 / (2 + 1)
    0.6666666666666666
    """
    present = (set(np.unique(prediction)) | set(np.unique(label))) - {0}
    scores = []
    for k in sorted(present):
        p, g = prediction == k, label == k
        scores.append(2 * np.count_nonzero(p & g) / (np.count_nonzero(p) + np.count_nonzero(g)))
    return float(np.mean(scores)) if scores else float("nan")


def _same(examples: Sequence[Example], wanted: Example) -> Example | None:
    """The example of the same slice; None where a cell kept other ones."""
    return next((e for e in examples if e.name == wanted.name and e.label.shape == wanted.label.shape), None)


def _grid(rows: int, columns: Sequence[str], classes: Sequence[str]) -> tuple[Any, np.ndarray]:
    from matplotlib.patches import Patch

    side = min(style.PAGE / len(columns), 1.7)
    figure = style.canvas(side * len(columns) + 0.2, side * rows + 0.45, pad=0.012, gap=0)
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for axes in grid.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
    for axes, title in zip(grid[0], columns, strict=True):
        _title(axes, title)
    patches = [Patch(color=_colour(k), label=name) for k, name in enumerate(classes) if k]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(5, len(patches)), handlelength=1)
    return figure, grid


def _title(axes: Any, text: str) -> None:
    axes.set_title(_wrapped(text), loc="center", fontsize=6.5, fontweight="normal")


def _side(axes: Any, text: str) -> None:
    axes.set_ylabel(_wrapped(text), fontsize=6)


def _wrapped(text: str) -> str:
    """In as many lines as a tile's side needs: names of methods and cases are long and tiles are small."""
    lines = wrap(text.replace("_", "_ "), 14, break_long_words=False)
    return "\n".join(line.replace("_ ", "_") for line in lines)


def _tile(
    axes: Any,
    example: Example,
    labels: np.ndarray | None,
    window: tuple[float, float, float],
    *,
    reference: bool = False,
) -> None:
    """Image, filled label map, and the reference as a line with the Dice of the slice."""
    height, width = example.label.shape
    sy, sx = example.spacing
    extent = (0, width * sx, height * sy, 0)
    axes.imshow(example.image, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")
    if labels is not None:
        axes.imshow(_filled(labels), extent=extent, interpolation="nearest")
    if reference:
        centres = (np.arange(width) + 0.5) * sx, (np.arange(height) + 0.5) * sy
        for k in np.unique(example.label[example.label > 0]):
            axes.contour(*centres, example.label == k, levels=[0.5], colors="white", linewidths=0.7)
        axes.text(
            0.03, 0.03, f"{100 * slice_dice(example.prediction, example.label):.1f}", transform=axes.transAxes,
            color="white", fontsize=6.5, va="bottom", bbox={"color": "black", "alpha": 0.55, "pad": 1, "lw": 0},
        )  # fmt: skip
    axes.set_facecolor("black")
    left, top, side = window
    axes.set(xlim=(left, left + side), ylim=(top + side, top), aspect="equal")


def _window(example: Example, predictions: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Left, top and side of a square around all that anybody segmented, in the unit of the spacing.

    Predictions count as well as the reference: a zoom on the reference alone would hide false positives far away.
    """
    somewhere = np.any([example.label > 0, *(prediction > 0 for prediction in predictions)], axis=0)
    size = np.array(somewhere.shape) * example.spacing
    if not somewhere.any():
        low, high = np.zeros(2), size
    else:
        where = np.nonzero(somewhere)
        low = np.array([axis.min() for axis in where]) * example.spacing
        high = np.array([axis.max() + 1 for axis in where]) * example.spacing
    side = min(float((high - low).max()) * (1 + 2 * MARGIN), float(size.max()))
    start = (low + high - side) / 2
    # stay on the image where it is large enough; else centre it
    start = np.where(size > side, np.clip(start, 0, np.maximum(size - side, 0)), (size - side) / 2)
    return float(start[1]), float(start[0]), side


def _filled(labels: np.ndarray) -> np.ndarray:
    from matplotlib.colors import to_rgb

    shown = np.zeros((*labels.shape, 4))
    for k in np.unique(labels[labels > 0]):
        shown[labels == k] = (*to_rgb(_colour(int(k))), 0.5)
    return shown


def _colour(k: int) -> str:
    return style.CLASS_COLOURS[(k - 1) % len(style.CLASS_COLOURS)]
