"""Plan files: what may be written short, and what is refused with which words."""

from __future__ import annotations

import re
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark import plan_file
from benchmark.config import ConfigError
from benchmark.report import frame

from .tiny_cells import PHANTOM, raw_plan, tiny_plan


def parse(**changes: Any) -> Any:
    return plan_file.parse(raw_plan(**changes), default_name="tiny")


def test_seeds_may_be_a_number_or_a_list() -> None:
    assert parse(seeds=3).seeds == (0, 1, 2)
    assert parse(seeds=[4, 2]).seeds == (4, 2)
    assert parse().seeds == (0,)


def test_a_name_stands_for_an_entry_with_defaults() -> None:
    assert parse(methods=["cps"]).methods == parse(methods=[{"name": "cps"}]).methods


def test_a_file_is_named_after_itself_unless_it_says_otherwise(tmp_path: Path) -> None:
    raw = {key: value for key, value in raw_plan().items() if key not in ("name", "title")}
    path = tmp_path / "my_plan.yaml"
    path.write_text(yaml.safe_dump(raw))
    assert plan_file.load(str(path)).name == plan_file.load(str(path)).title == "my_plan"
    path.write_text(yaml.safe_dump(raw | {"name": "other"}))
    assert plan_file.load(str(path)).name == "other"


@pytest.mark.parametrize("name", plan_file.available())
def test_a_plan_that_comes_with_the_project_is_valid_has_cells_and_says_what_it_follows(name: str) -> None:
    plan = plan_file.load(name)
    assert plan.name == name
    assert list(plan.cells())
    assert len(plan.protocol.split()) > 3


PUBLISHED_LENGTH = (
    "acdc_scribble", "acdc_scribble_maag", "acdc_semi", "brats_semi", "la_semi", "mask_mix_adv_ablation",
    "mscmr_scribble", "surgical", "pancreas_semi", "acdc_points",
)  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED_LENGTH)
def test_plans_of_published_length_say_that_three_seeds_are_for_screening(name: str) -> None:
    plan = plan_file.load(name)
    assert len(plan.seeds) == 3
    assert "3 seeds are for screening" in plan.protocol


def test_plans_on_the_five_folds_of_acdc_say_that_a_fold_is_one_disease() -> None:
    plans = [plan_file.load(name) for name in plan_file.available()]
    on_folds = [
        plan
        for plan in plans
        for entry in plan.datasets
        if entry.name == "acdc" and entry.options.get("protocol", "folds") == "folds"
    ]
    assert len(on_folds) >= 5
    assert [plan.name for plan in on_folds if not re.search("disease group|dilated", plan.protocol)] == []


def test_the_plan_surgical_labels_published_numbers_of_images_and_whole_videos() -> None:
    plan = plan_file.load("surgical")
    kvasir, endovis, *others = plan.datasets
    # 5, 20 and 50 % of 472 images as the paper's code rounds them (surgical_and_datasets §3.4)
    assert [count for _, count in plan.amounts(kvasir)] == [23, 94, 236]
    # two of eight videos test and one validates: 5 and 20 % of five would be the same one
    assert [count for _, count in plan.amounts(endovis)] == [1, 2, 4]
    assert [plan.amounts(entry) for entry in others] == [[(0.05, None), (0.2, None), (0.5, None)]] * 2


