"""Which samples are in which batch: an endless chain of permutations, and the halves that two views draw from."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from .pool import Pool


class Chain:
    """Endless chains of permutations, one permutation per epoch, each seeded by its name and number alone.

    A sample is drawn once per epoch. Where one batch spans several epochs (fewer samples than places), samples repeat
    within it, and none is drawn more than once oftener than another.
    """

    def __init__(self, stream: Callable[..., int]) -> None:
        self._stream = stream
        self._permutation = lru_cache(maxsize=64)(self._permute)

    def take(self, name: str, n: int, start: int, size: int) -> np.ndarray:
        """``size`` numbers in range(n): positions ``start`` and following of the chain ``name``."""
        epochs, places = np.divmod(start + np.arange(size), n)
        pairs = zip(epochs.tolist(), places.tolist(), strict=True)
        return np.array([self._permutation(name, epoch, n)[place] for epoch, place in pairs], dtype=np.int64)

    def _permute(self, name: str, epoch: int, n: int) -> np.ndarray:
        return np.random.default_rng(self._stream(name, epoch)).permutation(n)


def halves(pool: Pool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cut a pool into two disjoint parts of equally many units, the first one larger where their number is odd.

    Units are groups (patients, videos) where there are two or more, else cases, else samples: what two views share
    should be as little as the data allow.

    Raises:
        ValueError: there is only one sample.
    """
    for names in (pool.groups, pool.cases, pool.sample_keys):
        units = sorted(set(names))
        if len(units) > 1:
            first = {units[i] for i in rng.permutation(len(units))[: (len(units) + 1) // 2]}
            member = np.array([name in first for name in names])
            return np.flatnonzero(member), np.flatnonzero(~member)
    raise ValueError("two views need at least two labelled samples, there is one; raise the ratio or the count")
