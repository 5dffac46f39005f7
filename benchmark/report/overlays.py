"""Pictures of predictions: tiles of test slices, and the examples of one cell.

Predictions are filled, the reference is a line on top of them: what sticks out or is missing can be seen at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from datasets.files import atomic_write

from . import style

MARGIN = 0.25
"""Border around everything segmented, as a share of its size."""


@dataclass(frozen=True)
class Example:
    """One test slice: ``(h, w)`` or ``(h, w, 3)`` image, label maps of ``(h, w)``, in-plane spacing in mm or px.

    ``rank``: best, median or worst of its cell; "" where an earlier version chose the case by its number.
    """

    name: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    spacing: tuple[float, float]
    rank: str = ""


@dataclass(frozen=True)
class Examples:
    """What one cell kept: its examples, the predicted slices of more cases by name, class names (background first)."""

    shown: list[Example]
    predictions: Mapping[str, np.ndarray]
    classes: tuple[str, ...]


class Unreadable(ValueError):
    """The examples of a cell are damaged; the message names the file."""


def read_examples(path: Path) -> Examples:
    """The examples of one cell, see `benchmark.examples`.

    Raises:
        FileNotFoundError: it has none.
        Unreadable: they are damaged.
    """
    try:
        return _stored(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # damage has as many errors as a file has layers
        raise Unreadable(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _stored(path: Path) -> Examples:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        classes = tuple(str(name) for name in stored["classes"])
        numbers = sorted(int(key.split("_")[0]) for key in stored.files if key.endswith("_label"))
        examples = []
        for i in numbers:
            spacing = stored[f"{i}_spacing"] if f"{i}_spacing" in stored.files else np.ones(2)
            image, label, prediction = (stored[f"{i}_{kind}"] for kind in ("image", "label", "prediction"))
            if not image.shape[:2] == label.shape == prediction.shape:
                raise ValueError(f"image {image.shape}, label {label.shape} and prediction {prediction.shape} differ")
            place = (float(spacing[0]), float(spacing[1]))
            rank = str(stored[f"{i}_rank"]) if f"{i}_rank" in stored.files else ""
            examples.append(Example(str(stored[f"{i}_name"]), image, label, prediction, place, rank))
        kept = {example.name: example.prediction for example in examples}
        if "kept_names" in stored.files:
            shapes = stored["kept_shapes"]
            parts = np.split(stored["kept_predictions"], np.cumsum(shapes.prod(axis=1))[:-1])
            kept |= {str(name): p.reshape(s) for name, p, s in zip(stored["kept_names"], parts, shapes, strict=True)}
    return Examples(examples, kept, classes)


def overlay_png(examples_npz: Path, out_png: Path) -> None:
    """Draw one cell's examples: a row per case; image, reference and prediction.

    Raises:
        FileNotFoundError: the cell has no examples.
        Unreadable: they are damaged.
    """
    found = read_examples(examples_npz)
    with style.settings():
        columns = ["Image", "Reference", "Prediction"]
        figure, grid = tile_grid(len(found.shown), columns, found.classes)
        for axes, example in zip(grid, found.shown, strict=True):
            window = window_around(example, [example.prediction])
            put_tile(axes[0], example, None, window)
            put_tile(axes[1], example, example.label, window)
            put_tile(axes[2], example, example.prediction, window, reference=True)
            put_side(axes[0], case_name(example))
        atomic_write(out_png, style.png(figure))


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


def case_name(example: Example) -> str:
    """The case, and which one of its cell it is."""
    return f"{example.rank}: {example.name}" if example.rank else example.name


def tile_grid(rows: int, columns: Sequence[str], classes: Sequence[str]) -> tuple[Any, np.ndarray]:
    """A figure with axes for tiles, ``(rows, columns)``: titles above, a legend of the classes below."""
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
        put_title(axes, title)
    patches = [Patch(color=_colour(k), label=name) for k, name in enumerate(classes) if k]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(5, len(patches)), handlelength=1)
    return figure, grid


def put_title(axes: Any, text: str) -> None:
    """What a column of tiles shows."""
    axes.set_title(_wrapped(text), loc="center", fontsize=6.5, fontweight="normal")


def put_side(axes: Any, text: str) -> None:
    """What a row of tiles shows."""
    axes.set_ylabel(_wrapped(text), fontsize=6)


def _wrapped(text: str) -> str:
    """In as many lines as a tile's side needs: names of methods and cases are long and tiles are small."""
    lines = wrap(text.replace("_", "_ "), 14, break_long_words=False)
    return "\n".join(line.replace("_ ", "_") for line in lines)


def put_tile(
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


def window_around(example: Example, predictions: Sequence[np.ndarray]) -> tuple[float, float, float]:
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
