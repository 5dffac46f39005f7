from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import datasets
from datasets.base import DataError, Dataset, MissingData
from datasets.catalogue._normalise import clip_and_standardise
from datasets.catalogue.msd import FOREGROUND
from tests.miniatures import msd as miniature
from tests.miniatures.mscmr import move


def opened(root: Path, **options: Any) -> Dataset:
    cls = datasets.get("msd")
    return cls(root, cls.Options(**options))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    miniature.write(tmp_path)
    return tmp_path


def test_classes_are_those_of_the_descriptor_in_the_order_of_their_numbers(root: Path) -> None:
    names = [f"class {n}" for n in range(12)]
    shuffled = {str(n): names[n] for n in (11, 2, 0, 1, 3, 10, 4, 5, 6, 7, 9, 8)}
    miniature.describe(root, miniature.NAMES, labels=shuffled)
    assert opened(root).task.classes == tuple(names)


@pytest.mark.parametrize("labels", [{"0": "background", "2": "tumour"}, ["background", "tumour"], None])
def test_labels_that_are_not_numbered_without_gaps_are_refused(root: Path, labels: Any) -> None:
    miniature.describe(root, miniature.NAMES, labels=labels)
    with pytest.raises(DataError, match=r'dataset\.json: "labels" must number the classes'):
        opened(root)


def test_the_task_needs_no_image(root: Path) -> None:
    for kind in ("imagesTr", "labelsTr"):
        for path in (root / miniature.FOLDER / kind).iterdir():
            path.unlink()
    assert opened(root).task.n_classes == 3


def test_every_fold_tests_other_cases_and_together_they_test_all(root: Path) -> None:
    dataset = opened(root)
    tested = [group for fold in range(1, 6) for group in dataset.partition(fold).test]
    assert sorted(tested) == sorted(miniature.NAMES)


def test_any_folder_of_the_same_form_opens_by_its_name(root: Path) -> None:
    (root / miniature.FOLDER).rename(root / "Task77_Mine")
    assert len(opened(root, task_folder="Task77_Mine").groups()) == 7
    assert len(opened(root / "Task77_Mine", task_folder="Task77_Mine").groups()) == 7


def test_the_folder_of_another_task_is_not_taken_for_the_one_asked_for(root: Path) -> None:
    with pytest.raises(MissingData, match="Task02_Heart"):
        opened(root / miniature.FOLDER, task_folder="Task02_Heart")


def test_before_the_folder_is_read_the_number_of_classes_is_known_for_every_decathlon_task() -> None:
    cls = datasets.get("msd")
    assert len(FOREGROUND) == 10
    for folder, foreground in FOREGROUND.items():
        assert cls.nominal_task(cls.Options(task_folder=folder)).n_classes == foreground + 1


def test_a_channel_of_a_many_channel_image_is_read_alone(root: Path) -> None:
    image, _ = miniature.toy_scan((13, 18, 11), 3, miniature.STAR)
    two = np.stack([np.random.default_rng(1).random(image.shape), image], axis=-1).astype(np.float32)
    alone = opened(root).load("hippocampus_001").image
    miniature.save(root, "imagesTr", "hippocampus_001", two)
    second = opened(root, channel=1).load("hippocampus_001").image
    assert second.shape == alone.shape
    np.testing.assert_allclose(second, alone, atol=0.02)  # alone was stored as thousandths, in integers
    with pytest.raises(DataError, match=r"hippocampus_001.*no channel 2, the image has 2"):
        opened(root, channel=2).load("hippocampus_001")


def test_with_a_flat_patch_samples_are_slices_along_z_with_axes_z_y_x(root: Path) -> None:
    whole, sliced = opened(root), opened(root, patch=(16, 16))
    assert sliced.task.ndim == sliced.nominal_task(sliced.options).ndim == 2
    x_y_z, z_y_x = whole.load("hippocampus_001"), sliced.load("hippocampus_001")
    assert z_y_x.spacing == pytest.approx((1.5, 1.0, 0.8))
    assert np.array_equal(z_y_x.image[0], x_y_z.image[0].transpose(2, 1, 0))
    assert x_y_z.label is not None
    assert z_y_x.label is not None
    assert np.array_equal(z_y_x.label, x_y_z.label.transpose(2, 1, 0))


def test_a_descriptor_that_lists_no_case_is_refused(root: Path) -> None:
    miniature.describe(root, (), numTraining=7)
    with pytest.raises(DataError, match="lists no training case"):
        opened(root).groups()


def test_an_entry_without_its_two_files_is_refused(root: Path) -> None:
    path = root / miniature.FOLDER / "dataset.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"training": ["./imagesTr/hippocampus_001.nii.gz"]}))
    with pytest.raises(DataError, match=r"dataset\.json.*training"):
        opened(root).groups()


