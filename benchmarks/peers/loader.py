"""The released loaders: a file opened per sample, scipy and numpy on one core, samples stacked into a batch.

2-D after WSL4MIS and SSL4MIS, 3-D after UA-MT; what they do is described in ``datasets/augment.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from datasets.types import IGNORE, Batch, Labelled, Unlabelled

from ..sources import UNSCRIBBLED

_MOST_DEGREES = 20


class Loader:
    """Draws batches: labelled samples first, then unlabelled ones, each from an endless chain of permutations.

    Args:
        samples: files by case.
        labelled, unlabelled: cases.
        batch: how many samples of each.
        patch: spatial size.
        annotation: "dense" or "scribble".
        seed: of what is drawn and how it is augmented.
    """

    def __init__(
        self,
        samples: Mapping[str, Sequence[Path]],
        labelled: Sequence[str],
        unlabelled: Sequence[str],
        *,
        batch: tuple[int, int],
        patch: Sequence[int],
        annotation: str,
        seed: int = 0,
    ) -> None:
        self.patch, self.key = tuple(patch), "scribble" if annotation == "scribble" else "label"
        self.rng = np.random.default_rng(seed)
        self._files = [[path for case in cases for path in samples[case]] for cases in (labelled, unlabelled)]
        self._batch = batch
        self._queues: list[list[Path]] = [[], []]

    def sample(self, path: Path) -> tuple[Tensor, Tensor]:
        """One augmented sample: ``(1, *space)`` float32 and ``(*space)`` int64."""
        with h5py.File(path, "r") as file:
            image, label = file["image"][:], file[self.key][:]
        augment = augment_slice if len(self.patch) == 2 else augment_volume
        image, label = augment(image, label.astype(np.uint8), self.patch, self.rng)
        if self.key == "scribble":
            label = np.where(label == UNSCRIBBLED, IGNORE, label)
        return torch.from_numpy(image.astype(np.float32))[None], torch.from_numpy(label.astype(np.int64))

    def batch(self, device: torch.device, shapes: bool = False) -> Batch:
        """The next batch, on the device; with ``shapes``, label maps of further samples as well."""
        n, m = self._batch
        image, label = self._stack(0, n)
        unlabelled = Unlabelled(self._stack(1, m)[0].to(device)) if m else None
        masks = self._stack(0, n + m)[1].to(device) if shapes else None
        if masks is not None:
            masks = masks.masked_fill(masks == IGNORE, 0)
        return Batch(Labelled(image.to(device), label.to(device), pseudo=label.to(device)), unlabelled, masks)

    def _stack(self, part: int, n: int) -> tuple[Tensor, Tensor]:
        pairs = [self.sample(self._next(part)) for _ in range(n)]
        return torch.stack([image for image, _ in pairs]), torch.stack([label for _, label in pairs])

    def _next(self, part: int) -> Path:
        if not self._queues[part]:
            files = self._files[part]
            self._queues[part] = [files[i] for i in self.rng.permutation(len(files))]
        return self._queues[part].pop()


def augment_slice(
    image: np.ndarray, label: np.ndarray, patch: Sequence[int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Half of the slices are turned and flipped, a quarter rotated, a quarter left alone; then all are zoomed."""
    if rng.random() > 0.5:
        image, label = _turn_and_flip(image, label, rng)
    elif rng.random() > 0.5:
        degrees = int(rng.integers(-_MOST_DEGREES, _MOST_DEGREES))
        fill = UNSCRIBBLED if (label == UNSCRIBBLED).any() else 0
        image = ndimage.rotate(image, degrees, order=0, reshape=False)
        label = ndimage.rotate(label, degrees, order=0, reshape=False, mode="constant", cval=fill)
    factors = [wanted / have for wanted, have in zip(patch, image.shape, strict=True)]
    return ndimage.zoom(image, factors, order=0), ndimage.zoom(label, factors, order=0)


def augment_volume(
    image: np.ndarray, label: np.ndarray, patch: Sequence[int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Every volume is turned in its first two axes, flipped, padded with 0 where it is too small, and cropped."""
    image, label = _turn_and_flip(image, label, rng)
    if any(have <= wanted for have, wanted in zip(image.shape, patch, strict=True)):
        sides = [max((wanted - have) // 2 + 3, 0) for have, wanted in zip(image.shape, patch, strict=True)]
        image, label = (np.pad(array, [(side, side) for side in sides]) for array in (image, label))
    starts = [int(rng.integers(0, have - wanted)) for have, wanted in zip(image.shape, patch, strict=True)]
    box = tuple(slice(start, start + wanted) for start, wanted in zip(starts, patch, strict=True))
    return image[box], label[box]


def _turn_and_flip(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    turns, axis = int(rng.integers(4)), int(rng.integers(2))
    image, label = (np.flip(np.rot90(array, turns), axis).copy() for array in (image, label))
    return image, label
