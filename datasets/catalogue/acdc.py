"""ACDC: cine MR of the heart, end-diastole and end-systole, with expert scribbles, as WSL4MIS converted it.

Source: ACDC challenge (Bernard et al., IEEE TMI 2018); scribbles of Valvano et al. (IEEE TMI 2021); HDF5 of WSL4MIS.
Licence: research use; redistributed copies state CC BY-NC-SA 4.0 for the scans and Apache-2.0 for the scribbles.
Layout: ``ACDC/ACDC_training_volumes/patientPPP_frameFF.h5`` with ``image`` float (z, y, x) in [0, 1], ``label``
    {0..3}, ``scribble`` {0..3, 4 = unlabelled}; optionally the attribute ``spacing`` (z, y, x) in mm.
Classes: background, RV, MYO, LV.
Spacing: not in the published files: distances are in voxels unless files or options state it. It is never guessed.
Protocol: WSL4MIS's five folds (fold k tests patients 20(k−1)+1 to 20k), the lists of Valvano et al. ("maag"), or those
    of the semi-supervised papers ("ssl4mis").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..base import DataError, Dataset, Partition
from ..io import read_h5_attributes
from ..types import Annotation, Card, Case, Task
from ._acdc_lists import DIVISIONS, ONE_DISEASE, PATIENTS, disease_of, five_folds, patient_names
from ._h5 import lacking, planes_unlike, read_case
from ._slices import scribble_oddities

VOLUMES, SLICES = "ACDC_training_volumes", "ACDC_training_slices"
CLASSES = ("background", "RV", "MYO", "LV")


@dataclass(frozen=True)
class ACDCOptions:
    """What a plan may set.

    Attributes:
        protocol: "folds" = five folds of 20 test patients; "maag" = 70 training (the first 35 scribbled in the papers:
            count 35 with subset "first"), 15 validation and 15 test patients. "ssl4mis" = 70 training (the first 3, 7
            or 14 densely labelled in the papers), 10 validation and 20 test patients.
        spacing_mm: (z, y, x) size of a voxel of *every* scan, for copies on a common grid; empty = as the files say.
        partial: accept a copy in which published volumes are missing; its numbers are not comparable.
    """

    protocol: Literal["folds", "maag", "ssl4mis"] = "folds"
    spacing_mm: tuple[float, ...] = ()
    partial: bool = False

    def __post_init__(self) -> None:
        if self.protocol not in ("folds", *DIVISIONS):
            raise ValueError(f'protocol must be "folds", "maag" or "ssl4mis", got {self.protocol!r}')
        if self.spacing_mm and (len(self.spacing_mm) != 3 or min(self.spacing_mm) <= 0):
            raise ValueError(f"spacing_mm must be three positive numbers (z, y, x), got {self.spacing_mm}")


class ACDC(Dataset):
    """200 short-axis volumes of 100 patients, every slice scribbled; samples are slices."""

    card = Card(
        title="ACDC (Automated Cardiac Diagnosis Challenge) with scribbles",
        source="Bernard et al., IEEE TMI 2018; scribbles: Valvano et al., IEEE TMI 2021; conversion: WSL4MIS.",
        licence="Research use, cite both papers; copies state CC BY-NC-SA 4.0, the scribbles Apache-2.0.",
        how_to_get="Accept the terms on the challenge's page (humanheart-project.creatis.insa-lyon.fr/database), then "
        "take data/ACDC of the repository HiLab-git/WSL4MIS, which is in this layout.",
        layout=f"ACDC/{VOLUMES}/patient001_frame01.h5 and so on (200 files), each with image, label and scribble.",
        spacing="Not in the published files: distances are in voxels unless files or options state it; never guessed.",
        protocol="folds: fold k tests patients 20(k-1)+1 to 20k and trains on the other 80, whence validation patients "
        "are carved, for none are published. maag: 70 training, 15 validation, 15 test patients. ssl4mis: 70, 10, 20; "
        "labelled subsets are the first 3, 7 or 14 of its list (none of the first 7 is a normal or a DCM heart).",
        known_issues=(
            "No spacing in the files: HD95 is in voxels, not comparable with figures in mm.",
            "116 scribbled voxels contradict the dense label.",
            f"Five folds: {ONE_DISEASE}.",
            "WSL4MIS validates on the test fold and scores the last step, MaskMixAdv the best step of that fold.",
        ),
        facts={
            "size": "100 patients, 200 volumes, 1902 slices of 154×154 to 512×428 pixels, 6 to 18 per volume",
            "scribbles": "1.1 % of the pixels, on every slice; classes background .60, RV .12, MYO .17, LV .12",
            "normalisation": "per volume: clipped at the 99th percentile, then min-max to [0, 1]",
        },
        counts={"cases": 200, "slices": 1902},
    )
    Options = ACDCOptions
    folder = "ACDC"
    folds = 5

    @classmethod
    def caveat(cls, options: Mapping[str, Any]) -> str:
        return ONE_DISEASE if options.get("protocol", "folds") == "folds" else ""

    @classmethod
    def nominal_task(cls, options: ACDCOptions) -> Task:
        return Task("acdc", 2, 1, CLASSES, (256, 256), "mm" if options.spacing_mm else "px", ("dense", "scribble"))

    def make_task(self) -> Task:
        if not (files := self.files()):
            raise self.missing(f"file patient001_frame01.h5 or the like in {str(self.root / VOLUMES)!r}")
        self.folds: int = 1 if self.options.protocol in DIVISIONS else 5  # type: ignore[misc, no-redef]
        nominal = self.nominal_task(self.options)
        return replace(nominal, unit="mm") if "spacing" in read_h5_attributes(files[0]) else nominal

    def recognises(self, root: Path) -> bool:
        return super().recognises(root) or (root / VOLUMES).is_dir()

    def files(self) -> Sequence[Path]:
        files = sorted(path for path in (self.root / VOLUMES).glob("*.h5") if not path.name.startswith("."))
        strays = [str(path) for path in files if not re.fullmatch(r"patient\d{3}_frame\d{2}\.h5", path.name)]
        if strays:
            words = "is not named like patient001_frame01.h5; rename it or move it elsewhere"
            raise DataError(f"acdc: {strays[0]!r} {words}")
        return files

    def groups(self) -> Mapping[str, str]:
        return {path.stem: path.stem.split("_")[0] for path in self.files()}

    def load(self, key: str) -> Case:
        path, fixed = self.root / VOLUMES / f"{key}.h5", self.options.spacing_mm
        stored = None if fixed else self.task.unit == "mm"
        case = read_case("acdc", path, key.split("_")[0], CLASSES, unlabelled=4, has_spacing=stored)
        low, high = float(case.image.min()), float(case.image.max())
        if low < 0 or high > 1:
            words = f"the published conversion scales every volume to [0, 1]; convert {path} the same way"
            raise DataError(f"acdc: case {key!r}: image values span {low:g} to {high:g}, {words}")
        return replace(case, spacing=fixed) if fixed else case

    def partition(self, fold: int) -> Partition:
        if not 1 <= fold <= self.folds:
            raise ValueError(f"acdc: fold must be in 1..{self.folds} of protocol {self.options.protocol!r}, got {fold}")
        division = DIVISIONS.get(self.options.protocol) or five_folds(fold)
        keys = self.groups()
        absent = sorted(set(patient_names(PATIENTS)) - set(keys.values()))
        if len(keys) < 2 * len(PATIENTS) and not self.options.partial:
            raise DataError(
                f"acdc: {len(keys)} of the 200 published volumes in {str(self.root / VOLUMES)!r}, {len(absent)} "
                "patients have none; complete the copy, or set the option partial: true (then comparable with nothing)"
            )
        parts = {part: sorted(patient_names(numbers)) for part, numbers in division._asdict().items()}
        return Partition(**{part: tuple(n for n in names if n not in absent) for part, names in parts.items()})

    def unannotated(self, annotation: Annotation) -> frozenset[str]:
        return lacking({path.stem: path for path in self.files()}, annotation)

    def oddities(self, case: Case) -> Sequence[str]:
        return [*scribble_oddities(case), *planes_unlike(self.root / VOLUMES / f"{case.key}.h5", self.root / SLICES)]

    def published_order(self) -> Sequence[str]:
        division = DIVISIONS.get(self.options.protocol)
        return patient_names(division.train if division else PATIENTS)

    def strata(self) -> Mapping[str, str]:
        return dict(zip(patient_names(PATIENTS), map(disease_of, PATIENTS), strict=True))
