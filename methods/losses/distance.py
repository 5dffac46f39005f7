"""Exact Euclidean distances and the normalised signed distance maps that shape-aware methods regress."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..compiled import loops, takes_any

_CHUNK = 2**24
"""Most values of one intermediate on an accelerator: 64 MiB of float32."""

_compiled = partial(loops, "distances")


def distance_transform(mask: Tensor) -> Tensor:
    """Distance in pixels of every True to the nearest False of its sample; 0 at False, inf in a sample without False.

    On an accelerator it is computed there, so that the step does not wait for the CPU; on a CPU, compiled loops are
    faster (``compiled``), and SciPy's where they do not fit. All are exact.

    Args:
        mask: ``(n, *space)`` booleans.

    Returns:
        ``(n, *space)`` float32.
    """
    found = torch.empty_like(mask, dtype=torch.float32, memory_format=torch.contiguous_format)
    if takes_any(found) and mask.ndim in (3, 4) and _compiled() is not None:
        shape = (len(mask), *(1,) * (4 - mask.ndim), *mask.shape[1:])
        _compiled().distances(mask.contiguous().numpy().reshape(shape), found.numpy().reshape(shape))
        return found
    return (_by_scipy if mask.device.type == "cpu" else _by_parabolas)(mask)


def signed_distance_maps(label: Tensor, classes: int, *, absent: float = 1.0) -> Tensor:
    """One map in [-1, 1] per foreground class: negative inside the class, positive outside, 0 on its inner boundary.

    Distances outside and inside are each divided by their largest one in the sample; the inner boundary are the pixels
    of the class that share a face with one of another class. A class that fills the sample is -1 everywhere.

    Source: SASSNet (https://github.com/kleinzcy/SASSnet/tree/8e915de) and DTC
    (https://github.com/HiLab-git/DTC/tree/1db1700), whose maps are 0 everywhere where the class is absent, as if all
    were boundary; they divide by 0 where it fills the sample.

    Args:
        label: ``(n, *space)`` int64 map; IGNORE is outside of every class.
        classes: number of classes, background included.
        absent: value of the map of a class that the sample does not hold.

    Returns:
        ``(n, classes - 1, *space)`` float32.
    """
    inside = torch.cat([label == k for k in range(1, classes)])  # class by class, all samples
    depth, height = distance_transform(inside), distance_transform(~inside)
    pixels = list(range(1, inside.ndim))
    deepest, highest = depth.amax(pixels, keepdim=True), height.amax(pixels, keepdim=True)
    signed = height.div_(highest).addcdiv_(depth, deepest, value=-1).masked_fill_(depth == 1, 0)
    signed = signed.masked_fill_(deepest == 0, absent).masked_fill_(deepest == math.inf, -1)
    return signed.unflatten(0, (classes - 1, len(label))).transpose(0, 1)


def _by_scipy(mask: Tensor) -> Tensor:
    """Over the bounding box of the Trues and one pixel around it, outside of which nothing is nearest to any of them.

    A False further out, moved into that box along each axis, is on its rim, where all are False, and nearer.
    """
    found = np.zeros(tuple(mask.shape), np.float32)
    for one, target in zip(mask.numpy(), found, strict=True):
        for tight in ndimage.find_objects(one.view(np.uint8), max_label=1):
            if tight is not None:
                box = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in tight)
                target[box] = np.inf if one[box].all() else ndimage.distance_transform_edt(one[box])
    return torch.from_numpy(found)


def _by_parabolas(mask: Tensor) -> Tensor:
    """Axis by axis: the lowest parabola over every pixel, all pairs of a line at once (squares are exact integers)."""
    squared = torch.where(mask, math.inf, 0.0)
    for axis in range(1, mask.ndim):
        side = mask.shape[axis]
        steps = torch.arange(side, device=mask.device, dtype=torch.float32)
        cost = (steps[:, None] - steps).square()
        lines = squared.movedim(axis, -1)
        rows = max(1, _CHUNK // side**2)
        lowest = [(part[:, None, :] + cost).amin(dim=-1) for part in lines.reshape(-1, side).split(rows)]
        squared = torch.cat(lowest).view(lines.shape).movedim(-1, axis)
    return squared.sqrt()
