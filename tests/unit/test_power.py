"""The planner: the printed table of the protocol, and the power that it prints, by simulation of whole tables."""

from __future__ import annotations

import io
from dataclasses import replace
from math import sqrt
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from benchmark import power, record, session
from benchmark.config import ConfigError
from benchmark.power import Design, Line, Variance, assumed, patients_needed, seeds_needed
from benchmark.report.crossed import crossed
from benchmark.run import describe
from tests.unit.report_records import score

from .test_until_decided import Simulated
from .tiny_cells import places_in, tiny_plan

TEN = assumed(0.1)


def simulated_power(design: Design, difference: float, repeats: int = 1500) -> float:
    """Share of simulated tables in which the crossed test finds the difference, at least the margin of it."""
    (each,), (patients,) = design.variances, design.patients
    random = np.random.default_rng(3)
    shape = (repeats, design.seeds, patients)
    values = difference + each.seed * random.normal(size=(*shape[:2], 1))
    values = (
        values + each.patient * random.normal(size=(repeats, 1, patients)) + each.residual * random.normal(size=shape)
    )
    test = crossed(values)
    return float(((test.p_value() < design.alpha) & (np.abs(test.mean) >= power.MARGIN)).mean())


@pytest.mark.parametrize(
    ("share", "patients", "seeds", "one", "four", "nine"),
    [
        # the protocol's own table of smallest detectable differences: one dataset, mean of four, Holm over nine. It
        # takes the standard error for known, which three seeds are too few for: from five on it holds to .4 points
        (0.05, 40, 5, 4.9, 2.1, 7.6),
        (0.05, 40, 10, 3.2, 1.5, 4.4),
        (0.1, 20, 10, 2.4, 1.2, 3.3),
        (0.1, 40, 5, 2.7, 1.2, 3.9),
        (0.1, 100, 20, 1.2, 0.6, 1.6),
        (0.2, 40, 10, 1.3, 0.6, 1.7),
    ],
)
def test_smallest_differences_are_those_of_the_protocol(
    share: float, patients: int, seeds: int, one: float, four: float, nine: float
) -> None:
    each = assumed(share)
    assert Design((each,), (patients,), seeds).detectable() == pytest.approx(one, abs=0.15)
    assert Design((each,) * 4, (patients,) * 4, seeds).detectable() == pytest.approx(four, abs=0.1)
    assert Design((each,), (patients,), seeds, 0.05 / 9).detectable() == pytest.approx(nine, rel=0.1)


@pytest.mark.parametrize(
    ("share", "seeds", "patients", "alpha", "difference"),
    [(0.05, 5, 40, 0.05, 5.0), (0.1, 3, 20, 0.05, 4.0), (0.1, 8, 30, 0.05 / 9, 3.0), (0.2, 5, 40, 0.01, 1.0)],
)
def test_printed_power_is_the_power_of_the_test(
    share: float, seeds: int, patients: int, alpha: float, difference: float
) -> None:
    # ± 5 points are promised; 1500 repeats are known to ± 3.9 (3 standard errors)
    design = Design((assumed(share),), (patients,), seeds, alpha)
    assert simulated_power(design, difference) == pytest.approx(design.power(difference), abs=0.05)


def test_enough_seeds_are_enough_and_one_fewer_is_not() -> None:
    design = Design((TEN,), (40,), 5)
    needed = seeds_needed(design, 2.0)
    assert needed is not None
    assert replace(design, seeds=needed).power(2.0) >= 0.8 > replace(design, seeds=needed - 1).power(2.0)
    cases = patients_needed(replace(design, seeds=20), 1.5)
    assert cases is not None
    assert replace(design, seeds=20, patients=(cases,)).power(1.5) >= 0.8


def test_no_number_of_cases_makes_up_for_too_few_seeds() -> None:
    # "more test cases do not help at S = 3"
    assert patients_needed(Design((TEN,), (40,), 3), 2.0) is None


def test_a_difference_below_the_margin_is_never_found_often() -> None:
    precise = Variance(0.01, 0.01, 0.01)
    assert Design((precise,), (40,), 10).power(0.4) == 0.0
    assert Design((precise,), (40,), 10).power(0.6) == 1.0


def test_without_a_difference_power_is_the_error_rate() -> None:
    # the crossed test itself is wrong in 4 to 7 %
    assert Design((TEN,), (40,), 5).power(0.0) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(("share", "nearest"), [(0.01, 5), (0.05, 5), (0.08, 10), (0.5, 20), (None, 10)])
def test_unknown_shares_borrow_from_the_nearest_and_say_so(share: float | None, nearest: int) -> None:
    found = assumed(share)
    assert found.source == f"assumed, not measured, as for {nearest} % labels"
    assert found.seed == pytest.approx(sqrt(2) * power.ASSUMED[nearest / 100][0])


