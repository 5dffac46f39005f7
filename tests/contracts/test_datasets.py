"""Every registered dataset keeps the contract on its miniature; on real scans too, where they are at hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import datasets
from datasets.base import MissingData

from .checks_datasets import CHECKS, ON_REAL
from .specimen import Check, Specimen

REPOSITORY = Path(__file__).parents[2]
REAL = REPOSITORY.parent / "shared" / "data"


def _miniature(name: str) -> ModuleType:
    if not (REPOSITORY / "tests" / "miniatures" / f"{name}.py").is_file():
        pytest.fail(
            f"the registered dataset {name!r} has no miniature: write tests/miniatures/{name}.py (see __init__)"
        )
    return importlib.import_module(f"tests.miniatures.{name}")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", [name for name in datasets.names() if not datasets.get(name).unavailable])
def test_dataset(name: str, check: Check, tmp_path: Path) -> None:
    check(Specimen(datasets.get(name), tmp_path, miniature=_miniature(name)))


@pytest.mark.parametrize("name", [name for name in datasets.names() if datasets.get(name).unavailable])
def test_what_nobody_can_get_has_a_card_and_says_why(name: str, tmp_path: Path) -> None:
    cls = datasets.get(name)
    assert cls.card.how_to_get
    assert cls.nominal_task(cls.Options()).name == name
    with pytest.raises(MissingData, match=f"{name}: these data cannot be had: {cls.unavailable}"):
        cls(tmp_path)


@pytest.fixture(scope="session")
def real_acdc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five real patients, one of each test fold, in the published layout."""
    if not (REAL / "acdc").is_dir():
        pytest.skip(f"no real ACDC scans in {REAL / 'acdc'}")
    spec = importlib.util.spec_from_file_location("unpack", REAL / "unpack.py")
    assert spec is not None
    assert spec.loader is not None
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    root = tmp_path_factory.mktemp("real")
    for patient in (1, 21, 41, 61, 81):
        for packed in sorted((REAL / "acdc").glob(f"patient{patient:03d}_*.npz.xz")):
            name = packed.name.removesuffix(".npz.xz")
            unpack.write(root / "ACDC" / "ACDC_training_volumes" / f"{name}.h5", unpack.read(packed))
    return root


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("check", ON_REAL, ids=lambda check: check.__name__)
def test_five_real_acdc_patients(check: Check, real_acdc: Path, tmp_path: Path) -> None:
    check(Specimen(datasets.get("acdc"), tmp_path, miniature=None, real=real_acdc, options={"partial": True}))


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("check", ON_REAL, ids=lambda check: check.__name__)
def test_the_real_hippocampus_task(check: Check, tmp_path: Path) -> None:
    if not (REAL / "Task04_Hippocampus").is_dir():
        pytest.skip(f"no real hippocampus scans in {REAL / 'Task04_Hippocampus'}")
    check(Specimen(datasets.get("msd"), tmp_path, miniature=None, real=REAL))
