"""Everybody's own data: nnU-Net folders, CSV manifests and MedSegBench archives, right and wrong."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest

import datasets
from datasets.base import DataError, Dataset, MissingData, Sparse
from datasets.io import read_table
from datasets.splits import make_split
from datasets.types import IGNORE
from tests.miniatures import csv_manifest, medsegbench, nnunet
from tests.miniatures.paired_images import save, toy_image

MINIATURES = {"nnunet": nnunet, "csv_manifest": csv_manifest, "medsegbench": medsegbench}


def opened(name: str, root: Path, **options: Any) -> Dataset:
    cls = datasets.get(name)
    return cls(root, cls.Options(**(MINIATURES[name].OPTIONS | options)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for miniature in MINIATURES.values():
        miniature.write(tmp_path)
    return tmp_path


# nnU-Net ------------------------------------------------------------------------------------------------------------
def test_with_an_ignore_label_the_labels_are_scribbles_and_the_dense_ones_lie_beside(root: Path) -> None:
    case = opened("nnunet", root).load("heart_001")
    assert case.image.shape[0] == 2
    assert case.label is not None
    assert case.scribble is not None
    known = case.scribble != IGNORE
    assert known.mean() == pytest.approx(1 / 17)  # one of 17 rows
    assert np.array_equal(case.scribble[known], case.label[known])


def test_a_fold_of_splits_final_validates_where_there_are_test_labels(root: Path) -> None:
    dataset = opened("nnunet", root)
    part = dataset.partition(2)
    assert dataset.folds == 2
    assert part.test == ("heart_102", "heart_105")
    assert set(part.train) == set(nnunet.TRAINING[:3])
    assert set(part.val) == set(nnunet.TRAINING[3:])


def test_a_fold_of_splits_final_tests_where_there_are_no_test_labels(root: Path) -> None:
    for part in ("imagesTs", "labelsTs"):
        shutil.rmtree(root / nnunet.FOLDER / part)
    part = opened("nnunet", root).partition(1)
    assert (set(part.test), part.val) == (set(nnunet.TRAINING[:3]), ())


def test_without_lists_and_test_labels_there_are_five_folds(root: Path) -> None:
    for part in ("imagesTs", "labelsTs"):
        shutil.rmtree(root / nnunet.FOLDER / part)
    (root / nnunet.FOLDER / "splits_final.json").unlink()
    dataset = opened("nnunet", root)
    assert dataset.folds == 5
    tested = [case for fold in range(1, 6) for case in dataset.partition(fold).test]
    assert sorted(tested) == sorted(nnunet.TRAINING)


def test_scribbles_alone_cannot_be_tested_on(root: Path) -> None:
    for part in ("imagesTs", "labelsTs", "labelsTr_dense"):
        shutil.rmtree(root / nnunet.FOLDER / part)
    dataset = opened("nnunet", root, annotations=("scribble",))
    assert dataset.load("heart_001").label is None
    with pytest.raises(DataError, match="nothing to test on: add imagesTs and labelsTs, or dense labels"):
        dataset.partition(1)


def test_a_fold_that_does_not_name_every_case_is_refused(root: Path) -> None:
    path = root / nnunet.FOLDER / "splits_final.json"
    folds = json.loads(path.read_text())
    folds[0]["train"].remove("heart_004")
    path.write_text(json.dumps(folds))
    with pytest.raises(DataError, match=rf"{path}: fold 1 does not list heart_004, present in labelsTr; mend"):
        opened("nnunet", root).partition(1)


def test_a_fold_that_names_a_case_without_files_is_refused(root: Path) -> None:
    path = root / nnunet.FOLDER / "splits_final.json"
    folds = json.loads(path.read_text())
    folds[1]["val"].append("heart_999")
    path.write_text(json.dumps(folds))
    with pytest.raises(DataError, match=rf"{path}: fold 2 lists heart_999, absent from labelsTr; mend"):
        opened("nnunet", root).partition(2)


def test_a_patient_on_both_sides_of_a_fold_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="groups in both train and val: 00"):  # 003, 001 validate and 004, 008 train
        opened("nnunet", root, group_pattern=r"heart_(\d\d)").partition(1)


def test_options_that_differ_from_the_descriptor_are_refused_with_those_that_fit(root: Path) -> None:
    fitting = r"channels: 2, foreground: 3, annotations: \[dense, scribble\]"
    with pytest.raises(DataError, match=fitting):
        opened("nnunet", root, channels=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"background": 0, "whole": [1, 2], "core": [2]}}, "regions are not read"),
        ({"labels": {"background": 0, "RV": 2}}, "must be numbered 0, 1, 2"),
        ({"labels": {"background": 0, "ignore": 1, "RV": 2}}, "ignore the highest number"),
        ({"file_ending": ".gipl"}, "'.gipl' is not read here"),
    ],
)
def test_descriptors_that_cannot_be_read_are_refused(changes: dict[str, Any], message: str, root: Path) -> None:
    nnunet.describe(root, **changes)
    with pytest.raises(DataError, match=message):
        opened("nnunet", root)


def test_a_descriptor_of_the_first_version_is_told_what_it_lacks(root: Path) -> None:
    path = root / nnunet.FOLDER / "dataset.json"
    content = json.loads(path.read_text())
    del content["channel_names"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="no 'channel_names'"):
        opened("nnunet", root)


def test_a_descriptor_of_nnunet_v1_is_told_how_to_convert(root: Path) -> None:
    about = {"modality": {"0": "MRI"}, "labels": {"0": "background"}, "training": ["./imagesTr/a.nii.gz"]}
    (root / nnunet.FOLDER / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match=r"describes nnU-Net v1 .*nnUNetv2_convert_old_nnUNet_dataset"):
        opened("nnunet", root)


def test_a_channel_that_the_descriptor_does_not_name_is_refused(root: Path) -> None:
    folder = root / nnunet.FOLDER / "imagesTr"
    shutil.copy(folder / "heart_001_0001.nii.gz", folder / "heart_001_0002.nii.gz")
    with pytest.raises(DataError, match=r"heart_001_0002\.nii\.gz: dataset\.json names 2 channel\(s\), from _0000"):
        opened("nnunet", root).groups()


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr", "labelsTr_dense", "imagesTs", "labelsTs"])
def test_files_of_another_ending_are_not_left_out_silently(folder: str, root: Path) -> None:
    path = next((root / nnunet.FOLDER / folder).iterdir())
    other = path.with_name(path.name.removesuffix(".gz"))
    other.write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    with pytest.raises(DataError, match=rf"{folder}/{other.name} is not read: .* file_ending '\.nii\.gz'\. .*convert"):
        opened("nnunet", root).groups()


def test_one_grey_photograph_where_three_channels_are_named_lacks_the_second(tmp_path: Path) -> None:
    image, label = toy_image(14)
    folder = tmp_path / "Dataset003_Grey"
    for number in range(6):
        save(folder / "imagesTr" / f"p{number}_0000.png", image[..., 0])
        save(folder / "labelsTr" / f"p{number}.png", label)
    about = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "tool": 1}}
    (folder / "dataset.json").write_text(json.dumps(about | {"file_ending": ".png"}))
    cls = datasets.get("nnunet")
    dataset = cls(tmp_path, cls.Options(folder=folder.name, patch=(32, 32), channels=3))
    with pytest.raises(DataError, match=rf"p3_0000\.png: 1 channel.*add {folder}/imagesTr/p3_0001\.png"):
        dataset.load("p3")


def test_photographs_whose_channels_differ_in_size_are_refused_by_file_and_case(tmp_path: Path) -> None:
    image, label = toy_image(14)
    folder = tmp_path / "Dataset004_Sizes"
    for number in range(6):
        save(folder / "imagesTr" / f"p{number}_0000.png", image[..., 0])
        save(folder / "imagesTr" / f"p{number}_0001.png", image[: 14 - number, :, 1])
        save(folder / "labelsTr" / f"p{number}.png", label)
    about = {"channel_names": {"0": "R", "1": "G"}, "labels": {"background": 0, "tool": 1}}
    (folder / "dataset.json").write_text(json.dumps(about | {"file_ending": ".png"}))
    cls = datasets.get("nnunet")
    dataset = cls(tmp_path, cls.Options(folder=folder.name, patch=(32, 32), channels=2))
    assert dataset.load("p0").image.shape == (2, 14, 17)
    with pytest.raises(DataError, match=r"'p3': .*p3_0001\.png .*\(11, 17\).*p3_0000\.png \(14, 17\)") as caught:
        dataset.load("p3")
    assert isinstance(caught.value.__cause__, DataError)
    assert caught.value.__cause__.kind == "geometry"


def test_a_folder_of_coloured_photographs_has_three_channels_and_no_spacing(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset002_Photos"
    image, label = toy_image(14)
    for number in range(6):
        save(folder / "imagesTr" / f"p{number}_0000.png", image)
        save(folder / "labelsTr" / f"p{number}.png", label)
    about = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "tool": 1}}
    (folder / "dataset.json").write_text(json.dumps(about | {"file_ending": ".png"}))
    cls = datasets.get("nnunet")
    dataset = cls(tmp_path, cls.Options(folder="Dataset002_Photos", patch=(32, 32), channels=3))
    case = dataset.check(dataset.load("p3"))
    assert (case.space, case.spacing, dataset.task.unit) == ((14, 17), None, "px")
    np.testing.assert_allclose(case.image, np.moveaxis(image, 2, 0) / 255, rtol=1e-6)
    with pytest.raises(DataError, match=r"\.png files are 2-D; set the option patch to two numbers"):
        cls(tmp_path, cls.Options(folder="Dataset002_Photos", patch=(8, 32, 32), channels=3))


# CSV ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("part", "training", "part must be train, val, test in every row or in none, got 'training'"),
        ("group", "", "case, group and image must not be empty"),
        ("label", "drawn/nowhere.nii.gz", "no label file .*nowhere"),
        ("label", "", "no label; training rows give label and scribble"),
        ("case", "p1_a", "listed twice"),
    ],
)
def test_a_wrong_row_is_named_with_what_is_wrong(column: str, value: str, message: str, root: Path) -> None:
    right = {"part": csv_manifest.PARTS.get, "group": lambda c: c[:2], "label": lambda c: f"drawn/{c}.nii.gz"}
    csv_manifest.describe(
        root, csv_manifest.PARTS, **{column: lambda c: value if c == "p5_a" else right.get(column, str)(c)}
    )
    case = "p1_a" if column == "case" else "p5_a"
    with pytest.raises(DataError, match=rf"case '{case}' .*{message}"):
        opened("csv_manifest", root)


def test_what_the_options_do_not_announce_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="gives a scribble, which the option annotations"):
        opened("csv_manifest", root, annotations=("dense",))


def test_a_patient_whose_scans_are_in_two_parts_is_refused(root: Path) -> None:
    csv_manifest.describe(root, csv_manifest.PARTS, group=lambda case: "p1" if case == "p4_a" else case[:2])
    with pytest.raises(DataError, match="groups in both train and test: p1"):
        opened("csv_manifest", root).partition(1)


def test_a_patient_whose_name_only_unicode_tells_apart_is_one(root: Path) -> None:
    names = {"p1_a": normalize("NFC", "Müller"), "p1_b": normalize("NFD", "Müller")}
    csv_manifest.describe(root, csv_manifest.PARTS, group=lambda c: names.get(c, c[:2]))
    groups = opened("csv_manifest", root).groups()
    assert groups["p1_a"] == groups["p1_b"] == names["p1_a"]
    csv_manifest.describe(root, csv_manifest.PARTS, group=lambda c: names["p1_b" if c == "p4_a" else "p1_a"])
    with pytest.raises(DataError, match="groups in both train and test: M"):
        opened("csv_manifest", root).partition(1)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label", "scans/p5_a.nii.gz", "image, label, scribble must be different files, got .*; mend the row"),
        ("scribble", "./drawn/p5_a.nii.gz", "image, label, scribble must be different files"),
        ("label", "drawn/../drawn/p1_a.nii.gz", r"label file drawn/p1_a\.nii\.gz is also that of case 'p1_a'; mend"),
        ("scribble", "drawn/p1_a.nii.gz", r"scribble file drawn/p1_a\.nii\.gz is also that of case 'p1_a'"),
    ],
)
def test_a_file_that_stands_twice_in_a_table_is_refused(column: str, value: str, message: str, root: Path) -> None:
    folder = {"label": "drawn", "scribble": "strokes"}[column]
    csv_manifest.describe(
        root, csv_manifest.PARTS, **{column: lambda c: value if c == "p5_a" else f"{folder}/{c}.nii.gz"}
    )
    with pytest.raises(DataError, match=rf"case 'p5_a' .*{message}") as caught:
        opened("csv_manifest", root)
    assert caught.value.kind == "unpaired"


def test_without_parts_there_are_five_folds_over_groups(root: Path) -> None:
    csv_manifest.describe(root, csv_manifest.PARTS, part=lambda case: "")
    dataset = opened("csv_manifest", root)
    tested = [group for fold in range(1, 6) for group in dataset.partition(fold).test]
    assert sorted(tested) == sorted(set(dataset.groups().values()))


def test_strata_are_those_of_the_column_and_one_per_patient(root: Path) -> None:
    assert opened("csv_manifest", root).strata() == {}
    csv_manifest.describe(root, csv_manifest.PARTS, stratum=lambda case: "ill" if case[1] in "15" else "well")
    strata = opened("csv_manifest", root).strata()
    assert strata == {f"p{n}": "ill" if n in (1, 5) else "well" for n in (1, 2, 3, 4, 5, 7)}
    csv_manifest.describe(root, csv_manifest.PARTS, stratum=lambda case: case[-1])  # p1_a and p1_b differ
    with pytest.raises(DataError, match="group 'p1' has two strata"):
        opened("csv_manifest", root)


def test_photographs_listed_in_a_table_open_with_their_own_label_values(tmp_path: Path) -> None:
    image, label = toy_image(14)
    save(tmp_path / "mine" / "a.png", image)
    save(tmp_path / "mine" / "b.png", (label * 9).astype(np.uint8))
    (tmp_path / "mine" / "manifest.csv").write_text("case,group,image,label\none,g,a.png,b.png\n")
    cls = datasets.get("csv_manifest")
    dataset = cls(tmp_path, cls.Options(folder="mine", patch=(32, 32), values=(0, 9)))
    assert np.array_equal(dataset.load("one").label, label)
    with pytest.raises(DataError, match=r"unknown label value.* in a dataset that has the option threshold, such as"):
        cls(tmp_path, cls.Options(folder="mine", patch=(32, 32))).load("one")


def test_a_table_with_an_unknown_column_or_a_short_row_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("case,grp\n1,2\n")
    with pytest.raises(DataError, match=r"columns are \['case', 'grp'\]; wanted are case, group"):
        read_table(path, ("case", "group"))
    path.write_text("case,group\n1\n")
    with pytest.raises(DataError, match="row 2 has 1 cells, the header 2"):
        read_table(path, ("case", "group"))


# MedSegBench --------------------------------------------------------------------------------------------------------
def test_the_archives_own_parts_are_the_division(root: Path) -> None:
    part = opened("medsegbench", root).partition(1)
    assert [len(p) for p in (part.train, part.val, part.test)] == [6, 2, 3]


def test_a_mask_of_255_is_the_foreground_of_two_classes(root: Path) -> None:
    content = medsegbench.arrays(medsegbench.COUNTS)
    medsegbench.save(root, content | {f"{part}_label": content[f"{part}_label"] * 255 for part in medsegbench.COUNTS})
    assert np.array_equal(opened("medsegbench", root).load("test/00001").label, medsegbench.LABEL)


def test_an_archive_with_masks_of_255_and_masks_of_1_is_refused(root: Path) -> None:
    content = medsegbench.arrays(medsegbench.COUNTS)
    medsegbench.save(root, content | {"test_label": content["test_label"] * 255})
    dataset = opened("medsegbench", root)
    assert np.array_equal(dataset.load("train/00001").label, medsegbench.LABEL)
    with pytest.raises(DataError, match=r"case 'test/00001'.* label holds 255, those of other images 1"):
        dataset.load("test/00001")


def test_grey_images_announced_as_coloured_are_refused(root: Path) -> None:
    content = medsegbench.arrays(medsegbench.COUNTS)
    medsegbench.save(root, content | {"train_images": content["train_images"][..., 0]})
    with pytest.raises(DataError, match=r"train/00000.*expected is uint8 \(h, w, 3\); set the option colour"):
        opened("medsegbench", root).load("train/00000")


def test_another_archive_is_missing_by_its_name(root: Path) -> None:
    with pytest.raises(MissingData, match=r"promise12_256\.npz"):
        opened("medsegbench", root, file="promise12_256.npz")


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("nnunet", "folder", "a/b"), ("nnunet", "patch", (1,)), ("nnunet", "channels", 0),
     ("nnunet", "group_pattern", "("),
     ("csv_manifest", "patch", (8, 8, 8)), ("csv_manifest", "classes", ("a",)), ("csv_manifest", "values", (1,)),
     ("csv_manifest", "annotations", ()), ("medsegbench", "file", "x.zip"), ("medsegbench", "foreground", 0)],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(name: str, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        datasets.get(name).Options(**{option: value})


# Images without labels -----------------------------------------------------------------------------------------------
def test_rows_with_neither_label_nor_scribble_are_unlabelled(root: Path) -> None:
    csv_manifest.describe(
        root, csv_manifest.PARTS, label=lambda c: "" if c == "p3_a" else f"drawn/{c}.nii.gz",
        scribble=lambda c: "" if c == "p3_a" else f"strokes/{c}.nii.gz",
    )  # fmt: skip
    dataset = opened("csv_manifest", root)
    assert dataset.unannotated("dense") == dataset.unannotated("scribble") == {"p3_a"}
    assert "p3" in dataset.partition(1).train
    case = dataset.check(dataset.load("p3_a"))
    assert (case.label, case.scribble) == (None, None)


def test_rows_without_label_and_part_train_in_every_fold(root: Path) -> None:
    names = {f"p{number}_a": "" for number in range(10)}
    for name in names:
        csv_manifest.write_case(root, name, height=16)
    lone = {"p8_a", "p9_a"}
    csv_manifest.describe(
        root, names, label=lambda c: "" if c in lone else f"drawn/{c}.nii.gz", scribble=lambda c: ""
    )  # fmt: skip
    dataset = opened("csv_manifest", root, annotations=("dense",))
    parts = [dataset.partition(fold) for fold in range(1, 6)]
    assert sorted(group for part in parts for group in part.test) == [f"p{n}" for n in range(8)]
    assert all({"p8", "p9"} <= set(part.train) for part in parts)


def test_a_test_row_without_label_is_refused(root: Path) -> None:
    csv_manifest.describe(root, csv_manifest.PARTS, label=lambda c: "" if c == "p4_a" else f"drawn/{c}.nii.gz",
                          scribble=lambda c: "" if c == "p4_a" else f"strokes/{c}.nii.gz")  # fmt: skip
    with pytest.raises(DataError, match=r"case 'p4_a' .*: no label; .* others a label\. Mend the row"):
        opened("csv_manifest", root)


@pytest.mark.parametrize("tested", [True, False])
def test_images_in_imagesun_train_without_labels_in_every_fold(tested: bool, root: Path) -> None:
    folder = root / nnunet.FOLDER
    if not tested:
        for part in ("imagesTs", "labelsTs"):
            shutil.rmtree(folder / part)
    before = [opened("nnunet", root).partition(fold) for fold in (1, 2)]
    (folder / "imagesUn").mkdir()
    for channel in ("0000", "0001"):
        shutil.copy(folder / "imagesTr" / f"heart_001_{channel}.nii.gz", folder / "imagesUn" / f"lone_{channel}.nii.gz")
    dataset = opened("nnunet", root)
    assert dataset.unannotated("dense") == dataset.unannotated("scribble") == {"lone"}
    for fold, old in enumerate(before, 1):
        part = dataset.partition(fold)
        assert (part.test, part.val) == (old.test, old.val)
        assert set(part.train) - set(old.train) == {"lone"}
    case = dataset.check(dataset.load("lone"))
    assert (case.label, case.scribble) == (None, None)
    shutil.copy(folder / "imagesUn" / "lone_0000.nii.gz", folder / "imagesUn" / "heart_003_0000.nii.gz")
    with pytest.raises(DataError, match="case 'heart_003' is in imagesUn and has a label; keep one"):
        opened("nnunet", root).groups()


@pytest.mark.parametrize("tested", [True, False])
def test_images_in_imagesun_of_a_patient_who_is_held_out_do_not_train(tested: bool, root: Path) -> None:
    folder, pattern = root / nnunet.FOLDER, r"^(heart_\d+)"
    if not tested:
        for part in ("imagesTs", "labelsTs"):
            shutil.rmtree(folder / part)
    before = [opened("nnunet", root, group_pattern=pattern).partition(fold) for fold in (1, 2)]
    (folder / "imagesUn").mkdir()
    held = before[0].test[0]
    for name, channel in itertools.product((held, before[0].train[0]), ("0000", "0001")):
        shutil.copy(
            folder / "imagesTr" / f"heart_001_{channel}.nii.gz", folder / "imagesUn" / f"{name}b_{channel}.nii.gz"
        )
    dataset = opened("nnunet", root, group_pattern=pattern)
    assert [dataset.partition(fold) for fold in (1, 2)] == [Sparse(p.train, p.test, p.val) for p in before]
    bare = {"unannotated": dataset.unannotated("dense"), "unscored": dataset.unannotated("dense")}
    split = make_split(dataset.groups(), dataset.partition(1), ratio=1, seed=0, val_share=0, **bare)
    assert split.unlabelled == (f"{before[0].train[0]}b",)
    assert held in split.test
    assert f"{held}b" not in (*split.test, *split.labelled)
