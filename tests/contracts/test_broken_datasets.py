"""Faults planted in correct datasets are caught by the check that is there for them, in the sentence stated here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import datasets
from datasets.base import Dataset, MissingData
from datasets.catalogue.acdc import ACDC
from datasets.catalogue.phantom_2d import Phantom2D
from datasets.types import Case, Task
from tests.miniatures import acdc as files
from tests.miniatures import phantom_2d as generated

from . import checks_datasets as contract
from .checks_datasets import certify
from .specimen import Check, Specimen


class Unsorted(ACDC):
    def groups(self) -> Mapping[str, str]:
        return dict(reversed(super().groups().items()))


class AsListed(ACDC):
    def groups(self) -> Mapping[str, str]:
        return {path.stem: path.stem[:10] for path in (self.root / "ACDC_training_volumes").glob("*.h5")}


class OneGroupPerScan(ACDC):
    def groups(self) -> Mapping[str, str]:
        return {key: key for key in super().groups()}


class Shared(ACDC):
    kept: Mapping[str, Case] = {}

    def load(self, key: str) -> Case:
        self.kept = {key: super().load(key)} | dict(self.kept)
        return self.kept[key]


class Mirrored(ACDC):
    def load(self, key: str) -> Case:
        case = super().load(key)
        assert case.label is not None
        return dataclasses.replace(case, image=case.image[..., ::-1].copy(), label=case.label[..., ::-1].copy())


class ImageMirrored(ACDC):
    def load(self, key: str) -> Case:
        case = super().load(key)
        return dataclasses.replace(case, image=case.image[..., ::-1].copy())


class Guessing(ACDC):
    def load(self, key: str) -> Case:
        return dataclasses.replace(super().load(key), spacing=(10.0, 1.5, 1.5))


class Promising(ACDC):
    def make_task(self) -> Task:
        return dataclasses.replace(super().make_task(), annotations=("dense",))


class Contradicting(ACDC):
    def load(self, key: str) -> Case:
        case = super().load(key)
        assert case.scribble is not None
        return dataclasses.replace(case, scribble=np.where(case.scribble == 1, 2, case.scribble).astype(np.uint8))


class Forgiving(ACDC):
    def check(self, case: Case) -> Case:
        return case


class Curt(ACDC):
    def missing(self, what: str) -> MissingData:
        return MissingData("not found")


class Forgetful(ACDC):
    def files(self) -> list[Path]:
        return list(super().files())[:1]


class Shuffling(Phantom2D):
    """Numbers its patients from the end, so that one more renames all."""

    def groups(self) -> Mapping[str, str]:
        keys = list(super().groups())
        return {key: f"p{len(keys) - place}" for place, key in enumerate(keys)}


class Unlabelling(Phantom2D):
    def load(self, key: str) -> Case:
        return dataclasses.replace(super().load(key), scribble=None)


def named(cls: type[Dataset], where: Path) -> Specimen:
    return Specimen(cls, where, miniature=generated if issubclass(cls, Phantom2D) else files)


@pytest.mark.parametrize(
    ("cls", "check", "sentence"),
    [
        (Unsorted, contract.check_cases, "unique and sorted"),
        (AsListed, contract.check_cases, "sorted|file system's order"),
        (OneGroupPerScan, contract.check_cases, "in no part"),
        (Shared, contract.check_load, "image differs when loaded again, or after the first was changed"),
        (Mirrored, contract.check_truth, "the label is moved or mirrored"),
        (ImageMirrored, contract.check_truth, "the image is moved or mirrored"),
        (Guessing, contract.check_task, "contradicts the unit 'px'"),
        (Guessing, contract.check_truth, "was guessed"),
        (Promising, contract.check_task, "annotations is"),
        (Contradicting, contract.check_scribbles, "scribbled voxels contradict the label"),
        (Forgiving, contract.check_damage, "nothing was noticed"),
        (Curt, contract.check_missing, "does not say"),
        (Forgetful, contract.check_fingerprint, "the same fingerprint"),
        (Shuffling, contract.check_growth, "changed who is labelled first"),
        (Unlabelling, contract.check_task, "scribble is not as the task says"),
        (Unlabelling, contract.check_store, "scribble"),
    ],
)
def test_a_planted_fault_is_reported(cls: type[Dataset], check: Check, sentence: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, ValueError), match=sentence):
        check(named(cls, tmp_path))


def test_a_user_certifies_a_dataset_in_one_call(tmp_path: Path) -> None:
    certify(Specimen(datasets.get("phantom_2d"), tmp_path, miniature=generated))
