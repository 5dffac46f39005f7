"""How many seeds and patients a question needs: before a plan is run, or from what its first seeds have shown.

The crossed test is simulated from the exact distributions of its mean squares (independent χ² variables, and a normal
mean), so that what is printed is the power of that very test, floor and degrees of freedom included, and not of an
approximation to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log, sqrt

import numpy as np
from rich.console import Console

from .plan import Plan
from .prepare import Places, open_dataset
from .report import frame, summary, verdict_tables, verdicts
from .report.components import DIFFERENCE, decomposition
from .report.crossed import ALPHA, FEWEST_PATIENTS, FEWEST_SEEDS, POWER, MeanSquares, standard_error, t_quantile

ASSUMED = {0.05: (2.0, 2.5, 3.5), 0.1: (1.0, 2.0, 3.0), 0.2: (0.5, 1.5, 2.5)}
"""Share of labels -> standard deviation between seeds, between patients, and of the rest, of *one* method in Dice
points. Assumed, not measured; a paired difference of two methods has √2 times each."""

ASSUMED_PATIENTS = 40
FEW_SEEDS = 5
"""A variance measured from fewer says little."""

DRAWS = 20_000
MOST_SEEDS, MOST_PATIENTS = 100, 2000
"""Where the search for enough of either ends."""

MARGIN = 100 * verdicts.ENDPOINTS[0].margin


@dataclass(frozen=True)
class Variance:
    """Standard deviations of a paired difference in Dice points, and where they come from."""

    seed: float
    patient: float
    residual: float
    source: str = ""


@dataclass(frozen=True)
class Design:
    """What is compared: independent datasets, each with its variance, on so many seeds and patients.

    ``alpha`` is the two-sided level of the one comparison, after any correction.
    """

    variances: tuple[Variance, ...]
    patients: tuple[int, ...]
    seeds: int
    alpha: float = ALPHA

    def power(self, difference: float) -> float:
        """Share of studies in which a true difference (Dice points) is found, and is found to be worth having."""
        mean, critical = self._studies
        return float((np.abs(mean + difference) >= critical).mean())

    def detectable(self, power: float = POWER) -> float:
        """The smallest true difference in Dice points that is found in a share ``power`` of studies."""
        low, high = 0.0, 1.0
        while self.power(high) < power:
            low, high = high, 2 * high
        while high - low > 1e-3:
            middle = (low + high) / 2
            low, high = (low, middle) if self.power(middle) >= power else (middle, high)
        return high

    @property
    def _studies(self) -> tuple[np.ndarray, np.ndarray]:
        return _simulated(self)


@lru_cache(maxsize=256)
def _simulated(design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Errors of the mean difference in many studies, and how large a mean has to be in each to be believed."""
    random = np.random.default_rng(0)
    error, variance, noise = np.zeros(DRAWS), np.zeros(DRAWS), np.zeros(DRAWS)
    seeds, count = design.seeds, len(design.variances)
    for each, patients in zip(design.variances, design.patients, strict=True):
        rest = each.residual**2
        expected = (patients * each.seed**2 + rest, seeds * each.patient**2 + rest, rest)
        freedom = (seeds - 1, patients - 1, (seeds - 1) * (patients - 1))
        squares = MeanSquares(
            *(value * random.chisquare(df, DRAWS) / df for value, df in zip(expected, freedom, strict=True))
        )
        se, df = standard_error(squares, seeds, patients)
        variance += se**2
        noise += se**4 / df
        true = sqrt(each.seed**2 / seeds + each.patient**2 / patients + rest / (seeds * patients))
        error += true * random.standard_normal(DRAWS)
    df = np.divide(variance**2, noise, out=np.full(DRAWS, seeds - 1.0), where=noise > 0)
    critical = np.sqrt(variance) / count * t_quantile(1 - design.alpha / 2, df)
    return error / count, np.maximum(critical, MARGIN)


def seeds_needed(design: Design, difference: float, power: float = POWER) -> int | None:
    """The fewest seeds that find a difference; None where `MOST_SEEDS` do not."""
    counts = range(FEWEST_SEEDS, MOST_SEEDS + 1)
    return _first(counts, lambda seeds: replace(design, seeds=seeds).power(difference) >= power)


