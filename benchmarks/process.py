"""A contender in a process of its own, with the environment that it would have in real use, called from outside.

glibc reads how it shall treat memory when a process starts, so ours and a plain loop cannot share one.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import torch

from benchmark.execute.server import ENVIRONMENT, launch

OURS: Mapping[str, str | None] = ENVIRONMENT
"""As the runner starts its cells."""

PLAIN: Mapping[str, str | None] = dict.fromkeys(ENVIRONMENT)
"""As a person starts a script: nothing set."""


class Failed(RuntimeError):
    """What the other process was asked to do failed; the message holds its traceback."""


class Worker:
    """Makes ``factory(*arguments)`` in a fresh process and calls its methods there.

    Args:
        factory: a class or function that the other process can import.
        *arguments: for it.
        threads: of torch.
        environment: what is set in its environment, or removed from it (None).

    Raises:
        Failed: by every call, where the other process failed.
    """

    def __init__(
        self, factory: Callable[..., Any], *arguments: Any, threads: int, environment: Mapping[str, str | None]
    ) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        with _environment(environment):
            context = multiprocessing.get_context("spawn")
            self._process = launch(context, _serve, (theirs, threads, factory, arguments))
        theirs.close()
        self._made = False

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call the method ``name`` there; what it returns. The first call waits for the process to start."""
        self.tell(name, *arguments)
        return self.answer()

    def tell(self, name: str, *arguments: Any) -> None:
        """Call the method ``name`` there and do not wait; :meth:`answer` must follow."""
        if not self._made:
            self.answer()
            self._made = True
        self._pipe.send((name, arguments))

    def answer(self) -> Any:
        """What the last call returned."""
        try:
            well, answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise Failed(f"the process ended with exit code {self._process.exitcode}") from None
        if not well:
            raise Failed(answer)
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


class Crew:
    """Several workers of one kind that do the same at the same time: as the runner fills the cores of a machine.

    Args:
        size: how many.
        factory, arguments, threads, environment: see :class:`Worker`.
    """

    def __init__(
        self,
        size: int,
        factory: Callable[..., Any],
        *arguments: Any,
        threads: int = 1,
        environment: Mapping[str, str | None] = OURS,
    ) -> None:
        self.workers = [Worker(factory, *arguments, threads=threads, environment=environment) for _ in range(size)]

    def ask(self, name: str, *arguments: Any) -> list[Any]:
        """Call the method ``name`` of all; what each returns."""
        for worker in self.workers:
            worker.tell(name, *arguments)
        return [worker.answer() for worker in self.workers]

    def ask_each(self, name: str, arguments: Sequence[Any]) -> list[Any]:
        """Call the method ``name`` once per argument, one worker each at the same time; what it returns for each."""
        found: list[Any] = []
        for start in range(0, len(arguments), len(self.workers)):
            busy = list(zip(self.workers, arguments[start:], strict=False))
            for worker, argument in busy:
                worker.tell(name, argument)
            found += [worker.answer() for worker, _ in busy]
        return found

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.__exit__(kind, error, trace)


def _serve(pipe: Connection, threads: int, factory: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(threads)
    try:
        served = factory(*arguments)
        pipe.send((True, None))
    except Exception:
        pipe.send((False, traceback.format_exc()))
        return
    while True:
        try:
            name, given = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, getattr(served, name)(*given)))
        except Exception:
            pipe.send((False, traceback.format_exc()))


@contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
