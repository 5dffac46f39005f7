"""What cells ran under that has nothing to do with their method: precision, shared code, hardware."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping

from .frame import Results

WORDS = {"precision": "precision", "tree": "version of the code", "hardware": "hardware"}
"""What may differ, as a sentence calls it."""

MACHINE = ("cpu", "cores", "machine", "gpu")
"""Of the hardware what every version recorded: two records of one machine must not differ by what was added later."""

SHORT = 6
"""Digits of the hash of the code that a sentence prints."""


def of_cells(results: Results) -> dict[str, dict[str, str]]:
    """By finished cell, the answer of its receipt to each of :data:`WORDS`; "" where there is none."""
    return {name: _answers(rec.receipt) for name, rec in results.records.items() if rec.status == "finished"}


def differing(found: Mapping[str, Mapping[str, str]], names: Iterable[str]) -> dict[str, list[str]]:
    """What is not the same for all of some cells, and the answers that there are, sorted."""
    known = [found[name] for name in names if name in found]
    answers = {what: sorted({answer[what] for answer in known}) for what in WORDS}
    return {what: several for what, several in answers.items() if len(several) > 1}


def between_rows(results: Results, among: Container[str] | None = None) -> tuple[str, ...]:
    """One sentence per dataset (``among`` these) whose rows differ in precision or code: who ran under which.

    Such a difference goes with the method: what it does to a number cannot be told from what the method does.
    """
    found = of_cells(results)
    cells = results.cells[results.cells["id"].isin(list(found))]
    said = []
    for dataset, of in cells.groupby("dataset", sort=False):
        parts = []
        for what in ("precision", "tree") if among is None or dataset in among else ():
            rows = {
                str(label): tuple(sorted({found[name][what] for name in ids}))
                for label, ids in of.groupby("label", sort=False)["id"]
            }
            if len(set(rows.values())) > 1:
                parts.append(_listed(what, rows))
        if parts:
            said.append(
                f"{dataset}: rows differ in more than the method, which no test corrects for. {' '.join(parts)}"
            )
    return tuple(said)


def _answers(receipt: Mapping[str, object]) -> dict[str, str]:
    hardware = receipt.get("hardware")
    machine = {key: hardware[key] for key in MACHINE if key in hardware} if isinstance(hardware, dict) else hardware
    return {
        "precision": str(receipt.get("precision") or ""),
        "tree": str(receipt.get("tree") or ""),
        "hardware": json.dumps(machine, sort_keys=True) if machine else "",
    }


def _listed(what: str, rows: Mapping[str, tuple[str, ...]]) -> str:
    """Such as ``Precision: bfloat16: bcp, bhpc; float32: all 16 others.``: the largest group is not spelled out."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for label, answers in rows.items():
        groups.setdefault(answers, []).append(f'"{label}"' if "," in label else label)
    ordered = sorted(groups.items(), key=lambda group: (len(group[1]), group[0]))
    texts = [f"{_name(what, answers)}: {', '.join(labels)}" for answers, labels in ordered[:-1]]
    last, most = ordered[-1]
    texts.append(f"{_name(what, last)}: " + (f"all {len(most)} others" if len(most) > 2 else ", ".join(most)))
    head = "Precision" if what == "precision" else f"Code (tree, {SHORT} digits)"
    return f"{head}: {'; '.join(texts)}."


def _name(what: str, answers: tuple[str, ...]) -> str:
    shown = [(answer[:SHORT] if what == "tree" else answer) or "not recorded" for answer in answers]
    return " and ".join(shown)
