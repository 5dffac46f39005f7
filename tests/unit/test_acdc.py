from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import datasets
from datasets.base import DataError, Dataset
from datasets.catalogue import acdc
from datasets.splits import make_split
from datasets.types import IGNORE
from tests.miniatures import acdc as miniature


def opened(root: Path, **options: Any) -> Dataset:
    cls = datasets.get("acdc")
    return cls(root, cls.Options(**({"partial": True} | options)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    miniature.write(tmp_path)
    return tmp_path


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, root: Path) -> Dataset:
    """As if all 200 files were there: partitions need names only."""
    keys = {f"patient{p:03d}_frame{f:02d}": f"patient{p:03d}" for p in range(1, 101) for f in (1, 9)}
    monkeypatch.setattr(acdc.ACDC, "groups", lambda self: keys)
    return opened(root, partial=False)


def test_fold_k_tests_the_kth_twenty_patients(complete: Dataset) -> None:
    for fold, (first, last) in enumerate([(1, 20), (21, 40), (41, 60), (61, 80), (81, 100)], 1):
        part = complete.partition(fold)
        assert part.test == tuple(f"patient{p:03d}" for p in range(first, last + 1))
        assert len(part.train) == 80
        assert part.val == ()


@pytest.mark.parametrize("fold", [0, 6])
def test_there_are_five_folds(root: Path, fold: int) -> None:
    with pytest.raises(ValueError, match=rf"fold must be in 1\.\.5 .*got {fold}"):
        opened(root).partition(fold)


def test_the_lists_of_valvano_et_al_divide_the_hundred_patients(complete: Dataset, root: Path) -> None:
    part = opened(root, protocol="maag", partial=False).partition(1)
    assert [len(p) for p in (part.train, part.val, part.test)] == [70, 15, 15]
    assert len({*part.train, *part.val, *part.test}) == 100
    # the test patients that a second source lists, in its own order (surgical_and_datasets §4.2)
    second = (5, 10, 24, 30, 36, 39, 41, 60, 64, 72, 73, 77, 78, 80, 82)
    assert part.test == tuple(f"patient{p:03d}" for p in second)


def test_the_lists_of_the_semi_supervised_papers_divide_the_hundred_patients(complete: Dataset, root: Path) -> None:
    dataset = opened(root, protocol="ssl4mis", partial=False)
    part = dataset.partition(1)
    assert [len(p) for p in (part.train, part.val, part.test)] == [70, 10, 20]
    assert len({*part.train, *part.val, *part.test}) == 100
    # the first three patients, and those that seven add (semi_supervised §4.3)
    assert dataset.published_order()[:7] == tuple(f"patient{p:03d}" for p in (99, 38, 50, 100, 58, 21, 49))
    assert set(dataset.published_order()) == set(part.train)


def test_the_scribbled_thirty_five_come_first_in_the_published_order(root: Path) -> None:
    order = opened(root, protocol="maag").published_order()
    assert len(order) == 70
    assert order[0] == "patient037"
    assert order[34] == "patient090"
    assert order[35] == "patient002"


@pytest.mark.parametrize("protocol", ["maag", "ssl4mis"])
def test_lists_are_one_division_and_leave_other_copies_their_five_folds(protocol: str, root: Path) -> None:
    dataset = opened(root, protocol=protocol)
    with pytest.raises(ValueError, match=rf"fold must be in 1\.\.1 of protocol '{protocol}', got 2"):
        dataset.partition(2)
    assert (dataset.folds, opened(root).folds, acdc.ACDC.folds) == (1, 5, 5)


def test_a_copy_without_a_patient_of_the_fold_has_nothing_to_test_on(root: Path) -> None:
    for path in (root / miniature.VOLUMES).glob("patient021*"):
        path.unlink()
    dataset = opened(root)
    with pytest.raises(DataError, match=r"no case to test on: .*'patient\d+', .*choose another fold, or complete the"):
        make_split(dataset.groups(), dataset.partition(2), ratio=1, seed=0)


def test_each_of_the_five_folds_tests_one_disease_and_says_so(complete: Dataset) -> None:
    # the challenge's patients by group, twenty after twenty
    for fold, disease in enumerate(("DCM", "HCM", "MINF", "NOR", "RV"), 1):
        part, strata = complete.partition(fold), complete.strata()
        assert {strata[patient] for patient in part.test} == {disease}
        assert disease not in {strata[patient] for patient in part.train}
    cls = datasets.get("acdc")
    assert "trains on none of it" in cls.caveat({"protocol": "folds"}) == cls.caveat({})
    assert cls.caveat({"protocol": "ssl4mis"}) == cls.caveat({"protocol": "maag"}) == ""


def test_the_first_seven_of_the_semi_supervised_lists_are_neither_normal_nor_dilated(root: Path) -> None:
    dataset = opened(root, protocol="ssl4mis")
    first = [dataset.strata()[patient] for patient in dataset.published_order()[:7]]
    assert first[:3] == ["RV", "HCM", "MINF"]  # semi_supervised §4.3
    assert not {"NOR", "DCM"} & set(first)


@pytest.mark.parametrize("seed", range(3))
def test_a_stratified_subset_has_every_disease(complete: Dataset, root: Path, seed: int) -> None:
    dataset = opened(root, protocol="ssl4mis", partial=False)
    split = make_split(
        dataset.groups(), dataset.partition(1), count=5, seed=seed, subset="stratified", strata=dataset.strata()
    )
    assert {dataset.strata()[patient] for patient in split.labelled_groups} == {"DCM", "HCM", "MINF", "NOR", "RV"}


def test_a_partial_copy_is_refused_unless_asked_for(root: Path) -> None:
    with pytest.raises(DataError, match=r"12 of the 200 published volumes .* 94 patients have none.*partial: true"):
        opened(root, partial=False).partition(1)
    assert opened(root).partition(1).test == ("patient001", "patient002")


def test_code_four_of_a_scribble_is_unlabelled(root: Path) -> None:
    case = opened(root).load("patient001_frame01")
    assert case.scribble is not None
    assert case.label is not None
    line = case.space[1] // 2  # the miniature scribbles one line per slice
    assert (case.scribble[:, line] == case.label[:, line]).all()
    assert (np.delete(case.scribble, line, axis=1) == IGNORE).all()


def test_a_copy_without_scribbles_opens_without_them(root: Path) -> None:
    path = root / miniature.VOLUMES / "patient001_frame01.h5"
    with h5py.File(path, "a") as file:
        del file["scribble"]
    assert opened(root).load("patient001_frame01").scribble is None


def test_a_scribbled_patient_needs_no_dense_label_to_train(root: Path) -> None:
    miniature.change(root, "label", lambda label: None)
    dataset = opened(root)
    assert dataset.unannotated("scribble") == frozenset()
    case = dataset.check(dataset.load("patient021_frame09"))
    assert case.label is None
    assert case.scribble is not None
    sliced(root, case.key)
    assert dataset.oddities(case) == []


def test_distances_are_in_voxels_where_no_file_states_its_spacing(root: Path) -> None:
    dataset = opened(root)
    assert dataset.task.unit == "px"
    assert dataset.load("patient001_frame01").spacing is None


def test_distances_are_in_mm_where_every_file_states_its_spacing(tmp_path: Path) -> None:
    miniature.write_volume(tmp_path, 1, 1, height=17, spacing=(10.0, 1.5, 1.25))
    dataset = opened(tmp_path)
    assert dataset.task.unit == "mm"
    assert dataset.check(dataset.load("patient001_frame01")).spacing == (10.0, 1.5, 1.25)


@pytest.mark.parametrize(("first", "second"), [((10.0, 1.5, 1.5), None), (None, (10.0, 1.5, 1.5))])
def test_spacing_in_some_files_only_is_refused(tmp_path: Path, first: Any, second: Any) -> None:
    miniature.write_volume(tmp_path, 1, 1, height=17, spacing=first)
    miniature.write_volume(tmp_path, 2, 1, height=17, spacing=second)
    dataset = opened(tmp_path)
    dataset.load("patient001_frame01")
    with pytest.raises(DataError, match=r"patient002_frame01.*spacing is (missing|present), unlike in the first"):
        dataset.load("patient002_frame01")


@pytest.mark.parametrize("spacing", [(10.0, 1.5), (10.0, -1.5, 1.5)])
def test_a_stored_spacing_that_makes_no_sense_is_refused(tmp_path: Path, spacing: Any) -> None:
    miniature.write_volume(tmp_path, 1, 1, height=17, spacing=spacing)
    dataset = opened(tmp_path)
    with pytest.raises(DataError, match=r"patient001_frame01.*spacing must be 3 positive numbers"):
        dataset.check(dataset.load("patient001_frame01"))


def test_a_spacing_given_as_option_holds_for_every_case(root: Path) -> None:
    dataset = opened(root, spacing_mm=(10.0, 1.5, 1.5))
    assert dataset.task.unit == "mm"
    assert {dataset.load(key).spacing for key in dataset.groups()} == {(10.0, 1.5, 1.5)}


def test_a_file_with_another_name_is_refused(root: Path) -> None:
    (root / miniature.VOLUMES / "patient001_frame01 (copy).h5").write_bytes(b"")
    with pytest.raises(DataError, match=r"\(copy\)\.h5' is not named like patient001_frame01\.h5"):
        opened(root)


def test_hidden_files_that_some_systems_leave_are_passed_over(root: Path) -> None:
    before = opened(root).groups()
    (root / miniature.VOLUMES / "._patient001_frame01.h5").write_bytes(b"resource fork")
    assert opened(root).groups() == before


def test_the_folder_is_known_by_its_content_under_another_name(root: Path) -> None:
    (root / "ACDC").rename(root / "heart")
    assert len(opened(root / "heart").groups()) == 12


def test_double_precision_copies_are_read_too(root: Path) -> None:
    miniature.change(root, "image", lambda image: image.astype(np.float64))
    dataset = opened(root)
    assert dataset.check(dataset.load("patient021_frame09")).image.dtype == np.float32


def test_integers_as_image_are_refused(root: Path) -> None:
    miniature.change(root, "image", lambda image: (image * 255).astype(np.uint8))
    with pytest.raises(DataError, match=r"patient021_frame09.*must be a 3-D array of floats, got uint8"):
        opened(root).load("patient021_frame09")


@pytest.mark.parametrize(
    ("option", "value"), [("protocol", "fold"), ("spacing_mm", (1.0, 1.0)), ("spacing_mm", (1.0, 1.0, 0.0))]
)
def test_options_that_make_no_sense_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        dataclasses.replace(datasets.get("acdc").Options(), **{option: value})


# What data verify says beyond what every dataset is checked for ------------------------------------------------------
def sliced(root: Path, name: str = "patient001_frame01") -> list[Path]:
    """Files of the planes of one volume, as they come with the volumes."""
    folder = root / "ACDC" / acdc.SLICES
    folder.mkdir(exist_ok=True)
    with h5py.File(root / miniature.VOLUMES / f"{name}.h5") as volume:
        arrays = {key: volume[key][()] for key in volume}
    made = []
    for z in range(len(arrays["image"])):
        made.append(folder / f"{name}_slice_{z}.h5")
        with h5py.File(made[-1], "w") as file:
            for key, array in arrays.items():
                file[key] = array[z]
    return made


def oddities(root: Path) -> list[str]:
    dataset = opened(root)
    return list(dataset.oddities(dataset.load("patient001_frame01")))


def change_scribble(root: Path, alter: Any) -> None:
    with h5py.File(root / miniature.VOLUMES / "patient001_frame01.h5", "a") as file:
        file["scribble"][...] = alter(file["scribble"][()], file["label"][()])


def scribbled_everywhere(scribble: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Every class of every slice at every other pixel."""
    scribble[:, ::2] = label[:, ::2]
    return scribble


def test_planes_that_equal_their_volume_are_not_odd_and_need_not_be_there(root: Path) -> None:
    change_scribble(root, scribbled_everywhere)
    assert oddities(root) == []
    sliced(root)
    assert oddities(root) == []


def test_a_plane_that_differs_from_its_volume_is_named(root: Path) -> None:
    change_scribble(root, scribbled_everywhere)
    planes = sliced(root)
    with h5py.File(planes[1], "a") as file:
        file["scribble"][1, 1] = 0
        del file["label"]
        file["label"] = np.zeros((2, 2), np.uint8)
    assert oddities(root) == ["slice file 1 differs from the volume's plane in label, scribble"]


def test_planes_that_are_missing_or_beyond_the_volume_are_named(root: Path) -> None:
    change_scribble(root, scribbled_everywhere)
    planes = sliced(root)
    planes[0].rename(planes[0].with_name("patient001_frame01_slice_7.h5"))
    assert oddities(root) == [
        "slice file(s) [0] are missing",
        "slice file(s) [7] lie beyond the volume's 3 planes",
    ]


def test_slices_without_scribbles_and_classes_without_one_are_named(root: Path) -> None:
    def fade(scribble: np.ndarray, label: np.ndarray) -> np.ndarray:
        scribble = scribbled_everywhere(scribble, label)
        scribble[0] = 4
        scribble[2][scribble[2] == 3] = 4
        return scribble

    change_scribble(root, fade)
    assert oddities(root) == [
        "slice(s) [0] have no scribble and are not trained on",
        "slice(s) [2] show a class without a scribble of it",
    ]