def patients_needed(design: Design, difference: float, power: float = POWER) -> int | None:
    """The fewest test patients per dataset that find a difference with the design's seeds; None: no number does."""
    counts, datasets = range(3, MOST_PATIENTS + 1), len(design.patients)
    return _first(counts, lambda n: replace(design, patients=(n,) * datasets).power(difference) >= power)


@dataclass(frozen=True)
class Line:
    """One column of a plan: what its design can find."""

    dataset: str
    amount: str
    design: Design
    patients_source: str
    family: int
    """How many comparisons of the plan share the error rate."""


def lines(plan: Plan, places: Places) -> list[Line]:
    """One line per dataset and amount that has something to compare, with the strictest step of Holm's correction."""
    results = frame.load(places.results / plan.name, plan)
    by_class = summary.class_values(results, metrics=("dice", "hd95"), selection=summary.HEADLINE)
    designs = verdicts.designs(results, summary.patient_values(by_class))
    measured = {
        (row.dataset, row.amount): row
        for row in decomposition(results, designs).itertuples()
        if row.of == DIFFERENCE and row.endpoint == verdicts.ENDPOINTS[0].name
    }
    pairs = list(verdicts.comparisons(results))
    columns = {(key[2], key[3]): None for key, _, _ in pairs}
    made = []
    for dataset, amount in columns:
        row = measured.get((dataset, amount))
        level = results.cells[(results.cells["dataset"] == dataset) & (results.cells["amount"] == amount)].iloc[0]
        if row is not None:
            source = f"measured: {row.tables} comparisons, {row.seeds} seeds, {row.patients} patients"
            source += ", few seeds to go by" if row.seeds < FEW_SEEDS else ""
            variance = Variance(100 * row.sd_seed, 100 * row.sd_patient, 100 * row.sd_residual, source)
        else:
            variance = assumed(level["level"] if level["is_share"] else None)
        patients, told = _patients(results, plan, places, dataset, amount)
        alpha = ALPHA / max(len(pairs), 1)
        made.append(Line(dataset, amount, Design((variance,), (patients,), len(plan.seeds), alpha), told, len(pairs)))
    return made


def together(found: Sequence[Line]) -> list[Line]:
    """One line per amount that several datasets have: the mean over them, corrected over the methods alone."""
    made = []
    for amount in dict.fromkeys(line.amount for line in found):
        mine = [line for line in found if line.amount == amount]
        if len(mine) > 1:
            methods = max(1, round(mine[0].family / len(found)))
            variances = tuple(line.design.variances[0] for line in mine)
            patients = tuple(line.design.patients[0] for line in mine)
            design = Design(variances, patients, mine[0].design.seeds, ALPHA / methods)
            made.append(Line(f"mean of {len(mine)} datasets", amount, design, "", methods))
    return made


def assumed(share: float | None) -> Variance:
    """What is assumed of a share of labels: that of the nearest share known, by ratio; None: 10 %."""
    nearest = min(ASSUMED, key=lambda known: abs(log(known / share))) if share else 0.1
    seed, patient, residual = (sqrt(2) * value for value in ASSUMED[nearest])
    return Variance(seed, patient, residual, f"assumed, not measured, as for {100 * nearest:g} % labels")


def tell(plan: Plan, found: Sequence[Line], difference: float, console: Console) -> None:
    """Print what a plan can find, and everything that this assumes."""
    rows: list[tuple[str, ...]] = [("dataset", "labelled", "SD", "cases", "MDE", "Holm", "power", "needs")]
    rows += [_cells(line, difference, len(plan.seeds)) for line in (*found, *together(found))]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    console.print(f"{plan.name}: {len(plan.seeds)} seeds, to find {difference:g} Dice points", style="bold")
    for row in rows:
        text = "  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True))
        console.print(text.rstrip(), soft_wrap=True)
    for sentence in assumptions(plan, found, difference):
        console.print(f"- {sentence}", markup=False, soft_wrap=True)


