"""MSCMR: what data verify says of its geometry and its scribbles."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

import datasets
from datasets.base import DataError, Dataset
from tests.miniatures import mscmr as miniature


@pytest.fixture
def root(tmp_path: Path) -> Path:
    miniature.write(tmp_path)
    return tmp_path


def opened(root: Path) -> Dataset:
    cls = datasets.get("mscmr")
    return cls(root, cls.Options(**miniature.OPTIONS))


def test_an_oblique_image_beside_a_label_with_straight_axes_is_named_though_voxels_are_of_one_size(root: Path) -> None:
    path = root / miniature.FOLDER / "TestSet" / "images" / "subject43_DE.nii.gz"
    stored = nibabel.load(path)
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])  # by 37 degrees
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(miniature.ZOOMS)
    nibabel.save(nibabel.Nifti1Image(np.asarray(stored.dataobj), affine), path)
    dataset = opened(root)
    case = dataset.load("subject43")
    assert case.spacing == pytest.approx(miniature.ZOOMS[::-1])
    assert case.label is not None
    (words,) = dataset.oddities(case)
    assert words.startswith("header: axes point along [[0.0, 0.0, 1.0], [-0.6, 0.8, 0.0], [0.8, 0.6, 0.0]]")
    assert dataset.oddities(dataset.load("subject03")) == []


def test_a_label_whose_affine_was_reset_beside_a_true_pixdim_is_read(root: Path) -> None:
    path = root / miniature.FOLDER / "TestSet" / "labels" / "subject43_DE_manual.nii.gz"
    stored = nibabel.load(path)
    reset = nibabel.Nifti1Image(np.asarray(stored.dataobj), None, stored.header)
    reset.header.set_sform(np.eye(4), code=1)
    reset.header["pixdim"][1:4] = miniature.ZOOMS
    reset.header["qform_code"] = 0
    nibabel.save(reset, path)
    dataset = opened(root)
    case = dataset.load("subject43")
    assert case.spacing == pytest.approx(miniature.ZOOMS[::-1])
    assert dataset.oddities(case)[0].startswith("header: ")


def test_the_header_of_no_other_subject_may_differ(root: Path) -> None:
    miniature.move(root / miniature.FOLDER / "TestSet" / "labels" / "subject3_DE_manual.nii.gz", axis=0, mm=30)
    with pytest.raises(DataError, match=r"subject03.*lies \[0\.0, 0\.0, -30\.0\] mm along the axes") as caught:
        opened(root).load("subject03")
    assert caught.value.kind == "geometry"


def test_a_training_slice_without_scribbles_is_named(root: Path) -> None:
    path = root / miniature.FOLDER / "train" / "labels" / "subject2_DE_scribble.nii.gz"

    def wipe(scribble: np.ndarray) -> np.ndarray:
        scribble[1] = 4
        return scribble

    miniature.change(path, wipe)
    dataset = opened(root)
    assert dataset.oddities(dataset.load("subject02")) == ["slice(s) [1] have no scribble and are not trained on"]
