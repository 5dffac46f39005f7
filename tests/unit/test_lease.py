"""The right to run one cell belongs to one runner at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmark.execute.lease import STALE_SECONDS, WRITING_SECONDS, Lease, _birth


def written(folder: Path, *, age: float = 0.0, **changes: Any) -> None:
    """A lease as another runner would have left it, last heard of ``age`` seconds ago."""
    import socket

    owner = {"host": socket.gethostname(), "pid": os.getpid(), "born": psutil.Process().create_time()} | changes
    path = folder / "lease.json"
    path.write_text(json.dumps(owner))
    _aged(path, age)


def _aged(path: Path, age: float) -> None:
    then = time.time() - age
    os.utime(path, (then, then))


def ended_process() -> dict[str, Any]:
    """Process number and birth of a process that has ended and is not a zombie."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        born = psutil.Process(process.pid).create_time()
        process.communicate(b"\n")
    return {"pid": process.pid, "born": born}


def test_a_lease_that_is_kept_beats_and_is_released_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.execute.lease.BEAT_SECONDS", 0.01)
    lease = Lease(tmp_path)
    assert lease.take()
    _aged(tmp_path / "lease.json", STALE_SECONDS)
    with lease.kept():
        until = time.monotonic() + 10
        while time.time() - (tmp_path / "lease.json").stat().st_mtime > STALE_SECONDS / 2:
            assert time.monotonic() < until, "no beat in ten seconds"
            time.sleep(0.01)
        assert not Lease(tmp_path).take()
    assert not (tmp_path / "lease.json").exists()


def test_a_lease_is_taken_once_and_again_after_its_release(tmp_path: Path) -> None:
    first, second = Lease(tmp_path / "cell"), Lease(tmp_path / "cell")
    assert first.take()
    assert not second.take()
    assert second.alive()
    first.release()
    assert not second.alive()
    assert second.take()


def test_releasing_what_one_does_not_hold_changes_nothing(tmp_path: Path) -> None:
    first, second = Lease(tmp_path), Lease(tmp_path)
    second.release()
    assert first.take()
    second.release()
    assert not second.take()


def test_a_lease_whose_owner_is_dead_is_taken_over(tmp_path: Path) -> None:
    written(tmp_path, **ended_process())
    assert not Lease(tmp_path).alive()
    assert Lease(tmp_path).take()


def test_a_process_that_only_has_the_number_of_the_owner_does_not_hold_its_lease(tmp_path: Path) -> None:
    written(tmp_path, born=psutil.Process().create_time() - 1000)
    assert Lease(tmp_path).take()


@pytest.mark.parametrize(("age", "alive"), [(STALE_SECONDS - 30, True), (STALE_SECONDS + 30, False)])
def test_a_runner_on_another_machine_is_known_by_its_heartbeat(tmp_path: Path, age: float, alive: bool) -> None:
    written(tmp_path, host="elsewhere", age=age)
    assert Lease(tmp_path).alive() is alive
    assert Lease(tmp_path).take() is not alive


def test_a_clock_that_is_set_ends_no_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The birth of a process that psutil computes moves with the clock."""
    assert Lease(tmp_path).take()
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + 5)
    assert Lease(tmp_path).alive()
    assert not Lease(tmp_path).take()


def test_a_process_with_the_number_of_the_owner_that_began_at_another_tick_does_not_hold_its_lease(
    tmp_path: Path,
) -> None:
    born = _birth(os.getpid())
    written(tmp_path, **born | {"ticks": born["ticks"] + 1})
    assert not Lease(tmp_path).alive()


@pytest.mark.parametrize(("age", "alive"), [(0, True), (STALE_SECONDS + 30, False)])
def test_a_lease_of_another_boot_is_known_by_its_heartbeat(tmp_path: Path, age: float, alive: bool) -> None:
    """Perhaps this machine was started again, perhaps another one has its name."""
    written(tmp_path, boot="another", ticks=1, age=age)
    assert Lease(tmp_path).alive() is alive


@pytest.mark.parametrize(("age", "alive"), [(0, True), (STALE_SECONDS + 30, False)])
def test_a_lease_of_another_container_on_this_machine_is_known_by_its_heartbeat(
    tmp_path: Path, age: float, alive: bool
) -> None:
    """Name and boot are ours, but the owner's process number says nothing here."""
    written(tmp_path, **ended_process(), space="pid:[1]", age=age)
    assert Lease(tmp_path).alive() is alive
    assert Lease(tmp_path).take() is not alive


def test_an_owner_among_our_processes_is_asked_for_and_an_older_lease_does_not_say(tmp_path: Path) -> None:
    ours = os.readlink("/proc/self/ns/pid")
    assert Lease(tmp_path).take()
    assert json.loads((tmp_path / "lease.json").read_text())["space"] == ours
    for known in ({"space": ours}, {}):
        written(tmp_path, **ended_process(), **known)
        assert not Lease(tmp_path).alive()


