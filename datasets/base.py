"""What a dataset is: a task, a card, cases by key, a published partition; and the seal on test labels."""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from . import seal
from .types import IGNORE, Annotation, Card, Case, Task
from .vault import SealedLabel, Vault

__all__ = [
    "LATER",
    "DataError",
    "Dataset",
    "MissingData",
    "Partition",
    "SealedLabel",
    "Vault",
    "canonical_options",
    "data_root",
]

LATER: Mapping[str, bool] = {"added later": True}
"""Metadata of an option that came after cells were kept: where it is unset, identities are what they were."""


class DataError(ValueError):
    """The data on disk are not as the dataset's layout says; the message names the file and the remedy.

    Attributes:
        kind: the fault's name in reports, such as "truncated" or "unknown_label"; "layout" where nothing fits better.
    """

    kind = "layout"

    def of(self, kind: str) -> Self:
        """The same error, filed under ``kind``."""
        self.kind = kind
        return self


class MissingData(DataError, FileNotFoundError):
    """The folder of a dataset is absent; the message says what is expected there and where to get it."""

    kind = "missing"


@dataclass(frozen=True)
class Partition:
    """Published division of the groups of a dataset: training groups, test groups, and published validation groups.

    ``val`` is empty where no validation set was published: it is then carved from ``train``. A test or published
    validation case without label is refused, as a copy that lacks some.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    val: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for a, b in (("train", "test"), ("train", "val"), ("val", "test")):
            both = sorted(set(getattr(self, a)) & set(getattr(self, b)))
            if both:
                raise DataError(
                    f"groups in both {a} and {b}: {', '.join(both[:5])}; a patient or video must never straddle"
                ).of("straddling_group")


class Sparse(Partition):
    """A division in which cases of held-out groups may lack a label: they are left out beside those that have one."""


class Dataset(ABC):
    """One dataset on disk (or procedural). Subclasses are one file each in ``datasets/catalogue``.

    Facts of a subclass: ``card``; ``Options`` (a frozen dataclass with defaults: what a plan may set under
    ``options``); ``folder`` (where below the data root it is looked for; "" = procedural, needs no data);
    ``version`` (raise it when loading changes the numbers of a case); ``folds`` (how many folds are published).
    """

    card: ClassVar[Card]
    Options: ClassVar[type]
    folder: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    folds: ClassVar[int] = 1
    unavailable: ClassVar[str] = ""
    """Why nobody can get these data: such a dataset has a card, and never opens."""

    def __init_subclass__(cls) -> None:
        if "load" in cls.__dict__:
            cls.load = seal.watched(cls.load)  # type: ignore[assignment, method-assign]

    def __init__(self, root: Path, options: Any = None) -> None:
        if self.unavailable:
            raise MissingData(f"{self.name}: these data cannot be had: {self.unavailable}")
        self.options = self.Options() if options is None else options
        if not (is_dataclass(self.options) and isinstance(self.options, self.Options)):
            raise TypeError(
                f"{self.name}: options must be a {self.Options.__qualname__}, got {type(self.options).__name__}"
            )
        self.root = self._find(Path(root))
        self.task = self.make_task()

    @property
    def name(self) -> str:
        """Registered name = module name."""
        return type(self).__module__.rsplit(".", 1)[-1]

    # What a subclass gives ------------------------------------------------------------------------------------------
    @abstractmethod
    def make_task(self) -> Task:
        """The task, which may depend on the options or on a small descriptor file (never on image files)."""

    @abstractmethod
    def groups(self) -> Mapping[str, str]:
        """Case key -> group, for every case, sorted by key whatever the file system's order."""

    @abstractmethod
    def load(self, key: str) -> Case:
        """One case, decoded and normalised. Use :class:`Vault` instead wherever test cases may be involved.

        Raises:
            DataError: the file is truncated, misshapen or holds unknown label values; the message names the case.
        """

    @abstractmethod
    def partition(self, fold: int) -> Partition:
        """The published train/test groups of fold ``fold`` (1-based)."""

    @classmethod
    def caveat(cls, options: Mapping[str, Any]) -> str:
        """What every table with these options must say; "" = nothing. Default: the card's, and what is not scored."""
        ignore = options.get("ignore")
        void = f"pixels of value {ignore} in labels are of no class: neither learnt nor scored"
        return "; ".join(filter(None, (cls.card.caveat, "" if ignore is None else void)))

    def subfolder(self) -> str:
        """Where below the data root the files lie; default: the class's ``folder``. The options may say otherwise."""
        return self.folder

    def recognises(self, root: Path) -> bool:
        """Whether ``root`` itself looks like this dataset's folder."""
        return Path(os.path.abspath(root)).name == self.subfolder()

    def files(self) -> Sequence[Path]:
        """Files that the cases come from, for the fingerprint; empty for procedural data."""
        return ()

    def lists(self) -> Sequence[Path]:
        """Files that say which cases train and which test: part of the data, though no case is read from them."""
        return ()

    def published_order(self) -> Sequence[str]:
        """Training groups in the order of the published list, for the subset rule "first"; default: sorted."""
        return sorted(set(self.groups().values()))

    def strata(self) -> Mapping[str, str]:
        """Group -> stratum, such as its disease, for the subset rule "stratified"; default: none is known."""
        return {}

    def unannotated(self, annotation: Annotation) -> frozenset[str]:
        """Cases without such an annotation on disk, which train as unlabelled ones; none where that is refused."""
        return frozenset()

    def oddities(self, case: Case) -> Sequence[str]:
        """What ``data verify`` should say of one case that loads, beyond what every dataset is checked for."""
        return ()

    def remarks(self) -> Sequence[str]:
        """What ``data verify`` should say of the folder as a whole, beyond what every dataset is checked for."""
        return ()

    @classmethod
    def nominal_task(cls, options: Any) -> Task:
        """The task as far as it is known without the data on disk: what a plan asks methods about.

        Datasets whose ``make_task`` reads a descriptor file override this with what the options alone tell.
        """
        blank = cls.__new__(cls)
        blank.options = options
        return blank.make_task()

    # What the base does ---------------------------------------------------------------------------------------------
    def fingerprint(self) -> str:
        """Hash of what the cases are made of: name, version, options, and names, sizes and times of files and lists."""
        digest = hashlib.blake2b(digest_size=12)
        digest.update(self.settings().encode())
        for path in sorted([*self.files(), *self.lists()]):
            stat = path.stat()
            digest.update(f"{path.relative_to(self.root).as_posix()}|{stat.st_size}|{stat.st_mtime_ns}".encode())
        return digest.hexdigest()

    def settings(self) -> str:
        """What cases are made by, beside files: name, version, options, as JSON."""
        return json.dumps([self.name, self.version, canonical_options(self.options)], sort_keys=True, default=str)

    def manifest(self) -> str:
        """Hash of the *content* of every file and list (same on every machine); the fingerprint if procedural."""
        paths = sorted([*self.files(), *self.lists()])
        if not paths:
            return self.fingerprint()
        digest = hashlib.blake2b(digest_size=12)
        for path in paths:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=12)).hexdigest()
            digest.update(f"{path.relative_to(self.root).as_posix()}|{content}".encode())
        return digest.hexdigest()

    def check(self, case: Case) -> Case:
        """Validate one loaded case against the task; returns it unchanged.

        Raises:
            DataError: naming the case, what was found, what is allowed.
        """
        where = f"{self.name}: case {case.key!r}"
        space = case.space
        if case.image.dtype != np.float32 or case.image.shape[0] != self.task.channels:
            found = f"{case.image.dtype} {case.image.shape}"
            raise DataError(f"{where}: image must be float32 with {self.task.channels} channel(s), got {found}")
        if len(space) not in (self.task.ndim, self.task.ndim + 1):
            allowed = f"a {self.task.ndim}-D task allows {self.task.ndim} or one more"
            raise DataError(f"{where}: image has {len(space)} spatial axes, {allowed}")
        if not np.isfinite(case.image).all():
            raise DataError(f"{where}: image holds NaN or infinite values; repair or remove this case").of("not_finite")
        if case.spacing is not None and (len(case.spacing) != len(space) or min(case.spacing) <= 0):
            what = f"spacing must be {len(space)} positive numbers in mm, got {case.spacing}"
            raise DataError(f"{where}: {what}").of("spacing")
        void = (IGNORE,) if getattr(self.options, "ignore", None) is not None else ()
        for what, labels, extra in (("label", case.label, void), ("scribble", case.scribble, (IGNORE,))):
            if labels is None:
                continue
            if labels.shape != space:
                shapes = f"shape {labels.shape} but the image has {space}"
                raise DataError(f"{where}: {what} has {shapes}; they must be equal").of("geometry")
            if labels.dtype != np.uint8:
                raise DataError(f"{where}: {what} must be uint8, got {labels.dtype}")
            values = np.flatnonzero(np.bincount(labels.ravel()))  # several times faster than np.unique
            unknown = sorted(set(values.tolist()) - set(range(self.task.n_classes)) - set(extra))
            if unknown:
                known = [f"{i} {c}" for i, c in enumerate(self.task.classes)] + [f"{i} unlabelled" for i in extra]
                words = f"holds unknown value(s) {unknown}; allowed are {', '.join(known)}"
                raise DataError(f"{where}: {what} {words}").of("unknown_label")
        return case

    def missing(self, what: str) -> MissingData:
        """The error for data that are not there: what was looked for, the layout expected, where to get it."""
        return MissingData(
            f"{self.name}: no {what}. Expected layout: {self.card.layout} How to get it: {self.card.how_to_get} "
            "Then point to its parent with DATA=<folder> (or --data, or BENCH_DATA)."
        )

    def _find(self, root: Path) -> Path:
        folder = self.subfolder()
        if not folder:
            return root
        if (root / folder).is_dir():
            return root / folder
        if root.is_dir() and self.recognises(root):
            return root
        raise self.missing(f"folder {str(root / folder)!r}")


def canonical_options(options: Any) -> dict[str, Any]:
    """Options as identity sees them: a field that was added later (:data:`LATER`) is left out where it is unset."""
    unset = {f.name for f in fields(options) if f.metadata == LATER and getattr(options, f.name) == f.default}
    return {name: value for name, value in asdict(options).items() if name not in unset}


def data_root(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the datasets: the argument, else ``BENCH_DATA``, else ``data`` in the working folder."""
    return Path(given or os.environ.get("BENCH_DATA") or "data").expanduser()
