"""Plan files: YAML -> Plan, strictly; every name, key and value is checked before anything runs or is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import datasets
import methods

from .claims import refuse_unclear
from .config import ConfigError, convert, from_mapping, nearest
from .plan import HELD_OUT, Cell, DataEntry, Plan, Training, resolve_options

PLANS = Path(__file__).parent / "plans"
_SEEDS = "seeds must be distinct non-negative integers, or how many there are, 1 or more"


def load(name_or_path: str) -> Plan:
    """Read a plan by name (``benchmark/plans/<name>.yaml``) or path, strictly, and check all that needs no data.

    Raises:
        ConfigError: no such plan, or any key, name or value in it is wrong; the message names the nearest.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = PLANS / f"{name_or_path}.yaml"
    if not path.is_file():
        raise ConfigError(
            f"no plan {name_or_path!r}{nearest(name_or_path, available())}, or give the path of a .yaml file"
        )
    return parse(_read(path), default_name=path.stem)


def available() -> list[str]:
    """Names of the plans that come with the project."""
    return sorted(p.stem for p in PLANS.glob("*.yaml"))


def _read(path: Path) -> Any:
    """What the file holds; a repeated key, of which YAML would keep the last and say nothing, is refused."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            lines: dict[tuple[str, str], int] = {}
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    line = key.start_mark.line + 1
                    first = lines.get((key.tag, key.value))
                    if first is not None:
                        raise ConfigError(
                            f"plan file {path.name}, line {line}: key {key.value!r} is there already, in line {first}; "
                            "keep one of the two"
                        )
                    lines[key.tag, key.value] = line
            return node

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"plan file {path.name} is not valid YAML: {error}") from error


def parse(raw: Any, *, default_name: str) -> Plan:
    """A plan from what YAML gives: short forms expanded, every name and value checked."""
    where = f"plan {default_name}"
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: the file must hold a mapping, got {type(raw).__name__}")
    raw = {"name": default_name, "title": default_name, **raw}
    if isinstance(raw.get("seeds"), int) and not isinstance(raw["seeds"], bool):
        if raw["seeds"] < 1:
            raise ConfigError(f"{where}: {_SEEDS}, got {raw['seeds']}")
        raw["seeds"] = list(range(raw["seeds"]))
    for key in ("methods", "datasets"):
        raw[key] = _named(raw.get(key, []), f"{where}: {key}")
    raw["datasets"] = [_whole(item, where) if isinstance(item, dict) else item for item in raw["datasets"]]
    plan = from_mapping(Plan, raw, where)
    _check(plan, where)
    return plan


def _named(items: Any, where: str) -> list[Any]:
    """A list in which names alone are written out."""
    listed = convert(items, tuple[Any, ...], where)
    return [{"name": item} if isinstance(item, str) else item for item in listed]


def _whole(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A dataset's entry with its own short forms written out."""
    found = dict(entry)
    if isinstance(found.get("weak"), str):
        found["weak"] = {"kind": found["weak"]}
    if found.get("methods") is not None:
        found["methods"] = _named(found["methods"], f"{where}: dataset {found.get('name')}: methods")
    return found


def _check_weak(plan: Plan, entry: DataEntry, where: str) -> None:
    if entry.weak is None:
        return
    if "dense" not in datasets.get(entry.name).nominal_task(resolve_options(entry)).annotations:
        raise ConfigError(
            f"{where}: weak labels are made of dense ones, and {entry.name} has scribbles only; remove it"
        )
    if not any(methods.get(method.name).supervision == "scribble" for method in plan.methods_on(entry)):
        raise ConfigError(
            f"{where}: no method of this plan learns from scribbles; add one, such as pce, or remove weak"
        )


def _check_shapes(plan: Plan, entry: DataEntry, where: str) -> None:
    if entry.shapes == HELD_OUT:
        return
    if entry.shapes not in datasets.names():
        raise ConfigError(f"{where}: no dataset {entry.shapes!r}{nearest(entry.shapes, (HELD_OUT, *datasets.names()))}")
    if not any(methods.get(method.name).wants_shapes for method in plan.methods_on(entry)):
        raise ConfigError(
            f"{where}: no method of this plan learns from unpaired label maps; add one, such as mask_mix_adv, or "
            "remove shapes"
        )


