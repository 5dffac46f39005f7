"""EndoVis'17: every published folder of masks is read, and what is missing is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import datasets
from datasets.base import DataError, Dataset
from datasets.catalogue import endovis17
from datasets.verify import Report, verify
from tests.miniatures import endovis17 as miniature
from tests.miniatures.paired_images import toy_image

ALIKE = ("exact_duplicate", "near_duplicate")
LABEL = toy_image(15)[1]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    miniature.write(tmp_path)
    return tmp_path


def opened(root: Path, **options: Any) -> Dataset:
    cls = datasets.get("endovis17")
    return cls(root, cls.Options(**(miniature.OPTIONS | options)))


def looked_at(root: Path, **options: Any) -> Report:
    cls = datasets.get("endovis17")
    return verify(cls, root, cls.Options(**(miniature.OPTIONS | options)))


def truth(root: Path, video: int) -> Path:
    return root / "EndoVis17" / f"instrument_dataset_{video}" / "ground_truth"


@pytest.fixture
def two_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """The miniature is a complete copy."""
    monkeypatch.setattr(endovis17, "FRAMES", 2)


@pytest.mark.usefixtures("two_frames")
def test_a_complete_copy_has_folders_without_the_usual_ending(root: Path) -> None:
    dataset = opened(root, partial=False)
    assert len(dataset.groups()) == 16
    for key in dataset.groups():  # every instrument has some of the label's columns
        assert np.array_equal(dataset.load(key).label, LABEL), key


@pytest.mark.usefixtures("two_frames")
@pytest.mark.parametrize(("video", "folder"), [(v, f) for v, names in miniature.FOLDERS.items() for f in names])
def test_a_missing_instrument_is_named(root: Path, video: int, folder: str) -> None:
    shutil.rmtree(truth(root, video) / folder)
    with pytest.raises(DataError, match=rf"no folder \S*_{video}/ground_truth/{folder.removesuffix('_labels')};.*part"):
        opened(root, partial=False).groups()
    assert len(opened(root).groups()) == 16


@pytest.mark.usefixtures("two_frames")
def test_an_instrument_may_be_called_as_the_others_are(root: Path) -> None:
    (truth(root, 6) / "Prograsp_Forceps").rename(truth(root, 6) / "Prograsp_Forceps_labels")
    assert np.array_equal(opened(root, partial=False).load("video6_frame000").label, LABEL)


@pytest.mark.usefixtures("two_frames")
def test_verify_names_what_is_missing_and_reads_the_rest(root: Path) -> None:
    shutil.rmtree(truth(root, 5) / "Vessel_Sealer_labels")
    (truth(root, 7) / "Right_Vessel_Sealer" / "frame001.png").unlink()
    (root / "EndoVis17/instrument_dataset_3/left_frames/frame001.png").write_bytes(b"")
    report = looked_at(root, partial=False)
    assert [fault.kind for fault in report.faults(ALIKE)] == ["unpaired", "missing", "truncated"]
    assert "15 of the 1800 published frames" in report.findings[1].message
    assert "instrument_dataset_5/ground_truth/Vessel_Sealer" in report.findings[1].message


def test_a_frame_without_all_its_masks_is_a_fault_and_no_other_case(root: Path) -> None:
    gone = truth(root, 6) / "Prograsp_Forceps" / "frame001.png"
    gone.unlink()
    with pytest.raises(DataError, match=rf"case 'video6_frame001' has no {gone}; fetch") as caught:
        opened(root)
    assert caught.value.kind == "unpaired"
    report = looked_at(root)
    assert [fault.kind for fault in report.faults(ALIKE)] == ["unpaired"]
    assert report.cases == 15
    assert report.fingerprint


def test_a_video_without_masks_hides_no_other_video(root: Path) -> None:
    shutil.rmtree(truth(root, 7))
    report = looked_at(root)
    assert [fault.kind for fault in report.faults(ALIKE)] == ["unpaired"]
    assert "case 'video7_frame000' has no mask for" in report.faults()[0].message
    assert report.cases == 14


def coloured(path: Path) -> None:
    """An RGB mask with one pixel of unequal channels and one of no part, off the label."""
    pixels = np.repeat(np.array(Image.open(path))[..., None], 3, axis=2)
    pixels[2, 3], pixels[2, 4] = (0, 11, 10), (31, 31, 31)
    Image.fromarray(pixels).save(path)


def test_all_that_is_not_0_is_instrument_in_video_7_alone(root: Path) -> None:
    coloured(truth(root, 7) / "Left_Bipolar_Forceps" / "frame000.png")
    wanted = LABEL.copy()
    wanted[0, :2] = 1
    assert not LABEL[0, :2].any()
    assert np.array_equal(opened(root).load("video7_frame000").label, wanted)
    coloured(truth(root, 6) / "Prograsp_Forceps" / "frame000.png")
    with pytest.raises(DataError, match=r"video6_frame000.*a coloured mask"):
        opened(root).load("video6_frame000")
