"""What this machine can do at most, measured: products of matrices, and copies."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmark.device import pick

_GIGA = 1e9
_CALLS, _ENOUGH_SECONDS = 6, 4.0


class Ceilings:
    """Measures this machine, in a process with the environment of ours."""

    def product(self, dtype: str, side: int) -> float:
        """GFLOP/s of a product of two square matrices."""
        a, b = (torch.randn(side, side, device=pick(), dtype=getattr(torch, dtype)) for _ in range(2))
        return 2 * side**3 / _fastest(lambda: torch.mm(a, b)) / _GIGA

    def copy(self, mib: int) -> float:
        """GB/s, read and written, of a copy."""
        source = torch.ones(mib * 2**18, device=pick())
        target = torch.empty_like(source)
        return 2 * source.nbytes / _fastest(lambda: target.copy_(source)) / _GIGA


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of several calls, the first of which does not count, unless calls take long."""
    seconds: list[float] = []
    while len(seconds) < _CALLS and sum(seconds) < _ENOUGH_SECONDS:
        began = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:] or seconds)
