"""The forkserver: a process with torch and the compiled loops loaded, of which fresh ones are made in milliseconds."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import types
from collections.abc import Callable
from typing import Any

from . import child

# glibc gives big tensors back to the system at every step and faults them in again; keep them instead.
# And one seed of Python's hashes: a method that goes through a set of words does so in one order in every process.
ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_MMAP_MAX_": "0",
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
"""What the processes of cells find in their environment, unless it says otherwise already."""

TRIES = 3
"""How often a process is asked for while the forkserver ends each time; it is made anew each time."""

PAUSE_SECONDS = 0.5

GONE = 255
"""The exit code that multiprocessing gives a process of whose end nobody told, since the forkserver ended before."""


class ServerGone(RuntimeError):
    """The forkserver ended again and again before it had made a process."""


def fork_server() -> Any:
    """The multiprocessing context in which a fresh process with torch loaded starts in milliseconds."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    context = multiprocessing.get_context("forkserver")
    # torch._dynamo is what the first optimizer of a process imports: seconds, paid once here.
    context.set_forkserver_preload([child.__name__, "datasets.feed", "torch._dynamo", "benchmark.execute.preload"])
    return context


def launch(context: Any, target: Callable[..., None], arguments: tuple[Any, ...]) -> Any:
    """Start a fresh process; it does not import the caller's main module, which may be a notebook or a pipe.

    Raises:
        ServerGone: somebody, perhaps the system for want of memory, ends the forkserver whenever there is one.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        for left in reversed(range(TRIES)):
            process = context.Process(target=target, args=arguments)
            try:
                process.start()
                break
            except (EOFError, ConnectionError) as error:
                if not left:
                    raise ServerGone(
                        f"the process that starts the workers was ended {TRIES} times; perhaps out of memory: run "
                        "fewer --workers. What is computed is kept, and the same command goes on from here"
                    ) from error
                time.sleep(PAUSE_SECONDS)  # until the system knows, too, that it is over
    finally:
        sys.modules["__main__"] = main
    return process
