"""What this machine is, what will run on it and how, and what is missing: one table, nothing is changed."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import sqlite3
import tempfile
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import psutil
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

import datasets
from datasets.base import DataError, MissingData

from . import ROOT, device, receipt
from .execute.local import default_workers, devices
from .prepare import Places, default_places

NEEDED = ("torch", "numpy", "scipy", "h5py", "pandas", "pydantic", "PyYAML", "typer", "rich", "psutil")
"""Without these nothing runs; without any other requirement a part is missing."""

LEAST_MEMORY_GIB, LEAST_DISK_GIB, MUCH_DISK_GIB = 4, 0.2, 2
ANSWER_SECONDS = 3.0
"""How long an MLflow server or a database lock is waited for."""

Status = Literal["ok", "note", "broken"]
_STYLE = {"ok": "green", "note": "yellow", "broken": "red"}


@dataclass(frozen=True)
class Finding:
    """One line: "note" = it runs, but something could be better; "broken" = what is needed does not work."""

    what: str
    status: Status
    found: str
    remedy: str = ""


def examine(console: Console, data: str | None) -> bool:
    """Print what was found; whether everything that is needed works.

    Args:
        console: where to print.
        data: folder of the datasets, as the other verbs take it.
    """
    findings = list(diagnose(default_places(data)))
    table = Table("", "", "found", "what to do", box=None, pad_edge=False)
    for each in findings:
        status = Text(each.status, style=_STYLE[each.status])
        table.add_row(status, Text(each.what), Text(each.found), Text(each.remedy))
    console.print(table)
    console.print("a dataset's licence, source and layout: python -m benchmark data card NAME", markup=False)
    broken = [each.what for each in findings if each.status == "broken"]
    console.print(f"broken: {', '.join(broken)}" if broken else "everything that is needed works", markup=False)
    return not broken


def diagnose(places: Places) -> Iterator[Finding]:
    """Every check, in reading order. A check that fails unexpectedly is a finding too."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        *((name, partial(package_is_ours, name)) for name in ("benchmark", "methods", "datasets")),
        ("code", code),
        ("python", python),
        ("packages", packages),
        ("cores", cores),
        ("memory", memory),
        ("GPU", gpu),
        ("precision", precision),
        ("results", partial(folder, "results", places.results, "BENCH_RESULTS")),
        ("cache", partial(folder, "cache", places.cache, "BENCH_CACHE")),
        ("MLflow", mlflow),
        ("metrics", metrics),
        ("allocator", allocator),
        *((name, partial(dataset, name, places.data)) for name in datasets.names()),
    ]
    for name, check in checks:
        try:
            yield check()
        except Exception as error:  # one check that cannot be made must not hide the others
            yield Finding(name, "broken", f"{type(error).__name__}: {error}")


def package_is_ours(name: str) -> Finding:
    """Whether ``import <name>`` gives this checkout's package and not, say, the hub library called datasets."""
    spec = importlib.util.find_spec(name)
    origin = Path(spec.origin).resolve() if spec and spec.origin else None
    if origin == ROOT / name / "__init__.py":
        return Finding(name, "ok", str(ROOT / name))
    return Finding(name, "broken", f"another package: {origin}", f"run from {ROOT}, or uninstall the other package")


def code() -> Finding:
    """Whether records can say which code made them."""
    found = receipt.code()
    if found["commit"] == "unknown":
        return Finding("code", "note", "no git commit", "records will not say which code made them; use a git clone")
    changed = f" with uncommitted changes ({found['diff']})" if found["dirty"] else ""
    return Finding("code", "ok", found["commit"][:12] + changed)


def python() -> Finding:
    """Whether this Python is one that the project supports."""
    allowed, found = _project()["requires-python"], platform.python_version()
    if _within(found, allowed):
        return Finding("python", "ok", found)
    return Finding("python", "note", f"{found}, supported: {allowed}", "make env")


def packages() -> Finding:
    """Whether every requirement of pyproject.toml is installed in a version of its range."""
    missing, unsuitable, versions = [], [], []
    for line in _project()["dependencies"]:
        name = next(line[:i] for i in range(len(line), 0, -1) if line[:i].replace("-", "").replace("_", "").isalnum())
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if not _within(found, line.removeprefix(name)):
            unsuitable.append(f"{name} {found}, supported: {line.removeprefix(name)}")
        if name in ("torch", "numpy", "mlflow", "optuna"):
            versions.append(f"{name} {found}")
    wrong = [f"missing: {', '.join(missing)}"] * bool(missing) + unsuitable
    if set(missing) & set(NEEDED):
        return Finding("packages", "broken", "; ".join(wrong), "make env")
    if wrong:
        return Finding("packages", "note", "; ".join(wrong), "make env")
    return Finding("packages", "ok", ", ".join(versions))


def cores() -> Finding:
    """Cores that this process may use, and the threads of a worker: one, for cells run side by side."""
    usable, all_ = len(os.sched_getaffinity(0)), os.cpu_count()
    found = f"{usable} of {all_}; {default_workers()} cells at a time"
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    if threads != "1":
        remedy = "set OMP_NUM_THREADS=1: the workers would crowd each other out"
        return Finding("cores", "note", f"{found}, OMP_NUM_THREADS={threads}", remedy)
    return Finding("cores", "ok", f"{found}, one thread each")


