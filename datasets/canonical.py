"""The grid that training sees, and cases cut into samples on it.

In 2-D, every image or slice resized to the patch (the aspect is not kept, as in the published recipes). In 3-D, the
native grid, padded on both sides to at least the patch: images with their minimum, label maps with IGNORE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .resample import resize, resize_labels
from .types import IGNORE, Annotation, Case

KINDS: tuple[Annotation, ...] = ("dense", "scribble")


@dataclass(frozen=True)
class Canonical:
    """The grid that training sees.

    Attributes:
        patch: spatial size of a training sample. 2-D: everything is resized to it. 3-D: the size of crops, to which
            smaller volumes are padded.
        interpolation: how images are resized and rotated: "linear", or "nearest" as the released code does.
        storage: type in which images are kept in memory and on disk, "float32" or "float16"; batches are float32.
    """

    patch: tuple[int, ...]
    interpolation: str = "linear"
    storage: str = "float32"

    def __post_init__(self) -> None:
        if len(self.patch) not in (2, 3) or min(self.patch) < 1:
            raise ValueError(f"patch must be 2 or 3 positive numbers, got {self.patch}")
        if self.interpolation not in ("linear", "nearest"):
            raise ValueError(f'interpolation must be "linear" or "nearest", got {self.interpolation!r}')
        if self.storage not in ("float32", "float16"):
            raise ValueError(f'storage must be "float32" or "float16", got {self.storage!r}')


class Samples(NamedTuple):
    """One case in canonical coordinates: n slices of a volume, or n = 1."""

    image: Tensor
    """``(n, c, *space)`` float32."""
    maps: dict[Annotation, Tensor]
    """``(n, *space)`` uint8 for each kind of annotation that the case has."""


def canonical_samples(case: Case, canonical: Canonical) -> Samples:
    """Cut a case into samples along its first spatial axis, if it has one axis more than the patch, and regrid them."""
    patch = canonical.patch
    image = _tensor(case.image)
    image = image.transpose(0, 1) if image.ndim == len(patch) + 2 else image[None]
    maps: dict[Annotation, Tensor] = {
        kind: _tensor(labels).reshape(len(image), *image.shape[2:])
        for kind, labels in zip(KINDS, (case.label, case.scribble), strict=True)
        if labels is not None
    }
    if len(patch) == 2:
        image = resize(image, patch, canonical.interpolation)
        return Samples(image, {kind: resize_labels(labels, patch) for kind, labels in maps.items()})
    inside = _pad(torch.ones(image.shape[2:], dtype=torch.bool), patch, 0)
    image = torch.where(inside, _pad(image, patch, 0), image.amin((2, 3, 4), keepdim=True))
    return Samples(image, {kind: _pad(labels, patch, IGNORE) for kind, labels in maps.items()})


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _pad(values: Tensor, patch: Sequence[int], value: int) -> Tensor:
    """``value`` on both sides of each of the last axes that is shorter than the patch (an odd one goes to the end)."""
    widths: list[int] = []
    for have, want in zip(reversed(values.shape), reversed(patch), strict=False):
        missing = max(0, want - have)
        widths += [missing // 2, missing - missing // 2]
    return F.pad(values, widths, value=value)
