"""Everything of a report, in order: read, aggregate, write tables, draw figures, write the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from datasets.files import atomic_write

from ..metrics.policy import DEFAULT_RULE
from . import (
    appendix,
    captions,
    caveats,
    comparisons,
    costs,
    drawing,
    economics,
    evidence,
    exports,
    footnotes,
    frame,
    intervals,
    main_tables,
    naming,
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
    examples: bool | None = None,
    called: str = "",
    say: Callable[[str], object] = lambda line: None,
) -> Path:
    """See `benchmark.report.build`."""
    folder = Path(results) / plan_name
    plan, note = (plan, "") if plan is not None else _plan_of(plan_name)
    loaded = frame.load(folder, plan)
    if loaded.cells.empty:
        raise frame.ReportError(
            f"there is nothing to report of {plan_name!r}: no records below {folder}, and "
            f"{note or 'no cell in the plan'}. Run it first: python -m benchmark run {called or plan_name}"
        )
    loaded = replace(loaded, called=called or plan_name)
    stale.refuse(loaded, folder, leave_out=leave_out_stale)
    report = folder / "report" if out is None else Path(out)
    stale.keep(loaded, report)
    loaded = replace(loaded, stale=stale.cells(loaded))
    for sentence in stale.sentences(loaded):
        say(sentence)
    examples = receipts.with_examples(folder / "report") if examples is None else examples
    study = _study(loaded, rule)
    drawable = chain(
        plots.pictures(
            study.results,
            study.entries,
            study.patients,
            rule=rule,
            fronts=study.fronts,
            curves=study.curves,
            examples=examples,
        ),
        stat_figures.pictures(study.found, study.entries),
    )
    pictures = captions.told(drawable, study.results, study.entries, study.patients, rule=rule)
    with style.settings(), drawing.drawing(pictures) as drawn:
        made = _noted(study, [part for table in _tables(study) for part in tables.panels(table)])
        by_class = appendix.class_tables(study.results, study.classes, study.entries)
        per_class = _noted(study, [part for table in by_class for part in tables.panels(table)])
        contents = _files(study, made, per_class)
        contents["index.html"] = _page(study, made, per_class, drawn(), report, examples=examples).encode()
        for picture, png, pdf in drawn():
            text, name = captions.latex(picture, png, plan=study.results.plan).encode(), f"figures/{picture.name}"
            contents |= {f"{name}.png": png, f"{name}.pdf": pdf, f"{name}.tex": text}
    printed = [*made, *per_class]
    made_with = receipts.receipt(
        study.results, printed, contents, rule=rule, selection=summary.HEADLINE, examples=examples
    )
    contents[receipts.FILE] = receipts.as_text(made_with).encode()
    report.mkdir(parents=True, exist_ok=True)
    _write(report, contents, forget=out is None)
    return report


@dataclass(frozen=True)
class _Study:
    """The records and all numbers that follow from them."""

    results: frame.Results
    rule: str
    patients: pd.DataFrame
    entries: pd.DataFrame
    cells: pd.DataFrame
    classes: pd.DataFrame
    designs: dict[verdicts.Key, verdicts.Design]
    found: evidence.Evidence
    fronts: dict[verdicts.Key, tuple[bool, float]]
    curves: list[economics.Curve]
    labels: pd.DataFrame
    state: str
    draft: list[str]
    items: list[setup_text.Item]
    papers: tuple[published.Comparison, ...]


def _study(loaded: frame.Results, rule: str) -> _Study:
    said = (*caveats.caveats(loaded), *caveats.mixed_code(loaded), *stale.sentences(loaded))
    loaded = replace(loaded, notes=(*loaded.notes, *said))
    by_class = summary.class_values(loaded, rule)
    patients = summary.patient_values(by_class)
    entries = summary.entries(loaded, patients)
    designs = verdicts.designs(loaded, patients, rule)
    found = evidence.gather(loaded, designs)
    curves = economics.curves(loaded, entries, designs)
    notes = (*loaded.notes, *sensitivity.flips(loaded, entries, rule=rule), *worth.cost_note(curves))
    loaded = replace(loaded, notes=notes)
    return _Study(
        results=loaded,
        rule=rule,
        patients=patients,
        entries=entries,
        cells=summary.cell_values(loaded, patients),
        classes=summary.class_entries(loaded, by_class),
        designs=designs,
        found=found,
        fronts=costs.on_front(loaded, entries, found.columns),
        curves=curves,
        labels=worth.quantities(entries, curves),
        state=footnotes.state(loaded),
        draft=list(map(naming.spoken(loaded), setup_text.paragraphs(loaded, entries, rule=rule))),
        items=setup_text.checklist(loaded),
        papers=published.beside(loaded, entries, rule=rule),
    )


def _tables(study: _Study) -> list[tables.Table]:
    """Every table in print, in its order."""
    loaded, entries, found = study.results, study.entries, study.found
    shown = winners.standings(found.judged, found.pairs, entries)
    over = tables.build(loaded, entries, rule=study.rule, standings=shown)
    if entries["dataset"].nunique() == 1:  # the main table says it all
        over = [table for table in over if table.key == "cells"]
    return [
        *main_tables.main_tables(loaded, entries, rule=study.rule, standings=shown),
        *(table for table in over if table.leads),
        *verdict_tables.verdict_tables(entries, found.judged, looked=loaded.looks is not None),
        *verdict_tables.overall_tables(entries, found),
        *_worth(study),
        *(table for table in over if not table.leads),
        *costs.table(loaded, entries, study.fronts),
        *stat_tables.rank_tables(entries, found.rankings, found.columns),
        *stat_tables.component_tables(entries, found.components),
        *stat_tables.look_tables(loaded),
        *appendix.selection_tables(loaded, entries, study.patients),
    ]


def _worth(study: _Study) -> list[tables.Table]:
    """What labels are worth; of whole curves those of datasets where a curve has two points or more."""
    curved = set(study.labels.loc[study.labels["quantity"] == worth.AREA, "dataset"])
    made = []
    for table in worth.tables(study.labels, study.entries):
        if table.key == "economics":
            table = tables.only(table, curved)
        made += [tables.typeset(table)] if table.columns else []
    return made


def _noted(study: _Study, made: list[tables.Table]) -> list[tables.Table]:
    """The tables in people's words, and what belongs below each of their datasets, or below all where they average."""
    called, every = naming.spoken(study.results), frozenset(study.entries["dataset"])
    below = cache(partial(footnotes.everywhere, study.results))
    named = [frozenset(column.dataset for column in table.columns) for table in made]
    shared = [(*table.shared, *below(own if own <= every else every)) for table, own in zip(made, named, strict=True)]
    return [tables.in_words(replace(table, shared=n), called) for table, n in zip(made, shared, strict=True)]


