"""What a plan declares before its results are seen: against whom, and how often anybody looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Spending = Literal["obrien_fleming", "quadratic"]
"""How an error rate is spent over looks: next to nothing early and most at the end, as is usual; or with the square of
the share of seeds (Kim & DeMets 1987), which stops earlier and leaves a little less for the end."""


@dataclass(frozen=True)
class Claims:
    """Declared in a plan under ``claims:``.

    Attributes:
        baseline: name in the tables of the strongest rival that is known beforehand. Every other method is then also
            compared with it, as with its lower bound. "": the strongest rival is found in the results, and pays for
            that with a correction over all pairs of methods.
        looks: numbers of seeds at which ``run --until-decided`` looks at the verdicts; the first is the plan's own
            number of seeds, the last the most that it may come to. (): once and a half, and twice the plan's own.
        spending: how the error rate is spent over the looks, see `benchmark.report.sequential`.
    """

    baseline: str = ""
    looks: tuple[int, ...] = ()
    spending: Spending = "obrien_fleming"

    def __post_init__(self) -> None:
        if self.looks and (min(self.looks) < 3 or sorted(set(self.looks)) != list(self.looks)):
            raise ValueError(f"looks must rise and start at 3 seeds or more, such as [5, 7, 10], got {self.looks}")
