"""Volumes of any dataset in the HDF5 layout of the published ACDC copy: the same voxels, codes and voxel sizes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

import datasets
from benchmark.__main__ import app
from datasets.base import DataError
from datasets.catalogue._h5 import planes_unlike
from datasets.convert import to_h5
from datasets.types import IGNORE
from tests.miniatures import acdc, mscmr, msd

from .toy_data import toy


def test_a_scan_and_its_scribbles_keep_their_voxels_and_sizes(tmp_path: Path) -> None:
    mscmr.write(tmp_path)
    cls = datasets.get("mscmr")
    dataset = cls(tmp_path, cls.Options(**mscmr.OPTIONS))
    assert to_h5(dataset, tmp_path / "out", slices=True) == 9
    scribbled, tested = dataset.load("subject02"), dataset.load("subject43")
    with h5py.File(tmp_path / "out" / "MSCMR_volumes" / "subject02.h5") as file:
        assert set(file) == {"image", "scribble"}  # there are no dense training labels
        assert np.array_equal(file["image"][()], scribbled.image[0])
        assert file["scribble"].dtype == np.uint8
        assert np.array_equal(np.where(file["scribble"][()] == 4, IGNORE, file["scribble"][()]), scribbled.scribble)
        assert file.attrs["spacing"] == pytest.approx((5.0, 0.8, 0.75))
    with h5py.File(tmp_path / "out" / "MSCMR_volumes" / "subject43.h5") as file:
        assert set(file) == {"image", "label"}
        assert np.array_equal(file["label"][()], tested.label)
    assert planes_unlike(tmp_path / "out/MSCMR_volumes/subject43.h5", tmp_path / "out/MSCMR_slices") == []
    other = (tmp_path / "out/MSCMR_volumes/subject43.h5").rename(tmp_path / "subject99.h5")
    assert planes_unlike(other, tmp_path / "out/MSCMR_slices") == ["no slice file, although other volumes have theirs"]
    assert planes_unlike(other, tmp_path / "nowhere") == []
    assert len(list((tmp_path / "out" / "MSCMR_slices").iterdir())) == 9 * 3
    assert not list(tmp_path.glob("out/*/.*"))


def test_volumes_that_are_kept_from_left_to_right_are_written_slices_first(tmp_path: Path) -> None:
    msd.write(tmp_path)
    cls = datasets.get("msd")
    volumes, stacks = (cls(tmp_path, cls.Options(patch=patch)) for patch in ((16, 16, 16), (16, 16)))
    to_h5(volumes, tmp_path / "out", slices=False)
    for key in volumes.groups():
        with h5py.File(tmp_path / "out" / "MSD_volumes" / f"{key}.h5") as file:
            expected = stacks.load(key)  # the same scan as a 2-D method sees it: (z, y, x)
            assert np.array_equal(file["label"][()], expected.label)
            np.testing.assert_allclose(file["image"][()], expected.image[0], atol=1e-6)
            assert file.attrs["spacing"] == pytest.approx(expected.spacing)


def test_the_published_copy_converts_to_itself(tmp_path: Path) -> None:
    acdc.write(tmp_path)
    arguments = ["data", "convert", "acdc", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--option"]
    result = CliRunner().invoke(app, [*arguments, "partial=true"])
    assert result.exit_code == 0, result.output
    assert "12 volumes" in result.output
    (tmp_path / "again").mkdir()
    (tmp_path / "out" / "ACDC_volumes").rename(tmp_path / "again" / "ACDC_training_volumes")
    cls = datasets.get("acdc")
    first, second = (cls(root, cls.Options(partial=True)) for root in (tmp_path, tmp_path / "again"))
    for key in first.groups():
        before, after = first.load(key), second.load(key)
        assert np.array_equal(before.image, after.image)
        assert np.array_equal(before.label, after.label)
        assert np.array_equal(before.scribble, after.scribble)


def test_images_of_several_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'c0' has an image of shape \(3, 3, 12, 12\); this layout holds volumes"):
        to_h5(toy(channels=3), tmp_path, slices=False)
