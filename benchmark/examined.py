"""Somebody's own folder, looked through before it is trained on: what is wrong is refused, what is odd is remarked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from datasets.base import DataError, Dataset
from datasets.files import atomic_write
from datasets.telling import told
from datasets.verify import KINDS, WARNINGS, Finding, verify

from .prepare import Places

Say = Callable[[str], None]

ACCEPTED = ("near_duplicate",)
"""Faults that are told and not refused: frames of one video are alike, and no file says whether that is meant."""
CHECKS = 2
"""Raised where more is looked for than before: folders that passed are then looked through again."""
SHOWN = 5
"""Sentences on a kind of finding, and further cases that each of them names."""


def examine(dataset: Dataset, folder: Path, say: Say = lambda line: None) -> tuple[str, ...]:
    """Read every case and compare the parts of every fold.

    Args:
        dataset: opened below the parent of ``folder``.
        folder: for the messages.
        say: hears how far it is.

    Returns:
        Remarks: a sentence for each kind of finding that is odd, or for images that are nearly the same.

    Raises:
        DataError: anything that `datasets.verify` calls a fault, but for images that are only alike.
    """
    say(f"{folder}: reading {len(dataset.groups())} cases once and comparing the parts of every fold")
    report = verify(type(dataset), folder.parent, dataset.options, say=say)
    faults = report.faults(ACCEPTED)
    if faults:
        same = any(found.kind == "exact_duplicate" for found in faults)
        advice = ". Of two that are the same keep one" if same else ""
        raise DataError(f"{folder}: {_told(faults)}{advice}").of(faults[0].kind)
    odd = [found for found in report.findings if found.kind in (*WARNINGS, *ACCEPTED)]
    return tuple(
        _headed(kind) + _told(found for found in odd if found.kind == kind)
        for kind in dict.fromkeys(found.kind for found in odd)
    )


def recall(dataset: Dataset, places: Places) -> tuple[str, ...] | None:
    """What was remarked when these files passed under these options; None if they did not, or have changed since."""
    mark = _mark(dataset, places)
    return tuple(json.loads(mark.read_text(encoding="utf-8"))) if mark.is_file() else None


def remember(dataset: Dataset, places: Places, remarks: tuple[str, ...]) -> None:
    """Note that these files passed, so that a second start is instant."""
    places.cache.mkdir(parents=True, exist_ok=True)
    atomic_write(_mark(dataset, places), json.dumps(remarks, ensure_ascii=False).encode())


def _mark(dataset: Dataset, places: Places) -> Path:
    return places.cache / f"examined-{CHECKS}-{dataset.name}-{dataset.fingerprint()}.json"


def _headed(kind: str) -> str:
    """What images that are alike mean; other messages say it by themselves."""
    return f"{KINDS[kind].removesuffix(' (a warning)')}: " if kind.endswith("duplicate") else ""


def _told(findings: Iterable[Finding]) -> str:
    """The first sentences, and how many more there are."""
    sentences = told(findings, SHOWN)
    more = f"; and {len(sentences) - SHOWN} more" if len(sentences) > SHOWN else ""
    return "; ".join(sentences[:SHOWN]) + more
