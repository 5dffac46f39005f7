"""The same numbers in the shapes that other statistics tools read, for whoever wants to check ours or prefers theirs.

- ``challengeR_<dataset>.csv`` (R; Wiesenfarth et al. 2021): one row per task (an amount of labels), algorithm and test
  patient. The tool knows no seeds: values are means over those that all algorithms of a task have. Read it with
  ``as.challenge(read.csv(file), by = "task", algorithm = "algorithm", case = "case", value = "dice", smallBetter =
  FALSE)``, or ``value = "hd95"`` and ``smallBetter = TRUE``.
- ``rliable.npz`` (Agarwal et al. 2021): per algorithm an array of runs × tasks of mean Dice in [0, 1]; a task is a
  dataset at an amount of labels, named in ``tasks``; runs are the seeds that an algorithm has of every task. Without
  ``tasks``, the arrays by name are what ``rliable.library.get_interval_estimates`` takes.
- ``autorank.csv`` (Herbold 2020): one row per task, one column per algorithm, mean Dice over seeds and patients. Read
  it with ``autorank(pandas.read_csv(file, index_col=0))``. Algorithms that lack a task are left out.

Where tasks share no algorithm at all, such as those with dense and with scribble labels, there is a ``rliable`` and an
``autorank`` file of each group of tasks, numbered in the order of the plan.

None of these tools knows that seeds and patients are crossed: their intervals are narrower than ours, and why that
matters is in ``docs/read_the_verdict.md``.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from math import inf, nan

import numpy as np
import pandas as pd

from .style import slug

Key = tuple[str, ...]
Task = dict[str, Mapping[str, pd.DataFrame]]
"""By label, for each metric: seeds × patients."""


def exports(designs: Mapping[Key, Mapping[str, pd.DataFrame]]) -> dict[str, bytes]:
    """File name -> content; nothing where no seed has finished. Upper bounds are left out: they do not compete.

    Args:
        designs: `verdicts.designs`.
    """
    tasks: dict[str, Task] = {}
    challenges: dict[str, dict[str, Task]] = {}
    known = {key: {name: table.replace(inf, nan) for name, table in of.items()} for key, of in designs.items()}
    for (role, label, dataset, amount), design in known.items():
        if role != "upper":
            tasks.setdefault(f"{dataset} {amount}", {})[label] = design
            challenges.setdefault(dataset, {}).setdefault(amount, {})[label] = design
    if not tasks:
        return {}
    found = {f"challengeR_{slug(name)}.csv": _text(_challenge(of), index=False) for name, of in challenges.items()}
    groups = _sharing(tasks)
    for number, group in enumerate(groups, start=1):
        mark = f"_{number}" if len(groups) > 1 else ""
        found[f"rliable{mark}.npz"] = _rliable(group)
        found[f"autorank{mark}.csv"] = _text(_autorank(group), index=True)
    return found | {"README.md": (__doc__ or "").encode()}


def _sharing(tasks: Mapping[str, Task]) -> list[dict[str, Task]]:
    """The tasks in groups, of which none shares an algorithm with another."""
    groups: list[dict[str, Task]] = []
    for name, algorithms in tasks.items():
        alike = [group for group in groups if any(algorithms.keys() & of.keys() for of in group.values())]
        merged = {task: of for group in alike for task, of in group.items()} | {name: algorithms}
        first = next((place for place, group in enumerate(groups) if any(group is one for one in alike)), len(groups))
        groups = [group for group in groups if not any(group is one for one in alike)]
        groups.insert(first, merged)
    return groups


def _challenge(tasks: Mapping[str, Task]) -> pd.DataFrame:
    """Every algorithm of a task on every case of it, as the tool demands; what is not known is empty."""
    rows = []
    for task, algorithms in tasks.items():
        seeds = _common(design["dice"].index for design in algorithms.values())
        cases = sorted({case for design in algorithms.values() for case in design["dice"].columns})
        for label, design in algorithms.items() if seeds else ():
            means = {metric: design[metric].loc[seeds].mean(axis=0) for metric in ("dice", "hd95")}
            values = {metric: series.reindex(cases).to_numpy() for metric, series in means.items()}
            rows.append(pd.DataFrame({"task": task, "algorithm": label, "case": cases, **values}))
    columns = ["task", "algorithm", "case", "dice", "hd95"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def _rliable(tasks: Mapping[str, Task]) -> bytes:
    """Algorithms that have every task; runs are the seeds that they have of all of them."""
    arrays: dict[str, np.ndarray] = {"tasks": np.array(list(tasks))}
    for label in dict.fromkeys(label for algorithms in tasks.values() for label in algorithms):
        tables = [algorithms[label]["dice"] for algorithms in tasks.values() if label in algorithms]
        seeds = _common(table.index for table in tables)
        if len(tables) == len(tasks) and len(seeds):
            arrays[label] = np.stack([table.loc[seeds].mean(axis=1).to_numpy(np.float64) for table in tables], axis=1)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _autorank(tasks: Mapping[str, Task]) -> pd.DataFrame:
    table = pd.DataFrame(
        {task: {label: d["dice"].mean(axis=1).mean() for label, d in found.items()} for task, found in tasks.items()}
    ).T
    return table.dropna(axis=1).rename_axis("task")


def _common(indices: Iterable[pd.Index]) -> list[int]:
    parts = [set(index) for index in indices]
    return sorted(set.intersection(*parts)) if parts else []


def _text(frame: pd.DataFrame, *, index: bool) -> bytes:
    return frame.to_csv(index=index, lineterminator="\n").encode()
