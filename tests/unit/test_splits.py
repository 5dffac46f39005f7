"""Splits: disjoint by group, nested in ratio, the same for every method."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark import preflight
from datasets.base import DataError, Partition, Sparse
from datasets.splits import Split, half_labelled, k_fold, k_fold_beside, left_out, make_split, passed_over
from tests.miniatures import csv_manifest as manifest

from .tiny_cells import places_in, tiny_cell

PATIENTS = [f"p{i:02d}" for i in range(25)]
CASES = {f"{patient}_{phase}": patient for patient in PATIENTS for phase in ("ED", "ES")}
PARTITION = Partition(train=tuple(PATIENTS[:20]), test=tuple(PATIENTS[20:]))

ratios = st.floats(0.01, 1)
seeds = st.integers(0, 2**31)


def split(**changes: object) -> Split:
    arguments = {"ratio": 0.2, "seed": 0, **changes}
    if "count" in arguments:
        arguments["ratio"] = None
    return make_split(CASES, PARTITION, **arguments)  # type: ignore[arg-type]


def patients(keys: tuple[str, ...]) -> set[str]:
    return {CASES[key] for key in keys}


@settings(deadline=None)
@given(ratios, seeds, st.floats(0, 0.5))
def test_every_case_is_in_one_part_and_no_patient_straddles(ratio: float, seed: int, val_share: float) -> None:
    made = split(ratio=ratio, seed=seed, val_share=val_share)
    parts = [made.labelled, made.unlabelled, made.val, made.test]
    assert sorted(key for part in parts for key in part) == sorted(CASES)
    groups = [patients(part) for part in parts]
    assert sum(map(len, groups)) == len(PATIENTS)
    assert made.test == tuple(sorted(key for key in CASES if CASES[key] in PARTITION.test))
    assert all(part == tuple(sorted(part)) for part in parts)


@settings(deadline=None)
@given(ratios, ratios, seeds)
def test_a_smaller_ratio_is_within_a_larger_one(a: float, b: float, seed: int) -> None:
    small, large = sorted((a, b))
    assert set(split(ratio=small, seed=seed).labelled) <= set(split(ratio=large, seed=seed).labelled)


@settings(deadline=None)
@given(ratios, seeds)
def test_validation_and_test_depend_on_neither_ratio_nor_seed(ratio: float, seed: int) -> None:
    made, other = split(ratio=ratio, seed=seed), split()
    assert (made.val, made.test) == (other.val, other.test)


def test_seeds_draw_different_labelled_patients() -> None:
    assert len({split(seed=seed).labelled for seed in range(20)}) > 15


def test_a_ratio_counts_training_patients_after_validation_is_carved() -> None:
    # 20 training patients, a tenth of them (2) validate: a ratio of 0.5 labels 9 of the 18 that are left.
    made = split(ratio=0.5)
    assert (len(made.labelled_groups), len(made.train_groups), len(patients(made.val))) == (9, 18, 2)
    assert made.ratio == 0.5
    assert patients(made.labelled) == set(made.labelled_groups)


def test_the_smallest_ratio_labels_one_patient_and_the_largest_all() -> None:
    assert len(split(ratio=1e-9).labelled_groups) == 1
    assert split(ratio=1).unlabelled == ()


def test_a_count_of_groups_is_as_good_as_a_ratio() -> None:
    assert split(count=9) == split(ratio=0.5)


def test_without_a_validation_share_all_training_patients_train() -> None:
    made = split(val_share=0)
    assert made.val == ()
    assert len(made.train_groups) == 20


def test_published_validation_groups_are_used_and_nothing_is_carved() -> None:
    published = Partition(train=tuple(PATIENTS[:15]), val=tuple(PATIENTS[15:20]), test=tuple(PATIENTS[20:]))
    made = make_split(CASES, published, ratio=0.2, seed=0)
    assert patients(made.val) == set(PATIENTS[15:20])
    assert made.train_groups == tuple(PATIENTS[:15])


def test_first_takes_the_head_of_the_published_list_whatever_the_seed() -> None:
    order = list(reversed(PATIENTS[:20]))
    made = split(count=3, subset="first", order=order, val_share=0)
    assert set(made.labelled_groups) == {"p19", "p18", "p17"}
    assert made == split(count=3, subset="first", order=order, val_share=0, seed=7)


def test_where_validation_is_carved_from_the_published_first_a_sentence_says_so() -> None:
    carved = sorted(patients(split().val))
    assert len(carved) == 2
    order = [carved[0], *(p for p in PATIENTS[:20] if p not in carved), carved[1]]
    made = split(count=3, subset="first", order=order)
    assert set(made.labelled_groups) == set(order[1:4])
    said = passed_over(
        made, CASES, PARTITION, ["p24", *order]
    )  # p24 is tested, so that the first of training are meant
    assert said.startswith(
        f"the labelled groups are not the first 3 of the published list: {carved[0]} of them validates, and the next"
    )
    assert "val_share: 0" in said
    assert passed_over(made, CASES, PARTITION, order[1:] + order[:1]) == ""
    assert passed_over(split(count=3, subset="first", order=order, val_share=0), CASES, PARTITION, order) == ""
    assert passed_over(split(ratio=1, subset="first", order=order), CASES, PARTITION, order) == ""  # all, not the first
    published = Partition(train=tuple(PATIENTS[:15]), val=tuple(PATIENTS[15:20]), test=tuple(PATIENTS[20:]))
    first = make_split(CASES, published, count=3, seed=0, subset="first", order=PATIENTS)
    assert passed_over(first, CASES, published, PATIENTS[15:] + PATIENTS[:15]) == ""


STRATA = {name: "a" if i % 4 < 2 else "b" if i % 4 == 2 else "c" for i, name in enumerate(PATIENTS)}


def test_a_stratified_subset_of_any_size_mirrors_the_shares_of_the_strata() -> None:
    # Of the 20 training patients 10 are of stratum a, 5 of b, 5 of c: k labelled ones should be k/2, k/4 and k/4, and
    # are so to within one, whatever the seed. A random draw is not: see the last line.
    assert Counter(STRATA[p] for p in PATIENTS[:20]) == {"a": 10, "b": 5, "c": 5}
    for seed in range(5):
        for k in range(1, 21):
            made = split(count=k, subset="stratified", strata=STRATA, val_share=0, seed=seed)
            counts = Counter(STRATA[p] for p in made.labelled_groups)
            for stratum, share in (("a", k / 2), ("b", k / 4), ("c", k / 4)):
                assert abs(counts[stratum] - share) <= 1
    drawn = [Counter(STRATA[p] for p in split(count=8, val_share=0, seed=seed).labelled_groups) for seed in range(20)]
    assert any(abs(counts["a"] - 4) > 1 for counts in drawn)


def test_stratified_subsets_are_nested_and_drawn_by_the_seed() -> None:
    def labelled(count: int, seed: int) -> set[str]:
        return set(split(count=count, subset="stratified", strata=STRATA, seed=seed).labelled_groups)

    assert labelled(2, 0) < labelled(4, 0) < labelled(9, 0)
    assert len({tuple(sorted(labelled(4, seed))) for seed in range(10)}) > 5


def test_a_stratified_subset_needs_the_stratum_of_every_training_patient() -> None:
    with pytest.raises(ValueError, match=r"stratum of every training group; \['p01'\] have none"):
        split(count=2, subset="stratified", strata={p: s for p, s in STRATA.items() if p != "p01"}, val_share=0)


def test_a_patient_more_leaves_the_order_of_the_others() -> None:
    more = Partition(train=(*PARTITION.train, "p99"), test=PARTITION.test)
    grown = make_split({**CASES, "p99_ED": "p99"}, more, count=6, seed=3, val_share=0)
    assert len(set(split(count=6, seed=3, val_share=0).labelled_groups) & set(grown.labelled_groups)) >= 5


def test_the_digest_changes_with_any_part() -> None:
    made = split()
    moved = dataclasses.replace(made, unlabelled=made.unlabelled[1:], val=(*made.val, made.unlabelled[0]))
    assert made.digest() == split().digest()
    assert len({made.digest(), moved.digest(), split(seed=1).digest()}) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ratio": 10}, r"ratio must be in \(0, 1\], got 10; write 0.1 for 10 %"),
        ({"ratio": 0}, "ratio must be in"),
        ({"ratio": None}, "either ratio or count"),
        ({"count": 0}, "0 labelled groups asked for"),
        ({"count": 19}, "19 labelled groups asked for, but there are 18"),
        ({"val_share": 0.6}, "val_share"),
        ({"subset": "last"}, "'last'"),
        ({"subset": "first", "order": PATIENTS[:5]}, "are not in it"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(**wrong)


def test_ratio_and_count_together_are_refused() -> None:
    with pytest.raises(ValueError, match="not both"):
        make_split(CASES, PARTITION, ratio=0.5, count=3, seed=0)


def test_one_training_group_trains_and_none_is_refused() -> None:
    lone = make_split(CASES, Partition(train=("p00",), test=("p01",)), ratio=1, seed=0)
    assert (lone.labelled_groups, lone.val) == (("p00",), ())
    with pytest.raises(ValueError, match="no training group"):
        make_split(CASES, Partition(train=(), test=("p01",)), ratio=1, seed=0)


@pytest.mark.parametrize("test", [(), ("p99",)])  # none, and one without a case
def test_a_fold_that_tests_no_case_is_refused_before_it_trains(test: tuple[str, ...]) -> None:
    part = Partition(train=tuple(PATIENTS[:20]), val=tuple(PATIENTS[20:]), test=test)
    with pytest.raises(DataError, match=r"no case to test on: .* 20 group.* train, .* 5 validate .*; name test"):
        make_split(CASES, part, ratio=0.2, seed=0)


def test_a_table_without_test_cases_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    manifest.write(places.data)
    manifest.describe(places.data, {case: part.replace("test", "val") for case, part in manifest.PARTS.items()})
    options = {name: list(value) if isinstance(value, tuple) else value for name, value in manifest.OPTIONS.items()}
    cell = tiny_cell(datasets=[{"name": "csv_manifest", "options": options}], ratios=[1.0])
    with pytest.raises(DataError, match="no case to test on"):
        preflight.check([cell], places)
    manifest.describe(places.data, manifest.PARTS)
    preflight.check([cell], places)


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(6, 25))
def test_folds_test_every_group_once_and_differ_in_size_by_at_most_one(folds: int, n: int) -> None:
    parts = [k_fold(PATIENTS[:n], fold, folds) for fold in range(1, folds + 1)]
    assert sorted(group for part in parts for group in part.test) == PATIENTS[:n]
    assert all(sorted(part.train + part.test) == PATIENTS[:n] for part in parts)
    sizes = [len(part.test) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_folds_do_not_depend_on_the_order_of_the_groups() -> None:
    assert k_fold(PATIENTS, 2, 5) == k_fold(PATIENTS[::-1], 2, 5)


@pytest.mark.parametrize(("fold", "folds", "message"), [(0, 5, "1..5"), (6, 5, "1..5"), (1, 26, "26 folds")])
def test_folds_that_do_not_exist_are_refused(fold: int, folds: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        k_fold(PATIENTS, fold, folds)


def test_a_patient_in_two_published_parts_is_refused() -> None:
    with pytest.raises(DataError, match="both train and test: p1"):
        Partition(train=("p0", "p1"), test=("p1",))


# Cases without annotation --------------------------------------------------------------------------------------------
BARE = tuple(f"{patient}_{phase}" for patient in PATIENTS[:12] for phase in ("ED", "ES"))
"""Twelve of the twenty training patients, with both of their scans."""


@settings(deadline=None)
@given(seeds, st.floats(0, 0.2))  # four of the eight annotated training patients at most
def test_cases_without_annotation_are_always_unlabelled(seed: int, val_share: float) -> None:
    made = split(ratio=None, count=4, seed=seed, val_share=val_share, unannotated=BARE, unscored=BARE)
    assert len(patients(made.labelled)) == 4
    assert set(BARE) <= set(made.unlabelled)
    everything = [*made.labelled, *made.unlabelled, *made.val, *made.test]
    assert sorted(everything) == sorted(CASES)


def test_a_case_without_annotation_leaves_the_drawing_of_the_others_as_it_was() -> None:
    # the first four of the ranking are all annotated, so removing the annotations of the fifth changes nothing
    ranked = [split(ratio=None, count=n, seed=1, val_share=0).labelled_groups for n in range(1, 6)]
    fifth = (set(ranked[4]) - set(ranked[3])).pop()
    bare = (f"{fifth}_ED", f"{fifth}_ES")
    made = split(ratio=None, count=4, seed=1, val_share=0, unannotated=bare)
    assert made.labelled_groups == ranked[3]
    assert fifth not in split(ratio=None, count=5, seed=1, val_share=0, unannotated=bare).labelled_groups


@settings(deadline=None)
@given(seeds, st.sampled_from([0.3, 1.0]), st.booleans())
def test_of_a_group_with_and_without_labels_each_case_is_taken_as_what_it_is(
    seed: int, ratio: float, sparse: bool
) -> None:
    one = tuple(f"{patient}_ES" for patient in (PATIENTS if sparse else PARTITION.train))  # one of each patient's two
    part = (Sparse if sparse else Partition)(PARTITION.train, PARTITION.test)
    made = make_split(CASES, part, ratio=ratio, seed=seed, unannotated=one, unscored=one)
    whole = split(ratio=ratio, seed=seed)
    assert (made.labelled_groups, made.train_groups) == (whole.labelled_groups, whole.train_groups)
    assert set(made.labelled) == set(whole.labelled) - set(one)
    assert set(made.unlabelled) == {case for case in CASES if CASES[case] in whole.train_groups} - set(made.labelled)
    assert set(made.val) == set(whole.val) - set(one)  # and the others are not trained on: their patient validates
    assert set(made.test) == set(whole.test) - set(one)
    n = len(whole.val) // 2 + sparse * len(whole.test) // 2
    assert left_out(made, CASES) == f"{n} case(s) without label of groups that validate or test are left out"
    assert left_out(whole, CASES) == ""


def test_a_sparse_partition_still_needs_a_label_in_every_group_that_it_tests() -> None:
    part = Sparse(PARTITION.train, PARTITION.test)
    with pytest.raises(DataError, match="test case 'p21_ED' and 1 more has no label to score against"):
        make_split(CASES, part, ratio=0.2, seed=0, unscored=("p20_ED", "p21_ED", "p21_ES"))


def test_more_labels_than_there_are_on_disk_are_refused() -> None:
    # 20 training patients less 12
    with pytest.raises(ValueError, match="9 labelled groups asked for, but only 8 of the 20 training groups carry"):
        split(ratio=None, count=9, val_share=0, unannotated=BARE)


def test_an_unlabelled_case_in_a_test_or_validation_list_is_refused() -> None:
    with pytest.raises(DataError, match="test case 'p20_ED' and 1 more has no label to score against"):
        split(unscored=("p20_ED", "p21_ES"))
    published = Partition(train=tuple(PATIENTS[:15]), test=tuple(PATIENTS[20:]), val=tuple(PATIENTS[15:20]))
    with pytest.raises(DataError, match="validation case 'p15_ES' has no label to score against; take it out"):
        make_split(CASES, published, ratio=0.2, seed=0, unscored=("p15_ES",))


def test_a_carve_without_any_dense_label_is_refused_and_none_is_asked_for_without_validation() -> None:
    scribbled = tuple(case for case in CASES if CASES[case] in PARTITION.train)
    with pytest.raises(DataError, match=r"none of the 20 training groups has a dense label, .*; add .*val_share: 0"):
        split(unscored=scribbled)
    assert split(unscored=scribbled[2:]).val == ("p00_ED", "p00_ES")
    assert split(unscored=scribbled[1:]).val == ("p00_ED",)
    assert split(unscored=scribbled, val_share=0).val == ()


def test_all_labels_are_all_that_there_are() -> None:
    made = split(ratio=1, val_share=0, unannotated=BARE)
    assert set(made.labelled) == {case for case in CASES if CASES[case] in PARTITION.train} - set(BARE)
    assert set(made.unlabelled) == set(BARE)
    with pytest.raises(ValueError, match=r"carry the annotation; count them, labelled: \[8\] at most"):
        split(ratio=0.5, val_share=0, unannotated=BARE)


def test_as_many_are_carved_as_the_share_of_those_that_can_be_scored() -> None:
    # a quarter of the eight with labels, not of all twenty: that would be five of the eight
    assert len(patients(split(ratio=1, val_share=0.25, unannotated=BARE, unscored=BARE).val)) == 2


def test_folds_are_of_the_groups_with_labels_and_the_others_train_in_each() -> None:
    groups, bare = {f"c{n:02d}": f"g{n // 2}" for n in range(40)}, [f"c{n:02d}" for n in (0, 1, 2, 3, 4, 5, 7)]
    without = {"g0", "g1", "g2"}  # of g3 one of two cases has a label
    parts = [k_fold_beside(groups, bare, fold, 5, salt="s") for fold in range(1, 6)]
    assert parts[0].test == k_fold([g for g in groups.values() if g not in without], 1, 5, salt="s").test
    assert sorted(g for part in parts for g in part.test) == sorted(set(groups.values()) - without)
    assert all(set(part.train) == set(groups.values()) - set(part.test) for part in parts)
    assert all(isinstance(part, Sparse) for part in parts)
    (told,) = half_labelled(groups, bare)
    assert told.startswith("1 group(s) have cases with and without labels, first 'g3': ")
    assert half_labelled(groups, bare[:6]) == []
