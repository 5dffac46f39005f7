"""The rules of the house, read from syntax trees: which file may import what, how long files are, what they are called.

Each rule is ``rule(root) -> list of sentences``, empty where the checkout keeps it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("datasets", "methods", "benchmark")
"""Imports run one way: each may import from those before it."""

HOMES: dict[str, tuple[str, ...]] = {
    "mlflow": ("benchmark/tracking/",),
    "optuna": ("benchmark/tune.py",),
    "submitit": ("benchmark/execute/slurm.py",),
    "matplotlib": ("benchmark/report/",),
    "statsmodels": ("benchmark/report/",),
    "numba": ("benchmark/metrics/", "datasets/kernels.py", "methods/compiled/compiling.py"),
    "llvmlite": ("methods/compiled/compiling.py",),
    "triton": ("methods/components_gpu.py",),
    "nibabel": ("datasets/scans.py", "datasets/export.py"),
    "PIL": ("datasets/io.py", "datasets/export.py"),
    "imageio": ("datasets/io.py",),
    "tifffile": ("datasets/io.py",),
    "SimpleITK": ("datasets/scans.py",),
    "medpy": (),  # GPL-3: tests and benchmarks only
    "monai": (),  # a reference for tests
    "ray": (),
}
"""Heavy library -> the file or folder that may import it; nothing = none of the three packages."""

AT_TOP = {"numba", "llvmlite", "triton"}
"""Their kernels are decorated where they are defined, in a module that is itself imported lazily."""

LAZY = (set(HOMES) - AT_TOP) | {"skimage"}
"""Imported inside functions only, so that nobody waits for, or needs, what a run does not use."""

NEEDED_TO_RUN = {"torch", "numpy", "scipy", "h5py"}
"""All that training and evaluating may import from outside."""

OPTIONAL = (
    "datasets/kernels.py",
    "methods/compiled/activation.py",
    "methods/compiled/compiling.py",
    "methods/compiled/contrasts.py",
    "methods/compiled/differences.py",
    "methods/compiled/directions.py",
    "methods/compiled/distances.py",
    "methods/compiled/labels.py",
    "methods/compiled/losses.py",
    "methods/compiled/pairs.py",
    "methods/compiled/pictures.py",
    "methods/compiled/scales.py",
    "methods/compiled/structure.py",
    "methods/compiled/verdicts.py",
    "methods/compiled/voxels.py",
    "methods/components_gpu.py",
)
"""Imported inside functions, where what they need is at hand; without it PyTorch's or SciPy's own code runs."""

ENTRANCES = ("benchmark.run", "benchmark.train", "benchmark.evaluate")
"""Training and evaluating start here; any method or dataset may come along."""

MOST_LINES = 300
MOST_LINES_OF_ONE = 150
"""Of a method or a dataset: one file in one of these folders."""
ONE_EACH = ("methods/semi/", "methods/scribble/", "datasets/catalogue/")

VAGUE_NAMES = {"utils.py", "util.py", "helpers.py", "helper.py", "misc.py", "common.py"}


class Import(NamedTuple):
    """One imported name: ``module`` is absolute and ends in the name, ``lazy`` = inside a function."""

    file: str
    line: int
    module: str
    relative: bool
    lazy: bool

    @property
    def top(self) -> str:
        return self.module.split(".")[0]


def imports_run_one_way(root: Path) -> list[str]:
    """``datasets`` ← ``methods`` ← ``benchmark``; methods know the types of the data and nothing else of it."""
    found = []
    for each in _imports(root, PACKAGES):
        home = each.file.split("/")[0]
        if each.top not in PACKAGES or each.top == home:
            continue
        if PACKAGES.index(each.top) > PACKAGES.index(home):
            found.append(f"{_at(each)}: {home} imports {each.module}; imports run datasets <- methods <- benchmark")
        elif home == "methods" and not (each.module + ".").startswith("datasets.types."):
            found.append(f"{_at(each)}: methods import datasets.types only, not {each.module}")
    return found


def packages_import_themselves_relatively(root: Path) -> list[str]:
    """Inside a package, its own modules are imported with dots."""
    return [
        f"{_at(each)}: import {each.module} relatively"
        for each in _imports(root, PACKAGES)
        if each.top == each.file.split("/")[0] and not each.relative
    ]


def heavy_libraries_stay_at_home(root: Path) -> list[str]:
    """Each heavy library is imported in one file or folder, inside functions."""
    found = []
    for each in _imports(root, PACKAGES):
        homes = HOMES.get(each.top)
        if homes is not None and not any(each.file.startswith(home) for home in homes):
            where = f"belongs in {' or '.join(homes)}" if homes else "is for tests and benchmarks only"
            found.append(f"{_at(each)}: imports {each.top}, which {where}")
        elif each.top in LAZY and not each.lazy:
            found.append(f"{_at(each)}: imports {each.top} at the top of the module; do it inside the function")
    return found


def training_needs_four_libraries(root: Path) -> list[str]:
    """What is imported on the way in, transitively, when cells are trained and evaluated: torch, numpy, scipy, h5py."""
    by_file: dict[str, list[Import]] = {}
    for each in _imports(root, PACKAGES):
        if not each.lazy:
            by_file.setdefault(each.file, []).append(each)
    along = [f for f in _files(root, PACKAGES) if f.startswith(("datasets/", "methods/")) and f not in OPTIONAL]
    reached = dict.fromkeys([*along, *(f for m in ENTRANCES for f in _module_files(root, m))])
    found, waiting = [], list(reached)
    while waiting:
        for each in by_file.get(waiting.pop(), ()):
            if each.top in PACKAGES:
                new = [f for f in _module_files(root, each.module) if f not in reached]
                reached.update(dict.fromkeys(new))
                waiting += new
            elif each.top not in NEEDED_TO_RUN and each.top not in sys.stdlib_module_names:
                found.append(
                    f"{_at(each)}: {each.top} is needed to train or evaluate; only {_and(NEEDED_TO_RUN)} may be"
                )
    return sorted(found)


def methods_neither_print_nor_log(root: Path) -> list[str]:
    """Methods return terms; the trainer reports them."""
    found = [f"{_at(each)}: methods do not log" for each in _imports(root, ("methods",)) if each.top == "logging"]
    for file in _files(root, ("methods",)):
        for node in ast.walk(_tree(root / file)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                found.append(f"{file}:{node.lineno}: methods do not print")
    return found


def files_are_short(root: Path) -> list[str]:
    """At most 150 lines for a method or dataset, 300 for anything else; tests are free."""
    found = []
    for file in _files(root, (*PACKAGES, "benchmarks")):
        lines = len((root / file).read_text(encoding="utf-8").splitlines())
        most = MOST_LINES_OF_ONE if file.startswith(ONE_EACH) else MOST_LINES
        if lines > most:
            found.append(f"{file}: {lines} lines; {most} is the most, split it by ideas")
    return found


def files_are_named_after_their_idea(root: Path) -> list[str]:
    """No file is called after what it is not."""
    files = _files(root, (*PACKAGES, "benchmarks", "tests"))
    return [f"{file}: name it after what it does" for file in files if Path(file).name in VAGUE_NAMES]


def every_package_says_so(root: Path) -> list[str]:
    """A folder with modules has an ``__init__.py``, so that no foreign package of its name can come first."""
    folders = {Path(file).parent for file in _files(root, PACKAGES)}
    parents = {parent for folder in folders for parent in folder.parents if parent != Path(".")}
    bare = [folder for folder in sorted(folders | parents) if not (root / folder / "__init__.py").exists()]
    return [f"{folder}/ has no __init__.py" for folder in bare]


RULES: tuple[Callable[[Path], list[str]], ...] = (
    imports_run_one_way,
    packages_import_themselves_relatively,
    heavy_libraries_stay_at_home,
    training_needs_four_libraries,
    methods_neither_print_nor_log,
    files_are_short,
    files_are_named_after_their_idea,
    every_package_says_so,
)


# Reading ------------------------------------------------------------------------------------------------------------
def _files(root: Path, folders: tuple[str, ...]) -> list[str]:
    found = [p.relative_to(root).as_posix() for folder in folders for p in (root / folder).rglob("*.py")]
    return sorted(f for f in found if "__pycache__" not in f)


@lru_cache(maxsize=512)
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _imports(root: Path, folders: tuple[str, ...]) -> Iterator[Import]:
    """Imports as they are written, ``import_module("name")`` and ``__import__("name")`` included; no type-only ones."""
    for file in _files(root, folders):
        yield from _imports_below(_tree(root / file), file, lazy=False)


def _imports_below(node: ast.AST, file: str, *, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _imports_below(other, file, lazy=lazy)
            continue
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(file, child.lineno, alias.name, False, lazy)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(file, child)
            for alias in child.names:
                yield Import(file, child.lineno, f"{base}.{alias.name}", child.level > 0, lazy)
        elif isinstance(child, ast.Call) and ast.unparse(child.func).rpartition(".")[2] in (
            "import_module",
            "__import__",
        ):
            name = child.args[0] if child.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and not name.value.startswith("."):
                yield Import(file, child.lineno, name.value, False, lazy)
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports_below(child, file, lazy=lazy or inside)


def _named_in_call(call: ast.Call) -> str | None:
    """The module of ``import_module("name")``."""
    name = call.args[0] if call.args else None
    if ast.unparse(call.func).rpartition(".")[2] not in ("import_module", "__import__"):
        return None
    if isinstance(name, ast.Constant) and isinstance(name.value, str) and not name.value.startswith("."):
        return name.value
    return None


def _absolute(file: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = Path(file).parent.parts
    package = package[: len(package) - (node.level - 1)]
    return ".".join([*package, *([node.module] if node.module else [])])


def _module_files(root: Path, module: str) -> list[str]:
    """The files that run when ``module`` is imported; its last part may be a name inside the module before it."""
    found = []
    parts = module.split(".")
    for n in range(1, len(parts) + 1):
        stem = "/".join(parts[:n])
        found += [f for f in (f"{stem}/__init__.py", f"{stem}.py") if (root / f).exists()]
    return found


def _at(each: Import) -> str:
    return f"{each.file}:{each.line}"


def _and(names: set[str]) -> str:
    *most, last = sorted(names)
    return f"{', '.join(most)} and {last}"