def _files(study: _Study, made: list[tables.Table], per_class: list[tables.Table]) -> dict[str, bytes]:
    """Everything but the page, the figures and the receipt."""
    loaded, entries, found = study.results, study.entries, study.found
    means = entries.merge(intervals.intervals(entries, study.designs), on=summary.ENTRY, how="left")
    first = sources.firsts([*made, *per_class])
    papers = _noted(study, published.tables(study.papers))
    floats = render.latex([*made, *per_class, *papers], plan=loaded.plan, first=first)
    texts = {
        "table.md": render.markdown(made, title=loaded.title, state=study.state) + published.markdown(study.papers),
        "table.csv": render.csv(means),
        "numbers.csv": render.flat_csv(sources.numbers([*made, *per_class])),
        "verdicts.csv": render.flat_csv(found.judged),
        "overall.csv": render.flat_csv(found.overall),
        "pairs.csv": render.flat_csv(found.pairs),
        "ranks.csv": render.flat_csv(evidence.ranking_rows(found.rankings)),
        "components.csv": render.flat_csv(found.components),
        "economics.csv": render.flat_csv(study.labels.assign(ids=study.labels["ids"].map(" ".join))),
        **({"published.csv": published.csv(study.papers)} if study.papers else {}),
        "table.tex": render.inputs([table.key for table in made]),
        "table_standalone.tex": render.standalone(loaded.title),
        **{f"tables/{key}.tex": text for key, text in floats.items()},
        **{
            f"tables/{table.key}.md": render.markdown([table], title=loaded.title, state=study.state, first=first)
            for table in per_class
        },
        "numbers.tex": render.macros([*made, *per_class], plan=loaded.plan),
        "setup.md": setup_text.markdown(study.draft, study.items, title=loaded.title),
        "setup.tex": setup_text.latex(study.draft),
        "scores.csv": render.flat_csv(study.cells.drop(columns="cell")),
        "classes.csv": render.flat_csv(study.classes),
    }
    files = {name: text.encode() for name, text in texts.items()}
    return files | {f"exports/{name}": content for name, content in exports.exports(study.designs).items()}


def _page(
    study: _Study,
    made: list[tables.Table],
    per_class: list[tables.Table],
    drawn: list[drawing.Drawn],
    report: Path,
    *,
    examples: bool,
) -> str:
    return page.render(
        study.results,
        made,
        per_class,
        [(picture, png) for picture, png, _ in drawn],
        study.cells,
        state=study.state,
        report=report,
        draft=study.draft,
        items=study.items,
        published=published.html(study.papers),
        figures_note="" if examples else comparisons.LEFT_OUT.format(plan=study.results.called),
    )


def _write(report: Path, contents: dict[str, bytes], *, forget: bool) -> None:
    """Write every file.

    ``forget``: remove what an earlier report has made and this one has not: it would pass for one of these records.
    """
    for name, content in contents.items():
        (report / name).parent.mkdir(exist_ok=True)
        atomic_write(report / name, content)
    old = (
        *report.glob("figures/*.p[nd][gf]"),
        *report.glob("figures/*.tex"),
        *report.glob("tables/*.tex"),
        *report.glob("tables/*.md"),
        *report.glob("exports/*"),
    )
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
