"""The verbs on data: ``python -m benchmark data card|verify|prepare|split|weaken|convert NAME``."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from .config import ConfigError, as_list, from_mapping, nearest

app = typer.Typer(no_args_is_help=True, help="Datasets: read their cards, look for faults, write splits.")
console = Console(highlight=False)

Name = Annotated[str, typer.Argument(help="Name of a dataset.")]
Root = Annotated[str | None, typer.Option("--data", help="Folder that holds the datasets (default: BENCH_DATA).")]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="An option of the dataset, as name=value or 'name=[1,2]'; repeatable."),
]


@app.command()
def card(name: Name, as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """Who made a dataset, its licence, how to get it, its layout, protocol, known issues and options."""
    cls = _dataset(name)
    content = {f.name: getattr(cls.card, f.name) for f in dataclasses.fields(cls.card)}
    defaults = {f.name: getattr(cls.Options(), f.name) for f in dataclasses.fields(cls.Options)}
    task = dataclasses.asdict(cls.nominal_task(cls.Options()))  # as far as it is known without the data
    if as_json:
        whole = {"name": name, "version": cls.version, "folder": cls.folder, "folds": cls.folds, "options": defaults}
        whole |= {"task": task, "unavailable": cls.unavailable}
        _print(json.dumps(whole | content | {"facts": dict(cls.card.facts)}, indent=2, ensure_ascii=False))
        return
    _print(f"{name} (version {cls.version})" + (f": not available, {cls.unavailable}" if cls.unavailable else ""))
    for title, text in content.items():
        if not text:
            continue
        rows = text if isinstance(text, tuple) else [f"{k}: {v}" for k, v in text.items()] if title == "facts" else None
        _print(f"{title.replace('_', ' ')}: {text}" if rows is None else f"{title.replace('_', ' ')}:")
        for row in rows or ():
            _print(f"  - {row}")
    _print(f"classes: {', '.join(task['classes'])}")
    _print(f"samples: {task['ndim']}-D, {task['channels']} channel(s), distances in {task['unit']}")
    _print(f"annotations: {', '.join(task['annotations'])}")
    for option, default in defaults.items():
        _print(f"option {option} = {default!r}")


@app.command()
def verify(
    name: Name,
    data: Root = None,
    option: Option = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable, on standard output.")] = False,
    allow: Annotated[list[str] | None, typer.Option(help="A kind of fault to report but accept; repeatable.")] = None,
) -> None:
    """Read every case and compare the parts of every split. Exit code 1 where anything is wrong."""
    from datasets.base import data_root
    from datasets.telling import told
    from datasets.verify import KINDS
    from datasets.verify import verify as look

    cls, allowed = _dataset(name), tuple(allow or ())
    for kind in allowed:
        if kind not in KINDS:
            raise ConfigError(f"--allow: unknown kind of fault {kind!r}{nearest(kind, KINDS)}")
    quiet = Console(stderr=True, highlight=False)
    report = look(cls, data_root(data), _options(name, option), say=lambda line: quiet.print(line, markup=False))
    faults = report.faults(allowed)
    if as_json:
        _print(json.dumps(report.as_json() | {"allowed": list(allowed), "sound": not faults}, indent=2))
    else:
        _print(f"{name}: {report.cases} cases, {report.groups} groups, fingerprint {report.fingerprint or 'none'}")
        for fact, value in report.facts.items():
            _print(f"  {fact}: {value}")
        for kind, count in Counter(found.kind for found in report.findings).items():
            _print(f"{kind} ({count}): {KINDS[kind]}")
            for sentence in told((found for found in report.findings if found.kind == kind), names=20)[:20]:
                _print(f"  - {sentence}")
        _print(f"{len(faults)} fault(s)" if faults else "sound")
    if faults:
        raise typer.Exit(1)


@app.command()
def split(
    name: Name,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
    ratio: Annotated[float | None, typer.Option(help="Share of labelled training groups, in (0, 1].")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Number of labelled training groups instead.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="As in a plan: draws the labelled groups.")] = 0,
    fold: Annotated[int, typer.Option(min=1, help="Fold of the dataset's protocol.")] = 1,
    subset: Annotated[str, typer.Option(help='"random", "stratified", or "first" of the published list.')] = "random",
    val_share: Annotated[float, typer.Option(help="Share carved for validation where none is published.")] = 0.1,
    data: Root = None,
    option: Option = None,
) -> None:
    """Write who is labelled, unlabelled, validates and tests, as a plan's cells see it, and where that comes from."""
    from datasets.base import data_root
    from datasets.files import atomic_write
    from datasets.splits import make_split

    from .seeding import derive

    dataset = _dataset(name)(data_root(data), _options(name, option))
    kind = "dense" if "dense" in dataset.task.annotations else "scribble"
    try:
        drawn = make_split(
            dataset.groups(), dataset.partition(fold), ratio=ratio, count=count, seed=derive(seed, "split"),
            val_share=val_share, subset=subset, order=dataset.published_order(), strata=dataset.strata(),
            unannotated=dataset.unannotated(kind), unscored=dataset.unannotated("dense"),
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
    content = {
        "provenance": {
            "dataset": name,
            "version": dataset.version,
            "options": dataclasses.asdict(dataset.options),
            "fingerprint": dataset.fingerprint(),
            "manifest": dataset.manifest(),
            "protocol": dataset.card.protocol,
            "rule": {
                "ratio": ratio,
                "count": count,
                "seed": seed,
                "fold": fold,
                "subset": subset,
                "val_share": val_share,
            },
            "digest": drawn.digest(),
        },
        **{part: list(keys) for part, keys in dataclasses.asdict(drawn).items()},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
    _print(
        f"{out}: {len(drawn.labelled)} labelled, {len(drawn.unlabelled)} unlabelled, {len(drawn.val)} validation, "
        f"{len(drawn.test)} test cases; digest {drawn.digest()}"
    )


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="A dataset, or a plan (a name or a .yaml file) for all that it needs.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Processes (default: one per core).")] = None,
    fold: Annotated[int, typer.Option(min=1, help="Of a dataset: fold of its protocol.")] = 1,
    data: Root = None,
    option: Option = None,
) -> None:
    """Check every case and decode the training side ahead, in several processes. Goes on where it was stopped."""
    import datasets

    from . import plan_file
    from .execute.local import default_workers
    from .preflight import decode_ahead
    from .prepare import default_places

    if name in datasets.names():
        plan = _smallest_plan(name, option, fold)
    elif option:
        raise ConfigError("--option belongs to a dataset; a plan states its own")
    else:
        plan = plan_file.load(name)
    slots = workers or default_workers()
    read = decode_ahead(list(plan.cells()), default_places(data), workers=slots, say=_print)
    _print(f"{read} cases read" if read else "nothing left to do")


