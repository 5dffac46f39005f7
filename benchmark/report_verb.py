"""What ``python -m benchmark report`` does: build the report of a plan, or say whether it is still true."""

from __future__ import annotations

import typer
from rich.console import Console

from . import plan_file
from . import report as reports
from .config import ConfigError, nearest
from .metrics.policy import RULES
from .prepare import default_places
from .typed import typed


def report_plan(
    name: str,
    *,
    results: str | None,
    rule: str,
    leave_out_stale: bool,
    examples: bool | None,
    check: bool,
    console: Console,
) -> None:
    """Build the report and say which of its cells are stale; with ``check`` only compare it with the records.

    Raises:
        ConfigError: an unknown rule, or records that `benchmark.report.build` refuses.
        Exit: 1 if a checked report is no longer what the records give.
    """
    found, folder = plan_file.load(name), default_places(None, results).results
    if check:
        changes = reports.outdated(found.name, folder)
        for sentence in changes:
            console.print(sentence, soft_wrap=True)
        console.print(
            f"build it again: python -m benchmark report {typed(name, results)}"
            if changes
            else "the report is what its records give",
            soft_wrap=True,
        )
        raise typer.Exit(1 if changes else 0)
    # it needs pandas, which training must work without
    from .report.frame import ReportError

    if rule not in RULES:
        raise ConfigError(f"unknown rule {rule!r}{nearest(rule, RULES)}")
    try:
        built = reports.build(
            found.name, folder, rule=rule, plan=found, leave_out_stale=leave_out_stale, examples=examples,
            called=typed(name, results), say=lambda line: console.print(line, markup=False, soft_wrap=True),
        )  # fmt: skip
    except ReportError as error:
        raise ConfigError(str(error)) from error
    console.print(f"report: {built / 'index.html'}", soft_wrap=True)
