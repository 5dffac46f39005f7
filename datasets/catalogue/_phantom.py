"""What both phantoms share: the patients, seeded streams, smooth fields, the scanner's blemishes, thin scribbles.

All sizes are in mm, so that a finer grid shows the same anatomy. Images are rounded to 10 bits, as scanners store them:
that also hides the last digits in which mathematical libraries differ between machines.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from ..base import DataError, Dataset, Partition
from ..streams import stream
from ..types import IGNORE, Case

GREY_LEVELS = 1023


class Phantom(Dataset):
    """Generated patients, one case each; every third one tests, whatever their number."""

    @abstractmethod
    def make(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, ...]]:
        """Image and label ``(*space)``, scribble, spacing in mm of the patient whose stream ``rng`` is."""

    def groups(self) -> Mapping[str, str]:
        return {f"patient{number:03d}_scan1": f"patient{number:03d}" for number in range(1, self.options.patients + 1)}

    def partition(self, fold: int) -> Partition:
        if fold != 1:
            raise ValueError(f"{self.name} has one fixed division: fold must be 1, got {fold}")
        patients = tuple(self.groups().values())
        test = patients[2::3]
        return Partition(train=tuple(p for p in patients if p not in test), test=test)

    def load(self, key: str) -> Case:
        known = self.groups()
        if key not in known:
            raise DataError(f"{self.name}: no case {key!r}; cases are {next(iter(known))} to {list(known)[-1]}")
        image, label, scribble, spacing = self.make(stream(self.options.seed, self.name, key))
        return Case(key, known[key], image[None], label, scribble, spacing)


def require(name: str, value: float, low: float, high: float) -> None:
    """Refuse an option outside ``low``..``high``."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be in [{low}, {high}], got {value}")


def smooth_field(rng: np.random.Generator, shape: Sequence[int], sigma: Sequence[float]) -> np.ndarray:
    """Gaussian noise blurred by ``sigma`` (voxels per axis), scaled to mean 0 and standard deviation 1."""
    field = ndimage.gaussian_filter(rng.standard_normal(tuple(shape)), sigma, mode="nearest")
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def harmonics(rng: np.random.Generator, amplitude: float, orders: Sequence[int] = (2, 3, 4)) -> np.ndarray:
    """Rows (order, size, phase) of a random closed contour; sizes fall as ``amplitude`` / order."""
    return np.array([(order, rng.normal(0, amplitude / order), rng.uniform(0, 2 * np.pi)) for order in orders])


def wobble(angle: np.ndarray, series: np.ndarray) -> np.ndarray:
    """Factor around 1 by which a contour's radius varies with ``angle``: 1 + sum of size cos(order angle + phase)."""
    return 1 + sum(size * np.cos(order * angle + phase) for order, size, phase in series)


def scan(tissue: np.ndarray, rng: np.random.Generator, *, sigma: Sequence[float], difficulty: float) -> np.ndarray:
    """What a scanner makes of tissue brightness: blur, contrast curve, bias field, Rician noise, scaling to [0, 1].

    The contrast curve, the bias and the noise differ between patients and grow with ``difficulty``. The scaling is that
    of the ACDC conversion: clip at the 99th percentile, then min-max.

    Args:
        tissue: ``(*space)`` brightness, about [0, 1].
        rng: the patient's stream.
        sigma: width of the bias field in voxels, per axis; the blur is half a voxel to one voxel in the last two axes.
        difficulty: 0 = the same clean scanner for all.
    """
    blur = [0.0] * (tissue.ndim - 2) + [rng.uniform(0.45, 0.45 + 0.45 * min(difficulty, 1.0))] * 2
    image = np.clip(ndimage.gaussian_filter(tissue, blur, mode="nearest"), 0, None)
    image = image ** np.exp(difficulty * rng.uniform(-0.45, 0.45))
    image = image * np.exp(difficulty * rng.uniform(0.1, 0.3) * smooth_field(rng, tissue.shape, sigma))
    noise = 0.01 + difficulty * rng.uniform(0.02, 0.07)
    image = np.hypot(image + noise * rng.standard_normal(tissue.shape), noise * rng.standard_normal(tissue.shape))
    low, high = float(image.min()), float(np.quantile(image, 0.99))
    return (np.rint((np.clip(image, low, high) - low) / (high - low) * GREY_LEVELS) / GREY_LEVELS).astype(np.float32)


def scribble(label: np.ndarray, rng: np.random.Generator, spacing_mm: Sequence[float]) -> np.ndarray:
    """Thin strokes in a ``(y, x)`` label map: one per class along its middle, one in the background around the organ.

    A stroke is the part within a random angle of a line of equal depth, one voxel wide, so it never leaves its class.
    A slice of background only gets a circle in its middle.

    Returns:
        ``(y, x)`` uint8, IGNORE off the strokes.
    """
    strokes = np.full(label.shape, IGNORE, np.uint8)
    grid = np.indices(label.shape) * np.reshape(spacing_mm, (2, 1, 1))
    organ = label > 0
    for value in np.unique(label):
        region = label == value
        if value == 0 and organ.any():
            depth = ndimage.distance_transform_edt(region, sampling=spacing_mm)
            line, reach = min(rng.uniform(4, 8), 0.7 * depth.max()), rng.uniform(0.2, 0.35)
            middle = grid[:, organ].mean(1)
        else:  # the hole of a ring is filled, so that its line is one curve and not two; the border is an edge
            depth = ndimage.distance_transform_edt(np.pad(ndimage.binary_fill_holes(region), 1), sampling=spacing_mm)
            depth = depth[1:-1, 1:-1]
            inmost = ndimage.distance_transform_edt(np.pad(region, 1), sampling=spacing_mm).max()
            line, reach = rng.uniform(0.7, 0.95) * inmost, rng.uniform(0.35, 0.65)
            middle = grid[:, region].mean(1)
        angle = np.arctan2(grid[0] - middle[0], grid[1] - middle[1]) - rng.uniform(-np.pi, np.pi)
        stroke = region & (np.abs(depth - line) < 0.5 * min(spacing_mm)) & (np.cos(angle) > np.cos(np.pi * reach))
        parts, count = ndimage.label(stroke, np.ones((3, 3)))
        if count:
            stroke = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
        else:  # a region of a few pixels: mark its deepest
            stroke = region & (depth == depth[region].max())
        strokes[stroke] = value
    return strokes
