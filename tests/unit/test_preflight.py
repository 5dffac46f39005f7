"""All that can be wrong is found before any training, in one message."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import methods
from benchmark import feasible, preflight
from benchmark.config import ConfigError
from benchmark.preflight import NotReady, check
from benchmark.prepare import Places
from datasets.base import DataError, MissingData
from datasets.catalogue.phantom_2d import Phantom2D

from .tiny_cells import PHANTOM, places_in, tiny_cell, tiny_plan


@pytest.fixture(autouse=True)
def _no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(*_: Any) -> None:
        raise AssertionError("a check must not train")

    monkeypatch.setattr("benchmark.train.Trainer.run", trained)
    monkeypatch.setenv("BENCH_DEVICE", "cpu")


def checked(root: Path, *cells: Any) -> list[str]:
    said: list[str] = []
    check(cells, places_in(root), said.append)
    return said


def test_data_are_not_decoded_ahead_for_a_patch_that_no_memory_holds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training.patch \(100000, 100000\): .* choose a smaller patch"):
        preflight.decode_ahead([tiny_cell(patch=[100000, 100000])], places_in(tmp_path), workers=1)


def test_a_plan_that_can_run_passes_and_its_cases_are_checked_once(tmp_path: Path) -> None:
    cells = list(tiny_plan(methods=["supervised", "cps", "pce"], ratios=[0.34, 0.67], seeds=2, bounds=True).cells())
    assert checked(tmp_path, *cells) == ["phantom_2d: checking 6 cases once"]
    assert checked(tmp_path, *cells) == []


def test_a_case_that_is_not_as_it_should_be_is_named_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Phantom2D.load

    def damaged(self: Phantom2D, key: str) -> Any:
        case = load(self, key)
        if key == sorted(self.groups())[-1]:
            assert case.label is not None
            case.label[0, 0, 0] = 9
        return case

    monkeypatch.setattr(Phantom2D, "load", damaged)
    with pytest.raises(DataError, match=r"phantom_2d: case '.*6.*': label holds unknown value\(s\) \[9\]; allowed are"):
        checked(tmp_path, tiny_cell())
    monkeypatch.undo()
    assert checked(tmp_path, tiny_cell()) == ["phantom_2d: checking 6 cases once"]  # the failure was not remembered


def test_missing_data_say_where_they_were_looked_for_and_where_to_get_them(tmp_path: Path) -> None:
    cell = tiny_cell(datasets=["acdc"], ratios=[0.1], patch=[32, 32])
    with pytest.raises(MissingData, match=r"acdc: no folder '.*ACDC'. Expected layout: ACDC/.* How to get it: Accept"):
        checked(tmp_path, cell)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "unett"}, r"training.network: unknown network 'unett'; did you mean 'unet'\?"),
        ({"augment": "dihedrall"}, r"training.augment: unknown recipe 'dihedrall'; did you mean 'dihedral'\?"),
        (
            {"patch": [40, 32]},
            r"phantom_2d: training.patch \(40, 32\): unet needs sides divisible by 16; 40 is not",
        ),
        (
            {"patch": [100000, 100000]},
            r"training.patch \(100000, 100000\): a batch of 4 samples of 1 channel\(s\) is 40000000000 numbers, ",
        ),
    ],
)
def test_settings_that_need_the_data_to_be_judged_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        checked(tmp_path, tiny_cell(**changes))


def test_more_validations_than_steps_are_said_once_with_how_many_there_will_be(tmp_path: Path) -> None:
    cells = list(tiny_plan(training={"steps": 3, "validations": 50}, methods=["supervised", "cps"], seeds=2).cells())
    sentence = "phantom_2d: training.validations 50 in 3 steps: one after each step, 3"
    assert checked(tmp_path, *cells) == ["phantom_2d: checking 6 cases once", sentence]
    said: list[str] = []
    feasible.check(cells, said.append)
    assert said == [sentence]


def test_what_needs_no_data_is_judged_without_them_once_for_all_seeds_and_amounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    judge = feasible._method
    monkeypatch.setattr(feasible, "_method", lambda cell, *rest: (built.append(cell.method), judge(cell, *rest)))
    monkeypatch.setattr(Phantom2D, "load", None)
    changes: dict[str, Any] = {"datasets": ["acdc"], "ratios": [0.1, 0.2], "seeds": 3, "methods": ["cps", "pce"]}
    feasible.check(tiny_plan(training={"patch": [32, 32]}, **changes).cells())
    assert built == ["cps", "pce"]
    cell = tiny_cell("cps", datasets=["acdc"], patch=[32, 32], ratios=[0.1])
    monkeypatch.setattr(methods.get("cps"), "unsupported", classmethod(lambda cls, task: f"not {task.name}"))
    with pytest.raises(NotReady, match="cps acdc 10% s0: not acdc"):
        feasible.check([cell])


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        (
            "supervised",
            {"labelled": [4]},
            r"4 labelled s0: 4 labelled groups asked for, but there are 3",
        ),
        ("cps", {"labelled": [3]}, r"cps phantom_2d 3 labelled s0: cps needs unlabelled cases.*none is left"),
        ("cps", {"ratios": [0.9]}, r"cps phantom_2d 90% s0: cps needs unlabelled cases.*none is left"),
    ],
)
def test_amounts_that_the_data_do_not_have_are_refused_with_the_cells_name(
    tmp_path: Path, method: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(NotReady, match=message):
        checked(tmp_path, tiny_cell(method, **{"ratios": []} | changes))


def test_two_amounts_that_label_the_same_groups_are_refused(tmp_path: Path) -> None:
    # six patients: two test, one is carved for validation, three train; 5 % and 30 % of three are one patient each
    cells = list(tiny_plan(methods=["cps"], ratios=[0.05, 0.3], bounds=True).cells())
    message = r"phantom_2d: 5% and 30% label the same 1 of 3 training groups in fold 1; .* labelled: \[1, 2\]$"
    with pytest.raises(NotReady, match=message):
        checked(tmp_path, *cells)
    # all three labelled are what the upper bound has too, and that is no second amount
    checked(tmp_path, *tiny_plan(methods=["supervised"], ratios=[], labelled=[1, 3], bounds=True).cells())


def test_a_share_that_the_groups_are_too_few_for_is_said_once(tmp_path: Path) -> None:
    cells = list(tiny_plan(methods=["cps"], ratios=[0.05], seeds=2, bounds=True).cells())
    said = checked(tmp_path, *cells)
    assert said == ["phantom_2d: checking 6 cases once", "phantom_2d: 5% is 1 of 3 training groups, so 33 %"]


def test_two_views_need_an_even_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methods.semi.cps.CPS.views", 2)
    with pytest.raises(NotReady, match=r"cps phantom_2d 34% s0: .*even labelled batch; got 2 and 3"):
        checked(tmp_path, tiny_cell("cps", labelled_batch=3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropuot": 0.1}, r"training: network 'vnet' has no option 'dropuot'; did you mean 'dropout'\?"),
        ({"dropout": 1.5}, r"training: vnet: dropout must be in \[0, 1\), got 1.5"),
        ({"dropout": "much"}, r"training: .*'<=' not supported between instances of 'int' and 'str'"),
    ],
)
def test_wrong_options_of_the_network_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked(tmp_path, tiny_cell(network="vnet", network_options=options))


def test_a_network_that_a_method_asks_for_beside_the_plans_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asks(self: Any, task: Any, hyper: Any, build: Any) -> None:
        build(name="transunet", levels=7)

    monkeypatch.setattr(methods.get("mean_teacher"), "__init__", asks)
    with pytest.raises(ConfigError, match=r"mean_teacher phantom_2d .*: .*levels must be in \[2, 5\], got 7"):
        checked(tmp_path, tiny_cell("mean_teacher"))


def test_a_method_that_looks_at_numbers_when_it_is_built_is_left_to_its_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []

    def looks(self: Any, *given: Any) -> None:
        looked.append(torch.zeros(1).item())

    monkeypatch.setattr(methods.get("mean_teacher"), "__init__", looks)
    checked(tmp_path, tiny_cell("mean_teacher"))
    assert not looked, "a number was there to be looked at"


def test_a_device_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("BENCH_DEVICE", "cuda")
    with pytest.raises(NotReady, match="BENCH_DEVICE=cuda, but torch sees no CUDA device"):
        checked(tmp_path, tiny_cell())


# The disk ------------------------------------------------------------------------------------------------------------
def test_a_disk_that_is_nearly_full_is_refused_with_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = list(tiny_plan(seeds=10).cells())
    for free, ready in ((399, False), (401, True), (150, False)):  # 10 cells of 40 MiB; and never below 200
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free * 2**20))
        if ready:
            checked(tmp_path, *cells)
        else:
            with pytest.raises(
                NotReady, match=rf"results: {free} MiB free, this plan may write 400 MiB; .*BENCH_RESULTS"
            ):
                checked(tmp_path, *cells)


@pytest.mark.parametrize(("folder", "variable"), [("results", "BENCH_RESULTS"), ("cache", "BENCH_CACHE")])
def test_a_folder_that_cannot_be_written_is_named_with_its_variable(tmp_path: Path, folder: str, variable: str) -> None:
    (tmp_path / folder).write_text("a file, not a folder")
    with pytest.raises(NotReady, match=rf"{folder}.*cannot be written \(.+\); set {variable}"):
        checked(tmp_path, tiny_cell())


def test_a_full_disk_is_found_by_writing_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None: ...

        def write(self, content: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(preflight.tempfile, "TemporaryFile", lambda dir: Full())
    with pytest.raises(NotReady, match=r"cannot be written \(No space left on device\)"):
        checked(tmp_path, tiny_cell())


def test_results_and_cache_are_made_where_they_are_not(tmp_path: Path) -> None:
    places = Places(tmp_path / "a/b", tmp_path, tmp_path / "c/d")
    check([tiny_cell(datasets=[PHANTOM])], places)
    assert places.results.is_dir()
    assert places.cache.is_dir()
