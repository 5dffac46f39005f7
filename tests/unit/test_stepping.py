"""Steps that may be replayed as one CUDA graph: what Python takes alike, and why a step is refused.

Without a GPU nothing is replayed, but steps are watched and their numbers follow the clock as before a recording.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import methods
from benchmark import run, stepping
from benchmark.prepare import Prepared, prepare
from benchmark.stepping import ALIKE, Replayed, compile_networks, replaying
from datasets.types import Batch
from methods.base import Clock, Terms
from methods.networks.base import Decoder
from methods.semi.mean_teacher import MeanTeacher

from .tiny_cells import places_in, tiny_cell

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device to record on")


@pytest.fixture
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DEVICE", "cpu")


def ready(root: Path, name: str = "cell", method: str = "mean_teacher", **changes: Any) -> Prepared:
    (root / name).mkdir()
    return prepare(tiny_cell(method, **{"steps": 6, "validations": 0} | changes), places_in(root), root / name)


def watched(prepared: Prepared) -> Replayed:
    """Have a trainer on the CPU take its steps as one on a GPU does before it records."""
    trainer = prepared.trainer
    trainer.replayed = Replayed(trainer._act, trainer.method, trainer.players, CPU)
    return trainer.replayed


def weights(prepared: Prepared) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in prepared.method.state_dict().items()}


def losing(change: Callable[[MeanTeacher, Terms, Clock], Terms], monkeypatch: pytest.MonkeyPatch) -> None:
    """Change what every Mean Teacher of this test returns as losses."""
    own = MeanTeacher.losses
    monkeypatch.setattr(MeanTeacher, "losses", lambda self, batch, clock: change(self, own(self, batch, clock), clock))


@pytest.mark.usefixtures("_on_the_cpu")
@pytest.mark.parametrize("method", ["mean_teacher", "dan", "deep_co_training", "bhpc"])
def test_watched_steps_train_as_others_do(tmp_path: Path, method: str) -> None:
    hyper = {"critic_width": 2} if method == "dan" else {}
    plain = ready(tmp_path, "plain", method, hyper=hyper)
    seen = ready(tmp_path, "seen", method, hyper=hyper)
    replayed = watched(seen)
    plain.trainer.run()
    seen.trainer.run()
    assert replayed.refusal == ""
    torch.testing.assert_close(weights(seen), weights(plain), rtol=1e-4, atol=1e-5)
    for one, other in zip(plain.trainer.rows, seen.trainer.rows, strict=True):
        assert one.keys() == other.keys()
        assert all(other[k] == pytest.approx(one[k], rel=1e-3) for k in one if k != "seconds")


@pytest.mark.usefixtures("_on_the_cpu")
def test_steps_are_alike_until_an_if_goes_another_way_or_a_batch_looks_different(tmp_path: Path) -> None:
    prepared = ready(tmp_path, method="bhpc", hyper={"pretrain": 0.5}, steps=12)
    replayed, trainer, alike = watched(prepared), prepared.trainer, []
    for step in range(12):
        trainer._one_step(Clock(step, 12))
        alike.append(replayed._alike)
    assert alike == [1, 1, 2, 3, 4, 5, 1, 1, 2, 3, 4, 5]  # the first of all, pre-training, one between, the labels
    half = prepared.feed.batch(0)
    assert half.unlabelled is not None
    cut = Batch(half.labelled, type(half.unlabelled)(half.unlabelled.image[:1]))
    replayed(cut, Clock(11, 12))
    assert replayed._alike == 1


@pytest.mark.usefixtures("_on_the_cpu")
def test_steps_that_keep_going_other_ways_are_not_watched_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "MOST_WATCHED", 3)
    prepared = ready(tmp_path)
    replayed = watched(prepared)
    for step in range(4):
        assert replayed.refusal == ""
        prepared.trainer._one_step(Clock(step, 6))
    assert "another way again and again" in replayed.refusal


def keeps_count(method: MeanTeacher, terms: Terms, clock: Clock) -> Terms:
    method.count = getattr(method, "count", 0) + 1  # type: ignore[assignment]
    return terms


def replaces_a_buffer(method: MeanTeacher, terms: Terms, clock: Clock) -> Terms:
    method.register_buffer("last", torch.zeros(3))
    return terms


REFUSED: dict[str, tuple[Callable[[MeanTeacher, Terms, Clock], Terms], str]] = {
    "python's generator": (lambda m, terms, c: (random.random(), terms)[1], "drawn on the host"),
    "numpy's generator": (lambda m, terms, c: (np.random.rand(), terms)[1], "drawn on the host"),  # noqa: NPY002
    "an attribute": (keeps_count, "outside its tensors"),
    "a new buffer": (replaces_a_buffer, "outside its tensors"),
    "a schedule of its own": (lambda m, terms, c: terms | {"more": math.exp(c.progress) * terms["ce"]}, "CannotFollow"),
}


@pytest.mark.usefixtures("_on_the_cpu")
@pytest.mark.parametrize("name", REFUSED)
def test_a_step_that_a_graph_could_not_repeat_is_refused_and_computed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    change, why = REFUSED[name]
    losing(change, monkeypatch)
    random.seed(0)
    plain, seen = ready(tmp_path, "plain"), ready(tmp_path, "seen")
    replayed = watched(seen)
    plain.trainer.run()
    seen.trainer.run()
    assert why in replayed.refusal
    assert replayed.replays == 0
    torch.testing.assert_close(weights(seen), weights(plain), rtol=1e-5, atol=1e-6)
    assert run._slow(seen) == [f"steps are not replayed as one CUDA graph: {replayed.refusal}"]


@pytest.mark.usefixtures("_on_the_cpu")
def test_a_step_that_fails_half_way_is_undone_before_it_is_taken_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after_step(self: MeanTeacher, clock: Clock) -> None:  # the optimizer has stepped already
        for p in self.teacher.parameters():
            p.data.mul_(float(clock.progress))

    monkeypatch.setattr(MeanTeacher, "after_step", after_step)
    plain, seen = ready(tmp_path, "plain", optimizer="adam"), ready(tmp_path, "seen", optimizer="adam")
    replayed = watched(seen)
    for prepared in (plain, seen):
        for step in range(3):
            prepared.trainer._one_step(Clock(step, 6))
    assert "CannotFollow" in replayed.refusal
    torch.testing.assert_close(weights(seen), weights(plain), rtol=0, atol=0)


@pytest.mark.usefixtures("_on_the_cpu")
def test_an_error_of_the_method_is_the_methods_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(method: MeanTeacher, terms: Terms, clock: Clock) -> Terms:
        raise ValueError("a shape that does not fit")

    losing(broken, monkeypatch)
    prepared = ready(tmp_path)
    watched(prepared)
    with pytest.raises(ValueError, match="a shape that does not fit"):
        prepared.trainer._one_step(Clock(0, 6))


def test_on_a_cpu_and_where_it_is_switched_off_steps_are_simply_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DEVICE", "cpu")
    prepared = ready(tmp_path)
    assert prepared.trainer.replayed is None
    assert run._slow(prepared) == []
    compiled: list[object] = []
    monkeypatch.setattr(stepping, "compile_networks", compiled.append)
    monkeypatch.setenv("BENCH_GRAPHS", "0")
    assert replaying(prepared.trainer._act, prepared.method, {}, torch.device("cuda")) is None
    assert compiled == []
    monkeypatch.setenv("BENCH_COMPILE", "1")  # the two switches do not depend on one another
    assert replaying(prepared.trainer._act, prepared.method, {}, torch.device("cuda")) is None
    assert compiled == [prepared.method]


@pytest.mark.usefixtures("_on_the_cpu")
def test_compiling_names_no_parameter_anew_and_reaches_every_encoder_and_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: reached.append(type(self).__name__))
    prepared = ready(tmp_path, method="cct")
    before = list(prepared.method.state_dict())
    compile_networks(prepared.method)
    assert list(prepared.method.state_dict()) == before
    assert reached.count("_Encoder") == 1
    decoders = [type(module).__name__ for module in prepared.method.modules() if isinstance(module, Decoder)]
    assert reached.count("_Decoder") == len(decoders) > 1


# On a GPU ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def _exact() -> Iterator[None]:
    kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept


SETTINGS: dict[str, dict[str, Any]] = {"bhpc": {"steps": 20}, "mask_mix_adv": {"ratios": [1.0]}}
"""What the one needs to settle in a phase, and the other to hold out patients for its shapes."""


@pytest.mark.usefixtures("_on_the_cpu")
@pytest.mark.parametrize("method", SETTINGS)
def test_methods_with_settings_of_their_own_go_one_way_long_enough_to_be_replayed(tmp_path: Path, method: str) -> None:
    settings = {"steps": ALIKE + 4} | SETTINGS[method]
    prepared = ready(tmp_path, method=method, **settings)
    replayed, alike = watched(prepared), []
    for step in range(settings["steps"]):
        prepared.trainer._one_step(Clock(step, settings["steps"]))
        alike.append(replayed._alike)
    assert replayed.refusal == ""
    assert max(alike) > ALIKE


@needs_gpu
@pytest.mark.usefixtures("_exact")
@pytest.mark.parametrize("method", methods.names())
def test_replayed_steps_lose_what_others_lose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """The first replays, to rounding: later ones also show the order in which a GPU adds, which differs every time."""
    found = {}
    for switch in ("0", "1"):
        monkeypatch.setenv("BENCH_GRAPHS", switch)
        sizes = {"steps": ALIKE + 4, "width": 8, "labelled_batch": 4, "unlabelled_batch": 4}
        prepared = ready(tmp_path, switch, method, **sizes | SETTINGS.get(method, {}))
        prepared.trainer.run()
        found[switch] = prepared.trainer
    replayed = found["1"].replayed
    assert replayed is not None
    assert replayed.refusal == ""
    assert replayed.replays > 0
    for one, other in zip(found["0"].rows, found["1"].rows, strict=True):
        assert all(other[k] == pytest.approx(one[k], rel=2e-2, abs=1e-4) for k in one if k != "seconds")
