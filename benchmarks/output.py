"""From rows to files: a JSON file per part with its receipt, and one Markdown table of all parts."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmark import ROOT, receipt
from datasets.files import atomic_write

from .harness import NO_TIME, Kept, Row, Run, cores

FULL, QUICK = ROOT / "results" / "reference" / "speed", ROOT / "results" / "speed_quick"
"""Where tables go; those of ``--quick`` mean nothing and are not kept."""

PARTS: dict[str, tuple[str, float]] = {
    "roofline": ("Steps against the ceilings of this machine", 60),
    "step": ("Training step, per method", 400),
    "pipeline": ("Input pipeline", 80),
    "inference": ("Inference", 130),
    "metrics": ("Metrics", 120),
    "runner": ("The runner's own time", 200),
    "throughput": ("Whole plans, and more workers", 500),
    "accuracy": ("Accuracy, fast against plain", 240),
}
"""Part -> title and budget in seconds, in the order in which they run; 29 minutes together."""

_PEERS = ("monai", "torchio", "medpy")
_QUIET = 0.5  # load per core, above which other work is likely to show in the numbers

Measure = Callable[[Run], Iterable[Row | Kept]]


def arguments_of(description: str) -> argparse.ArgumentParser:
    """What every script understands."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, default=os.environ.get("BENCH_DATA"), help="scans; default: BENCH_DATA")
    parser.add_argument("--out", type=Path, help="folder of the tables (default: results/reference/speed)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, only to see that everything works")
    parser.add_argument("--again", action="store_true", help="also what is done for this code")
    parser.add_argument("--repeats", type=int, help="rounds, if time allows (default: 3)")
    parser.add_argument("--threads", type=int, help="of a process that has the machine to itself (default: all cores)")
    parser.add_argument("--budget", type=float, help="seconds for this part")
    parser.add_argument("--scratch", type=Path, help="folder for phantoms and results (default: a temporary one)")
    return parser


def main(part: str, measure: Measure, parser: argparse.ArgumentParser | None = None) -> int:
    """Run one part from the command line: measure, print, write.

    A part that is done for this very code is left alone; of one that is not, a measure that asks for them gets the
    subjects that have their rows.
    """
    title, budget = PARTS[part]
    options = (parser or arguments_of(title)).parse_args()
    out = options.out = options.out or (QUICK if options.quick else FULL)
    found = _receipt() | {"asked": _digest(options), "quick": options.quick, "load_before": os.getloadavg()[0]}
    before = {} if options.again else _before(out / f"{part}.json", found)
    if before.get("receipt", {}).get("complete"):
        print(f"{part}: done for this code in {out}; --again repeats it")
        return 0
    if found["load_before"] > _QUIET * cores():
        print(f"{part}: load {found['load_before']:.1f} on {cores()} cores; other work will show in the numbers")
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    rows: list[Row | Kept] = []
    with tempfile.TemporaryDirectory(prefix="scant-speed-") as temporary:
        scratch = options.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        data = Path(options.data).expanduser().resolve() if options.data else None
        repeats = options.repeats or (1 if options.quick else 3)
        # one in quick runs: where other work takes a core, two threads wait for each other most of the time
        threads = options.threads or (1 if options.quick else cores())
        run = Run(scratch, began + (options.budget or budget), data, options.quick, repeats, threads, options)
        run = replace(run, kept=_kept(before))
        for row in measure(run):
            rows.append(replace(row, least=None, most=None) if run.quick and isinstance(row, Row) else row)
            print(_line(rows[-1].as_json()), flush=True)
            _write(out, part, rows, found | {"complete": False, "ended": False}, began)
    whole = all(row.as_json()["note"] != NO_TIME for row in rows)
    _write(out, part, rows, found | {"complete": whole, "ended": True}, began)
    if not whole:
        print(f"{part}: the time was too short for some rows; the same command goes on, --budget may differ")
    return 0


def _write(out: Path, part: str, rows: Sequence[Row | Kept], found: dict[str, Any], began: float) -> None:
    """Both files; also after each row, so that a part that is interrupted leaves what it has measured."""
    found = found | {"load_after": os.getloadavg()[0], "seconds": round(time.monotonic() - began, 1)}
    content = {"part": part, "title": PARTS[part][0], "receipt": found, "rows": [row.as_json() for row in rows]}
    atomic_write(out / f"{part}.json", (json.dumps(content, indent=1) + "\n").encode())
    atomic_write(out / "table.md", table(out).encode())


