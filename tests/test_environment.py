"""The files that set the project up agree with each other, and nothing packages the three top-level names."""

import ast
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
TORCH = PYPROJECT["tool"]["scant"]["torch"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
NAMED_BY_USERS = ["torch", "numpy", "pandas", "mlflow", "optuna", "scikit-image", "h5py", "medpy", "matplotlib"]
PACKAGES = ["benchmark", "methods", "datasets"]


def locked() -> dict[str, str]:
    """Name and version of every pin of the lock."""
    lines = [line.split("#")[0].strip() for line in LOCK.splitlines()]
    pins = [re.fullmatch(r"([\w.-]+)==(\S+)", line) for line in lines if line]
    assert all(pins), "every line of the lock is NAME==VERSION"
    return {canonicalize_name(pin[1]): pin[2] for pin in pins}


def installer():
    """The module .ci/install.py."""
    spec = importlib.util.spec_from_file_location("install", ROOT / ".ci" / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make(*arguments: str) -> str:
    """What make prints, called as a user without an active environment would call it."""
    hidden = {
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "MAKEFLAGS",
        "MFLAGS",
        "MAKELEVEL",
        "PLAN",
        "DATA",
        "WORKERS",
        "METHOD",
        "ARGS",
    }
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("line", PROJECT["dependencies"] + EXTRAS["test"])
def test_every_requirement_is_in_the_environment_at_a_version_in_its_range(line):
    requirement = Requirement(line)
    version = {**locked(), "torch": TORCH}[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


@pytest.mark.parametrize("name", NAMED_BY_USERS)
def test_a_package_that_users_name_is_a_requirement(name):
    assert name in {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}


def test_the_lock_holds_no_torch_and_no_cuda():
    # nor setuptools, which is there for PyTorch alone: 2.11 asks for less than 82, 2.13 for 77 or more
    machine_dependent = [name for name in locked() if re.match(r"torch|triton|nvidia|cuda|cu\d|setuptools", name)]
    assert machine_dependent == []


def test_the_lock_names_no_host_and_no_path():
    # A reference to another place would need one of these: a scheme, a direct reference, an option, a path.
    for sign in ("://", " @ ", "--", "file:", " /", "./"):
        assert sign not in LOCK


def test_the_lock_says_how_it_is_made():
    assert "make lock" in "".join(LOCK.splitlines()[:2])


def test_conda_users_get_the_same_lock_and_the_same_pytorch():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert [re.match(r"[\w-]+", item)[0] for item in conda] == ["python", "pip"]
    assert pip == [f"torch=={TORCH}", "-r requirements.lock"]


def test_the_conda_python_is_the_lowest_that_the_project_supports():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (python,) = [item for item in environment["dependencies"] if str(item).startswith("python")]
    lowest = min(Version(part.version) for part in SpecifierSet(PROJECT["requires-python"]) if part.operator == ">=")
    assert python == f"python={lowest}"


@pytest.mark.parametrize(("version", "supported"), [("3.10", False), ("3.11", True), ("3.12", True), ("3.13", False)])
def test_pythons_3_11_and_3_12_are_supported(version, supported):
    assert SpecifierSet(PROJECT["requires-python"]).contains(version) is supported


def test_this_environment_meets_every_requirement():
    missing, unsuitable = installer().compare(PROJECT["dependencies"] + EXTRAS["test"])
    assert (missing, unsuitable) == ([], [])


def test_every_library_that_the_code_imports_is_a_requirement():
    imported = {}
    for folder in (*PACKAGES, "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module]
                else:
                    continue
                imported |= {name.split(".")[0]: path.relative_to(ROOT) for name in names}
    own = {*PACKAGES, "benchmarks", "tests", "conftest", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    distributions = importlib.metadata.packages_distributions() | {
        "pynvml": ["nvidia-ml-py"],  # extras, not installed here
        "psycopg2": ["psycopg2-binary"],
        "llvmlite": ["numba"],  # numba pins it
        "tifffile": ["scikit-image"],  # which needs it
        "triton": ["torch"],  # comes with its builds for CUDA
    }
    lines = PROJECT["dependencies"] + [line for extra in EXTRAS.values() for line in extra]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    undeclared = {
        name: str(path)
        for name, path in imported.items()
        if name not in sys.stdlib_module_names | own
        and not declared & {canonicalize_name(found) for found in distributions.get(name, [name])}
    }
    assert undeclared == {}


def test_a_wheel_made_of_the_checkout_ships_no_module(tmp_path):
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    for file in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / file, tmp_path)
    (tmp_path / "README.md").touch()
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-W", "ignore", "-c", build], cwd=tmp_path, capture_output=True, check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()} == {
        f"scant-{PROJECT['version']}.dist-info"
    }


def test_there_is_no_build_system_and_uv_does_not_package():
    assert "build-system" not in PYPROJECT
    assert "scripts" not in PROJECT
    assert PYPROJECT["tool"]["uv"]["package"] is False


def test_make_alone_lists_every_target():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", text, flags=re.MULTILINE))
    listed = set(re.findall(r"^  make ([a-z-]+) +\S", make(), flags=re.MULTILINE))
    assert listed == targets
    assert targets | {".ready"} == set(re.search(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)[1].split())


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["bench"], "-m benchmark bench demo"),
        (["bench", "PLAN=la", "DATA=a folder", "WORKERS=3"], '-m benchmark bench la --data "a folder" --workers 3'),
        (["bench", "ARGS=--dry-run"], "-m benchmark bench demo --dry-run"),
        (["tune", "PLAN=la"], "-m benchmark tune la"),
        (["report", "PLAN=la"], "-m benchmark report la"),
        (["ui"], "-m benchmark ui"),
        (["data", "ARGS=card acdc"], "-m benchmark data card acdc"),
        (["contract", "METHOD=cps"], '-m pytest tests/contracts -k "[cps] or [cps- or -cps- or -cps]"'),
    ],
)
def test_make_passes_its_variables_on(arguments, command):
    assert command in " ".join(make("--dry-run", *arguments).split())


