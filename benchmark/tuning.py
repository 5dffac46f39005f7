"""The budget of tuning that a plan gives every method, equal for all."""

from __future__ import annotations

from dataclasses import dataclass

MOST_DIMENSIONS = 3
"""Hyper-parameters tuned at once where a plan does not say how many, unless some method of it has fewer."""


@dataclass(frozen=True)
class Tuning:
    """The tuning budget, equal for every method.

    Attributes:
        trials: settings tried per method, dataset and fold, the default among them.
        steps: optimiser steps per trial; None = the plan's.
        dimensions: hyper-parameters tuned at once; None = as many as every method of the plan has, at most
            `MOST_DIMENSIONS`. A number that some method of the plan does not reach is refused.
        rungs: how often validation Dice is measured per trial; a trial below the median there is ended.
        seed: of the sampler, and of the trials' cells (offset, so that no cell of the plan shares it).
    """

    trials: int = 8
    steps: int | None = None
    dimensions: int | None = None
    rungs: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("trials", 1), ("steps", 1), ("dimensions", 1), ("rungs", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"tuning.{name} must be {low} or more, got {value}")
