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
    drawing,
    economics,
    evidence,
    exports,
    footnotes,
    frame,
    intervals,
    main_tables,
    page,
    plots,
    published,
    receipts,
    render,
    sensitivity,
    setup_text,
    sources,
    stale,
    stat_figures,
    stat_tables,
    style,
    summary,
    tables,
    verdict_tables,
    verdicts,
    winners,
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
    shown = winners.standings(found.judged, found.pairs)
    over = tables.build(loaded, entries, rule=rule, standings=shown)
    if entries["dataset"].nunique() == 1:  # the main table says it all
        over = [table for table in over if table.key == "cells"]
    wide = [
        *main_tables.main_tables(loaded, entries, rule=rule, standings=shown),
        *(table for table in over if table.shared),
        *verdict_tables.verdict_tables(entries, found.judged, looked=loaded.looks is not None),
        *verdict_tables.overall_tables(entries, found),
        *worth.tables(labels, entries),
        *(table for table in over if not table.shared),
        *costs.table(loaded, entries, fronts),
        *stat_tables.rank_tables(entries, found.rankings),
        *stat_tables.component_tables(entries, found.components),
        *stat_tables.look_tables(loaded),
        *appendix.selection_tables(loaded, entries, patients),
    ]
    made = [part for table in wide for part in tables.panels(table)]
    per_class = [part for table in appendix.class_tables(classes, entries) for part in tables.panels(table)]
    state = footnotes.state(loaded)
    papers = published.beside(loaded, entries)
    with style.settings():
        drawn = drawing.draw(
            chain(
                plots.pictures(loaded, entries, patients, rule=rule, fronts=fronts, curves=curves),
                stat_figures.pictures(found, entries),
            )
        )
    figures = [(picture, png) for picture, png, _ in drawn]
    draft = setup_text.paragraphs(loaded, entries, rule=rule)
    items = setup_text.checklist(loaded)
    floats = render.latex(made, plan=plan_name)
    texts = {
        "table.md": render.markdown(made, title=loaded.title, state=state) + published.markdown(papers),
        "table.csv": render.csv(entries.merge(intervals.intervals(entries, designs), on=summary.ENTRY, how="left")),
        "numbers.csv": render.flat_csv(sources.numbers(made)),
        "verdicts.csv": render.flat_csv(found.judged),
        "overall.csv": render.flat_csv(found.overall),
        "pairs.csv": render.flat_csv(found.pairs),
        "ranks.csv": render.flat_csv(evidence.ranking_rows(found.rankings)),
        "components.csv": render.flat_csv(found.components),
        "economics.csv": render.flat_csv(labels.assign(ids=labels["ids"].map(" ".join))),
        **({"published.csv": published.csv(papers)} if papers else {}),
        "table.tex": render.inputs(list(floats)),
        "table_standalone.tex": render.standalone(loaded.title),
        **{f"tables/{key}.tex": text for key, text in floats.items()},
        "numbers.tex": render.macros(made),
        "setup.md": setup_text.markdown(draft, items, title=loaded.title),
        "setup.tex": setup_text.latex(draft),
        "scores.csv": render.flat_csv(cells.drop(columns="cell")),
        "classes.csv": render.flat_csv(classes),
        "index.html": page.render(
            loaded, made, per_class, figures, cells, state=state, report=report, draft=draft, items=items,
            published=published.html(papers),
        ),
    }  # fmt: skip
    contents = {name: text.encode() for name, text in texts.items()}
    contents |= {f"exports/{name}": content for name, content in exports.exports(designs).items()}
    contents |= {f"figures/{picture.name}.png": png for picture, png, _ in drawn}
    contents |= {f"figures/{picture.name}.pdf": pdf for picture, _, pdf in drawn}
    made_with = receipts.receipt(loaded, made, contents, rule=rule, selection=summary.HEADLINE)
    contents[receipts.FILE] = receipts.as_text(made_with).encode()
    _write(report, contents, forget=out is None)
    return report


def _write(report: Path, contents: dict[str, bytes], *, forget: bool) -> None:
    """Write every file.

    ``forget``: remove what an earlier report has made and this one has not: it would pass for one of these records.
    """
    for name, content in contents.items():
        (report / name).parent.mkdir(exist_ok=True)
        atomic_write(report / name, content)
    old = (*report.glob("figures/*.p[nd][gf]"), *report.glob("tables/*.tex"), *report.glob("exports/*"))
    for path in sorted(old) if forget else ():
        if path.relative_to(report).as_posix() not in contents:
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