def test_the_plan_surgical_trains_with_the_settings_of_the_papers_code() -> None:
    # Adam with the defaults of PyTorch, which have no weight decay, on images of 512 x 288 (surgical_and_datasets §1.5)
    for cell in plan_file.load("surgical").cells():
        training = cell.training
        assert (training.optimizer, training.lr, training.weight_decay) == ("adam", 1e-4, 0)
        assert training.patch == (288, 512)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["mean_teecher"]}, r"unknown method 'mean_teecher'; did you mean 'mean_teacher'\?"),
        ({"datasets": ["phantom2d"]}, r"unknown dataset 'phantom2d'; did you mean 'phantom_2d'\?"),
        ({"ratio": [0.1]}, r"plan tiny: unknown key 'ratio'; did you mean 'ratios'\?"),
        ({"training": {"step": 3}}, r"training: unknown key 'step'; did you mean 'steps'\?"),
        ({"methods": [{"name": "cps", "hyper": {"wieght": 1}}]}, r"method cps: hyper: unknown key 'wieght'.*'weight'"),
        (
            {"methods": ["cps", {"name": "mean_teacher", "hyper": {"ramp": 2}}]},
            r"mean_teacher: ramp must be in \[0, 1\]",
        ),
        (
            {"methods": [{"name": "cps", "hyper": {"weight": inf}}]},
            r"method cps: hyper: cps: weight must be finite and in \[0, inf\], got inf",
        ),
        ({"methods": [{"name": "cps", "hyper": {"weight": nan}}]}, r"cps: weight must be finite .*, got nan"),
        ({"datasets": [PHANTOM | {"options": {"side": 33}}]}, r"phantom_2d: options: side must be a multiple of 16"),
        ({"datasets": [PHANTOM | {"options": {"sides": 32}}]}, r"unknown key 'sides'; did you mean 'side'\?"),
        ({"datasets": [PHANTOM | {"training": {"stepz": 1}}]}, r"phantom_2d: training: unknown key 'stepz'"),
        ({"datasets": [PHANTOM | {"option": {}}]}, r"datasets\[0\]: unknown key 'option'; did you mean 'options'\?"),
        ({"ratios": [10]}, r"ratio must be in \(0, 1\], got 10; write 0.1 for 10 %"),
        ({"ratios": [5]}, r"got 5; write 0.05 for 5 %"),
        ({"ratios": [0]}, r"ratio must be in \(0, 1\], got 0$"),
        ({"ratios": [-0.1]}, r"ratio must be in \(0, 1\], got -0.1$"),
        ({"ratios": ["10%"]}, r"ratios\[0\]: must be of type float, got str '10%'"),
        ({"ratios": 0.1}, r"ratios: must be a list, got 0.1"),
        ({"ratios": []}, r"say how much is labelled"),
        ({"labelled": [4]}, r"gives ratios and labelled"),
        ({"ratios": [], "labelled": [0]}, r"labelled must be 1 group or more, got 0"),
        ({"datasets": [PHANTOM | {"ratios": [0.5], "labelled": [3]}]}, r"phantom_2d gives ratios and labelled"),
        ({"seeds": 0}, r"seeds must be distinct non-negative integers"),
        ({"seeds": -3}, r"seeds must be distinct non-negative integers, or how many there are, 1 or more, got -3$"),
        ({"seeds": [1, 1]}, r"seeds must be distinct"),
        ({"seeds": [-1]}, r"seeds must be distinct non-negative integers, .*, got \[-1\]$"),
        ({"folds": []}, r"plan tiny: folds must list one fold or more, got \[\]; leave folds out for fold 1 alone"),
        ({"datasets": [PHANTOM | {"folds": []}]}, r"dataset phantom_2d: folds must list .*to have the plan's own"),
        ({"folds": [2]}, r"fold must be in 1..1 for phantom_2d, got 2"),
        ({"methods": []}, r"needs at least one dataset and one method"),
        ({"datasets": []}, r"needs at least one dataset and one method"),
        ({"datasets": "phantom_2d"}, r"datasets: must be a list"),
        ({"name": "a/b"}, r"name may hold letters, digits, - and _ only, got 'a/b'"),
        ({"methods": ["mean_teacher"], "ratios": [1.0]}, r"no cell is left: mean_teacher × phantom_2d at 100%"),
        ({"tuning": {"trials": 0}}, r"tuning.trials must be 1 or more, got 0"),
        ({"tuning": {"trails": 4}}, r"tuning: unknown key 'trails'; did you mean 'trials'\?"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_one_message_with_what_is_right(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(**changes)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(("plan tiny", "method", "dataset"))


def twice(name: str, **second: Any) -> list[dict[str, Any]]:
    return [{"name": name}, {"name": name} | second]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"methods": twice("cps", training={"lr": 0.1})},
            r"cps on phantom_2d at 34% is planned twice and differs in training.lr only.*give each a `label`",
        ),
        (
            {"datasets": [PHANTOM, PHANTOM | {"training": {"steps": 8}}]},
            r"supervised on .*training.steps only.*`label`",
        ),
        (
            {"bounds": True, "datasets": [PHANTOM, PHANTOM | {"training": {"width": 4, "steps": 8}}]},
            r"supervised, all labels on .*training.steps, training.width only.*bounds have no label",
        ),
        (
            {
                "methods": ["mask_mix_adv"],
                "datasets": [PHANTOM | {"shapes": "phantom_3d"}, PHANTOM | {"shapes": "phantom_2d"}],
            },
            r"mask_mix_adv on .* differs in shapes only",
        ),
        (
            {"methods": twice("cps", hyper={"weight": 2.0}), "tuned": "8 trials each"},
            r"cps on .* differs in hyper.weight only",
        ),
        ({"methods": ["cps"], "ratios": [0.34, 0.3400000001]}, r"cps on phantom_2d at 34% .* differs in ratio only"),
    ],
    ids=["method", "dataset", "bounds", "shapes", "tuned", "amounts"],
)
def test_cells_that_no_table_would_tell_apart_are_refused_before_they_run(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["cps", "ict", "cps"]}, r"methods: cps is listed twice, with the same settings; keep one"),
        ({"ratios": [0.34, 0.7, 0.34]}, r"ratios: 0.34 is listed twice"),
        ({"folds": [1, 1]}, r"folds: 1 is listed twice"),
        ({"datasets": [PHANTOM, PHANTOM]}, r"datasets: phantom_2d is listed twice"),
        (
            {"datasets": [PHANTOM | {"labelled": [1, 1]}], "ratios": ()},
            r"dataset phantom_2d: labelled: 1 is listed twice",
        ),
        ({"datasets": [PHANTOM | {"methods": ["cps", "cps"]}]}, r"dataset phantom_2d: methods: cps is listed twice"),
    ],
)
def test_what_is_listed_twice_is_refused_and_not_dropped(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"methods": twice("cps", hyper={"weight": 2.0})},
        {"methods": twice("cps", training={"lr": 0.1}, label="cps, faster")},
        {"methods": ["supervised"], "bounds": True},
        {"datasets": [PHANTOM, PHANTOM | {"options": PHANTOM["options"] | {"slices": 4}}]},
        {"datasets": [PHANTOM, PHANTOM | {"weak": "skeleton"}], "methods": ["cps", "pce"], "bounds": True},
        {
            "datasets": [
                PHANTOM | {"methods": twice("cps")[:1]},
                PHANTOM | {"methods": [{"name": "cps", "label": "longer"}], "training": {"steps": 8}},
            ]
        },
    ],
    ids=["hyper", "label", "bound", "options", "weak", "methods of a dataset"],
)
def test_a_plan_of_cells_that_can_be_told_apart_is_one_that_can_be_reported(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    plan = parse(**changes)
    assert len(frame.load(tmp_path / "tiny", plan).cells) == len(list(plan.cells()))


def test_a_datasets_own_amounts_replace_the_plans() -> None:
    plan = parse(datasets=[PHANTOM | {"labelled": [2]}])
    assert [cell.amount for cell in plan.cells()] == ["2 labelled"]


def test_a_plan_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no plan 'demmo'; did you mean 'demo'\?"):
        plan_file.load("demmo")
    with pytest.raises(ConfigError, match=r"no plan 'nowhere/x.yaml'"):
        plan_file.load("nowhere/x.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods: [a", "bad.yaml is not valid YAML"),
        ("", "plan bad: the file must hold a mapping, got NoneType"),
        ("- a\n- b", "plan bad: the file must hold a mapping, got list"),
        ("seeds: 5\ntitle: x\nseeds: 1", "plan file bad.yaml, line 3: key 'seeds' is there already, in line 1; keep"),
        ("training: {lr: 0.1, lr: 0.2}", "bad.yaml, line 1: key 'lr' is there already, in line 1"),
        ("methods:\n- name: cps\n  hyper: {}\n  name: pce", "bad.yaml, line 4: key 'name' is there .* line 2"),
        ("methods: [cps]", r"plan bad: missing key\(s\) protocol"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        plan_file.load(str(path))


def test_a_key_that_overrides_a_merged_one_is_no_repetition(tmp_path: Path) -> None:
    path = tmp_path / "merged.yaml"
    path.write_text(
        "protocol: none\ndatasets: [phantom_2d]\nratios: [0.5]\nbounds: false\nmethods:\n"
        "- &plain {name: cps, label: plain}\n- &other {<<: *plain, label: strong, hyper: {weight: 2.0}}\n"
        "- {<<: *other, label: weak, hyper: {weight: 0.5}}\n"
    )
    assert [entry.label for entry in plan_file.load(str(path)).methods] == ["plain", "strong", "weak"]


def test_a_file_that_is_not_text_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match=r"bad.yaml is not valid YAML"):
        plan_file.load(str(path))


def test_reading_a_plan_needs_no_data_on_disk() -> None:
    plan = tiny_plan(datasets=[{"name": "acdc"}], training={"patch": [64, 64]})
    assert [cell.dataset for cell in plan.cells()] == ["acdc"]


def test_methods_may_be_names_alone_below_a_dataset_too() -> None:
    entries = [PHANTOM | {"methods": ["mean_teacher", {"name": "cps", "label": "CPS"}]}]
    assert [cell.label for cell in tiny_plan(datasets=entries, methods=[]).cells()] == ["mean_teacher", "CPS"]
    with pytest.raises(ConfigError, match="dataset phantom_2d: methods: must be a list, got 3"):
        tiny_plan(datasets=[PHANTOM | {"methods": 3}])
