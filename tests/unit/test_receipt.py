"""Receipts name the code that made a number, committed or not, and the versions that it was locked to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import receipt


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small repository in place of this one."""
    for package in ("benchmark", "datasets", "methods"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "code.py").write_text("one = 1\n")
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    monkeypatch.setattr(receipt, "ROOT", tmp_path)
    for cached in (receipt.code, receipt.lock):
        cached.cache_clear()
    yield tmp_path
    for cached in (receipt.code, receipt.lock):
        cached.cache_clear()


def _again() -> dict:
    receipt.code.cache_clear()
    return receipt.code()


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    found = receipt.code()
    commit = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert (found["commit"], found["dirty"], found["diff"]) == (commit.strip(), False, "")


def test_an_edit_and_a_file_that_nobody_added_both_change_the_diff_and_the_tree(checkout: Path) -> None:
    clean = receipt.code()
    (checkout / "methods" / "code.py").write_text("one = 2\n")
    edited = _again()
    (checkout / "methods" / "mine.py").write_text("two = 2\n")
    added = _again()
    assert (clean["dirty"], edited["dirty"], added["dirty"]) == (False, True, True)
    assert len({found["diff"] for found in (clean, edited, added)}) == 3
    assert len({found["tree"] for found in (clean, edited, added)}) == 3
    assert clean["commit"] == added["commit"]


