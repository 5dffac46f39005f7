"""Small copies of datasets in their published layouts: parts of the real ones where they are, else phantoms.

The plain loops read what the released codes read: one h5 file per slice (ACDC) or per volume (LA, and Hippocampus once
converted), so each source also lists those files by case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

import datasets
from datasets.catalogue.acdc import VOLUMES
from datasets.catalogue.la import FILE, SCANS
from datasets.types import IGNORE, Case

from .harness import Run

SLICES = "ACDC_training_slices"
TASK = "Task04_Hippocampus"
UNSCRIBBLED = 4
"""Code of an unscribbled pixel in the ACDC files."""


@dataclass(frozen=True)
class Source:
    """A dataset on disk.

    Attributes:
        root: data root for our side.
        real: scans, or phantoms.
        samples: per case, the h5 files that a plain loader reads.
    """

    root: Path
    real: bool
    samples: Mapping[str, tuple[Path, ...]]

    @property
    def kind(self) -> str:
        """For tables."""
        return "real" if self.real else "phantom"


def acdc(run: Run, *, test: int = 1, train: int = 8, side: int | None = None) -> Source:
    """ACDC, or 2-D phantoms as ACDC stores them: patients 1 to ``test``, and ``train`` patients from 21 on.

    Args:
        run: says where scans are, and where to write.
        test, train: patients; fold 1 tests the first and trains on the others.
        side: pixels of a phantom's side; None = 256×216, the commonest size of a scan.
    """
    side = 32 if run.quick else side
    patients = [*range(1, test + 1), *range(21, train + 21)]
    root = run.scratch / f"acdc-{test}-{train}-{side or 256}"
    there = run.data / "ACDC" if run.data else None
    real = there is not None and (there / VOLUMES).is_dir() and (there / SLICES).is_dir() and not run.quick
    if not root.is_dir():
        for folder in (VOLUMES, SLICES):
            (root / "ACDC" / folder).mkdir(parents=True)
        if real and there:
            _link(there, root / "ACDC", [f"{f}/patient{p:03d}_*.h5" for p in patients for f in (VOLUMES, SLICES)])
        else:
            size = {"side": side or 256, "slices": 2 if run.quick else 8, "patients": len(patients)}
            for number, case in zip(patients, _phantoms("phantom_2d", size), strict=False):
                _write_acdc(root / "ACDC", f"patient{number:03d}_frame01", case, cut=20 if side is None else 0)
    cases = sorted(path.stem for path in (root / "ACDC" / VOLUMES).glob("*.h5"))
    return Source(root, real, {c: tuple(sorted((root / "ACDC" / SLICES).glob(f"{c}_slice_*.h5"))) for c in cases})


def hippocampus(run: Run, *, cases: int = 24) -> Source:
    """The first cases of the decathlon's Task04, or 3-D phantoms as it stores them, and their h5 conversion."""
    root = run.scratch / f"hippocampus-{cases}"
    there = run.data / TASK if run.data else None
    real = there is not None and (there / "dataset.json").is_file() and not run.quick
    if not root.is_dir():
        folder = root / TASK
        folder.mkdir(parents=True)
        if real and there:
            about = json.loads((there / "dataset.json").read_text())
            about["training"] = sorted(about["training"], key=lambda pair: pair["image"])[:cases]
            _link(there, folder, [name.removeprefix("./") for pair in about["training"] for name in pair.values()])
        else:
            size = {"shape": (20, 24, 20) if run.quick else (35, 50, 36), "patch": (16, 16, 16), "patients": cases}
            about = {"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}, "training": []}
            for number, case in enumerate(_phantoms("phantom_3d", size)):
                about["training"].append(_write_nifti(folder, f"hippocampus_{number:03d}", case))
        (folder / "dataset.json").write_text(json.dumps(about))
        opened = datasets.get("msd")(root)
        for key in opened.groups():
            _write_h5(root / "h5" / f"{key}.h5", opened.load(key))
    return Source(root, real, {path.stem: (path,) for path in sorted((root / "h5").glob("*.h5"))})


def la(run: Run, *, test: int = 1, train: int = 4) -> Source:
    """Left atria, or 3-D phantoms of their size."""
    root = run.scratch / f"la-{test}-{train}"
    there = run.data / "LA" if run.data else None
    real = there is not None and (there / SCANS).is_dir() and not run.quick
    if not root.is_dir():
        folder = root / "LA" / SCANS
        folder.mkdir(parents=True)
        if real and there:
            names = sorted(path.parent.name for path in (there / SCANS).glob(f"*/{FILE}"))[: test + train]
            for name in names:
                (folder / name).symlink_to(there / SCANS / name)
        else:
            size = {"shape": (40, 32, 32) if run.quick else (160, 144, 88), "patch": (16, 16, 16)}
            names = [f"scan{number:02d}" for number in range(test + train)]
            for name, case in zip(names, _phantoms("phantom_3d", size | {"patients": len(names)}), strict=False):
                _write_h5(folder / name / FILE, case)
        for part, listed in (("test", names[:test]), ("train", names[test:])):
            (root / "LA" / f"{part}.list").write_text("\n".join(listed) + "\n")
    files = sorted((root / "LA" / SCANS).glob(f"*/{FILE}"))
    return Source(root, real, {path.parent.name: (path,) for path in files})


def _phantoms(name: str, options: Mapping[str, object]) -> list[Case]:
    cls = datasets.get(name)
    made = cls(Path(), cls.Options(**{**options, "patients": max(3, int(str(options["patients"])))}))
    return [made.load(key) for key in made.groups()]


def _link(there: Path, here: Path, patterns: Sequence[str]) -> None:
    for path in (path for pattern in patterns for path in there.glob(pattern)):
        place = here / path.relative_to(there)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)


def _write_acdc(folder: Path, key: str, case: Case, *, cut: int) -> None:
    """A volume and its slices as WSL4MIS ships them; ``cut`` columns go on either side."""
    assert case.label is not None
    assert case.scribble is not None
    inside = slice(cut, case.space[-1] - cut)
    scribble = np.where(case.scribble == IGNORE, UNSCRIBBLED, case.scribble).astype(np.uint16)
    arrays = {"image": case.image[0], "label": case.label, "scribble": scribble}
    arrays = {name: array[..., inside] for name, array in arrays.items()}
    _save(folder / VOLUMES / f"{key}.h5", arrays)
    for number in range(case.space[0]):
        _save(folder / SLICES / f"{key}_slice_{number}.h5", {name: array[number] for name, array in arrays.items()})


def _write_h5(path: Path, case: Case) -> None:
    """A volume as UA-MT ships it."""
    assert case.label is not None
    _save(path, {"image": case.image[0], "label": case.label})


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip")


def _write_nifti(folder: Path, key: str, case: Case) -> dict[str, str]:
    """A case as the decathlon stores it, and its entry in ``dataset.json``."""
    import nibabel

    assert case.label is not None
    entry = {"image": f"./imagesTr/{key}.nii.gz", "label": f"./labelsTr/{key}.nii.gz"}
    for name, array in (("image", case.image[0]), ("label", case.label)):
        path = folder / entry[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    return entry
