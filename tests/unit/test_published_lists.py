"""Datasets that are divided by published lists: what they take from the lists, and what they refuse."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import datasets
from benchmark.prepare import split_of
from datasets.base import DataError, Dataset, Vault
from datasets.catalogue._acdc_lists import MAAG
from datasets.catalogue.la import LA
from datasets.catalogue.mscmr import SUBJECTS
from datasets.splits import make_split
from datasets.store import Canonical, Store
from datasets.types import IGNORE
from tests.miniatures import acdc, brats, endovis17, kvasir_instrument, la, mscmr, msd
from tests.unit.tiny_cells import tiny_cell

REAL = Path(__file__).parents[2].parent / "shared" / "data"
MINIATURES = {
    "acdc": acdc, "msd": msd, "la": la, "brats": brats, "mscmr": mscmr, "kvasir_instrument": kvasir_instrument,
    "endovis17": endovis17,
}  # fmt: skip


def opened(name: str, root: Path, **options: Any) -> Dataset:
    cls = datasets.get(name)
    return cls(root, cls.Options(**(MINIATURES[name].OPTIONS | options)))


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    for miniature in MINIATURES.values():
        miniature.write(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", sorted(set(MINIATURES) - {"msd"}))
def test_an_incomplete_copy_is_refused_unless_the_plan_says_so(name: str, roots: Path) -> None:
    dataset = opened(name, roots, partial=False)
    with pytest.raises(DataError, match=rf"^{name}: .*partial: true \(then comparable with nothing\)"):
        dataset.partition(1)


@pytest.mark.parametrize(
    ("name", "part"), [("la", "train.list"), ("brats", "test.txt"), ("kvasir_instrument", "train.txt")]
)
def test_another_order_in_a_list_is_other_data(name: str, part: str, roots: Path) -> None:
    """It may label other cases, or test them: finished cells are stale then, and checkpoints of no use."""
    dataset = opened(name, roots)
    path, before = dataset.root / part, (dataset.fingerprint(), dataset.manifest())
    path.write_text("\n".join(reversed(path.read_text().split())) + "\n")
    os.utime(path, (1, 1))
    after = (dataset.fingerprint(), dataset.manifest())
    assert not {*before} & {*after}


@pytest.mark.parametrize("name", ["la", "brats", "mscmr", "kvasir_instrument"])
def test_there_is_one_published_division(name: str, roots: Path) -> None:
    with pytest.raises(ValueError, match="fold must be 1, got 2"):
        opened(name, roots).partition(2)


def test_first_means_first_in_the_published_list_not_in_the_alphabet(roots: Path) -> None:
    assert opened("la", roots).published_order() == la.TRAIN
    assert opened("brats", roots).published_order()[0] == "BraTS19_TCIA01_2"


def test_the_parts_are_those_of_the_lists(roots: Path) -> None:
    assert set(opened("la", roots).partition(1).test) == {"DDD", "EEE"}
    part = opened("brats", roots).partition(1)
    assert (set(part.train), set(part.val), set(part.test)) == tuple(map(set, brats.LISTS.values()))
    assert set(opened("kvasir_instrument", roots).partition(1).test) == set(kvasir_instrument.LISTS["test"])


@pytest.mark.parametrize("count", [4, 8, 16])
def test_four_eight_and_sixteen_labels_are_the_first_lines_of_the_published_list(
    count: int, roots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"SCAN{i * 37 % 80:02d}" for i in range(80)]  # a list that is not in the alphabet's order
    tests = [f"TEST{i:02d}" for i in range(20)]
    la.write_lists(roots, tuple(lines), tuple(tests))
    monkeypatch.setattr(LA, "files", lambda self: [Path("LA", name, "mri_norm2.h5") for name in lines + tests])
    dataset = opened("la", roots, partial=False)
    rule = {"count": count, "seed": 5, "val_share": 0.0, "subset": "first", "order": dataset.published_order()}
    split = make_split(dataset.groups(), dataset.partition(1), **rule)
    assert set(split.labelled) == set(lines[:count])
    assert (len(split.unlabelled), len(split.val), len(split.test)) == (80 - count, 0, 20)


@pytest.mark.parametrize(
    ("name", "key", "path"),
    [
        ("la", "AAA", f"{la.SCANS}/AAA/mri_norm2.h5"),
        ("brats", "BraTS19_CBICA_AAG_1", "BraTS2019/data/BraTS19_CBICA_AAG_1.h5"),
        ("acdc", "patient021_frame09", f"{acdc.VOLUMES}/patient021_frame09.h5"),
        ("msd", "hippocampus_012", ""),
    ],
)
def test_an_unlabelled_case_needs_no_label_and_trains_as_such(name: str, key: str, path: str, roots: Path) -> None:
    if path:
        with h5py.File(roots / path, "a") as file:
            del file["label"]
    else:
        msd.unlist_label(roots, key)
    dataset = opened(name, roots)
    assert dataset.unannotated("dense") == {key}
    groups, part = dataset.groups(), dataset.partition(1)
    bare = {"unannotated": dataset.unannotated("dense"), "unscored": dataset.unannotated("dense")}
    split = make_split(groups, part, count=len(part.train) - 1, seed=0, val_share=0, **bare)
    assert key in split.unlabelled
    keys = [*split.labelled, *split.unlabelled]
    store = Store.open(dataset, keys, Canonical((16,) * dataset.task.ndim), cache=None)
    assert key in {sample.split("/")[0] for sample in store.pool(split.unlabelled, None).sample_keys}
    assert store.pool(split.labelled, "dense").skipped == 0
    assert dataset.oddities(dataset.load(key)) is not None


def test_a_test_case_without_label_is_named_before_anything_is_trained(roots: Path) -> None:
    with h5py.File(roots / la.SCANS / "DDD" / "mri_norm2.h5", "a") as file:
        del file["label"]
    dataset, cell = opened("la", roots), tiny_cell()
    cell = dataclasses.replace(cell, dataset="la", options=dataset.options)
    with pytest.raises(DataError, match="test case 'DDD' has no label to score against; take it out of the test list"):
        split_of(cell, dataset)
    vault = Vault(dataset, ["DDD"])
    assert vault.image("DDD").label is None
    with vault.open("final evaluation"), pytest.raises(DataError, match="la: case 'DDD' has no label to score"):
        vault.case("DDD")


def test_without_published_test_scans_every_fifth_scan_on_disk_tests(roots: Path) -> None:
    (roots / "LA" / "test.list").unlink()
    for name in la.TEST:
        (roots / la.SCANS / name / "mri_norm2.h5").unlink()
    part = opened("la", roots).partition(1)
    assert len(part.test) == 2  # places 1 and 6 of six scans in the order of a hash
    assert {*part.train, *part.test} == set(la.TRAIN)


@pytest.mark.parametrize(("name", "stray"), [("la", "test.list"), ("brats", "val.txt")])
def test_a_case_that_no_list_names_is_refused(name: str, stray: str, roots: Path) -> None:
    folder = roots / ("LA" if name == "la" else "BraTS2019")
    (folder / stray).write_text("")
    with pytest.raises(DataError, match=rf"{name}: (scan|case) '(DDD|BraTS19_2013_5_1)' is in n"):
        opened(name, roots).groups()


def test_a_name_listed_twice_is_refused(roots: Path) -> None:
    la.write_lists(roots, (*la.TRAIN, "AAA"))
    with pytest.raises(DataError, match=r"train\.list: lists AAA twice"):
        opened("la", roots).groups()


def test_scans_of_another_conversion_are_called_odd(roots: Path) -> None:
    dataset = opened("la", roots)
    case = dataset.load("AAA")
    assert any(
        "the number of slices is 12, in the published files 88 to 88" in words for words in dataset.oddities(case)
    )
    like_published = dataclasses.replace(
        case,
        image=np.full((1, 10, 10, 88), 0.5, np.float32),
        label=np.pad(np.ones((10, 1, 88), np.uint8), ((0, 0), (0, 9), (0, 0))),
    )  # a tenth of the voxels is foreground, the mean is .5
    assert dataset.oddities(like_published) == []


def test_the_mscmr_lists_divide_the_forty_five_subjects() -> None:
    assert [len(part) for part in SUBJECTS.values()] == [25, 5, 15]
    assert sorted(n for part in SUBJECTS.values() for n in part) == list(range(1, 46))
    assert [weighted(part) for part in SUBJECTS.values()] == [9721, 453, 3580]


def test_the_lists_of_maag_are_the_published_ones_in_their_order() -> None:
    assert [len(part) for part in MAAG] == [70, 15, 15]
    assert [weighted(part) for part in MAAG] == [119544, 5735, 6492]


def weighted(numbers: Sequence[int]) -> int:
    """Each times its place: another number, or another order, has another sum. Added up from the sources' lists."""
    return sum(place * number for place, number in enumerate(numbers, 1))


