"""Faults of single files: they stop who opens a dataset, but not `verify`, which looks at the files that are left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .base import DataError

_thread = threading.local()


@contextmanager
def collected() -> Iterator[list[DataError]]:
    """Gather what :func:`fault` is told in this thread, instead of raising it; the list fills while a dataset opens."""
    found: list[DataError] = []
    outer, _thread.found = getattr(_thread, "found", None), found
    try:
        yield found
    finally:
        _thread.found = outer


def fault(error: DataError) -> None:
    """Something wrong with a file without which the dataset can be listed: the caller leaves it out and goes on.

    Raises:
        DataError: ``error``, unless somebody collects.
    """
    found = getattr(_thread, "found", None)
    if found is None:
        raise error
    if str(error) not in map(str, found):  # a folder may be listed several times
        found.append(error)
