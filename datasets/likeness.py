"""Images that are the same, or nearly: by content, and by small grey pictures of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from .resample import resize
from .types import Case

HASH_SIDE = 16
"""An average hash has 16 × 16 bits: which cells of a grey thumbnail are brighter than its mean."""
HASH_DISTANCE = 12
"""Bits in which near duplicates may differ: 5 %. Candidates only: the thumbnails must agree too."""
CORRELATION = 0.99
"""Least correlation of the 32 × 32 thumbnails of near duplicates."""
_LUMINANCE = (0.299, 0.587, 0.114)
"""ITU-R BT.601, which JPEG keeps while it blurs colours."""


def thumbnail(case: Case) -> np.ndarray:
    """``(32, 32)`` grey picture of the case: luminance of three channels, else their mean; a volume's middle slice."""
    weights = np.array(_LUMINANCE if len(case.image) == 3 else [1 / len(case.image)] * len(case.image), np.float32)
    picture = np.tensordot(weights, case.image, 1)
    while picture.ndim > 2:
        picture = picture[len(picture) // 2]
    side = 2 * HASH_SIDE
    grown = [max(1, -(-n // side)) * side for n in picture.shape]  # to multiples of the side, then means of blocks
    even = resize(torch.from_numpy(np.ascontiguousarray(picture))[None, None], grown)[0, 0].numpy()
    return even.reshape(side, grown[0] // side, side, grown[1] // side).mean((1, 3))


def pairs(keys: list[str], content: Mapping[str, str]) -> list[tuple[str, str]]:
    """All pairs of keys with the same content."""
    alike: dict[str, list[str]] = {}
    for key in keys:
        alike.setdefault(content[key], []).append(key)
    return [(a, b) for same in alike.values() for i, a in enumerate(same) for b in same[i + 1 :]]


def near(keys: Sequence[str], thumbnails: Mapping[str, np.ndarray]) -> list[tuple[str, str, float]]:
    """All pairs of keys whose thumbnails are nearly the same, and their correlation."""
    if len(keys) < 2:
        return []
    small = np.stack([thumbnails[key] for key in keys])
    coarse = small.reshape(len(keys), HASH_SIDE, 2, HASH_SIDE, 2).mean((2, 4)).reshape(len(keys), -1)
    bits = (coarse > coarse.mean(1, keepdims=True)).astype(np.float32)
    flat = small.reshape(len(keys), -1)
    flat = flat - flat.mean(1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    different = bits @ (1 - bits).T
    likely = (different + different.T <= HASH_DISTANCE) & (flat @ flat.T >= CORRELATION)
    found = np.argwhere(np.triu(likely, 1)).tolist()
    return [(keys[i], keys[j], float(flat[i] @ flat[j])) for i, j in found]
