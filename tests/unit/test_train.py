"""The training loop: resumable bit for bit, the same stream for all methods, and it stops where it should."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark import prepare as preparing
from benchmark import receipt, train
from benchmark.plan import Cell
from benchmark.prepare import Prepared, prepare
from benchmark.run import _mixed
from benchmark.train import Diverged, lr_factor
from benchmark.training import Training
from datasets.types import Batch
from methods.base import Clock, Terms
from methods.semi.supervised import Supervised

from .tiny_cells import curves_of, places_in, tiny_cell

KINDS: dict[str, dict[str, Any]] = {
    "supervised": {},
    "mean_teacher": {"weight": 5.0},  # a teacher
    "dan": {"critic_width": 2},  # two players
    "scribble2label": {"period": 2, "warm_up": 0.0, "threshold": 0.5, "momentum": 0.7},  # maps and memory
}
# Its pass over the samples draws dropout and changes running statistics.
RELEASED = {"scribble2label": KINDS["scribble2label"] | {"variant": "released"}}


@pytest.fixture(scope="module", autouse=True)
def _on_the_cpu() -> Iterator[None]:
    """Equality to the last bit is promised there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DEVICE", "cpu")
        yield


class Killed(BaseException):
    """As abrupt as a signal: no handler of the runner catches it."""


def ready(cell: Cell, root: Path, name: str = "cell", **settings: Any) -> Prepared:
    (root / name).mkdir(exist_ok=True)
    return prepare(cell, places_in(root), root / name, **settings)


def weights(prepared: Prepared) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in prepared.method.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return set(first) == set(second) and all(torch.equal(first[key], second[key]) for key in first)


# Resuming ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("method", "hyper"), [*KINDS.items(), *RELEASED.items()])
def test_a_run_that_was_killed_and_resumed_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, hyper: dict[str, Any]
) -> None:
    monkeypatch.setattr(train, "LOG_POINTS", 2)  # a row every third of six steps: sums are carried over the kill
    kill_at = 4
    cell = tiny_cell(method, hyper=hyper, steps=6, validations=3)
    whole = ready(cell, tmp_path, "whole")
    whole.trainer.run()

    first = ready(cell, tmp_path, "cut", checkpoint_seconds=0)
    one_step = first.trainer._one_step

    def killed_in(clock: Clock) -> None:
        if clock.step == kill_at:
            raise Killed
        one_step(clock)

    first.trainer._one_step = killed_in  # type: ignore[method-assign]
    with pytest.raises(Killed):
        first.trainer.run()
    assert (tmp_path / "cut" / "checkpoint.pt").exists()

    torch.manual_seed(12345)  # another process starts with other streams
    second = ready(cell, tmp_path, "cut", checkpoint_seconds=0)
    started_at: list[int] = []
    second_step = second.trainer._one_step
    second.trainer._one_step = lambda clock: (started_at.append(clock.step), second_step(clock))[1]  # type: ignore
    second.trainer.run()

    assert started_at == list(range(kill_at, 6))  # nothing was computed again
    assert same(weights(second), weights(whole))
    assert second.trainer.validation == whole.trainer.validation
    assert len(whole.trainer.validation) == 3
    assert curves_of(tmp_path / "cut") == curves_of(tmp_path / "whole")
    for name, optimizer in whole.trainer.players.items():
        one, two = (o.state_dict()["state"] for o in (optimizer, second.trainer.players[name]))
        assert all(torch.equal(torch.as_tensor(one[i][k]), torch.as_tensor(two[i][k])) for i in one for k in one[i])


def test_what_relabelling_made_is_in_the_checkpoint(tmp_path: Path) -> None:
    cell = tiny_cell("scribble2label", hyper=KINDS["scribble2label"], steps=6)
    first = ready(cell, tmp_path, checkpoint_seconds=0)
    first.trainer.run()  # the last checkpoint is of step 5
    assert first.feed.pseudo is not None
    second = ready(cell, tmp_path)
    second.trainer._resume()
    assert second.trainer.step == 5
    assert torch.equal(second.feed.pseudo, first.feed.pseudo)
    assert set(second.trainer._memory) == set(first.trainer._memory) != set()
    assert all(torch.equal(second.trainer._memory[i], memory) for i, memory in first.trainer._memory.items())


