"""Connected components of label maps: what a teacher's pseudo label keeps."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.utils._triton import has_triton

from .compiled import loops

_compiled = partial(loops, "labels")

_MOST_CLASSES = 256
"""On a GPU, where asking how many there are would have the host wait."""


def largest_components(label: Tensor) -> Tensor:
    """``label`` with every class but its largest connected component turned into background, sample by sample.

    Neighbours touch by a face, an edge or a corner (BCP, https://github.com/DeepMed-Lab-ECNU/BCP/tree/b62b10b). Of
    components of equal size the first in raster order stays. An absent class stays absent.

    On an NVIDIA GPU the host does not wait; elsewhere a compiled loop joins neighbours or, without numba, SciPy labels
    each class's bounding box.

    Args:
        label: ``(n, *space)`` integer map without IGNORE, in two or three dimensions, of at most 256 classes.

    Returns:
        A map of the same shape, type and device.
    """
    if label.is_cuda and has_triton():
        from .components_gpu import roots

        return _kept(label, roots(label))
    found = label.cpu().numpy()
    if _compiled() is not None:
        volumes = found.reshape(len(found), *[1] * (4 - found.ndim), *found.shape[1:]).astype(np.int64, copy=False)
        kept = np.empty_like(volumes)
        _compiled().keep_largest(volumes, 1 + int(volumes.max(initial=0)), kept)
        return torch.from_numpy(kept.reshape(found.shape)).to(label)
    return torch.from_numpy(_by_boxes(found)).to(label.device)


def _by_boxes(found: Any) -> Any:
    """The same by SciPy, of an array."""
    kept = np.zeros_like(found)
    touching = np.ones((3,) * (found.ndim - 1))
    for one, target in zip(found, kept, strict=True):
        for k, box in enumerate(ndimage.find_objects(one.astype(np.int32)), start=1):
            if box is None:
                continue
            parts, count = ndimage.label(one[box] == k, structure=touching)
            sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
            target[box][parts == 1 + sizes.argmax()] = k
    return kept


def _kept(label: Tensor, root: Tensor) -> Tensor:
    """The largest component of each class and sample, given for every voxel the place of its component's first one.

    Args:
        label: ``(n, *space)``.
        root: ``(n * space,)`` int64, places in the flattened map.
    """
    flat, samples = label.flatten(), len(label)
    size = torch.zeros_like(root).scatter_add_(0, root, torch.ones_like(root))
    rank = size[root] * len(root) + (len(root) - 1 - root)  # by size, and the first in raster order before others
    group = torch.arange(samples, device=label.device).repeat_interleave(len(root) // samples) * _MOST_CLASSES + flat
    best = torch.zeros(samples * _MOST_CLASSES, dtype=rank.dtype, device=label.device)
    best.scatter_reduce_(0, group, rank, "amax")
    return torch.where(rank == best[group], flat, 0).view_as(label)
