from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from datasets.base import DataError
from datasets.io import read_h5, read_h5_attributes, read_json
from datasets.labels import label_map
from datasets.types import IGNORE

CLASSES = ("background", "RV", "MYO")


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    path = tmp_path / "case.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=np.arange(4000, dtype=np.float32).reshape(4, 50, 20), compression="gzip")
        file.create_dataset("label", data=np.zeros((4, 50, 20), np.uint8))
        file.attrs["spacing"] = (10.0, 1.5, 1.25)
    return path


def test_hdf5_arrays_and_attributes_come_back_as_written(h5: Path) -> None:
    arrays, attributes = read_h5(h5, ("image",), ("scribble", "label"))
    assert set(arrays) == {"image", "label"}  # what is optional and absent is left out
    assert arrays["image"].dtype == np.float32
    assert arrays["image"][3, 49, 19] == 3999
    assert attributes["spacing"].tolist() == [10.0, 1.5, 1.25]
    assert read_h5_attributes(h5)["spacing"].tolist() == [10.0, 1.5, 1.25]


def test_a_missing_array_is_named_beside_those_that_are_there(h5: Path) -> None:
    with pytest.raises(DataError, match=r"case\.h5: no array 'scribble'.*'image', 'label'"):
        read_h5(h5, ("image", "scribble"))


def test_hdf5_cut_anywhere_is_refused_with_its_name(h5: Path) -> None:
    whole = h5.read_bytes()
    for length in range(0, len(whole) - 1, len(whole) // 12):
        h5.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"case\.h5: .*truncated or damaged: fetch it again"):
            read_h5(h5, ("image", "label"))


def test_hdf5_with_a_damaged_chunk_is_refused_with_its_name(h5: Path) -> None:
    with h5py.File(h5) as file:
        chunk = file["image"].id.get_chunk_info(0)
    whole = bytearray(h5.read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    whole[middle : middle + 40] = bytes(40)  # inside a compressed chunk: the table of contents is sound
    h5.write_bytes(bytes(whole))
    with pytest.raises(DataError, match=r"case\.h5: .*damaged"):
        read_h5(h5, ("image",))


def test_a_text_file_with_the_name_of_an_hdf5_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pointer.h5").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DataError, match=r"pointer\.h5: cannot be read as HDF5 \(42 bytes"):
        read_h5(tmp_path / "pointer.h5", ("image",))


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "\udcff"])
def test_json_that_is_not_an_object_is_refused_with_its_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "dataset.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"dataset\.json"):
        read_json(tmp_path / "dataset.json")


def test_json_objects_come_back(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "background"}}')
    assert read_json(tmp_path / "dataset.json") == {"labels": {"0": "background"}}


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    for reader in (read_json, read_h5_attributes):
        with pytest.raises(DataError, match=r"gone: no such file"):
            reader(tmp_path / "gone")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int64, np.float32, np.float64])
def test_label_values_survive_whatever_type_stores_them(dtype: type) -> None:
    stored = np.array([[0, 1], [2, 4]], dtype)
    labels = label_map(stored, "case", CLASSES, unlabelled=4)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 1], [2, IGNORE]]
    assert stored.tolist() == [[0, 1], [2, 4]]  # the input is left alone


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (3, np.uint8),  # the first number beyond the classes
        (255, np.uint8),  # foreground of a black-and-white mask, and our own IGNORE
        (257, np.uint16),  # would wrap to 1 in eight bits
        (-1, np.int16),  # would wrap to 255
        (0.5, np.float32),  # a resampled mask
        (np.nan, np.float64),
    ],
)
def test_label_values_outside_the_classes_are_refused_never_wrapped(value: float, dtype: type) -> None:
    with pytest.raises(DataError, match=r"case 7: unknown label value\(s\).*0 background, 1 RV, 2 MYO\."):
        label_map(np.array([0, 1, value], dtype), "case 7", CLASSES)


def test_the_code_for_unlabelled_is_refused_where_there_is_none() -> None:
    with pytest.raises(DataError, match=r"\[4\]; allowed are 0 background, 1 RV, 2 MYO\."):
        label_map(np.array([0, 4], np.uint8), "label", CLASSES)
