"""Where the variance comes from: seeds, patients, and what neither explains.

By analysis of variance of the crossed table (equal to REML where it is balanced and no component is negative). A seed
draws the labelled patients, the initialisation and the order of batches together, so their variances are one number
here; with all labels, or with ``training.subset: first``, the labelled patients stay and the rest is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .crossed import FEWEST_PATIENTS, FEWEST_SEEDS, mean_squares
from .frame import Results
from .verdicts import ENDPOINTS, LOWER, Design, Endpoint, Key, comparisons, paired

METHOD, DIFFERENCE = "a method", "a difference to the lower bound"
SUBSET, INITIALISATION = "labelled subset, initialisation, order", "initialisation, order"


@dataclass(frozen=True)
class Components:
    """Standard deviations, on the scale of the endpoint."""

    seed: float
    patient: float
    residual: float


def components(values: np.ndarray) -> Components:
    """Components of a finite table ``(seeds, patients)`` with two of each or more; a negative estimate is 0.

    >>> components(np.array([[1.0, 3.0], [2.0, 4.0]]))  # seeds differ by 1, patients by 2, nothing else
    Components(seed=0.7071067811865476, patient=1.4142135623730951, residual=0.0)
    """
    seeds, patients = values.shape
    _, squares = mean_squares(values)
    return Components(
        float(np.sqrt(max(squares.seed - squares.residual, 0.0) / patients)),
        float(np.sqrt(max(squares.patient - squares.residual, 0.0) / seeds)),
        float(np.sqrt(squares.residual)),
    )


def pooled(parts: list[Components]) -> Components:
    """The root of the mean variance of each component."""
    squares = np.array([[part.seed, part.patient, part.residual] for part in parts]) ** 2
    return Components(*(float(value) for value in np.sqrt(squares.mean(axis=0))))


def decomposition(results: Results, designs: Mapping[Key, Design]) -> pd.DataFrame:
    """One row per dataset, amount, endpoint, and what varies (a method, or a difference to the lower bound).

    Columns besides those: ``seeds_draw`` (what differs between seeds), ``sd_seed``, ``sd_patient``, ``sd_residual``
    (mean variances over the methods, as standard deviations), ``share_seed`` … of their sum, ``tables`` averaged over,
    ``seeds`` and ``patients`` at least.
    """
    pairs = [(key, reference) for key, against, reference in comparisons(results) if against == LOWER]
    draws = seeds_draw(results)
    rows = []
    for endpoint in ENDPOINTS:
        found: dict[tuple[str, str, str], list[np.ndarray]] = {}
        for key in (key for key in designs if key[0] != "upper"):
            found.setdefault((key[2], key[3], METHOD), []).append(_complete(designs[key], endpoint))
        for key, reference in pairs:
            if key in designs and reference in designs:
                table = paired(designs[key][endpoint.metric], designs[reference][endpoint.metric], endpoint)
                found.setdefault((key[2], key[3], DIFFERENCE), []).append(table.to_numpy())
        for (dataset, amount, what), tables in found.items():
            tables = [t for t in tables if t.shape[0] >= FEWEST_SEEDS and t.shape[1] >= FEWEST_PATIENTS]
            if tables:
                part = pooled([components(table) for table in tables])
                squares = np.array([part.seed, part.patient, part.residual]) ** 2
                shares = squares / squares.sum() if squares.sum() else squares
                rows.append(
                    {"dataset": dataset, "amount": amount, "endpoint": endpoint.name, "of": what}
                    | {"seeds_draw": draws.get((dataset, amount), SUBSET)}
                    | {"sd_seed": part.seed, "sd_patient": part.patient, "sd_residual": part.residual}
                    | dict(zip(("share_seed", "share_patient", "share_residual"), shares, strict=True))
                    | {"tables": len(tables), "seeds": min(len(table) for table in tables)}
                    | {"patients": min(table.shape[1] for table in tables)}
                )
    return pd.DataFrame(rows, columns=_COLUMNS)


def seeds_draw(results: Results) -> dict[tuple[str, str], str]:
    """What differs between the seeds of each dataset and amount, as the records' labelled groups say."""
    subsets: dict[tuple[str, str], dict[tuple[str, int], set[tuple[str, ...]]]] = {}
    for row in results.cells.itertuples():
        split = results.records[row.id].split if row.id in results.records else {}
        if split:  # folds and kinds of labels have labelled groups of their own, whatever the seed
            alike = subsets.setdefault((row.dataset, row.amount), {}).setdefault((row.annotation, row.fold), set())
            alike.add(tuple(split.get("labelled_groups", ())))
    return {
        place: SUBSET if any(len(groups) > 1 for groups in found.values()) else INITIALISATION
        for place, found in subsets.items()
    }


_COLUMNS = [
    "dataset", "amount", "endpoint", "of", "seeds_draw", "sd_seed", "sd_patient", "sd_residual", "share_seed",
    "share_patient", "share_residual", "tables", "seeds", "patients",
]  # fmt: skip


def _complete(design: Design, endpoint: Endpoint) -> np.ndarray:
    values = endpoint.values(endpoint.with_right_answers(design[endpoint.metric].to_numpy(np.float64)))
    return values[:, np.isfinite(values).all(axis=0)]
