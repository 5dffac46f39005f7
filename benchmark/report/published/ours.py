"""The protocol of our own numbers, derived from their records: a plan cannot claim one that it does not follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import nan
from typing import Any, Self

import numpy as np
import pandas as pd

from ...metrics.policy import DEFAULT_RULE
from ...record import LARGEST, Record
from ...training import Training
from ..frame import ASD, Results
from ..summary import ENTRY, HEADLINE, class_values, key_of, patient_values, seed_values
from ..tables import unfinished
from .numbers import Protocol

_SELECTION = {"last": "last", "best_val": "best on validation", "oracle": "best on test"}


@dataclass(frozen=True)
class Ours:
    """One entry of our tables that has a number: identity, means in the published units, protocol.

    ``hd95`` and ``asd`` are medpy's, which papers print: one percentile of the distances of both directions together,
    not the larger of two, and the mean from prediction to reference. Both are in the protocol's unit, ``voxels`` has
    the same in voxels. ``groups`` is how many groups train, so that "all" can be compared with a number of them.
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
    jaccard: float = nan
    jaccard_sd: float = nan
    asd: float = nan
    asd_sd: float = nan
    unfinished: str = ""
    voxels: Mapping[str, Any] = field(default_factory=dict)
    """What the distances are in voxels, where they are mm."""
    largest: Mapping[str, Any] = field(default_factory=dict)
    """What `dice`, `hd95`, `voxels` and the like are of the largest components alone, where that was scored."""

    def beside(self, published: Protocol) -> Self:
        """The same entry as a published number is: of largest components, and in voxels where ours is mm.

        Voxels cannot be turned into mm: where ours are voxels, no size of a voxel was known.
        """
        if published.components == "largest" and self.largest:
            protocol = replace(self.protocol, components="largest")
            own: Self = replace(self, protocol=protocol, largest={}, **self.largest)
            return own.beside(published)
        if (published.unit, self.protocol.unit) != ("px", "mm") or not self.voxels:
            return self
        return replace(self, protocol=replace(self.protocol, unit="px"), **self.voxels)


def ours_of(results: Results, entries: pd.DataFrame, rule: str = DEFAULT_RULE) -> list[Ours]:
    """Every entry of `summary.entries` that has a complete seed, in their order.

    Args:
        results: the records.
        entries: `summary.entries`, under ``rule``.
        rule: what missed classes and failures count for.
    """
    found, means = [], _means(results, rule, HEADLINE)
    largest = _means(results, rule, LARGEST) if LARGEST in set(results.scores["selection"]) else {}
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
                seeds=int(entry.n),
                groups=int(records[0].split.get("train_groups", 0)),
                protocol=_joined(protocols),
                unfinished=unfinished(entry),
                largest=largest.get((*key_of(entry), int(entry.n)), {}),
                **means[*key_of(entry), int(entry.n)],
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


def _means(results: Results, rule: str, selection: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """By entry and number of complete seeds what :class:`Ours` has of a selection; earlier records lack the largest."""
    scores = results.scores
    in_mm, found = scores["unit"] == "mm", _distances(results, rule, selection)
    if not in_mm.any():
        return found
    scale = scores["diagonal_vox"] / scores["diagonal"]
    in_voxels = {"hd95_pooled": scores["hd95_pooled_vox"], ASD: scores[ASD] * scale, "diagonal": scores["diagonal_vox"]}
    twin = replace(results, scores=scores.assign(**in_voxels))
    cubes = _of_cubes(results)
    for key, means in _distances(twin, rule, selection).items():
        known = ("hd95", "hd95_sd", *(("asd", "asd_sd") if key[ENTRY.index("dataset")] in cubes else ()))
        found[key]["voxels"] = {"asd": nan, "asd_sd": nan} | {name: means[name] for name in known}
    return found


def _distances(results: Results, rule: str, selection: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The means over complete seeds and their standard deviations, overlaps in per cent."""
    names = {"dice": "dice", "jaccard": "jaccard", "hd95": "hd95_pooled", "asd": "assd"}
    twin = replace(results, scores=results.scores.assign(assd=results.scores[ASD]))  # in the place of one that is known
    by_class = class_values(twin, rule, metrics=tuple(names.values()), selection=selection)
    values, found = seed_values(twin, patient_values(by_class), selection=selection), {}
    for key, of in values.groupby(ENTRY, sort=False):
        found[*key, len(of)] = {
            name + end: scale * float(value)
            for name, column in names.items()
            for scale in (100 if name in ("dice", "jaccard") else 1,)
            for end, value in (("", of[column].mean()), ("_sd", of[column].std(ddof=1)))
        }
    return found


def _of_cubes(results: Results) -> set[str]:
    """Datasets whose voxels are cubes, as every HD95 in mm and in voxels has it: there, so do averages of distances."""
    scores = results.scores
    far = scores[(scores["status"] == "ok") & (scores["hd95_pooled_vox"] > 0)]
    alike = np.isclose(far["hd95_pooled"] * far["diagonal_vox"], far["hd95_pooled_vox"] * far["diagonal"], rtol=1e-6)
    of_dataset = results.cells["dataset"].to_numpy()[far["cell"].to_numpy()]
    return set(of_dataset[alike]) - set(of_dataset[~alike])


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
