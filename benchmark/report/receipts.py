"""What the tables were made with: ``receipt.json``, and whether the files beside it still are what it says.

Per cell: digests of its record and scores, code, lock, hardware, data, split, labels, seed and the runs that trackers
know it by. Per table: which numbers of ``numbers.csv``, and each distinct answer of its cells. Nothing here names the
machine, the time or the commit that the report was built at, so that a rebuilt receipt is the same byte for byte;
``built_by`` is the digest of the code that aggregates and prints, and of the published numbers beside ours; ``stale``
are the cells that another version of their method's file computed than the one of then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import ROOT, record
from ..record import digest
from . import stale
from .frame import Results
from .sources import firsts
from .tables import Table

FILE = "receipt.json"

_BESIDE = ("shapes_data", "weights")
"""Of a cell's receipt, hashes of what it read beside its own data, where it did."""

_SHARED = (
    "commit",
    "diff",
    "tree",
    "lock",
    "versions",
    "hardware",
    "precision",
    "data",
    *_BESIDE,
    "split",
    "source",
    "annotation",
)
"""Of a cell's receipt, what the receipt of a report repeats."""

_ASKED = ("commit", "diff", "tree", "lock", "versions", "hardware", "precision")
"""Of these, what the receipt of a table gathers."""


def receipt(
    results: Results,
    tables: Sequence[Table],
    outputs: Mapping[str, bytes],
    *,
    rule: str,
    selection: str,
    examples: bool = True,
) -> dict[str, Any]:
    """The receipt of a report.

    Args:
        results: the records.
        tables: all tables in print, in the order of ``numbers.csv``.
        outputs: every other file of the report, by its path in it.
        rule, selection: what the numbers are under.
        examples: whether slices of test images are drawn where there are any.
    """
    first = firsts(tables)
    answers = {name: _answers(rec) for name, rec in results.records.items() if rec.status == "finished"}
    return {
        "plan": results.plan,
        "rule": rule,
        "selection": selection,
        "examples": examples,
        "built_by": built_by(),
        "cells": {name: _cell(results, name) for name in results.cells["id"] if name in results.records},
        "strays": list(results.strays),
        "stale": list(results.stale),
        "tables": {
            table.key: {"numbers": [first[table.key], first[table.key] + _size(table) - 1]}
            | _gathered(results, answers, {name for row in table.rows for n in row.numbers for name in n.ids})
            for table in tables
        },
        "files": {name: digest(content) for name, content in sorted(outputs.items())},
    }


def built_by() -> str:
    """Digest of what makes reports of records: this folder, published numbers included, and what failures count for."""
    here = Path(__file__).parent
    paths = [*here.rglob("*.py"), *here.rglob("*.yaml"), *here.glob("page.*"), here.parent / "metrics" / "policy.py"]
    parts = (f"{path.relative_to(ROOT).as_posix()}|{digest(path.read_bytes())}" for path in sorted(paths))
    return digest("\n".join(parts).encode())


def with_examples(report: Path) -> bool:
    """Whether slices of test images belong to the report that lies there; to a first one they do."""
    try:
        return bool(json.loads((report / FILE).read_text()).get("examples", True))
    except (FileNotFoundError, json.JSONDecodeError):
        return True


