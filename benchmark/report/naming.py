"""What people call the datasets of a report and their groups, which plans and tables know by codes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import datasets

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


def groups(results: Results, among: Iterable[str]) -> str:
    """What the groups of some datasets are, such as ``patients`` or ``patients or images``."""
    return " or ".join(dict.fromkeys(_groups(results, name) for name in among)) or GROUPS


def tested(results: Results, among: Sequence[str]) -> str:
    """On how many groups scores of some datasets are, such as ``20 test patients``; "" without any score."""
    if results.scores.empty:
        return ""
    scored = results.cells.iloc[results.scores["cell"].unique()]
    one = scored.drop_duplicates(["dataset", "fold"])  # every cell of a fold has the same
    rows = results.scores[results.scores["cell"].isin(one.index)]
    counts = rows.groupby(one["dataset"].reindex(rows["cell"]).to_numpy())["group"].nunique()
    words = {name: _groups(results, name) for name in among if name in counts}
    words = {name: word.removesuffix("s") if counts[name] == 1 else word for name, word in words.items()}
    found = {name: f"{counts[name]} test {word}" for name, word in words.items()}
    if len(found) == 1:
        return next(iter(found.values()))
    return ", ".join(f"{text} of {name}" for name, text in found.items())


def _options(results: Results, dataset: str) -> dict:
    names = results.cells.loc[results.cells["dataset"] == dataset, "id"]
    return next(
        (dict(results.records[name].cell.get("options") or {}) for name in names if name in results.records), {}
    )


def _groups(results: Results, dataset: str) -> str:
    name = registered(dataset)
    if name not in datasets.names() or _options(results, dataset).get("group_pattern"):
        return GROUPS
    return WORDS.get(name, "patients")
