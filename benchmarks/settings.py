"""What is timed: datasets at their sizes, with network and optimizer, and the cells of our runner for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

import methods
from benchmark import plan_file
from benchmark.plan import Cell, nominal_task
from benchmark.prepare import Places

from . import sources
from .harness import Run
from .sources import Source

TINY: dict[str, Any] = {"width": 2, "labelled_batch": 2, "unlabelled_batch": 2, "lr": 0.01}


@dataclass(frozen=True)
class Setting:
    """One dataset at one size.

    Attributes:
        title: for tables.
        source: where its files are.
        entry: the dataset in a plan.
        training: shared by all methods; batches of "semi" methods are halved, so that all see as many samples.
        published: steps of the published training, by kind of supervision.
    """

    title: str
    source: Source
    entry: Mapping[str, Any]
    training: Mapping[str, Any]
    published: Mapping[str, int] = field(default_factory=dict)

    def methods(self) -> list[str]:
        """Every method that can run on it; on scribbles, semi-supervised and fully supervised by turns."""
        task = nominal_task(self._plan(["supervised"], 1, {}).datasets[0])
        names = [name for name in methods.names() if methods.get(name).unsupported(task) is None]
        kinds: dict[str, list[str]] = {}
        for name in sorted(names, key=lambda name: (name != "supervised", name)):
            kinds.setdefault(methods.get(name).supervision, []).append(name)
        return [name for some in zip_longest(*kinds.values()) for name in some if name]

    def cells(self, names: Sequence[str], *, steps: int, seeds: int = 1, **training: Any) -> list[Cell]:
        """One cell per method and seed: scribbles on all patients, dense labels on half of them."""
        found = []
        for name in names:
            found += list(self._plan([name], steps, training, seeds=seeds).cells())
        return sorted(found, key=lambda cell: cell.seed)

    def cell(self, name: str, *, steps: int = 1000, **training: Any) -> Cell:
        """The cell of one method."""
        (found,) = self.cells([name], steps=steps, **training)
        return found

    def places(self, scratch: Path) -> Places:
        """For runs on it."""
        return Places(results=scratch / "results", data=self.source.root, cache=scratch / "cache")

    def _plan(self, names: Sequence[str], steps: int, changes: Mapping[str, Any], seeds: int = 1) -> Any:
        training = dict(self.training) | {"steps": steps, "validations": 0, "val_share": 0.0} | dict(changes)
        kinds = {methods.get(name).supervision for name in names}
        if "semi" in kinds:
            half = training["labelled_batch"] // 2
            training |= {"labelled_batch": half, "unlabelled_batch": training["labelled_batch"] - half}
        raw = {
            "title": self.title,
            "protocol": "None: a measurement of speed.",
            "datasets": [self.entry],
            "methods": list(names),
            "ratios": [0.5 if kinds & {"semi", "full"} else 1.0],
            "bounds": False,
            "seeds": seeds,
            "training": training,
        }
        return plan_file.parse(raw, default_name="speed")


def acdc(run: Run, pixels: int, **subset: Any) -> Setting:
    """ACDC in 2-D as WSL4MIS trains on it, but for the size: 12 slices a step, U-Net of width 16, SGD."""
    training: dict[str, Any] = {"labelled_batch": 12, "width": 16, "optimizer": "sgd", "lr": 0.01}
    if run.quick:
        pixels, training = 32, TINY | {"labelled_batch": 4}
    source = sources.acdc(run, **subset)
    entry = {"name": "acdc", "options": {"partial": True}}
    title, training = f"ACDC {pixels}² ({source.kind})", training | {"patch": [pixels, pixels]}
    published = {"scribble": 60_000, "semi": 30_000, "full": 30_000}  # WSL4MIS; SSL4MIS
    return Setting(title, source, entry, training, published if pixels == 256 else {})


def hippocampus(run: Run, **subset: Any) -> Setting:
    """Hippocampus in 3-D as the plan ``hippocampus_semi`` trains on it, 8 crops a step."""
    training: dict[str, Any] = {"labelled_batch": 8, "network": "vnet", "width": 8, "optimizer": "adam", "lr": 0.002}
    patch = [32, 48, 32]
    if run.quick:
        patch, training = [32, 16, 16], TINY | {"network": "vnet", "labelled_batch": 4}
    source = sources.hippocampus(run, **subset)
    entry = {"name": "msd", "options": {"task_folder": sources.TASK, "patch": patch}}
    return Setting(f"Hippocampus 3-D ({source.kind})", source, entry, training | {"patch": patch})


def la(run: Run, **subset: Any) -> Setting:
    """Left atrium at the published size: 4 crops of 112×112×80 a step, V-Net of width 16."""
    training: dict[str, Any] = {"labelled_batch": 4, "network": "vnet", "width": 16, "optimizer": "sgd", "lr": 0.01}
    patch = [112, 112, 80]
    if run.quick:
        patch, training = [32, 16, 16], TINY | {"network": "vnet", "labelled_batch": 4}
    source = sources.la(run, **subset)
    entry = {"name": "la", "options": {"partial": True, "patch": patch}}
    return Setting(f"LA ({source.kind})", source, entry, training | {"patch": patch}, {"semi": 6000, "full": 6000})


def on_gpu() -> bool:
    """Whether there is an accelerator: published sizes are then within reach for every method."""
    return torch.cuda.is_available()
