"""``run --until-decided``: more seeds, where the verdict is open, and no more false verdicts for it.

The numbers of seeds at which anybody looks are declared before the first look (`looks`), the error rate is spread over
them (`report.sequential`), and seeds are added to a comparison's two sides only while its verdict is "not separable".
Cells that are added have the ids that the plan would give them with more seeds: nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import looks as looks_file
from .config import ConfigError
from .execute.local import Summary
from .looks import Looks
from .plan import Cell, Plan
from .record import read
from .report import frame, summary, verdicts
from .report.sequential import levels, spent

Run = Callable[[Sequence[Cell]], Summary]
"""Runs what is left of some cells."""


@dataclass(frozen=True)
class Standing:
    """Where the comparisons of a plan are at a look, one sentence each: decided, open, and not looked at."""

    decided: tuple[str, ...]
    open: tuple[str, ...]
    waiting: tuple[str, ...]
    wanted: frozenset[str]
    """Ids of the cells on both sides of the open comparisons."""


def run(plan: Plan, folder: Path, declared: Looks, run_cells: Run, say: Callable[[str], None]) -> Summary:
    """Run the plan's cells, look, add seeds where verdicts are open, and so on to the last look.

    A run that was interrupted goes on where it stood; nobody looks before every cell of a look has ended. Where one
    that had failed has finished since, its look is taken for the comparisons that could not be looked at without it.

    Args:
        plan: the plan.
        folder: its results folder.
        declared: `looks.declare`.
        run_cells: runs what is left of some cells.
        say: where to print a line.

    Raises:
        ConfigError: other looks were declared when this plan was first looked at.
    """
    looks = agreed(folder, declared)
    say(_promise(looks))
    total = Summary()
    for look in range(len(looks.counts)):
        cells = _cells(plan, looks, look)
        total = _sum(total, run_cells(cells))
        left = sum(not (folder / cell.id / "record.json").exists() for cell in cells)
        if left:
            say(f"look {look + 1} has to wait for {left} cells that run elsewhere; then repeat this command")
            break
        unfinished = [cell.id for cell in cells if not _finished(folder / cell.id)]
        if look >= len(looks.history) or set(looks.history[look].get("unfinished", ())) - set(unfinished):
            looks = _taken(plan, folder, looks, look, unfinished, say)
            looks_file.write(folder, looks)
        if not looks.history[look]["added"]:
            break
    return total


def agreed(folder: Path, declared: Looks) -> Looks:
    """What was declared before the first look; written now if this is before it.

    Raises:
        ConfigError: it is not what is declared now.
    """
    known = looks_file.read(folder)
    if known is None:
        looks_file.write(folder, declared)
        return declared
    if known.declared != declared.declared and known.history:
        raise ConfigError(
            f"{folder / looks_file.FILE}: looks at {known.counts} seeds were declared, and results have been looked at "
            f"since; {declared.counts} now would not keep the error rate. Restore claims and seeds of the plan, or run "
            "it under another name"
        )
    if known.declared != declared.declared:
        looks_file.write(folder, declared)
        return declared
    return known


def standing(plan: Plan, folder: Path, look: int, settled: Collection[str] = ()) -> Standing:
    """The verdicts on Dice, as the report will give them, of all that has reached a look, less ``settled`` ones."""
    results = frame.load(folder, plan)
    by_class = summary.class_values(results, metrics=("dice", "hd95"), selection=summary.HEADLINE)
    designs = verdicts.designs(results, summary.patient_values(by_class))
    judged = verdicts.judge(results, designs)
    ids = {key: tuple(mine) for key, mine in results.cells.groupby(summary.ENTRY)["id"]}
    decided, still_open, waiting = [], [], []
    wanted: set[str] = set()
    for row in judged[judged["endpoint"] == verdicts.ENDPOINTS[0].name].itertuples():
        name = f"{row.label} against {row.reference}, {row.dataset} {row.amount}"
        if name in settled:
            continue
        if row.verdict not in ("", "not separable"):
            decided.append(f"{name}: {row.verdict}")
        elif row.verdict and row.look == look + 1:
            still_open.append(name)
            other = "lower" if row.against == verdicts.LOWER else "method"
            for role, label in ((row.role, row.label), (other, row.reference)):
                wanted.update(ids[role, label, row.dataset, row.amount])
        else:
            waiting.append(name)
    return Standing(tuple(decided), tuple(still_open), tuple(waiting), frozenset(wanted))


def _cells(plan: Plan, looks: Looks, look: int) -> list[Cell]:
    """The plan's cells and those added for the looks up to this one."""
    added = set(looks.added)
    return [*plan.cells(), *(cell for cell in looks_file.further(plan, looks, look) if cell.id in added)]


