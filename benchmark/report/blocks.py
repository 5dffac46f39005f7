"""Entries that can be compared all with each other: one array of entries × seeds × patients without a gap.

A block holds the methods and lower bounds of one dataset, labelled amount and kind of annotation, on the seeds and
patients that all of them have. Rankings and significance maps need that; single verdicts use all that a pair has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from .crossed import FEWEST_PATIENTS, FEWEST_SEEDS
from .frame import Results, registered
from .summary import ENTRY
from .verdicts import ENDPOINTS, Design, Key

Member = tuple[str, str]
"""Role and label of an entry."""


@dataclass(frozen=True)
class Block:
    """What is compared with what.

    Attributes:
        dataset, amount, annotation: of all members; ``amount`` is "" where amounts have been averaged.
        members: methods and lower bounds, in the order of the plan.
        seeds, patients: what all members have.
        values: for each endpoint's name, ``(members, seeds, patients)``, finite, *higher is better*, on the scale of
            the test.
        left_out: who is not compared, and why.
    """

    dataset: str
    amount: str
    annotation: str
    members: tuple[Member, ...]
    seeds: tuple[int, ...]
    patients: tuple[str, ...]
    values: Mapping[str, np.ndarray]
    left_out: Mapping[Member, str]

    def only(self, members: Sequence[Member]) -> Block:
        """The same block with some of its members, in their order."""
        places = [self.members.index(member) for member in members]
        return replace(
            self, members=tuple(members), values={name: values[places] for name, values in self.values.items()}
        )


def blocks(results: Results, designs: Mapping[Key, Design]) -> list[Block]:
    """One block per dataset, amount and kind of annotation with two members or more.

    Members need three complete seeds. Where seeds were added by looks, blocks hold the seeds of the first look only:
    later ones exist because of what earlier ones showed.
    """
    entries = results.cells.drop_duplicates(ENTRY)
    entries = entries[entries["role"] != "upper"]
    made = []
    for (dataset, amount, annotation), rows in entries.groupby(["dataset", "amount", "annotation"], sort=False):
        tables, left_out = {}, {}
        for row in rows.itertuples():
            table = designs.get((row.role, row.label, dataset, amount))
            if table is not None and results.looks is not None:
                first = set(results.looks.first(0))
                table = {metric: values[values.index.isin(first)] for metric, values in table.items()}
            seeds = 0 if table is None else len(table["dice"])
            if table is None or seeds < FEWEST_SEEDS:
                left_out[row.role, row.label] = f"{seeds} complete seeds; {FEWEST_SEEDS} are needed"
            else:
                tables[row.role, row.label] = table
        made += _block((str(dataset), str(amount), str(annotation)), tables, left_out)
    return made


def over_amounts(found: Iterable[Block]) -> list[Block]:
    """One block per dataset and annotation: the mean over its amounts, of the members that all of them have."""
    grouped: dict[tuple[str, str], list[Block]] = {}
    for block in found:
        grouped.setdefault((block.dataset, block.annotation), []).append(block)
    return [mean for parts in grouped.values() for mean in _mean(parts, parts[0].dataset)]


def over_views(parts: Sequence[Block]) -> list[Block]:
    """The mean of blocks that show the same patients in several ways, such as two resolutions; others as they are.

    Args:
        parts: of several datasets, with the same members.
    """
    groups = same_patients([part.dataset for part in parts], [part.patients for part in parts])
    alike = [[parts[place] for place in places] for places in groups]
    return [
        mean
        for some in alike
        for mean in (some if len(some) == 1 else _mean(some, ", ".join(part.dataset for part in some)))
    ]


def same_patients(datasets: Sequence[str], patients: Sequence[Collection[str]]) -> list[list[int]]:
    """The places of entries of one registered dataset that have patients in common, together."""
    groups: list[list[int]] = []
    for place, (name, mine) in enumerate(zip(datasets, patients, strict=True)):
        for group in groups:
            first = group[0]
            if registered(datasets[first]) == registered(name) and not set(patients[first]).isdisjoint(mine):
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def _mean(parts: Sequence[Block], dataset: str) -> list[Block]:
    """The mean of blocks on the members, seeds and patients that all have; none where these are too few."""
    everywhere = [member for member in parts[0].members if all(member in part.members for part in parts)]
    left_out = {member: why for part in parts for member, why in part.left_out.items()}
    left_out |= {member: "not at every amount" for part in parts for member in part.members if member not in everywhere}
    seeds = sorted(set.intersection(*(set(part.seeds) for part in parts)))
    patients = sorted(set.intersection(*(set(part.patients) for part in parts)))
    if len(everywhere) < 2 or len(seeds) < FEWEST_SEEDS or len(patients) < FEWEST_PATIENTS:
        return []
    values = {
        endpoint.name: np.mean([_cut(part, everywhere, seeds, patients, endpoint.name) for part in parts], axis=0)
        for endpoint in ENDPOINTS
    }
    return [
        replace(
            parts[0], dataset=dataset, amount="", members=tuple(everywhere), seeds=tuple(seeds),
            patients=tuple(patients), values=values, left_out=left_out,
        )
    ]  # fmt: skip


def _block(place: tuple[str, str, str], tables: dict[Member, Design], left_out: dict[Member, str]) -> list[Block]:
    """The block, or none where fewer than two members have something in common."""
    while len(tables) >= 2:
        pairs = [(table["dice"].index, table["dice"].columns) for table in tables.values()]
        seeds, groups = pairs[0]
        for index, columns in pairs[1:]:
            seeds = seeds if seeds.equals(index) else seeds.intersection(index)
            groups = groups if groups.equals(columns) else groups.intersection(columns)
        if len(seeds) >= FEWEST_SEEDS:
            break
        # whoever has the fewest seeds must not take the others' ranks away
        weakest = min(tables, key=lambda member: (len(tables[member]["dice"]), member))
        left_out[weakest] = "its seeds are not those of the others"
        del tables[weakest]
    else:
        return []
    values = {}
    for endpoint in ENDPOINTS:
        raw = np.array([_aligned(table[endpoint.metric], seeds, groups) for table in tables.values()])
        values[endpoint.name] = endpoint.values(endpoint.with_right_answers(raw)) * (
            1 if endpoint.higher_is_better else -1
        )
    known = np.logical_and.reduce([np.isfinite(array).all(axis=(0, 1)) for array in values.values()])
    if known.sum() < FEWEST_PATIENTS:
        return []
    return [
        Block(
            *place,
            members=tuple(tables),
            seeds=tuple(int(seed) for seed in seeds),
            patients=tuple(str(group) for group in groups[known]),
            values={name: array[..., known] for name, array in values.items()},
            left_out=left_out,
        )
    ]


def _aligned(table: pd.DataFrame, seeds: pd.Index, groups: pd.Index) -> np.ndarray:
    if not (table.index.equals(seeds) and table.columns.equals(groups)):
        table = table.loc[seeds, groups]
    return table.to_numpy(np.float64)


def _cut(
    part: Block, members: Sequence[Member], seeds: Sequence[int], patients: Sequence[str], name: str
) -> np.ndarray:
    """Some members, seeds and patients of a block."""
    where = [part.members.index(member) for member in members]
    rows = [part.seeds.index(seed) for seed in seeds]
    places = {patient: place for place, patient in enumerate(part.patients)}
    return part.values[name][np.ix_(where, rows, [places[patient] for patient in patients])]
