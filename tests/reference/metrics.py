"""Segmentation metrics written the slow and obvious way: every pair of surface points is compared."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest

from benchmark.metrics import ClassMeasures

ENGINES = ["scipy", pytest.param("numba", marks=pytest.mark.skipif(not find_spec("numba"), reason="numba is absent"))]
"""Both ways to find distances, as parameters of a test."""


def assert_same_rows(first: list[ClassMeasures], second: list[ClassMeasures], *, skip: tuple[str, ...] = ()) -> None:
    """Every field but the skipped ones is equal, numbers to 1e-9."""
    for left, right in zip(first, second, strict=True):
        expected = asdict(right)
        for name, value in asdict(left).items():
            if name == "status":
                assert value == expected[name]
            elif name not in skip:
                np.testing.assert_allclose(value, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def surface_voxels(mask: np.ndarray) -> np.ndarray:
    """Indices ``(n, ndim)`` of the mask's voxels that have a 4- or 6-neighbour outside it or outside the image."""
    found = []
    for index in np.argwhere(mask):
        for axis, step in product(range(mask.ndim), (-1, 1)):
            neighbour = index.copy()
            neighbour[axis] += step
            inside_image = 0 <= neighbour[axis] < mask.shape[axis]
            if not inside_image or not mask[tuple(neighbour)]:
                found.append(index)
                break
    return np.array(found).reshape(-1, mask.ndim)


def distances(start: np.ndarray, goal: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Distance from each start to its nearest goal, over all pairs."""
    apart = (start[:, None, :] - goal[None, :, :]) * np.asarray(spacing)
    return np.sqrt((apart**2).sum(axis=-1)).min(axis=1)


def surface_elements(mask: np.ndarray, areas: dict[tuple[bool, ...], float]) -> tuple[np.ndarray, np.ndarray]:
    """Corner points ``(n, ndim)`` between differing voxels, and the areas that ``areas`` gives their neighbourhoods."""
    padded = np.pad(mask, 1)
    points, weights = [], []
    for corner in np.ndindex(*(length + 1 for length in mask.shape)):
        around = tuple(bool(v) for v in padded[tuple(slice(i, i + 2) for i in corner)].ravel())
        if any(around) and not all(around):
            points.append(corner)
            weights.append(areas[around])
    return np.array(points), np.array(weights)


def all_measures(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: tuple[float, ...],
    tolerance: float,
    areas: dict[tuple[bool, ...], float],
) -> dict[str, float]:
    """Every measure of two non-empty boolean masks."""
    both = np.count_nonzero(prediction & reference)
    pred, gt = surface_voxels(prediction), surface_voxels(reference)
    to_gt, to_pred = distances(pred, gt, spacing), distances(gt, pred, spacing)
    pooled = np.concatenate([to_gt, to_pred])
    unit = (1.0,) * prediction.ndim
    vox = distances(pred, gt, unit), distances(gt, pred, unit)
    (p_points, p_areas), (g_points, g_areas) = (surface_elements(mask, areas) for mask in (prediction, reference))
    p_near = distances(p_points, g_points, spacing) <= tolerance
    g_near = distances(g_points, p_points, spacing) <= tolerance
    return {
        "dice": 2 * both / (np.count_nonzero(prediction) + np.count_nonzero(reference)),
        "jaccard": both / np.count_nonzero(prediction | reference),
        "hd95": max(np.percentile(to_gt, 95), np.percentile(to_pred, 95)),
        "hd95_pooled": np.percentile(pooled, 95),
        "hd": pooled.max(),
        "asd_pred_to_gt": to_gt.mean(),
        "asd_gt_to_pred": to_pred.mean(),
        "assd": pooled.mean(),
        "masd": (to_gt.mean() + to_pred.mean()) / 2,
        "nsd": (p_areas[p_near].sum() + g_areas[g_near].sum()) / (p_areas.sum() + g_areas.sum()),
        "nsd_count": (pooled <= tolerance).mean(),
        "hd95_vox": max(np.percentile(vox[0], 95), np.percentile(vox[1], 95)),
        "hd95_pooled_vox": np.percentile(np.concatenate(vox), 95),
    }