def _check(plan: Plan, where: str) -> None:
    if not plan.name.replace("_", "").replace("-", "").isalnum():
        raise ConfigError(f"{where}: name may hold letters, digits, - and _ only, got {plan.name!r}")
    if not plan.datasets or not all(plan.methods_on(entry) for entry in plan.datasets):
        raise ConfigError(f"{where}: needs at least one dataset and one method")
    if not plan.seeds or len(set(plan.seeds)) != len(plan.seeds) or min(plan.seeds) < 0:
        raise ConfigError(f"{where}: {_SEEDS}, got {list(plan.seeds)}")
    if not plan.folds:
        raise ConfigError(f"{where}: folds must list one fold or more, got []; leave folds out for fold 1 alone")
    _refuse_repeats(plan, where)
    known = {f.name for f in fields(Training)}
    for entry in plan.datasets:
        if entry.name not in datasets.names():
            raise ConfigError(f"{where}: unknown dataset {entry.name!r}{nearest(entry.name, datasets.names())}")
        for both, holder in ((plan.ratios and plan.labelled, ""), (entry.ratios and entry.labelled, f" {entry.name}")):
            if both:
                raise ConfigError(f"{where}:{holder} gives ratios and labelled; how much is labelled is one of the two")
        if not plan.amounts(entry):
            raise ConfigError(
                f"{where}: say how much is labelled: ratios (shares in (0, 1]) or labelled (numbers of groups)"
            )
        for ratio, count in plan.amounts(entry):
            if ratio is not None and not 0 < ratio <= 1:
                hint = f"; write {ratio / 100:g} for {ratio:g} %" if 1 < ratio <= 100 else ""
                raise ConfigError(f"{where}: ratio must be in (0, 1], got {ratio:g}{hint}")
            if count is not None and count < 1:
                raise ConfigError(f"{where}: labelled must be 1 group or more, got {count}")
        if entry.folds == ():
            raise ConfigError(
                f"{where}: dataset {entry.name}: folds must list one fold or more, got []; leave folds out to have the "
                "plan's own"
            )
        for fold in entry.folds or plan.folds:
            if not 1 <= fold <= datasets.get(entry.name).folds:
                raise ConfigError(
                    f"{where}: fold must be in 1..{datasets.get(entry.name).folds} for {entry.name}, got {fold}"
                )
        for key in entry.training:
            if key not in known:
                raise ConfigError(f"{where}: dataset {entry.name}: training: unknown key {key!r}{nearest(key, known)}")
        for method in plan.methods_on(entry):
            if method.name not in methods.names():
                raise ConfigError(f"{where}: unknown method {method.name!r}{nearest(method.name, methods.names())}")
            try:
                methods.get(method.name)
            except methods.BrokenMethod as error:
                raise ConfigError(f"{where}: {error}") from error
        _check_weak(plan, entry, f"{where}: dataset {entry.name}: weak")
        _check_shapes(plan, entry, f"{where}: dataset {entry.name}: shapes")
    cells = list(plan.cells())  # all of them: each checks its own hyper-parameters and options
    if not cells:
        raise ConfigError(f"{where}: no cell is left: " + "; ".join(plan.dropped()))
    _refuse_twins(plan, [cell for cell in cells if cell.seed == plan.seeds[0]], where)
    try:
        refuse_unclear(plan.claims, cells, len(plan.seeds))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _refuse_repeats(plan: Plan, where: str) -> None:
    """Refuse what is listed twice: one of the two would not be run, and a slip looks the same."""
    lists: dict[str, Sequence[Any]] = {
        name: getattr(plan, name) for name in ("ratios", "labelled", "folds", "datasets")
    }
    lists["methods"] = plan.methods
    for entry in plan.datasets:
        of = f"dataset {entry.name}: "
        lists |= {f"{of}{name}": getattr(entry, name) or () for name in ("ratios", "labelled", "folds", "methods")}
    for name, items in lists.items():
        for number, item in enumerate(items):
            if item in items[:number]:
                said = getattr(item, "name", item)
                raise ConfigError(
                    f"{where}: {name}: {said} is listed twice, with the same settings; keep one of the two"
                )


def _refuse_twins(plan: Plan, cells: Sequence[Cell], where: str) -> None:
    """Refuse different cells of one seed that a report would take for one and the same, before they are all run."""
    known: dict[tuple[Any, ...], Cell] = {}
    for cell in cells:
        # reports tell one label apart by hyper-parameters, where they are not tuned, and one dataset by options
        # (`report.frame.load`), nothing else
        settings = (cell.dataset, repr(cell.options), *(() if plan.tuned else (cell.method, repr(cell.hyper))))
        twin = known.setdefault((cell.role, cell.label, cell.amount, cell.fold, *settings), cell)
        if twin is not cell:
            remedy = (
                "give each a `label` of its own under methods (those of one dataset may stand below it)"
                if cell.role == "method"
                else "bounds have no label, so put one of the two into a plan of its own"
            )
            raise ConfigError(
                f"{where}: {cell.label} on {cell.dataset} at {cell.amount} is planned twice and differs in "
                f"{', '.join(_differing(twin.canonical(), cell.canonical()))} only, which no table would tell apart: "
                f"{remedy}"
            )


def _differing(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names of the settings of two cells that are not the same."""
    found = []
    for key in sorted({*one, *other}):
        first, second = one.get(key), other.get(key)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            found += _differing(first, second, f"{prefix}{key}.")
        elif first != second:
            found.append(f"{prefix}{key}")
    return found
