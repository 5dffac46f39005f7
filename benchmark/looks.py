"""The seeds that ``run --until-decided`` has added to a plan, and why: ``results/<plan>/looks.json``.

The file is written when the first look is declared and after every look. Reports read it: the added cells are cells of
the plan for them, and verdicts follow the rules of repeated looks instead of those of a single one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.files import atomic_write

from .claims import Claims, Spending
from .config import ConfigError, from_mapping

if TYPE_CHECKING:
    from .plan import Cell, Plan

FILE = "looks.json"


@dataclass(frozen=True)
class Looks:
    """Declared looks and what has come of them so far.

    Attributes:
        counts: numbers of seeds at which verdicts are looked at.
        seeds: all seeds in the order in which they are taken; look k has the first ``counts[k]``.
        spending: see `benchmark.claims.Claims`.
        alpha: error rate over all looks and all comparisons of an endpoint.
        added: ids of the cells that are not in the plan.
        history: per finished look its number of seeds, the error rate that may have been spent by then, and the
            comparisons that were open, decided, or could not be looked at; and ``unfinished``, ids of its cells that
            had failed by then (older files lack it).
    """

    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    spending: Spending = "obrien_fleming"
    alpha: float = 0.05
    added: tuple[str, ...] = ()
    history: tuple[dict[str, Any], ...] = ()

    def first(self, look: int) -> tuple[int, ...]:
        """The seeds of a look, 0 being the first."""
        return self.seeds[: self.counts[look]]

    @property
    def declared(self) -> tuple[Any, ...]:
        """What must not change once somebody has looked."""
        return (self.counts, self.seeds, self.spending, self.alpha)


def declare(plan: Plan) -> Looks:
    """The looks that a plan declares, else at its own number of seeds, once and a half, and twice as many.

    Raises:
        ConfigError: the plan has fewer than three seeds.
    """
    own = len(plan.seeds)
    chosen = plan.claims.looks or (own, -(-3 * own // 2), 2 * own)
    try:
        chosen = Claims(looks=chosen).looks
    except ValueError as error:
        raise ConfigError(f"plan {plan.name}: {error}") from error
    more = range(max(plan.seeds) + 1, max(plan.seeds) + 1 + chosen[-1] - own)
    return Looks(chosen, (*plan.seeds, *more), plan.claims.spending)


def read(folder: Path) -> Looks | None:
    """The looks of a plan from its results folder, None where nobody has run it until decided.

    Raises:
        ConfigError: the file is damaged.
    """
    path = folder / FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConfigError(
            f"{path} is damaged ({error}); it says which looks were declared: restore it, or move the plan's results"
        ) from error
    return from_mapping(Looks, raw, str(path))


def write(folder: Path, looks: Looks) -> None:
    """Write the looks, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / FILE, (json.dumps(asdict(looks), indent=1) + "\n").encode())


def cells_of(plan: Plan, folder: Path) -> list[Cell]:
    """The cells of a plan, then those that were added to it below ``folder``, in the order of the plan."""
    looks = read(folder)
    cells = list(plan.cells())
    if looks is None or not looks.added:
        return cells
    added = set(looks.added)
    return [*cells, *(cell for cell in further(plan, looks, len(looks.counts) - 1) if cell.id in added)]


def further(plan: Plan, looks: Looks, look: int) -> list[Cell]:
    """Every cell that the plan would have with the seeds of a look, less its own."""
    seeds = looks.first(look)[len(plan.seeds) :]
    return list(replace(plan, seeds=seeds).cells()) if seeds else []
