"""What people call the datasets of a report and their groups, which plans and tables know by codes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import datasets

from ..record import Record
from .frame import Results, registered

GROUPS = "groups"
"""What groups are where a plan finds them by a pattern, or nobody knows."""

NAMED_BY = {"csv_manifest": "folder", "image_folder": "folder", "msd": "task_folder", "nnunet": "folder"}
"""Datasets that one of their options tells the name of, since their card is of many."""

WORDS = {
    **dict.fromkeys(("art_net", "image_folder", "kvasir_instrument", "medsegbench", "robotool"), "images"),
    **dict.fromkeys(("msd", "nnunet"), "cases"),
    "csv_manifest": GROUPS,
    "endovis17": "videos",
}
"""What the groups of datasets are, where not patients."""

FOLDED = {"acdc": ("protocol", "folds")}
"""Datasets of several folds that have them only where an option has this value, its default; else one division."""

FILES_TELL = ("art_net", "csv_manifest", "image_folder", "nnunet", "robotool")
"""Datasets of which only the files tell how many folds there are, which older records do not know."""


def title(results: Results, dataset: str) -> str:
    """A dataset's name for titles, such as ``ACDC``: its card's up to bracket or comma; that of the plan without one.

    Args:
        results: the records.
        dataset: as tables call it; what tells it apart from others of its name stays, in brackets.
    """
    name = registered(dataset)
    if name not in datasets.names():
        return dataset
    called = re.split(r" \(|,", datasets.get(name).card.title)[0]
    if name in NAMED_BY:
        own = str(_options(results, dataset).get(NAMED_BY[name], ""))
        task = re.sub(r"^Task\d+_", "", own)
        called = f"{task} ({called})" if task != own else own or name
    return called + dataset.removeprefix(name)


def spoken(results: Results) -> Callable[[str], str]:
    """Puts the names of people into a text for the codes of datasets: ``bcp on msd 5%`` is ``bcp on Hippocampus 5%``.

    What stands in brackets behind a title is left out. Codes of which two would be called the same stay, and so do
    those that are part of a path, of another word or of code in backticks.
    """
    full = {code: title(results, code) for code in dict.fromkeys(map(str, results.cells["dataset"]))}
    brief = {code: re.sub(r" \([^()]*\)", "", name, count=1) for code, name in full.items()}
    several = {name for name, count in Counter(brief.values()).items() if count > 1}
    called = {code: code if name in several else name for code, name in brief.items()}
    longest = sorted(called, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w/`.-])(?:{'|'.join(map(re.escape, longest))})(?![\w/`]|[.-]\w)")
    return lambda text: pattern.sub(lambda match: called[match[0]], text)


def groups(results: Results, among: Iterable[str]) -> str:
    """What the groups of some datasets are, such as ``patients`` or ``patients or images``."""
    return " or ".join(dict.fromkeys(_groups(results, name) for name in among)) or GROUPS


def tested(results: Results, among: Sequence[str]) -> str:
    """On how many groups scores of some datasets are, such as ``20 test patients``; "" without any score.

    Of which folds is added where a dataset has several: ``20 test patients (fold 1 of 5)``.
    """
    if results.scores.empty:
        return ""
    scored = results.cells.iloc[results.scores["cell"].unique()]
    one = scored.drop_duplicates(["dataset", "fold"])  # every cell of a fold has the same
    rows = results.scores[results.scores["cell"].isin(one.index)]
    counts = rows.groupby(one["dataset"].reindex(rows["cell"]).to_numpy())["group"].nunique()
    words = {name: _groups(results, name) for name in among if name in counts}
    words = {name: word.removesuffix("s") if counts[name] == 1 else word for name, word in words.items()}
    folds = one.groupby("dataset")["fold"].agg(lambda each: sorted(set(each)))
    found = {name: f"{counts[name]} test {word}{_folds(results, name, folds[name])}" for name, word in words.items()}
    if len(found) == 1:
        return next(iter(found.values()))
    return ", ".join(f"{text} of {name}" for name, text in found.items())


def _folds(results: Results, dataset: str, tested: Sequence[int]) -> str:
    """Which folds were tested, as `` (fold 1 of 5)``; "" of a dataset with one division."""
    name = registered(dataset)
    count = max((record.split.get("folds", 0) for record in _records(results, dataset)), default=0)
    if not count and name in datasets.names() and name not in FILES_TELL:  # older records do not know
        count = datasets.get(name).folds
    option, value = FOLDED.get(name, ("", None))
    if count == 1 or _options(results, dataset).get(option, value) != value:
        return ""
    if len(tested) == count:
        return f" (all {count} folds)"
    listed = ", ".join(map(str, tested[:-1])) + f" and {tested[-1]}" if len(tested) > 1 else str(tested[0])
    return f" (fold{'s' * (len(tested) > 1)} {listed}{f' of {count}' if count else ''})"


def _options(results: Results, dataset: str) -> dict:
    return next((dict(record.cell.get("options") or {}) for record in _records(results, dataset)), {})


def _records(results: Results, dataset: str) -> Iterator[Record]:
    names = results.cells.loc[results.cells["dataset"] == dataset, "id"]
    return (results.records[name] for name in names if name in results.records)


def _groups(results: Results, dataset: str) -> str:
    name = registered(dataset)
    if name not in datasets.names() or _options(results, dataset).get("group_pattern"):
        return GROUPS
    return WORDS.get(name, "patients")
