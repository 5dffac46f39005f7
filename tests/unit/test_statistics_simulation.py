"""The promises of the statistics in simulation, small; `benchmarks/statistics.py` is the same in full."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.power import ASSUMED, Design, assumed
from benchmarks import statistics

STUDIES = 400


@pytest.mark.parametrize("share", ASSUMED)
@pytest.mark.parametrize("seeds", [5, 10])
def test_a_family_of_nine_without_a_difference_is_called_better_in_five_per_cent_at_most(
    share: float, seeds: int
) -> None:
    # promised: 5 %, and 2 points for the error of the simulation (its standard error is 1.1)
    random = np.random.default_rng((1, int(100 * share), seeds))
    better, decided, single, _ = statistics.without_difference(share, seeds, 40, STUDIES, random)
    assert better.value <= 0.05 + 0.02
    assert better.value < decided.value, "some false verdicts are “worse”"
    assert 0.02 <= single.value <= 0.09, "one crossed test: 4 to 7 %, ± 2 of the simulation"


def test_wilcoxon_on_one_run_takes_luck_for_a_difference_in_a_fifth_to_a_half_of_studies() -> None:
    # the specification's .51, .32 and .20 at 5, 10 and 20 % labels; ± 3 standard errors of 1200 studies are .044
    for share, expected in zip(ASSUMED, (0.51, 0.32, 0.20), strict=True):
        values = statistics.studies(
            share, seeds=5, patients=40, count=1200, random=np.random.default_rng(2), gains=(0.0,)
        )
        assert float((statistics.one_run(values) < 0.05).mean()) == pytest.approx(expected, abs=0.044)


@pytest.mark.parametrize("share", ASSUMED)
def test_power_is_what_the_planner_printed(share: float) -> None:
    # promised: ± 5 points; 1500 studies have a standard error of 1.0
    design = Design((assumed(share),), (40,), 5, 0.05 / statistics.METHODS)
    points = design.detectable()
    found = statistics.found_by(design, share, points, 1500, np.random.default_rng((3, int(100 * share))))
    assert found.value == pytest.approx(design.power(points), abs=0.05)
    assert design.power(points) == pytest.approx(0.8, abs=0.01)


def test_adding_seeds_until_decided_is_wrong_no_more_often_and_finds_more() -> None:
    random = np.random.default_rng(4)
    gains = (4.0, *(0.0,) * 8)
    better, seeds, naive = statistics.until_decided(0.1, (5, 8, 10), 40, STUDIES, random, gains)
    assert better[:, 1:].any(axis=1).mean() <= 0.05 + 0.02
    assert naive[:, 1:].any(axis=1).mean() > better[:, 1:].any(axis=1).mean()
    design = Design((assumed(0.1),), (40,), 5, 0.05 / 9)
    assert better[:, 0].mean() > design.power(4.0) + 0.1, "than five seeds alone"
    assert 5 < seeds[:, 0].mean() < 9 < seeds[:, 1:].mean(), "and stops where there is a difference"


def test_the_mean_of_four_datasets_keeps_its_level() -> None:
    wrong, held = statistics.over_datasets(0.1, 5, 40, 800, np.random.default_rng(5))
    assert 0.03 <= wrong.value <= 0.08
    assert held.value == pytest.approx(1 - wrong.value)


@pytest.mark.slow
def test_every_table_of_the_full_simulation_has_its_rows() -> None:
    lines = list(statistics.tables(20, 0))
    assert sum(line.startswith("## ") for line in lines) == 5
    assert sum(line.startswith(("| 5 %", "| 10 %", "| 20 %")) for line in lines) == 15 + 18 + 24 + 3 + 12
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert widths == {8, 7, 6}