@app.command()
def weaken(
    name: Name,
    out: Annotated[Path, typer.Option(help="Folder to write, such as Dataset501_Mine.")],
    kind: Annotated[str, typer.Option(help="skeleton, curves, points, boxes or slices.")] = "skeleton",
    seed: Annotated[int, typer.Option(help="Another seed, other marks.")] = 0,
    slices: Annotated[int, typer.Option(help="Annotated slices of each volume; 0 = all.")] = 0,
    count: Annotated[int, typer.Option(help="Of points: discs per part of a class.")] = 1,
    radius: Annotated[int, typer.Option(help="Of points: radius in pixels.")] = 2,
    margin: Annotated[int, typer.Option(help="Of boxes: how many pixels wider than tight.")] = 0,
    data: Root = None,
    option: Option = None,
) -> None:
    """Write weak labels made of dense ones as an nnU-Net folder, with what drawing them would cost.

    A plan needs no files for this: `weak: skeleton` below a dataset simulates the same labels.
    """
    from datasets.base import data_root
    from datasets.export import options_of, to_nnunet
    from datasets.weak import Weak, Weakened

    settings = {"seed": seed, "slices": slices, "count": count, "radius": radius, "margin": margin}
    recipe = from_mapping(Weak, {"kind": kind, **settings}, "weaken")
    weakened = Weakened(_dataset(name)(data_root(data), _options(name, option)), recipe)
    total = to_nnunet(weakened, out, say=_print)
    _print(f"{out}: {total.images} images or slices, {total.strokes} strokes, about {total.minutes:.0f} minutes")
    _print(f"in a plan: {{name: nnunet, options: {json.dumps(options_of(weakened, out))}}}")


@app.command()
def convert(
    name: Name,
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    slices: Annotated[bool, typer.Option("--slices", help="Write every plane as a file of its own, too.")] = False,
    data: Root = None,
    option: Option = None,
) -> None:
    """Write a dataset of volumes in the HDF5 layout of the published ACDC copy, with voxel sizes, for other tools."""
    from datasets.base import data_root
    from datasets.convert import to_h5

    written = to_h5(_dataset(name)(data_root(data), _options(name, option)), out, slices=slices, say=_print)
    _print(f"{written} volumes in {out}")


def _smallest_plan(name: str, option: list[str] | None, fold: int) -> Any:
    """A plan of one cell on a dataset: full supervision on its own grid, or partial where it has scribbles only."""
    from . import plan_file

    options = _options(name, option)
    dense = "dense" in _dataset(name).nominal_task(options).annotations
    raw = {
        "protocol": "None: decoded ahead.",
        "datasets": [{"name": name, "options": dataclasses.asdict(options)}],
        "methods": ["supervised" if dense else "pce"],
        "ratios": [1.0],
        "folds": [fold],
        "bounds": False,
    }
    return plan_file.parse(raw, default_name=name)


def _dataset(name: str) -> Any:
    import datasets

    if name not in datasets.names():
        raise ConfigError(f"no dataset {name!r}{nearest(name, datasets.names())}")
    return datasets.get(name)


def _options(name: str, given: list[str] | None) -> Any:
    """``name=value`` pairs, values read as YAML, checked as a plan's options are."""
    import yaml

    mapping = {}
    for pair in given or ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--option must be name=value, got {pair!r}")
        try:
            mapping[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--option {pair!r}: the value is no YAML: {error}") from error
    try:
        return from_mapping(_dataset(name).Options, mapping, f"dataset {name}: option")
    except ConfigError as error:
        listed = [key for key in mapping if f"option: {key}: must be a list" in str(error)]
        shown = f"; on the command line -o '{listed[0]}={as_list(mapping[listed[0]])}'" if listed else ""
        raise ConfigError(f"{error}{shown}") from error


def _print(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)
