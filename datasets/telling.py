"""Findings in words: what is wrong with many cases in the same way is said once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .verify import Finding


def told(findings: Iterable[Finding], names: int = 5) -> list[str]:
    """A sentence for each finding, in order; those that differ in the case's name alone share one, and add their names.

    A pair of images is told once, in however many folds it stands.

    Args:
        findings: of one kind or several.
        names: how many further cases a sentence names.
    """
    alike: dict[object, list[Finding]] = {}
    for found in findings:
        same = found.where if found.kind.endswith("duplicate") else _nameless(found)
        alike.setdefault((found.kind, same), []).append(found)
    return [first.message + _likewise(first, others, names) for first, *others in alike.values()]


def _nameless(found: Finding) -> str:
    """The message without folders and without the name of its case, which is also in the names of its files."""
    if len(found.where) != 1:
        return found.message
    name = re.escape(found.where[0].rsplit("/", 1)[-1])
    return re.sub(rf"(?<![A-Za-z0-9]){name}(?![A-Za-z0-9])", "*", re.sub(r"\S*/", "", found.message))


def _likewise(first: Finding, others: Iterable[Finding], names: int) -> str:
    cases = list(dict.fromkeys(found.where[0] for found in others if found.where and found.where != first.where))
    more = f" and {len(cases) - names} more" if len(cases) > names else ""
    return f" (likewise {', '.join(cases[:names])}{more})" if cases else ""
