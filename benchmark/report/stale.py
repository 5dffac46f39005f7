"""Tables that nobody could stand behind are not built: of other versions, changed files, or two methods in one.

Nor is a table of nothing, where one of something lies. Of methods whose file has changed since, tables say so.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from .. import record
from .caveats import who
from .frame import ReportError, Results
from .summary import ENTRY
from .wording import counted

PLACE = [*ENTRY, "seed", "fold"]

_MADE_OF = {
    "data": ("files", "dataset"),
    "shapes_data": ("files that lend shapes", "dataset", "lender"),
    "weights": ("pre-trained weights", "dataset", "encoder"),
    "split": ("splits", "dataset", "amount", "annotation", "role", "seed", "fold"),
}
"""What cells share that compare, as receipts call it: what it is in words, and by which columns."""


def refuse(results: Results, plan_folder: Path, *, leave_out: bool = False) -> Results:
    """The results as they are, if their numbers belong together.

    Args:
        results: what `frame.load` found.
        plan_folder: where the records lie.
        leave_out: cells that were last computed under other versions may be missing from the tables.

    Raises:
        ReportError: the message says which cells, why, and what to do.
    """
    for check in (_versions(results), _mixed_methods(results), _mixed_data(results)):
        for sentence in check:
            raise ReportError(sentence)
    for sentence in () if leave_out else _outdated(results, plan_folder):
        raise ReportError(sentence)
    return results


def keep(results: Results, report: Path) -> None:
    """Leave a report of finished cells where no cell of the plan as it is now has finished.

    Raises:
        ReportError: it would be overwritten by one without any number.
    """
    # it needs this module
    from .receipts import finished

    lost = 0 if (results.cells["status"] == "finished").any() else finished(report)
    if lost:
        raise ReportError(
            f"no cell of plan {results.plan} as it is now has finished, and {report} holds a report of "
            f"{counted(lost, 'finished cell')}, which would be lost: nothing was written. Run the plan first "
            f"({_run(results)}), or choose another folder of results (--results)."
        )


def cells(results: Results) -> tuple[str, ...]:
    """The finished cells that another version of their method's file computed than the present one, as planned."""
    found = among(results.records)
    return tuple(name for name in results.cells["id"] if name in found)


def among(records: Mapping[str, record.Record]) -> set[str]:
    """The stale ones of some records, by the same judgement as a run's; none of a method that is no longer there."""
    # they import every method, and with them torch
    import methods

    from .. import receipt, state

    done = {name: rec for name, rec in records.items() if rec.status == "finished"}
    there = {rec.cell["method"] for rec in done.values()}.intersection(methods.families())
    now = {method: receipt.source(method) for method in there}
    known = {name: rec for name, rec in done.items() if rec.cell["method"] in now}
    return {name for name, rec in known.items() if state.other_file(rec, now[rec.cell["method"]])}


def sentences(results: Results, among: Container[str] | None = None) -> tuple[str, ...]:
    """One sentence per dataset (``among`` these) with stale cells: of which rows, and what computes them again."""
    rows = results.cells.assign(stale=results.cells["id"].isin(results.stale))
    rows = rows[rows["status"] == "finished"]
    found = []
    for dataset, of in rows.groupby("dataset", sort=False):
        entries = of.groupby(ENTRY, sort=False)["stale"].any().reset_index()
        if of["stale"].any() and (among is None or dataset in among):
            count = int(of["stale"].sum())
            were, their, those, them = ("were", "their", "those", "them") if count > 1 else ("was", "its", "that", "it")
            found.append(
                f"{dataset}: {count} of {len(of)} finished cells {were} computed by another version of {their} "
                f"method's file than the present one, {those} of {who(entries[entries['stale']], entries)}; "
                f"{_run(results)} --redo-stale computes {them} again."
            )
    return tuple(found)


def current_versions() -> dict[str, str]:
    """Protocol and metrics of this checkout."""
    # imports every method, and with them torch
    from ..metrics import METRICS_VERSION
    from ..plan import PROTOCOL_VERSION

    return {"protocol": PROTOCOL_VERSION, "metrics": METRICS_VERSION}


