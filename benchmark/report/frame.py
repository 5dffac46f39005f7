"""Records -> tidy frames: one row per cell, and one row per (cell, selection, case, class).

Nothing is aggregated or decided here, see `summary`. Ten thousand cells are ten thousand small csv files: they are
joined and parsed in large chunks, since starting a parser for each would take most of the time.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import record
from ..looks import Looks, cells_of, declare
from ..looks import read as read_looks

if TYPE_CHECKING:
    from ..plan import Plan

METRICS = ("dice", "jaccard", "hd95", "hd95_pooled", "assd", "nsd")
"""What reports look at, of the columns of ``scores.csv``; the rest stays in the per-case files."""

CHUNK = 64 * 2**20
"""Bytes of csv parsed at once."""

VOXELS = ("hd95_pooled_vox", "diagonal_vox")
"""Distances in voxels, beside those in mm: papers print them, and a published number is compared in its own unit."""

_TEXTS = ("selection", "case", "group", "class", "status", "unit")
ASD = "asd_pred_to_gt"
"""The average surface distance that papers print: from the prediction's surface to the reference's, as medpy has it."""

_NUMBERS = ("diagonal", "n_gt", ASD, *VOXELS)

_NO_PLAN = "The plan itself is not at hand: only recorded cells are shown, and missing ones cannot be named."
_AGAIN = "delete the folder of this cell and run the plan again: only this cell is recomputed."


class ReportError(ValueError):
    """The records cannot be reported; the message says which and what to do."""


@dataclass(frozen=True)
class Results:
    """A plan's records as frames.

    Attributes:
        plan, called: name of the plan, and what advice calls it: as the command line had it.
        title, protocol, tuned, baseline: the plan's own texts; empty where the plan is not at hand.
        cells: one row per cell, in the order of the plan (without one: by id). Columns: ``id``, ``label``, ``role``,
            ``method``, ``variant``, ``annotation``, ``dataset``, ``amount``, ``level`` (share or number, to sort and
            plot by), ``is_share``, ``seed``, ``fold``, ``status`` (finished, failed, killed, missing), ``reason``,
            ``train_seconds``, ``total_seconds``, ``predict_seconds`` (per case), ``memory_mib``, ``parameters``.
        scores: one row per cell (``cell`` is the row number in ``cells``), selection, case and class, with
            ``group``, ``status``, ``unit``, ``diagonal``, ``n_gt`` (pixels or voxels of the reference), :data:`ASD`,
            :data:`METRICS` and :data:`VOXELS`, raw: NaN and infinity as measured.
        records: the records by id.
        folders: their folders by id.
        strays: records in the folder that are no cells of the plan (settings or versions have changed since).
        digests: of the ``scores.csv`` that were read, by id.
        notes: sentences that the report prints.
        stale: ids of cells that another version of their method's file computed, see `stale.cells`.
        looks: at which numbers of seeds verdicts are looked at, as was declared; None where that is at the end only.
    """

    plan: str
    title: str
    protocol: str
    tuned: str
    cells: pd.DataFrame
    scores: pd.DataFrame
    records: Mapping[str, record.Record]
    folders: Mapping[str, Path]
    strays: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    digests: Mapping[str, str] = field(default_factory=dict)
    baseline: str = ""
    called: str = ""
    stale: tuple[str, ...] = ()
    looks: Looks | None = None

    @cached_property
    def ended(self) -> dict[tuple[str, ...], set[int]]:
        """Of every entry (role, label, dataset, amount), the seeds of which no cell is missing any more."""
        keys = ["role", "label", "dataset", "amount"]
        there = (self.cells["status"] != "missing").groupby([self.cells[key] for key in [*keys, "seed"]]).all()
        found: dict[tuple[str, ...], set[int]] = {key: set() for key in self.cells.groupby(keys).groups}
        for (*key, seed), complete in there.items():
            if complete:
                found[tuple(key)].add(seed)
        return found


def load(plan_folder: Path, plan: Plan | None = None) -> Results:
    """Read every record below ``results/<plan>``.

    With the plan, its cells are the rows: those without a record are "missing", and records that are no cell of
    it are strays. Without one, the records are all there is to know.

    Raises:
        ReportError: two records are the same cell under different settings, or a csv is damaged.
    """
    left_out: list[str] = []
    found = {rec.id: (folder, rec) for folder, rec in record.read_all(plan_folder, left_out)}
    if plan is None:
        described = {name: rec.cell for name, (_, rec) in found.items()}
    else:
        described = {
            cell.id: {**cell.canonical(), "label": cell.label, "role": cell.role, "amount": cell.amount}
            for cell in cells_of(plan, plan_folder)
        }
    rows = [_cell_row(name, cell, found[name][1] if name in found else None) for name, cell in described.items()]
    cells = pd.DataFrame(rows, columns=list(_cell_row("", {}, None)))
    if plan is None or not plan.tuned:  # tuned, one label has a setting per dataset and fold
        _tell_apart(cells, "label", [_settings(cell, "method", "hyper") for cell in described.values()])
    _tell_apart(cells, "dataset", [_settings(cell, "dataset", "options") for cell in described.values()])
    _refuse_duplicates(cells)
    kept = {name: pair for name, pair in found.items() if name in described}
    digests: dict[int, str] = {}
    scores = read_scores(
        (
            (number, kept[name][0] / "scores.csv", kept[name][1].receipt.get("scores"))
            for number, (name, status) in enumerate(zip(cells["id"], cells["status"], strict=True))
            if name in kept and status == "finished"
        ),
        digests,
    )
    return Results(
        plan=plan_folder.name,
        called=plan_folder.name,
        title=plan.title if plan else plan_folder.name,
        protocol=plan.protocol if plan else "",
        tuned=plan.tuned if plan else "",
        baseline=plan.claims.baseline if plan else "",
        looks=read_looks(plan_folder) or (declare(plan) if plan and plan.claims.looks else None),
        cells=cells,
        scores=scores,
        records={name: rec for name, (_, rec) in kept.items()},
        folders={name: folder for name, (folder, _) in kept.items()},
        strays=tuple(sorted(set(found) - set(described))),
        digests={cells["id"].iloc[number]: found_digest for number, found_digest in digests.items()},
        notes=(*([f"Left out: {reason}." for reason in plan.dropped()] if plan else [_NO_PLAN]), *left_out),
    )


def registered(dataset: str) -> str:
    """The registered name of a dataset, of one that is told apart by its settings in brackets."""
    return dataset.partition(" [")[0]


def read_scores(files: Iterable[tuple[int, Path, str | None]], digests: dict[int, str] | None = None) -> pd.DataFrame:
    """The rows of many ``scores.csv``, each with the number given for its file in the column ``cell``.

    Args:
        files: numbers, paths and, where they are known, digests that the records have of them.
        digests: gets the digest of every file, by number.

    Raises:
        ReportError: a file is missing, not the one that was recorded, or no table of `record.COLUMNS`.
    """
    parts = [_parse(chunk) for chunk in _chunks(files, {} if digests is None else digests)] or [_parse([])]
    joined = {
        name: pd.api.types.union_categoricals([part[name] for part in parts])
        if name in _TEXTS
        else np.concatenate([part[name].to_numpy() for part in parts])
        for name in parts[0].columns
    }
    frame = pd.DataFrame(joined, copy=False)
    classes = frame["class"].cat
    # categories are sorted by name; a reader expects the classes in the dataset's order, which is that of the rows
    met = np.unique(classes.codes.to_numpy(), return_index=True)
    frame["class"] = classes.reorder_categories(classes.categories[met[0][np.argsort(met[1])]])
    return frame


def _chunks(
    files: Iterable[tuple[int, Path, str | None]], digests: dict[int, str]
) -> Iterator[list[tuple[int, Path, bytes]]]:
    header = (",".join(record.COLUMNS) + "\n").encode()
    chunk: list[tuple[int, Path, bytes]] = []
    size = 0
    for number, path, recorded in files:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        if not content.startswith(header) or not content.endswith(b"\n"):
            raise ReportError(
                f"{path}: not a complete table of scores (its columns must be {', '.join(record.COLUMNS)}); {_AGAIN}"
            )
        digests[number] = record.digest(content)
        if recorded not in (None, digests[number]):
            raise ReportError(
                f"{path} is not the file that its record describes (digest {digests[number]}, recorded {recorded}): "
                f"somebody changed one of the two. Restore them, or {_AGAIN}"
            )
        chunk.append((number, path, content[len(header) :]))
        size += len(content)
        if size > CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _parse(chunk: Sequence[tuple[int, Path, bytes]]) -> pd.DataFrame:
    wanted = [*_TEXTS, *_NUMBERS, *METRICS]
    try:
        frame = pd.read_csv(
            io.BytesIO(b"".join(body for _, _, body in chunk)),
            names=record.COLUMNS,
            usecols=wanted,
            dtype={name: "category" if name in _TEXTS else "float64" for name in wanted},
            # a patient named "NA" is a patient; only numbers may be missing
            keep_default_na=False,
            na_values={name: ["nan"] for name in (*_NUMBERS, *METRICS)},
            engine="c",
        )[wanted]
    except ValueError as error:
        for one in chunk if len(chunk) > 1 else ():
            _parse([one])  # which raises for the one that is meant
        raise ReportError(f"{chunk[0][1]}: not a table of scores: {error}; {_AGAIN}") from error
    lines = [body.count(b"\n") for _, _, body in chunk]
    if len(frame) != sum(lines):
        raise ReportError(
            f"scores of {len(chunk)} cells hold {sum(lines)} lines but {len(frame)} rows: the name of a case or class "
            f"spans lines, in {chunk[0][1]} or one of the following cells. Rename it in the dataset."
        )
    frame.insert(0, "cell", np.repeat(np.array([number for number, _, _ in chunk], np.int32), lines))
    return frame


def _cell_row(name: str, cell: Mapping[str, Any], rec: record.Record | None) -> dict[str, Any]:
    ratio = cell.get("ratio")
    seconds = rec.seconds if rec else {}
    return {
        "id": name,
        "label": cell.get("label", ""),
        "role": cell.get("role", "method"),
        "method": cell.get("method", ""),
        "variant": (cell.get("hyper") or {}).get("variant", "intended"),
        "annotation": cell.get("annotation", ""),
        "dataset": cell.get("dataset", ""),
        "amount": cell.get("amount", ""),
        "level": float(ratio if ratio is not None else cell.get("count") or 0),
        "is_share": ratio is not None,
        "seed": cell.get("seed", 0),
        "fold": cell.get("fold", 1),
        "status": rec.status if rec else "missing",
        "reason": rec.reason if rec else "",
        "train_seconds": float(seconds.get("train", np.nan)),
        "total_seconds": float(seconds.get("total", np.nan)),
        "predict_seconds": float(seconds.get("predict", np.nan)),
        "memory_mib": float(rec.memory_mib) if rec else np.nan,
        "parameters": rec.parameters if rec else 0,
    }


def _settings(cell: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Name and changed settings of a method or dataset as one flat mapping."""
    return {names[0]: cell.get(names[0])} | dict(cell.get(names[1]) or {})


