"""The watch on test labels: while a cell trains and is evaluated, nobody but its vault may load a test case.

A method that opens the dataset by itself, past the vault, would read the label of the very image that it predicts.
Every dataset's ``load`` therefore asks the watches of this process first. What a watch cannot see is a file that is
opened without the dataset; that methods import nothing for it is what the architecture's test checks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple

from .types import Case


class SealedLabel(PermissionError):
    """A test label was asked for outside the final evaluation, or past the vault."""


class _Watch(NamedTuple):
    dataset: str
    keys: frozenset[str]
    owner: str


_watches: list[_Watch] = []
_thread = threading.local()


@contextmanager
def watch(dataset: str, keys: Collection[str], owner: str) -> Iterator[None]:
    """Refuse to load these cases of a dataset, but for `permitted`.

    Args:
        dataset: its registered name.
        keys: test cases.
        owner: who is to be named, such as "method cps of plan demo".
    """
    mine = _Watch(dataset, frozenset(keys), owner)
    _watches.append(mine)
    try:
        yield
    finally:
        _watches.remove(mine)


@contextmanager
def permitted() -> Iterator[None]:
    """What this thread loads inside is not refused: for the vault, which keeps labels to itself."""
    before, _thread.permitted = getattr(_thread, "permitted", False), True
    try:
        yield
    finally:
        _thread.permitted = before


def watched(load: Callable[[Any, str], Case]) -> Callable[[Any, str], Case]:
    """A dataset's ``load`` that asks the watches first."""

    @wraps(load)
    def checked(self: Any, key: str) -> Case:
        for each in _watches:
            if each.dataset == self.name and key in each.keys and not getattr(_thread, "permitted", False):
                raise SealedLabel(
                    f"{each.owner} loaded test case {key!r} of {self.name} past the vault, and its label with it; a "
                    "method gets its images in batches and never opens a dataset"
                )
        return load(self, key)

    return checked
