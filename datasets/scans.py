"""Readers of scans (NIfTI, NRRD, MetaImage): every failure becomes a DataError that names the file and what to do.

Whatever stores it, a scan has its axes in the file's order, and its place counts towards right, front and head.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .base import DataError
from .io import damaged, must_exist

NIFTI = (".nii", ".nii.gz")
BY_ITK = (".nrrd", ".mha")
ENDINGS = NIFTI + BY_ITK
"""Of files that hold a scan, header and voxels: what two files hold (.nhdr, .mhd) would change without notice."""

_REAL = "biuf"
"""Kinds of NumPy types of real numbers."""
_MM_PER_UNIT = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
_FROM_LPS = np.array([[-1.0], [-1.0], [1.0]])
"""ITK counts towards left, back and head."""


class Volume(NamedTuple):
    """Voxels as stored, axes in the file's order, and their size along the first three axes in mm.

    ``affine`` is ``(3, 4)`` in mm: column k one voxel along axis k, the last the centre of the first voxel; None where
    the file states no place.
    """

    voxels: np.ndarray
    spacing_mm: tuple[float, ...]
    affine: np.ndarray | None = None


def read_scan(path: Path, *, agreed: bool = True) -> Volume:
    """A scan by the ending of its name, one of ``ENDINGS``; ``agreed`` as :func:`read_nifti` has it.

    Raises:
        DataError: another ending, or what :func:`read_nifti` and :func:`read_itk` refuse.
    """
    if path.name.endswith(NIFTI):
        return read_nifti(path, agreed=agreed)
    if path.name.endswith(BY_ITK):
        return read_itk(path)
    raise DataError(
        f"{path}: not a scan by its name, which must end in {', '.join(ENDINGS)}; convert it (a DICOM series with "
        "dcm2niix; a header apart from its voxels with SimpleITK or 3D Slicer)"
    )


def read_itk(path: Path) -> Volume:
    """An NRRD or MetaImage file, such as 3D Slicer and ITK-SNAP write.

    Raises:
        DataError: the file is absent, truncated or of another kind, has several components per voxel or other than
            three axes, or states no usable voxel size.
    """
    import SimpleITK

    reader, spacing, affine = _itk_header(path)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _damaged_by_itk(path, error) from error
    return Volume(SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), spacing, affine)


def read_axes(path: Path) -> np.ndarray | None:
    """``(3, 3)``: column k is one voxel along axis k of a scan, in its unit, towards right, front and head.

    No voxel is read. None where the header states no place.

    Raises:
        DataError: the file is absent or no scan.
    """
    if path.name.endswith(NIFTI):
        return read_nifti_axes(path)
    _, _, affine = _itk_header(path)
    return None if affine is None else affine[:, :3]


def read_nifti(path: Path, *, agreed: bool = True) -> Volume:
    """A NIfTI file with its scaling applied; integers stay integers where the file states no scaling.

    Args:
        path: the file.
        agreed: whether pixdim and affine must state one voxel size; else pixdim's is taken.

    Raises:
        DataError: the file is absent, truncated, not NIfTI or not what its checksum says, holds colours or complex
            numbers, or its header holds no usable voxel size, or two that differ.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    must_exist(path)
    try:
        image: Any = nibabel.load(path, mmap=False)
        header, kind = image.header, image.get_data_dtype()
        voxels = _stored_voxels(path, image.dataobj) if kind.kind in _REAL else None
        mm, sizes = _MM_PER_UNIT[header.get_xyzt_units()[0]], _stored_sizes(image)
        affine = mm * np.asarray(image.affine)[:3] if header["qform_code"] > 0 or header["sform_code"] > 0 else None
    except (OSError, EOFError, ValueError, KeyError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise damaged(path, "NIfTI", error) from error
    if voxels is None:
        held = "complex numbers" if kind.kind == "c" else "colours"
        raise DataError(
            f"{path}: voxels are {held}, wanted is one real number per voxel; store one file per channel (such as the "
            "magnitude, or red, green and blue), and a label map as integers"
        )
    if len(sizes) < 3:
        raise DataError(
            f"{path}: has {len(sizes)} axes, wanted are three; store the slices of a scan as one volume, and single "
            "images as PNG"
        ).of("spacing")
    if not all(np.isfinite(size) and size > 0 for size in sizes):
        raise DataError(
            f"{path}: voxel sizes must be three positive numbers, the header says {sizes}; repair the header (pixdim)"
        ).of("spacing")
    spacing = tuple(size * mm for size in sizes)
    if agreed:
        _same_sizes(path, spacing, affine)
    return Volume(voxels, spacing, affine)


def read_nifti_axes(path: Path) -> np.ndarray | None:
    """``(3, 3)``: column k is one voxel along axis k of a NIfTI file, in its unit, towards right, front and head.

    No voxel is read. None where the header states no place.

    Raises:
        DataError: the file is absent or not NIfTI.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    must_exist(path)
    try:
        image: Any = nibabel.load(path)
        placed = image.header["qform_code"] > 0 or image.header["sform_code"] > 0
        return np.asarray(image.affine)[:3, :3] if placed else None
    except (OSError, EOFError, ValueError, KeyError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise damaged(path, "NIfTI", error) from error


def _stored_voxels(path: Path, array: Any) -> np.ndarray:
    """The voxels that an array of nibabel stands for, scaled; a packed file is read to its end, where its checksum is.

    Raises:
        OSError: the file is not what its checksum says.
    """
    from nibabel.arrayproxy import ArrayProxy

    if not path.name.lower().endswith(".nii.gz"):
        return np.asanyarray(array)
    with gzip.open(path) as stream:
        stated = (array.shape, array.dtype, array.offset, array.slope, array.inter)
        voxels = np.asanyarray(ArrayProxy(stream, stated, mmap=False))
        while stream.read(2**20):
            pass
    return voxels


def _stored_sizes(image: Any) -> list[float]:
    """The voxel sizes that the header states: nibabel shows 1 for 0, and 1.5 for -1.5."""
    holder = image.file_map.get("header", image.file_map["image"])
    with holder.get_prepare_fileobj("rb") as file:
        header = type(image.header).from_fileobj(file, check=False)
    return [float(size) for size in header["pixdim"][1 : 1 + min(3, int(header["dim"][0]))]]


def _same_sizes(path: Path, spacing: tuple[float, ...], affine: np.ndarray | None) -> None:
    """Refuse a header that states two voxel sizes: which is true nobody can tell from the file.

    Raises:
        DataError: pixdim and the columns of the affine differ by more than 1 %.
    """
    placed = spacing if affine is None else np.linalg.norm(affine[:, :3], axis=0)
    if not np.allclose(placed, spacing, rtol=0.01, atol=0):
        words = [" × ".join(f"{size:g}" for size in sizes) for sizes in (spacing, placed)]
        raise DataError(
            f"{path}: voxels are {words[0]} mm by pixdim but {words[1]} mm by the affine (sform or qform) of the same "
            "header; write what is true into both (nibabel: Nifti1Image(voxels, affine) does), or export it again"
        ).of("spacing")


def _itk_header(path: Path) -> tuple[Any, tuple[float, ...], np.ndarray | None]:
    """A reader that has read the header and no voxel, and the size and the place of voxels as :class:`Volume` has them.

    Raises:
        DataError: as :func:`read_itk`.
    """
    import SimpleITK

    must_exist(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _damaged_by_itk(path, error) from error
    components, axes = reader.GetNumberOfComponents(), reader.GetDimension()
    if components > 1 or axes != 3:
        raise DataError(
            f"{path}: {axes} axes and {components} number(s) per voxel, wanted are 3 and 1; store one file per "
            "channel, segments that overlap as one label map (3D Slicer: export as labelmap)"
        )
    spacing, origin = np.array(reader.GetSpacing()), np.array(reader.GetOrigin())
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise DataError(f"{path}: voxel sizes must be three positive numbers, the header says {spacing}").of("spacing")
    if not _states_spacing(path):
        raise DataError(
            f"{path}: the header states no voxel size, and 1 mm would be a guess; state it there "
            "(NRRD: spacings or space directions, MetaImage: ElementSpacing), or export it again"
        ).of("spacing")
    towards = np.array(reader.GetDirection()).reshape(3, 3) * spacing
    placed = not path.name.endswith(".nrrd") or reader.HasMetaDataKey("NRRD_space")
    return reader, tuple(spacing.tolist()), _FROM_LPS * np.column_stack((towards, origin)) if placed else None


def _states_spacing(path: Path) -> bool:
    """Whether a header has a field of voxel sizes, all of them numbers; where it has not, ITK says 1."""
    with path.open("rb") as file:
        for line in file:
            text = line.decode("latin-1").strip()
            if path.name.endswith(".nrrd"):
                name, _, value = text.partition(":")
                if name.strip().lower() in ("spacings", "space directions"):
                    return "nan" not in value.lower()
                if not text:
                    return False
            elif text.startswith(("ElementSpacing", "ElementSize")):
                return True
            elif text.startswith("ElementDataFile"):
                return False
    return False


def _damaged_by_itk(path: Path, error: RuntimeError) -> DataError:
    """Of the many lines of an error of ITK, the last says why."""
    return damaged(path, "NRRD or MetaImage", RuntimeError(str(error).strip().splitlines()[-1]))
