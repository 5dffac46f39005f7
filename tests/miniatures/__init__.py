"""Toy cases in each dataset's real layout on disk, written into a temporary folder; no binary file is ever committed.

``tests/miniatures/<name>.py`` belongs to the registered dataset ``<name>`` and holds

- ``OPTIONS``: options under which the dataset opens the miniature;
- ``write(root)``: writes the miniature below the data root ``root`` (nothing, if the dataset is procedural);
- ``grow(root)``: adds one case and returns the options with which the larger miniature opens;
- ``TRUTH``: what loading must keep of some cases (space, spacing, the place of the brightest voxel);
- ``DAMAGES``: name -> function that spoils one case on disk and returns the words that the error must contain;
  datasets on disk must offer all of ``DAMAGES_WANTED``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DAMAGES_WANTED = ("truncated", "unknown_label", "different_sizes", "not_a_number", "label_missing")


@dataclass(frozen=True)
class Truth:
    """What is known of a case independently of the loader; ``label`` and ``brightest`` are None where nothing is."""

    space: tuple[int, ...]
    spacing: tuple[float, ...] | None
    label: np.ndarray | None = None
    brightest: tuple[int, ...] | None = None


def toy_scan(space: tuple[int, int, int], classes: int, brightest: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Image in [0, 1] and label map of a tiny volume: nested boxes off the middle, one voxel brighter than all."""
    _, y, x = np.indices(space)
    depth = np.minimum.reduce([y, space[1] - 2 - y, x, space[2] - 3 - x])
    label = np.clip(depth - 1, 0, classes - 1).astype(np.uint8)
    image = 0.1 + 0.7 * label / classes + 0.05 * np.random.default_rng(sum(space)).random(space)
    image[brightest] = 1.0
    return image, label
