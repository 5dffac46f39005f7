"""Figures -> PNG and PDF; many of them on all cores: drawing takes most of the time of a large report."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any

from .. import ROOT
from . import style
from .style import Picture

FEW = 16
"""Fewer figures than that are drawn here, for other processes take as long to start."""

Drawn = tuple[Picture, bytes, bytes]
"""A picture without its figure, its PNG and its PDF."""


@contextmanager
def drawing(pictures: Iterable[Picture], *, workers: int | None = None) -> Iterator[Callable[[], list[Drawn]]]:
    """Begin to draw; what is yielded waits for the last picture and returns all of them, in order.

    Where pictures are many, whatever else is done inside the block is done meanwhile. The bytes do not depend on that.

    Args:
        pictures: made one at a time; to be called within `style.settings`.
        workers: processes; None: one per core that this one may use.
    """
    waiting = iter(pictures)
    first, cores = list(islice(waiting, FEW)), workers or len(os.sched_getaffinity(0))
    if len(first) < FEW or cores == 1:
        drawn = [_drawn(picture) for picture in chain(first, waiting)]
        yield lambda: drawn
        return
    with ExitStack() as stack:
        artists: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for _ in range(cores):
            artists.put(stack.enter_context(_artist()))
        pool = ThreadPoolExecutor(cores)
        stack.callback(pool.shutdown, cancel_futures=True)
        going = [
            (replace(picture, figure=None), pool.submit(_asked, artists, picture.figure))
            for picture in chain(first, waiting)
        ]
        yield lambda: [(picture, *future.result()) for picture, future in going]


def serve() -> None:
    """What another process does: figures in, their bytes out, until nobody asks any more."""
    with style.settings(), suppress(EOFError):
        while True:
            figure = pickle.load(sys.stdin.buffer)
            _send(sys.stdout.buffer, _bytes(figure))


def _artist() -> subprocess.Popen[bytes]:
    """A fresh interpreter; unlike those of multiprocessing, it does not run the caller's script a second time."""
    command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _asked(artists: SimpleQueue[subprocess.Popen[bytes]], figure: object) -> tuple[bytes, bytes]:
    """PNG and PDF of one figure, by the next artist who has nothing to do."""
    artist = artists.get()
    _send(artist.stdin, figure)
    drawn = pickle.load(artist.stdout)  # type: ignore[arg-type]
    artists.put(artist)
    return drawn


def _send(stream: object, content: object) -> None:
    pickle.dump(content, stream, protocol=pickle.HIGHEST_PROTOCOL)  # type: ignore[arg-type]
    stream.flush()  # type: ignore[attr-defined]


def _drawn(picture: Picture) -> Drawn:
    return (replace(picture, figure=None), *_bytes(picture.figure))


def _bytes(figure: Any) -> tuple[bytes, bytes]:
    """PNG and PDF, in this order: the first lays the figure out."""
    return style.png(figure), style.pdf(figure)
