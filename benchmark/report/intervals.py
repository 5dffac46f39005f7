"""How far each mean of a table may be trusted by itself: interval, spread of patients, quartiles of distances."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nan

import numpy as np
import pandas as pd

from .crossed import crossed
from .summary import ENTRY
from .verdicts import Design, Key


def intervals(entries: pd.DataFrame, designs: Mapping[Key, Design]) -> pd.DataFrame:
    """One row per entry: what stands behind its means.

    Columns besides :data:`ENTRY`: ``dice_low`` and ``dice_high``, the 95 % interval of mean Dice over crossed seeds and
    patients, within [0, 1] (for the method on *other* labelled subsets and patients, unlike a standard deviation over
    seeds), of the patients who have a value in every seed; ``dice_sd_patients`` of the patients' means over seeds;
    ``hd95_median``, ``hd95_q1``, ``hd95_q3`` over patients. A median gets no interval: bootstrapped ones are wrong too
    often (André et al., arXiv 2601.17103). Nor does a failure rate, which `summary.entries` gives with its spread over
    seeds: (seed, case, class) rows are no independent draws, which a binomial interval takes them for, and the crossed
    one has no width where nothing has failed yet, which is where least is known.

    Args:
        entries: `summary.entries`.
        designs: `verdicts.designs`.
    """
    rows = []
    for key, design in designs.items():
        dice = design["dice"].to_numpy(np.float64)
        low, high = crossed(dice[:, np.isfinite(dice).all(axis=0)]).interval()
        of_patients, distances = (design[metric].replace(inf, nan).mean() for metric in ("dice", "hd95"))
        quartiles = distances.quantile([0.25, 0.5, 0.75])
        rows.append((*key, np.fmax(low, 0.0) if low == low else low, np.fmin(high, 1.0) if high == high else high,
                     float(of_patients.std(ddof=1)), *quartiles))  # fmt: skip
    names = ["dice_low", "dice_high", "dice_sd_patients", "hd95_q1", "hd95_median", "hd95_q3"]
    return entries[ENTRY].merge(pd.DataFrame(rows, columns=[*ENTRY, *names]), on=ENTRY, how="left")
