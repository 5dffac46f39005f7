"""Every registered dataset keeps the contract on its miniature; on real scans too, where they are at hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import datasets
from datasets.base import MissingData
from datasets.verify import verify

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


def unpacked(root: Path, pattern: str) -> Path:
    """The real volumes of ACDC whose packed files match, in the published layout below ``root``."""
    if not (REAL / "acdc").is_dir():
        pytest.skip(f"no real ACDC scans in {REAL / 'acdc'}")
    spec = importlib.util.spec_from_file_location("unpack", REAL / "unpack.py")
    assert spec is not None
    assert spec.loader is not None
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    for packed in sorted((REAL / "acdc").glob(pattern)):
        name = packed.name.removesuffix(".npz.xz")
        unpack.write(root / "ACDC" / "ACDC_training_volumes" / f"{name}.h5", unpack.read(packed))
    return root


@pytest.fixture(scope="session")
def real_acdc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five real patients, one of each test fold, in the published layout."""
    return unpacked(tmp_path_factory.mktemp("real"), "patient0[02468]1_*.npz.xz")


@pytest.mark.data
@pytest.mark.slow
def test_the_real_acdc_has_the_published_counts(tmp_path: Path) -> None:
    root, cls = unpacked(tmp_path, "patient*.npz.xz"), datasets.get("acdc")
    report = verify(cls, root)
    assert report.faults() == []
    assert report.facts["slices"] == 1902
    assert report.facts["contradicting scribble pixels"] == 116
    assert report.facts["scribbled"] == pytest.approx(0.011, abs=5e-4)
    shares = [report.facts["scribble shares"][name] for name in ("background", "RV", "MYO", "LV")]
    assert shares == pytest.approx([0.598, 0.115, 0.171, 0.116], abs=2e-3)
    dataset = cls(root)
    depths = {key: len(dataset.load(key).image[0]) for key in dataset.groups()}
    slices = [
        sum(depths[key] for key, group in dataset.groups().items() if group in dataset.partition(fold).test)
        for fold in range(1, 6)
    ]
    assert slices == [390, 378, 346, 340, 448]


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
