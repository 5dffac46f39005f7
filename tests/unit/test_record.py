"""Records: what is written can be read, and what cannot be written harms nothing."""

from __future__ import annotations

import csv
import errno
import json
import os
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import pytest

from benchmark import record
from benchmark.record import COLUMNS, METRICS, NewerRecord, Record, Score, append_rows, read, write
from datasets.files import atomic_write


def some_record(**changes: Any) -> Record:
    return Record(
        **{
            "id": "cps-1",
            "cell": {
                "method": "cps",
                "hyper": {"weight": 0.1},
                "training": {"patch": [32, 32]},
                "dataset": "acdc",
                "ratio": 0.1,
                "count": None,
                "seed": 0,
                "fold": 1,
                "versions": {"protocol": "1"},
            },
            "status": "finished",
            "seconds": {"train": 1.5},
            "memory_mib": 12.25,
            "parameters": 7,
            "split": {"labelled_groups": ["p1"]},
            "validation": [{"step": 2, "dice": 0.1 + 0.2}],
            "selections": {"last": 4},
            "receipt": {"commit": "abc", "openings": ["final evaluation"]},
            "notes": ["a sentence"],
        }
        | changes
    )


def some_score(**values: float) -> Score:
    return Score(
        "last", "p3", "p3", "left, ventricle", "ok", "mm", 10.5, 7.0, tuple(values.get(m, 0.1) for m in METRICS)
    )


# Round trips ---------------------------------------------------------------------------------------------------------
def test_what_was_written_is_read_back_equal(tmp_path: Path) -> None:
    write(tmp_path / "cps-1", some_record())
    assert read(tmp_path / "cps-1") == some_record()


def test_undefined_numbers_survive(tmp_path: Path) -> None:
    write(tmp_path / "cps-1", some_record(memory_mib=nan, validation=[{"step": 1, "dice": nan}]))
    found = read(tmp_path / "cps-1")
    assert found is not None
    assert isnan(found.memory_mib)
    assert isnan(found.validation[0]["dice"])


def test_scores_keep_every_digit_and_what_is_undefined_or_infinite(tmp_path: Path) -> None:
    exact = 0.1 + 0.2  # 0.30000000000000004: 17 digits
    write(tmp_path, some_record(), [some_score(dice=exact, hd95=inf, nsd=nan)])
    with (tmp_path / "scores.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == COLUMNS
    assert float(row["dice"]) == exact
    assert float(row["hd95"]) == inf
    assert isnan(float(row["nsd"]))
    assert (row["class"], row["diagonal"], row["unit"]) == ("left, ventricle", "10.5", "mm")


def test_a_record_without_scores_has_no_file_of_them(tmp_path: Path) -> None:
    write(tmp_path, some_record(status="failed", reason="it broke"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.json"]


def test_equal_records_are_equal_files(tmp_path: Path) -> None:
    write(tmp_path / "a", some_record(cell={"a": 1, "b": 2}))
    write(tmp_path / "b", some_record(cell={"b": 2, "a": 1}))
    assert (tmp_path / "a/record.json").read_bytes() == (tmp_path / "b/record.json").read_bytes()


def test_all_records_of_a_plan_come_sorted_and_damaged_ones_are_left_out(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write(tmp_path / name, some_record(id=name))
    (tmp_path / "c" / "record.json").write_text("{")
    (tmp_path / "report").mkdir()
    left_out: list[str] = []
    found = record.read_all(tmp_path, left_out)
    assert [(folder.name, found.id) for folder, found in found] == [("a", "a"), ("b", "b")]
    (sentence,) = left_out
    assert sentence.startswith(f"Left out: {tmp_path.name}/c/record.json is damaged")


def test_a_copied_folder_is_no_cell_and_says_whose_record_it_holds(tmp_path: Path) -> None:
    write(tmp_path / "cps-1", some_record())
    write(tmp_path / "cps-1.bak", some_record(reason="an older one"))
    left_out: list[str] = []
    assert record.read_all(tmp_path, left_out) == [(tmp_path / "cps-1", some_record())]
    (sentence,) = left_out
    assert sentence.startswith(f"Left out: {tmp_path.name}/cps-1.bak holds the record of cps-1, ")
    assert read(tmp_path / "cps-1.bak") is None


# What is no record ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"id": "x", "cell": {}, "status": "fini',
        b"\x00" * 64,
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"id": "x"}',
        b'{"id": "x", "cell": {}, "status": "finished", "colour": 3}',
    ],
)
def test_a_damaged_record_counts_as_not_run(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    assert read(tmp_path) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": 1},
        {"cell": {}},
        {"cell": None},
        {"cell": some_record().cell | {"ratio": "a tenth"}},
        {"cell": some_record().cell | {"versions": None}},
        {"status": "done"},
        {"status": []},
        {"reason": None},
        {"seconds": {"total": "long"}},
        {"seconds": []},
        {"memory_mib": None},
        {"parameters": True},
        {"split": []},
        {"validation": [{"step": "first"}]},
        {"selections": {"last": 0.5}},
        {"receipt": None},
        {"notes": [1]},
        {"schema": "1"},
        {"schema": None},
    ],
    ids=str,
)
def test_a_record_with_a_part_of_another_type_counts_as_not_run(tmp_path: Path, wrong: dict[str, Any]) -> None:
    folder = tmp_path / "cps-1"
    write(folder, some_record())
    assert read(folder) is not None
    raw = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(raw | wrong))
    assert read(folder) is None


def test_a_cell_without_a_folder_has_not_run(tmp_path: Path) -> None:
    assert read(tmp_path / "nowhere") is None


def test_a_record_of_a_newer_schema_is_refused_with_the_remedy(tmp_path: Path) -> None:
    write(tmp_path, some_record())
    raw = json.loads((tmp_path / "record.json").read_text())
    (tmp_path / "record.json").write_text(json.dumps(raw | {"schema": record.SCHEMA + 1, "colour": 3}))
    with pytest.raises(NewerRecord, match=rf"schema {record.SCHEMA + 1}, .*up to {record.SCHEMA}; update the checkout"):
        read(tmp_path)


# Writing that fails --------------------------------------------------------------------------------------------------
def _full(*_: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
def test_a_full_disk_leaves_the_old_file_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "record.json"
    atomic_write(path, b"old")
    monkeypatch.setattr(os, step, _full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_scores_are_complete_before_the_record_that_vouches_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(record, "atomic_write", lambda path, content: written.append(path.name))
    write(tmp_path, some_record(), [some_score()])
    assert written == ["scores.csv", "record.json"]


def test_a_file_that_others_wrote_is_readable_by_all(tmp_path: Path) -> None:
    atomic_write(tmp_path / "x", b"")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644


# Curves --------------------------------------------------------------------------------------------------------------
def test_rows_are_appended_below_one_header(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    append_rows(path, ["step", "loss"], [[1, "0.5"]])
    append_rows(path, ["step", "loss"], [[2, "0.25"], [3, ""]])
    assert path.read_text() == "step,loss\n1,0.5\n2,0.25\n3,\n"
