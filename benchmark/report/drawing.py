"""Figures -> PNG and PDF; of many, the later ones on all cores: drawing takes most of the time of a large report."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from itertools import islice

from . import style
from .style import Picture

FEW = 24
"""So many figures are drawn here: other processes would take as long to start."""

Drawn = tuple[Picture, bytes, bytes]
"""A picture without its figure, its PNG and its PDF."""


def draw(pictures: Iterable[Picture], *, workers: int | None = None) -> list[Drawn]:
    """Draw every picture, in order; the bytes do not depend on where.

    Args:
        pictures: made one at a time; to be called within `style.settings`.
        workers: processes; None: one per core that this one may use.
    """
    waiting = iter(pictures)
    cores = workers or len(os.sched_getaffinity(0))
    found = [_drawn(picture) for picture in (waiting if cores == 1 else islice(waiting, FEW))]
    following = next(waiting, None)
    if following is not None:
        # a fresh interpreter: a copy of this one would share its threads
        with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as pool:
            found += list(_apart(following, waiting, pool, 2 * cores))
    return found


def render(pickled: bytes) -> tuple[bytes, bytes]:
    """PNG and PDF of a pickled figure: what a worker does."""
    with style.settings():
        figure = pickle.loads(pickled)
        return style.png(figure), style.pdf(figure)


def _apart(first: Picture, others: Iterator[Picture], pool: ProcessPoolExecutor, ahead: int) -> Iterator[Drawn]:
    """Hand pictures to the pool, no more than ``ahead`` at a time, and take them back in order."""
    going: deque[tuple[Picture, Future[tuple[bytes, bytes]]]] = deque()
    picture: Picture | None = first
    while picture is not None or going:
        if picture is not None:
            going.append((replace(picture, figure=None), pool.submit(render, pickle.dumps(picture.figure))))
            picture = next(others, None)
        if picture is None or len(going) >= ahead:
            done, future = going.popleft()
            yield (done, *future.result())


def _drawn(picture: Picture) -> Drawn:
    content = style.png(picture.figure)
    return replace(picture, figure=None), content, style.pdf(picture.figure)
