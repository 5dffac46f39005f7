"""Whether the statistics keep what they promise, by simulation: ``python -m benchmarks.statistics``.

Studies are made up of the variance components that the planner assumes (`benchmark.power.ASSUMED`: seeds, patients, and
the rest, of each method), judged by the very functions that reports use, and counted: verdicts that are wrong where
there is no difference, and differences that are found where there is one. Printed are shares of studies with their
simulation error; the table can be kept with ``--out``. Nothing is trained.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from math import sqrt
from pathlib import Path

import numpy as np
from scipy import stats

from benchmark import receipt
from benchmark.power import ASSUMED, Design, assumed
from benchmark.report.crossed import ALPHA, crossed, holm, pooled
from benchmark.report.sequential import sequential_p
from benchmark.report.verdicts import ENDPOINTS, verdict

DICE = ENDPOINTS[0]
METHODS = 9
"""Compared with one lower bound: the family of Holm's correction."""

BLOCK = 250
"""Studies held in memory at once."""


@dataclass(frozen=True)
class Share:
    """Of studies, with its standard error."""

    value: float
    studies: int

    def __str__(self) -> str:
        error = sqrt(max(self.value * (1 - self.value), 1 / self.studies) / self.studies)
        return f"{100 * self.value:.1f} ± {100 * error:.1f}"


def studies(
    share: float, *, seeds: int, patients: int, count: int, random: np.random.Generator, gains: Sequence[float] = ()
) -> np.ndarray:
    """Differences to the lower bound ``(count, methods, seeds, patients)`` on Dice's scale, methods drawn like it.

    Args:
        share: of labels, one of `ASSUMED`.
        seeds, patients: of each study.
        count: how many studies.
        random: source of all draws.
        gains: true differences in Dice points, one per method; (): `METHODS` times none.
    """
    true = np.asarray(gains or (0.0,) * METHODS)
    of_seed, of_patient, rest = ASSUMED[share]
    methods = len(true) + 1
    values = of_seed * random.normal(size=(count, methods, seeds, 1))
    values = values + of_patient * random.normal(size=(count, methods, 1, patients))
    values += rest * random.normal(size=(count, methods, seeds, patients))
    return (values[:, 1:] - values[:, :1] + true[:, None, None]) / 100


def verdicts_of(values: np.ndarray) -> np.ndarray:
    """The words of `studies`, ``(count, methods)``, each study a family of its own."""
    test = crossed(values)
    p = np.array([holm(family) for family in test.p_value()])
    return verdict(test, p, DICE)


def one_run(values: np.ndarray) -> np.ndarray:
    """The usual practice: p of Wilcoxon over the patients of the first seed, ``(count, methods)``."""
    return stats.wilcoxon(values[:, :, 0], axis=-1).pvalue


def without_difference(share: float, seeds: int, patients: int, count: int, random: np.random.Generator) -> list[Share]:
    """Shares of studies that are wrong: any "better" in a family, any verdict in it, one crossed test, one run."""
    better = decided = single = wilcoxon = 0.0
    for size in _blocks(count):
        values = studies(share, seeds=seeds, patients=patients, count=size, random=random)
        words = verdicts_of(values)
        better += (words == "better").any(axis=1).sum()
        decided += np.isin(words, ("better", "worse")).any(axis=1).sum()
        single += (crossed(values[:, 0]).p_value() < ALPHA).sum()
        wilcoxon += (one_run(values[:, :1]) < ALPHA).sum()
    return [Share(float(found) / count, count) for found in (better, decided, single, wilcoxon)]


def family_without_difference(
    share: float, seeds: int, family: int, count: int, random: np.random.Generator
) -> tuple[Share, Share]:
    """Shares of studies of 40 patients with any "better", and any verdict, among ``family`` without a difference."""
    better = decided = 0.0
    for size in _blocks(count):
        values = studies(share, seeds=seeds, patients=40, count=size, random=random, gains=(0.0,) * family)
        words = verdicts_of(values)
        better += (words == "better").any(axis=1).sum()
        decided += np.isin(words, ("better", "worse")).any(axis=1).sum()
    return Share(better / count, count), Share(decided / count, count)


