"""Checks of what a method says of itself: its file, its hyper-parameters, and what it can be built for."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import sys
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.config import ConfigError, from_mapping
from methods import misstated
from methods.base import Clock, Method
from methods.hyper import HyperBase, Range

from .phantom import tiny_batch, tiny_task
from .rig import SCALES, Rig, home_task, require, saying, title

MOST_LINES = 150
PERMALINK = re.compile(r"https://\S+/(?:blob|tree|raw|commit)/[0-9a-f]{7,40}\b|https://\S+\?id=[0-9a-f]{7,40}\b")
ROOT = Path(__file__).parents[2]


def check_identity(method_class: type[Method]) -> None:
    """One final class in a file of its own, whose docstring gives Paper, Code (a permalink) and Differences."""
    module = sys.modules[method_class.__module__]
    path = Path(str(module.__file__))
    name = title(method_class)
    require(method_class.name() == path.stem, method_class, f"its file is called {path.stem}.py, its name is {name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    require(len(classes) == 1, method_class, f"{path.name} defines {len(classes)} method classes instead of one")
    for base in method_class.__mro__[1:]:
        final = ".semi." in base.__module__ or ".scribble." in base.__module__
        require(not final, method_class, f"subclasses {base.__name__}, which is final: share a family instead")
    source = path.read_text(encoding="utf-8")
    lines = len(source.splitlines())
    require(lines <= MOST_LINES, method_class, f"{path.name} has {lines} lines; {MOST_LINES} is the most")
    tree = ast.parse(source)
    documentation = ast.get_docstring(tree) or ""
    for section in ("Paper", "Code", "Differences"):
        text = f"the docstring of {path.name} has no line that starts with '{section}:'"
        require(re.search(rf"^{section}: \S", documentation, re.MULTILINE), method_class, text)
    code = documentation.split("\nCode:")[1].split("\nDifferences:")[0]
    given = PERMALINK.search(code) or re.match(r"\s*none\b", code)
    text = f"'Code:' in {path.name} gives no permalink (a URL with /blob/<commit>/), and does not say 'none' and why"
    require(given, method_class, text)
    require(method_class.__doc__, method_class, "its class has no docstring")
    _require_imports(method_class, tree, path)


def check_hyper(method_class: type[Method]) -> None:
    """Frozen, documented, valid by default, searched within what is valid, the same after JSON, strict when read."""
    kind = method_class.Hyper
    params = getattr(kind, "__dataclass_params__", None)
    frozen = params is not None and params.frozen and issubclass(kind, HyperBase)
    require(frozen, method_class, "its Hyper is not a frozen dataclass derived from HyperBase")
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        declared = {"help", "valid", "search"} <= set(field.metadata)
        require(declared, method_class, f"hyper-parameter '{field.name}' is not declared by hyper(...)")
        text = f"hyper-parameter '{field.name}' has no help"
        require(str(field.metadata["help"]).strip(), method_class, text)
        _require_range(method_class, field)
        _require_refusals(method_class, kind, field, hints[field.name])
    default = kind()
    read = from_mapping(kind, json.loads(json.dumps(dataclasses.asdict(default))), title(method_class))
    require(read == default, method_class, "its Hyper is not the same after a round trip through JSON")
    refused = _refusal(kind, {"no_such_key": 1})
    require(refused and "no_such_key" in refused, method_class, "its Hyper accepts the unknown key 'no_such_key'")


def check_builds_where_it_says(method_class: type[Method], **settings: Any) -> None:
    """Takes a step and predicts with 1 and 3 channels, 2 and 4 classes, in each of its dimensions."""
    for ndim in method_class.ndims:
        built = 0
        for channels, classes in ((1, 2), (3, 2), (1, 4), (3, 4)) if ndim == 2 else ((1, 4), (3, 2)):
            fitting = (tiny_task(ndim, channels, classes, scale) for scale in SCALES)
            task = next((task for task in fitting if method_class.unsupported(task) is None), None)
            if task is None:
                continue
            built += 1
            batch = tiny_batch(method_class, task)
            with saying(method_class, f"with {channels} channels and {classes} classes in {ndim}-D"):
                rig = Rig(method_class, task, settings=settings)
                rig.step(batch, Clock(1, 3))
                made = tuple(rig.predict(batch.images).shape)
            wanted = (len(batch.images), classes, *task.patch)
            text = f"in {ndim}-D with {channels} channels, predict() returns shape {made} instead of {wanted}"
            require(made == wanted, method_class, text)
        require(built, method_class, f"declares {ndim}-D, but unsupported() refuses every tiny task in it")


def check_unsupported_gives_reasons(method_class: type[Method]) -> None:
    """Its facts are such as there are; None where it works, elsewhere a reason that a person understands."""
    told = misstated(method_class)
    require(not told, method_class, told)
    for ndim in (2, 3):
        for channels, classes in ((1, 2), (1, 4), (3, 2), (3, 4)):
            reason = method_class.unsupported(tiny_task(ndim, channels, classes))
            text = f"unsupported() says {reason!r} of a {ndim}-D task; it must be None or a reason"
            require(reason is None or (isinstance(reason, str) and reason.strip()), method_class, text)
            text = f"its ndims are {method_class.ndims}, but unsupported() has no reason against {ndim}-D"
            require(ndim in method_class.ndims or reason, method_class, text)
    needed = "scribble" if method_class.supervision == "scribble" else "dense"
    other = "dense" if needed == "scribble" else "scribble"
    task = replace(home_task(method_class), annotations=(other,))
    reason = method_class.unsupported(task)
    text = f"it needs {needed} annotations, but unsupported() has no reason against a task that has {other} ones only"
    require(reason and needed in reason, method_class, text)


def _require_imports(method_class: type[Method], tree: ast.Module, path: Path) -> None:
    """What a method file may import is the architecture test's to say; here: what would tie two method files."""
    siblings = {p.stem for p in path.parent.glob("*.py")} - {path.stem, "__init__"}
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""] + ([alias.name for alias in node.names] if not node.module else [])
            sibling = node.level == 1 and next((m for m in modules if m.split(".")[0] in siblings), None)
            require(not sibling, method_class, f"imports the method file {sibling}.py: share a family or a loss")
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        absolute = isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level)
        for module in modules if absolute else ():
            foreign = module.split(".")[0] in ("benchmark", "datasets") and module != "datasets.types"
            require(not foreign, method_class, f"imports {module}; beyond methods, only datasets.types is allowed")