def test_a_damaged_checkpoint_is_not_resumed_and_the_cell_starts_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = tiny_cell()
    whole = ready(cell, tmp_path, "whole")
    whole.trainer.run()
    first = ready(cell, tmp_path, "cut", checkpoint_seconds=0)
    first.trainer.run()
    path = tmp_path / "cut" / "checkpoint.pt"
    for damage in (b"", path.read_bytes()[:1000], b"no checkpoint at all"):
        path.write_bytes(damage)
        second = ready(cell, tmp_path, "cut")
        second.trainer.run()
        assert same(weights(second), weights(whole))
        assert "checkpoint.pt is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["method", "data", "beside"])
def test_a_checkpoint_of_other_code_or_other_data_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    cell = tiny_cell()
    ready(cell, tmp_path, checkpoint_seconds=0).trainer.run()
    if what == "method":
        monkeypatch.setattr("benchmark.receipt.source", lambda method: "edited since")
    elif what == "beside":
        monkeypatch.setattr("benchmark.prepare.beside_hashes", lambda cells, places: [{"weights": "of another file"}])
    else:
        monkeypatch.setattr("datasets.catalogue.phantom_2d.Phantom2D.fingerprint", lambda self: "other files")
    again = ready(cell, tmp_path)
    again.trainer._resume()
    assert again.trainer.step == 0
    assert curves_of(tmp_path / "cell") == [["step", "lr", "val_dice"]]


def test_a_checkpoint_of_other_shared_code_is_resumed_and_both_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = tiny_cell()
    ready(cell, tmp_path, checkpoint_seconds=0).trainer.run()
    tree = receipt.code()["tree"]
    monkeypatch.setattr("benchmark.receipt.code", lambda: {"tree": "of later"})
    again = ready(cell, tmp_path)
    again.trainer._resume()
    assert (again.trainer.step, again.trainer.codes) == (3, [tree, "of later"])


def test_a_checkpoint_of_another_machine_or_precision_is_resumed_and_both_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = tiny_cell()
    ready(cell, tmp_path, checkpoint_seconds=0).trainer.run()
    here = receipt.where(torch.device("cpu"), torch.float32)
    assert here.endswith(", float32")
    monkeypatch.setattr("benchmark.receipt.where", lambda device, dtype: "a GPU, bfloat16")
    again = ready(cell, tmp_path)
    again.trainer._resume()
    assert (again.trainer.step, again.trainer.machines) == (3, [here, "a GPU, bfloat16"])
    assert f"trained in parts on different hardware: {here}; a GPU, bfloat16" in _mixed("", again.trainer)


def test_checkpoints_and_snapshots_go_when_the_record_is_there(tmp_path: Path) -> None:
    prepared = ready(tiny_cell(), tmp_path, checkpoint_seconds=0)
    prepared.trainer.run()
    files = {path.name for path in (tmp_path / "cell").glob("*.pt")}
    assert files == {"checkpoint.pt", "snapshot-2.pt", "snapshot-4.pt"}
    (tmp_path / "cell" / ".checkpoint.pt.a1b2c3").touch()  # of a writer that was killed
    prepared.trainer.finished()
    assert not list((tmp_path / "cell").glob("*.pt*")) + list((tmp_path / "cell").glob(".*.pt*"))


# The same for all methods --------------------------------------------------------------------------------------------
def test_methods_of_one_seed_start_from_the_same_network(tmp_path: Path) -> None:
    first, *others = [ready(tiny_cell(method, hyper=hyper), tmp_path).method for method, hyper in KINDS.items()]
    expected = first.network.state_dict()
    assert all(same(method.network.state_dict(), expected) for method in others)
    other_seed = ready(tiny_cell(seeds=[1]), tmp_path).method.network.state_dict()
    assert not same(other_seed, expected)