def _wanted(plan: Plan, looks: Looks, look: int, found: Standing) -> list[Cell]:
    """The cells that a look needs beyond those that there are."""
    there = _cells(plan, looks, look)
    known = {cell.id for cell in there}
    sides = {replace(cell, seed=0).id for cell in there if cell.id in found.wanted}
    further = looks_file.further(plan, looks, look)
    return [cell for cell in further if cell.id not in known and replace(cell, seed=0).id in sides]


def _finished(folder: Path) -> bool:
    done = read(folder)
    return done is not None and done.status == "finished"


def _taken(
    plan: Plan, folder: Path, looks: Looks, look: int, unfinished: Sequence[str], say: Callable[[str], None]
) -> Looks:
    """The looks once one is taken, or taken again: then comparisons that were decided or open keep what was found.

    A second test of those would be one look more than was declared.
    """
    before: dict[str, Any] = looks.history[look] if look < len(looks.history) else {}
    settled = {*before.get("open", ()), *(text.rpartition(": ")[0] for text in before.get("decided", ()))}
    found = standing(plan, folder, look, settled)
    again = ", again for the comparisons that lacked cells" if before else ""
    say(f"look {look + 1} at {looks.counts[look]} seeds{again}: {_told(found)}")
    last = look + 1 == len(looks.counts)
    added = () if last else tuple(cell.id for cell in _wanted(plan, looks, look + 1, found))
    told = _noted(looks, look, found, added) | {"unfinished": list(unfinished)}
    for key in ("decided", "open", "added"):
        told[key] = [*before.get(key, ()), *told[key]]
    history = (*looks.history[:look], told, *looks.history[look + 1 :])
    return replace(looks, added=(*looks.added, *added), history=history)


def _noted(looks: Looks, look: int, found: Standing, added: tuple[str, ...]) -> dict[str, Any]:
    return {
        "seeds": looks.counts[look],
        "level": levels(looks.alpha, looks.counts, looks.spending)[look],
        "spent": spent(looks.alpha, looks.counts[look] / looks.counts[-1], looks.spending),
        "decided": list(found.decided),
        "open": list(found.open),
        "waiting": list(found.waiting),
        "added": list(added),
    }


def _promise(looks: Looks) -> str:
    each = levels(looks.alpha, looks.counts, looks.spending)
    parts = []
    for count, level in zip(looks.counts, each, strict=True):
        share = spent(looks.alpha, count / looks.counts[-1], looks.spending)
        parts.append(f"{count} seeds (p < {level:.2g}, {100 * share:.2g} % spent)")
    return (
        f"until decided: looks at {', '.join(parts)}; an error rate of {100 * looks.alpha:g} % over all looks and, by "
        f"Holm, all comparisons of an endpoint; at most {looks.counts[-1]} seeds"
    )


def _told(found: Standing) -> str:
    parts = [f"{len(found.decided)} decided", f"{len(found.open)} open"]
    return ", ".join(parts + ([f"{len(found.waiting)} without enough seeds"] if found.waiting else []))


def _sum(first: Summary, second: Summary) -> Summary:
    return Summary(
        first.finished + second.finished,
        first.failed + second.failed,
        first.skipped + second.skipped,
        first.reasons | second.reasons,
    )
