"""Look for everything that can be wrong with a dataset on disk, and go on looking after the first thing found."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .base import DataError, Dataset
from .faults import collected
from .likeness import near, pairs, thumbnail
from .splits import half_labelled
from .together import dim, filled, outlying, turned
from .types import IGNORE, Case

SCRIBBLE_ERRORS = 1e-3
"""Share of scribbled pixels that may contradict the dense label: ten times that of ACDC's expert scribbles."""

KINDS = {
    "missing": "the folder or a file of the layout is absent",
    "layout": "names, lists or descriptors are not as the layout says",
    "repeated_case": "one case twice",
    "unpaired": "an image without its label, or the other way round",
    "straddling_group": "a patient or video in two parts of a split",
    "unplaced_group": "a case in no part of a split",
    "truncated": "a file that cannot be read to its end",
    "unknown_label": "a label value that is no class",
    "palette": "a mask or a photograph of colour indices",
    "not_finite": "NaN or infinite values in an image",
    "constant": "an image of one value",
    "spacing": "a voxel size that is not positive, not stated, or stated in two ways",
    "geometry": "image and label of different size, voxel size, direction or place",
    "absent_class": "a class that no label of the dataset holds",
    "scribble_disagreement": "scribbles that contradict the dense label",
    "exact_duplicate": "the same image on two sides of a split",
    "training_duplicate": "the same image in two training groups, of which one may be carved to validate (a warning)",
    "near_duplicate": "nearly the same image on two sides of a split",
    "empty_label": "a case whose label is background only (a warning)",
    "outlying_spacing": "voxels more than ten times larger or smaller than in most cases (a warning)",
    "turned_slices": "slices that cut the body in different planes (a warning)",
    "narrow_range": "images that use little of the range of their values (a warning)",
    "oddity": "what this dataset's own checks say (a warning)",
}
"""Every kind of finding, and what it means."""

WARNINGS = frozenset(
    {"empty_label", "narrow_range", "oddity", "outlying_spacing", "training_duplicate", "turned_slices"}
)
"""Worth a look, but not wrong in itself."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd: its kind (of ``KINDS``), the cases or groups concerned, a sentence."""

    kind: str
    where: tuple[str, ...]
    message: str