@pytest.mark.parametrize("kind", ["supervised mean_teacher dan cps", "pce scribble2label wsl4mis"])
def test_methods_of_one_seed_and_annotation_see_the_same_labelled_batches(tmp_path: Path, kind: str) -> None:
    feeds = [ready(tiny_cell(method, ratios=[0.67]), tmp_path).feed for method in kind.split()]
    for step in (0, 1, 7):
        first, *others = [feed.batch(step).labelled for feed in feeds]
        for other in others:
            assert other.keys == first.keys
            assert torch.equal(other.image, first.image)
            assert torch.equal(other.label, first.label)
    another = ready(tiny_cell(kind.split()[0], seeds=[1], ratios=[0.67]), tmp_path).feed
    assert not torch.equal(another.batch(0).labelled.image, feeds[0].batch(0).labelled.image)


def test_semi_supervised_methods_see_the_same_unlabelled_batches_and_others_none(tmp_path: Path) -> None:
    one, two, none = (ready(tiny_cell(m), tmp_path).feed.batch(3) for m in ("mean_teacher", "cps", "supervised"))
    assert one.unlabelled is not None
    assert two.unlabelled is not None
    assert torch.equal(one.unlabelled.image, two.unlabelled.image)
    assert none.unlabelled is None


def test_unlabelled_images_are_of_other_patients_and_none_of_those_that_validate_or_test(tmp_path: Path) -> None:
    prepared = ready(tiny_cell("mean_teacher"), tmp_path)
    groups, split = prepared.dataset.groups(), prepared.split
    parts = [{groups[key] for key in part} for part in (split.labelled, split.unlabelled, split.val, split.test)]
    # 6 patients: 2 test, 4 train of which round(0.1 * 4), but at least 1, validates; 0.34 of the other 3 is 1
    assert [len(part) for part in parts] == [1, 2, 1, 2]
    assert len(set.union(*parts)) == 6
    seen: set[str] = set()
    for step in range(6):
        batch = prepared.feed.batch(step)
        assert batch.unlabelled is not None
        assert {groups[key.split("/")[0]] for key in batch.labelled.keys} <= parts[0]
        seen |= {groups[key.split("/")[0]] for key in batch.unlabelled.keys}
    assert seen == parts[1]


# Where it stops ------------------------------------------------------------------------------------------------------
def breaking(at: int, value: float, name: str = "dice") -> Callable[[Supervised, Batch, Clock], Terms]:
    losses = Supervised.losses

    def broken(self: Supervised, batch: Batch, clock: Clock) -> Terms:
        terms = losses(self, batch, clock)
        return terms | {name: terms[name] * value} if clock.step == at else terms

    return broken


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("every", [1, 3])
def test_a_term_that_is_not_finite_ends_the_run_with_its_name_and_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, every: int
) -> None:
    monkeypatch.setattr(train, "LOG_POINTS", 6 // every)
    monkeypatch.setattr(Supervised, "losses", breaking(at=1, value=value))
    # clock.step 1 is the second step. A row every third step finds it late, when all terms are NaN from the third step
    # on, whose forward pass met broken weights: it is still the first one that is named.
    message = rf"loss term 'dice' is {value} at step 2; lower the learning rate or its weight"
    with pytest.raises(Diverged, match=message):
        ready(tiny_cell(steps=6), tmp_path).trainer.run()


# Schedules -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("schedule", "step", "total", "factor"),
    [
        ("constant", 99, 100, 1.0),
        ("poly", 0, 100, 1.0),
        ("poly", 50, 100, 0.5**0.9),
        ("poly", 99, 100, 0.01**0.9),
        ("step", 0, 6000, 1.0),
        ("step", 2499, 6000, 1.0),
        ("step", 2500, 6000, 0.1),  # UA-MT: every 2500 of 6000
        ("step", 4999, 6000, 0.1),
        ("step", 5000, 6000, 0.01),
        ("step", 5999, 6000, 0.01),
        ("step", 500, 1200, 0.1),
    ],
)
def test_learning_rate_schedules_are_the_published_ones(schedule: str, step: int, total: int, factor: float) -> None:
    found = lr_factor(Training(schedule=schedule), Clock(step, total))  # type: ignore[arg-type]
    assert found == pytest.approx(factor, rel=1e-12)


