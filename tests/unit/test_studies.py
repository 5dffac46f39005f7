"""What is tuned: the same number of dimensions for every method, the plan's own setting among them."""

from __future__ import annotations

from typing import Any

import pytest

import methods
from benchmark import plan_file
from benchmark.plan import Plan
from benchmark.preflight import NotReady
from benchmark.studies import SEED_OFFSET, SHARED, Study, studies, tuned_plan
from methods.hyper import Range, space

from .tiny_cells import PHANTOM, tiny_plan


def of(plan: Plan) -> dict[str, Study]:
    return {study.name: study for study in studies(plan)}


def some_plan(**changes: Any) -> Plan:
    given = {"methods": ["mean_teacher", "pce"], "ratios": [0.67, 0.34], "seeds": 2, "bounds": True}
    return tiny_plan(**given | changes)


def test_there_is_one_study_per_method_and_dataset_at_the_smallest_amount_and_the_upper_bound_is_not_tuned() -> None:
    found = of(some_plan())
    assert sorted(found) == ["mean_teacher-phantom_2d", "pce-phantom_2d", "supervised-phantom_2d"]
    assert {study.cell.ratio for study in found.values()} == {0.34}


def test_trials_never_share_a_seed_with_cells_that_are_reported() -> None:
    plan = some_plan(tuning={"seed": 3})
    assert {study.cell.seed for study in studies(plan)} == {SEED_OFFSET + 3}
    assert not {study.cell.id for study in studies(plan)} & {cell.id for cell in plan.cells()}


def test_trials_have_the_budgets_steps_and_rungs() -> None:
    (first, *_) = studies(some_plan(tuning={"steps": 9, "rungs": 5}))
    assert (first.cell.training.steps, first.cell.training.validations) == (9, 5)
    (first, *_) = studies(some_plan())
    assert first.cell.training.steps == 4  # the plan's own


@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_every_method_is_tuned_in_equally_many_dimensions(wanted: int) -> None:
    plan = some_plan(methods=[n for n in methods.names() if 2 in methods.get(n).ndims], tuning={"dimensions": wanted})
    assert {len(study.dimensions) for study in studies(plan)} == {wanted}


def test_the_learning_rate_comes_first_then_the_methods_own_then_what_all_share() -> None:
    found = of(some_plan(tuning={"dimensions": 3}))
    own = [f"hyper.{name}" for name in space(methods.get("mean_teacher").Hyper)]
    assert list(found["mean_teacher-phantom_2d"].dimensions) == ["training.lr", *own[:2]]
    assert list(found["supervised-phantom_2d"].dimensions) == [
        "training.lr", "training.weight_decay", "training.momentum",
    ]  # fmt: skip


def test_adam_has_no_momentum_to_tune() -> None:
    (study,) = studies(tiny_plan(training={"optimizer": "adam"}, tuning={"dimensions": 2}))
    assert list(study.dimensions) == ["training.lr", "training.weight_decay"]


def test_more_dimensions_than_a_method_has_are_refused_for_all() -> None:
    with pytest.raises(NotReady, match=r"supervised has 3 tunable dimensions, tuning.dimensions asks for 4 of every"):
        studies(tiny_plan(tuning={"dimensions": 4}))


def test_tuning_without_validation_cases_is_refused() -> None:
    with pytest.raises(NotReady, match=r"supervised-phantom_2d: tuning needs validation cases; set training.val_share"):
        studies(tiny_plan(training={"val_share": 0}))


# The default ---------------------------------------------------------------------------------------------------------
def test_the_default_is_what_the_plan_says() -> None:
    plan = tiny_plan(methods=[{"name": "mean_teacher", "hyper": {"weight": 7.0}}], training={"lr": 0.05})
    (study,) = studies(plan)
    assert study.default["training.lr"] == 0.05
    assert study.default["hyper.weight"] == 7.0
    assert study.at(study.default) == study.cell


