"""How a process ends in which numba has loaded loops: without what C's ``exit`` runs after Python is over.

llvmlite destroys LLVM's global context there, with the modules that numba has left in it, in the order of their
addresses; by chance, once in ten processes that have loaded all our loops, LLVM 20 then fails an assertion of its own
(``Didn't find key?``) and aborts. All work is written by then, but the exit code is that of SIGABRT.
"""

from __future__ import annotations

import ctypes


def skip_destructors() -> None:
    """End this process, whenever and however it does, with its exit code as soon as Python is over.

    Threads are joined, exit functions of Python run and its files are flushed as always. What C libraries registered
    since this was called would run first, so it is to be called when numba has loaded its loops; what they did before
    is left out. Nothing changes where the C library has no ``on_exit``; glibc has it.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "on_exit"):
        library.on_exit(library._exit, None)  # is called with the exit code first, all that _exit takes
