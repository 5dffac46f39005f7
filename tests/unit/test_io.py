from __future__ import annotations

import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from datasets.base import DataError
from datasets.io import read_h5, read_h5_attributes, read_image, read_json
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


# photographs of more than 8 bits --------------------------------------------------------------------------------------
def deep(channels: int) -> np.ndarray:
    """``(h, w, c)`` uint16, classes 0 and 1, whose high bytes are all 0; ``(h, w)`` of one channel."""
    pixels = np.zeros((5, 7, channels), np.uint16)
    pixels[1:3, 2:6] = 1
    return pixels[..., 0] if channels == 1 else pixels


def png(path: Path, pixels: np.ndarray) -> Path:
    """A PNG file of 16 bits per channel, byte by byte, for Pillow writes none of several channels."""
    height, width, channels = (*pixels.shape, 1)[:3]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    packed = [struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    return path


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_png_of_several_channels_of_16_bits_is_refused_with_what_is_read(channels: int, tmp_path: Path) -> None:
    path = png(tmp_path / "mask.png", deep(channels))
    with pytest.raises(DataError, match=r"mask\.png: several channels of 16 bits.*or as one 16-bit grey channel"):
        read_image(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_tiff_of_several_channels_of_16_bits_is_refused_with_what_is_read(
    channels: int, planes: str, byteorder: str, compression: str | None, tmp_path: Path
) -> None:
    pixels = deep(channels) if planes == "contig" else np.moveaxis(deep(channels), 2, 0)
    how = {"byteorder": byteorder, "compression": compression, "planarconfig": planes}
    tifffile.imwrite(tmp_path / "mask.tif", pixels, photometric="rgb", metadata=None, **how)
    with pytest.raises(DataError, match=r"mask\.tif: several channels of 16 bits.*save it with 8 bits per channel"):
        read_image(tmp_path / "mask.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_one_channel_of_16_bits_is_read_whole(byteorder: str, compression: str | None, tmp_path: Path) -> None:
    pixels = deep(1) * 257 + np.arange(7, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "grey.tif", pixels, byteorder=byteorder, compression=compression, metadata=None)
    for path in (png(tmp_path / "grey.png", pixels), tmp_path / "grey.tif"):
        found = read_image(path)
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, pixels)


def test_a_bitmap_of_16_bits_per_pixel_is_no_photograph_of_16_bits_per_channel(tmp_path: Path) -> None:
    rows = struct.pack("<2H", 0b0_11111_00000_00000, 0b0_00000_00000_11111)  # five bits each of red, green and blue
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 0, len(rows), 0, 0, 0, 0)
    start = struct.pack("<2sIHHI", b"BM", 54 + len(rows), 0, 0, 54)
    (tmp_path / "old.bmp").write_bytes(start + header + rows)
    assert read_image(tmp_path / "old.bmp").tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_three_channels_of_8_bits_in_a_tiff_are_read_as_stored(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "photo.tif", pixels, photometric="rgb", metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "photo.tif"), pixels)
