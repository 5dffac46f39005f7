"""Published divisions of ACDC's 100 patients, each list in its published order: "the first n" means its first n.

Source of the diseases: the order of the patients in the challenge, whose ``Info.cfg`` names the group of each: twenty
after twenty.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

PATIENTS = tuple(range(1, 101))
DISEASES = ("DCM", "HCM", "MINF", "NOR", "RV")
"""Dilated, hypertrophic cardiomyopathy, infarction, normal, abnormal right ventricle: patients 1-20, 21-40, and on."""

ONE_DISEASE = (
    "every fold tests the twenty patients of one group (fold 1 dilated, 2 hypertrophic cardiomyopathy, 3 infarction, 4 "
    "normal, 5 abnormal right ventricle) and trains on none of it; one fold alone says nothing of the others"
)
"""What five folds in the order of the patients come to."""


class Division(NamedTuple):
    """Patient numbers of three disjoint parts that together are all patients."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]


MAAG = Division(
    train=(
        37, 50, 53, 100, 38, 19, 61, 74, 97, 31, 91, 35, 56, 94, 26, 69, 46, 59, 4, 89, 71, 6, 52, 43, 45, 63, 93, 14,
        98, 88, 21, 28, 99, 54, 90, 2, 76, 34, 85, 70, 86, 3, 8, 51, 40, 7, 13, 47, 55, 12, 58, 87, 9, 65, 62, 33, 42,
        23, 92, 29, 11, 83, 68, 75, 67, 16, 48, 66, 20, 15,
    ),
    val=(84, 32, 27, 96, 17, 18, 57, 81, 79, 22, 1, 44, 49, 25, 95),
    test=(5, 39, 77, 82, 78, 10, 64, 24, 30, 73, 80, 41, 36, 60, 72),
)  # fmt: skip
"""Valvano et al.'s, as ScribbleVC and ScribFormer release it; there the first 35 training patients carry scribbles."""

SSL4MIS = Division(
    train=(
        99, 38, 50, 100, 58, 21, 49, 20, 72, 40, 60, 89, 4, 56, 98, 96, 31, 18, 94, 47, 48, 55, 97, 74, 43, 41, 63, 37,
        95, 54, 26, 88, 32, 69, 6, 71, 12, 73, 61, 17, 25, 10, 57, 29, 51, 5, 36, 46, 62, 34, 76, 92, 70, 77, 67, 3,
        91, 16, 14, 44, 42, 90, 53, 27, 35, 86, 23, 9, 79, 15,
    ),
    val=(28, 85, 82, 87, 19, 30, 78, 45, 2, 39),
    test=(11, 13, 84, 33, 93, 22, 68, 24, 83, 81, 80, 1, 7, 66, 8, 65, 75, 64, 59, 52),
)  # fmt: skip
"""SSL4MIS's train, val and test lists at commit 0119796; semi-supervised papers label the first 3, 7 or 14."""

DIVISIONS = {"maag": MAAG, "ssl4mis": SSL4MIS}


def five_folds(fold: int) -> Division:
    """WSL4MIS's fold ``fold`` of five: it tests patients 20(fold - 1) + 1 to 20 fold; no validation list."""
    test = PATIENTS[20 * (fold - 1) : 20 * fold]
    return Division(tuple(patient for patient in PATIENTS if patient not in test), (), test)


def patient_names(patients: Iterable[int]) -> tuple[str, ...]:
    """Patient numbers as files have them: ``patient001``."""
    return tuple(f"patient{number:03d}" for number in patients)


def disease_of(patient: int) -> str:
    """One of :data:`DISEASES`, of a patient's number.

    >>> disease_of(20), disease_of(21), disease_of(100)
    ('DCM', 'HCM', 'RV')
    """
    return DISEASES[(patient - 1) // 20]
