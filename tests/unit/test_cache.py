"""Arrays on disk: all of them or none, whatever happened to the file."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from datasets import cache


def content(seed: int = 0) -> dict[str, list[np.ndarray]]:
    """A stacked array in two pieces and one of another type whose size is no multiple of the alignment."""
    rng = np.random.default_rng(seed)
    return {
        "image": [rng.random((2, 40, 50), np.float32), rng.random((1, 40, 50), np.float32)],
        "label": [rng.integers(0, 4, (3, 7)).astype(np.uint8)],
    }


def same(stored: cache.Stored | None, arrays: dict[str, list[np.ndarray]]) -> bool:
    return stored is not None and all(
        np.array_equal(stored.arrays[name], np.concatenate(pieces)) and stored.arrays[name].dtype == pieces[0].dtype
        for name, pieces in arrays.items()
    )


def test_pieces_come_back_joined_and_so_does_what_was_said_about_them(tmp_path: Path) -> None:
    cache.save(tmp_path / "new" / "a", content(), {"samples": ["x", "é"]})
    stored = cache.load(tmp_path / "new" / "a")
    assert same(stored, content())
    assert stored.about == {"samples": ["x", "é"]}


def test_arrays_are_mapped_and_writing_to_them_leaves_the_file_alone(tmp_path: Path) -> None:
    cache.save(tmp_path / "a", content(), {})
    stored = cache.load(tmp_path / "a")
    base = stored.arrays["image"]
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    stored.arrays["image"][:] = 0
    assert same(cache.load(tmp_path / "a"), content())


def test_an_absent_file_and_an_unreadable_path_count_as_absent(tmp_path: Path) -> None:
    assert cache.load(tmp_path / "a") is None
    (tmp_path / "file").write_text("not a folder")
    assert cache.load(tmp_path / "file" / "a") is None


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_file_cut_short_anywhere_counts_as_absent(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a"
    cache.save(path, content(), {"samples": list(range(100))})
    os.truncate(path, int(share * path.stat().st_size))
    assert cache.load(path) is None


def test_a_file_that_lost_its_last_byte_or_gained_one_counts_as_absent(tmp_path: Path) -> None:
    path = tmp_path / "a"
    cache.save(path, content(), {})
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole + b"\0"):
        path.write_bytes(damaged)
        assert cache.load(path) is None


def test_blocks_of_zeros_and_a_changed_table_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a"
    cache.save(path, content(), {"samples": ["first"]})
    whole = path.read_bytes()
    path.write_bytes(bytes(8192) + whole[8192:])
    assert cache.load(path) is None
    path.write_bytes(whole.replace(b"first", b"other"))
    assert cache.load(path) is None


def test_a_trailer_that_points_outside_the_file_counts_as_absent(tmp_path: Path) -> None:
    path = tmp_path / "a"
    cache.save(path, content(), {})
    whole = path.read_bytes()
    path.write_bytes(whole[:-32] + b"\xff" * 8 + whole[-24:])  # its first eight bytes say where the table starts
    assert cache.load(path) is None


def test_a_full_disk_is_reported_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        cache.save(tmp_path / "a", content(), {})
    assert list(tmp_path.iterdir()) == []


def test_several_writers_and_readers_see_whole_files_only(tmp_path: Path) -> None:
    path, seen = tmp_path / "a", []
    start = threading.Barrier(4)

    def write() -> None:
        start.wait()
        for _ in range(5):
            cache.save(path, content(), {})

    def read() -> None:
        start.wait()
        seen.extend(cache.load(path) for _ in range(20))

    threads = [threading.Thread(target=job) for job in (write, write, write, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(stored is None or same(stored, content()) for stored in seen)
    assert same(cache.load(path), content())
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_what_a_killed_writer_left_is_removed_a_day_later(tmp_path: Path) -> None:
    old, new = tmp_path / ".a.1.tmp", tmp_path / ".a.2.tmp"
    for left in (old, new):
        left.write_text("half")
    os.utime(old, (0, 0))
    cache.save(tmp_path / "a", content(), {})
    assert not old.exists()
    assert new.exists()


def test_one_process_builds_while_the_others_wait(tmp_path: Path) -> None:
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def second() -> None:
        inside.wait()
        with cache.exclusive(tmp_path / "a"):
            order.append("second")

    other = threading.Thread(target=second)
    other.start()
    with cache.exclusive(tmp_path / "a"):
        inside.set()
        leave.wait(0.05)  # room for the second to push in, were there no lock
        order.append("first")
    other.join()
    assert order == ["first", "second"]
