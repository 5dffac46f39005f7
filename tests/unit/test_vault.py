"""The seal on test labels, and what the base class promises of every dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.base import DataError, MissingData, SealedLabel, Vault, data_root
from datasets.types import IGNORE

from .toy_data import Toy, toy


def vault() -> Vault:
    return Vault(toy(), sealed=["c4", "c5"])


# The seal ------------------------------------------------------------------------------------------------------------
def test_a_test_label_is_sealed_before_the_opening_and_the_file_is_not_even_read() -> None:
    closed = vault()
    with pytest.raises(SealedLabel, match="'c4' is sealed"):
        closed.case("c4")
    assert closed.dataset.loads == []


def test_training_labels_and_test_images_need_no_opening() -> None:
    closed = vault()
    assert closed.case("c0").label is not None
    image = closed.image("c4")
    assert image.label is None
    assert image.scribble is None
    assert np.array_equal(image.image, toy().load("c4").image)
    assert closed.openings == []


def test_the_seal_is_broken_inside_the_opening_only() -> None:
    once = vault()
    with once.open("final evaluation"):
        assert np.array_equal(once.case("c4").label, toy().load("c4").label)
    with pytest.raises(SealedLabel, match="sealed"):
        once.case("c4")
    assert once.openings == ["final evaluation"]


def test_an_error_inside_the_opening_closes_it() -> None:
    once = vault()
    with pytest.raises(RuntimeError, match="boom"), once.open("final evaluation"):
        raise RuntimeError("boom")
    with pytest.raises(SealedLabel):
        once.case("c5")


def test_a_vault_opens_once() -> None:
    once = vault()
    with once.open("final evaluation"):
        pass
    with pytest.raises(SealedLabel, match="already opened for 'final evaluation'"), once.open("one more look"):
        pass
    assert once.openings == ["final evaluation"]


def test_while_it_is_watched_nobody_loads_a_test_case_past_the_vault() -> None:
    ours = vault()
    with ours.watch("method peeker in plan demo"):
        with pytest.raises(
            SealedLabel, match=r"^method peeker in plan demo loaded test case 'c4' of toy_data past the va"
        ):
            toy().load("c4")  # another instance of the same data, such as a method would make
        assert toy().load("c0").label is not None, "training cases are nobody's secret"
        assert ours.image("c4").label is None
        with ours.open("final evaluation"):
            assert ours.case("c5").label is not None
            with pytest.raises(SealedLabel, match="past the vault"):
                ours.dataset.load("c5")  # `predict` could do so while scores are made
    assert toy().load("c4").label is not None, "afterwards, anybody may"


def test_a_watched_vault_names_who_asked_for_a_sealed_label() -> None:
    ours = vault()
    with (
        ours.watch("method peeker in plan demo"),
        pytest.raises(SealedLabel, match=r"^method peeker in plan demo: the la"),
    ):
        ours.case("c4")


def test_a_watch_ends_with_its_block_even_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="boom"), vault().watch("somebody"):
        raise RuntimeError("boom")
    assert toy().load("c4").label is not None


def test_cases_are_checked_on_their_way_out() -> None:
    spoilt = vault()
    load = spoilt.dataset.load
    spoilt.dataset.load = lambda key: replace(load(key), image=np.full((1, 3, 12, 12), np.nan, np.float32))
    for read in (spoilt.image, spoilt.case):
        with pytest.raises(DataError, match=r"'c0'.*NaN"):
            read("c0")


# What every case is held to ------------------------------------------------------------------------------------------
def test_a_good_case_passes_unchanged() -> None:
    dataset = toy()
    case = replace(dataset.load("c0"), spacing=(8.0, 1.5, 1.5))
    assert dataset.check(case) is case


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image": np.zeros((1, 3, 12, 12))}, "float32 with 1 channel.*float64"),
        ({"image": np.zeros((2, 3, 12, 12), np.float32)}, "float32 with 1 channel"),
        ({"image": np.zeros((1, 12), np.float32)}, "1 spatial axes, a 2-D task allows 2 or one more"),
        ({"image": np.full((1, 3, 12, 12), np.inf, np.float32)}, "NaN or infinite"),
        ({"spacing": (1.0, 1.0)}, "spacing must be 3 positive numbers"),
        ({"spacing": (1.0, 0.0, 1.0)}, "spacing must be 3 positive numbers"),
        ({"label": np.zeros((3, 12, 11), np.uint8)}, r"label has shape \(3, 12, 11\).*\(3, 12, 12\)"),
        ({"label": np.zeros((3, 12, 12), np.int64)}, "label must be uint8, got int64"),
        ({"label": np.full((3, 12, 12), 3, np.uint8)}, r"unknown value\(s\) \[3\]; allowed are 0 background, 1 a, 2 b"),
        ({"label": np.full((3, 12, 12), IGNORE, np.uint8)}, r"label holds unknown value\(s\) \[255\]"),
        ({"scribble": np.full((3, 12, 12), 4, np.uint8)}, r"scribble holds unknown value\(s\) \[4\].*255 unlabelled"),
    ],
)
def test_a_case_that_is_not_as_the_task_says_is_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    dataset = toy()
    with pytest.raises(DataError, match=f"case 'c2': .*{message}"):
        dataset.check(replace(dataset.load("c2"), **wrong))


# Folders and fingerprints --------------------------------------------------------------------------------------------
class OnDisk(Toy):
    """The toy data with a folder and files."""

    folder = "toy_folder"

    def files(self) -> Sequence[Path]:
        return sorted(self.root.glob("*.bin"), reverse=True)


def test_a_missing_folder_says_what_is_expected_and_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"(?s)toy_folder.*Expected layout: no files.*nothing to get.*BENCH_DATA"):
        OnDisk(tmp_path)


def test_the_parent_and_the_folder_itself_both_serve_as_root(tmp_path: Path) -> None:
    (tmp_path / "toy_folder").mkdir()
    assert OnDisk(tmp_path).root == OnDisk(tmp_path / "toy_folder").root == tmp_path / "toy_folder"


def test_the_fingerprint_changes_with_options_and_files_and_not_with_their_place(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place / "toy_folder").mkdir(parents=True)
        for name in ("1.bin", "2.bin"):
            path = tmp_path / place / "toy_folder" / name
            path.write_bytes(name.encode())
            os.utime(path, (1, 1))
    first, second = OnDisk(tmp_path / "a"), OnDisk(tmp_path / "b")
    assert first.fingerprint() == second.fingerprint()
    assert first.manifest() == second.manifest()
    other = OnDisk(tmp_path / "a", Toy.Options(cases=3))
    assert first.fingerprint() != other.fingerprint()
    (second.root / "2.bin").write_bytes(b"2.bin, longer")
    assert first.fingerprint() != second.fingerprint()
    assert first.manifest() != second.manifest()


def test_options_of_another_dataset_are_refused() -> None:
    with pytest.raises(TypeError, match=r"options must be a Toy.Options, got dict"):
        Toy(options={"ndim": 2})  # type: ignore[arg-type]


def test_the_data_root_is_the_argument_else_the_environment_else_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", "/from/environment")
    assert data_root("given") == Path("given")
    assert data_root() == Path("/from/environment")
    monkeypatch.delenv("BENCH_DATA")
    assert data_root() == Path("data")
