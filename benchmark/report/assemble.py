"""Everything of a report, in order: read, aggregate, write tables, draw figures, write the page."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ..metrics.policy import DEFAULT_RULE
from ..record import atomic_write
from . import (
    appendix,
    caveats,
    costs,
    economics,
    evidence,
    frame,
    intervals,
    page,
    plots,
    published,
    render,
    sensitivity,
    stale,
    stat_figures,
    stat_tables,
    style,
    summary,
    tables,
    verdict_tables,
    verdicts,
    worth,
)

if TYPE_CHECKING:
    from ..plan import Plan


def assemble(
    plan_name: str,
    results: Path,
    *,
    rule: str = DEFAULT_RULE,
    out: Path | None = None,
    plan: Plan | None = None,
    leave_out_stale: bool = False,
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
    stale.refuse(loaded, folder, leave_out=leave_out_stale)
    report = folder / "report" if out is None else Path(out)
    report.mkdir(parents=True, exist_ok=True)
    loaded = replace(loaded, notes=(*loaded.notes, *caveats.caveats(loaded)))
    by_class = summary.class_values(loaded, rule)
    patients = summary.patient_values(by_class)
    entries = summary.entries(loaded, patients)
    cells = summary.cell_values(loaded, patients)
    classes = summary.class_entries(loaded, by_class)
    designs = verdicts.designs(loaded, patients)
    found = evidence.gather(loaded, designs)
    fronts = costs.on_front(entries, found.columns)
    curves = economics.curves(loaded, entries, designs)
    labels = worth.quantities(entries, curves)
    notes = (*loaded.notes, *sensitivity.flips(loaded, entries, rule=rule), *worth.cost_note(curves))
    loaded = replace(loaded, notes=notes)
    built = tables.build(loaded, entries, rule=rule)
    wide = [
        *(table for table in built if table.shared),
        *verdict_tables.verdict_tables(entries, found.judged, looked=loaded.looks is not None),
        *verdict_tables.overall_tables(entries, found),
        *worth.tables(labels, entries),
        *(table for table in built if not table.shared),
        *costs.table(loaded, entries, fronts),
        *stat_tables.rank_tables(entries, found.rankings),
        *stat_tables.component_tables(entries, found.components),
        *stat_tables.look_tables(loaded),
        *appendix.selection_tables(loaded, entries, patients),
    ]
    made = [part for table in wide for part in tables.panels(table)]
    per_class = [part for table in appendix.class_tables(classes, entries) for part in tables.panels(table)]
    state = tables.state(loaded)
    papers = published.beside(loaded, entries)
    with style.settings():
        figures = [
            (replace(picture, figure=None), _write_figure(report / "figures", picture))
            for picture in chain(  # one at a time: each is large
                plots.pictures(loaded, entries, patients, rule=rule, fronts=fronts),
                stat_figures.pictures(found, entries),
            )
        ]
    if out is None:
        _forget_figures(report / "figures", {picture.name for picture, _ in figures})
    texts = {
        "table.md": render.markdown(made, title=loaded.title, state=state) + published.markdown(papers),
        "table.csv": render.csv(entries.merge(intervals.intervals(entries, designs), on=summary.ENTRY, how="left")),
        "verdicts.csv": render.flat_csv(found.judged),
        "overall.csv": render.flat_csv(found.overall),
        "pairs.csv": render.flat_csv(found.pairs),
        "ranks.csv": render.flat_csv(evidence.ranking_rows(found.rankings)),
        "components.csv": render.flat_csv(found.components),
        "economics.csv": render.flat_csv(labels.assign(ids=labels["ids"].map(" ".join))),
        **({"published.csv": published.csv(papers)} if papers else {}),
        "table.tex": render.latex(made, plan=plan_name),
        "table_standalone.tex": render.standalone(loaded.title),
        "scores.csv": render.flat_csv(cells.drop(columns="cell")),
        "classes.csv": render.flat_csv(classes),
        "index.html": page.render(
            loaded, made, per_class, figures, cells, state=state, report=report, published=published.html(papers)
        ),
    }
    for name, text in texts.items():
        atomic_write(report / name, text.encode())
    return report


def _write_figure(folder: Path, picture: plots.Picture) -> bytes:
    """Write a figure twice and return its PNG; the figure itself can be forgotten."""
    folder.mkdir(exist_ok=True)
    content = style.png(picture.figure)
    atomic_write(folder / f"{picture.name}.png", content)
    atomic_write(folder / f"{picture.name}.pdf", style.pdf(picture.figure))
    return content


def _forget_figures(folder: Path, names: set[str]) -> None:
    """Remove what an earlier report drew and this one did not: it would pass for a figure of these records."""
    for path in sorted(folder.glob("*.p[nd][gf]")):
        if path.stem not in names:
            path.unlink()


def _plan_of(name: str) -> tuple[Plan | None, str]:
    """The plan of a name, or None and why there is none: records can be reported without it."""
    # reading a plan imports every method in it, and with them torch
    from .. import plan_file
    from ..config import ConfigError

    try:
        return plan_file.load(name), ""
    except ConfigError as error:
        return None, str(error)