def memory() -> Finding:
    """Memory of the machine or, in a container, of its limit."""
    total, free = psutil.virtual_memory().total, psutil.virtual_memory().available
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    found = f"{total / 2**30:.1f} GiB, {min(free, total) / 2**30:.1f} free"
    if total < LEAST_MEMORY_GIB * 2**30:
        return Finding("memory", "note", found, "run fewer cells at a time: --workers 1")
    return Finding("memory", "ok", found)


def gpu() -> Finding:
    """GPUs that torch sees; and whether there is one that it does not."""
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("GPU", "ok", ", ".join(names))
    if shutil.which("nvidia-smi"):
        remedy = "make env TORCH=cuda, or look at nvidia-smi"
        return Finding("GPU", "note", f"nvidia-smi is here, but torch {torch.__version__} sees no GPU", remedy)
    return Finding("GPU", "ok", "none: everything runs on the CPU")


def precision() -> Finding:
    """What `precision: auto` means here."""
    for name in devices():
        where = torch.device(name) if name else device.pick()
        found = str(device.precision("auto", where)).removeprefix("torch.")
    return Finding("precision", "ok", f"auto is {found} on {where.type}")


def folder(what: str, path: Path, variable: str) -> Finding:
    """Whether a folder can be written to, and how much is free there."""
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    remedy = f"set {variable} to another folder"
    try:
        with tempfile.TemporaryFile(dir=existing) as probe:
            probe.write(bytes(2**16))
    except OSError as error:
        return Finding(what, "broken", f"{path}: cannot be written ({error.strerror})", remedy)
    free = shutil.disk_usage(existing).free / 2**30
    found = f"{path}, {free:.1f} GiB free"
    if free < MUCH_DISK_GIB:
        return Finding(what, "broken" if free < LEAST_DISK_GIB else "note", found, f"free some space, or {remedy}")
    return Finding(what, "ok", found)


def mlflow() -> Finding:
    """Whether the tracking store answers. It is never needed: records are kept, and `sync` replays them."""
    from .tracking.store import public_name, resolve_uri, sqlite_path

    uri = resolve_uri()
    name, later = public_name(uri), "runs go on without it; python -m benchmark sync replays them later"
    if path := sqlite_path(uri):
        if not path.exists():
            return Finding("MLflow", "ok", f"{name}, made at the first run")
        connection = sqlite3.connect(path, timeout=ANSWER_SECONDS, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            return Finding("MLflow", "note", f"{name}: {error}", later)
        finally:
            connection.close()
    elif (address := urlsplit(uri)).scheme in ("http", "https"):
        port = address.port or {"http": 80, "https": 443}[address.scheme]
        try:
            socket.create_connection((address.hostname or "", port), timeout=ANSWER_SECONDS).close()
        except OSError as error:
            return Finding("MLflow", "note", f"{name} does not answer ({error})", later)
    return Finding("MLflow", "ok", name)


def metrics() -> Finding:
    """Whether the compiled metric kernel works here."""
    from .metrics import ENGINE

    slower = "metrics take longer with SciPy, and are the same; steps on a CPU take longer, too; make env"
    if ENGINE != "numba":
        return Finding("metrics", "note", "numba is not installed", slower)
    try:
        from .metrics.compiled import warm_up

        warm_up()
    except Exception as error:
        return Finding("metrics", "note", f"the compiled kernel does not work ({error})", slower)
    return Finding("metrics", "ok", "compiled kernel")


def allocator() -> Finding:
    """The settings under which glibc keeps big tensors instead of faulting them in again at every step."""
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_")
    changed = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    if changed:
        return Finding("allocator", "note", f"{', '.join(changed)} by this shell", "unset: workers set what is fastest")
    return Finding("allocator", "ok", "workers keep freed memory")


def dataset(name: str, root: Path) -> Finding:
    """Whether a dataset is at hand: its cases are counted, not read."""
    cls = datasets.get(name)
    if not cls.folder:
        return Finding(name, "ok", "built in")
    try:
        found = cls(root)
        return Finding(name, "ok", f"{found.root}: {len(found.groups())} cases")
    except MissingData:
        return Finding(name, "note", f"not in {root}", textwrap.shorten(cls.card.how_to_get, 72, placeholder=" …"))
    except DataError as error:
        return Finding(name, "note", str(error), f"python -m benchmark data card {name}")


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _within(version: str, allowed: str) -> bool:
    """Whether a version fulfils ``>=a,<b`` (all that pyproject.toml uses), comparing release numbers."""
    operations = {">=": int.__ge__, "<": int.__lt__, "==": int.__eq__}
    for part in filter(None, allowed.split(",")):
        sign = next(sign for sign in operations if part.startswith(sign))
        have, want = _release(version), _release(part.removeprefix(sign))
        order = (have > want) - (have < want)
        if not operations[sign](order, 0):
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    """``2.13.0+cpu`` -> (2, 13): trailing zeros dropped, for 2.13 equals 2.13.0."""
    numbers = []
    for part in version.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