def _tell_apart(cells: pd.DataFrame, column: str, settings: Sequence[Mapping[str, Any]]) -> None:
    """Add what differs to names that stand for several settings, such as one method with two weights."""
    variants: dict[str, dict[str, Mapping[str, Any]]] = {}
    keys = [json.dumps(item, sort_keys=True, default=str) for item in settings]
    for name, key, item in zip(cells[column], keys, settings, strict=True):
        variants.setdefault(name, {})[key] = item
    differing = {name: _differing(list(several.values())) for name, several in variants.items()}
    names = []
    for name, key in zip(cells[column], keys, strict=True):
        detail = ", ".join(f"{part}={variants[name][key].get(part)}" for part in differing[name])
        names.append(f"{name} [{detail}]" if detail else name)
    cells[column] = names


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the settings that are not the same everywhere, sorted."""
    names = sorted({name for item in settings for name in item})
    return [name for name in names if any(item.get(name) != settings[0].get(name) for item in settings)]


def _refuse_duplicates(cells: pd.DataFrame) -> None:
    identity = ["role", "label", "dataset", "amount", "seed", "fold"]
    repeated = cells[cells.duplicated(identity, keep=False)]
    if len(repeated):
        first = repeated.sort_values([*identity, "id"]).head(2)
        raise ReportError(
            f"cells {' and '.join(first['id'])} are both {first.iloc[0]['label']} on {first.iloc[0]['dataset']} at "
            f"{first.iloc[0]['amount']}, seed {first.iloc[0]['seed']}: a mean over different settings means nothing. "
            "Report with the plan at hand, or move the folder of the one that you do not want."
        )