def _versions(results: Results) -> Iterator[str]:
    """Records without a plan are taken as they lie there: then their versions may be any."""
    ours = current_versions()
    odd = {
        name: found
        for name, rec in results.records.items()
        if any((found := rec.cell.get("versions", {})).get(key) != value for key, value in ours.items())
    }
    if odd:
        commits = sorted({str(results.records[each].receipt.get("commit", "unknown"))[:12] for each in odd})
        yield (
            f"{_cells(odd)} made under {_words(min(odd.items())[1])}, this checkout has {_words(ours)}: such numbers "
            f"share no table. Run the plan again ({_run(results)}), or build the report with "
            f"the checkout that made them (commit {', '.join(commits)})."
        )


def _mixed_methods(results: Results) -> Iterator[str]:
    """A mean over seeds of two versions of a method is a mean over two methods."""
    cells = results.cells.assign(source=[_receipt(results, name, "source") for name in results.cells["id"]])
    cells = cells[(cells["status"] == "finished") & (cells["source"] != "")]
    for _, of in cells.groupby(ENTRY, sort=False):
        if of["source"].nunique() > 1:
            first, other = (of[of["source"] == source].iloc[0] for source in of["source"].unique()[:2])
            yield (
                f"seeds of {first['label']} on {first['dataset']} at {first['amount']} were made with different "
                f"versions of its file: {first['id']} with {first['source']}, {other['id']} with {other['source']}. A "
                f"mean over both means nothing: {_run(results)} --redo-stale computes the older ones again."
            )


def _mixed_data(results: Results) -> Iterator[str]:
    """Methods are compared on the same files, of shapes and weights, too, and the same patients."""
    cells = results.cells.assign(
        **{what: [_receipt(results, name, what) for name in results.cells["id"]] for what in _MADE_OF},
        lender=[_setting(results, name, "shapes") for name in results.cells["id"]],
        encoder=[_setting(results, name, "training", "network") for name in results.cells["id"]],
    )
    cells = cells[cells["status"] == "finished"]
    for what, (words, *keys) in _MADE_OF.items():
        # the upper bound has a split of its own, methods and lower bounds share theirs, and where some patients lack
        # scribbles, others are drawn
        known = cells[cells[what] != ""].assign(role=cells["role"].where(cells["role"] == "upper", "method"))
        for _, of in known.groupby(keys, sort=False):
            if of[what].nunique() > 1:
                first, other = (of[of[what] == value].iloc[0] for value in of[what].unique()[:2])
                yield (
                    f"cells of {first['dataset']} were made with different {words}: "
                    f"{first['id']} with {first[what]}, {other['id']} with {other[what]}. They do not compare: "
                    f"python -m benchmark plan {results.called or results.plan} names the stale ones, {_run(results)} "
                    "--redo-stale computes them again."
                )


def _outdated(results: Results, plan_folder: Path) -> Iterator[str]:
    """Cells that are missing now and were there under other versions: the table would be yesterday's, with gaps."""
    missing = results.cells[results.cells["status"] == "missing"]
    if missing.empty or not results.strays:
        return
    places = set(pd.MultiIndex.from_frame(missing[PLACE].astype(str)))
    ours, found = current_versions(), {}
    for name in results.strays:
        rec = record.read(plan_folder / name)
        place = tuple(str(rec.cell.get(key)) for key in PLACE) if rec else ()
        if rec is not None and place in places and any(rec.cell["versions"].get(k) != v for k, v in ours.items()):
            found[name] = rec.cell["versions"]
    if found:
        yield (
            f"{_cells(found)} made under {_words(min(found.items())[1])}, this checkout has {_words(ours)}, and has "
            f"not computed them again: the tables would have gaps. Run the plan ({_run(results)}), or report what "
            "there is with --leave-out-stale."
        )


def _receipt(results: Results, name: str, key: str) -> str:
    rec = results.records.get(name)
    return str(rec.receipt.get(key, "")) if rec is not None else ""


def _setting(results: Results, name: str, *keys: str) -> str:
    found: Any = results.records[name].cell if name in results.records else {}
    for key in keys:
        found = found.get(key, {})
    return str(found or "")


def _run(results: Results) -> str:
    return f"python -m benchmark run {results.called or results.plan}"


def _cells(found: dict) -> str:
    names = sorted(found)
    shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    return f"{len(names)} cell{'s' if len(names) > 1 else ''} ({shown}) {'were' if len(names) > 1 else 'was'}"


def _words(versions: dict) -> str:
    return ", ".join(f"{name} {versions.get(name, 'unknown')}" for name in ("protocol", "metrics"))
