"""Batched geometric augmentation: what happens is drawn as data in one place, and applied deterministically elsewhere.

Recipes:
    dihedral: the default. Every orientation of the in-plane axes (of volumes those that the task names) is equally
        likely: the eight of the square, or the four that keep the shape where the two sides differ. In 2-D a sample is
        also rotated, with probability ½, by an angle uniform in [-20, 20] degrees.
    flip: every spatial axis is mirrored with probability ½; nothing else. For data with a meaningful orientation.
    none: samples as they are.
    released: what the published loaders do (WSL4MIS and SSL4MIS in 2-D, UA-MT in 3-D). In 2-D: with probability ½ a
        random number of quarter turns and then *always* one flip; otherwise with probability ½ a rotation by a whole
        number of degrees in [-20, 19]; otherwise nothing. In 3-D every sample is turned and flipped. A quarter turn
        followed by a flip is always one of the four reflections, never a pure rotation: the intended set has eight.

Differences from the published loaders, in all recipes: rotation acts on the canonical grid rather than the native one,
and its corners are IGNORE in label maps (there: background where labels are dense) and the image's own minimum in
images. Only the geometry changes; neither the papers' code nor this file alters intensities.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import overload

import numpy as np
import torch
from torch import Tensor

from .rotation import rotate, sent

KINDS = ("none", "dihedral", "flip", "released")

_MAX_DEGREES = 20.0
_ROTATED_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Params:
    """What happens to each of n samples, in this order: mirror, swap, rotate.

    Attributes:
        mirror: ``(n, ndim)`` bool, which spatial axes are reversed.
        swap: ``(n,)`` bool, whether the in-plane axes change places.
        degrees: ``(n,)`` float64, rotation of the picture from the first in-plane axis towards the second; 0 = none.
        in_plane: the two spatial axes that are meant, neighbours.
    """

    mirror: np.ndarray
    swap: np.ndarray
    degrees: np.ndarray
    in_plane: tuple[int, int] = (0, 1)


def draw(
    kind: str,
    n: int,
    ndim: int,
    patch: Sequence[int],
    rng: np.random.Generator,
    in_plane: tuple[int, int] = (0, 1),
) -> Params:
    """Draw what happens to ``n`` samples of spatial size ``patch``, of which ``in_plane`` are the axes of a slice.

    Raises:
        ValueError: an unknown recipe; the message names the nearest.
    """
    check_kind(kind)
    mirror = rng.random((n, ndim)) < 0.5
    swap = rng.random(n) < 0.5
    chance, share = rng.random(n), rng.random(n)  # always drawn, so that every recipe takes as much from the stream
    degrees = np.zeros(n)
    first, second = in_plane
    square, through = patch[first] == patch[second], [axis for axis in range(ndim) if axis not in in_plane]
    if kind == "none":
        mirror[:], swap[:] = False, False
    elif kind == "flip":
        swap[:] = False
    elif kind == "dihedral":
        mirror[:, through] = False
        swap &= square
        if ndim == 2:
            degrees = np.where(chance < _ROTATED_SHARE, _MAX_DEGREES * (2 * share - 1), 0.0)
    else:
        mirror[:, through] = False
        swap &= square
        # Quarter turns followed by one flip leave, equally often, the two flips and the two transpositions. The first
        # draw says which of the pair: a flip mirrors one axis, a transposition none or both.
        mirror[:, second] = mirror[:, first] == swap
        if ndim == 2:
            reflected = chance < 0.5
            mirror &= reflected[:, None]
            swap &= reflected
            whole = np.floor(share * 2 * _MAX_DEGREES) - _MAX_DEGREES
            degrees = np.where(chance >= 0.75, whole, 0.0)
    return Params(mirror, swap, degrees, in_plane)


@overload
def apply(
    params: Params, image: Tensor, maps: Sequence[Tensor] = (), *, interpolation: str = "linear"
) -> tuple[Tensor, tuple[Tensor, ...]]: ...


@overload
def apply(
    params: Params, image: None, maps: Sequence[Tensor], *, interpolation: str = "linear"
) -> tuple[None, tuple[Tensor, ...]]: ...


def apply(
    params: Params,
    image: Tensor | None,
    maps: Sequence[Tensor] = (),
    *,
    interpolation: str = "linear",
) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    """Augment images and the label maps that go with them, on their device.

    Args:
        params: one entry per sample.
        image: ``(n, c, *space)`` floating point, or None.
        maps: label maps ``(n, *space)`` of integer type; corners that a rotation uncovers become IGNORE.
        interpolation: of rotated images, "linear" or "nearest"; right angles and mirrors are exact in any case.

    Returns:
        New tensors (or the given ones, where nothing happens), of the same shapes and types.

    Raises:
        ValueError: axes of different length are to be swapped.
    """
    like = image if image is not None else maps[0]
    turned = bool(params.mirror.any() or params.swap.any())
    if turned:
        height, width = (like.shape[-params.mirror.shape[1] :][axis] for axis in params.in_plane)
        if params.swap.any() and height != width:
            raise ValueError(f"cannot swap in-plane axes of different length {height} and {width}")
        # the same pixels either way: one gather keeps a GPU busy, and a core turns sample by sample three times as fast
        reorient = _reorient_each if like.device.type == "cpu" else _reorient_at_once
        image = None if image is None else reorient(image, 2, params)
        maps = [reorient(labels, 1, params) for labels in maps]
    rotated = np.flatnonzero(params.degrees)
    if len(rotated):
        # what was turned is a copy already
        image, maps = rotate(params.degrees, rotated, image, maps, interpolation, in_place=turned)
    return image, tuple(maps)


def check_kind(kind: str) -> None:
    """Refuse an unknown recipe.

    >>> check_kind("dihedrel")
    Traceback (most recent call last):
    ValueError: unknown augmentation 'dihedrel'; did you mean 'dihedral'? (known: none, dihedral, flip, released)
    """
    if kind not in KINDS:
        nearest = difflib.get_close_matches(str(kind), KINDS, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"unknown augmentation {kind!r}{hint} (known: {', '.join(KINDS)})")


@lru_cache(maxsize=8)
def _orientations(height: int, width: int, device: torch.device) -> Tensor:
    """``(8, height * width)``: the in-plane pixel that each output pixel reads, for code = mirror + 2 mirror + 4 swap.

    Four rows where the sides differ: there is no swap then.
    """
    place = np.arange(height * width).reshape(height, width)
    mirrored = [place, place[::-1], place[:, ::-1], place[::-1, ::-1]]
    swapped = [picture.T for picture in mirrored] if height == width else []
    return torch.from_numpy(np.stack([picture.ravel() for picture in mirrored + swapped])).to(device)


def _reorient_each(values: Tensor, first: int, params: Params) -> Tensor:
    """Mirror and swap sample by sample; ``first`` is the position of the first spatial axis.

    NumPy reads backwards, where PyTorch would write what is mirrored before it is copied.
    """
    found = torch.empty_like(values, memory_format=torch.contiguous_format)
    fates = zip(values.numpy(), found.numpy(), params.mirror.tolist(), params.swap.tolist(), strict=True)
    for one, into, mirror, swap in fates:
        turned = one[(..., *(slice(None, None, -1 if mirrored else 1) for mirrored in mirror))]
        np.copyto(into, turned.swapaxes(*(first - 1 + axis for axis in params.in_plane)) if swap else turned)
    return found


def _reorient_at_once(values: Tensor, first: int, params: Params) -> Tensor:
    """The same by one gather."""
    if params.in_plane != (0, 1):  # with the slices' axis last, as elsewhere
        values, mirror = values.movedim(first, -1), np.roll(params.mirror, -1, axis=1)
        return _reorient_at_once(values, first, replace(params, mirror=mirror, in_plane=(0, 1))).movedim(-1, first)
    height, width = values.shape[first : first + 2]
    code = sent(params.mirror[:, 0] + 2 * params.mirror[:, 1] + 4 * params.swap, values.device)
    source = _orientations(height, width, values.device)[code]
    flat = values.flatten(first, first + 1)
    index = source.view(len(values), *[1] * (first - 1), -1, *[1] * (flat.ndim - first - 1))
    turned = torch.gather(flat, first, index.expand_as(flat)).view(values.shape)
    depth = params.mirror[:, 2:].any(axis=1)
    if not depth.any():
        return turned
    mask = sent(np.asarray(depth), values.device).reshape(-1, *[1] * (values.ndim - 1))
    return torch.where(mask, turned.flip(-1), turned)