def test_the_rate_of_each_row_is_the_one_its_step_was_made_with(tmp_path: Path) -> None:
    ready(tiny_cell(lr=0.5, validations=0), tmp_path).trainer.run()
    header, *rows = curves_of(tmp_path / "cell")
    rates = [float(row[header.index("lr")]) for row in rows]
    assert rates == pytest.approx([0.5 * (1 - k / 4) ** 0.9 for k in range(4)])


def test_a_players_own_optimizer_keeps_its_own_rate(tmp_path: Path) -> None:
    prepared = ready(tiny_cell("dan", hyper=KINDS["dan"] | {"critic_lr": 0.125}), tmp_path)
    prepared.trainer.run()
    rates = {name: o.param_groups[0]["lr"] for name, o in prepared.trainer.players.items()}
    assert rates == {"main": pytest.approx(0.01 * (1 / 4) ** 0.9), "critic": 0.125}


# Validation and curves -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("steps", "validations", "at"), [(6, 3, [2, 4, 6]), (5, 2, [2, 5]), (4, 0, []), (4, 1, [4]), (2, 5, [1, 2])]
)
def test_validation_is_at_equal_distances_and_last_at_the_last_step(
    tmp_path: Path, steps: int, validations: int, at: list[int]
) -> None:
    prepared = ready(tiny_cell(steps=steps, validations=validations), tmp_path)
    prepared.trainer.run()
    assert [v["step"] for v in prepared.trainer.validation] == at


def test_curves_name_terms_as_the_method_does_and_are_empty_where_nothing_was_measured(tmp_path: Path) -> None:
    ready(tiny_cell("dan", hyper=KINDS["dan"]), tmp_path).trainer.run()
    header, *rows = curves_of(tmp_path / "cell")
    assert header == ["step", "lr", "ce", "dice", "adversarial", "critic", "val_dice"]
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    assert [bool(row[-1]) for row in rows] == [False, True, False, True]


def test_the_listener_is_told_every_row(tmp_path: Path) -> None:
    heard: list[tuple[str, int]] = []
    ready(tiny_cell(), tmp_path, heartbeat=lambda phase, step: heard.append((phase, step))).trainer.run()
    assert heard == [("train", 1), ("train", 2), ("train", 3), ("train", 4)]


def test_steps_that_take_long_are_told_between_rows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "LOG_POINTS", 1)
    heard: list[int] = []
    prepared = ready(tiny_cell(validations=0), tmp_path, heartbeat=lambda phase, step: heard.append(step))
    monkeypatch.setattr(train, "BEAT_SECONDS", -1)
    prepared.trainer.run()
    assert heard == [1, 2, 3, 4]
    assert [row[0] for row in curves_of(tmp_path / "cell")[1:]] == ["4"]


def test_validation_and_relabelling_say_that_they_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "LOG_POINTS", 1)
    heard: list[tuple[str, int]] = []
    cell = tiny_cell("scribble2label", hyper=KINDS["scribble2label"] | {"period": 3}, validations=1)
    prepared = ready(cell, tmp_path, heartbeat=lambda phase, step: heard.append((phase, step)))
    monkeypatch.setattr("benchmark.pulse.SECONDS", -1)  # a while is over at once
    prepared.trainer.run()
    # labels are made at steps 3 // 2 and 3, of one batch; the one validation case repeats what was told last
    assert heard == [("label", 100)] * 3 + [("train", 4)]


