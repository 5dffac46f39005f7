"""What a number was made with: code, versions, hardware, data. One receipt per cell."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import re
import subprocess
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import methods

from . import ROOT

_CODE = ("benchmark", "datasets", "methods")
_NEW = ("*.py", *(f"{package}/*.yaml" for package in _CODE))
"""Files that nobody has added yet and that are code: a plan elsewhere is none, for records hold its cells' settings."""
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "bf16", "sve")
"""Of a processor's, those that decide how it multiplies, and whether in bfloat16."""
_PACKAGES = ("torch", "numpy", "scipy", "h5py", "numba", "nibabel", "pillow")


@cache
def code() -> dict[str, Any]:
    """Commit of this checkout, whether it has uncommitted changes, the hash of their diff, and that of all its code.

    New files that nobody has added yet count as changes: a method that is being written is one. ``tree`` is the hash
    of every Python file of the three packages: equal code has an equal one, whether or not there is a git repository.
    What cannot be read, and so cannot be run, is in neither; nor are the lock files of editors.
    """
    diff = _git("diff", "HEAD", "--", "*.py", "*.yaml").strip()
    for name in _git("ls-files", "-z", "--others", "--exclude-standard", "--", *_NEW).split("\0"):
        if name and (content := _content(ROOT / name)) is not None:
            diff += f"\n{name}\n{_text(content, 'replace')}"
    return {
        "commit": _git("rev-parse", "HEAD").strip() or "unknown",
        "dirty": bool(diff),
        "diff": _hash(_bytes(diff)) if diff else "",
        "tree": tree(*_CODE),
    }


@cache
def lock() -> dict[str, Any]:
    """Hash of ``requirements.lock``, and which packages that can change a number are installed in another version."""
    path = ROOT / "requirements.lock"
    text = path.read_text() if path.exists() else ""
    pins = dict(
        line.split("#")[0].split(";")[0].strip().split("==")
        for line in text.splitlines()
        if re.match(r"[\w.-]+==", line)
    )
    found = versions()
    return {
        "digest": _hash(text.encode()),
        "differs": sorted(f"{name} {found[name]}" for name in set(found) & set(pins) if found[name] != pins[name]),
    }


def source(method: str) -> str:
    """Hash of a method's own file and of private ones (``_x.py``) it imports: another one makes a cell stale."""
    path = ROOT / "methods" / methods.families()[method] / f"{method}.py"
    content, found = path.read_bytes(), list[Path]()
    _follow(path.parent.name, content, found)
    beside = "".join(f"{p.relative_to(ROOT).as_posix()}|{_hash(_content(p) or b'')}\n" for p in sorted(found))
    return _hash(content + _bytes(beside))


def _follow(family: str, content: bytes, found: list[Path]) -> None:
    """Add to ``found`` the private files of methods that a file in a family's folder imports, and what those import."""
    for name in _private(family, content):
        path = ROOT / "methods" / f"{name}.py"
        if path not in found and (held := _content(path)) is not None:
            found.append(path)
            _follow(path.parent.name, held, found)


@lru_cache(maxsize=1024)
def _private(family: str, content: bytes) -> tuple[str, ...]:
    """``family/_name`` of the private modules of methods that a file imports; of a file that is no Python, none."""
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError):
        return ()
    asked: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            home = {0: "", 1: f"methods.{family}.", 2: "methods."}.get(node.level, "")
            module = f"{home}{node.module or ''}".rstrip(".")
            asked |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            asked |= {alias.name for alias in node.names}
    private = re.compile(rf"methods\.({'|'.join(methods.FAMILIES)})\.(_[a-zA-Z0-9]\w*)(\..*)?")
    found = map(private.fullmatch, asked)
    return tuple(sorted({f"{match[1]}/{match[2]}" for match in found if match}))


def of_methods() -> list[str]:
    """:func:`tree` of all methods' code; that of all code as this process began, too, where files changed since."""
    return [tree("methods"), *({loaded()} - {tree(*_CODE)})]


@cache
def versions() -> dict[str, str]:
    """Python and the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def hardware(device: torch.device | None = None) -> dict[str, Any]:
    """Processor, cores, accelerator: the GPU that ``device`` is, else the first."""
    model = platform.processor() or "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    found: dict[str, Any] = {"cpu": model, "cores": os.cpu_count(), "machine": platform.machine()}
    if flags := _flags(info):
        found["flags"] = flags
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(device if device and device.type == "cuda" else 0)
    return found


def _flags(info: Path) -> list[str]:
    """Which of :data:`_FLAGS` the processor has: its name alone does not tell what a virtual machine lets through."""
    lines = info.read_text().splitlines() if info.exists() else []
    found = next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return [flag for flag in _FLAGS if flag in found]


def where(device: torch.device, dtype: torch.dtype) -> str:
    """What computes a cell, in words: its processor or GPU, and the precision of its convolutions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else hardware()["cpu"]
    return f"{name}, {str(dtype).removeprefix('torch.')}"


def tree(*packages: str) -> str:
    """Hash of the names and contents of all Python files of some packages of this project."""
    digest = hashlib.blake2b(digest_size=6)
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            if (content := _content(path)) is not None:
                digest.update(_bytes(f"{path.relative_to(ROOT).as_posix()}|{_hash(content)}\n"))
    return digest.hexdigest()


@cache
def loaded() -> str:
    """:func:`tree` of all code when this was first asked: as a runner starts, whose cells inherit what it imported."""
    return tree(*_CODE)


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=6).hexdigest()


def _content(path: Path) -> bytes | None:
    """What is in a file; None where it cannot be read, as a dangling link, and for ``.#x.py``, an editor's lock."""
    if path.name.startswith(".#"):
        return None
    try:
        return path.read_bytes()
    except (OSError, ValueError):  # or its name is none in this locale
        return None


def _git(*arguments: str) -> str:
    """What git prints, empty where it cannot."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return _text(done.stdout, "surrogateescape") if done.returncode == 0 else ""


def _text(content: bytes, errors: str) -> str:
    """Lines as Python reads them from a file."""
    return content.decode("utf-8", errors).replace("\r\n", "\n").replace("\r", "\n")


def _bytes(text: str) -> bytes:
    """UTF-8, but for names of files that are not."""
    return text.encode("utf-8", "surrogateescape")