def table(out: Path) -> str:
    """All parts found in a folder, as Markdown."""
    parts = [json.loads((out / f"{part}.json").read_text()) for part in PARTS if (out / f"{part}.json").is_file()]
    lines = ["# Speed", "", "Made by `make speed`; docs/speed.md says what is measured and how.", ""]
    for part in parts:
        lines += [f"## {part['title']}", "", *_table(part["rows"]), "", _said(part["receipt"]), ""]
    return "\n".join(lines)


def _table(rows: list[Mapping[str, Any]]) -> list[str]:
    lines = ["| what | who | needs | ours is … times as fast | goal | |", "|---|---|---:|---:|---|---|"]
    before = ""
    for row in rows:
        subject = row["subject"] if row["subject"] != before else ""
        before = row["subject"]
        needs = f"{_range(row['value'])} {row['unit']}" if row["value"] else "–"
        goal = f"≥ {row['least_ratio']:.3g} ×" if row["least_ratio"] is not None else ""
        goal = f"< {row['most']:.3g} {row['unit']}" if row["most"] is not None else goal
        goal += {True: ", met", False: ", **not met**", None: ""}[row["met"]]
        times = _range(row["ratio"]) if row["ratio"] else ""
        lines.append(f"| {subject} | {row['contender']} | {needs} | {times} | {goal} | {row['note']} |")
    return lines


def _said(found: Mapping[str, Any]) -> str:
    """The receipt in one sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    machine = " and ".join(found["hardware"][key] for key in ("cpu", "gpu") if key in found["hardware"])
    cut = "" if found["complete"] else " **Interrupted.**" if not found.get("ended") else " **Some rows are missing.**"
    changed = f" with changes {found['diff']}" if found["dirty"] else ""
    quick = " **Tiny sizes: these numbers mean nothing.**" if found["quick"] else ""
    load = f"load {found['load_before']:.1f} before and {found['load_after']:.1f} after"
    where = f"commit {found['commit'][:10]}{changed}, {found['cores']} cores of {machine}"
    return f"{found['when']}, {where}, {load}, {found['seconds']:.0f} s. {versions}.{quick}{cut}"


def _line(found: Mapping[str, Any]) -> str:
    needs = f"{_range(found['value'])} {found['unit']}" if found["value"] else "–"
    times = f"  {_range(found['ratio'])} times" if found["ratio"] else ""
    goal = {True: "  goal met", False: "  GOAL NOT MET", None: ""}[found["met"]]
    note = f"  ({found['note']})" if found["note"] else ""
    return f"  {found['subject']}: {found['contender']} {needs}{times}{goal}{note}"


def _range(spread: Mapping[str, float]) -> str:
    low, high = f"{spread['low']:.3g}", f"{spread['high']:.3g}"
    return f"{spread['median']:.3g}" + (f" ({low}–{high})" if low != high else "")


def _digest(options: argparse.Namespace) -> str:
    """Of what was asked for, without the names of folders that hold no input, and without the time to do it in."""
    other = ("again", "out", "scratch", "budget")
    asked = {name: str(value) for name, value in vars(options).items() if name not in other}
    return hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=6).hexdigest()


def _before(path: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The output of the same code and the same arguments; empty if there is none."""
    try:
        found = json.loads(path.read_text())
        same = all(found["receipt"][key] == wanted[key] for key in ("tree", "benchmarks", "asked", "hardware"))
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return {}
    return found if same else {}


def _kept(before: Mapping[str, Any]) -> dict[str, list[Kept]]:
    """The rows of every subject that has all of its own; the last one of a run that was killed may not."""
    found: dict[str, list[Kept]] = {}
    for row in before.get("rows", ()):
        found.setdefault(row["subject"], []).append(Kept(row))
    if found and not before["receipt"]["ended"]:
        found.popitem()
    return {subject: rows for subject, rows in found.items() if all(row.content["note"] != NO_TIME for row in rows)}


def _receipt() -> dict[str, Any]:
    versions = dict(receipt.versions())
    for name in _PEERS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    when = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"versions": versions, "hardware": receipt.hardware(), "cores": cores(), "when": when}
    return receipt.code() | {"benchmarks": receipt.tree("benchmarks")} | about
