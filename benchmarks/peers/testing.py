"""Testing as the released codes do it: slice by slice or window by window, and every class measured by medpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import medpy.metric.binary as medpy
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from datasets.types import Case, Task

Predict = Callable[[Tensor], Tensor]
"""Probabilities ``(n, classes, *space)`` of images ``(n, c, *space)``."""


@torch.no_grad()
def predict_slices(predict: Predict, case: Case, patch: Sequence[int], device: torch.device) -> np.ndarray:
    """Each slice zoomed to the patch by nearest neighbour, predicted alone, and zoomed back (WSL4MIS, SSL4MIS)."""
    found = np.zeros(case.space, np.uint8)
    for number, picture in enumerate(case.image[0]):
        factors = [wanted / have for wanted, have in zip(patch, picture.shape, strict=True)]
        image = torch.from_numpy(ndimage.zoom(picture, factors, order=0))[None, None].float().to(device)
        label = predict(image).argmax(dim=1)[0].cpu().numpy().astype(np.uint8)
        found[number] = ndimage.zoom(label, [1 / factor for factor in factors], order=0)
    return found


@torch.no_grad()
def predict_windows(
    predict: Predict, case: Case, patch: Sequence[int], overlap: float, classes: int, device: torch.device
) -> np.ndarray:
    """One window after the other, probabilities added up and divided by how many there were (UA-MT)."""
    image = case.image[0]
    short = [max(0, wanted - have) for wanted, have in zip(patch, image.shape, strict=True)]
    image = np.pad(image, [(lack // 2, lack - lack // 2) for lack in short])
    strides = [max(1, round(side * (1 - overlap))) for side in patch]
    counts = [math.ceil((have - side) / s) + 1 for have, side, s in zip(image.shape, patch, strides, strict=True)]
    total, times = np.zeros((classes, *image.shape), np.float32), np.zeros(image.shape, np.float32)
    for place in product(*map(range, counts)):
        starts = [min(i * s, n - p) for i, s, n, p in zip(place, strides, image.shape, patch, strict=True)]
        box = tuple(slice(start, start + side) for start, side in zip(starts, patch, strict=True))
        window = torch.from_numpy(image[box].astype(np.float32))[None, None].to(device)
        total[(slice(None), *box)] += predict(window)[0].cpu().numpy()
        times[box] += 1
    inside = tuple(slice(lack // 2, lack // 2 + side) for lack, side in zip(short, case.space, strict=True))
    return (total / times).argmax(axis=0).astype(np.uint8)[inside]


def predict_case(
    predict: Predict, case: Case, task: Task, patch: Sequence[int], overlap: float, device: torch.device
) -> np.ndarray:
    """By slices or by windows, as the task is."""
    if task.ndim == 2:
        return predict_slices(predict, case, patch, device)
    return predict_windows(predict, case, patch, overlap, task.n_classes, device)


def measure(prediction: np.ndarray, case: Case, task: Task) -> list[tuple[float, float]]:
    """Dice and HD95 in voxels per class; 0 and 0 where a class is missing, as WSL4MIS counts it."""
    assert case.label is not None
    found = []
    for k in range(1, task.n_classes):
        masks = prediction == k, case.label == k
        both = masks[0].any() and masks[1].any()
        found.append((medpy.dc(*masks), medpy.hd95(*masks)) if both else (0.0, 0.0))
    return found
