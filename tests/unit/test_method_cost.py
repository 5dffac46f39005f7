"""The script that measures what methods cost: what it counts, and what it prints."""

from __future__ import annotations

import json

import methods
from benchmarks import method_cost
from benchmarks.method_cost import Cost
from benchmarks.method_steps import START, Size, Stepper
from methods.base import Method

TINY = Size(side=32, batch=2, width=4, precision="float32")


def test_every_estimate_is_of_a_registered_scribble_method_and_none_but_the_baseline_lacks_one() -> None:
    scribble = {name for name, family in methods.families().items() if family == "scribble"}
    assert set(method_cost.ESTIMATES) == scribble - {method_cost.BASELINE["scribble"]}


def test_estimates_of_volumes_are_of_methods_that_take_volumes() -> None:
    for name in method_cost.SEMI_ESTIMATES:
        assert methods.families()[name] == "semi"
        assert 3 in methods.get(name).ndims


def test_a_step_on_volumes_is_one_of_the_network_asked_for() -> None:
    volumes = Size(side=32, batch=2, width=2, precision="float32", depth=16, network="vnet", classes=2)
    stepper = Stepper("mean_teacher", "semi", volumes)
    assert stepper.batch.images.shape == (4, 1, 32, 32, 16)
    assert int(stepper.batch.labelled.label.max()) == 1
    before = [p.clone() for p in stepper.method.network.parameters()]
    stepper.step()
    assert not all(a.equal(b) for a, b in zip(before, stepper.method.network.parameters(), strict=True))
    assert str(volumes) == "2 × 32×32×16, vnet of width 2"


def test_methods_are_asked_whether_they_take_volumes() -> None:
    assert "deep_co_training" in method_cost._others("semi", None, 2)
    volumes = {name.removesuffix(START) for name in method_cost._others("semi", None, 3)}
    assert all(3 in methods.get(name).ndims for name in volumes)
    assert method_cost._others("semi", ["cps"], 3) == ["cps"]


def test_methods_of_two_phases_are_measured_in_the_first_one_too() -> None:
    assert method_cost._others("semi", ["bhpc", "cps"], 3) == ["bhpc", "cps", "bhpc@start"]
    small = Size(side=32, batch=2, width=2, precision="float32", depth=32)
    for name, terms in (("bhpc@start", "contrast"), ("bhpc", "dice")):
        stepper = Stepper(name, "semi", small)
        found = stepper.method.losses(stepper.batch, stepper.clock)
        assert any(terms in key for key in found), found.keys()


def test_a_step_is_that_of_every_player_and_of_the_teacher() -> None:
    for name in ("mask_mix_adv", "ustm"):
        stepper = Stepper(name, "scribble", TINY)
        before = {key: value.clone() for key, value in stepper.method.state_dict().items()}
        stepper.step()
        after = stepper.method.state_dict()
        moved = {key.split(".")[0] for key in after if not after[key].equal(before[key])}
        assert moved == (
            {"network", "second", "reconstructor", "critic"} if name == "mask_mix_adv" else {"network", "teacher"}
        )


def test_labelling_anew_counts_per_step_of_the_run(monkeypatch) -> None:
    # every call takes 2 s by this clock. A batch of 2, labelled anew 4 times in 16 steps, for 10 samples:
    # 2 + 2/2 · 10 · 4 / 16 = 4.5 s a step
    monkeypatch.setattr(Stepper, "seconds", lambda self, action: 2.0)
    monkeypatch.setattr(methods.get("scribble2label"), "relabel_at", lambda self, step: step in (1, 2, 4, 8))
    found = method_cost.measure_time(["pce", "scribble2label"], "scribble", TINY, 1, 16, 10)
    assert found == {"pce": 2.0, "scribble2label": 4.5, "pce/ratio": 1.0, "scribble2label/ratio": 2.25}


def test_labels_that_are_made_once_cost_no_step() -> None:
    walker = Stepper("pce_random_walker", "scribble", TINY).method
    assert isinstance(walker, Method)
    assert not method_cost._relabels_while_training(walker)
    assert method_cost._relabels_while_training(Stepper("scribble2label", "scribble", TINY).method)


def test_semi_supervised_methods_get_as_many_unlabelled_images() -> None:
    batch = Stepper("mean_teacher", "semi", TINY).batch
    assert batch.unlabelled is not None
    assert batch.unlabelled.image.shape == batch.labelled.image.shape


def test_the_table_begins_with_the_dearest_and_the_file_says_what_made_it(tmp_path) -> None:
    costs = [Cost("pce", 0.5, 1.0, None, 100.0, 1.0), Cost("ustm", 2.1, 4.2, 4.0, 110.0, 1.1)]
    text = method_cost.table(costs, "Title")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[1:] == ["| ustm | 2.100 | 4.20 | 4 | 110 | 1.10 |", "| pce | 0.500 | 1.00 |  | 100 | 1.00 |"]
    method_cost._save(tmp_path, "scribble", text, costs, {})
    content = json.loads((tmp_path / "scribble.json").read_text())
    assert content["costs"][1]["ratio"] == 4.2
    assert {"commit", "hardware", "versions"} <= set(content["receipt"])


def test_memory_stands_beside_that_of_the_mean_teacher_too() -> None:
    costs = [Cost("mean_teacher", 0.5, 2.3, 2.33, 200.0, 2.0), Cost("cvcl", 0.9, 4.0, 3.0, 300.0, 3.0)]
    rows = [line for line in method_cost.table(costs, "Title").splitlines() if line.startswith("| ")]
    assert rows == [
        "| method | s per step | × baseline | estimate | peak MiB | × baseline | × mean_teacher |",
        "| cvcl | 0.900 | 4.00 | 3 | 300 | 3.00 | 1.50 |",
        "| mean_teacher | 0.500 | 2.30 | 2.33 | 200 | 2.00 | 1.00 |",
    ]