def test_mscmr_trains_on_scribbles_alone_and_tests_on_dense_labels_alone(roots: Path) -> None:
    dataset = opened("mscmr", roots)
    train, test = dataset.load("subject02"), dataset.load("subject03")
    assert train.label is None
    assert train.scribble is not None
    assert set(np.unique(train.scribble)) <= {0, 1, 2, 3, IGNORE}
    # one row of three slices is scribbled, of 16 rows
    assert (train.scribble != IGNORE).mean() == pytest.approx(1 / 16)
    assert test.scribble is None
    assert test.label is not None


def test_the_subject_whose_label_header_was_reset_is_named_and_its_arrays_stay_paired(roots: Path) -> None:
    path = roots / mscmr.FOLDER / "TestSet" / "labels" / "subject43_DE_manual.nii.gz"
    dataset = opened("mscmr", roots)
    before = dataset.load("subject43")
    mscmr.save(path, before.label, zooms=(1.0, 1.0, 5.0))
    after = dataset.load("subject43")
    assert np.array_equal(before.label, after.label)
    assert after.spacing == before.spacing
    assert "but (5.0, 1.0, 1.0) mm in" in dataset.oddities(after)[0]
    assert dataset.oddities(dataset.load("subject03")) == []


def test_brightness_of_mscmr_is_clipped_at_its_99th_percentile(roots: Path) -> None:
    image = opened("mscmr", roots).load("subject03").image
    assert (image.min(), image.max()) == (0, 1)
    assert (image == 1).mean() >= 0.01  # one voxel in a hundred lies at or above the percentile


