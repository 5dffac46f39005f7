"""Brightness scales of scans without a unit of their own, one volume at a time."""

from __future__ import annotations

import numpy as np

from ..base import DataError

CLIP_PERCENT = (0.5, 99.5)


def clip_and_standardise(voxels: np.ndarray, where: str) -> np.ndarray:
    """Clip one volume at its percentiles 0.5 and 99.5, then scale to mean 0 and standard deviation 1, as float32.

    Args:
        voxels: any shape and numeric type.
        where: names the case, for the message.

    Raises:
        DataError: a value is NaN or infinite, or all are equal after clipping.
    """
    if not np.isfinite(voxels).all():
        raise DataError(f"{where}: image holds NaN or infinite values; repair or remove this case").of("not_finite")
    low, high = np.percentile(voxels, CLIP_PERCENT)
    clipped = np.clip(voxels.astype(np.float64), low, high)
    if low == high:
        raise DataError(
            f"{where}: image is constant ({low:g} between its percentiles {CLIP_PERCENT}), so nothing is to be learnt "
            "from; fetch or export it again, or remove this case and its label"
        ).of("constant")
    return ((clipped - clipped.mean()) / clipped.std()).astype(np.float32)
