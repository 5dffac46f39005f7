"""The thread that writes to the tracker, with a store that is down when a test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from benchmark.tracking import writer
from benchmark.tracking.store import Unavailable
from benchmark.tracking.writer import Writer

PATIENCE = 20.0
"""Seconds until a test that waits for the thread fails; none of them takes a noticeable part of it."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_FIRST_PAUSE", 0.001)


class Store:
    """Notes which jobs ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def job(self, name: str) -> Callable[[Store], None]:
        return lambda store: store.ran.append(name)


def test_jobs_run_in_order_and_close_waits_for_them():
    store = Store()
    background = Writer(lambda: store)
    for name in ("a", "b", "c"):
        background.submit(name, store.job(name))
    assert background.close(PATIENCE) == []
    assert store.ran == ["a", "b", "c"]


def test_a_store_that_is_down_is_tried_again_and_nothing_is_lost():
    store, attempts, done = Store(), [], threading.Event()

    def open_late() -> Store:
        attempts.append(1)
        if len(attempts) < 4:
            raise Unavailable("away")
        return store

    background = Writer(open_late)
    background.submit("a", store.job("a"))
    background.submit("b", lambda store: done.set())
    assert done.wait(PATIENCE)
    assert background.close(PATIENCE) == []
    assert store.ran == ["a"]
    assert len(attempts) == 4


def test_a_job_that_is_interrupted_half_way_is_run_again():
    store, tries = Store(), []

    def twice(store: Store) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise Unavailable("went away in the middle")
        store.ran.append("whole")

    background = Writer(lambda: store)
    background.submit("a", twice)
    while not tries:  # the first try comes before the end, which would be the last one
        background._thread.join(0.001)
    background.close(PATIENCE)
    assert store.ran == ["whole"]


def test_submitting_never_waits_and_newer_news_replace_older():
    store, gate = Store(), threading.Event()

    def open_slowly() -> Store:
        gate.wait(PATIENCE)
        return store

    background = Writer(open_slowly)
    for name in ("old", "new"):  # returns although the store hangs, or the test would
        background.submit("same key", store.job(name))
    assert background.close(0.01) == ["same key"]  # not within the time allowed
    gate.set()
    background._thread.join(PATIENCE)
    assert store.ran == ["new"]


def test_one_broken_job_is_reported_and_the_others_run():
    store = Store()
    background = Writer(lambda: store)
    background.submit("broken", lambda store: {}["nothing"])
    background.submit("whole", store.job("whole"))
    assert background.close(PATIENCE) == []
    assert background.failures == ["broken: KeyError: 'nothing'"]
    assert store.ran == ["whole"]


def test_at_the_end_a_store_that_is_still_down_is_given_up_and_what_waits_is_named():
    def refuse() -> Store:
        raise Unavailable("away")

    background = Writer(refuse)
    background.submit("a", lambda store: None)
    background.submit("b", lambda store: None)
    assert background.close(PATIENCE) == ["a", "b"]
    assert background.down == "away"
    assert not background._thread.is_alive()
