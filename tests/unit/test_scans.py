"""Scans of NIfTI, NRRD and MetaImage: voxels, sizes, places, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from datasets.base import DataError
from datasets.catalogue.csv_manifest import CsvManifest, CsvManifestOptions
from datasets.catalogue.nnunet import Nnunet, NnunetOptions
from datasets.guess import guess
from datasets.scans import BY_ITK, ENDINGS, read_axes, read_itk, read_nifti, read_scan
from datasets.together import turned
from tests.miniatures.mscmr import voxel_size

SPACING = (0.5, 2.0, 3.0)
TURNED = (0, -1, 0, 1, 0, 0, 0, 0, 1)
"""Rows of a direction: the file's first axis goes along the second of space, its second against the first."""


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    path = tmp_path / "case.nii.gz"
    voxels = np.random.default_rng(0).integers(0, 1000, (12, 10, 8)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([0.5, 2.0, 3.0, 1.0])), path)
    return path


def write(path: Path, voxels: np.ndarray, *, direction: tuple[int, ...] = TURNED, **kind: bool) -> Path:
    """By ITK, of voxels (z, y, x)."""
    image = SimpleITK.GetImageFromArray(voxels, **kind)
    image.SetSpacing(SPACING)
    image.SetOrigin((10, 20, 30))
    image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return path


def voxels(*, seed: int = 0, shape: tuple[int, ...] = (6, 10, 12)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_scan_is_the_same_in_whatever_format_itk_writes_it(tmp_path: Path, ending: str) -> None:
    found = read_scan(write(tmp_path / f"scan{ending}", voxels()))
    np.testing.assert_array_equal(found.voxels, voxels().transpose(2, 1, 0))  # axes in the file's order
    assert found.voxels.dtype == np.int16
    assert found.spacing_mm == SPACING
    # ITK's first axis goes one voxel of 0.5 mm backwards, its second one of 2 mm to the right, as it counts towards
    # left and back; the first voxel is 10 mm left, 20 mm back and 30 mm up
    expected = [[0, 2, 0, -10], [-0.5, 0, 0, -20], [0, 0, 3, 30]]
    np.testing.assert_allclose(found.affine, expected, atol=1e-6)
    np.testing.assert_allclose(read_axes(tmp_path / f"scan{ending}"), np.array(expected)[:, :3], atol=1e-6)


@pytest.mark.parametrize("ending", BY_ITK)
def test_axes_are_read_off_the_header_alone(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"scan{ending}", voxels())
    whole = read_axes(path)
    path.write_bytes(path.read_bytes()[:-600])  # of 1440 bytes of voxels, which nothing packs
    np.testing.assert_array_equal(read_axes(path), whole)
    with pytest.raises(DataError, match="truncated"):
        read_scan(path)


def test_an_nrrd_file_that_states_no_space_states_no_place(tmp_path: Path) -> None:
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 12 10 6\nspacings: 0.5 2 3\nencoding: raw\nendian: little\n\n"
    (tmp_path / "bare.nrrd").write_bytes(header.encode() + voxels().astype("<i2").tobytes())
    found = read_scan(tmp_path / "bare.nrrd")
    np.testing.assert_array_equal(found.voxels, voxels().transpose(2, 1, 0))
    assert found.spacing_mm == SPACING
    assert found.affine is None
    assert read_axes(tmp_path / "bare.nrrd") is None


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("bare.nrrd", "NRRD0004\ntype: short\ndimension: 3\nsizes: 12 10 6\nencoding: raw\nendian: little\n{}\n"),
        ("bare.mha", "ObjectType = Image\nNDims = 3\nDimSize = 12 10 6\n{}ElementType = MET_SHORT\n"
         "ElementDataFile = LOCAL\n"),
    ],
)  # fmt: skip
def test_a_header_that_states_no_voxel_size_is_refused(name: str, header: str, tmp_path: Path) -> None:
    path, stated = tmp_path / name, {"bare.nrrd": "spacings: {}\n", "bare.mha": "ElementSpacing = {}\n"}[name]
    path.write_bytes(header.format(stated.format("1 1 1")).encode() + voxels().astype("<i2").tobytes())
    assert read_scan(path).spacing_mm == (1, 1, 1)
    for field in ("", "spacings: 1 1 nan\n")[: 2 if name == "bare.nrrd" else 1]:
        path.write_bytes(header.format(field).encode() + voxels().astype("<i2").tobytes())
        with pytest.raises(DataError, match=rf"{name}: the header states no voxel size, and 1 mm would") as caught:
            read_scan(path)
        assert caught.value.kind == "spacing"


