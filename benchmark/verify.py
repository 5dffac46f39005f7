"""Run finished cells again, from their records, and say how far the numbers agree."""

from __future__ import annotations

import csv
import math
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .config import ConfigError
from .plan import Cell
from .prepare import Places
from .record import Record, digest, read
from .run import run_cell
from .state import CellState, survey


@dataclass(frozen=True)
class Agreement:
    """One cell that was run again.

    ``largest`` is the largest absolute difference of Dice over all rows, NaN if they cannot be compared; ``why`` says
    what differs.
    """

    title: str
    identical: bool
    largest: float
    why: str = ""


def verify(
    cells: Sequence[Cell],
    places: Places,
    *,
    count: int,
    seed: int = 0,
    called: str = "",
    say: Callable[[str], None] = print,
) -> list[Agreement]:
    """Run ``count`` finished cells again in a temporary folder, drawn at random, and compare ``scores.csv``.

    On the processor that made the records, with the same code and versions, every digit must be the same; elsewhere the
    difference says what another machine, or faster code, changes. A cell whose method's file, data or scores are no
    longer those of its record is told and not run: nothing would follow from how it differs. Advice calls the plan
    as the command line did (``called``), else by its name.

    Raises:
        ConfigError: no cell of the plan is finished.
    """
    finished = [c for c in cells if (r := read(places.folder(c))) is not None and r.status == "finished"]
    if not finished:
        raise ConfigError("no cell of this plan is finished; run it first")
    found = []
    for known in survey(random.Random(seed).sample(finished, min(count, len(finished))), places):
        why = _changed(known, places.folder(known.cell), called or known.cell.plan)
        agreement = Agreement(known.cell.title, False, math.nan, why) if why else _again(known, places)
        say(f"{known.cell.title}: {agreement.why or 'identical'}")
        found.append(agreement)
    return found


def _changed(known: CellState, folder: Path, plan: str) -> str:
    """Why a cell that is run again could not be compared with its record; empty if it can."""
    scores = folder / "scores.csv"
    if known.state == "stale":
        return f"not run again: {known.why}; python -m benchmark run {plan} --redo-stale makes a new record"
    recorded = known.record.receipt.get("scores") if known.record else None
    if scores.is_file() and recorded in (None, digest(scores.read_bytes())):
        return ""
    what = "is not the file that its record describes" if scores.is_file() else "is missing"
    return f"not run again: {scores} {what}; restore it, or delete the folder of this cell and run {plan} again"


def _again(known: CellState, places: Places) -> Agreement:
    cell = known.cell
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = replace(places, results=Path(folder))
        record = run_cell(cell, elsewhere)
        if record.status != "finished":
            agreement = Agreement(cell.title, False, math.nan, f"failed when it was run again: {record.reason}")
        else:
            agreement = compare(cell.title, places.folder(cell), elsewhere.folder(cell))
    why = agreement.why + ("" if agreement.identical else _made_otherwise(known.record, record))
    return replace(agreement, why=why)


def _made_otherwise(before: Record | None, after: Record) -> str:
    """What, by their receipts, the two runs did not have in common."""
    known = {"tree": "code", "versions": "versions", "hardware": "processor or GPU"}
    known |= {"precision": "precision"} if after.status == "finished" else {}  # a failed one may not have chosen any
    old, new = (record.receipt if record else {} for record in (before, after))
    if "hardware" in new and "flags" not in old.get("hardware", {}):  # an earlier version did not record them
        new = new | {"hardware": {key: value for key, value in new["hardware"].items() if key != "flags"}}
    other = [text for key, text in known.items() if old.get(key) != new.get(key)]
    return f"; the record was made with other {', '.join(other)}" if other else ""


def compare(title: str, before: Path, after: Path) -> Agreement:
    """Compare the scores of two runs of one cell, row by row; of selections that the first has scored."""
    if (before / "scores.csv").read_bytes() == (after / "scores.csv").read_bytes():
        return Agreement(title, True, 0.0)
    old, new = (_rows(folder / "scores.csv") for folder in (before, after))
    selections = {selection for selection, *_ in old}
    new = {key: row for key, row in new.items() if key[0] in selections}
    if old == new:
        return Agreement(title, True, 0.0)
    if old.keys() != new.keys():
        return Agreement(title, False, math.nan, "the two runs scored different cases or classes")
    columns = sorted({name for key in old for name in old[key] if old[key][name] != new[key].get(name)})
    pairs = [(float(old[key]["dice"]), float(new[key]["dice"])) for key in old]
    largest = max((abs(a - b) for a, b in pairs if not (math.isnan(a) or math.isnan(b))), default=0.0)
    said = f"differs in {', '.join(columns)}; Dice by at most {largest:.2g}"
    if gone := sum(math.isnan(a) != math.isnan(b) for a, b in pairs):
        said += f" where both have one, and {gone} rows are empty in both maps in one of the two only"
    return Agreement(title, False, math.nan if gone else largest, said)


def _rows(path: Path) -> dict[tuple[str, ...], dict[str, str]]:
    with path.open(newline="") as file:
        return {(row["selection"], row["case"], row["class"]): row for row in csv.DictReader(file)}
