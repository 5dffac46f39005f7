"""Numbers that follow the clock: a step that was recorded once can be replayed at another time.

An accelerator replays a recorded step without running Python, so a weight that Python computed from ``clock.progress``
would stay what it was when the step was recorded. While recording, the clock therefore holds :class:`Following`
numbers. Methods compute with them as with floats; where one meets a tensor it becomes a *dial*, a tensor that is set
anew before every replay, and where an ``if`` asks one, the answer is a *guard*: a step with another answer is not the
recorded one. What cannot follow (``math.exp`` of one, ``int`` of one) raises :class:`CannotFollow`; such a step is
taken by Python every time.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from .base import Clock

MOST_DIALS = 64
"""Numbers of one step that may meet tensors."""

_Schedule = TypeVar("_Schedule", bound=Callable[..., float])


class CannotFollow(TypeError):
    """A number that follows the clock was used where only one that stays as it is can be."""


class Recording:
    """What one step asks of the clock, so that it can be asked again at another time.

    Args:
        device: where dials are.

    Attributes:
        clock: a clock of :class:`Following` numbers, for the step that is recorded.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.clock = Clock(0, 1)
        self._now = Clock(0, 1)
        self._values = torch.zeros(MOST_DIALS, device=device)
        self._dials: list[Callable[[], float]] = []
        self._guards: list[tuple[Callable[[], bool], bool]] = []
        self._set = 0

    def begin(self, now: Clock, *, ready: bool = False) -> None:
        """Forget what was asked, and record the step at ``now``.

        Args:
            ready: the dials hold what this step will ask for, as :meth:`turn` has just set them: nothing is written.
        """
        self._now = now
        self._set = len(self._dials) if ready else 0
        self._dials, self._guards = [], []
        self.clock = Clock(Following(self, lambda: self._now.step), now.total)  # type: ignore[arg-type]

    def holds(self, now: Clock) -> bool:
        """Whether every ``if`` of the recorded step would go the same way at ``now``."""
        self._now = now
        return all(ask() == answer for ask, answer in self._guards)

    def turn(self, now: Clock) -> None:
        """Set the dials as they are at ``now``."""
        self._now = now
        if self._dials:
            values = torch.tensor([number() for number in self._dials])
            self._values.data[: len(values)].copy_(values, non_blocking=True)

    def dial(self, number: Callable[[], float]) -> Tensor:
        """A scalar tensor that is ``number()`` now, and will be at the time of every replay.

        Raises:
            CannotFollow: there are too many, or more than the step asked for before.
        """
        place = len(self._dials)
        if place == MOST_DIALS or (self._set and place >= self._set):
            raise CannotFollow(f"a step asked for more than {self._set or MOST_DIALS} numbers that follow the clock")
        self._dials.append(number)
        if not self._set:
            self._values.data[place].fill_(number())
        return self._values.data[place]  # .data: what autograd keeps of one dial is not spoilt by setting the next

    def guard(self, ask: Callable[[], bool]) -> bool:
        """The answer now; remembered."""
        answer = ask()
        self._guards.append((ask, answer))
        return answer


class Following:
    """A number computed from the clock, and how to compute it again; takes part in arithmetic like a float.

    Args:
        recording: of the step that uses it.
        number: its value at the time that the recording is at.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, recording: Recording, number: Callable[[], float]) -> None:
        self.recording, self.number = recording, number

    def then(self, number: Callable[[], float]) -> Following:
        """Another number of the same recording."""
        return Following(self.recording, number)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch met one among its arguments: it gets the dial."""
        args, kwargs = tree_map(_dialled, (args, kwargs or {}))
        return func(*args, **kwargs)

    def _with(self, other: Any, operation: Callable[[Any, Any], Any], *, swapped: bool = False) -> Any:
        left, right = (other, self) if swapped else (self, other)
        if isinstance(other, Tensor):
            return operation(_dialled(left), _dialled(right))
        if not isinstance(other, int | float | Following):
            return NotImplemented
        return self.then(lambda: operation(_number(left), _number(right)))

    def _ask(self, other: Any, operation: Callable[[Any, Any], Any]) -> Any:
        if isinstance(other, Tensor):
            return operation(_dialled(self), other)
        if not isinstance(other, int | float | Following):
            return NotImplemented
        return self.recording.guard(lambda: operation(self.number(), _number(other)))

    def __add__(self, other: Any) -> Any:
        return self._with(other, operator.add)

    def __radd__(self, other: Any) -> Any:
        return self._with(other, operator.add, swapped=True)

    def __sub__(self, other: Any) -> Any:
        return self._with(other, operator.sub)

    def __rsub__(self, other: Any) -> Any:
        return self._with(other, operator.sub, swapped=True)

    def __mul__(self, other: Any) -> Any:
        return self._with(other, operator.mul)

    def __rmul__(self, other: Any) -> Any:
        return self._with(other, operator.mul, swapped=True)

    def __truediv__(self, other: Any) -> Any:
        return self._with(other, operator.truediv)

    def __rtruediv__(self, other: Any) -> Any:
        return self._with(other, operator.truediv, swapped=True)

    def __pow__(self, other: Any) -> Any:
        return self._with(other, operator.pow)

    def __rpow__(self, other: Any) -> Any:
        return self._with(other, operator.pow, swapped=True)

    def __neg__(self) -> Following:
        return self.then(lambda: -self.number())

    def __lt__(self, other: Any) -> Any:
        return self._ask(other, operator.lt)

    def __le__(self, other: Any) -> Any:
        return self._ask(other, operator.le)

    def __gt__(self, other: Any) -> Any:
        return self._ask(other, operator.gt)

    def __ge__(self, other: Any) -> Any:
        return self._ask(other, operator.ge)

    def __eq__(self, other: object) -> Any:
        return self._ask(other, operator.eq)

    def __ne__(self, other: object) -> Any:
        return self._ask(other, operator.ne)

    def __bool__(self) -> bool:
        return self.recording.guard(lambda: bool(self.number()))

    def _cannot(self, *_: object) -> NoReturn:
        raise CannotFollow(
            "a number of the clock was turned into a plain one while the step was recorded; let schedules of your own "
            "follow it with @methods.following.follows"
        )

    __float__ = __int__ = __index__ = __round__ = __floor__ = __ceil__ = __trunc__ = __format__ = _cannot


def follows(schedule: _Schedule) -> _Schedule:
    """Let a function of plain numbers take numbers that follow the clock; what it returns then follows too.

    >>> from methods.schedules import ramp_up
    >>> recording = Recording("cpu")
    >>> recording.begin(Clock(5, 11))
    >>> weight = 2 * ramp_up(recording.clock.progress) * torch.ones(1)
    >>> recording.turn(Clock(10, 11))  # a replay would now compute with ramp_up(1.0)
    """

    @wraps(schedule)
    def either(*args: Any, **kwargs: Any) -> Any:
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, Following)]
        if not given:
            return schedule(*args, **kwargs)
        return given[0].then(lambda: schedule(*map(_number, args), **{k: _number(v) for k, v in kwargs.items()}))

    return either  # type: ignore[return-value]


def _number(value: Any) -> Any:
    return value.number() if isinstance(value, Following) else value


def _dialled(value: Any) -> Any:
    return value.recording.dial(value.number) if isinstance(value, Following) else value
