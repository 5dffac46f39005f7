"""One background thread that writes to the tracker, so that no cell ever waits for it, and one writer only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from .store import Unavailable, first_line

S = TypeVar("S")

_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0
"""Seconds between attempts while the tracker is down: doubled each time."""


class Writer(Generic[S]):
    """Runs jobs one after the other on an opened store, and again after a pause while the store is unavailable.

    A job that is submitted under a key replaces the one that waits under it. Jobs must be repeatable: one that was
    interrupted half-way is run again from its beginning.

    Args:
        open_store: called in the thread before the first job, and again until it succeeds.
    """

    def __init__(self, open_store: Callable[[], S], check: Callable[[S], None] = lambda store: None) -> None:
        self.store: S | None = None
        self.down = ""
        self.failures: list[str] = []
        self._open, self._check = open_store, check
        self._jobs: dict[str, Callable[[S], object]] = {}
        self._condition = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="tracker", daemon=True)
        self._thread.start()

    def submit(self, key: str, job: Callable[[S], object]) -> None:
        """Queue a job; returns at once."""
        with self._condition:
            self._jobs[key] = job
            self._condition.notify()

    def close(self, timeout: float) -> list[str]:
        """Try what waits once more, for ``timeout`` seconds at most. Returns the keys of what could not be written."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(timeout)
        with self._condition:
            return list(self._jobs)

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while (following := self._next()) is not None:
            key, job = following
            try:
                self.store = self.store if self.store is not None else self._open()
                self._check(self.store)
                job(self.store)
            except Unavailable as error:
                self.down = str(error)
                if self._give_up(pause):
                    return
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            except Exception as error:  # one job's error must not end the thread, and with it all later ones
                self.failures.append(f"{key}: {type(error).__name__}: {first_line(error)}")
            self.down, pause = "", _FIRST_PAUSE
            with self._condition:
                if self._jobs.get(key) is job:
                    del self._jobs[key]

    def _next(self) -> tuple[str, Callable[[S], object]] | None:
        with self._condition:
            while not self._jobs:
                if self._closing:
                    return None
                self._condition.wait()
            return next(iter(self._jobs.items()))

    def _give_up(self, pause: float) -> bool:
        """Pause before the next attempt, or say that there is none, since the tracker is still down at the end."""
        until = time.monotonic() + pause
        with self._condition:
            was_closing = self._closing
            while not self._closing and (left := until - time.monotonic()) > 0:
                self._condition.wait(left)
            return was_closing
