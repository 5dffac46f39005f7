"""Which voxels a contrast compares: a fixed number per sample and class, chosen on the device without waiting."""

from __future__ import annotations

from functools import partial, reduce
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from datasets.types import IGNORE

from ..compiled import loops, takes_any, takes_labels

_compiled = partial(loops, "voxels")


class Voxels(NamedTuple):
    """Chosen voxels: flat positions and labels, ``(n, k)`` each.

    The label is IGNORE where nothing was to choose, and from the second time on that a sample's voxel is chosen (at
    random and among the hardest, or of one class and among the others of another): it would be its own positive.
    """

    position: Tensor
    label: Tensor


class Shares(NamedTuple):
    """Hard ones among the positives and among the negatives."""

    positives: float
    negatives: float


def difference_part(label: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Where a prediction is wrong or a boundary of the label is at most one voxel away; never where that is IGNORE.

    Args:
        label, predicted: ``(n, *space)`` int64.

    Returns:
        ``(n, *space)`` booleans.
    """
    if takes_labels(label) and _compiled() is not None:
        found = torch.empty(label.shape, dtype=torch.bool)
        volume = (len(label), -1, *label.shape[-2:])
        _compiled().differences(*(each.contiguous().view(volume).numpy() for each in (label, predicted, found)))
        return found
    known = label != IGNORE
    narrow = torch.int8 if classes < 128 else torch.int16
    highest = _largest_near(torch.where(known, label, -classes).to(narrow), -classes)
    lowest = -_largest_near(torch.where(known, -label, -classes).to(narrow), -classes)
    return ((highest > lowest) | (label != predicted)) & known


def random_voxels(label: Tensor, classes: int, count: int) -> Voxels:
    """Per foreground class ``count`` random voxels of it and ``count`` of all other classes."""
    chosen = []
    for k in range(1, classes):
        chosen += [_drawn(label, label == k, count), _drawn(label, (label != k) & (label != IGNORE), count)]
    return _joined(chosen)


def key_voxels(
    label: Tensor,
    predicted: Tensor,
    similarity: Tensor,
    count: int,
    shares: Shares,
    hard: Tensor | None = None,
) -> Voxels:
    """Per foreground class ``count`` voxels of it and ``count`` of others, part of them the hardest near the boundary.

    Hard are the voxels of :func:`difference_part`: of the class with the lowest similarity to its prototype, and of
    other classes with the highest. The rest is drawn from the voxels where prediction and label agree.

    Args:
        label, predicted: ``(n, *space)`` int64; ``label`` may be IGNORE.
        similarity: ``(n, c, *space)`` cosine to each class's prototype; looked at in the difference part only.
        count: positives, and negatives, per class and sample.
        shares: hard ones among them.
        hard: the difference part, if it is at hand.
    """
    classes = similarity.shape[1]
    hard = difference_part(label, predicted, classes) if hard is None else hard
    positives, negatives = round(shares.positives * count), round(shares.negatives * count)
    if takes_any(similarity) and similarity.dtype == torch.float32 and _compiled() is not None:
        return _in_one_pass(
            label, predicted, hard, similarity, (count - positives, positives, count - negatives, negatives)
        )
    agreed = label == predicted
    chosen = []
    for k in range(1, classes):
        own, other = label == k, (label != k) & (label != IGNORE)
        chosen += [
            _drawn(label, own & agreed, count - positives),
            _top(label, own & hard, -similarity[:, k], positives),
            _drawn(label, other & agreed, count - negatives),
            _top(label, other & hard, similarity[:, k], negatives),
        ]
    return _joined(chosen)


def _in_one_pass(label: Tensor, predicted: Tensor, hard: Tensor, similarity: Tensor, counts: tuple[int, ...]) -> Voxels:
    """:func:`key_voxels` by the compiled loops; a sample of fewer voxels than a count leaves the rest unchosen."""
    starts = np.cumsum((0, *counts))
    position = torch.empty(len(label), (similarity.shape[1] - 1) * int(starts[-1]), dtype=torch.int64)
    chosen = torch.empty_like(position)
    maps = (each.flatten(1).contiguous().numpy() for each in (label, predicted, hard))
    seeds = torch.randint(2**32, (2,)).numpy().astype(np.uint32)
    scores = similarity.detach().flatten(2).contiguous().numpy()
    _compiled().choose(*maps, scores, starts, seeds, position.numpy(), chosen.numpy())
    return Voxels(position, chosen)


def released_voxels(label: Tensor, predicted: Tensor, count: int) -> Voxels:
    """As CVCL's code chooses: ``count`` foreground voxels, label 1, and the first ``count`` agreed background ones, 0.

    The foreground's are random among the voxels predicted right, and missed ones where these do not suffice. The
    background's come in raster order: a run at the corner of the crop, the opposite of a boundary. Too few of either
    are left as they are, where the code fills up with the other or fails.

    Source: https://github.com/maybeQi/Voxel-Contrastive/blob/65698b3/code/loss_contrast_mem.py
    """
    binary = torch.where(label == IGNORE, IGNORE, (label > 0).long())
    foreground = predicted > 0
    positive = foreground.float() + torch.rand(label.shape, device=label.device)
    raster = -torch.arange(label[0].numel(), device=label.device).view(label.shape[1:]).expand(label.shape)
    chosen = [
        _top(binary, binary == 1, positive, count),
        _top(binary, (binary == 0) & ~foreground, raster.float(), count),
    ]
    return _joined(chosen)


def _largest_near(values: Tensor, outside: float) -> Tensor:
    """Largest of the 3 x 3 (x 3) values around every voxel, axis by axis; ``outside`` is beyond the border."""
    largest = F.pad(values, [1, 1] * (values.ndim - 1), value=outside)
    for axis, side in enumerate(values.shape[1:], start=1):
        largest = reduce(torch.maximum, [largest.narrow(axis, start, side) for start in range(3)])
    return largest


def _drawn(label: Tensor, allowed: Tensor, count: int) -> Voxels:
    return _top(label, allowed, torch.rand(label.shape, device=label.device), count)


def _top(label: Tensor, allowed: Tensor, score: Tensor, count: int) -> Voxels:
    """The ``count`` allowed voxels of each sample with the highest finite score."""
    scores = torch.where(allowed, score, -torch.inf).flatten(1)
    best, position = scores.topk(min(count, scores.shape[1]), dim=1)
    return Voxels(position, torch.where(best > -torch.inf, label.flatten(1).gather(1, position), IGNORE))


def _joined(parts: list[Voxels]) -> Voxels:
    """All of them, each voxel of a sample once: from its second time on, its label is IGNORE."""
    position, label = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
    none = -1 - torch.arange(position.shape[1], device=position.device)
    ordered, order = torch.where(label == IGNORE, none, position).sort(dim=1, stable=True)
    again = F.pad(ordered[:, 1:] == ordered[:, :-1], (1, 0))
    return Voxels(position, label.masked_fill(torch.empty_like(again).scatter(1, order, again), IGNORE))
