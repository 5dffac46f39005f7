"""The critic of single pixels, block by block: the numbers of its layers, and when those are taken."""

from __future__ import annotations

import copy
from collections import defaultdict
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from methods.base import as_judge
from methods.losses.adversarial import as_made
from methods.losses.overlap import one_hot
from methods.networks import pixelwise
from methods.networks.apart import passes
from methods.networks.discriminators import PixelCritic
from methods.networks.statistics import kept_statistics

pytest.importorskip("numba")

SHAPES = [(3, 4, 13, 11), (2, 3, 5, 6, 7), (1, 2, 8, 16)]
UNLIKE = {"2.bias", "3.num_batches_tracked"}
"""The gradient of the first is 0 but for rounding, as the mean of the batch is subtracted."""

Outcome = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several, and the last one short but for the last shape."""
    monkeypatch.setattr(pixelwise, "_BLOCK", 64)


def last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last if maps.ndim == 4 else torch.channels_last_3d)


def trained(channels: int, ndim: int) -> PixelCritic:
    """A critic whose normalisation has scales of either sign, shifts and statistics."""
    critic = PixelCritic(channels, ndim=ndim, width=16)
    norm: Any = critic[3]
    for each in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(each)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    norm.momentum = 0.3
    return critic


def taken(found: Tensor) -> bool:
    return type(found.grad_fn).__name__ in ("_JudgingBackward", "_LearningBackward")


def outcome(critic: PixelCritic, maps: Tensor, arriving: Tensor, *, judge: bool, rounded: bool = False) -> Outcome:
    """Verdicts, every gradient, and the statistics afterwards."""
    critic, maps = copy.deepcopy(critic), maps.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
        if judge:
            with as_judge(critic):
                found = critic(maps)
        else:
            found = critic(maps)
    assert taken(found) == (maps.dtype == torch.float32 and pixelwise._compiled() is not None)
    found.backward(arriving.to(found.dtype))
    gradients = {name: p.grad for name, p in critic.named_parameters() if p.grad is not None}
    assert judge == (not gradients)
    return {"verdicts": found.detach(), "maps": maps.grad} | gradients | dict(critic.named_buffers())


def error(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth).norm() / truth.norm().clamp_min(1e-300))


@pytest.mark.parametrize("judge", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_are_those_of_the_layers_in_double(shape: tuple[int, ...], judge: bool):
    critic = trained(shape[1], len(shape) - 2)
    maps, arriving = last(torch.randn(shape)), torch.randn(shape[0], 1, *shape[2:])
    found = outcome(critic, maps, arriving, judge=judge)
    truth = outcome(critic.double(), maps.double(), arriving.double(), judge=judge)
    assert found.keys() == truth.keys()
    assert found["verdicts"].shape == arriving.shape
    for name in truth.keys() - UNLIKE:
        assert found[name].dtype == torch.float32
        assert error(found[name], truth[name]) < 5e-6, name
    assert found["3.num_batches_tracked"] == (not judge)
    assert judge or truth["2.bias"].abs().max() < 1e-10
    assert judge or found["2.bias"].abs().max() < 1e-10


@pytest.mark.parametrize("judge", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_offset_does_not_drown_the_statistics(shape: tuple[int, ...], judge: bool):
    critic = trained(shape[1], len(shape) - 2)
    maps, arriving = last(torch.randn(shape) + 300), torch.randn(shape[0], 1, *shape[2:])
    found = outcome(critic, maps, arriving, judge=judge)
    truth = outcome(critic.double(), maps.double(), arriving.double(), judge=judge)
    assert error(found["verdicts"], truth["verdicts"]) < 2e-4
    for name in ("3.running_mean", "3.running_var"):
        assert error(found[name], truth[name]) < 1e-6, name


@pytest.mark.parametrize("offset", [0.0, 5.0])
@pytest.mark.parametrize("judge", [True, False])
@pytest.mark.parametrize("shape", [(3, 4, 33, 31), (2, 3, 9, 10, 11)])
def test_in_bfloat16_it_is_as_near_to_double_as_the_layers_are(
    shape: tuple[int, ...], judge: bool, offset: float, monkeypatch: pytest.MonkeyPatch
):
    """On average of some trials, as where single signs flip is chance."""
    mine, theirs = defaultdict[str, float](float), defaultdict[str, float](float)
    for _ in range(6):
        critic = trained(shape[1], len(shape) - 2)
        maps, arriving = last(torch.randn(shape) + offset), torch.randn(shape[0], 1, *shape[2:]).bfloat16()
        truth = outcome(copy.deepcopy(critic).double(), maps.double(), arriving.double(), judge=judge)
        found = outcome(critic, maps, arriving, judge=judge, rounded=True)
        with monkeypatch.context() as patch:
            patch.setattr(pixelwise, "_compiled", lambda: None)
            layers = outcome(critic, maps, arriving, judge=judge, rounded=True)
        for name in truth.keys() - UNLIKE:
            assert found[name].dtype == layers[name].dtype
            assert found[name].shape == layers[name].shape
            mine[name] += error(found[name], truth[name])
            theirs[name] += error(layers[name], truth[name])
    for name in mine:
        assert mine[name] <= 1.4 * theirs[name] + 1e-6, name


@pytest.mark.parametrize("judge", [True, False])
def test_layouts_of_maps_and_gradients_do_not_matter(judge: bool):
    critic, maps = trained(4, 2), torch.randn(3, 4, 13, 11)
    arriving = torch.randn(()).expand(3, 1, 13, 11)
    found = outcome(critic, maps, arriving, judge=judge)
    for name, value in outcome(critic, last(maps), arriving.contiguous(), judge=judge).items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_verdicts_on_labels_are_those_on_their_one_hot_maps(shape: tuple[int, ...], training: bool):
    critic = trained(shape[1], len(shape) - 2).double().train(training)
    label = torch.randint(shape[1] - 1, (shape[0], *shape[2:]))  # one class is absent
    arriving = torch.randn(shape[0], 1, *shape[2:]).double()
    results = []
    for judge in (lambda one: one.of_labels(label), lambda one: one(one_hot(label, shape[1]).double())):
        one = copy.deepcopy(critic)
        verdicts = judge(one)
        verdicts.backward(arriving)
        results.append([verdicts.detach(), *(p.grad for p in one.parameters()), *one.buffers()])
    for mine, layers in zip(*results, strict=True):
        torch.testing.assert_close(mine, layers, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_made_maps_teach_is_the_same_in_one_pass_less(shape: tuple[int, ...], rounded: bool):
    critic, maps = trained(shape[1], len(shape) - 2), last(torch.randn(shape))
    results = []
    for cost in (lambda one: one.taken_for_made(maps), lambda one: as_made(one(maps))):
        one = copy.deepcopy(critic)
        with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            found = cost(one)
        (3 * found).backward()
        results.append(
            {"cost": found.detach()} | {name: p.grad for name, p in one.named_parameters()} | dict(one.named_buffers())
        )
        assert type(found.grad_fn).__name__ == ("MeanBackward0" if len(results) > 1 else "_LearningMadeBackward")
    for name in results[0].keys() - UNLIKE:
        assert error(results[0][name], results[1][name].double()) < (0.02 if rounded else 5e-5), name


def test_maps_that_want_a_gradient_get_it_from_what_they_teach():
    maps = torch.randn(3, 4, 13, 11).requires_grad_()
    trained(4, 2).taken_for_made(maps).backward()
    assert maps.grad is not None


def test_statistics_that_are_to_stay_stay():
    critic = trained(4, 2)
    before = copy.deepcopy(critic[3].state_dict())
    with kept_statistics(critic):
        assert taken(critic(torch.randn(3, 4, 13, 11)))
    assert all(torch.equal(critic[3].state_dict()[name], before[name]) for name in ("running_mean", "running_var"))


def test_layers_are_used_where_they_are_needed(monkeypatch: pytest.MonkeyPatch):
    critic, maps = trained(4, 2), torch.randn(3, 4, 13, 11).requires_grad_()
    assert taken(critic(maps))
    assert not any(taken(each) for each in passes(critic, maps, maps))  # two batches
    assert not taken(critic.eval()(maps))  # it learns under given statistics
    with as_judge(critic):
        assert taken(critic(maps))
        with torch.autocast("cpu", torch.float16):
            assert not taken(critic(maps))
        with monkeypatch.context() as patch:
            patch.setattr(torch, "get_num_threads", lambda: 2)
            assert not taken(critic(maps))
    with torch.no_grad():
        torch.testing.assert_close(critic(maps), nn.Sequential.forward(critic, maps))
    with pytest.raises(ValueError, match="batch normalisation needs more than one position"):
        critic.train()(torch.randn(1, 4, 1, 1))
    assert not pixelwise.fits(maps[:0], critic)


@pytest.mark.parametrize("judge", [True, False])
def test_who_counts_operations_sees_those_of_the_layers(judge: bool):
    critic, maps = trained(4, 2), torch.randn(3, 4, 13, 11).requires_grad_()
    with FlopCounterMode(display=False) as counted, as_judge(critic) if judge else nullcontext():
        critic(maps).sum().backward()
    per_pixel = 2 * (4 * 16 + 16 * 32 + 32)
    assert counted.get_total_flops() == (2 if judge else 3) * maps[:, 0].numel() * per_pixel


@pytest.mark.parametrize("rounded", [True, False])
def test_a_step_compiles_nothing_that_warming_up_has_not(rounded: bool):
    loops = pixelwise._compiled()
    loops.warm_up()
    before = {name: list(loop.signatures) for name, loop in vars(loops).items() if hasattr(loop, "signatures")}
    for judge in (True, False):
        outcome(trained(4, 2), torch.randn(3, 4, 13, 11), torch.randn(3, 1, 13, 11), judge=judge, rounded=rounded)
    with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
        trained(4, 2).taken_for_made(torch.randn(3, 4, 13, 11)).backward()
    assert before == {name: list(getattr(loops, name).signatures) for name in before}
