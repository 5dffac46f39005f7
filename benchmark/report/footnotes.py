"""The sentences below tables: what a mean is of, bounds, protocol, label budget, what failed and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Set

import pandas as pd

from ..metrics.policy import RULES
from ..shapes import EXTRA
from . import naming
from .caveats import caveats, mixed_code
from .conditions import between_rows
from .frame import Results
from .stale import sentences as stale
from .winners import Standings, legend


def state(results: Results) -> str:
    """One sentence: how much of the plan there is."""
    counts = results.cells["status"].value_counts()
    parts = [f"{counts[name]} {name}" for name in ("failed", "killed", "missing") if counts.get(name, 0)]
    finished, planned = int(counts.get("finished", 0)), len(results.cells)
    sentence = f"{finished} of {planned} cells finished" + (f"; {', '.join(parts)}" if parts else "") + "."
    if not finished:
        sentence = f"No cell has finished yet, so there is no number to show. {sentence}"
    if results.strays:
        sentence += (
            f" {len(results.strays)} further records belong to other settings or versions and are not shown: "
            f"{', '.join(results.strays[:5])}{' …' if len(results.strays) > 5 else ''}."
        )
    return sentence


def notes(results: Results, table: pd.DataFrame) -> tuple[str, ...]:
    """What every table of means says below: bounds, order, protocol, label budget, tuning, what is missing."""
    sentences = []
    roles = set(table["role"])
    if "upper" in roles:
        sentences.append("Upper bound: supervised with all training labels; it is the same for every labelled amount.")
    if "lower" in roles:
        sentences.append("Lower bound: the same labels without anything that a label-efficient method adds.")
    if table.loc[table["role"] != "upper", "annotation"].nunique() > 1:
        sentences.append(
            "Dense labels name every pixel, scribble labels a few strokes: at the same share of patients they are not "
            "the same amount of work, and methods of one kind are to be read against the lower bound of that kind."
        )
    over = " less that of all rows, averaged over the columns of a table" if _columns(table) > 1 else ""
    sentences.append(f"Rows are sorted by mean Dice{over}; upper bounds come first, rows with unfinished seeds last.")
    if results.tuned:
        sentences.append(f"Hyper-parameters: {results.tuned}.")
    if results.protocol:
        sentences.append(f"Protocol: {results.protocol.strip()}")
    datasets = set(table["dataset"])
    sentences += budget(results, datasets) + extra_labels(results, datasets)
    return (*sentences, *results.notes)


def everywhere(results: Results, datasets: Set[str]) -> tuple[str, ...]:
    """What no table may be read without: the protocol, extra labels, caveats of the data, code that changed.

    Args:
        results: the records.
        datasets: those of the table.
    """
    protocol = [f"Protocol: {results.protocol.strip()}"] if results.protocol else []
    of_data = (*extra_labels(results, datasets), *caveats(results, datasets))
    of_code = (*mixed_code(results, datasets), *stale(results, datasets), *between_rows(results, datasets))
    return (*protocol, *of_data, *of_code)


def budget(results: Results, datasets: set[str]) -> list[str]:
    """The label budget of some datasets: labelled and validation groups both cost annotation."""
    cells = results.cells[(results.cells["role"] != "upper") & results.cells["dataset"].isin(datasets)]
    sentences = []
    for dataset, of_dataset in cells.groupby("dataset", sort=False):
        parts, train, test = [], set(), set()
        what = naming.groups(results, [str(dataset)])
        for (_, amount), rows in of_dataset.groupby(["level", "amount"]):
            splits = [results.records[name].split for name in rows["id"] if name in results.records]
            splits = [split for split in splits if split]
            if splits:
                labelled = _range(len(split.get("labelled_groups", ())) for split in splits)
                parts.append(f"{amount} = {labelled} + {_range(split.get('val_groups', 0) for split in splits)}")
                train |= {split.get("train_groups", 0) for split in splits}
                test |= {split.get("test_groups", 0) for split in splits}
        if parts:
            sentences.append(
                f"Label budget of {dataset}, in {what}, labelled + validation: {'; '.join(parts)}; of "
                f"{_range(train)} for training. Test: {_range(test)}."
            )
    return sentences


def extra_labels(results: Results, datasets: Set[str]) -> list[str]:
    """Who trained with dense labels that the other methods did not have, one sentence per method and dataset."""
    found: dict[str, None] = {}
    cells = results.cells[results.cells["dataset"].isin(datasets)]
    for name, label, dataset in zip(cells["id"], cells["label"], cells["dataset"], strict=True):
        record = results.records.get(name)
        for note in record.notes if record else ():
            if note.startswith(EXTRA):
                found[f"{label} on {dataset} {note.split(';')[0]}."] = None
    return list(found)


def means_note(results: Results, table: pd.DataFrame, rule: str, standings: Standings) -> tuple[str, ...]:
    """What a caption says first (seeds, patients, bold and signs), how means are taken, what failures count for."""
    folds = " All folds of a seed are one set of patients." if any(table["planned"] < table["ids"].map(len)) else ""
    mixed = table.loc[table["role"] != "upper", "annotation"].nunique() > 1
    on = naming.tested(results, list(dict.fromkeys(table["dataset"])))
    return (
        f"{spread(table)}{f', on {on}' if on else ''}. {legend(standings, mixed=mixed)}",
        f"Scans are averaged within a patient, then classes, then patients, then seeds.{folds} Weights of the last "
        "step.",
        f"Rule for empty masks and failures: {rule}. {RULES[rule].description}",
    )


def spread(table: pd.DataFrame) -> str:
    """What stands behind a number and of how many seeds, such as ``Mean ± standard deviation over seeds, n = 3``."""
    if not (table["n"] > 0).any():
        return f"No mean yet: no seed is complete, of {_range(table['planned'])} planned"
    what = "Mean ± standard deviation over seeds" if several(table) else "Mean of one seed, without a spread"
    return f"{what}, {count_of_seeds(table)}"


def several(table: pd.DataFrame) -> bool:
    """Whether some mean of `summary.entries` is over two seeds or more, so that there is a spread to explain."""
    return bool((table["n"] > 1).any())


def count_of_seeds(table: pd.DataFrame) -> str:
    """How many seeds the means are of, for a sentence; where some are unfinished, of how many that are planned."""
    if (table["n"] == table["planned"]).all():
        return f"n = {_range(table['planned'])}"
    known = table.loc[table["n"] > 0, "n"]
    some = _range(known) if len(known) else "0"
    return f"n = {some} of {_range(table['planned'])} planned (complete/planned where a seed is unfinished)"


def failed_cells(results: Results) -> tuple[str, ...]:
    """One sentence for every cell that failed or was killed."""
    rows = results.cells[results.cells["status"].isin(["failed", "killed"])]
    return tuple(
        f"{row.status.capitalize()}: {row.label}, {row.dataset} {row.amount}, seed {row.seed}, fold {row.fold}: "
        f"{row.reason or 'no reason recorded'}"
        for row in rows.itertuples()
    )


def _range(values: Iterable[int]) -> str:
    found = sorted(set(values))
    return str(found[0]) if len(found) == 1 else f"{found[0]}–{found[-1]}"


def _columns(table: pd.DataFrame) -> int:
    return len(table.loc[table["role"] != "upper", ["dataset", "amount"]].drop_duplicates())