def found_by(design: Design, share: float, difference: float, count: int, random: np.random.Generator) -> Share:
    """How often a difference (Dice points) of one method is called better at the design's level."""
    found = 0.0
    for size in _blocks(count):
        values = studies(
            share, seeds=design.seeds, patients=design.patients[0], count=size, random=random, gains=(difference,)
        )
        test = crossed(values[:, 0])
        found += ((test.p_value() < design.alpha) & (np.abs(test.mean) >= DICE.margin)).sum()
    return Share(float(found) / count, count)


def until_decided(
    share: float, looks: tuple[int, ...], patients: int, count: int, random: np.random.Generator, gains: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Families that stop each comparison once it is decided.

    Returns:
        Which comparisons ended as better ``(count, methods)``, with how many seeds each, and which were called better
        or worse at looks at 5 % each instead, without spending.
    """
    spent, used, naive = [], [], []
    for size in _blocks(count):
        values = studies(share, seeds=looks[-1], patients=patients, count=size, random=random, gains=gains)
        p = np.full((*values.shape[:2], len(looks)), np.nan)
        stopped = np.zeros(values.shape[:2], bool)
        seeds, words = np.zeros(stopped.shape), np.full(stopped.shape, "", dtype="<U13")
        fooled = np.zeros(stopped.shape, bool)
        for look, seen in enumerate(looks):
            test = crossed(values[:, :, :seen])
            fooled |= verdict(test, np.array([holm(family) for family in test.p_value()]), DICE) == "better"
            p[..., look] = np.where(stopped, np.nan, test.p_value())
            q = sequential_p(p.reshape(-1, len(looks)), looks).reshape(stopped.shape)
            now = verdict(test, np.array([holm(family) for family in q]), DICE)
            words = np.where(stopped, words, now)
            seeds = np.where(stopped, seeds, seen)
            stopped |= now != "not separable"
        spent.append(words == "better")
        used.append(seeds)
        naive.append(fooled)
    return np.concatenate(spent), np.concatenate(used), np.concatenate(naive)


def over_datasets(share: float, seeds: int, patients: int, count: int, random: np.random.Generator) -> list[Share]:
    """Mean of four datasets without a difference: wrong at 5 %, and intervals of 95 % that hold the truth."""
    wrong = held = 0.0
    for size in _blocks(count):
        parts = [
            crossed(studies(share, seeds=seeds, patients=patients, count=size, random=random, gains=(0.0,))[:, 0])
            for _ in range(4)
        ]
        test = pooled(parts)
        low, high = test.interval()
        wrong += (test.p_value() < ALPHA).sum()
        held += ((low <= 0) & (high >= 0)).sum()
    return [Share(float(found) / count, count) for found in (wrong, held)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000, help="of every setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder to write table.md to")
    options = parser.parse_args()
    lines = []
    for line in tables(options.studies, options.seed):
        print(line, flush=True)
        lines.append(line)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        head = ["# What the statistics keep of their promises", "", *_receipt(options.studies, options.seed), ""]
        (options.out / "table.md").write_text("\n".join([*head, *lines]) + "\n")
    return 0


def tables(count: int, seed: int) -> Iterator[str]:
    """The lines of all tables; each setting has draws of its own, so that any line can be repeated alone."""
    yield from _wrong(count, seed)
    yield from _families(count, seed)
    yield from _power(count, seed)
    yield from _overall(count, seed)
    yield from _looks(max(200, count // 4), seed)


def _wrong(count: int, seed: int) -> Iterator[str]:
    yield from _head(
        f"No difference: wrong studies (%), {METHODS} methods against one lower bound, of {count} each",
        ("labels", "seeds", "cases", "any “better”", "any verdict", "one crossed test", "Wilcoxon, one run"),
    )
    for share in ASSUMED:
        for seeds, patients in ((3, 40), (5, 20), (5, 40), (5, 100), (10, 40)):
            random = np.random.default_rng((seed, 1, int(100 * share), seeds, patients))
            found = without_difference(share, seeds, patients, count, random)
            yield _row(f"{100 * share:g} %", seeds, patients, *found)


def _families(count: int, seed: int) -> Iterator[str]:
    yield from _head(
        f"No difference, larger families: wrong studies (%) of 40 cases, of {count} each",
        ("labels", "seeds", "comparisons", "any “better”", "any verdict"),
    )
    for share in ASSUMED:
        for seeds in (3, 5, 10):
            for family in (21, 64):
                random = np.random.default_rng((seed, 5, int(100 * share), seeds, family))
                found = family_without_difference(share, seeds, family, count, random)
                yield _row(f"{100 * share:g} %", seeds, family, *found)


def _power(count: int, seed: int) -> Iterator[str]:
    yield from _head(
        f"A difference: found (%) and what the planner prints, at the strictest step of Holm over {METHODS}",
        ("labels", "seeds", "cases", "points", "found", "printed"),
    )
    for share in ASSUMED:
        for seeds, patients in ((3, 40), (5, 40), (10, 40), (10, 100)):
            design = Design((assumed(share),), (patients,), seeds, ALPHA / METHODS)
            for part in (0.5, 0.8):
                points = round(design.detectable(part), 2)
                random = np.random.default_rng((seed, 2, int(100 * share), seeds, patients, int(100 * part)))
                found = found_by(design, share, points, count, random)
                yield _row(f"{100 * share:g} %", seeds, patients, points, found, f"{100 * design.power(points):.1f}")


def _overall(count: int, seed: int) -> Iterator[str]:
    yield from _head(
        "Mean of four datasets without a difference (%)",
        ("labels", "seeds", "cases", "wrong", "95 % interval holds it"),
    )
    for share in ASSUMED:
        random = np.random.default_rng((seed, 3, int(100 * share)))
        yield _row(f"{100 * share:g} %", 5, 40, *over_datasets(share, 5, 40, count, random))


def _looks(count: int, seed: int) -> Iterator[str]:
    yield from _head(
        f"Until decided: {METHODS} methods, 40 cases, of {count} studies each",
        (
            "labels",
            "looks",
            "points",
            "families with a false “better” (%)",
            "without spending",
            "found (%)",
            "mean seeds",
        ),
    )
    for share in ASSUMED:
        for looks in ((5, 8, 10), (5, 10, 15, 20)):
            for points in (0.0, 4.0):
                gains = (points,) + (0.0,) * (METHODS - 1)
                random = np.random.default_rng((seed, 4, int(100 * share), looks[-1], int(points)))
                better, seeds, naive = until_decided(share, looks, 40, count, random, gains)
                null = slice(1, None) if points else slice(None)
                wrong = [Share(float(part[:, null].any(axis=1).mean()), count) for part in (better, naive)]
                found = Share(float(better[:, 0].mean()), count) if points else "–"
                mean = f"{seeds[:, 0].mean():.1f}" if points else f"{seeds.mean():.1f}"
                yield _row(f"{100 * share:g} %", "/".join(map(str, looks)), points, *wrong, found, mean)


def _blocks(count: int) -> Iterator[int]:
    yield from (min(BLOCK, count - start) for start in range(0, count, BLOCK))


def _head(title: str, columns: Sequence[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "", _row(*columns), _row(*["---"] * len(columns)))


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _receipt(count: int, seed: int) -> list[str]:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "scipy"))
    code = receipt.code()
    commit = f"{code['commit']}{' with uncommitted changes' if code['dirty'] else ''}"
    return [
        "Made by",
        "",
        "```",
        f"python -m benchmarks.statistics --studies {count} --seed {seed} --out results/reference/statistics",
        "```",
        "",
        f"with Python {platform.python_version()}, {versions}, commit {commit}. Variance components are assumed, not "
        "measured: standard deviations of one method between seeds, between patients, and of the rest, in Dice points, "
        f"are {'; '.join(f'{100 * share:g} % labels {values}' for share, values in ASSUMED.items())}.",
    ]


if __name__ == "__main__":
    sys.exit(main())
