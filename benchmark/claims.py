"""What a plan declares before its results are seen: against whom, and how often anybody looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .config import nearest

if TYPE_CHECKING:
    from .plan import Cell

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


def refuse_unclear(claims: Claims, cells: Sequence[Cell], seeds: int) -> None:
    """Check claims against the cells of their plan.

    Raises:
        ValueError: no method, or several, of the baseline's name; or a first look at another number of seeds than the
            plan's own.
    """
    if claims.looks and claims.looks[0] != seeds:
        raise ValueError(f"claims.looks must start at the plan's own {seeds} seeds, got {list(claims.looks)}")
    if claims.baseline:
        mine = [cell for cell in cells if cell.label == claims.baseline and cell.role == "method"]
        if not mine:
            hint = nearest(claims.baseline, sorted({cell.label for cell in cells if cell.role == "method"}))
            raise ValueError(f"claims.baseline: no method is called {claims.baseline!r}{hint}")
        if len({cell.id for cell in mine}) > len({(c.dataset, str(c.options), c.amount, c.seed, c.fold) for c in mine}):
            raise ValueError(f"claims.baseline: several methods are called {claims.baseline!r}; give them labels")