def told(plan, results: Path, difference: float = 1.0) -> str:  # type: ignore[no-untyped-def]
    console = Console(file=io.StringIO(), width=80, color_system=None)
    power.tell(plan, power.lines(plan, places_in(results)), difference, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_before_the_first_cell_the_plan_is_judged_by_assumptions(tmp_path: Path) -> None:
    plan = tiny_plan(methods=["cps", "mean_teacher"], bounds=True, seeds=5, ratios=[0.34])
    (line,) = power.lines(plan, places_in(tmp_path))
    assert (line.design.patients, line.patients_source) == ((2,), "from the dataset")
    assert (line.family, line.design.alpha) == (2, 0.025)
    text = told(plan, tmp_path)
    assert "phantom_2d 34%: SD assumed, not measured, as for 20 % labels; cases from the dataset." in text
    assert "over the 2 comparisons of the plan" in text


def test_after_some_seeds_it_is_judged_by_what_they_show(tmp_path: Path) -> None:
    # the records' differences: seeds ± 1 (mean_teacher) and ± .14 points (cps), rest .14; no patient is hard
    plan = tiny_plan(methods=["cps", "mean_teacher"], bounds=True, seeds=12)
    Simulated(tmp_path / "results" / "tiny")(list(plan.cells()))
    (line,) = power.lines(plan, places_in(tmp_path))
    (each,) = line.design.variances
    assert each.source == "measured: 2 comparisons, 12 seeds, 8 patients"
    assert each.seed == pytest.approx(sqrt((1 + 0.1**2 + 2 * 0.1**2) / 2), rel=0.4)
    assert each.residual == pytest.approx(0.1 * sqrt(2), rel=0.2)
    assert each.patient < 0.1


def test_a_variance_of_three_seeds_is_called_little_to_go_by(tmp_path: Path) -> None:
    plan = tiny_plan(methods=["cps"], bounds=True, seeds=3)
    Simulated(tmp_path / "results" / "tiny")(list(plan.cells()))
    (line,) = power.lines(plan, places_in(tmp_path))
    assert line.design.variances[0].source.endswith("3 seeds, 8 patients, few seeds to go by")


def test_with_one_test_patient_nothing_is_found_and_the_planner_says_why(tmp_path: Path) -> None:
    few = {"name": "phantom_2d", "options": {"patients": 5}}  # the third alone tests
    plan = tiny_plan(methods=["cps"], bounds=True, seeds=5, ratios=[0.5], datasets=[few])
    (line,) = power.lines(plan, places_in(tmp_path))
    *_, cases, mde, holm, share, needs = power._cells(line, 3.0, 5)
    assert (cases, mde, holm, share) == ("1", "–", "–", "–")
    assert needs.endswith(" cases")
    assert "seeds" not in needs
    text = told(plan, tmp_path)
    assert "phantom_2d 50%: 1 test case(s) support no verdict; 3 are the least: test more patients, or plan" in text


def test_an_mde_of_more_points_than_dice_has_is_not_printed() -> None:
    wild = Line("heart", "5%", Design((Variance(60.0, 5.0, 5.0),), (40,), 3, 0.05 / 9), "made up", 9)
    assert wild.design.detectable() > 100
    assert power._cells(wild, 1.0, 3)[5] == "> 100"


def test_datasets_are_taken_together_where_they_have_an_amount_in_common(tmp_path: Path) -> None:
    plan = tiny_plan(
        methods=["cps"], bounds=True, seeds=5, ratios=[0.5],
        datasets=[{"name": name, "options": {"patients": 6}} for name in ("phantom_2d", "phantom_3d")],
        training={"patch": None},
    )  # fmt: skip
    found = power.lines(plan, places_in(tmp_path))
    (both,) = power.together(found)
    assert (both.dataset, both.family, len(both.design.variances)) == ("mean of 2 datasets", 1, 2)
    assert both.design.detectable() < min(line.design.detectable() for line in found)


def _one_cell_of_fold(plan, results: Path, *folds: int) -> None:  # type: ignore[no-untyped-def]
    """Records of some folds of the first seed, which tested 20 patients each."""
    for cell in plan.cells():
        if cell.fold in folds and cell.seed == 0:
            made = record.Record(cell.id, describe(cell), "finished", split={"test_groups": 20})
            record.write(results / plan.name / cell.id, made, [score(f"fold {cell.fold}")])


def test_patients_are_counted_from_records_once_every_fold_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"name": "acdc", "folds": [1, 2, 3, 4, 5]}
    plan = tiny_plan(methods=["cps"], bounds=True, seeds=3, datasets=[entry], training={"patch": [64, 64]})
    places = places_in(tmp_path)
    _one_cell_of_fold(plan, places.results, 1)
    # the dataset is not here: five folds like the one that is known
    (line,) = power.lines(plan, places)
    assert (line.design.patients, line.patients_source) == ((100,), "estimated from the records of 1 of 5 folds")
    with monkeypatch.context() as here:
        # folds of 10 and 20 patients: not five times those of the one that has run
        test = {fold: tuple(f"{fold}-{i}" for i in range(10 if fold < 5 else 20)) for fold in range(1, 6)}
        opened = SimpleNamespace(partition=lambda fold: SimpleNamespace(test=test[fold]))
        here.setattr(power, "open_dataset", lambda cell, places: opened)
        (line,) = power.lines(plan, places)
        assert (line.design.patients, line.patients_source) == ((60,), "from the dataset")
    _one_cell_of_fold(plan, places.results, 2, 3, 4, 5)
    (line,) = power.lines(plan, places)
    assert (line.design.patients, line.patients_source) == ((100,), "from the records")


def test_two_seeds_support_nothing_and_the_planner_says_so(tmp_path: Path) -> None:
    text = told(tiny_plan(methods=["cps"], bounds=True, seeds=2), tmp_path)
    assert "2 seeds support no verdict; 3 are the least" in text


def test_a_plan_without_bounds_compares_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.plan_file, "load", lambda name: tiny_plan())
    with pytest.raises(ConfigError, match="compares nothing: it has no lower bound"):
        session.tell_power("tiny", 1.0, data=None, results=str(tmp_path), console=Console(file=io.StringIO()))
