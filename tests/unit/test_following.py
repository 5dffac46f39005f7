"""Numbers that follow the clock: what was recorded at one time is right at every other, for every method."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import methods
from benchmarks.method_steps import Size, Stepper
from methods.base import Clock
from methods.ema import average_parameters, ema_decay
from methods.following import MOST_DIALS, CannotFollow, Following, Recording, follows
from methods.schedules import ramp_up, rise

TOTAL = 101
USES: dict[str, Callable[[Clock, Tensor], Tensor]] = {
    "product": lambda clock, x: 3 * clock.progress * x,
    "product, tensor first": lambda clock, x: x * clock.progress,
    "sum": lambda clock, x: x + (1 - clock.progress),
    "difference": lambda clock, x: (clock.progress - 2) - x,
    "quotient": lambda clock, x: x / (1 + clock.step) + 1 / (1 + clock.progress) * x,
    "power": lambda clock, x: x + (2**clock.progress + clock.progress**2 + -clock.progress),
    "threshold": lambda clock, x: (x < clock.progress).float() + (clock.progress >= x).float(),
    "ramp": lambda clock, x: 0.1 * ramp_up(clock.progress, 0.8) * x,
    "line": lambda clock, x: rise(clock.progress, 0.2, 0.6) * x,
    "decay": lambda clock, x: torch.lerp(x, -x, 1 - ema_decay(clock.step, 0.99)),
}  # fmt: skip


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("later", [0, 37, 100])
def test_what_was_recorded_at_one_time_is_right_at_another(name: str, later: int) -> None:
    x = torch.linspace(-1, 1, 5)
    recording = Recording("cpu")
    recording.begin(Clock(50, TOTAL))
    torch.testing.assert_close(USES[name](recording.clock, x), USES[name](Clock(50, TOTAL), x))
    assert recording.holds(Clock(later, TOTAL))  # no "if" was asked
    recording.turn(Clock(later, TOTAL))
    recording.begin(Clock(later, TOTAL), ready=True)
    torch.testing.assert_close(USES[name](recording.clock, x), USES[name](Clock(later, TOTAL), x))


def test_an_if_is_asked_again_and_another_answer_is_another_step() -> None:
    recording = Recording("cpu")
    recording.begin(Clock(10, TOTAL))
    assert recording.clock.progress < 0.5
    assert recording.clock.step  # not the first
    assert recording.holds(Clock(49, TOTAL))
    assert not recording.holds(Clock(50, TOTAL))
    assert not recording.holds(Clock(0, TOTAL))


def test_several_dials_of_one_step_can_be_differentiated() -> None:
    x = torch.ones(3, requires_grad=True)
    recording = Recording("cpu")
    recording.begin(Clock(50, TOTAL))
    sum(k * recording.clock.progress * x.square().sum() for k in range(1, 4)).backward()  # type: ignore[union-attr]
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.full((3,), 6.0))  # 2 x (1 + 2 + 3) / 2


@pytest.mark.parametrize("plain", [float, int, math.exp, round, lambda n: f"{n:.2f}", lambda n: [0][n]])
def test_what_cannot_follow_says_so_and_how_to_help(plain: Callable[[Any], Any]) -> None:
    recording = Recording("cpu")
    recording.begin(Clock(50, TOTAL))
    with pytest.raises(CannotFollow, match=r"@methods\.following\.follows"):
        plain(recording.clock.progress)


def test_a_schedule_of_ones_own_follows_once_it_is_told_to() -> None:
    schedule = follows(lambda progress, *, power: math.pow(progress, power))
    recording = Recording("cpu")
    recording.begin(Clock(50, TOTAL))
    number = schedule(recording.clock.progress, power=2)
    assert isinstance(number, Following)
    assert number.number() == 0.25
    assert recording.holds(Clock(100, TOTAL))
    assert number.number() == 1.0
    assert schedule(0.5, power=2) == 0.25


def test_more_numbers_than_there_are_dials_or_than_before_are_refused() -> None:
    recording, x = Recording("cpu"), torch.ones(())
    recording.begin(Clock(1, TOTAL))
    for _ in range(MOST_DIALS):
        recording.clock.progress * x
    with pytest.raises(CannotFollow, match=f"more than {MOST_DIALS}"):
        recording.clock.progress * x
    recording.begin(Clock(1, TOTAL))
    recording.clock.progress * x
    recording.turn(Clock(2, TOTAL))
    recording.begin(Clock(2, TOTAL), ready=True)
    recording.clock.progress * x
    with pytest.raises(CannotFollow, match="more than 1"):
        recording.clock.progress * x


def test_a_teacher_follows_by_a_share_that_follows_the_clock() -> None:
    student, recording = nn.Linear(3, 3), Recording("cpu")
    plain, followed = nn.Linear(3, 3), nn.Linear(3, 3)
    followed.load_state_dict(plain.state_dict())
    recording.begin(Clock(5, TOTAL))
    average_parameters(plain, student, ema_decay(5, 0.99))
    average_parameters(followed, student, ema_decay(recording.clock.step, 0.99))
    torch.testing.assert_close(followed.state_dict(), plain.state_dict())


# Every method -------------------------------------------------------------------------------------------------------
FAMILIES = [(name, methods.get(name).supervision) for name in methods.names()]


class Emulated(Stepper):
    """A step as a graph would replay it: recorded at one time, its dials turned to another."""

    def losses_at(self, clock: Clock) -> dict[str, float]:
        self.clock, self.found = clock, {}
        torch.manual_seed(1)
        self.step()
        return self.found

    def _descend(self, terms: dict[str, Tensor], player: str = "main") -> None:
        super()._descend(terms, player)
        self.found |= {name: term.item() for name, term in terms.items()}


@pytest.mark.parametrize(("name", "family"), FAMILIES)
def test_a_recorded_step_of_every_method_computes_what_the_step_itself_does(
    name: str, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DEVICE", "cpu")
    size = Size(32, 2, 4, "float32")
    plain, recorded = Emulated(name, family, size), Emulated(name, family, size)
    recording = Recording("cpu")
    recording.begin(Clock(90, TOTAL))
    recorded.losses_at(recording.clock)
    plain.losses_at(Clock(90, TOTAL))
    assert recording.holds(Clock(95, TOTAL)), "another phase"
    recording.turn(Clock(95, TOTAL))
    recording.begin(Clock(95, TOTAL), ready=True)
    found, expected = recorded.losses_at(recording.clock), plain.losses_at(Clock(95, TOTAL))
    assert set(found) == set(expected) != set()
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-5)
    for key, value in plain.method.state_dict().items():
        torch.testing.assert_close(recorded.method.state_dict()[key], value, rtol=1e-2, atol=1e-4)
