"""Schedules of loss weights: functions of progress in [0, 1], never of steps or epochs."""

from __future__ import annotations

import math

from .following import follows


@follows
def ramp_up(progress: float, until: float = 1.0) -> float:
    """Gaussian ramp ``exp(-5 (1 - progress / until)²)``: 0.0067 at 0, 1 from ``until`` on.

    Laine and Aila, ICLR 2017 (arXiv:1610.02242). Published codes count in units of 150 iterations: 200 units of a run
    of 30 000, or 40 of 6000, both are ``until = 1``. The staircase of these units is left out.

    Args:
        progress: share of training done, in [0, 1].
        until: share of training at which the ramp ends; 0 = no ramp.

    >>> ramp_up(1.0), ramp_up(0.3, until=0.0)
    (1.0, 1.0)
    """
    if until <= 0:
        return 1.0
    return math.exp(-5 * (1 - min(max(progress, 0.0), until) / until) ** 2)


@follows
def rise(progress: float, start: float, until: float) -> float:
    """0 up to ``start``, 1 from ``until`` on, a straight line in between; shares of training, in [0, 1].

    >>> rise(0.25, 0.25, 0.75), rise(0.5, 0.25, 0.75), rise(0.75, 0.25, 0.75), rise(0.0, 0.0, 0.0)
    (0.0, 0.5, 1.0, 1.0)
    """
    return 1.0 if progress >= until else max(0.0, (progress - start) / (until - start))
