"""Results with tables of seeds × patients that are known in advance, without a file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from benchmark.looks import Looks
from benchmark.report.frame import Results
from benchmark.report.verdicts import Design, Key

COLUMNS = ("role", "label", "dataset", "amount")


def study(
    dice: Mapping[Key, np.ndarray],
    *,
    hd95: Mapping[Key, np.ndarray] | None = None,
    scribble: tuple[str, ...] = (),
    baseline: str = "",
    looks: Looks | None = None,
) -> tuple[Results, dict[Key, Design]]:
    """Results and designs of entries (role, label, dataset, amount) with ``(seeds, patients)`` Dice in [0, 1].

    HD95 is 10 everywhere unless given. Labels in ``scribble`` learn from scribbles.
    """
    rows, designs = [], {}
    for key, values in dice.items():
        patients = [f"p{i:02d}" for i in range(values.shape[1])]
        distances = np.full(values.shape, 10.0) if hd95 is None else hd95[key]
        tables = {"dice": values, "hd95": distances}
        designs[key] = {
            name: pd.DataFrame(table, index=np.arange(len(table)), columns=patients) for name, table in tables.items()
        }
        kind = "scribble" if key[1] in scribble else "dense"
        for seed in range(len(values)):
            identity = dict(zip(COLUMNS, key, strict=True))
            rows.append({"id": "-".join(key) + f"-s{seed}", "annotation": kind, "seed": seed, "fold": 1} | identity)
    cells = pd.DataFrame(rows).assign(status="finished", level=0.1, is_share=True)
    results = Results(
        plan="made", title="made", protocol="", tuned="", cells=cells, scores=pd.DataFrame(), records={}, folders={},
        baseline=baseline, looks=looks,
    )  # fmt: skip
    return results, designs


def noisy(
    mean: float, random: np.random.Generator, *, seeds: int = 5, patients: int = 12, hard: np.ndarray | None = None
) -> np.ndarray:
    """A table around ``mean`` with seed and rest deviations of .5 points, and ``hard`` patients if given."""
    table = mean + 0.005 * random.normal(size=(seeds, 1)) + 0.005 * random.normal(size=(seeds, patients))
    return table if hard is None else table + hard
