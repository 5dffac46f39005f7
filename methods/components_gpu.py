"""Connected components on a GPU, as one kernel that finds and one that reads out; nothing waits for the host.

Every voxel points to itself or to a voxel before it of the same component. Blocks of voxels unite the trees of
neighbours with an atomic minimum at the root; where another block was faster, the pointer that it left is followed.
Pointers only ever decrease within a component, so a value read too early is an ancestor still.

Source: Komura, "GPU-based cluster-labeling algorithm without the use of conventional iteration", Computer Physics
Communications 194, 2015 (label equivalence with atomic minima).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 128


def roots(label: Tensor) -> Tensor:
    """For every voxel, the place of the first voxel in raster order of its component; background's is its own.

    Args:
        label: ``(n, h, w)`` or ``(n, d, h, w)`` integer map on a GPU; equal positive values touch by a face, an edge or
            a corner.

    Returns:
        ``(n * d * h * w,)`` int64, places in the flattened map.
    """
    label = label.contiguous()
    *_, height, width = label.shape
    depth, total = label.shape[1] if label.ndim == 4 else 1, label.numel()
    parent = torch.arange(total, dtype=torch.int32, device=label.device)
    grid = (triton.cdiv(total, _BLOCK),)
    first = 9 if depth == 1 else 0
    _merge[grid](label, parent, total, depth, height, width, FIRST=first, BLOCK=_BLOCK)
    found = torch.empty_like(parent)
    _read[grid](parent, found, total, BLOCK=_BLOCK)
    return found.long()


@triton.jit
def _root(parent, node, active):
    """Follow the pointers of the active lanes to their ends."""
    above = tl.where(active, tl.load(parent + node, mask=active, other=0), node)
    while tl.max((above != node).to(tl.int32), axis=0) > 0:
        node = above
        above = tl.where(active, tl.load(parent + node, mask=active, other=0), node)
    return node


@triton.jit
def _merge(label, parent, total, depth, height, width, FIRST: tl.constexpr, BLOCK: tl.constexpr):
    """Unite every voxel with those of its neighbours that come before it: 4 in a plane, 13 in space."""
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = here < total
    k = tl.load(label + here, mask=inside, other=0)
    x, y, z = here % width, here // width % height, here // (width * height) % depth
    for n in tl.static_range(FIRST, 13):
        nx, ny, nz = x + n % 3 - 1, y + n // 3 % 3 - 1, z + n // 9 - 1
        near = here + ((n // 9 - 1) * height + n // 3 % 3 - 1) * width + n % 3 - 1
        active = inside & (k > 0) & (nz >= 0) & (ny >= 0) & (ny < height) & (nx >= 0) & (nx < width)
        active = active & (tl.load(label + near, mask=active, other=0) == k)
        one, other = here, near
        while tl.max(active.to(tl.int32), axis=0) > 0:
            one, other = _root(parent, one, active), _root(parent, other, active)
            high, low = tl.maximum(one, other), tl.minimum(one, other)
            active = active & (high != low)
            before = tl.atomic_min(parent + high, low, mask=active)
            active = active & (before != high)  # it was no root any more: what it pointed to belongs to both
            one, other = tl.where(active, before, low), low


@triton.jit
def _read(parent, found, total, BLOCK: tl.constexpr):
    """Write down the root of every voxel."""
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = here < total
    tl.store(found + here, _root(parent, here, inside), mask=inside)