@pytest.mark.parametrize("ending", BY_ITK)
def test_a_file_cut_anywhere_is_refused_with_its_name_in_one_line(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"scan{ending}", voxels())
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, len(whole) // 12):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=rf"scan{ending}: cannot be read as NRRD or MetaImage.*damaged") as caught:
            read_scan(path)
        assert len(str(caught.value).splitlines()) == 1
        assert caught.value.kind == "truncated"


def test_several_numbers_per_voxel_and_other_than_three_axes_are_refused(tmp_path: Path) -> None:
    colours = SimpleITK.GetImageFromArray(np.zeros((2, 3, 4, 3), np.uint8), isVector=True)
    SimpleITK.WriteImage(colours, str(tmp_path / "colours.nrrd"))
    with pytest.raises(DataError, match=r"colours\.nrrd: 3 axes and 3 number\(s\) per voxel, wanted are 3 and 1"):
        read_itk(tmp_path / "colours.nrrd")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((3, 4), np.uint8)), str(tmp_path / "flat.mha"))
    with pytest.raises(DataError, match=r"flat\.mha: 2 axes and 1 number"):
        read_itk(tmp_path / "flat.mha")


@pytest.mark.parametrize("name", ["scan.mhd", "scan.nhdr", "scan.dcm", "scan"])
def test_what_is_no_scan_by_its_name_is_refused_with_what_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"must end in \.nii, \.nii\.gz, \.nrrd, \.mha; convert it .*dcm2niix"):
        read_scan(tmp_path / name)


@pytest.mark.parametrize("reader", [read_nifti, read_itk])
def test_a_scan_that_is_not_there_is_named(tmp_path: Path, reader) -> None:
    with pytest.raises(DataError, match=r"gone\.nrrd: no such file"):
        reader(tmp_path / "gone.nrrd")


def test_slices_of_different_planes_are_noticed_across_formats(tmp_path: Path) -> None:
    axial = write(tmp_path / "a.nrrd", voxels())
    sagittal = write(tmp_path / "b.mha", voxels(), direction=(0, 0, 1, 1, 0, 0, 0, 1, 0))  # its slices go along x
    assert "feet-head" in (said := turned([axial, sagittal]))
    assert "left-right" in said
    assert turned([axial, write(tmp_path / "c.mha", voxels())]) == ""


# whole datasets ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ending", BY_ITK)
def test_an_nnunet_folder_of_other_formats_is_guessed_and_read_as_one_of_nifti(tmp_path: Path, ending: str) -> None:
    label = np.zeros((6, 10, 12), np.uint8)
    label[2:4, 3:7, 4:9] = 1
    folder = tmp_path / "Dataset042_Slicer"
    for number in range(6):
        write(folder / "imagesTr" / f"case{number}_0000{ending}", voxels(seed=number))
        write(folder / "labelsTr" / f"case{number}{ending}", label)
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "tumour": 1}, "file_ending": ending}
    (folder / "dataset.json").write_text(json.dumps(about))
    found = guess(folder)
    assert found.dataset == "nnunet"
    assert found.options["patch"] == [32, 32]  # of slices of 10 x 12 pixels
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in found.options.items()}
    dataset = Nnunet(tmp_path, NnunetOptions(**options))
    case = dataset.check(dataset.load("case3"))
    assert case.spacing == SPACING[::-1]
    np.testing.assert_array_equal(case.label, label)