def finished(report: Path) -> int:
    """Of how many finished cells the report is that lies there; 0 where none does, or nobody can tell."""
    try:
        known = json.loads((report / FILE).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return 0
    return sum(cell.get("status") == "finished" for cell in known.get("cells", {}).values())


def outdated(plan_folder: Path, report: Path) -> list[str]:
    """What has changed since a report was built, one sentence each; none: it is what its records and this code give.

    Args:
        plan_folder: where the records lie.
        report: the report's folder.
    """
    try:
        known = json.loads((report / FILE).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return [f"{report} has no readable {FILE}: it was built by an earlier version, or not at all"]
    found = []
    if known["built_by"] != built_by():
        found.append("the code that makes tables of records has changed")
    there = {folder.name: rec for folder, rec in record.read_all(plan_folder)}
    listed = set(known["cells"]) | set(known["strays"])
    found += [f"{name}: a new record" for name in sorted(set(there) - listed)]
    reported = {name: there[name] for name in known["cells"] if name in there}
    if "stale" in known:  # else of a version that did not ask
        moved = stale.among(reported).symmetric_difference(reported.keys() & set(known["stale"]))
        methods = sorted({str(reported[name].cell["method"]) for name in moved})
        found += [f"the file of {method} has changed: its cells are stale now, or no longer" for method in methods]
    for name, cell in known["cells"].items():
        for file, key in (("record.json", "record"), ("scores.csv", "scores")):
            if _digest(plan_folder / name / file) != cell[key]:
                found.append(f"{name}: {file} is no longer the one that was reported")
    for name, expected in known["files"].items():
        if _digest(report / name) != expected:
            found.append(f"{name} is no longer the file that was built")
    return found


def as_text(content: Mapping[str, Any]) -> str:
    """JSON with one line for each cell and each table: readable, and still small for ten thousand cells."""
    lines = []
    for key, value in content.items():
        if isinstance(value, dict) and value:
            inner = ",\n".join(f"  {json.dumps(name)}: {json.dumps(v, sort_keys=True)}" for name, v in value.items())
            lines.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _cell(results: Results, name: str) -> dict[str, Any]:
    rec, folder = results.records[name], results.folders[name]
    shown = {key: rec.receipt[key] for key in _SHARED if key in rec.receipt}
    if isinstance(shown.get("annotation"), dict):
        shown["annotation"] = {key: shown["annotation"].get(key) for key in ("kind", "recipe")}
    return {
        "record": _digest(folder / "record.json"),
        "scores": results.digests.get(name) or _digest(folder / "scores.csv"),
        "status": rec.status,
        "seed": rec.cell.get("seed"),
        "subset": digest("\n".join(rec.split.get("labelled_groups", ())).encode()),
        "made_under": rec.cell.get("versions"),
        "runs": _runs(folder),
        **shown,
    }


def _answers(rec: record.Record) -> dict[str, str]:
    """What a table's receipt asks of each of its cells, as JSON, so that distinct answers can be found quickly."""
    asked: dict[str, Any] = {key: rec.receipt.get(key) for key in _ASKED}
    beside = [f"{key} {rec.receipt[key]}" for key in _BESIDE if key in rec.receipt]
    asked["data"] = [str(rec.cell.get("dataset")), str(rec.receipt.get("data", "")), *beside]
    asked |= {"seeds": int(rec.cell.get("seed", 0)), "made_under": rec.cell.get("versions")}
    return {key: json.dumps(value, sort_keys=True) for key, value in asked.items()}


def _gathered(results: Results, answers: Mapping[str, Mapping[str, str]], names: Iterable[str]) -> dict[str, Any]:
    """What the finished cells of a table were made with: each distinct answer once."""
    done = sorted(name for name in names if name in answers)
    content = "\n".join(f"{name} {results.digests.get(name, '')}" for name in done)
    distinct = {key: {answers[name][key] for name in done} for key in (*_ASKED, "data", "seeds", "made_under")}
    return {"cells": len(done), "content": digest(content.encode())} | {
        key: [json.loads(text) for text in sorted(found, key=lambda text: (len(text), text))]
        for key, found in distinct.items()
    }


def _runs(folder: Path) -> dict[str, str]:
    """Run ids by tracker, from ``tracked.json`` where the cell was tracked."""
    try:
        found = json.loads((folder / "tracked.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {name: str(entry.get("run_id", "")) for name, entry in sorted(found.items()) if isinstance(entry, dict)}


def _digest(path: Path) -> str:
    return digest(path.read_bytes()) if path.is_file() else ""


def _size(table: Table) -> int:
    return len(table.rows) * len(table.columns)
