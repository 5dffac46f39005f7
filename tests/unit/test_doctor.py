"""The doctor: what it says of a machine that lacks something, and when it says that nothing can run."""

from __future__ import annotations

import io
import shutil
import socket
import sqlite3
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from benchmark import ROOT, doctor
from benchmark.doctor import Finding
from tests.miniatures import acdc

from .tiny_cells import places_in


@pytest.fixture(autouse=True)
def _away_from_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")


def found(root: Path) -> dict[str, Finding]:
    return {each.what: each for each in doctor.diagnose(places_in(root))}


def printed(root: Path) -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=300, color_system=None)
    healthy = doctor.examine(console, str(root))
    assert isinstance(console.file, io.StringIO)
    return healthy, console.file.getvalue()


def test_this_machine_is_described_and_healthy(tmp_path: Path) -> None:
    healthy, text = printed(tmp_path)
    assert healthy
    for expected in ("python", "torch", "cores", "memory", "auto is", "GiB free", "phantom_2d", "acdc", "MLflow"):
        assert expected in text
    assert text.endswith("everything that is needed works\n")
    assert not (tmp_path / "results").exists()  # it only looks
    assert {each.status for each in found(tmp_path).values()} <= {"ok", "note"}


def test_a_missing_package_that_is_needed_breaks_and_another_one_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.version

    def without(gone: str) -> Any:
        def version(name: str) -> str:
            if name == gone:
                raise metadata.PackageNotFoundError(name)
            return real(name)

        return version

    for gone, status in (("h5py", "broken"), ("medpy", "note")):
        monkeypatch.setattr(doctor.metadata, "version", without(gone))
        assert doctor.packages() == Finding("packages", status, f"missing: {gone}", "make env")  # type: ignore[arg-type]
    monkeypatch.setattr(doctor.metadata, "version", without("h5py"))
    healthy, text = printed(tmp_path)
    assert not healthy
    assert text.endswith("broken: packages\n")


def test_a_version_outside_its_range_is_noted_with_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "1.26.4" if name == "numpy" else real(name))
    assert doctor.packages() == Finding("packages", "note", "numpy 1.26.4, supported: >=2,<3", "make env")


@pytest.mark.parametrize(
    ("version", "allowed", "inside"),
    [
        ("2.11.0", ">=2.11,<2.14", True),
        ("2.13.0+cpu", ">=2.11,<2.14", True),
        ("2.14.0", ">=2.11,<2.14", False),
        ("2.9.1", ">=2.11,<2.14", False),  # 9 < 11, as numbers
        ("3.0", ">=2,<4", True),
        ("2", ">=2.0.0", True),
        ("3.13.0", ">=3.11,<3.13", False),
        ("3.12.9", ">=3.11,<3.13", True),
        ("2.0.0rc1", ">=2", True),
        ("1.5", "", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, allowed: str, inside: bool) -> None:
    assert doctor._within(version, allowed) is inside


def test_another_package_of_one_of_our_names_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = SimpleNamespace(origin="/site-packages/datasets/__init__.py")
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: elsewhere)
    assert doctor.package_is_ours("datasets") == Finding(
        "datasets",
        "broken",
        "another package: /site-packages/datasets/__init__.py",
        f"run from {ROOT}, or uninstall the other package",
    )


@pytest.mark.parametrize(("free", "status"), [(3.0, "ok"), (1.0, "note"), (0.1, "broken")])
def test_little_room_is_noted_and_none_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, status: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free * 2**30))
    assert doctor.folder("results", tmp_path / "not/yet/there", "BENCH_RESULTS").status == status


def test_a_folder_that_cannot_be_written_is_broken_with_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refused)
    each = doctor.folder("cache", tmp_path, "BENCH_CACHE")
    assert each == Finding(
        "cache", "broken", f"{tmp_path}: cannot be written (Permission denied)", "set BENCH_CACHE to another folder"
    )


def test_a_locked_tracking_database_is_noted_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ANSWER_SECONDS", 0.05)
    with sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        each = doctor.mlflow()
    holder.close()
    assert each.status == "note"
    assert "database is locked" in each.found
    assert "sync replays" in each.remedy
    assert doctor.mlflow().status == "ok"


def test_a_tracking_server_that_does_not_answer_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://anna:secret@127.0.0.1:{silent.getsockname()[1]}")
        each = doctor.mlflow()
        assert each.status == "note"
        assert "does not answer" in each.found
        assert "secret" not in each.found
        silent.listen()
        assert doctor.mlflow().status == "ok"


def test_datasets_are_found_missing_or_damaged(tmp_path: Path) -> None:
    assert found(tmp_path)["phantom_2d"] == Finding("phantom_2d", "ok", "built in")
    missing = found(tmp_path)["acdc"]
    assert (missing.status, missing.found) == ("note", f"not in {tmp_path / 'data'}")
    assert missing.remedy.startswith("Accept the terms")
    assert len(missing.remedy) <= 72
    acdc.write(tmp_path / "data")
    assert found(tmp_path)["acdc"].found == f"{tmp_path / 'data/ACDC'}: 12 cases"
    (tmp_path / "data/ACDC/ACDC_training_volumes/stray.h5").touch()
    assert "stray.h5' is not named like" in found(tmp_path)["acdc"].found


def test_a_check_that_fails_unexpectedly_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Finding:
        raise RuntimeError("surprise")

    monkeypatch.setattr(doctor, "memory", broken)
    assert found(tmp_path)["memory"] == Finding("memory", "broken", "RuntimeError: surprise")
    assert found(tmp_path)["phantom_3d"].status == "ok"


def test_settings_of_the_shell_that_slow_workers_down_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert "OMP_NUM_THREADS=8" in doctor.cores().found
    assert doctor.cores().status == "note"
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_"):
        monkeypatch.delenv(name, raising=False)
    assert doctor.allocator().status == "ok"
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "65536")
    assert doctor.allocator().status == "note"


def test_a_gpu_that_torch_does_not_see_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert "sees no GPU" in doctor.gpu().found
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert doctor.gpu() == Finding("GPU", "ok", "none: everything runs on the CPU")


def test_metrics_without_their_compiled_kernel_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("no space for the cache")

    monkeypatch.setattr("benchmark.metrics.ENGINE", "numba")
    monkeypatch.setattr("benchmark.metrics.compiled.warm_up", broken)
    assert doctor.metrics().status == "note"
    assert "no space for the cache" in doctor.metrics().found
    monkeypatch.setattr("benchmark.metrics.ENGINE", "scipy")
    assert doctor.metrics().found == "numba is not installed"
