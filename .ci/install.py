"""Fill the environment of the Python that runs this file with what pyproject.toml asks for.

`make env` calls it. With `--locked` (the checkout's own .venv) every version is that of requirements.lock. Without (an
environment that the user made) what is there stays as it is: only missing packages are added, at the lock's versions,
and a present one outside the supported range is an error, not an upgrade. Uses uv where it can be had, otherwise pip.

Standard library only, since it runs before anything is installed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib import import_module, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"  # PyTorch's own builds without CUDA; asked for torch, nothing else


def main() -> None:
    """Install what is missing; exit with a message if the environment cannot be made ready."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("extras", nargs="*", help="extras of pyproject.toml beyond `test`")
    parser.add_argument("--locked", action="store_true", help="bring every package to the version of requirements.lock")
    parser.add_argument("--torch", choices=["auto", "cpu", "cuda"], default="auto", help="build of PyTorch to install")
    options = parser.parse_args()

    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = requirements(pyproject, ["test", *options.extras])
    missing, unsuitable = compare(wanted)
    if unsuitable and not options.locked:
        sys.exit(
            f"error: the active environment {sys.prefix} holds versions that Scant does not support:\n  "
            + "\n  ".join(unsuitable)
            + "\nChange them there, or deactivate it: make then creates .venv by itself."
        )
    if not missing and not unsuitable and not options.locked:
        return

    print(f"Installing packages into {sys.prefix}, which takes about a minute for a new environment ...", flush=True)
    installers = find_installers()
    torch = next(line for line in wanted if name(line) == "torch")
    if torch in missing or any(name(line) == "torch" for line in unsuitable):
        torch = f"torch=={pyproject['tool']['scant']['torch']}"
        if needs_cpu_build(options.torch):
            install_cpu_build(installers, torch)
    requests = [torch, *(line for line in missing if name(line) != "torch")]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(pins(wanted)), encoding="utf-8")
        sources = ["-r", str(LOCK)] if options.locked else ["-c", str(constraints)]
        if not any(install(command, [*requests, *sources]) for command in installers):
            sys.exit("error: the packages could not be installed; the messages above say why.")


def requirements(pyproject: dict, extras: list[str]) -> list[str]:
    """Requirement lines of the project and of the named extras."""
    optional = pyproject["project"]["optional-dependencies"]
    for extra in extras:
        if extra not in optional:
            sys.exit(f"error: no extra called {extra!r}; pyproject.toml has {', '.join(sorted(optional))}.")
    return pyproject["project"]["dependencies"] + [line for extra in extras for line in optional[extra]]


def name(requirement: str) -> str:
    """Normalised project name of a requirement line or pin."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def compare(wanted: list[str]) -> tuple[list[str], list[str]]:
    """Split requirements into missing lines and descriptions of versions outside their range."""
    parse = packaging_module("requirements").Requirement
    missing, unsuitable = [], []
    for line in wanted:
        allowed = parse(line).specifier
        try:
            found = metadata.version(name(line))
        except metadata.PackageNotFoundError:
            missing.append(line)
            continue
        if not allowed.contains(found, prereleases=True):
            unsuitable.append(f"{name(line)} {found} (Scant needs {allowed})")
    return missing, unsuitable


def packaging_module(module: str):
    """A module of `packaging`, or of the copy inside pip, which `ensurepip` brings into a bare environment."""
    for bring_pip in (False, True):
        if bring_pip:
            subprocess.run([sys.executable, "-m", "ensurepip"], capture_output=True, check=False)
        for package in ("packaging", "pip._vendor.packaging"):
            try:
                return import_module(f"{package}.{module}")
            except ImportError:
                continue
    sys.exit(f"error: {sys.prefix} has no pip. Install it there, or deactivate it: make then creates .venv by itself.")


def pins(wanted: list[str]) -> list[str]:
    """Constraints: new packages at the lock's versions, direct requirements that are present as they are."""
    installed = {name(dist.metadata["Name"]): dist.version for dist in metadata.distributions()}
    locked = [line.split("#")[0].strip() for line in LOCK.read_text(encoding="utf-8").splitlines()]
    new = [line for line in locked if line and name(line) not in installed]
    kept = [f"{name(line)}=={installed[name(line)]}" for line in wanted if name(line) in installed]
    return new + kept


def needs_cpu_build(build: str) -> bool:
    """Whether PyTorch without CUDA is to be installed. Outside Linux the default index has nothing else."""
    if build == "auto":
        build = "cuda" if shutil.which("nvidia-smi") else "cpu"
    return build == "cpu" and sys.platform == "linux"


def install_cpu_build(installers: list[list[str]], torch: str) -> None:
    """Install PyTorch alone from a folder of wheels that pip knows or PyTorch's own index; else warn and go on."""
    folders = [part for folder in os.environ.get("PIP_FIND_LINKS", "").split() for part in ("--find-links", folder)]
    places = [["--no-index", *folders]] if folders else []
    for place in [*places, ["--index-url", CPU_WHEELS]]:
        if any(install(command, [f"{torch}+cpu", "--no-deps", *place], quiet=True) for command in installers):
            return
    print(
        f"warning: no CPU build of PyTorch within reach ({CPU_WHEELS}). Installing the CUDA build, several gigabytes, "
        "which works without a GPU as well.",
        file=sys.stderr,
    )


def find_installers() -> list[list[str]]:
    """Install commands to try in turn: uv is several times faster, pip reads the user's own pip configuration."""
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None and install(pip, ["uv"], quiet=True):
        uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    return [[uv, "pip", "install", "-q", "--python", sys.executable], pip] if uv else [pip]


def install(command: list[str], arguments: list[str], *, quiet: bool = False) -> bool:
    """Run one install command; False if it failed."""
    given = os.environ
    defaults = {
        "UV_COMPILE_BYTECODE": "1",  # else every start compiles: 7 s instead of 3 s to import everything
        "UV_FIND_LINKS": ",".join(given.get("PIP_FIND_LINKS", "").split()),  # uv reads none of pip's settings
        "UV_DEFAULT_INDEX": given.get("PIP_INDEX_URL", ""),
        "SSL_CERT_FILE": given.get("PIP_CERT", ""),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    environment = {key: value for key, value in defaults.items() if value} | dict(given)
    return subprocess.run([*command, *arguments], env=environment, capture_output=quiet, check=False).returncode == 0


if __name__ == "__main__":
    main()