def test_a_plans_setting_outside_the_search_range_widens_it() -> None:
    (study,) = studies(tiny_plan(training={"lr": 0.5, "momentum": 0.5}, tuning={"dimensions": 3}))
    low = SHARED["lr"].low
    assert study.dimensions["training.lr"] == Range(low, 0.5, log=True)
    assert study.dimensions["training.momentum"] == Range(0.5, SHARED["momentum"].high)
    assert all(searched.holds(study.default[key]) for key, searched in study.dimensions.items())


def test_a_zero_that_no_logarithm_reaches_is_left_as_it_is() -> None:
    (study,) = studies(tiny_plan(training={"weight_decay": 0}, tuning={"dimensions": 2}))
    assert list(study.dimensions) == ["training.lr", "training.momentum"]


def test_other_settings_make_another_cell() -> None:
    (study,) = studies(tiny_plan(methods=["mean_teacher"]))
    cell = study.at({"training.lr": 0.2, "hyper.weight": 3.0})
    assert (cell.training.lr, cell.hyper.weight, cell.hyper.ema_limit) == (0.2, 3.0, study.cell.hyper.ema_limit)
    assert cell.id != study.cell.id


# Identity ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "changes",
    [{"tuning": {"steps": 9}}, {"tuning": {"dimensions": 2}}, {"tuning": {"seed": 1}}, {"training": {"lr": 0.02}}],
    ids=str,
)
def test_trials_of_another_budget_or_setting_belong_to_another_study(changes: dict[str, Any]) -> None:
    (study,), (other,) = studies(tiny_plan()), studies(tiny_plan(**changes))
    assert study.name == other.name
    assert study.id != other.id


def test_more_trials_go_on_with_the_same_study() -> None:
    (study,), (more,) = studies(tiny_plan(tuning={"trials": 4})), studies(tiny_plan(tuning={"trials": 9}))
    assert study.id == more.id


def test_the_name_of_a_study_is_a_file_name_whatever_the_label() -> None:
    (study,) = studies(tiny_plan(methods=[{"name": "cps", "label": "CPS / ours (α)"}]))
    assert not set("/ ()") & set(study.id)
    assert study.name == "CPS / ours (α)-phantom_2d"


# The tuned plan ------------------------------------------------------------------------------------------------------
def test_the_tuned_plan_is_a_plan_whose_cells_have_the_best_settings() -> None:
    plan = some_plan(methods=[{"name": "mean_teacher", "hyper": {"noise": 0.3}}], bounds=False, tuning={"trials": 5})
    (study,) = studies(plan)
    raw = tuned_plan(plan, [(study, {"training.lr": 0.2, "hyper.weight": 3.0})])
    tuned = plan_file.parse(raw, default_name="tiny_tuned")
    cells = list(tuned.cells())
    assert len(cells) == len(list(plan.cells())) == 4  # two amounts, two seeds
    for cell in cells:
        assert (cell.training.lr, cell.hyper.weight, cell.hyper.noise) == (0.2, 3.0, 0.3)
        assert (cell.label, cell.plan, cell.seed in (0, 1)) == ("mean_teacher (tuned)", "tiny_tuned", True)
        assert cell.training.steps == 4
    assert tuned.tuned == "tuned, 5 trials of 3 hyper-parameters each"
    assert not {cell.id for cell in cells} & {cell.id for cell in plan.cells()}


def test_each_dataset_gets_its_own_best_settings() -> None:
    volumes = {"name": "phantom_3d", "options": {"patients": 6, "shape": [16] * 3, "patch": [16] * 3}}
    plan = tiny_plan(datasets=[PHANTOM, volumes], methods=["cps"])
    best = [(study, {"training.lr": rate}) for study, rate in zip(studies(plan), (0.1, 0.2), strict=True)]
    tuned = plan_file.parse(tuned_plan(plan, best), default_name="x")
    assert {cell.dataset: cell.training.lr for cell in tuned.cells()} == {"phantom_2d": 0.1, "phantom_3d": 0.2}
    assert {cell.dataset: cell.training.patch for cell in tuned.cells()}["phantom_3d"] == (16, 16, 16)
