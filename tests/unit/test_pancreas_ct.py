"""Pancreas-CT: three copies of one scan are one group, so that the list that leaks is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import datasets
from datasets.base import DataError, Dataset
from datasets.catalogue import pancreas_ct
from datasets.verify import verify
from tests.miniatures import pancreas_ct as miniature
from tests.miniatures.stored_volumes import write_volume

COPIES = "image0002+image0025+image0070"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    miniature.write(tmp_path)
    return tmp_path


def opened(root: Path, **options: Any) -> Dataset:
    cls = datasets.get("pancreas_ct")
    return cls(root, cls.Options(**(miniature.OPTIONS | options)))


def leak(root: Path) -> None:
    """The published list of 62 and 20: the third copy tests."""
    write_volume(root / "Pancreas-CT" / "data" / "image0025_norm.h5", width=14)
    miniature.write_lists(root, test=(*miniature.TEST, "image0025"))


def test_copies_of_one_scan_are_one_group_and_stay_on_one_side(root: Path) -> None:
    dataset = opened(root)
    groups = dataset.groups()
    assert groups["image0002_norm"] == groups["image0070_norm"] == COPIES
    assert len(set(groups.values())) == len(groups) - 1
    assert COPIES in dataset.partition(1).train
    assert dataset.published_order()[:3] == ("image0009_norm", COPIES, "image0004_norm")


def test_the_list_that_leaks_is_refused_and_named_by_verify(root: Path) -> None:
    leak(root)
    with pytest.raises(DataError, match=r"groups in both train and test: image0002\+image0025\+image0070"):
        opened(root).partition(1)
    report = verify(datasets.get("pancreas_ct"), root, opened(root).options)
    assert [fault.kind for fault in report.faults()] == ["straddling_group"]


def test_the_list_that_leaks_opens_as_published_where_that_is_asked_for(root: Path) -> None:
    leak(root)
    dataset = opened(root, duplicates="as_published")
    assert "image0025_norm" in dataset.partition(1).test
    assert {"image0002_norm", "image0070_norm"} <= set(dataset.partition(1).train)
    cls = datasets.get("pancreas_ct")
    assert "are one scan" in cls.caveat({"duplicates": "as_published"})
    assert cls.caveat({"duplicates": "one_group"}) == cls.card.caveat
    # verify still says that the same image is on both sides
    kinds = {fault.kind for fault in verify(datasets.get("pancreas_ct"), root, dataset.options).faults()}
    assert "exact_duplicate" in kinds


@pytest.mark.parametrize("ending", ["_norm", ".h5", "_norm.h5"])
def test_lists_may_name_scans_as_published_or_stems_or_files(root: Path, ending: str) -> None:
    dataset = opened(root)
    before, order = dataset.partition(1), dataset.published_order()
    assert before.test == ("image0080_norm", "image0001_norm")
    miniature.write_lists(root, *(tuple(name + ending for name in part) for part in (miniature.TRAIN, miniature.TEST)))
    assert opened(root).partition(1) == before
    assert opened(root).published_order() == order


def test_a_complete_copy_with_the_published_lists_needs_no_option(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pancreas_ct, "PUBLISHED", ((len(miniature.TRAIN), len(miniature.TEST)),))
    dataset = opened(root, partial=False)
    assert list(dataset.groups()) == sorted(f"{name}_norm" for name in (*miniature.TRAIN, *miniature.TEST))
    (root / "Pancreas-CT" / "data" / "image0031_norm.h5").unlink()
    with pytest.raises(DataError, match="and 1 of them are not in"):
        dataset.groups()


def test_a_scan_listed_in_two_forms_counts_once(root: Path) -> None:
    miniature.write_lists(root, (*miniature.TRAIN, "image0031_norm"))
    with pytest.raises(DataError, match="7 training and 2 test scans are listed"):
        opened(root, partial=False).groups()


def test_an_incomplete_copy_is_refused_unless_it_is_asked_for(root: Path) -> None:
    with pytest.raises(
        DataError, match=r"7 training and 2 test scans are listed \(published: 62 and 20, or 62 and 18\)"
    ):
        opened(root, partial=False).groups()


@pytest.mark.parametrize(("option", "value"), [("patch", (96, 96)), ("patch", (96, 96, 0)), ("duplicates", "both")])
def test_options_that_make_no_sense_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        datasets.get("pancreas_ct").Options(**{option: value})