def test_data_that_are_read_or_waited_for_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.pulse.SECONDS", 0.01)
    heard, told = [], threading.Event()

    def slow(*_: Any) -> Any:
        assert told.wait(10)
        return open_store(*_)

    def hear(phase: str, step: int) -> None:
        heard.append((phase, step))
        told.set()

    open_store = preparing.open_store
    monkeypatch.setattr(preparing, "open_store", slow)
    ready(tiny_cell(), tmp_path, heartbeat=hear)
    assert set(heard) == {("start", 0)}


def test_long_runs_have_few_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "LOG_POINTS", 3)
    ready(tiny_cell(steps=7, validations=0), tmp_path).trainer.run()
    # every 7 // 3 = 2 steps, and the last
    assert [row[0] for row in curves_of(tmp_path / "cell")[1:]] == ["2", "4", "6", "7"]


# Precision -----------------------------------------------------------------------------------------------------------
def first_step(root: Path, method: str, precision: str, **changes: Any) -> tuple[dict[str, float], torch.Tensor]:
    """The terms of the first step, and the gradient of all the network's parameters."""
    scribbles = method in ("pce_gated_crf", "wsl4mis")
    settings = {"precision": precision, "steps": 1, "validations": 0, "width": 4, "network_options": {"levels": 3}}
    settings |= changes
    if scribbles:
        settings |= {"ratios": [1.0]}
    prepared = ready(tiny_cell(method, **settings), root, precision)
    prepared.trainer.run()
    header, row = curves_of(root / precision)
    terms = {name: float(value) for name, value in zip(header, row, strict=True) if name not in train._COLUMNS}
    return terms, torch.cat([p.grad.flatten() for p in prepared.method.network.parameters() if p.grad is not None])


# over eight seeds wsl4mis, which drops out channels, lies between 0.96 and 0.99
LIKE = {"supervised": 0.98, "mean_teacher": 0.98, "cps": 0.98, "urpc": 0.98, "pce_gated_crf": 0.98, "wsl4mis": 0.95}
# 0.74 to 0.93: its contrast divides similarities of unit vectors by a small temperature
LIKE["min_max_similarity"] = 0.7


@pytest.mark.parametrize(("method", "likeness"), LIKE.items())
def test_bfloat16_gives_losses_and_gradients_close_to_those_of_float32(
    tmp_path: Path, method: str, likeness: float
) -> None:
    # 8 bits of mantissa round by 2^-9 = 0.2 % in each of about ten layers, independently: below 2 % together; a term of
    # the contrast, which divides by a small temperature, was seen to differ by 2.3 %
    (exact, gradient), (rounded, other) = (first_step(tmp_path, method, kind) for kind in ("float32", "bfloat16"))
    assert rounded == pytest.approx(exact, rel=0.03, abs=1e-5)
    assert rounded != exact  # it was computed otherwise
    assert torch.cosine_similarity(gradient, other, dim=0) > likeness
    assert other.norm().item() == pytest.approx(gradient.norm().item(), rel=0.1)


@pytest.mark.parametrize("network", ["vnet", "unet"])
@pytest.mark.parametrize("method", ["supervised", "cps"])
def test_volumes_too(tmp_path: Path, method: str, network: str) -> None:
    volumes = [{"name": "phantom_3d", "options": {"patients": 6, "shape": [16] * 3, "patch": [16] * 3}}]
    sizes = {"datasets": volumes, "patch": [16] * 3, "network": network}
    kinds = ("float32", "bfloat16")
    (exact, gradient), (rounded, other) = (first_step(tmp_path, method, kind, **sizes) for kind in kinds)
    assert rounded == pytest.approx(exact, rel=0.02, abs=1e-5)
    assert rounded != exact
    assert torch.cosine_similarity(gradient, other, dim=0) > 0.95
    assert other.norm().item() == pytest.approx(gradient.norm().item(), rel=0.1)
