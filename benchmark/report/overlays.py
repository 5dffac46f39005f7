"""Pictures of predictions: one cell's examples, and methods side by side on the same slices.

Predictions are filled, the reference is a line on top of them: what sticks out or is missing can be seen at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd

from datasets.files import atomic_write

from . import style
from .frame import Results
from .style import Picture

MOST_TILES = 8
"""Tiles side by side; further methods go into a second band."""

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
        figure, grid = _grid(len(found.shown), columns, found.classes)
        for axes, example in zip(grid, found.shown, strict=True):
            window = _window(example, [example.prediction])
            _tile(axes[0], example, None, window)
            _tile(axes[1], example, example.label, window)
            _tile(axes[2], example, example.prediction, window, reference=True)
            _side(axes[0], _named(example))
        atomic_write(out_png, style.png(figure))


def comparison(results: Results, dataset: str, of: pd.DataFrame, amount: str, rows: Sequence[str]) -> Iterator[Picture]:
    """The same slices under every method of a dataset at one amount; nothing where no cell has examples.

    The cases are the best, the median and the worst of one method that all others are measured by: the lower bound,
    or where there is none the first row. Of each method the first seed with examples is shown; damaged ones are told.
    """
    found: dict[str, Examples] = {}
    damaged: list[str] = []
    wanted = of[(of["role"] == "upper") | (of["amount"] == amount)]
    place = {label: number for number, label in enumerate(rows)}
    for entry in sorted(wanted.itertuples(), key=lambda entry: place.get(entry.label, -1)):
        for name in entry.ids:
            path = results.folders.get(name, Path("/nonexistent")) / "examples.npz"
            if path.is_file():
                try:
                    found[entry.label] = read_examples(path)
                except Unreadable:
                    damaged.append(name)
                    continue
                break
    left_out = (
        f" Left out: examples.npz of {', '.join(damaged)}, which cannot be read; no number depends on it. Delete the "
        "folder of such a cell and run the plan again to have it anew."
        if damaged
        else ""
    )
    if not found:
        yield from _nothing_to_show(dataset, left_out.strip()) if damaged else ()
        return
    lower = [label for label in wanted.loc[wanted["role"] == "lower", "label"] if label in found]
    measure = (lower or [label for label in rows if label in found] or list(found))[0]
    cases, labels = found[measure].shown, list(found)
    bands = [labels[i : i + MOST_TILES - 2] for i in range(0, len(labels), MOST_TILES - 2)]
    figure, grid = _grid(len(cases) * len(bands), ["Image", "Reference", *bands[0]], found[measure].classes)
    for band, members in enumerate(bands):
        for i, example in enumerate(cases):
            axes = grid[band * len(cases) + i]
            same = {label: _prediction(found[label], example) for label in labels}
            window = _window(example, [prediction for prediction in same.values() if prediction is not None])
            _tile(axes[0], example, None, window)
            _tile(axes[1], example, example.label, window)
            _side(axes[0], _named(example))
            for tile, label in zip(axes[2:], members, strict=False):
                shown = same[label]
                if shown is not None:
                    _tile(tile, replace(example, prediction=shown), shown, window, reference=True)
                if i == 0:
                    _title(tile, label)
    rule = (
        f"Best, median and worst test case of {measure} by mean Dice of the whole case; they need not be those of "
        "another method"
        if all(example.rank for example in cases)
        else "First, middle and last test case, as an earlier version kept them"
    )
    yield Picture(
        f"examples_{style.slug(dataset)}",
        f"Examples of {dataset}",
        f"Test slices of {dataset} with reference and predictions; rows: {', '.join(map(_named, cases))}.",
        f"{rule}. At {amount}, first finished seed of every method, the slice with most foreground. Filled: "
        f"prediction; white line: reference; number: Dice (%) of the slice, averaged over its classes.{left_out}",
        figure,
    )


def _nothing_to_show(dataset: str, why: str) -> Iterator[Picture]:
    figure, title = style.canvas(style.PAGE, 0.4), f"Examples of {dataset}"
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, "no examples that can be read", ha="center", va="center", transform=axes.transAxes)
    yield Picture(f"examples_{style.slug(dataset)}", title, f"No test slice of {dataset} can be shown.", why, figure)


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


def _prediction(examples: Examples, wanted: Example) -> np.ndarray | None:
    """What a cell predicted for the same slice; None where it kept other cases."""
    found = examples.predictions.get(wanted.name)
    return found if found is not None and found.shape == wanted.label.shape else None


def _named(example: Example) -> str:
    return f"{example.rank}: {example.name}" if example.rank else example.name


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
