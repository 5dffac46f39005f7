"""Looking at results more than once without being fooled more often: alpha spending over declared looks.

Whoever tests after 5 seeds, again after 7, and again after 10, and stops at the first p < .05, is wrong in over 5 %
of studies. Here each look may spend a part of the 5 % only, by a spending function (Lan & DeMets 1983, Biometrika
70:659-663) that is declared before the first look.

Seeds are added, patients stay. The means at two looks then have the correlation √(V_late / V_early) of their variances,
which is at least √(S_early / S_late): the boundaries are computed for the latter, where the error is largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..claims import Spending

NODES = 101
"""Of the quadrature over the statistic at each look; twice as many change no level by more than 1e-9 of it."""

_GRID = tuple(np.logspace(-9, -0.005, 91).tolist())
"""Family levels at which boundaries are tabulated, to invert them."""


def spent(alpha: float, share: float, spending: Spending = "obrien_fleming") -> float:
    """What of ``alpha`` may have been spent once ``share`` of the seeds is in.

    O'Brien and Fleming's type, two-sided: 4 − 4Φ(z / √share), z at ``alpha`` / 4.

    >>> round(spent(0.05, 0.5), 4), round(spent(0.05, 1), 4), spent(0.05, 0.5, "quadratic")
    (0.0031, 0.05, 0.0125)
    """
    from scipy.special import ndtr, ndtri

    if spending == "quadratic":
        return alpha * share**2
    return float(4 * ndtr(ndtri(alpha / 4) / np.sqrt(share)))


@lru_cache(maxsize=1024)
def levels(alpha: float, looks: tuple[int, ...], spending: Spending = "obrien_fleming") -> tuple[float, ...]:
    """Two-sided level of the p value at each look, such that all looks together are wrong in ``alpha`` of studies.

    By numerical integration over the paths that have not crossed yet (Armitage, McPherson & Rowe 1969).

    Args:
        alpha: in (0, 1).
        looks: rising numbers of seeds; the last one is the most that there will ever be.
        spending: how ``alpha`` is spent.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    times = np.array(looks) / looks[-1]
    parts = np.diff([0.0, *(spent(alpha, share, spending) for share in times)])
    node, weight = _nodes(NODES)
    bound = -ndtri(parts[0] / 2) * np.sqrt(times[0])
    found = [parts[0]]
    places = bound * node
    density = _normal(places, np.sqrt(times[0])) * bound * weight
    for before, time, part in zip(times, times[1:], parts[1:], strict=False):
        step = np.sqrt(time - before)
        bound = brentq(_crossing, 0.0, 12.0, args=(places, density, step, part), xtol=1e-13, rtol=1e-12)
        found.append(2 * ndtr(-bound / np.sqrt(time)))
        at = bound * node
        density = (density @ _normal(at[None, :] - places[:, None], step)) * bound * weight
        places = at
    return tuple(float(level) for level in found)


def sequential_p(p_by_look: np.ndarray, looks: Sequence[int], spending: Spending = "obrien_fleming") -> np.ndarray:
    """One p value for all looks at a comparison: the smallest family level at which some look would have crossed.

    It may be corrected and compared like any p value (Liu & Anderson 2008, Statistics in Medicine 27:4843-4854).

    Args:
        p_by_look: ``(comparisons, looks)``, two-sided; NaN where a comparison was not looked at.
        looks: as for `levels`.
        spending: as for `levels`.

    Returns:
        ``(comparisons,)``; NaN where nothing was looked at.
    """
    p = np.asarray(p_by_look, dtype=np.float64)
    if len(looks) == 1:
        return p[:, 0]
    grid, table = _tabulated(tuple(looks), spending)
    found = np.full(p.shape, np.nan)
    for look in range(p.shape[1]):
        seen = ~np.isnan(p[:, look])
        at = np.log(np.maximum(p[seen, look], 1e-300))
        alpha = np.exp(np.interp(at, table[:, look], grid, right=0.0))
        found[seen, look] = np.where(p[seen, look] > np.exp(table[-1, look]), 1.0, alpha)
    seen = ~np.isnan(found).all(axis=1)
    result = np.full(len(p), np.nan)
    result[seen] = np.nanmin(found[seen], axis=1)
    return result


@lru_cache(maxsize=16)
def _tabulated(looks: tuple[int, ...], spending: Spending) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of family levels ``(n,)``, and of the level of each look under each of them ``(n, looks)``."""
    table = np.array([levels(alpha, looks, spending) for alpha in _GRID])
    return np.log(_GRID), np.log(np.maximum(table, 1e-300))


@lru_cache(maxsize=2)
def _nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(count)


def _crossing(edge: float, places: np.ndarray, density: np.ndarray, step: float, part: float) -> float:
    """Probability to be outside of ± ``edge`` after a normal step from where the paths are, less ``part``."""
    from scipy.special import ndtr

    return float(density @ (ndtr((places - edge) / step) + ndtr((-edge - places) / step))) - part


def _normal(values: np.ndarray, deviation: float) -> np.ndarray:
    """Density of the normal distribution around 0."""
    return np.exp(-0.5 * (values / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
