"""Everything of a report, in order: read, aggregate, write tables, draw figures, write the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..metrics.policy import DEFAULT_RULE
from ..record import atomic_write
from . import frame, render, summary, tables

if TYPE_CHECKING:
    from ..plan import Plan


def build(
    plan_name: str, results: Path, *, rule: str = DEFAULT_RULE, out: Path | None = None, plan: Plan | None = None
) -> Path:
    """See `benchmark.report.build`."""
    folder = Path(results) / plan_name
    plan, note = (plan, "") if plan is not None else _plan_of(plan_name)
    loaded = frame.load(folder, plan)
    if loaded.cells.empty:
        raise frame.ReportError(
            f"there is nothing to report of {plan_name!r}: no records below {folder}, and "
            f"{note or 'no cell in the plan'}. Run it first: python -m benchmark run {plan_name}"
        )
    report = folder / "report" if out is None else Path(out)
    report.mkdir(parents=True, exist_ok=True)
    by_class = summary.class_values(loaded, rule)
    patients = summary.patient_values(by_class)
    entries = summary.entries(loaded, patients)
    made = tables.build(loaded, entries, rule=rule)
    state = tables.state(loaded)
    texts = {
        "table.md": render.markdown(made, title=loaded.title, state=state),
        "table.csv": render.csv(entries),
        "table.tex": render.latex(made, plan=plan_name),
        "table_standalone.tex": render.standalone(loaded.title),
        "scores.csv": render.flat_csv(summary.cell_values(loaded, patients)),
        "classes.csv": render.flat_csv(summary.class_entries(loaded, by_class)),
    }
    for name, text in texts.items():
        atomic_write(report / name, text.encode())
    return report


def _plan_of(name: str) -> tuple[Plan | None, str]:
    """The plan of a name, or None and why there is none: records can be reported without it."""
    # reading a plan imports every method in it, and with them torch
    from .. import plan_file
    from ..config import ConfigError

    try:
        return plan_file.load(name), ""
    except ConfigError as error:
        return None, str(error)