def test_an_unknown_extra_is_refused_with_the_known_ones():
    with pytest.raises(SystemExit, match=r"no extra called 'slurmm'; pyproject.toml has .*slurm"):
        installer().requirements(PYPROJECT, ["slurmm"])


def test_a_requirement_is_missing_present_or_unsuitable():
    # pytest runs this, so it is present and above 1; nothing is called as the first one is.
    missing, unsuitable = installer().compare(["no-such-package-scant>=1", "pytest>=1", "pytest<1"])
    assert missing == ["no-such-package-scant>=1"]
    assert unsuitable == [f"pytest {pytest.__version__} (Scant needs <1)"]


def test_packages_that_are_present_keep_their_version():
    pins = installer().pins(["pytest>=1", "no-such-package-scant>=1"])
    assert f"pytest=={pytest.__version__}" in pins
    assert not any("no-such-package-scant" in pin for pin in pins)


def test_pytorch_without_cuda_is_chosen_only_where_there_is_no_nvidia_driver(monkeypatch, tmp_path):
    install = installer()
    monkeypatch.setattr(install.sys, "platform", "linux")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.needs_cpu_build("auto")
    assert not install.needs_cpu_build("cuda")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert not install.needs_cpu_build("auto")
    assert install.needs_cpu_build("cpu")


def interpreter(folder: Path, *, supported: bool) -> None:
    """A stand-in for an environment's Python that answers whether its version is supported."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    answer = "exit 0" if supported else "exit 1"
    python.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo Python 3.10.9; else {answer}; fi\n')
    python.chmod(0o755)


def prepare(prefix: Path, owner: str, **environment: str) -> subprocess.CompletedProcess:
    """Run .ci/environment on a folder."""
    command = [shutil.which("bash"), str(ROOT / ".ci" / "environment"), str(prefix), str(prefix / ".scant-1"), owner]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_an_active_environment_with_another_python_is_refused(tmp_path):
    interpreter(tmp_path / "env", supported=False)
    result = prepare(tmp_path / "env", "active")
    assert result.returncode != 0
    assert "Python 3.10.9; Scant needs Python 3.11 or 3.12" in result.stderr
    assert "deactivate" in result.stderr


def test_an_active_environment_that_is_ready_gets_its_stamp_and_nothing_else(tmp_path):
    interpreter(tmp_path / "env", supported=True)
    assert prepare(tmp_path / "env", "active").returncode == 0
    assert sorted(path.name for path in (tmp_path / "env").iterdir()) == [".scant-1", "bin"]


def test_a_machine_without_a_suitable_python_is_told_what_to_install(tmp_path):
    (tmp_path / "tools").mkdir()
    result = prepare(tmp_path / "env", "own", PATH=str(tmp_path / "tools"), PYTHON="")
    assert result.returncode != 0
    assert "apt install python3.11 python3.11-venv" in result.stderr
    assert not (tmp_path / "env").exists()
