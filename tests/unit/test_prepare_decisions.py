"""What a cell is made of: a mistake in any of these would leave every other test green and every result wrong."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark import prepare as preparing
from benchmark.evaluate import score_case
from benchmark.prepare import build_method, open_dataset, prepare
from benchmark.record import METRICS
from benchmark.seeding import derive
from datasets.base import Partition
from datasets.splits import k_fold, make_split
from datasets.types import IGNORE, Case, Task

from .tiny_cells import places_in, tiny_cell


def test_the_surface_dice_is_within_the_tolerance_of_the_task_and_within_one_where_it_states_none() -> None:
    # one pixel, three columns apart: its surface lies within 3 px of the other one, and no nearer part within 1 px
    label, prediction = np.zeros((2, 6, 6), np.uint8)
    label[2, 1], prediction[2, 4] = 1, 1
    case = Case("c", "p", np.zeros((1, 6, 6), np.float32), label)
    task = Task("t", 2, 1, ("background", "a"), (6, 6), "px")

    def shares(task: Task) -> tuple[float, float]:
        (row,) = score_case(prediction, case, task, "last")
        found = dict(zip(METRICS, row.values, strict=True))
        return found["nsd"], found["nsd_count"]

    assert shares(task) == (0.0, 0.0)
    assert shares(replace(task, tolerance=(3.0,))) == (1.0, 1.0)


def test_a_ratio_is_rounded_to_the_nearest_number_of_groups() -> None:
    groups = {f"c{i}": f"g{i:02d}" for i in range(12)}
    partition = Partition(train=tuple(sorted(groups.values())[:11]), test=("g11",))
    for ratio, n in ((0.25, 3), (0.2, 2), (0.6, 7), (0.05, 1)):  # 2.75, 2.2, 6.6, .55 of 11
        assert len(make_split(groups, partition, ratio=ratio, seed=0, val_share=0.0).labelled_groups) == n


def test_fold_k_tests_every_fifth_group_from_the_kth_by_hash() -> None:
    names = [f"g{i}" for i in range(23)]
    ranked = sorted(names, key=lambda g: hashlib.blake2b(f"fold|{g}".encode(), digest_size=8).digest())
    for fold in range(1, 6):
        assert k_fold(names, fold, 5).test == tuple(sorted(ranked[fold - 1 :: 5]))


def test_a_seed_draws_the_initialisation_alike_for_all_methods() -> None:
    places = places_in(Path("/nowhere"))

    def weights(seed: int, method: str = "supervised") -> torch.Tensor:
        cell = tiny_cell(method, seeds=[seed])
        return torch.cat([p.flatten() for p in build_method(cell, open_dataset(cell, places)).network.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert torch.equal(weights(0), weights(0, "mean_teacher"))
    assert not torch.equal(weights(0), weights(1))


def test_a_split_is_made_of_all_that_the_cell_and_its_data_say(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(preparing, "make_split", lambda *groups, **settings: asked.update(settings, given=groups))
    cell = replace(tiny_cell("pce", seeds=[7], val_share=0.2, subset="stratified"), fold=3)
    dataset = open_dataset(cell, places_in(Path("/nowhere")))
    for name, value in {
        "groups": lambda: "groups",
        "partition": lambda fold: f"fold {fold}",
        "published_order": lambda: "order",
        "strata": lambda: "strata",
        "unannotated": lambda kind: f"without {kind}",
    }.items():
        monkeypatch.setattr(dataset, name, value)
    preparing.split_of(cell, dataset)
    assert asked == {
        "given": ("groups", "fold 3"),
        "ratio": cell.ratio,
        "count": None,
        "seed": derive(7, "split"),
        "val_share": 0.2,
        "subset": "stratified",
        "order": "order",
        "strata": "strata",
        "unannotated": "without scribble",
        "unscored": "without dense",
    }


def test_a_method_gets_the_labels_of_its_kind_the_unlabelled_cases_and_no_validation_case(tmp_path: Path) -> None:
    for method, kind in (("pce", "scribble"), ("cps", "dense")):
        ready = prepare(tiny_cell(method, augment="none"), places_in(tmp_path), tmp_path / method)
        assert bool((ready.feed.batch(0).labelled.label == IGNORE).any()) == (kind == "scribble")
        drawn = [ready.feed.batch(step) for step in range(8)]

        def cases(keys: Any) -> set[str]:
            return {key.split("/")[0] for part in keys for key in part}

        assert cases(batch.labelled.keys for batch in drawn) == set(ready.split.labelled)
        if kind == "dense":
            assert cases(batch.unlabelled.keys for batch in drawn) == set(ready.split.unlabelled)
        assert ready.trainer.validate.keywords["keys"] == ready.split.val


def test_a_seed_draws_the_order_of_batches_and_what_a_method_draws(tmp_path: Path) -> None:
    ready = [prepare(tiny_cell(seeds=[s], ratios=[1.0]), places_in(tmp_path), tmp_path / str(s)) for s in (0, 1)]
    first, other = ([one.feed.batch(step).labelled.keys for step in range(4)] for one in ready)
    assert ready[0].split.labelled == ready[1].split.labelled
    assert first != other
    assert [one.trainer.seed for one in ready] == [0, 1]


def test_carved_validation_does_not_depend_on_the_order_of_the_published_list() -> None:
    names = [f"g{i:02d}" for i in range(20)]
    groups = {f"c{name}": name for name in [*names, "tested"]}
    parts = [Partition(train=tuple(order), test=("tested",)) for order in (names, names[::-1])]
    one, other = (make_split(groups, part, ratio=0.2, seed=0) for part in parts)
    assert one == other
    more = make_split(groups, parts[0], ratio=0.2, seed=0, val_share=0.2)
    assert set(one.val) < set(more.val)


def test_many_rare_strata_do_not_crowd_a_small_labelled_set() -> None:
    # 12 of a and one of each of four others: of the first four, three are a's by their share
    strata = {f"a{i:02d}": "a" for i in range(12)} | {name: name for name in ("b", "c", "d", "e")}
    for seed in range(8):
        split = make_split(
            {g: g for g in (*strata, "tested")},
            Partition(train=tuple(strata), test=("tested",)),
            count=4,
            seed=seed,
            val_share=0,
            subset="stratified",
            strata=strata,
        )
        assert sum(strata[g] == "a" for g in split.labelled_groups) >= 3