def test_other_files_do_not_make_a_checkout_dirty(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("nothing that runs")
    assert _again()["dirty"] is False


def test_a_file_with_an_odd_name_counts_by_its_name_and_breaks_nothing(checkout: Path) -> None:
    found = [receipt.code()]
    for name in ("methods/plän 1.py", "methods/two\nlines.py", os.fsdecode(b"methods/latin \xe4.py"), " first.py"):
        (checkout / name).write_text("two = 2\n")
        found.append(_again())
    assert [each["dirty"] for each in found] == [False, True, True, True, True]
    assert len({each["diff"] for each in found}) == 5
    assert len({each["tree"] for each in found}) == 4, "the last one is in none of the three packages"


def test_what_cannot_be_read_and_locks_of_editors_are_no_code(checkout: Path) -> None:
    clean = receipt.code()
    (checkout / "methods/.#code.py").symlink_to("me@host.1234")
    (checkout / "methods/gone.py").symlink_to("nowhere.py")
    (checkout / "methods/.#saved.py").write_text("two = 2\n")
    (checkout / "methods/folder.py").mkdir()
    (checkout / "lost.py").symlink_to("nowhere.py")
    assert _again() == clean


def test_digests_are_those_that_kept_records_hold(checkout: Path) -> None:
    (checkout / "methods/code.py").write_bytes(b"one = 2\r\n")
    (checkout / "methods/mine.py").write_bytes(b"two = '\xe4'\r\n")
    found, diff = _again(), ["git", "-C", str(checkout), "diff", "HEAD", "--", "*.py", "*.yaml"]
    text = subprocess.run(diff, capture_output=True, text=True, check=True).stdout.strip()
    text += "\nmethods/mine.py\n" + (checkout / "methods/mine.py").read_text(errors="replace")
    assert found["diff"] == receipt._hash(text.encode())
    one, edited, mine = (receipt._hash(each) for each in (b"one = 1\n", b"one = 2\r\n", b"two = '\xe4'\r\n"))
    lines = [("benchmark", "code", one), ("datasets", "code", one), ("methods", "code", edited)]
    whole = "".join(f"{package}/{name}.py|{digest}\n" for package, name, digest in [*lines, ("methods", "mine", mine)])
    assert found["tree"] == receipt._hash(whole.encode())


def test_a_plan_that_nobody_added_is_no_change_of_code_but_one_that_comes_with_it_is(checkout: Path) -> None:
    (checkout / "mine.yaml").write_text("title: mine\n")
    (checkout / "work").mkdir()
    (checkout / "work/mine.yaml").write_text("title: mine\n")
    assert (_again()["dirty"], _again()["diff"]) == (False, "")
    (checkout / "benchmark/plans").mkdir()
    (checkout / "benchmark/plans/mine.yaml").write_text("title: mine\n")
    assert _again()["dirty"] is True


def test_without_a_repository_the_tree_still_identifies_the_code(checkout: Path) -> None:
    before = receipt.code()["tree"]
    (checkout / ".git").rename(checkout.parent / f"{checkout.name}-git")
    found = _again()
    assert (found["commit"], found["tree"]) == ("unknown", before)


def test_the_lock_names_what_is_installed_in_another_version(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipt, "versions", lambda: {"numpy": "2.1.0", "scipy": "1.17.1", "torch": "2.13.0"})
    (checkout / "requirements.lock").write_text(
        "# locked\nnumpy==2.4.6   # via scant\nscipy==1.17.1\nother==1 ; python_version < '3.12'\n"
    )
    found = receipt.lock()
    assert found["differs"] == ["numpy 2.1.0"], "torch is not in the lock, because its build depends on the machine"
    assert found["digest"]


def test_no_lock_is_said_by_an_empty_digest_of_nothing(checkout: Path) -> None:
    assert receipt.lock() == {"digest": receipt._hash(b""), "differs": []}


def test_flags_of_the_processor_that_decide_how_it_multiplies_are_recorded(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    assert receipt._flags(info) == []
    info.write_text("model name\t: one\nflags\t\t: fpu amx_bf16 avx2 avx512_bf16\n\nflags\t: of another core\n")
    assert receipt._flags(info) == ["avx2", "avx512_bf16", "amx_bf16"]


# What a method was made of -------------------------------------------------------------------------------------------
@pytest.fixture
def mine(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A method in a family's folder of the small repository."""
    monkeypatch.setattr("methods.families", lambda: {"mine": "semi"})
    for family in ("semi", "scribble"):
        (checkout / "methods" / family).mkdir()
    path = checkout / "methods/semi/mine.py"
    path.write_text("from ..losses.entropy import entropy\nfrom .__init__ import x\n")
    return path


def test_a_method_that_imports_no_private_file_has_the_hash_of_its_own(mine: Path) -> None:
    (mine.parent / "_part.py").write_text("one = 1\n")
    assert receipt.source("mine") == receipt._hash(mine.read_bytes())
    mine.write_text("no Python: (\n")
    assert receipt.source("mine") == receipt._hash(mine.read_bytes())


@pytest.mark.parametrize(
    "line",
    [
        "from ._part import one",
        "from . import _part",
        "from ..semi import _part",
        "from ..semi._part import one",
        "from methods.semi._part import one",
        "import methods.semi._part",
        "def f():\n    from . import _part",
        "from ._first import one",
        "from ..scribble._first import one",
    ],
)
def test_a_private_file_that_a_method_imports_counts_as_its_own(mine: Path, line: str) -> None:
    """Directly or by another private file; of such that import one another in a circle, each once."""
    part = mine.parent / "_part.py"
    for family in ("semi", "scribble"):
        (mine.parents[1] / family / "_first.py").write_text("from ..semi import _part\n")
    mine.write_text(f"{line}\n")
    part.write_text("from . import _part, _first, _gone\none = 1\n")
    first = receipt.source("mine")
    assert receipt.source("mine") == first
    part.write_text("from . import _part, _first, _gone\none = 2\n")
    assert receipt.source("mine") != first


def test_the_code_of_methods_is_their_whole_folder_and_says_what_a_process_began_with(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt, "loaded", lambda: receipt.tree(*receipt._CODE))
    first = receipt.of_methods()
    (checkout / "benchmark/code.py").write_text("one = 2\n")
    assert receipt.of_methods() == first
    (checkout / "methods/code.py").write_text("one = 2\n")
    assert receipt.of_methods() != first
    monkeypatch.setattr(receipt, "loaded", lambda: "0123456789ab")
    assert receipt.of_methods() == [receipt.tree("methods"), "0123456789ab"]