def assumptions(plan: Plan, found: Sequence[Line], difference: float) -> list[str]:
    """What the numbers rest on, in sentences."""
    made = [
        "SD: of a paired difference to the lower bound, between seeds/between patients/rest, in Dice points.",
        f"MDE: the smallest true difference that {len(plan.seeds)} seeds find in {100 * POWER:.0f} % of studies, by "
        f"one comparison; Holm: at the strictest step of the correction over the {found[0].family} comparisons of the "
        "plan (a mean of datasets: over the methods).",
        f"Power: to find {difference:g} Dice points, with Holm. Needs: what would find them in {100 * POWER:.0f} % of "
        "studies, seeds or cases (patients) alone, or both where neither does.",
        f"Found means p < {ALPHA:g} in the crossed test and at least {MARGIN:g} points seen.",
    ]
    for line in found:
        source = line.design.variances[0].source
        made.append(f"{line.dataset} {line.amount}: SD {source}; cases {line.patients_source}.")
        if (cases := line.design.patients[0]) < FEWEST_PATIENTS:
            made.append(
                f"{line.dataset} {line.amount}: {cases} test case(s) support no verdict; {FEWEST_PATIENTS} are the "
                "least: test more patients, or plan more folds."
            )
    if len(plan.seeds) < FEWEST_SEEDS:
        made.append(f"{len(plan.seeds)} seeds support no verdict; {FEWEST_SEEDS} are the least, 5 to 10 are advised.")
    return made


def _cells(line: Line, difference: float, seeds: int) -> tuple[str, ...]:
    """One row of the table."""
    design = line.design
    enough = seeds >= FEWEST_SEEDS and min(design.patients) >= FEWEST_PATIENTS
    spread = design.variances[0]
    return (
        line.dataset,
        line.amount,
        f"{spread.seed:.1f}/{spread.patient:.1f}/{spread.residual:.1f}" if len(design.variances) == 1 else "",
        "+".join(map(str, design.patients)),
        _least(replace(design, alpha=ALPHA)) if enough else "–",
        _least(design) if enough else "–",
        f"{100 * design.power(difference):.0f} %" if enough else "–",
        _needs(design, difference),
    )


def _least(design: Design) -> str:
    """The MDE as reports print it."""
    return verdict_tables.least(design.detectable() / 100, verdicts.ENDPOINTS[0])


def _needs(design: Design, difference: float) -> str:
    """More seeds, more cases, or more of both, whatever is enough."""
    seeds = seeds_needed(design, difference) if min(design.patients) >= FEWEST_PATIENTS else None
    cases = patients_needed(design, difference) if design.seeds >= FEWEST_SEEDS else None
    alone = [f"{count} {what}" for count, what in ((seeds, "seeds"), (cases, "cases")) if count is not None]
    if alone:
        return " or ".join(alone)
    both = [(n, patients_needed(replace(design, seeds=n), difference)) for n in (5, 10, 20, 50)]
    pairs = [(n * needed, n, needed) for n, needed in both if needed is not None]
    return f"{min(pairs)[1]} seeds and {min(pairs)[2]} cases" if pairs else f"over {MOST_SEEDS} seeds"


def _patients(results: frame.Results, plan: Plan, places: Places, dataset: str, amount: str) -> tuple[int, str]:
    """How many patients test, all folds of a seed together, and how that is known."""
    cells = results.cells[(results.cells["dataset"] == dataset) & (results.cells["amount"] == amount)]
    splits = {
        row.fold: results.records[row.id].split["test_groups"]
        for row in cells.itertuples()
        if row.id in results.records and results.records[row.id].split
    }
    folds = sorted(set(cells["fold"]))
    if len(splits) == len(folds):
        return sum(splits.values()), "from the records"
    from datasets.base import MissingData

    first = {cell.id: cell for cell in plan.cells()}[cells.iloc[0]["id"]]
    try:
        opened = open_dataset(first, places)
        return len({group for fold in folds for group in opened.partition(fold).test}), "from the dataset"
    except MissingData:
        if splits:
            each = sum(splits.values()) / len(splits)
            return round(each * len(folds)), f"estimated from the records of {len(splits)} of {len(folds)} folds"
        return ASSUMED_PATIENTS, "assumed: the dataset is not here"


def _first(counts: range, enough: Callable[[int], bool]) -> int | None:
    """The first count that is enough, by bisection; None where the last is not."""
    low, high = 0, len(counts) - 1
    if not enough(counts[high]):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(counts[middle]) else (middle + 1, high)
    return counts[low]