def test_a_label_that_lies_elsewhere_is_refused_across_formats(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    write(folder / "scan.nrrd", voxels())
    write(folder / "drawn.mha", np.zeros((6, 10, 12), np.uint8), direction=(1, 0, 0, 0, 1, 0, 0, 0, 1))
    write(folder / "traced.mha", np.zeros((6, 10, 12), np.uint8))
    rows = ["case,group,image,label", "a,a,scan.nrrd,drawn.mha", "b,b,scan.nrrd,traced.mha"]
    (folder / "manifest.csv").write_text("\n".join(rows))
    dataset = CsvManifest(tmp_path, CsvManifestOptions(folder="mine", scans=True, patch=(32, 32), colour="grey"))
    with pytest.raises(DataError, match=r"axes point along .*drawn\.mha; one of them is turned or flipped"):
        dataset.load("a")
    assert dataset.load("b").image.shape == (1, 6, 10, 12)


# NIfTI ---------------------------------------------------------------------------------------------------------------
def test_nifti_keeps_the_order_of_axes_and_their_spacing(nifti: Path) -> None:
    volume = read_nifti(nifti)
    assert volume.voxels.shape == (12, 10, 8)
    assert volume.voxels.dtype == np.int16
    assert volume.spacing_mm == (0.5, 2.0, 3.0)


def test_nifti_scaling_is_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.array([[[2, 4]]], np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nibabel.save(image, tmp_path / "scaled.nii.gz")
    stored = nibabel.load(tmp_path / "scaled.nii.gz").dataobj
    expected = [[[2 * stored.slope + stored.inter, 4 * stored.slope + stored.inter]]]
    np.testing.assert_allclose(read_nifti(tmp_path / "scaled.nii.gz").voxels, expected, atol=1e-4)


def test_spacing_stated_in_micrometres_is_given_in_mm(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.diag([500.0, 500.0, 2000.0, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "small.nii.gz")
    assert read_nifti(tmp_path / "small.nii.gz").spacing_mm == (0.5, 0.5, 2.0)


def test_nifti_cut_anywhere_is_refused_with_its_name(nifti: Path) -> None:
    whole = nifti.read_bytes()
    for length in range(0, len(whole) - 1, len(whole) // 12):
        nifti.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"case\.nii\.gz: cannot be read as NIfTI.*truncated or damaged"):
            read_nifti(nifti)


@pytest.mark.parametrize("place", [-100, -8, -1])  # among the voxels, in the checksum, in the length that follows it
def test_a_changed_byte_that_still_inflates_is_refused_with_its_name(place: int, nifti: Path) -> None:
    whole = bytearray(gzip.compress(gzip.decompress(nifti.read_bytes()), compresslevel=0))
    nifti.write_bytes(bytes(whole))
    assert read_nifti(nifti).voxels.shape == (12, 10, 8)
    whole[place] ^= 4
    nifti.write_bytes(bytes(whole))
    with pytest.raises(DataError, match=r"case\.nii\.gz: cannot be read as NIfTI.*truncated or damaged") as caught:
        read_nifti(nifti)
    assert caught.value.kind == "truncated"


@pytest.mark.parametrize("lost", [1, 4, 8])
def test_a_file_that_lacks_a_part_of_its_checksum_alone_is_refused(lost: int, nifti: Path) -> None:
    nifti.write_bytes(nifti.read_bytes()[:-lost])
    with pytest.raises(DataError, match=r"case\.nii\.gz: cannot be read as NIfTI.*truncated or damaged"):
        read_nifti(nifti)


@pytest.mark.parametrize("scaling", [(None, None), (0.5, 10.0), (1.0, -1024.0)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u1", "<f4", ">f8"])
def test_packed_or_not_voxels_are_those_of_nibabel(kind: type, dtype: str, scaling: tuple, tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 200, (5, 4, 3, 2)).astype(dtype)
    image = kind(stored, np.diag([0.5, 2.0, 3.0, 1.0]))
    image.header.set_data_dtype(stored.dtype)
    for name in ("case.nii", "case.nii.gz"):
        nibabel.save(image, tmp_path / name)
        if scaling[0] is not None:
            state(tmp_path / name, kind, *scaling)
        expected, found = np.asanyarray(nibabel.load(tmp_path / name).dataobj), read_nifti(tmp_path / name)
        assert found.voxels.dtype == expected.dtype
        assert found.spacing_mm == (0.5, 2.0, 3.0)
        np.testing.assert_array_equal(found.voxels, expected)


def state(path: Path, kind: type, slope: float, intercept: float) -> None:
    """Write a scaling into the header's bytes, for nibabel chooses one of its own."""
    content = path.read_bytes() if path.suffix == ".nii" else gzip.decompress(path.read_bytes())
    header = kind.header_class.from_fileobj(io.BytesIO(content))
    header["scl_slope"], header["scl_inter"] = slope, intercept
    content = header.binaryblock + content[len(header.binaryblock) :]
    path.write_bytes(content if path.suffix == ".nii" else gzip.compress(content))


def test_what_follows_the_voxels_in_a_packed_file_and_the_packing_in_parts_change_nothing(nifti: Path) -> None:
    content, before = gzip.decompress(nifti.read_bytes()), read_nifti(nifti).voxels
    nifti.write_bytes(gzip.compress(content[:700]) + gzip.compress(content[700:] + bytes(3 * 2**20)) + bytes(10))
    np.testing.assert_array_equal(read_nifti(nifti).voxels, before)


def test_a_header_with_an_unknown_type_of_voxel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), path)
    whole = bytearray(path.read_bytes())
    whole[70:72] = (12).to_bytes(2, "little")  # bytes 70 and 71 of the header are the type; no type has the number 12
    path.write_bytes(bytes(whole))
    with pytest.raises(DataError, match=r"odd\.nii: cannot be read as NIfTI.*12"):
        read_nifti(path)


@pytest.mark.parametrize(("axis", "size"), [(0, 0.0), (1, -2.0), (2, np.nan)])
def test_a_voxel_size_that_nibabel_would_repair_is_refused(axis: int, size: float, nifti: Path) -> None:
    voxel_size(nifti, axis, size)
    with pytest.raises(DataError, match=rf"case\.nii\.gz: voxel sizes must be three positive.*{size}") as caught:
        read_nifti(nifti)
    assert caught.value.kind == "spacing"


def test_the_place_of_a_volume_is_in_mm_and_none_where_the_header_states_none(tmp_path: Path) -> None:
    affine = np.array([[0, -2000, 0, 7000], [500, 0, 0, 0], [0, 0, 3000, -1000], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(np.zeros((3, 3, 3), np.uint8), affine)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "turned.nii.gz")
    np.testing.assert_allclose(read_nifti(tmp_path / "turned.nii.gz").affine, affine[:3] / 1000)
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.uint8), None), tmp_path / "nowhere.nii")
    assert read_nifti(tmp_path / "nowhere.nii").affine is None


def test_a_two_dimensional_nifti_has_no_three_voxel_sizes(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4), np.uint8), np.eye(4)), tmp_path / "flat.nii.gz")
    with pytest.raises(DataError, match=r"flat\.nii\.gz: has 2 axes, wanted are three; .* as PNG") as caught:
        read_nifti(tmp_path / "flat.nii.gz")
    assert caught.value.kind == "spacing"


