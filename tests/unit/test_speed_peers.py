"""The plain loops are what they claim to be: the released recipe, with the losses and predictions of ours."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import methods
from benchmark.evaluate import predict_case
from benchmark.prepare import build_method, open_dataset, split_of
from benchmarks import settings, sources
from benchmarks.engine import Engine
from benchmarks.harness import Run
from benchmarks.peers import testing
from benchmarks.peers.loader import Loader, augment_slice, augment_volume
from benchmarks.peers.loop import PlainBench, PlainLoop
from benchmarks.peers.losses import WRITTEN_ANEW, update_teacher
from benchmarks.settings import Setting
from datasets.types import IGNORE, Batch, Labelled, Unlabelled
from methods.base import Clock
from methods.ema import average_parameters, ema_decay

SIDE = 12
NUMBERS = np.arange(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
MAKE: dict[str, Callable[[Run], Setting]] = {
    "acdc": lambda run: settings.acdc(run, 32, train=2),
    "hippocampus": lambda run: settings.hippocampus(run, cases=8),
    "la": lambda run: settings.la(run),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("speed"), time.monotonic() + 1000, quick=True)


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DEVICE", "cpu")


# Data ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", MAKE)
def test_phantoms_in_published_layouts_are_read_by_our_dataset_and_by_the_plain_loader(run: Run, name: str) -> None:
    setting = MAKE[name](run)
    assert not setting.source.real
    cell = setting.cell("supervised")
    dataset = open_dataset(cell, setting.places(run.scratch))
    assert set(dataset.groups()) == set(setting.source.samples)
    split = split_of(cell, dataset)
    assert split.test
    batch = PlainLoop(cell, setting).loader.batch(torch.device("cpu"))
    patch = tuple(cell.training.patch or ())
    assert batch.labelled.image.shape == (4, 1, *patch)
    assert (batch.labelled.image.dtype, batch.labelled.label.dtype) == (torch.float32, torch.int64)


def test_both_sides_read_the_same_pixels(run: Run) -> None:
    setting = MAKE["acdc"](run)
    case = open_dataset(setting.cell("pce"), setting.places(run.scratch)).load("patient021_frame01")
    for number, path in enumerate(setting.source.samples["patient021_frame01"]):
        with h5py.File(path, "r") as file:
            assert np.array_equal(file["image"][:], case.image[0, number])
            stored = np.where(file["scribble"][:] == sources.UNSCRIBBLED, IGNORE, file["scribble"][:])
            assert case.scribble is not None
            assert np.array_equal(stored, case.scribble[number])


def test_methods_on_dense_labels_halve_the_batch_between_both_kinds_and_scribbles_take_all(run: Run) -> None:
    setting = MAKE["acdc"](run)
    for method, sizes in (("mean_teacher", (2, 2)), ("pce", (4, 2)), ("supervised", (4, 2))):
        training = setting.cell(method).training
        assert (training.labelled_batch, training.unlabelled_batch) == sizes
    assert {"pce", "wsl4mis", "mean_teacher", "supervised"} <= set(setting.methods())
    assert "pce" not in MAKE["la"](run).methods()


# The released loader -------------------------------------------------------------------------------------------------
def test_half_of_the_slices_are_reflected_a_quarter_rotated_and_a_quarter_left_alone() -> None:
    rng, n = np.random.default_rng(0), 800
    reflections = {m.tobytes() for m in (NUMBERS[::-1], NUMBERS[:, ::-1], NUMBERS.T, NUMBERS[::-1, ::-1].T)}
    kinds: Counter[str] = Counter()
    for _ in range(n):
        image, label = augment_slice(NUMBERS, (NUMBERS % 4).astype(np.uint8), (SIDE, SIDE), rng)
        assert np.array_equal(label, image % 4)  # both move alike, and 0 is put into corners that a rotation uncovers
        still = image.tobytes() == NUMBERS.tobytes()
        kinds["reflected" if image.tobytes() in reflections else "alone" if still else "rotated"] += 1
    # 0 of the 40 angles leaves a slice alone, too: a quarter and 1/160 of it; four standard deviations are 0.06 to 0.07
    assert kinds["reflected"] / n == pytest.approx(1 / 2, abs=0.07)
    assert kinds["rotated"] / n == pytest.approx(1 / 4 - 1 / 160, abs=0.06)
    assert kinds["alone"] / n == pytest.approx(1 / 4 + 1 / 160, abs=0.06)


def test_volumes_are_padded_where_they_are_too_small_and_cropped_with_their_labels() -> None:
    rng = np.random.default_rng(0)
    volume = 1 + np.arange(6 * 7 * 9, dtype=np.float32).reshape(6, 7, 9)
    for _ in range(20):
        image, label = augment_volume(volume, (volume % 200).astype(np.uint8), (8, 8, 8), rng)
        assert image.shape == label.shape == (8, 8, 8)
        assert np.array_equal(label, image % 200)
        assert 0 < (image > 0).sum() < image.size  # some of it is padding


def test_the_loader_draws_every_sample_once_before_any_comes_again(tmp_path: Path) -> None:
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.h5")
        with h5py.File(files[-1], "w") as file:
            file["image"] = np.full((8, 8), number / 4, np.float32)
            file["scribble"] = np.full((8, 8), sources.UNSCRIBBLED, np.uint16)
    kinds: dict[str, Any] = {"batch": (3, 0), "patch": (8, 8), "annotation": "scribble"}
    loader = Loader({"case": files}, ["case"], [], **kinds)
    for _ in range(2):
        batch = loader.batch(torch.device("cpu"))
        assert sorted(batch.labelled.image.amax((1, 2, 3)).tolist()) == [0, 0.25, 0.5]
        assert (batch.labelled.label == IGNORE).all()


# Losses and steps ----------------------------------------------------------------------------------------------------
def both_gradients(run: Run, name: str) -> tuple[dict[str, float], dict[str, float], float]:
    """Loss terms of ours and of the plain loop on the same batch and weights, and the largest gap of gradients.

    The gap is given as a share of the largest gradient.
    """
    setting = MAKE["acdc"](run)
    cell = setting.cell(name)
    dataset = open_dataset(cell, setting.places(run.scratch))
    label = torch.randint(4, (2, 32, 32))
    if name == "pce":
        label[torch.rand(label.shape) < 0.9] = IGNORE
    images = torch.randn(4, 1, 32, 32)
    clock = Clock(500, 1000)
    found, gradients = [], []
    for written, layout in ((None, torch.channels_last), (WRITTEN_ANEW[name], torch.contiguous_format)):
        method: Any = build_method(cell, dataset).to(memory_format=layout)  # type: ignore[call-overload]
        for module in method.modules():
            if isinstance(module, nn.Dropout | nn.Dropout2d):
                module.p = 0.0
        image = images.contiguous(memory_format=layout)
        batch = Batch(Labelled(image[:2], label), Unlabelled(image[2:]))
        torch.manual_seed(0)  # the noise of a teacher's images
        terms = method.losses(batch, clock) if written is None else written(method, batch, clock)
        sum(terms.values()).backward()
        found.append({term: value.item() for term, value in terms.items()})
        gradients.append([p.grad for p in method.network.parameters()])
    gap = max(float((a - b).abs().max()) for a, b in zip(*gradients, strict=True))
    return found[0], found[1], gap / max(float(a.abs().max()) for a in gradients[0])


@pytest.mark.parametrize("name", WRITTEN_ANEW)
def test_the_plain_loop_and_ours_agree_on_every_term_and_gradient(run: Run, name: str) -> None:
    ours, plain, gap = both_gradients(run, name)
    # float32 keeps 24 bits, 6e-8; sums over 10⁴ values in another order lose some tens of that
    assert plain == pytest.approx(ours, rel=1e-5)
    assert gap < 1e-4


def test_a_teacher_updated_parameter_by_parameter_is_the_teacher_of_ours() -> None:
    student = nn.Linear(3, 2)
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    update_teacher(first, student, step=4, limit=0.99)
    average_parameters(second, student, ema_decay(4, 0.99))
    assert torch.allclose(first.weight, second.weight, rtol=1e-6, atol=1e-7)


def test_a_plain_loop_learns_and_reads_every_loss_at_every_step(run: Run) -> None:
    loop = PlainLoop(MAKE["acdc"](run).cell("mean_teacher", steps=3), MAKE["acdc"](run))
    before = [p.clone() for p in loop.method.network.parameters()]
    assert loop.run(3) > 0
    assert [step for step, _ in loop.log] == [0, 1, 2]
    assert set(loop.log[0][1]) == {"ce", "dice", "consistency"}
    assert any(not torch.equal(a, b) for a, b in zip(before, loop.method.network.parameters(), strict=True))
    # after step k the rate is that of k: 0.01 (1 - 2/3)^0.9
    assert loop.optimizers["main"].param_groups[0]["lr"] == pytest.approx(0.01 * (1 / 3) ** 0.9)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKE)
def test_every_method_takes_a_step_on_both_sides(run: Run, name: str) -> None:
    setting = MAKE[name](run)
    ours, plain = Engine(setting, run.scratch), PlainBench(setting)
    assert setting.methods()
    for method in setting.methods():
        work = ours.load(setting.cell(method))
        assert 0 < work.passes <= work.flops
        plain.load(setting.cell(method))
        assert min(ours.steps(method, 1), ours.batches(method, 1), plain.steps(1)) > 0
        ours.forget(method)


def test_the_floor_of_mean_teacher_is_a_supervised_step_and_one_forward_pass_of_the_teacher(run: Run) -> None:
    setting = MAKE["acdc"](run)
    engine = Engine(setting, run.scratch)
    supervised, teacher = engine.load(setting.cell("supervised")), engine.load(setting.cell("mean_teacher"))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        engine._ready["supervised"].method.network(torch.zeros(2, 1, 32, 32))  # the teacher sees the unlabelled half
    assert teacher.passes - supervised.passes == counter.get_total_flops()


# Testing -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["acdc", "hippocampus"])
def test_the_plain_test_loop_predicts_what_ours_predicts(run: Run, name: str) -> None:
    setting = MAKE[name](run)
    # 2-D slices have the patch's size here; of larger ones, ours resizes probabilities and the released codes labels
    cell = setting.cell("supervised")
    dataset = open_dataset(cell, setting.places(run.scratch))
    torch.manual_seed(3)
    method = methods.get("supervised")(dataset.task, cell.hyper, lambda: build_method(cell, dataset).network).eval()
    case = dataset.load(next(iter(dataset.groups())))
    training, cpu = cell.training, torch.device("cpu")
    assert training.patch is not None
    ours = predict_case(method, case, dataset.task, training, device=cpu, dtype=torch.float32)
    plain = testing.predict_case(method.predict, case, dataset.task, training.patch, training.overlap, cpu)
    assert (ours == plain).mean() > 0.999  # where two classes tie, rounding decides


def test_a_missed_class_counts_nothing_right_in_the_released_measure(run: Run) -> None:
    setting = MAKE["acdc"](run)
    dataset = open_dataset(setting.cell("pce"), setting.places(run.scratch))
    case = dataset.load(next(iter(dataset.groups())))
    assert case.label is not None
    without = np.where(case.label == 2, 0, case.label)
    right, missed, _ = testing.measure(without, case, dataset.task)
    assert (right, missed) == ((1.0, 0.0), (0.0, 0.0))
