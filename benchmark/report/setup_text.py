"""A draft of a paper's "experimental set-up", and a reproducibility checklist: written from receipts, nothing by heart.

What differs between cells is said to differ; what no record knows is left open with a mark, never filled in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

import methods

from ..looks import Looks
from ..metrics.policy import RULES
from ..record import Record
from . import naming
from .components import SUBSET, seeds_draw
from .crossed import ALPHA, FEWEST_PATIENTS, FEWEST_SEEDS
from .footnotes import budget, several
from .frame import Results
from .render import escape
from .summary import ENTRY, amounts, order
from .tables import BOUNDS
from .verdicts import ENDPOINTS
from .wording import OPEN, counted, lasting, listed, ranged

Item = tuple[bool | None, str]
"""Met, not met, or None: nobody but the authors can say."""


def paragraphs(results: Results, table: pd.DataFrame, *, rule: str) -> list[str]:
    """The draft, a few sentences each: data, training, evaluation, statistics, compute.

    Args:
        results: the records.
        table: `summary.entries`.
        rule: what failures count for.
    """
    done = [record for record in results.records.values() if record.status == "finished"]
    if not done:
        return []
    return [
        _data(results, table, done),
        _training(results, table, done),
        _evaluation(results, table, done, rule),
        _compute(done),
    ]


def checklist(results: Results) -> list[Item]:
    """What reviewers ask for, answered from the receipts of the finished cells."""
    done = [record for record in results.records.values() if record.status == "finished"]
    states = results.cells["status"].value_counts()
    commits, data = _distinct(done, "commit"), {str(r.receipt.get("data", "")) for r in done}
    dirty = sum(bool(record.receipt.get("dirty")) for record in done)
    off_lock = sorted({name for r in done for name in (r.receipt.get("lock") or {}).get("differs", ())})
    finished = results.cells[results.cells["status"] == "finished"]
    seeds = {tuple(sorted(set(map(int, of)))) for _, of in finished.groupby(ENTRY)["seed"]}
    openings = {tuple(record.receipt.get("openings", ())) for record in done}
    machines = _distinct(done, "hardware")
    unknown = sum("scores" not in record.receipt for record in done)
    return [
        (
            bool(done) and "unknown" not in commits and not dirty,
            f"Code: {_several('commit', commits)}"
            + (f"; {counted(dirty, 'cell')} with uncommitted changes" if dirty else "")
            + ".",
        ),
        (
            bool(done) and not off_lock and all(record.receipt.get("lock") for record in done),
            "Environment: versions are recorded per cell"
            + (f"; installed off the lock: {', '.join(off_lock)}" if off_lock else "")
            + ("" if all(record.receipt.get("lock") for record in done) else "; not compared with the lock file")
            + ".",
        ),
        (bool(done) and "" not in data, "Data: the content of every file is hashed, in the receipt of each cell."),
        (
            bool(done) and all(record.receipt.get("split") for record in done),
            "Splits: labelled, unlabelled, validation and test cases of every cell are fixed by a digest.",
        ),
        (
            len(seeds) == 1 and all(len(each) >= FEWEST_SEEDS for each in seeds),
            f"Runs: {_runs(seeds)}{_drawn(results) if any(len(each) > 1 for each in seeds) else ''}.",
        ),
        (
            openings == {("final evaluation",)},
            "Test labels: opened once per cell, by the final evaluation; the last step's weights are reported.",
        ),
        (
            states.get("finished", 0) == len(results.cells),
            f"Completeness: {states.get('finished', 0)} of {len(results.cells)} planned cells finished; failed ones "
            "are listed with their reason.",
        ),
        (not unknown, f"Per-case scores: sealed by a digest in {len(done) - unknown} of {len(done)} cells."),
        (bool(done), f"Compute: {_several('kind', machines)} of hardware, time and memory recorded per cell."),
        (bool(results.tuned), f"Hyper-parameters: {results.tuned or 'as the plan sets them; no tuning is recorded'}."),
        (None, f"Licences, ethics approval and consent of the data: {OPEN}."),
        (None, f"Code, weights and records published at: {OPEN}."),
    ]


def markdown(draft: Sequence[str], items: Sequence[Item], *, title: str) -> str:
    """Both as one document."""
    boxes = {True: "[x]", False: "[ ]", None: "[?]"}
    lines = [f"# {title}: experimental set-up (draft)\n", *(f"{text}\n" for text in draft)]
    lines += ["## Reproducibility checklist\n", *(f"- {boxes[met]} {text}" for met, text in items)]
    return "\n".join(lines) + "\n"


def latex(draft: Sequence[str]) -> str:
    r"""The draft as paragraphs to ``\input``."""
    return "% Made from records: a draft to be edited.\n" + "\n\n".join(map(escape, draft)) + "\n"


def _data(results: Results, table: pd.DataFrame, done: Sequence[Record]) -> str:
    names = list(dict.fromkeys(table["dataset"]))
    split = [record.split for record in done if record.split]
    validation = sorted({item.get("val_groups", 0) for item in split})
    called = {name: naming.title(results, name) for name in names}
    levels = {name: listed(amount for other, amount in amounts(table) if other == name) for name in names}
    labels = "; ".join(f"{level} ({called[d]})" if len(names) > 1 else level for d, level in levels.items())
    parts = [f"We use {listed(called.values())}, with labels for {labels}.", *budget(results, set(names))]
    parts += _weak(table, done)
    what = naming.groups(results, names)
    parts.append(
        f"Validation cases ({ranged(validation)} {what}) are those that a dataset publishes, or else are taken from "
        "the training side and counted as labels."
        if any(validation)
        else "No validation cases are set aside."
    )
    if any(len({amount for name, amount in amounts(table) if name == dataset}) > 1 for dataset in names):
        parts.append("Labelled subsets are nested: a smaller one lies within every larger one of the same seed.")
    return " ".join(parts)


def _weak(table: pd.DataFrame, done: Sequence[Record]) -> list[str]:
    """Which rows learn from labels that are not dense, and where these come from; nothing where all are dense."""
    sentences = []
    dense = list(dict.fromkeys(table.loc[table["annotation"] == "dense", "label"]))
    others = f"; {'all others' if len(dense) > 1 else listed(dense)} from dense ones" if dense else ""
    for kind, rows in table[table["annotation"] != "dense"].groupby("annotation", sort=False):
        weak = [record.cell.get("weak") or {} for record in done if record.cell.get("annotation") == kind]
        recipes = sorted({str(recipe["kind"]) for recipe in weak if recipe})
        origin = [f"simulated from dense ones: {listed(recipes)}"] if recipes else []
        origin += ["as the dataset publishes them"] if not all(weak) else []
        said = f" ({'; or '.join(origin)})" if weak else ""
        labels = dict.fromkeys(rows["label"])
        learn = "learn" if len(labels) > 1 else "learns"
        sentences.append(f"{listed(labels)} {learn} from {kind} labels{said}{others}.")
    return sentences


def _training(results: Results, table: pd.DataFrame, done: Sequence[Record]) -> str:
    compared = [label for label in order(table) if label in set(table.loc[table["role"] == "method", "label"])]
    bounds = []
    for role, called in BOUNDS.items():
        labels = list(dict.fromkeys(table.loc[table["role"] == role, "label"]))
        bounds += [f"{listed(labels)} as {called}{'s' * (len(labels) > 1)}"] if labels else []
    what = f"compare {listed(compared)}" + (" with " if bounds else "") if compared else "train "

    def of(key: str, unit: str = "") -> str:
        return _setting(done, key, unit)

    batches = f"batches of {of('labelled_batch')} labelled"
    if reading := [record for record in done if _reads_unlabelled(record)]:
        some = "" if len(reading) == len(done) else ", for methods that learn from them,"
        batches += f" and{some} {_setting(reading, 'unlabelled_batch', '')} unlabelled"
    changed = any(record.cell["training"].get("network_options") for record in done)
    options = f", {of('network_options')}" if changed else ""
    return (
        f"We {what}{' and '.join(bounds)}. All methods share network "
        f"({of('network')} of width {of('width')}{options}), patches of {of('patch')}, "
        f"{of('steps')} optimiser steps with {of('optimizer')} (learning rate {of('lr')}, schedule {of('schedule')}, "
        f"weight decay {of('weight_decay')}), {batches} samples, and augmentation ({of('augment')}). Training ran in "
        f"{listed(sorted({str(record.receipt.get('precision', '')) for record in done}))}. "
        + (f"Hyper-parameters were {results.tuned}." if results.tuned else "Hyper-parameters are those of the plan.")
    )


def _evaluation(results: Results, table: pd.DataFrame, done: Sequence[Record], rule: str) -> str:
    on = naming.tested(results, list(dict.fromkeys(table["dataset"])))
    units = listed(sorted(set(table["unit"]) - {""})) or "mm"
    margins = f"{100 * ENDPOINTS[0].margin:g} Dice points"
    return (
        f"The weights of the last step are scored once, on whole test cases in native geometry; no checkpoint is "
        f"chosen on the test set. We report Dice and HD95 in {units} (the larger of the two directed 95th percentiles) "
        f"{_of_seeds(table)}{f', on {on}' if on else ''}; scans are averaged within a patient, then classes, then "
        f"patients. {RULES[rule].description} "
        + (
            f"Differences are tested by a t test on crossed seeds and patients with Satterthwaite's degrees of freedom "
            f"at {ALPHA:g} after Holm's correction, with a margin of {margins}, on Dice and log(1 + HD95)."
            f"{_looks(results.looks)}"
            if _testable(results, table)
            else f"Differences are not tested: that takes two rows with {FEWEST_SEEDS} seeds and test patients."
        )
    )


def _testable(results: Results, table: pd.DataFrame) -> bool:
    most = table[table["n"] >= FEWEST_SEEDS].groupby(["dataset", "amount"]).size().max()  # NaN of none
    return bool(most > 1) and results.scores["group"].nunique() >= FEWEST_PATIENTS


def _runs(seeds: Collection[tuple[int, ...]]) -> str:
    """How many seeds rows have, and whether they are the same."""
    if not seeds:
        return "none has finished"
    if len(seeds) == 1:
        (only,) = seeds
        return f"{counted(len(only), 'seed')} ({', '.join(map(str, only))}), the same for all rows"
    return f"{ranged(sorted({len(each) for each in seeds}))} seeds by row, which are not the same for all"


def _drawn(results: Results) -> str:
    """What differs between seeds, and where their labelled subset does not."""
    draws = seeds_draw(results)
    fixed = [place for place, drawn in draws.items() if drawn != SUBSET]
    if len(fixed) == len(draws):
        return f"; each seed draws {'the initialisation and the order of batches' if draws else 'what no record tells'}"
    several = len({dataset for dataset, _ in draws}) > 1
    named = [f"{amount} of {dataset}" if several else amount for dataset, amount in fixed]
    return "; each seed draws the labelled subset, the initialisation and the order of batches" + (
        f" (at {listed(named)} the labelled subset is the same for all seeds)" if named else ""
    )


def _looks(looks: Looks | None) -> str:
    """Where seeds were added after looking, at what, and what that costs; "" where nobody looked."""
    if looks is None:
        return ""
    return (
        f" Verdicts were looked at after {listed([str(count) for count in looks.counts])} seeds at most; seeds were "
        f"added only where one was open, and p values count all looks (spending: {looks.spending.replace('_', ' ')})."
    )


def _of_seeds(table: pd.DataFrame) -> str:
    """Such as ``as mean ± standard deviation over 3 seeds``; one seed has no spread."""
    known = sorted({int(n) for n in table["n"] if n > 0})
    if not several(table):
        return "of one seed" if known else "as the mean over seeds"
    return f"as mean ± standard deviation over {ranged(known)} seeds"


def _compute(done: Sequence[Record]) -> str:
    known = [record.seconds["total"] for record in done if "total" in record.seconds]
    machines = [f"{m.get('gpu') or m.get('cpu')}, {m.get('cores')} cores" for m in _dicts(done, "hardware")]
    versions = _dicts(done, "versions")
    named = f"Python {versions[0].get('python')} and PyTorch {versions[0].get('torch')}" if len(versions) == 1 else OPEN
    where = "; ".join(sorted(set(machines))) or OPEN
    return (
        f"The {counted(len(done), 'cell').removeprefix('1 ')} took {lasting(sum(known)) if known else OPEN} in all on "
        f"{where}, with {named} ({_several('commit', _distinct(done, 'commit'))})."
    )


def _reads_unlabelled(record: Record) -> bool:
    """Whether batches hold unlabelled samples: of methods that learn from these only, where some cases are left."""
    try:
        learns = methods.get(record.cell["method"]).supervision == "semi"
    except (KeyError, methods.BrokenMethod):  # of another checkout: nobody knows
        learns = True
    left = record.split.get(
        "unlabelled_cases", record.split.get("unlabelled_groups")
    )  # older records count groups alone
    return learns and record.cell.get("role") != "upper" and bool(left)


def _setting(done: Sequence[Record], key: str, unit: str) -> str:
    """One value, or that it differs between what."""
    values: dict[str, set[str]] = {}
    for record in done:
        value = (record.cell.get("training") or {}).get(key)
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {chosen}" for name, chosen in value.items())
        text = "×".join(map(str, value)) if isinstance(value, list) else "" if value is None else f"{value}"
        values.setdefault(text, set()).add(str(record.cell.get("dataset")))
    if len(values) == 1:
        return (next(iter(values)) or OPEN) + unit
    by_dataset = [f"{text} ({listed(sorted(names))})" for text, names in sorted(values.items())]
    distinct = sum(len(names) for names in values.values()) == len(set().union(*values.values()))
    return listed(by_dataset) if distinct else f"{listed(sorted(values))} (differs between methods)"


def _distinct(done: Sequence[Record], key: str) -> list[str]:
    return sorted({str(record.receipt.get(key, "unknown")) for record in done})


def _dicts(done: Sequence[Record], key: str) -> list[dict[str, Any]]:
    found = {str(sorted(value.items())): value for r in done if isinstance(value := r.receipt.get(key), dict)}
    return [found[name] for name in sorted(found)]


def _several(what: str, values: Sequence[str]) -> str:
    shown = [value[:12] if what == "commit" else value for value in values]
    if what == "commit" and len(shown) == 1:
        return f"commit {shown[0]}"
    return counted(len(shown), what) + (f" ({', '.join(shown)})" if what == "commit" else "")
