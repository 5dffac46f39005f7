"""Perturbations of images and features that methods share. All draw from torch's global generator of the device."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def noisy(image: Tensor, std: float, clip: float) -> Tensor:
    """``image`` plus Gaussian noise of ``std``, each value of the noise clamped to ``[-clip, clip]``."""
    return image + (torch.randn_like(image) * std).clamp(-clip, clip)


def drop_channels(features: list[Tensor], p: float, training: bool) -> list[Tensor]:
    """Each map ``(n, c, *space)`` with whole channels zeroed with probability ``p`` and the rest scaled by 1/(1-p).

    Not training: the maps as they are.
    """
    return [torch.feature_dropout(feature, p, training) for feature in features]


def scale_values(features: list[Tensor], limit: float, training: bool) -> list[Tensor]:
    """Each value times ``1 + u``, u uniform in ``[-limit, limit]`` and the same for all samples.

    Not training: the maps as they are.
    """
    if not training:
        return features
    changed = []
    for feature in features:
        uniform = torch.rand(*feature.shape[2:], feature.shape[1], device=feature.device, dtype=feature.dtype)
        changed.append(feature * uniform.mul_(2 * limit).add_(1 - limit).movedim(-1, 0))  # channels last, as maps are
    return changed


def drop_attended(features: list[Tensor], low: float, high: float, training: bool) -> list[Tensor]:
    """Each map with its most active positions zeroed; not training: as they are.

    A position goes where its mean over channels reaches a share of that mean's maximum over the sample; the share is
    uniform in ``[low, high]``, drawn once per map.

    Source: CCT, https://github.com/HiLab-git/SSL4MIS/blob/06df604/code/networks/unet.py
    """
    if not training:
        return features
    kept = []
    for feature in features:
        activity = feature.mean(dim=1, keepdim=True)
        share = low + (high - low) * torch.rand((), device=feature.device)
        kept.append(feature * (activity < share * activity.flatten(1).amax(dim=1).view(-1, *[1] * (feature.ndim - 1))))
    return kept


def random_box(space: tuple[int, ...], share: float, device: torch.device) -> Tensor:
    """Booleans ``(*space)``: True in one box of ``share`` of every side, rounded down, at a uniform position.

    The position is drawn and compared on the device, so that the step does not wait for it.
    """
    inside = torch.ones((), dtype=torch.bool, device=device)
    for axis, side in enumerate(space):
        length = int(share * side)
        start = torch.randint(0, side - length + 1, (), device=device)
        along = torch.arange(side, device=device) - start
        inside = inside & ((along >= 0) & (along < length)).view(-1, *[1] * (len(space) - axis - 1))
    return inside


def cut_boxes(n: int, space: tuple[int, ...], share: float | Tensor, device: torch.device) -> Tensor:
    """Booleans ``(n, *space)``: True in a box of ``share`` of every side around a uniform place, cut at the borders.

    Unlike :func:`random_box`, which lies within the image, it reaches every pixel alike. ``share`` may be a scalar on
    the device.
    """
    inside = torch.ones(n, *[1] * len(space), dtype=torch.bool, device=device)
    for axis, side in enumerate(space, start=1):
        centre = torch.rand(n, 1, device=device) * side
        along = (torch.arange(side, device=device) + 0.5 - centre).abs() < share * side / 2
        inside = inside & along.view(n, *[1] * (axis - 1), side, *[1] * (len(space) - axis))
    return inside


def random_turn(image: Tensor) -> Callable[[Tensor], Tensor]:
    """A turn in the plane of the first two axes of space, the same for all maps of ``image``'s space that it is given.

    By 0, 90, 180 or 270 degrees, or where the plane is no square by 0 or 180. Drawn on the device; so that the step
    does not wait for it, all turns are made there, and one is taken.
    """
    step = 1 if image.shape[2] == image.shape[3] else 2
    turns = range(0, 4, step)
    drawn = torch.randint(len(turns), (1,), device=image.device)

    if drawn.device.type == "cpu":
        times = turns[int(drawn)]
        return lambda maps: torch.rot90(maps, times, (2, 3))

    def turn(maps: Tensor) -> Tensor:
        made = torch.stack([torch.rot90(maps, k, (2, 3)) for k in turns])
        return made.index_select(0, drawn).squeeze(0)

    return turn


def halves(samples: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The first ``n`` and the last ``n`` samples: two halves of a batch of 2n, overlapping or repeating in others."""
    enough = torch.cat([samples] * -(-n // len(samples)))
    return enough[:n], enough[-n:]


def visible_cells(n: int, space: tuple[int, ...], *, cell: int, share: float, device: torch.device) -> Tensor:
    """Booleans ``(n, 1, *space)``: True in exactly ``share`` (rounded down) of each sample's cells of side ``cell``.

    Cells at the far borders are cut where ``cell`` does not divide the side. The complement is the mask of another
    branch: ``image * seen`` and ``image * ~seen``.

    Source: MaskMix, https://github.com/lichen14/MaskMixAdv/tree/eb170d6 (32 x 32 cells of 8 pixels, half of them).

    Raises:
        ValueError: no cell would be visible, or none hidden.
    """
    grid = [-(-side // cell) for side in space]
    cells = math.prod(grid)
    visible = int(share * cells)
    if not 0 < visible < cells:
        raise ValueError(
            f"cells of side {cell} in {tuple(space)}: {visible} of {cells} would be visible at a share of {share:g}, "
            "and each branch must see some; take smaller cells or a share nearer to 0.5"
        )
    seen = torch.rand(n, cells, device=device).argsort(dim=1) < visible
    seen = seen.view(n, 1, *grid)
    for axis, side in enumerate(space, start=2):
        seen = seen.repeat_interleave(cell, dim=axis).narrow(axis, 0, side)
    return seen


def checkerboard(space: tuple[int, ...], *, cell: int, device: torch.device) -> Tensor:
    """Booleans ``(*space)`` that alternate between cells of side ``cell``; True in the first."""
    inside = torch.zeros(space, dtype=torch.int64, device=device)
    for axis, side in enumerate(space):
        steps = torch.arange(side, device=device).div(cell, rounding_mode="floor")
        inside += steps.view(-1, *[1] * (len(space) - axis - 1))
    return inside.remainder(2) == 0
