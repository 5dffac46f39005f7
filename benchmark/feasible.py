"""What can be wrong with a plan whatever the data: names, sizes, network, method. `plan` asks it as `run` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import prod

import torch

import datasets
import methods
from datasets import augment
from datasets.base import DataError
from datasets.types import Task
from datasets.weak import weakened
from methods import networks
from methods.base import Build

from .config import ConfigError, nearest
from .plan import Cell
from .prepare import network_settings

Say = Callable[[str], None]

MOST_NUMBERS = 2**31
"""Of the images of one batch: 8 GiB in float32, before anything is computed."""


class NotReady(RuntimeError):
    """A plan cannot run as it stands; the message says why and what to do."""


def check(cells: Iterable[Cell], say: Say = lambda line: None) -> None:
    """Judge cells by what their datasets are without the data on disk. Reads and trains nothing.

    Raises:
        NotReady, ConfigError: with the first thing that is wrong.
    """
    judge = Judge(say)
    for cell in cells:
        with named(cell):
            task = datasets.get(cell.dataset).nominal_task(cell.options)
            judge(cell, weakened(task) if cell.weak else task)


class Judge:
    """Judges the settings of cells, the same ones once, whatever the seed, fold and amount.

    Args:
        say: hears what is not as asked for, yet can be run.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._judged: set[tuple[str, ...]] = set()
        self._told: set[str] = set()

    def __call__(self, cell: Cell, task: Task) -> None:
        """Check the settings of a cell on a dataset of this task.

        Raises:
            NotReady, ConfigError: with the first thing that is wrong.
        """
        settings = (opened_as(cell), cell.method, repr(cell.hyper), repr(cell.training))
        if settings in self._judged:
            return
        self._judged.add(settings)
        _settings(cell, task)
        steps, validations = cell.training.steps, cell.training.validations
        sentence = f"{cell.dataset}: training.validations {validations} in {steps} steps: one after each step, {steps}"
        if validations > steps and sentence not in self._told:
            self._told.add(sentence)
            self._say(sentence)


def opened_as(cell: Cell) -> str:
    """What cells of one opened dataset have in common."""
    return f"{cell.dataset}|{cell.options}|{cell.weak}"


@contextmanager
def named(cell: Cell) -> Iterator[None]:
    """What split, store, feed or device refuse is said with the cell's name, as all that a person can mend."""
    try:
        yield
    except (ConfigError, DataError, NotReady):
        raise
    except (ValueError, KeyError) as error:
        raise NotReady(f"{cell.title}: {error.args[0] if error.args else error}") from error


def size(cell: Cell, task: Task) -> None:
    """Refuse a batch that no memory holds.

    Raises:
        ConfigError: with how many numbers it has.
    """
    training = cell.training
    assert training.patch is not None
    samples = training.labelled_batch + training.unlabelled_batch
    numbers = samples * task.channels * prod(training.patch)
    if numbers > MOST_NUMBERS:
        raise ConfigError(
            f"{cell.dataset}: training.patch {training.patch}: a batch of {samples} samples of {task.channels} "
            f"channel(s) is {numbers} numbers, {MOST_NUMBERS} are the most; choose a smaller patch or smaller batches"
        )


def _settings(cell: Cell, task: Task) -> None:
    training = cell.training
    size(cell, task)
    reason = methods.get(cell.method).unsupported(task)
    if reason:
        raise NotReady(f"{cell.title}: {reason}")
    if not networks.known(training.network):
        known = (*networks.names(), f"{networks.ENCODER}MODEL")
        raise ConfigError(f"training.network: unknown network {training.network!r}{nearest(training.network, known)}")
    if training.augment not in augment.KINDS:
        raise ConfigError(
            f"training.augment: unknown recipe {training.augment!r}{nearest(training.augment, augment.KINDS)}"
        )
    with torch.device("meta"):  # its shape alone: no weights are read
        name = training.network.removesuffix(networks.PRETRAINED)
        build = networks.builder(name, **network_settings(training, task))
        try:
            network = build()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"training: {error}") from error
    assert training.patch is not None
    for side in training.patch:
        if side % network.divisor:
            allowed = -(-side // network.divisor) * network.divisor
            raise ConfigError(
                f"{cell.dataset}: training.patch {training.patch}: {training.network} needs sides divisible by "
                f"{network.divisor}; {side} is not, {allowed} is the next that is"
            )
    _method(cell, task, build)


def _method(cell: Cell, task: Task, build: Build) -> None:
    """Build it without numbers: it may refuse a size, or ask for a network beside the plan's that cannot be made."""
    try:
        with torch.device("meta"):
            methods.get(cell.method)(task, cell.hyper, build)
    except ValueError as error:
        raise ConfigError(f"{cell.title}: {error}") from error
    except Exception:
        return  # somebody's method that looks at numbers: what is wrong with it shows when its cell begins