def _require_range(method_class: type[Method], field: dataclasses.Field[Any]) -> None:
    valid, search, name = field.metadata["valid"], field.metadata["search"], field.name
    require(valid.holds(field.default), method_class, f"the default of '{name}' is {field.default!r}, not {valid}")
    if search is None:
        return
    if search.choices:
        text = f"the search range of '{name}' is not within its valid one, {valid}"
        require(all(valid.holds(c) for c in search.choices), method_class, text)
        return
    bounded = search.low is not None and search.high is not None and search.low < search.high
    require(bounded, method_class, f"the search range of '{name}', {search}, is not low < high")
    inside = valid.holds(search.low) and valid.holds(search.high)
    require(inside, method_class, f"the search range of '{name}', {search}, is not within the valid one, {valid}")
    positive = not search.log or search.low > 0
    require(positive, method_class, f"the search range of '{name}' is logarithmic and reaches 0")


def _require_refusals(method_class: type[Method], kind: type, field: dataclasses.Field[Any], hint: Any) -> None:
    """A value of a wrong type and one outside the valid range are refused under the field's name."""
    valid: Range = field.metadata["valid"]
    wrong: list[Any] = [object() if hint is str else "a word"]
    if valid.choices:
        wrong.append("no_such_choice")
    else:
        wrong += [] if valid.low is None else [type(field.default)(valid.low - 1)]
        wrong += [] if valid.high is None else [type(field.default)(valid.high + 1)]
    for value in wrong:
        refused = _refusal(kind, {field.name: value})
        text = f"hyper-parameter '{field.name}' accepts {value!r}, or refuses it without saying which is wrong"
        require(refused and field.name in refused, method_class, text)


def _refusal(kind: type, mapping: dict[str, Any]) -> str | None:
    try:
        from_mapping(kind, mapping, "contract")
    except ConfigError as error:
        return str(error)
    return None
