"""Who is labelled, who is not, who validates, who tests: disjoint by group, nested in ratio, equal for all methods."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from .base import DataError, Partition, Sparse


@dataclass(frozen=True)
class Split:
    """Case keys of the four parts, each sorted. Depends on dataset, ratio, seed and fold only, never on the method."""

    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    labelled_groups: tuple[str, ...] = ()
    train_groups: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """Realised share of training groups that carry an annotation."""
        return len(self.labelled_groups) / len(self.train_groups)

    def digest(self) -> str:
        """Short hash of the four lists, for receipts and the tracker."""
        text = "|".join(",".join(part) for part in (self.labelled, self.unlabelled, self.val, self.test))
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def make_split(
    groups: Mapping[str, str],
    partition: Partition,
    *,
    ratio: float | None = None,
    count: int | None = None,
    seed: int,
    val_share: float = 0.1,
    subset: str = "random",
    order: Sequence[str] = (),
    strata: Mapping[str, str] | None = None,
    unannotated: Collection[str] = (),
    unscored: Collection[str] = (),
) -> Split:
    """Draw the labelled groups of one cell.

    Validation groups are the published ones, else carved from the training side; they depend on neither ratio nor
    seed. The remaining training groups are ranked by a hash of (seed, group), so that 5 % is within 10 % is within
    20 % and adding a case leaves the rank of the others unchanged; ``subset="first"`` ranks by the published list
    ``order`` instead, for parity with published numbers; ``subset="stratified"`` interleaves the ranks of the strata,
    so that every labelled set, however small, mirrors their shares as far as its size allows.

    Args:
        groups: case key -> group.
        partition: published train, test and perhaps validation groups.
        ratio: share of training groups that are labelled, in (0, 1]; at least one group, and at 1 all that can be. Or:
        count: number of labelled groups.
        seed: draws the labelled subset.
        val_share: share of the training groups that can be scored, carved for validation where none is published, in
            [0, 0.5].
        subset: "random", "first" or "stratified".
        order: groups in published order, needed for "first".
        strata: group -> stratum, needed for "stratified".
        unannotated: cases without the annotation that methods learn from: always unlabelled, and groups of such cases
            alone are never drawn as labelled.
        unscored: cases without dense label: never in validation or test, and groups of such cases alone never carved.

    Raises:
        ValueError: ratio or count out of range, or neither or both given; too few groups.
        DataError: a published test or validation case is among ``unscored`` (all of its group, of a
            :class:`~datasets.base.Sparse` partition), or every group that could be carved is; no case is left to test.
    """
    if (ratio is None) == (count is None):
        raise ValueError("give either ratio or count of labelled groups, not both and not neither")
    if ratio is not None and not 0 < ratio <= 1:
        raise ValueError(f"ratio must be in (0, 1], got {ratio}; write 0.1 for 10 %")
    if not 0 <= val_share <= 0.5:
        raise ValueError(f"val_share must be in [0, 0.5], got {val_share}")
    bare, blind = (_wholly(groups, keys) for keys in (unannotated, unscored))
    _require_labels(groups, partition, unscored, blind)
    train = sorted(partition.train, key=lambda g: _rank("val", g))
    val = partition.val
    if not val and val_share > 0:
        scorable = [g for g in train if g not in blind]
        n_val = min(max(1, round(val_share * len(scorable))), len(train) - 1)
        val = tuple(scorable[:n_val])
        if n_val > 0 and not val:
            raise DataError(
                f"none of the {len(train)} training groups has a dense label, so none can be carved for validation; "
                "add dense labels, name validation cases that have some, or set val_share: 0"
            )
        train = [g for g in train if g not in set(val)]
    if not train:
        raise ValueError("no training group is left; the dataset needs at least two training groups")
    train = sorted(
        _ranked(train, seed, subset, order, strata or {}), key=bare.__contains__
    )  # a stable sort: those without come last
    able = sum(g not in bare for g in train)
    n = count if count is not None else max(1, able if ratio == 1 else round((ratio or 0) * len(train)))
    if not 1 <= n <= len(train):
        raise ValueError(
            f"{n} labelled groups asked for, but there are {len(train)} training groups after validation is carved"
        )
    if bare.intersection(train[:n]):
        raise ValueError(
            f"{n} labelled groups asked for, but only {able} of the {len(train)} training groups carry the annotation"
            + (f"; count them, labelled: [{able}] at most, or lower the ratio" if able else "; annotate some")
        )
    labelled = set(train[:n])

    def keys(part: Collection[str], without: Collection[str] = ()) -> tuple[str, ...]:
        return tuple(sorted(key for key, group in groups.items() if group in part and key not in without))

    taught, tested = keys(labelled, set(unannotated)), keys(set(partition.test), set(unscored))
    if not tested:
        raise DataError(
            f"no case to test on: of this fold {len(train)} group(s) train, such as {train[0]!r}, {len(val)} validate "
            "and none tests; name test cases (in the lists, folders or table that divide the data), choose another "
            "fold, or complete the copy"
        )
    return Split(
        labelled=taught,
        unlabelled=keys(set(train), set(taught)),
        val=keys(set(val), set(unscored)),
        test=tested,
        labelled_groups=tuple(sorted(labelled)),
        train_groups=tuple(sorted(train)),
    )


def passed_over(split: Split, groups: Mapping[str, str], partition: Partition, order: Sequence[str]) -> str:
    """A sentence for the record of a subset "first" whose published first groups were carved; else nothing."""
    carved = set() if partition.val or not split.unlabelled else {groups[key] for key in split.val}
    listed = [group for group in order if group in set(partition.train)]
    first = listed[: len(split.labelled_groups)]
    taken = [group for group in first if group in carved]
    if not taken:
        return ""
    return (
        f"the labelled groups are not the first {len(first)} of the published list: {', '.join(taken)} of them "
        f"validate{'' if taken[1:] else 's'}, and the next in the list are labelled instead; set val_share: 0 to label "
        "the published ones"
    )


def k_fold_beside(
    groups: Mapping[str, str], without: Collection[str], fold: int, folds: int, *, salt: str = "fold"
) -> Partition:
    """:func:`k_fold` of the groups that have labels; those of cases ``without`` alone train in every fold.

    Args:
        groups: case key -> group.
        without: keys of cases without label.
    """
    bare = _wholly(groups, without)
    known = k_fold([group for group in groups.values() if group not in bare], fold, folds, salt=salt)
    return Sparse(train=tuple(sorted({*known.train, *bare})), test=known.test)


def half_labelled(groups: Mapping[str, str], without: Collection[str]) -> list[str]:
    """A sentence where some cases of one group have labels and others none: what becomes of the others."""
    mixed = sorted({groups[key] for key in without} - _wholly(groups, without))
    if not mixed:
        return []
    return [
        f"{len(mixed)} group(s) have cases with and without labels, first {mixed[0]!r}: those without train as "
        "unlabelled, and are left out where their group validates or tests"
    ]


def left_out(split: Split, groups: Mapping[str, str]) -> str:
    """A sentence for the record where cases without label are left out beside others of their group; else nothing."""
    held, used = {groups[key] for key in (*split.val, *split.test)}, {*split.val, *split.test}
    n = sum(group in held and key not in used for key, group in groups.items())
    return f"{n} case(s) without label of groups that validate or test are left out" if n else ""


def _wholly(groups: Mapping[str, str], without: Collection[str]) -> set[str]:
    """Groups all of whose cases are among ``without``."""
    bare = set(without)
    return {groups[key] for key in bare} - {group for key, group in groups.items() if key not in bare}


def k_fold(groups: Sequence[str], fold: int, folds: int, *, salt: str = "fold") -> Partition:
    """Fold ``fold`` (1-based) of ``folds`` of equal size: every ``folds``-th group in the order of a hash of its name.

    Raises:
        ValueError: fold outside 1..folds, or fewer groups than folds.
    """
    if not 1 <= fold <= folds:
        raise ValueError(f"fold must be in 1..{folds}, got {fold}")
    ranked = sorted(set(groups), key=lambda g: _rank(salt, g))
    if len(ranked) < folds:
        raise ValueError(f"{folds} folds need at least as many groups, got {len(ranked)}")
    test = set(ranked[fold - 1 :: folds])
    return Partition(train=tuple(g for g in sorted(ranked) if g not in test), test=tuple(sorted(test)))


def _require_labels(
    groups: Mapping[str, str], partition: Partition, unscored: Collection[str], blind: Collection[str]
) -> None:
    for part in ("test", "val"):
        held = set(getattr(partition, part))
        needed = held.intersection(blind) if isinstance(partition, Sparse) else held
        short = sorted(key for key in unscored if groups[key] in needed)
        if short:
            where = {"test": "test", "val": "validation"}[part]
            raise DataError(
                f"{where} case {short[0]!r}{f' and {len(short) - 1} more' if short[1:] else ''} has no label to score "
                f"against; take it out of the {where} list, or add its label"
            )


def _ranked(train: Sequence[str], seed: int, subset: str, order: Sequence[str], strata: Mapping[str, str]) -> list[str]:
    if subset == "random":
        return sorted(train, key=lambda g: _rank(seed, g))
    if subset == "first":
        place = {group: i for i, group in enumerate(order)}
        missing = sorted(set(train) - set(place))
        if missing:
            raise ValueError(
                f'subset "first" needs a published order of all training groups; {missing[:3]} are not in it'
            )
        return sorted(train, key=place.__getitem__)
    if subset == "stratified":
        return _interleaved(sorted(train, key=lambda g: _rank(seed, g)), strata, seed)
    raise ValueError(f'subset must be "random", "first" or "stratified", got {subset!r}')


def _interleaved(ranked: Sequence[str], strata: Mapping[str, str], seed: int) -> list[str]:
    """The ranked groups so that every head of the list holds each stratum by its share, to within one group or so.

    The i-th of the n groups of a stratum stands at (i + ½) / n of the list; where two stand at the same place, a hash
    decides, so that no stratum always comes first.
    """
    missing = sorted(set(ranked) - set(strata))
    if missing:
        raise ValueError(
            f'subset "stratified" needs the stratum of every training group; {missing[:3]} have none. This dataset may '
            "not know any: a CSV manifest states them in its column stratum"
        )
    members: dict[str, list[str]] = {}
    for group in ranked:
        members.setdefault(strata[group], []).append(group)
    place = {group: (i + 0.5) / len(names) for names in members.values() for i, group in enumerate(names)}
    return sorted(ranked, key=lambda g: (place[g], _rank(seed, strata[g]), _rank(seed, g)))


def _rank(salt: object, group: str) -> bytes:
    return hashlib.blake2b(f"{salt}|{group}".encode(), digest_size=8).digest()