def test_kvasir_masks_are_cut_at_127_but_zero_and_one_is_not_guessed(roots: Path) -> None:
    dataset = opened("kvasir_instrument", roots)
    assert dataset.load("ckc1").label.sum() == kvasir_instrument.toy_image(14)[1].sum()


def test_endovis_leaves_out_other_tools_and_the_black_border(roots: Path) -> None:
    case = opened("endovis17", roots).load("video1_frame000")
    # the miniature's mask called Other covers the left half; the label is that of the three instruments
    assert np.array_equal(case.label, endovis17.toy_image(15)[1])
    assert case.group == "video1"


def test_every_endovis_video_tests_in_one_of_four_folds(roots: Path) -> None:
    tested = [video for fold in range(1, 5) for video in opened("endovis17", roots).partition(fold).test]
    assert sorted(tested) == [f"video{n}" for n in range(1, 9)]
    assert opened("endovis17", roots).partition(2).test == ("video2", "video5")


def test_endovis_by_frame_divides_frames_and_says_that_it_leaks(roots: Path) -> None:
    dataset = opened("endovis17", roots, split="by_frame")
    tested = [frame for fold in range(1, 5) for frame in dataset.partition(fold).test]
    assert sorted(tested) == sorted(dataset.groups()) == sorted(dataset.groups().values())
    assert dataset.load("video1_frame000").group == "video1_frame000"
    assert "near-copies" in datasets.get("endovis17").caveat({"split": "by_frame"})
    assert datasets.get("endovis17").caveat({"split": "by_video"}) == ""


@pytest.mark.parametrize("name", ["art_net", "robotool"])
def test_frames_that_stand_for_themselves_are_said_to_leak_and_grouped_ones_are_not(name: str) -> None:
    assert "too high" in datasets.get(name).caveat({"group_pattern": ""})
    assert datasets.get(name).caveat({"group_pattern": "^v[0-9]+"}) == ""


def test_a_frame_of_another_size_is_refused_with_the_crop_that_would_fit(roots: Path) -> None:
    with pytest.raises(DataError, match=r"video1_frame000.*\(19, 23\) pixels; crop .*crop: \[0, 0, height, width\]"):
        opened("endovis17", roots, crop=(28, 320, 1024, 1280)).load("video1_frame000")


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("la", "patch", (32, 32)), ("brats", "patch", (0, 1, 1)), ("mscmr", "patch", (32,)),
     ("kvasir_instrument", "patch", (1, 2, 3)), ("endovis17", "crop", (0, 0, 5)), ("endovis17", "patch", ()),
     ("endovis17", "split", "random")],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(name: str, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        datasets.get(name).Options(**{option: value})


@pytest.mark.data
@pytest.mark.slow
def test_the_real_atria_open_in_the_published_order(tmp_path: Path) -> None:
    if not (REAL / "la").is_dir():
        pytest.skip(f"no real LA scans in {REAL / 'la'}")
    spec = importlib.util.spec_from_file_location("unpack", REAL / "unpack.py")
    assert spec is not None
    assert spec.loader is not None
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    names = (REAL / "la" / "train.list").read_text().split()[:6]
    for name in names:
        target = tmp_path / "LA" / "2018LA_Seg_Training Set" / name / "mri_norm2.h5"
        unpack.write(target, unpack.read(REAL / "la" / f"{name}.npz.xz"))
    (tmp_path / "LA" / "train.list").write_text("\n".join(names))
    dataset = opened("la", tmp_path, patch=(112, 112, 80))
    assert list(dataset.published_order()) == names
    case = dataset.check(dataset.load(names[0]))
    assert (case.space[2], case.spacing) == (88, (0.625, 0.625, 0.625))
    assert dataset.oddities(case) == []
