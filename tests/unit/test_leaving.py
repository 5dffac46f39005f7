"""How a process ends that has loaded numba's loops: with its own exit code, whatever libraries do after Python."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmark import ROOT, leaving

ABORTS = "import ctypes; libc = ctypes.CDLL(None); libc.__cxa_atexit(libc.abort, None, None)\n"
"""Like LLVM's destructors on a bad day: the process aborts when C's ``exit`` gets there."""

SIGABRT = -6


def ended(source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", source, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_what_libraries_do_after_python_is_left_out_and_nothing_else() -> None:
    work = (
        "import atexit, sys, threading, time\n"
        "kept = open(sys.argv[1], 'w')\n"
        "kept.write('in a file that nobody closed')\n"
        "atexit.register(print, 'an exit function')\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('a thread'))).start()\n"
        "print('written', end=' ')\n"
        "raise SystemExit(7)\n"
    )
    assert ended(ABORTS + work, "/dev/null").returncode == SIGABRT
    done = ended(f"{ABORTS}from benchmark import leaving; leaving.skip_destructors()\n{work}", "/dev/stderr")
    assert (done.returncode, done.stdout) == (7, "written a thread\nan exit function\n")
    assert done.stderr == "in a file that nobody closed"


def test_a_fault_keeps_its_traceback_and_its_exit_code() -> None:
    done = ended("from benchmark import leaving; leaving.skip_destructors(); 1 / 0")
    assert (done.returncode, "ZeroDivisionError" in done.stderr) == (1, True)


def test_a_c_library_without_the_function_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    leaving.skip_destructors()


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code"), [(["show", "nonsense"], 2), (["--help"], 0)])
def test_the_command_line_ends_with_its_own_exit_code(arguments: list[str], code: int) -> None:
    done = ended(f"{ABORTS}import runpy; runpy.run_module('benchmark', run_name='__main__')", *arguments)
    assert done.returncode == code, done.stderr


@pytest.mark.slow
def test_the_process_that_starts_workers_ends_well() -> None:
    done = ended(f"{ABORTS}import benchmark.execute.preload")
    assert (done.returncode, done.stderr) == (0, "")