def test_where_nobody_tells_containers_apart_processes_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(path: str) -> str:
        raise OSError(2, "No such file or directory", path)

    monkeypatch.setattr(os, "readlink", unknown)
    assert Lease(tmp_path).take()
    assert "space" not in json.loads((tmp_path / "lease.json").read_text())
    _aged(tmp_path / "lease.json", STALE_SECONDS + 30)
    assert Lease(tmp_path).alive()


def test_an_owner_that_was_killed_and_never_reaped_is_dead(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from benchmark.execute.lease import Lease; Lease(Path(sys.argv[1]))"
    with subprocess.Popen([sys.executable, "-c", f"{code}.take()", str(tmp_path)]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody asked for its exit code
        assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        assert (tmp_path / "lease.json").exists()
        assert not Lease(tmp_path).alive()
        assert Lease(tmp_path).take()


def test_a_heartbeat_of_the_future_counts_from_when_it_is_first_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, host="elsewhere", age=-7 * 24 * 3600)
    assert Lease(tmp_path).alive()
    later = time.time() + STALE_SECONDS + 30
    monkeypatch.setattr(time, "time", lambda: later)
    assert not Lease(tmp_path).alive()
    assert Lease(tmp_path).take()


def test_a_heartbeat_keeps_a_lease_alive(tmp_path: Path) -> None:
    lease = Lease(tmp_path)
    assert lease.take()
    _aged(tmp_path / "lease.json", STALE_SECONDS + 30)
    assert lease.beat()
    assert time.time() - (tmp_path / "lease.json").stat().st_mtime < STALE_SECONDS


def test_a_lease_that_was_taken_over_is_neither_kept_alive_nor_removed_by_its_old_owner(tmp_path: Path) -> None:
    old = Lease(tmp_path)
    assert old.take()
    written(tmp_path, host="elsewhere", age=STALE_SECONDS + 30)  # as the new owner left it
    assert not old.beat()
    assert not Lease(tmp_path).alive()
    old.release()
    assert (tmp_path / "lease.json").exists()


def test_a_lease_that_is_gone_is_beaten_and_released_without_error(tmp_path: Path) -> None:
    lease = Lease(tmp_path)
    assert lease.take()
    (tmp_path / "lease.json").unlink()
    assert not lease.beat()
    lease.release()


def test_a_lease_on_a_file_system_that_does_not_answer_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease(tmp_path)
    assert lease.take()

    def away(*_: Any) -> None:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(os, "utime", away)
    assert lease.beat()


def test_who_keeps_a_lease_is_told_once_when_somebody_else_took_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.execute.lease.BEAT_SECONDS", 0.01)
    lease, lost, told = Lease(tmp_path), threading.Event(), []
    assert lease.take()
    with lease.kept(lambda: (told.append(1), lost.set())[1]):
        written(tmp_path, host="elsewhere")
        assert lost.wait(10)
        time.sleep(0.05)
    assert told == [1]
    assert (tmp_path / "lease.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 3}', "\x00\x00"])
def test_a_lease_that_says_no_owner_is_being_written_for_a_while_and_then_damaged(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lease.json"
    path.write_text(content)
    assert not Lease(tmp_path).take()
    _aged(path, WRITING_SECONDS + 5)
    assert Lease(tmp_path).take()


def test_many_that_find_one_dead_lease_end_with_one_owner(tmp_path: Path) -> None:
    dead = ended_process()
    for attempt in range(30):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        written(folder, **dead)
        start, taken = threading.Barrier(6), []

        def race(folder: Path = folder, start: threading.Barrier = start, taken: list[bool] = taken) -> None:
            lease = Lease(folder)
            start.wait()
            taken.append(lease.take())

        threads = [threading.Thread(target=race) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(taken) == 1


def test_a_sweep_removes_what_the_dead_left_and_nothing_that_lives(tmp_path: Path) -> None:
    Lease(tmp_path).sweep()
    assert list(tmp_path.iterdir()) == []
    written(tmp_path)
    Lease(tmp_path).sweep()
    assert (tmp_path / "lease.json").exists()
    written(tmp_path, **ended_process())
    Lease(tmp_path).sweep()
    assert not (tmp_path / "lease.json").exists()


@pytest.mark.parametrize("links", [True, False])
def test_a_lease_appears_whole_and_leaves_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """With hard links it never exists empty, so whoever is killed while taking it blocks nobody."""
    seen = []

    def link(source: Path, target: Path) -> None:
        if not links:
            raise PermissionError("no hard links here")
        seen.append((json.loads(source.read_text())["pid"], target.exists()))
        real(source, target)

    real = os.link
    monkeypatch.setattr(os, "link", link)
    assert Lease(tmp_path).take()
    assert seen == ([(os.getpid(), False)] if links else [])
    assert not Lease(tmp_path).take()
    assert {path.name for path in tmp_path.iterdir()} == {"lease.json", ".lease.lock"}
