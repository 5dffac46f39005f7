"""A draft of a paper's "experimental set-up", and a reproducibility checklist: written from receipts, nothing by heart.

What differs between cells is said to differ; what no record knows is left open with a mark, never filled in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ..looks import Looks
from ..metrics.policy import RULES
from ..record import Record
from . import naming
from .components import seeds_draw
from .crossed import ALPHA, FEWEST_SEEDS
from .footnotes import budget, several
from .frame import Results
from .render import escape
from .summary import ENTRY, amounts, order
from .verdicts import ENDPOINTS

OPEN = "[to be filled in]"

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
            + (f"; {_counted(dirty, 'cell')} with uncommitted changes" if dirty else "")
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
            f"Runs: {_runs(seeds)}; each seed draws "
            f"{' or '.join(sorted(set(seeds_draw(results).values()))) or 'what no record tells'}.",
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
    levels = {name: _and(amount for other, amount in amounts(table) if other == name) for name in names}
    labels = "; ".join(f"{level} ({called[d]})" if len(names) > 1 else level for d, level in levels.items())
    parts = [f"We use {_and(called.values())}, with labels for {labels}.", *budget(results, set(names))]
    parts += _weak(table, done)
    what = naming.groups(results, names)
    parts.append(
        f"Validation cases ({_range(validation)} {what}) are those that a dataset publishes, or else are taken from "
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
    for kind, rows in table[table["annotation"] != "dense"].groupby("annotation", sort=False):
        weak = [record.cell.get("weak") or {} for record in done if record.cell.get("annotation") == kind]
        recipes = sorted({str(recipe["kind"]) for recipe in weak if recipe})
        origin = f"simulated from dense ones: {_and(recipes)}" if recipes else "as the dataset publishes them"
        labels = dict.fromkeys(rows["label"])
        sentences.append(f"{_and(labels)} learn from {kind} labels ({origin}); all others from dense ones.")
    return sentences


def _training(results: Results, table: pd.DataFrame, done: Sequence[Record]) -> str:
    methods = [label for label in order(table) if label in set(table.loc[table["role"] == "method", "label"])]
    bounds = list(dict.fromkeys(table.loc[table["role"] != "method", "label"]))

    def of(key: str, unit: str = "") -> str:
        return _setting(done, key, unit)

    batches = f"batches of {of('labelled_batch')} labelled"
    if any(record.split.get("unlabelled_groups") for record in done if record.cell.get("role") != "upper"):
        batches += f" and {of('unlabelled_batch')} unlabelled"
    changed = any(record.cell["training"].get("network_options") for record in done)
    options = f", {of('network_options')}" if changed else ""
    return (
        f"We compare {_and(methods) or 'no method'}" + (f" with {_and(bounds)} as bounds" if bounds else "") + ". All "
        f"methods share network ({of('network')} of width {of('width')}{options}), patches of {of('patch')}, "
        f"{of('steps')} optimiser steps with {of('optimizer')} (learning rate {of('lr')}, schedule {of('schedule')}, "
        f"weight decay {of('weight_decay')}), {batches} samples, and augmentation ({of('augment')}). Training ran in "
        f"{_and(sorted({str(record.receipt.get('precision', '')) for record in done}))}. "
        + (f"Hyper-parameters were {results.tuned}." if results.tuned else "Hyper-parameters are those of the plan.")
    )


def _evaluation(results: Results, table: pd.DataFrame, done: Sequence[Record], rule: str) -> str:
    on = naming.tested(results, list(dict.fromkeys(table["dataset"])))
    units = _and(sorted(set(table["unit"]) - {""})) or "mm"
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
            if table["n"].max() >= FEWEST_SEEDS
            else f"Differences are not tested: that takes {FEWEST_SEEDS} seeds."
        )
    )


def _runs(seeds: Collection[tuple[int, ...]]) -> str:
    """How many seeds rows have, and whether they are the same."""
    if not seeds:
        return "none has finished"
    if len(seeds) == 1:
        (only,) = seeds
        return f"{_counted(len(only), 'seed')} ({', '.join(map(str, only))}), the same for all rows"
    return f"{_range(sorted({len(each) for each in seeds}))} seeds by row, which are not the same for all"


def _looks(looks: Looks | None) -> str:
    """Where seeds were added after looking, at what, and what that costs; "" where nobody looked."""
    if looks is None:
        return ""
    return (
        f" Verdicts were looked at after {_and([str(count) for count in looks.counts])} seeds at most; seeds were "
        f"added only where one was open, and p values count all looks (spending: {looks.spending.replace('_', ' ')})."
    )


def _of_seeds(table: pd.DataFrame) -> str:
    """Such as ``as mean ± standard deviation over 3 seeds``; one seed has no spread."""
    known = sorted({int(n) for n in table["n"] if n > 0})
    if not several(table):
        return "of one seed" if known else "as the mean over seeds"
    return f"as mean ± standard deviation over {_range(known)} seeds"


def _compute(done: Sequence[Record]) -> str:
    hours = sum(record.seconds.get("total", 0.0) for record in done) / 3600
    machines = [f"{m.get('gpu') or m.get('cpu')}, {m.get('cores')} cores" for m in _dicts(done, "hardware")]
    versions = _dicts(done, "versions")
    named = f"Python {versions[0].get('python')} and PyTorch {versions[0].get('torch')}" if len(versions) == 1 else OPEN
    where = "; ".join(sorted(set(machines))) or OPEN
    return (
        f"The {_counted(len(done), 'cell').removeprefix('1 ')} took {hours:.1f} hours in all on {where}, with {named} "
        f"({_several('commit', _distinct(done, 'commit'))})."
    )


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
    by_dataset = [f"{text} ({_and(sorted(names))})" for text, names in sorted(values.items())]
    distinct = sum(len(names) for names in values.values()) == len(set().union(*values.values()))
    return _and(by_dataset) if distinct else f"{_and(sorted(values))} (differs between methods)"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _distinct(done: Sequence[Record], key: str) -> list[str]:
    return sorted({str(record.receipt.get(key, "unknown")) for record in done})


def _dicts(done: Sequence[Record], key: str) -> list[dict[str, Any]]:
    found = {str(sorted(value.items())): value for r in done if isinstance(value := r.receipt.get(key), dict)}
    return [found[name] for name in sorted(found)]


def _several(what: str, values: Sequence[str]) -> str:
    shown = [value[:12] if what == "commit" else value for value in values]
    if what == "commit" and len(shown) == 1:
        return f"commit {shown[0]}"
    return f"{len(shown)} {what}{'s' if len(shown) != 1 else ''}" + (
        f" ({', '.join(shown)})" if what == "commit" else ""
    )


def _and(names: Iterable[str]) -> str:
    found = [f"“{name}”" if ", " in name else name for name in names]
    return found[0] if len(found) == 1 else ", ".join(found[:-1]) + f" and {found[-1]}" if found else ""


def _range(values: Sequence[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}" if values else OPEN
