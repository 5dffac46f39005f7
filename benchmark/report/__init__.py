"""The report of a plan: tables, figures and one page, from records only, rebuilt byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..plan import Plan

__all__ = ["build", "outdated"]


def build(
    plan_name: str,
    results: Path,
    *,
    rule: str = "penalised",
    out: Path | None = None,
    plan: Plan | None = None,
    leave_out_stale: bool = False,
    examples: bool | None = None,
    called: str = "",
    say: Callable[[str], object] = lambda line: None,
) -> Path:
    """Write tables, ``figures/`` and ``index.html`` below ``results/<plan>/report``; see ``docs/report_files.md``.

    Args:
        plan_name: name of the plan; its records lie below ``results/<plan_name>``.
        results: folder of all results.
        rule: what empty masks and failures count for, one of `benchmark.metrics.policy.RULES`.
        out: where to write instead.
        plan: the plan, to name missing cells; None: the plan file of that name, where there is one.
        leave_out_stale: report although cells that another version of this project computed have not been repeated.
        examples: whether slices of test images are drawn; None: as in the report that lies there, in a first one yes.
        called: the plan as the command line has it, for advice that can be typed; "": its name.
        say: gets a sentence for every dataset with cells that another version of their method's file computed.

    Returns:
        The folder; the page in it is ``index.html``.

    Raises:
        ReportError: no records and no such plan; records that cannot be reported or do not belong together; or no
            finished cell, where a report of finished ones lies already. The message says which, and what to do.
        ValueError: unknown rule; the message names the nearest.
    """
    # drawing needs matplotlib, which training must work without
    from .assemble import assemble

    return assemble(
        plan_name, results, rule=rule, out=out, plan=plan, leave_out_stale=leave_out_stale, examples=examples,
        called=called, say=say,
    )  # fmt: skip


def outdated(plan_name: str, results: Path) -> list[str]:
    """What has changed since the report of a plan was built, one sentence each; none: it is still true."""
    from . import receipts

    folder = Path(results) / plan_name
    return receipts.outdated(folder, folder / "report")
