"""The protocol of our own numbers, derived from their records: a plan cannot claim one that it does not follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from math import nan
from typing import Any, Self

import pandas as pd

from ...metrics.policy import DEFAULT_RULE
from ...record import Record
from ...training import Training
from ..frame import Results
from ..summary import ENTRY, HEADLINE, class_values, key_of, patient_values, seed_values
from ..tables import unfinished
from .numbers import Protocol

_SELECTION = {"last": "last", "best_val": "best on validation", "oracle": "best on test"}


@dataclass(frozen=True)
class Ours:
    """One entry of our tables that has a number: identity, means in the published units, protocol.

    ``hd95`` is medpy's, which papers print: one percentile of the distances of both directions together, not the larger
    of two; in the protocol's unit. ``hd95_vox`` is the same in voxels. ``groups`` is how many groups train, so that
    "all" can be compared with a number of them.
    ``unfinished`` is such as `` (1/3)``, complete and planned seeds.
    """

    label: str
    amount: str
    method: str
    hyper: Mapping[str, Any]
    dice: float
    dice_sd: float
    hd95: float
    hd95_sd: float
    seeds: int
    groups: int
    protocol: Protocol
    hd95_vox: float = nan
    hd95_vox_sd: float = nan
    unfinished: str = ""

    def beside(self, published: Protocol) -> Self:
        """The same entry in the unit of a published number, where that is voxels and ours is mm; else as it is.

        Voxels cannot be turned into mm: where ours are voxels, no size of a voxel was known.
        """
        if (published.unit, self.protocol.unit) != ("px", "mm") or self.hd95_vox != self.hd95_vox:
            return self
        protocol = replace(self.protocol, unit="px")
        return replace(self, hd95=self.hd95_vox, hd95_sd=self.hd95_vox_sd, protocol=protocol)


def ours_of(results: Results, entries: pd.DataFrame, rule: str = DEFAULT_RULE) -> list[Ours]:
    """Every entry of `summary.entries` that has a complete seed, in their order.

    Args:
        results: the records.
        entries: `summary.entries`, under ``rule``.
        rule: what missed classes and failures count for.
    """
    found, voxels = [], _in_voxels(results, rule) if (entries["unit"] == "mm").any() else {}
    for entry in entries[entries["n"] > 0].itertuples():
        records = [results.records[name] for name in entry.ids if name in results.records]
        records = [record for record in records if record.status == "finished"]
        protocols = {tags(record, str(entry.unit)) for record in records}
        found.append(
            Ours(
                label=str(entry.label),
                amount=str(entry.amount),
                method=records[0].cell["method"],
                hyper=records[0].cell["hyper"],
                dice=100 * float(entry.dice_mean),
                dice_sd=100 * float(entry.dice_sd),
                hd95=float(entry.hd95_pooled_mean),
                hd95_sd=float(entry.hd95_pooled_sd),
                seeds=int(entry.n),
                groups=int(records[0].split.get("train_groups", 0)),
                protocol=_joined(protocols),
                hd95_vox=voxels.get(key_of(entry), (nan, nan))[0],
                hd95_vox_sd=voxels.get(key_of(entry), (nan, nan))[1],
                unfinished=unfinished(entry),
            )
        )
    return found


def tags(record: Record, unit: str) -> Protocol:
    """The protocol of one finished cell."""
    cell, split = record.cell, record.split
    training = cell["training"]
    everything = split.get("unlabelled_groups") == 0
    return Protocol(
        dataset=cell["dataset"],
        annotation=_annotation(cell),
        split="/".join(str(split.get(f"{part}_groups", "?")) for part in ("train", "val", "test")),
        folds=(cell["fold"],),
        labelled="all" if everything else str(len(split.get("labelled_groups", ()))),
        subset="all" if everything else training.get("subset"),
        grid=_grid(training),
        network=_network(training),
        steps=training.get("steps"),
        unit="mm" if unit == "mm" else "px",
        selection=_SELECTION[HEADLINE],  # type: ignore[arg-type]
        components="all",
    )


def _annotation(cell: Mapping[str, Any]) -> str:
    """Dense, scribble, or which weak labels were simulated: experts' scribbles and ours are not the same."""
    weak = cell.get("weak")
    if not weak:
        return str(cell["annotation"])
    count = weak.get("count", 1)
    return f"{count} point{'s' if count > 1 else ''}" if weak["kind"] == "points" else str(weak["kind"])


def _in_voxels(results: Results, rule: str) -> dict[tuple[str, ...], tuple[float, float]]:
    """Mean and standard deviation over complete seeds of the pooled HD95 in voxels, by entry, averaged as in mm."""
    scores = results.scores
    scores = scores.assign(hd95_pooled=scores["hd95_pooled_vox"], diagonal=scores["diagonal_vox"])
    twin = replace(results, scores=scores)
    by_class = class_values(twin, rule, metrics=("hd95_pooled",), selection=HEADLINE)
    values = seed_values(twin, patient_values(by_class)).groupby(ENTRY, sort=False)["hd95_pooled"]
    return {tuple(key): (float(of.mean()), float(of.std(ddof=1))) for key, of in values}


def _network(training: Mapping[str, Any]) -> str | None:
    """Kind, width and whatever a plan sets otherwise than the published network has it: another norm is another net."""
    if "network" not in training:
        return None
    options = ", ".join(f"{key} {value}" for key, value in sorted((training.get("network_options") or {}).items()))
    return f"{training['network']} {training['width']}" + (f" ({options})" if options else "")


def _grid(training: Mapping[str, Any]) -> str | None:
    patch = training.get("patch")
    if not patch:
        return None
    size = "×".join(map(str, patch))
    if len(patch) == 2:
        return f"{size}, scored natively"
    stride = training.get("stride")
    steps = tuple(stride) if stride else Training(overlap=training["overlap"]).strides(patch)
    return f"{size} windows every {'×'.join(map(str, steps))}"


def _joined(protocols: Iterable[Protocol]) -> Protocol:
    """One protocol of several cells: folds together, and open where they differ."""
    several = list(protocols)
    merged: dict[str, Any] = {}
    for tag in (f.name for f in fields(Protocol)):
        values = {getattr(one, tag) for one in several}
        merged[tag] = values.pop() if len(values) == 1 else None
    merged["folds"] = tuple(sorted({fold for one in several for fold in one.folds}))
    return Protocol(**merged)
