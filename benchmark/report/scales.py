"""Axes whose values span decades, with ticks that can be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def log_axis(axes: Any, axis: str) -> None:
    """A logarithmic axis with 1, 2 and 5 of every decade as plain numbers, as far as there is room for them."""
    getattr(axes, f"set_{axis}scale")("log")
    low, high = getattr(axes, f"get_{axis}lim")()
    ticks = [digit * 10.0**power for power in range(-4, 9) for digit in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    if len(shown) < 2:  # less than an octave: finer steps, and where these are too few as well even ones
        finer = [digit * 10.0**power for power in range(-4, 9) for digit in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)]
        shown = [tick for tick in finer if low <= tick <= high]
        shown = shown if len(shown) > 1 else [float(f"{tick:.3g}") for tick in np.linspace(low, high, 5)[1:-1]]
    if len(shown) > 7:
        shown = [tick for tick in shown if f"{tick:e}".startswith("1")]
    getattr(axes, f"set_{axis}ticks")(shown, [f"{tick:g}" for tick in shown], minor=False)
    getattr(axes, f"set_{axis}ticks")([], minor=True)


def log_if_wide(axes: Any, values: pd.Series, *, axis: str = "y") -> None:
    """Distances span decades once an organ is missed; zero, a perfect surface, needs a linear part."""
    known = values[np.isfinite(values) & (values > 0)]
    if len(known) and known.max() > 12 * max(known.quantile(0.25), 1e-9):
        getattr(axes, f"set_{axis}scale")("symlog", linthresh=max(float(known.quantile(0.05)), 1e-3))
        ticks = [0, *(digit * 10.0**power for power in range(-2, 5) for digit in (1, 2, 5))]
        low, high = getattr(axes, f"get_{axis}lim")()
        shown = [tick for tick in ticks if max(low, 0) <= tick <= high and (not tick or tick >= known.quantile(0.05))]
        getattr(axes, f"set_{axis}ticks")(shown, [f"{tick:g}" for tick in shown], minor=False)
        getattr(axes, f"set_{axis}ticks")([], minor=True)