def test_a_header_of_two_voxel_sizes_is_refused_and_one_that_is_rounded_is_not(nifti: Path) -> None:
    voxel_size(nifti, 1, 2.01)  # the sform says 2
    assert read_nifti(nifti).spacing_mm == pytest.approx((0.5, 2.01, 3.0))
    voxel_size(nifti, 1, 1.0)
    with pytest.raises(
        DataError, match=r"case\.nii\.gz: voxels are 0\.5 × 1 × 3 mm by pixdim but 0\.5 × 2 × 3 mm by the affine"
    ) as caught:
        read_nifti(nifti)
    assert caught.value.kind == "spacing"


def test_voxel_sizes_of_a_turned_place_are_the_lengths_of_its_columns(tmp_path: Path) -> None:
    affine = np.array([[0.3, -1.6, 0, 7], [0.4, 1.2, 0, 8], [0, 0, 3, 9], [0, 0, 0, 1.0]])  # columns of 0.5, 2 and 3
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), affine), tmp_path / "turned.nii")
    assert read_nifti(tmp_path / "turned.nii").spacing_mm == pytest.approx((0.5, 2.0, 3.0))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("dtype", "words"), [([("R", "u1"), ("G", "u1"), ("B", "u1")], "colours"), (np.complex64, "complex numbers")]
)
def test_colours_and_complex_numbers_are_refused_by_name(dtype: Any, words: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"odd{ending}"
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), dtype), np.eye(4)), path)
    with pytest.raises(DataError, match=rf"odd{ending}: voxels are {words}, wanted is one real number per voxel"):
        read_nifti(path)
