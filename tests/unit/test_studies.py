"""What is tuned: the same number of dimensions for every method, the plan's own setting among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import methods
from benchmark import plan_file, receipt
from benchmark.config import ConfigError
from benchmark.plan import Cell, Plan
from benchmark.preflight import NotReady
from benchmark.report import frame
from benchmark.studies import SEED_OFFSET, SHARED, Study, on_data, studies, tuned_plan
from datasets.catalogue.phantom_2d import Phantom2D
from methods.hyper import Range, space

from .tiny_cells import PHANTOM, places_in, tiny_plan

VOLUMES: dict[str, Any] = {"name": "phantom_3d", "options": {"patients": 6, "shape": [16] * 3, "patch": [16] * 3}}


def of(plan: Plan) -> dict[str, Study]:
    return {study.name: study for study in studies(plan)}


def some_plan(**changes: Any) -> Plan:
    given = {"methods": ["mean_teacher", "pce"], "ratios": [0.67, 0.34], "seeds": 2, "bounds": True}
    return tiny_plan(**given | changes)


def in_order(plan: Plan) -> list[tuple[Study, dict[str, Any]]]:
    """A best setting for each study, of which no two are alike."""
    return [(study, {"training.lr": (i + 1) / 1000}) for i, study in enumerate(studies(plan))]


def retuned(plan: Plan) -> tuple[dict[str, Study], dict[float, str], list[Cell]]:
    """The studies by name, which study each learning rate comes from by name, and the cells of the tuned plan."""
    best = in_order(plan)
    names = {params["training.lr"]: study.name for study, params in best}
    assert len(names) == len({study.name for study, _ in best})
    cells = plan_file.parse(tuned_plan(plan, best), default_name="x").cells()
    return {study.name: study for study, _ in best}, names, list(cells)


def test_there_is_one_study_per_method_and_dataset_at_the_smallest_amount_and_for_the_upper_bound_at_its_own() -> None:
    ratios = {name: study.cell.ratio for name, study in of(some_plan()).items()}
    assert ratios == {
        "supervised, all labels-phantom_2d": 1.0, "supervised-phantom_2d": 0.34, "pce-phantom_2d": 0.34,
        "mean_teacher-phantom_2d": 0.34,
    }  # fmt: skip


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
    own = [f"hyper.{name}" for name in space(methods.get("mean_teacher").Hyper())]
    assert list(found["mean_teacher-phantom_2d"].dimensions) == ["training.lr", *own[:2]]
    assert list(found["supervised-phantom_2d"].dimensions) == [
        "training.lr", "training.weight_decay", "training.momentum",
    ]  # fmt: skip


def test_only_what_does_something_in_a_variant_is_tuned_there() -> None:
    hyper = methods.get("pce_mumford_shah").Hyper
    assert list(space(hyper())) == ["weight", "smoothness"]
    assert list(space(hyper(variant="released"))) == ["smoothness", "released_weight"]


def test_adam_has_no_momentum_to_tune() -> None:
    (study,) = studies(tiny_plan(training={"optimizer": "adam"}, tuning={"dimensions": 2}))
    assert list(study.dimensions) == ["training.lr", "training.weight_decay"]


@pytest.mark.parametrize(
    ("names", "optimizer", "expected"),
    [
        (["mean_teacher", "supervised"], "adam", 2),  # supervised has learning rate and weight decay
        (["mean_teacher", "pce"], "adam", 2),
        (["mean_teacher", "supervised"], "sgd", 3),  # and momentum
        (["mean_teacher"], "adam", 3),  # no bounds: nothing has fewer than the most
    ],
)
def test_as_many_dimensions_are_tuned_as_every_method_of_the_plan_has(
    names: list[str], optimizer: str, expected: int
) -> None:
    found = studies(tiny_plan(methods=names, training={"optimizer": optimizer}))
    assert {len(study.dimensions) for study in found} == {expected}


@pytest.mark.parametrize("name", plan_file.available())
def test_every_plan_that_comes_with_the_project_can_be_tuned_or_says_why_not(name: str) -> None:
    plan = plan_file.load(name)
    if plan.training.get("val_share") == 0:  # as published: nothing but test cases to score trials on
        with pytest.raises(NotReady, match=r"tuning needs validation cases; set training.val_share above 0 in a copy"):
            studies(plan)
        return
    found = studies(plan)
    assert len({study.name for study in found}) == len({study.id for study in found}) == len(found)
    fewest = 1 if plan.training.get("weight_decay") == 0 else 2  # nothing is searched around none, as published
    assert {len(study.dimensions) for study in found} <= set(range(fewest, 4))
    assert len({len(study.dimensions) for study in found}) == 1
    untouched = plan_file.parse(tuned_plan(plan, [(study, study.default) for study in found]), default_name="x")
    cells = [(cell.id, cell.role) for cell in plan.cells()]
    assert sorted((cell.id, cell.role) for cell in untouched.cells()) == sorted(cells), "a default that wins is itself"


def test_more_dimensions_than_a_method_has_are_refused_for_all() -> None:
    with pytest.raises(NotReady, match=r"supervised has 3 tunable dimensions, tuning.dimensions asks for 4 of every"):
        studies(tiny_plan(tuning={"dimensions": 4}))


def test_a_plan_that_never_validates_is_tuned_at_the_rungs_all_the_same() -> None:
    plan = tiny_plan(training={"validations": 0})
    (study,) = studies(plan)
    assert study.cell.training.validations == plan.tuning.rungs
    tuned = plan_file.parse(tuned_plan(plan, [(study, study.default)]), default_name="x")
    assert {cell.training.validations for cell in tuned.cells()} == {0}


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


def test_trials_of_another_version_of_the_methods_file_belong_to_another_study(monkeypatch: pytest.MonkeyPatch) -> None:
    (study,) = studies(tiny_plan())
    before = study.id
    asked = []
    monkeypatch.setattr(receipt, "source", lambda method: asked.append(method) or "edited")
    assert study.id != before
    assert study.id.startswith(study.stem)
    assert set(asked) == {"supervised"}


def test_trials_on_other_data_belong_to_another_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ids() -> list[str]:
        return [study.id for study in on_data(studies(some_plan()), places_in(tmp_path))]

    before = ids()
    assert ids() == before
    monkeypatch.setattr(Phantom2D, "manifest", lambda self: "other files")
    monkeypatch.setattr(Phantom2D, "fingerprint", lambda self: "other files")
    assert not {*ids()} & {*before}


def test_trials_from_other_weights_or_lent_shapes_belong_to_another_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ids() -> set[str]:
        return {study.id for study in on_data(studies(some_plan()), places_in(tmp_path))}

    monkeypatch.delenv("BENCH_WEIGHTS", raising=False)
    plain = ids()
    found = []
    for digest in ("one", "another"):
        monkeypatch.setattr(
            "benchmark.studies.beside_hashes", lambda cells, places, d=digest: [{"weights": d} for _ in cells]
        )
        found.append(ids())
    assert not plain & found[0]
    assert not found[0] & found[1]


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
    plan = tiny_plan(datasets=[PHANTOM, VOLUMES], methods=["cps"])
    best = [(study, {"training.lr": rate}) for study, rate in zip(studies(plan), (0.1, 0.2), strict=True)]
    tuned = plan_file.parse(tuned_plan(plan, best), default_name="x")
    assert {cell.dataset: cell.training.lr for cell in tuned.cells()} == {"phantom_2d": 0.1, "phantom_3d": 0.2}
    assert {cell.dataset: cell.training.patch for cell in tuned.cells()}["phantom_3d"] == (16, 16, 16)


def test_bounds_are_tuned_and_stay_bounds_with_their_own_best_settings() -> None:
    _, names, cells = retuned(some_plan())
    assert {(cell.role, cell.label, names[cell.training.lr]) for cell in cells} == {
        ("upper", "supervised, all labels (tuned)", "supervised, all labels-phantom_2d"),
        ("lower", "supervised (tuned)", "supervised-phantom_2d"),
        ("lower", "pce (tuned)", "pce-phantom_2d"),
        ("method", "mean_teacher (tuned)", "mean_teacher-phantom_2d"),
    }
    assert sorted((c.method, c.ratio, c.seed, c.role) for c in cells) == sorted(
        (c.method, c.ratio, c.seed, c.role) for c in some_plan().cells()
    )


def test_what_the_plan_sets_for_a_row_stays() -> None:
    whole = {"name": "supervised", "label": "full batch", "training": {"labelled_batch": 3}}
    released = {"name": "cpcl", "hyper": {"variant": "released"}}
    _, _, cells = retuned(some_plan(methods=[whole, released]))
    batches = {cell.label: cell.training.labelled_batch for cell in cells}
    assert (batches["full batch (tuned)"], batches["supervised (tuned)"]) == (3, 2)
    assert {cell.hyper.variant for cell in cells if cell.label == "cpcl (released) (tuned)"} == {"released"}


def test_two_settings_of_one_method_are_tuned_each_and_keep_rows_of_their_own() -> None:
    twice = [{"name": "cps"}, {"name": "cps", "hyper": {"weight": 0.3}}]
    _, names, cells = retuned(some_plan(methods=twice, bounds=False))
    assert {(cell.label, names[cell.training.lr]) for cell in cells} == {
        ("cps (tuned)", "cps-phantom_2d"), ("cps [weight=0.3] (tuned)", "cps [weight=0.3]-phantom_2d"),
    }  # fmt: skip


def test_two_settings_of_one_method_at_one_amount_keep_rows_of_their_own_though_two_entries_list_them() -> None:
    heavy = PHANTOM | {"ratios": [0.34, 0.5], "methods": [{"name": "cps", "hyper": {"weight": 0.3}}]}
    _, names, cells = retuned(tiny_plan(datasets=[PHANTOM, heavy], methods=["cps"]))
    assert {(cell.label, cell.ratio, names[cell.training.lr]) for cell in cells} == {
        ("cps (tuned)", 0.34, "cps-phantom_2d"),
        ("cps [weight=0.3] (tuned)", 0.34, "cps [weight=0.3]-phantom_2d"),
        ("cps [weight=0.3] (tuned)", 0.5, "cps [weight=0.3]-phantom_2d"),
    }


def test_each_fold_is_tuned_on_its_own_patients_and_gets_its_own_settings() -> None:
    plan = some_plan(datasets=[{"name": "acdc", "folds": [1, 2]}], methods=["cps"], training={"patch": [32, 32]})
    found, names, cells = retuned(plan)
    assert {name: study.cell.fold for name, study in found.items() if study.cell.label == "cps"} == {
        "cps-acdc-f1": 1, "cps-acdc-f2": 2,
    }  # fmt: skip
    assert len(cells) == len(list(plan.cells()))
    for cell in cells:
        assert found[names[cell.training.lr]].cell.fold == cell.fold
    assert tuned_plan(plan, in_order(plan))["tuned"].endswith(" each, each fold on its own")


def test_entries_of_one_dataset_keep_their_own_methods_and_settings() -> None:
    easy, hard = (PHANTOM | {"options": PHANTOM["options"] | {"difficulty": d}} for d in (0.5, 1.0))
    plan = tiny_plan(datasets=[easy, hard | {"methods": [{"name": "cps"}]}], methods=["cps", "mean_teacher"])
    assert list(of(plan)) == ["cps-phantom_2d-0.5", "mean_teacher-phantom_2d-0.5", "cps-phantom_2d-1.0"]
    _, names, cells = retuned(plan)
    assert {(cell.method, cell.options.difficulty, names[cell.training.lr]) for cell in cells} == {
        ("cps", 0.5, "cps-phantom_2d-0.5"), ("mean_teacher", 0.5, "mean_teacher-phantom_2d-0.5"),
        ("cps", 1.0, "cps-phantom_2d-1.0"),
    }  # fmt: skip


def test_weak_labels_are_tuned_for_each_and_the_bound_that_they_share_once() -> None:
    plan = tiny_plan(
        datasets=[
            PHANTOM | {"ratios": [0.34], "methods": [{"name": "supervised"}]},
            *(PHANTOM | {"weak": kind} for kind in ("skeleton", "points")),
        ],
        methods=["pce_tv"], ratios=[1.0], bounds=True,
    )  # fmt: skip
    found, names, cells = retuned(plan)
    assert list(found) == [
        "supervised, all labels-phantom_2d", "supervised-phantom_2d",
        "pce-phantom_2d-skeleton", "pce_tv-phantom_2d-skeleton", "pce-phantom_2d-points", "pce_tv-phantom_2d-points",
    ]  # fmt: skip
    assert len(cells) == len(list(plan.cells())) == 6
    for cell in cells:
        assert found[names[cell.training.lr]].cell.weak == cell.weak


def test_entries_that_differ_in_their_amounts_alone_share_a_study_at_the_smallest() -> None:
    plan = tiny_plan(datasets=[PHANTOM | {"ratios": [0.67, 0.5]}, PHANTOM | {"ratios": [0.34, 0.5]}])
    (study,) = studies(plan)
    assert study.cell.ratio == 0.34
    assert sorted(cell.ratio or 0 for cell in retuned(plan)[2]) == [0.34, 0.5, 0.67]


def test_a_tuned_method_is_one_row_though_its_settings_differ_by_dataset(tmp_path: Path) -> None:
    plan = tiny_plan(datasets=[PHANTOM, VOLUMES], methods=["cps"])
    best = [(study, {"hyper.weight": weight}) for study, weight in zip(studies(plan), (0.1, 0.2), strict=True)]
    tuned = plan_file.parse(tuned_plan(plan, best), default_name="x")
    assert set(frame.load(tmp_path / "x", tuned).cells["label"]) == {"cps (tuned)"}


# Bounds with settings of their own -----------------------------------------------------------------------------------
def test_a_bound_in_the_list_stands_for_the_one_that_is_added_and_changes_no_other_cell() -> None:
    plain = some_plan()
    given = {"name": "supervised", "role": "lower", "label": "tuned bound", "training": {"lr": 0.2}}
    cells = list(some_plan(methods=["mean_teacher", "pce", given]).cells())
    lower = [cell for cell in cells if (cell.role, cell.method) == ("lower", "supervised")]
    assert {(cell.label, cell.training.lr) for cell in lower} == {("tuned bound", 0.2)}
    others = {cell.id for cell in cells} - {cell.id for cell in lower}
    assert others == {cell.id for cell in plain.cells() if (cell.role, cell.method) != ("lower", "supervised")}
    assert len(cells) == len(list(plain.cells()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"name": "cps", "role": "lower"}], "method cps: role: lower is for supervised and pce only"),
        ([{"name": "pce", "role": "upper"}], "method pce: role: upper is for supervised only"),
        ([{"name": "pce", "role": "bound"}], "must be one of 'method', 'lower', 'upper'"),
        ([{"name": "pce", "role": "lower"}] * 2, "phantom_2d: pce as lower bound is listed several times; keep one"),
    ],
)
def test_what_cannot_be_a_bound_is_refused(given: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        some_plan(methods=["mean_teacher", *given])