def test_a_case_listed_without_label_trains_in_every_fold(root: Path) -> None:
    name, before = "hippocampus_012", opened(root).load("hippocampus_012")
    miniature.unlist_label(root, name)
    dataset = opened(root)
    case = dataset.check(dataset.load(name))
    assert case.label is None
    assert np.array_equal(case.image, before.image)
    assert dataset.unannotated("dense") == {name}
    parts = [dataset.partition(fold) for fold in range(1, 6)]
    assert all(name in part.train for part in parts)
    # the six others are tested on once each
    assert sorted(key for part in parts for key in part.test) == sorted(set(miniature.NAMES) - {name})
    assert all({*part.train, *part.test} == set(miniature.NAMES) for part in parts)


def test_a_misspelt_label_is_not_taken_for_none(root: Path) -> None:
    path = root / miniature.FOLDER / "dataset.json"
    path.write_text(path.read_text().replace('"label":', '"lable":', 1))
    with pytest.raises(DataError, match=r'or \{"image": \.\.\} for an unlabelled case, got .*lable'):
        opened(root).groups()


def test_a_case_listed_twice_is_refused(root: Path) -> None:
    miniature.describe(root, (*miniature.NAMES, miniature.NAMES[0]))
    with pytest.raises(DataError, match=r"hippocampus_001.*twice") as caught:
        opened(root).groups()
    assert caught.value.kind == "repeated_case"


def test_a_folder_of_nnunet_v1_is_named_as_such(root: Path) -> None:
    path = root / miniature.FOLDER / "imagesTr" / "hippocampus_001.nii.gz"
    path.rename(path.with_name("hippocampus_001_0000.nii.gz"))
    with pytest.raises(DataError, match=r"There is hippocampus_001_0000, so this is a folder of nnU-Net v1") as caught:
        opened(root).groups()
    assert caught.value.kind == "unpaired"


@pytest.mark.parametrize("patch", [(16, 16, 16), (16, 16)])
def test_a_label_of_four_axes_is_refused_with_its_shape(patch: tuple[int, ...], root: Path) -> None:
    _, label = miniature.toy_scan((13, 18, 11), 3, miniature.STAR)
    path = miniature.save(root, "labelsTr", "hippocampus_001", label[..., None])
    with pytest.raises(DataError, match=rf"'hippocampus_001': label in {path} has shape \(13, 18, 11, 1\)") as caught:
        opened(root, patch=patch).load("hippocampus_001")
    assert caught.value.kind == "geometry"


def test_a_label_that_states_no_place_contradicts_none(root: Path) -> None:
    path = root / miniature.FOLDER / "labelsTr" / "hippocampus_001.nii.gz"
    before, stored = opened(root).load("hippocampus_001"), nibabel.load(path)
    image = nibabel.Nifti1Image(np.asarray(stored.dataobj), None)
    image.header.set_zooms((0.8, 1.0, 1.5))
    nibabel.save(image, path)
    assert np.array_equal(opened(root).load("hippocampus_001").label, before.label)


def test_places_less_than_half_a_voxel_apart_are_one(root: Path) -> None:
    move(root / miniature.FOLDER / "labelsTr" / "hippocampus_001.nii.gz", axis=1, mm=0.45)  # voxels of 1 mm there
    assert opened(root).load("hippocampus_001").label is not None


def test_a_case_that_is_not_listed_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"hippocampus_002.*not listed"):
        opened(root).load("hippocampus_002")


def test_brightness_is_clipped_and_standardised_as_computed_by_hand() -> None:
    # 0..200: percentiles 0.5 and 99.5 are 1 and 199, so 0 becomes 1 and 200 becomes 199; the mean stays 100. The sum of
    # squares about it is 2 (1² + ... + 99²) + 2 · 99² = 2 · 328350 + 19602 = 676302, over 201 values: variance 3364.69.
    scaled = clip_and_standardise(np.arange(201, dtype=np.int16), "case")
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(
        scaled[[0, 1, 100, 199, 200]], np.array([-99, -99, 0, 99, 99]) / 3364.686567**0.5, rtol=1e-5
    )


def test_brightness_does_not_depend_on_the_scanners_unit() -> None:
    voxels = np.random.default_rng(0).random((6, 7, 8))
    np.testing.assert_allclose(
        clip_and_standardise(voxels, "a"), clip_and_standardise(1000 * voxels - 300, "b"), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused_before_they_spoil_the_mean(bad: float) -> None:
    with pytest.raises(DataError, match="case 3: image holds NaN or infinite"):
        clip_and_standardise(np.array([1.0, 2.0, bad]), "case 3")


def test_a_constant_image_is_refused() -> None:
    with pytest.raises(DataError, match="case 4: image is constant"):
        clip_and_standardise(np.full((3, 3, 3), 7), "case 4")


@pytest.mark.parametrize(
    ("option", "value"),
    [("task_folder", ""), ("task_folder", "a/b"), ("channel", -1), ("patch", (32,)), ("patch", (32, 32, 0))],
)
def test_options_that_make_no_sense_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        dataclasses.replace(datasets.get("msd").Options(), **{option: value})