@dataclass
class Report:
    """What :func:`verify` saw.

    Attributes:
        dataset, version, fingerprint: what was looked at; the fingerprint is "" where nothing could be opened.
        cases, groups: how many.
        findings: faults and warnings, in the order found.
        facts: counts and ranges, for the reader.
    """

    dataset: str
    version: str = ""
    fingerprint: str = ""
    cases: int = 0
    groups: int = 0
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def faults(self, allowed: Collection[str] = ()) -> list[Finding]:
        """What is wrong: no warning, and no kind that the reader allows."""
        return [f for f in self.findings if f.kind not in WARNINGS and f.kind not in allowed]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types; findings are split into faults and warnings."""
        content = asdict(self)
        found = content.pop("findings")
        return content | {
            "faults": [f for f in found if f["kind"] not in WARNINGS],
            "warnings": [f for f in found if f["kind"] in WARNINGS],
        }


def verify(
    cls: type[Dataset], root: Path, options: Any = None, *, say: Callable[[str], None] = lambda _: None
) -> Report:
    """Open a dataset, read every case, and compare the parts of every fold.

    Args:
        cls: the dataset.
        root: folder that holds its folder.
        options: its options; None = the defaults.
        say: hears how far it is.

    Returns:
        The report: no exception for anything that is wrong with the data. Faults within a case hide no other case, and
        files without their partner no pair; a folder that cannot be listed hides its cases.
    """
    report = Report(cls.__module__.rsplit(".", 1)[-1], cls.version)
    with collected() as faults:
        _look_at(cls, root, options, report, say)
    report.findings[:0] = [_finding(error) for error in faults]
    return report


def _look_at(cls: type[Dataset], root: Path, options: Any, report: Report, say: Callable[[str], None]) -> None:
    """Fill the report, but for faults that are collected."""
    try:
        dataset = cls(root, options)
        groups = dataset.groups()
        report.fingerprint = dataset.fingerprint()
    except DataError as error:
        report.findings.append(_finding(error))
        return
    report.cases, report.groups = len(groups), len(set(groups.values()))
    look = _Look(dataset, report)
    for number, key in enumerate(groups, 1):
        try:
            look.at(dataset.check(dataset.load(key)))
        except DataError as error:
            report.findings.append(_finding(error, key))
        if number % 50 == 0:
            say(f"{number} of {len(groups)} cases")
    look.conclude()
    for fold in range(1, dataset.folds + 1):
        sides = _sides(dataset, fold, report)
        look.compare(sides, fold)
    look.twins()


def kind_of(error: BaseException) -> str:
    """The kind of a data error, or of the first of its causes that has one of its own."""
    kind, cause = "layout", error.__cause__
    if isinstance(error, DataError):
        kind = error.kind
    return kind_of(cause) if kind == "layout" and isinstance(cause, DataError) else kind


class _Look:
    """What is remembered of the cases while they pass by: counts, content hashes, thumbnails."""

    def __init__(self, dataset: Dataset, report: Report) -> None:
        self.dataset, self.report = dataset, report
        self.content: dict[str, str] = {}
        self.thumbnails: dict[str, np.ndarray] = {}
        self.classes: Counter[int] = Counter()
        self.scribbled: Counter[int] = Counter()
        self.slices: dict[str, int] = {}
        self.labelled = self.marked = self.wrong = 0
        self.within: dict[tuple[str, str], None] = {}
        self.sizes: set[tuple[int, ...]] = set()
        self.spacings: dict[str, tuple[float, ...]] = {}
        self.low, self.high = np.inf, -np.inf

    def at(self, case: Case) -> None:
        self.content[case.key] = hashlib.blake2b(case.image.tobytes(), digest_size=16).hexdigest()
        self.thumbnails[case.key] = thumbnail(case)
        self.sizes.add(case.space)
        if len(case.space) > self.dataset.task.ndim:
            self.slices[case.key] = case.space[0]
        if case.spacing:
            self.spacings[case.key] = case.spacing
        found = self.report.findings
        low, high = float(case.image.min()), float(case.image.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        if low == high:
            found.append(Finding("constant", (case.key,), f"{case.key}: every value of the image is {high:g}"))
        if case.label is not None:
            self.labelled += 1
            counts = np.bincount(case.label.ravel(), minlength=self.dataset.task.n_classes)
            self.classes.update({place: int(n) for place, n in enumerate(counts)})
            if not counts[1:].any():
                found.append(Finding("empty_label", (case.key,), f"{case.key}: the label is background only"))
        if case.scribble is not None:
            known = case.scribble != IGNORE
            counts = np.bincount(case.scribble[known], minlength=self.dataset.task.n_classes)
            self.scribbled.update({place: int(n) for place, n in enumerate(counts)} | {IGNORE: int((~known).sum())})
            if case.label is not None:
                self.marked += int(known.sum())
                self.wrong += int((case.scribble != case.label)[known].sum())
        found += [Finding("oddity", (case.key,), f"{case.key}: {words}") for words in self.dataset.oddities(case)]

    def conclude(self) -> None:
        """What only all cases together tell."""
        names, total = self.dataset.task.classes, sum(self.classes.values())
        unmarked = self.scribbled.pop(IGNORE, 0)
        marked = sum(self.scribbled.values())
        found = self.classes + self.scribbled
        absent = [name for place, name in enumerate(names) if not found[place]]
        if absent and found:
            words = (
                f"no label holds {', '.join(absent)}: {'all labels are empty' if len(absent) >= len(names) - 1 else ''}"
            )
            self.report.findings.append(Finding("absent_class", tuple(absent), words.rstrip(": ")))
        mixed = half_labelled(self.dataset.groups(), self.dataset.unannotated("dense"))
        self.report.findings += [Finding("oddity", (), words) for words in (*self.dataset.remarks(), *mixed)]
        apart = [Finding("outlying_spacing", (key,), words) for key, words in outlying(self.spacings).items()]
        whole = {"turned_slices": turned(self.dataset.files()), "oddity": filled(marked, unmarked)}
        if self.dataset.task.unit == "px":
            whole["narrow_range"] = dim(self.low, self.high)
        self.report.findings += [*apart, *(Finding(kind, (), words) for kind, words in whole.items() if words)]
        rate = self.wrong / self.marked if self.marked else None
        if rate is not None and rate > SCRIBBLE_ERRORS:
            words = f"{self.wrong} of {self.marked} scribbled pixels ({rate:.2%}) contradict the dense label"
            self.report.findings.append(Finding("scribble_disagreement", (), words))
        sizes = {tuple(round(mm, 4) for mm in spacing) for spacing in self.spacings.values()}
        slices, published = sum(self.slices.values()), self.dataset.card.counts
        if self.report.cases == published.get("cases") and slices != published.get("slices", slices):
            words = f"{slices} slices in all, but {published['slices']} in the published copy: some volume is another"
            self.report.findings.append(Finding("oddity", (), words))
        axes = list(zip(*self.sizes, strict=False))
        self.report.facts = {
            "read": len(self.content),
            **({"slices": slices} if slices else {}),
            "densely labelled": self.labelled,
            "class shares": {n: self.classes[p] / total for p, n in enumerate(names)} if total else {},
            "smallest size": [min(axis) for axis in axes],
            "largest size": [max(axis) for axis in axes],
            "spacings": sorted(map(list, sizes))[:8],
            "scribbled": marked / (marked + unmarked) if marked else None,
            "scribble shares": {n: self.scribbled[p] / marked for p, n in enumerate(names)} if marked else {},
            "contradicting scribble pixels": self.wrong if self.marked else None,
            "scribble disagreement": rate,
        }

    def compare(self, sides: Mapping[str, str], fold: int) -> None:
        """Report images that stand on two sides of this fold, the same or nearly so."""
        keys = [key for key in self.content if key in sides]
        if fold == 1:
            for side in ("train", "val", "test"):
                mine = [key for key in keys if sides[key] == side]
                words = f"{len(mine)} cases" + (
                    f", {sum(map(self.slices.__getitem__, mine))} slices" if self.slices else ""
                )
                self.report.facts[f"{side}{_of(fold, self.dataset)}"] = words
        alike = pairs(keys, self.content)
        if "val" not in sides.values():
            self.within |= dict.fromkeys((a, b) for a, b in alike if sides[a] == sides[b] == "train")
        same = [(a, b) for a, b in alike if sides[a] != sides[b]]
        for a, b in same:
            words = f"{a} ({sides[a]}) and {b} ({sides[b]}) are the same image{_of(fold, self.dataset)}"
            self.report.findings.append(Finding("exact_duplicate", (a, b), words))
        for a, b, likeness in near(keys, self.thumbnails):
            if sides[a] != sides[b] and (a, b) not in same:
                words = f"{a} ({sides[a]}) and {b} ({sides[b]}) are nearly the same image (correlation {likeness:.3f})"
                self.report.findings.append(Finding("near_duplicate", (a, b), words + _of(fold, self.dataset)))

    def twins(self) -> None:
        """Report the same image in two training groups, where no fold has it on two sides: validation is carved."""
        groups, told = self.dataset.groups(), {f.where for f in self.report.findings if f.kind == "exact_duplicate"}
        for a, b in self.within:
            if groups[a] != groups[b] and (a, b) not in told:
                words = (
                    f"{a} (group {groups[a]}) and {b} (group {groups[b]}) are the same image, both of the training side"
                )
                self.report.findings.append(Finding("training_duplicate", (a, b), words))


def _sides(dataset: Dataset, fold: int, report: Report) -> dict[str, str]:
    """Case -> part of the fold; a fold that cannot be made is a finding."""
    groups = dataset.groups()
    try:
        part = dataset.partition(fold)
    except ValueError as error:
        if fold == 1 or isinstance(error, DataError):  # else: under these options there are fewer folds
            report.findings.append(_finding(error, f"fold {fold}"))
        return {}
    place = {group: side for side in ("train", "val", "test") for group in getattr(part, side)}
    lost = sorted(set(groups.values()) - set(place))
    if lost:
        words = f"fold {fold}: {len(lost)} group(s) are in no part: {', '.join(lost[:5])}"
        report.findings.append(Finding("unplaced_group", tuple(lost), words))
    return {key: place[group] for key, group in groups.items() if group in place}


def _of(fold: int, dataset: Dataset) -> str:
    return f" in fold {fold}" if dataset.folds > 1 else ""


def _finding(error: Exception, *where: str) -> Finding:
    return Finding(kind_of(error), where, str(error))
