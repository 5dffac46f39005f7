"""What methods cost, who is on the Pareto front, and how segmentation holds where structures are small."""

from __future__ import annotations

from math import nan
from pathlib import Path

import numpy as np
import pytest

from benchmark.report import blocks, costs, frame, sizes, style, summary, verdicts
from tests.unit.report_records import score, write_cell


def _read(results: Path):
    loaded = frame.load(results / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    return loaded, summary.entries(loaded, patients), verdicts.designs(loaded, patients)


def _seconds(train: float, predict: float | None = 0.5) -> dict[str, float]:
    return {"train": train, "total": train} | ({} if predict is None else {"predict": predict})


# The front ----------------------------------------------------------------------------------------------------------
def test_who_is_slower_and_worse_is_not_on_the_front() -> None:
    # c (3 s, .6) loses to b (2 s, .7); d is as good as b but slower; e is as fast as a and better
    found = costs.front(np.array([1.0, 2, 3, 4, 1]), np.array([0.4, 0.7, 0.6, 0.7, 0.5]))
    assert found.tolist() == [False, True, False, False, True]


def test_equals_are_both_on_the_front_and_unknown_ones_are_not() -> None:
    assert costs.front(np.array([1.0, 1.0]), np.array([0.5, 0.5])).tolist() == [True, True]
    assert costs.front(np.array([nan, 2.0]), np.array([0.9, 0.5])).tolist() == [False, True]
    assert costs.front(np.array([1.0, 2.0]), np.array([nan, 0.5])).tolist() == [False, True]


def test_the_front_of_many_draws_is_the_front_of_each() -> None:
    random = np.random.default_rng(0)
    seconds, dice = random.uniform(1, 9, 6), random.uniform(0, 1, (20, 6))
    found = costs.front(seconds, dice)
    for draw, here in zip(dice, found, strict=True):
        slow = [
            not any(seconds[j] <= seconds[i] and draw[j] >= draw[i] and j != i for j in range(6)) for i in range(6)
        ]  # without ties
        assert here.tolist() == slow


def test_the_share_of_draws_on_the_front_is_one_for_who_always_is(tmp_path: Path) -> None:
    # quick is faster than all; good is better in every seed and patient; slow is neither
    for seed in range(3):
        for method, dice, train in (("quick", 0.5, 10.0), ("good", 0.8, 20.0), ("slow", 0.6, 30.0)):
            rows = [score(patient, dice=dice + 0.01 * seed) for patient in "ABC"]
            write_cell(tmp_path, rows, method=method, seed=seed, seconds=_seconds(train))
    loaded, entries, designs = _read(tmp_path)
    found = costs.on_front(loaded, entries, blocks.blocks(loaded, designs))
    assert {key[1]: value for key, value in found.items()} == {
        "quick": (True, 1.0), "good": (True, 1.0), "slow": (False, 0.0),
    }  # fmt: skip


def test_a_method_with_scribbles_is_not_kept_off_the_front_by_one_with_dense_labels(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A", dice=0.9)], method="dense", seconds=_seconds(5))
    write_cell(tmp_path, [score("A", dice=0.5)], method="pce", annotation="scribble", seconds=_seconds(9))
    loaded, entries, _ = _read(tmp_path)
    assert all(member for member, _ in costs.on_front(loaded, entries, []).values())


# The table ----------------------------------------------------------------------------------------------------------
def test_costs_are_means_over_cells_and_the_largest_memory(tmp_path: Path) -> None:
    # 10 s once and 40 s three times: 130/4 = 32.5, not the mean of the two amounts, 25
    write_cell(tmp_path, [score("A")], ratio=0.1, seconds=_seconds(10, 0.1), memory_mib=300.0)
    for seed in range(3):
        write_cell(tmp_path, [score("A")], ratio=0.2, seed=seed, seconds=_seconds(40, 0.5), memory_mib=200.0)
    loaded, entries, _ = _read(tmp_path)
    (table,) = costs.table(loaded, entries, costs.on_front(loaded, entries, []))
    assert [column.amount for column in table.columns] == [
        "training (s)", "memory (MiB)", "parameters (M)", "inference (s/case)", "precision", "on the front",
    ]  # fmt: skip
    # (.1 + 3 · .5)/4 = .4; 123456 parameters
    assert [number.text for number in table.rows[0].numbers] == [
        "32.5 (10.0–40.0)", "300", "0.12", "0.400", "float32", "yes",
    ]  # fmt: skip
    assert len(table.rows[0].numbers[0].ids) == 4


def test_a_time_that_was_not_recorded_has_no_column_and_is_not_guessed(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], seconds=_seconds(10, None))
    loaded, entries, _ = _read(tmp_path)
    (table,) = costs.table(loaded, entries, costs.on_front(loaded, entries, []))
    assert "inference (s/case)" not in [column.amount for column in table.columns]
    assert "Inference time was not recorded" in " ".join(table.notes)


@pytest.mark.parametrize(
    ("receipts", "words"),
    [
        ([{"hardware": {"cpu": "one"}}, {"hardware": {"cpu": "two"}}], "hardware (2)"),
        ([{"tree": "one"}, {"tree": "two"}], "version of the code (2)"),
        ([{"precision": "float32"}, {"precision": "bfloat16"}], "precision (bfloat16, float32)"),
    ],
)
def test_rows_of_other_code_precision_or_hardware_have_no_front(
    tmp_path: Path, receipts: list[dict[str, object]], words: str
) -> None:
    for number, receipt in enumerate(receipts):
        for seed in range(3):
            rows = [score(patient, dice=0.5 + 0.1 * number) for patient in "ABC"]
            train = _seconds(10.0 + number)
            write_cell(tmp_path, rows, method=f"m{number}", seed=seed, receipt=receipt, seconds=train)
    loaded, entries, designs = _read(tmp_path)
    fronts = costs.on_front(loaded, entries, blocks.blocks(loaded, designs))
    assert fronts == {}
    (table,) = costs.table(loaded, entries, fronts)
    assert {row.numbers[-1].text for row in table.rows} == {"–"}
    said = f"No front on phantom_2d at 10%: cells differ in {words}, so that their times do not compare."
    assert said in table.notes
    with style.settings():
        looks = style.looks(["m0", "m1"])
        (picture,) = costs.pareto(loaded, entries, ["m1", "m0"], looks, fronts)
    assert said in picture.caption
    assert "pale" not in picture.caption
    assert "No front can be drawn." in picture.alt


def test_what_a_later_version_records_of_the_hardware_makes_no_other_machine(tmp_path: Path) -> None:
    for number, more in enumerate(({}, {"flags": ["avx2"]})):
        write_cell(tmp_path, [score("A")], method=f"m{number}", receipt={"hardware": {"cpu": "one"} | more})
    loaded, entries, _ = _read(tmp_path)
    assert len(costs.on_front(loaded, entries, [])) == 2


def test_precision_is_named_and_times_have_their_range(tmp_path: Path) -> None:
    for seed, (train, precision) in enumerate(((10.0, "float32"), (30.0, "bfloat16"))):
        write_cell(tmp_path, [score("A")], seed=seed, seconds=_seconds(train), receipt={"precision": precision})
    loaded, entries, _ = _read(tmp_path)
    (table,) = costs.table(loaded, entries, costs.on_front(loaded, entries, []))
    assert table.rows[0].numbers[0].text == "20.0 (10.0–30.0)"
    assert table.rows[0].numbers[-2].text == "bfloat16, float32"


# Sizes --------------------------------------------------------------------------------------------------------------
def test_dice_and_failures_are_sorted_by_the_size_of_the_reference(tmp_path: Path) -> None:
    # 12 structures of 1 to 12 pixels in two bins of six: Dice .5 below and .9 above; of the small ones one is missed,
    # which makes (5 · .5 + 0)/6 and 1/6 failed
    rows = [
        score(f"c{n}", dice=0.5 if n <= 6 else 0.9, n_gt=n, status="missed" if n == 1 else "ok") for n in range(1, 13)
    ]
    write_cell(tmp_path, rows)
    loaded, entries, _ = _read(tmp_path)
    found = sizes.sized(loaded, entries, {"phantom_2d": "10%"}, "penalised").sort_values("size")
    assert found["dice"].tolist() == [pytest.approx(2.5 / 6), pytest.approx(0.9)]
    assert found["failed"].tolist() == [pytest.approx(1 / 6), 0]
    # geometric means of 1 to 6 and of 7 to 12
    assert found["size"].tolist() == [pytest.approx(720 ** (1 / 6)), pytest.approx(665280 ** (1 / 6))]


def test_what_is_not_in_the_reference_has_no_size(tmp_path: Path) -> None:
    rows = [score(f"c{n}", n_gt=n) for n in range(1, 13)]
    write_cell(tmp_path, [*rows, score("d", status="spurious"), score("e", status="both_empty")])
    loaded, entries, _ = _read(tmp_path)
    found = sizes.sized(loaded, entries, {"phantom_2d": "10%"}, "penalised")
    assert found["failed"].sum() == 0


def test_too_few_structures_or_equal_ones_have_no_bins(tmp_path: Path) -> None:
    write_cell(tmp_path, [score(f"c{n}", n_gt=n) for n in range(1, 12)])
    write_cell(tmp_path, [score(f"c{n}", n_gt=9) for n in range(40)], dataset="equal")
    loaded, entries, _ = _read(tmp_path)
    assert sizes.sized(loaded, entries, {"phantom_2d": "10%", "equal": "10%"}, "penalised").empty


def _by_size(results: Path, *, missed: int, sizes_of: range = range(1, 13), unit: str = "mm") -> style.Picture:
    rows = [score(f"c{n}", n_gt=n, status="missed" if n <= missed else "ok", unit=unit) for n in sizes_of]
    write_cell(results, rows)
    loaded, entries, _ = _read(results)
    (label,) = set(entries["label"])
    look = {label: style.looks([label])[label]}
    (picture,) = sizes.by_size(loaded, entries, [("phantom_2d", "10%")], [label], look, "penalised")
    return picture


def test_the_axis_of_failures_begins_at_none(tmp_path: Path) -> None:
    low, high = _by_size(tmp_path, missed=6).figure.axes[1].get_ylim()
    assert high >= 100
    assert low == pytest.approx(-0.05 * high)


def test_where_nothing_failed_there_is_no_panel_of_failures_and_the_caption_says_so(tmp_path: Path) -> None:
    picture = _by_size(tmp_path, missed=0)
    assert len(picture.figure.axes) == 1
    assert "No structure was missed or failed." in picture.caption


@pytest.mark.parametrize(("unit", "word"), [("mm", "voxels"), ("px", "pixels or voxels")])
def test_sizes_are_in_what_they_were_counted_in(tmp_path: Path, unit: str, word: str) -> None:
    axes = _by_size(tmp_path, missed=0, unit=unit).figure.axes[0]
    assert axes.get_xlabel() == f"Size of the structure in the reference ({word})"


def test_sizes_within_an_octave_have_ticks_that_can_be_read(tmp_path: Path) -> None:
    axes = _by_size(tmp_path, missed=0, sizes_of=range(1210, 1910, 10)).figure.axes[0]
    assert len(axes.get_xticks()) > 1
