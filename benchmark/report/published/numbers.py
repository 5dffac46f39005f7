"""Published tables: YAML -> frozen dataclasses, strictly; every number with its source, protocol and confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import datasets
import methods

from ...config import ConfigError, convert, from_mapping, nearest

FOLDER = Path(__file__).parent

Mark = Literal["read", "image", "text", "memory"]
"""How a number came here: read in code, a log or a README; off a picture; in somebody else's text; from memory."""


@dataclass(frozen=True)
class Protocol:
    """What must be equal for two numbers to be comparable. None (no fold): the source does not say.

    Attributes:
        dataset: registered name.
        annotation: "dense", "scribble", or of simulated labels their kind: "skeleton", "1 point", "2 points", ...
        split: groups (patients, scans, images) that train / are carved for validation / test.
        folds: over which folds the number is a mean.
        labelled: number of labelled groups, or "all".
        subset: which ones: the "first" of the published list, "random", or "all".
        grid: size of a training sample, and how whole cases are predicted or scored.
        network: kind and channels of the first level; in brackets what differs from our default of that kind.
        steps: optimiser steps.
        unit: of distances; "px" stands for voxels too.
        selection: which weights are scored: "last", "best on validation" or "best on test".
        components: connected components that are kept: "all" or the "largest".
    """

    dataset: str
    annotation: str | None = None
    split: str | None = None
    folds: tuple[int, ...] = ()
    labelled: str | None = None
    subset: str | None = None
    grid: str | None = None
    network: str | None = None
    steps: int | None = None
    unit: Literal["px", "mm"] | None = None
    selection: Literal["last", "best on validation", "best on test"] | None = None
    components: Literal["all", "largest"] | None = None

    def differing(self, other: Protocol) -> tuple[str, ...]:
        """Names of the tags that are not equal, or that either leaves open."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return tuple(name for name, mine, theirs in pairs if mine != theirs or mine in (None, ()))


@dataclass(frozen=True)
class Values:
    """One method's scores, of one class or of their mean; None = not printed.

    Attributes:
        dice, dice_sd, jaccard: in per cent.
        hd95, hd95_sd, asd: in the protocol's unit.
    """

    dice: float
    dice_sd: float | None = None
    jaccard: float | None = None
    hd95: float | None = None
    hd95_sd: float | None = None
    asd: float | None = None

    def __post_init__(self) -> None:
        for name in ("dice", "dice_sd", "jaccard"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 100:
                raise ValueError(f"{name} must be a percentage in [0, 100], got {value}")
        for name in ("hd95", "hd95_sd", "asd"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if self.jaccard is not None and self.jaccard > self.dice:
            raise ValueError(f"jaccard {self.jaccard} is above dice {self.dice}; it never is: are the columns swapped?")


@dataclass(frozen=True)
class Row:
    """One published method. ``method`` and ``hyper`` say which of ours it is, where it is one.

    ``protocol`` is complete: the table's, with what differs for this row. ``decimals`` are those that were printed.
    """

    name: str
    values: Values
    source: str
    mark: Mark
    protocol: Protocol
    method: str | None = None
    hyper: Mapping[str, Any] = field(default_factory=dict)
    classes: Mapping[str, Values] = field(default_factory=dict)
    url: str = ""
    note: str = ""
    decimals: int = 2


@dataclass(frozen=True)
class Published:
    """One published table. Families (A, B, P) are tables of the same methods that must never be merged."""

    title: str
    rows: tuple[Row, ...]
    family: str = ""
    note: str = ""


@dataclass(frozen=True)
class _RawRow:
    """A row as it is written: scores flat, the rest only where it differs from the table."""

    name: str
    dice: float
    dice_sd: float | None = None
    jaccard: float | None = None
    hd95: float | None = None
    hd95_sd: float | None = None
    asd: float | None = None
    classes: Mapping[str, Any] = field(default_factory=dict)
    method: str | None = None
    hyper: Mapping[str, Any] = field(default_factory=dict)
    mark: Mark | None = None
    source: str = ""
    url: str = ""
    note: str = ""
    decimals: int | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _RawTable:
    """A table as it is written."""

    title: str
    source: str
    mark: Mark
    protocol: Mapping[str, Any]
    rows: tuple[_RawRow, ...]
    family: Literal["", "A", "B", "P"] = ""
    url: str = ""
    note: str = ""
    decimals: int = 2


@dataclass(frozen=True)
class _RawFile:
    tables: tuple[_RawTable, ...]


def load(folder: Path = FOLDER) -> tuple[Published, ...]:
    """Every published table of ``folder``, files by name, tables in their order; rows from memory included.

    Raises:
        ConfigError: an unknown key, dataset or method, a wrong type, a value out of range, or no source.
    """
    import yaml

    quick = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where PyYAML was built with libyaml
    found: list[Published] = []
    for path in sorted(folder.glob("*.yaml")):
        raw = from_mapping(_RawFile, yaml.load(path.read_text(encoding="utf-8"), quick), path.name)
        found += [_table(table, f"{path.name}: {table.title!r}") for table in raw.tables]
    return tuple(found)


def _table(raw: _RawTable, where: str) -> Published:
    if not raw.source.strip():
        raise ConfigError(f"{where}: source must say where the numbers were read")
    rows = tuple(_row(row, raw, f"{where}: row {row.name!r}") for row in raw.rows)
    return Published(raw.title, rows, raw.family, raw.note)


def _row(raw: _RawRow, table: _RawTable, where: str) -> Row:
    protocol = from_mapping(Protocol, {**table.protocol, **raw.protocol}, f"{where}: protocol")
    if protocol.dataset not in datasets.names():
        raise ConfigError(f"{where}: unknown dataset {protocol.dataset!r}{nearest(protocol.dataset, datasets.names())}")
    if raw.method is not None and raw.method not in methods.names():
        raise ConfigError(f"{where}: unknown method {raw.method!r}{nearest(raw.method, methods.names())}")
    scores = {f.name: getattr(raw, f.name) for f in fields(Values)}
    return Row(
        name=raw.name,
        values=from_mapping(Values, scores, where),
        source=raw.source or table.source,
        mark=raw.mark or table.mark,
        protocol=protocol,
        method=raw.method,
        hyper=raw.hyper,
        classes={name: convert(one, Values, f"{where}: class {name}") for name, one in raw.classes.items()},
        url=raw.url or table.url,
        note=raw.note,
        decimals=table.decimals if raw.decimals is None else raw.decimals,
    )


def shown(tables: tuple[Published, ...]) -> tuple[Published, ...]:
    """The tables less what is from memory; a table of which nothing else is left goes."""
    kept = (replace(table, rows=tuple(row for row in table.rows if row.mark != "memory")) for table in tables)
    return tuple(table for table in kept if table.rows)
