"""Which test cases a cell keeps pictures of: its best, median and worst, and the predicted slice of many more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.examples import LARGEST_SIDE, MOST_KEPT, Examples, best_median_worst
from benchmark.report.overlays import read_examples
from datasets.types import Case, Task
from tests.unit.report_records import score

TASK = Task("toy", 2, 1, ("background", "organ"), (8, 8), "mm")


def _case(number: int, shape: tuple[int, ...] = (6, 8), spacing: tuple[float, ...] | None = None) -> Case:
    """Ever more foreground from slice to slice, then none in the last."""
    label = np.zeros(shape, np.uint8)
    if len(shape) == 3:
        for z in range(shape[0] - 1):
            label[z, : z + 1] = 1
    else:
        label[:2] = 1
    image = np.random.default_rng(number).normal(size=(1, *shape)).astype(np.float32)
    return Case(f"case{number:03d}", f"p{number}", image, label, None, spacing)


def _saved(tmp_path: Path, dices: list[float | None], **more) -> Path:
    """Cases with these Dice values, None where there was no prediction."""
    examples = Examples(TASK, len(dices))
    for number, dice in enumerate(dices):
        case = _case(number, **more)
        assert case.label is not None
        prediction = None if dice is None else np.full_like(case.label, number % 2)
        examples.add(case, prediction, [score(case.key, dice=dice or 0.0)])
    examples.save(tmp_path / "examples.npz")
    return tmp_path / "examples.npz"


def _shown(path: Path) -> dict[str, str]:
    return {example.rank: example.name for example in read_examples(path).shown}


def test_the_best_the_median_and_the_worst_case_are_shown(tmp_path: Path) -> None:
    # sorted .9 .8 .7 .5 .2: median .7
    found = _shown(_saved(tmp_path, [0.5, 0.9, 0.2, 0.7, 0.8]))
    assert found == {"best": "case001", "median": "case003", "worst": "case002"}


@pytest.mark.parametrize(
    ("dices", "expected"),
    [
        ([0.5], ["best"]),
        ([0.5, 0.9], ["best", "worst"]),
        ([0.9, 0.5, 0.7, 0.6], ["best", "median", "worst"]),
        ([None, 0.5], ["best"]),
    ],
)
def test_no_case_is_shown_twice_and_none_without_a_prediction(
    tmp_path: Path, dices: list[float | None], expected: list[str]
) -> None:
    assert list(_shown(_saved(tmp_path, dices))) == expected


def test_of_an_even_number_the_median_is_the_lower_one_and_of_equal_ones_the_first_comes_first(tmp_path: Path) -> None:
    # .9 .7 .6 .5: between .7 and .6 the lower
    assert _shown(_saved(tmp_path, [0.9, 0.5, 0.7, 0.6]))["median"] == "case003"
    assert _shown(_saved(tmp_path, [0.5, 0.5, 0.5]))["best"] == "case000"


def test_every_prediction_is_kept_so_that_methods_can_be_shown_on_the_same_cases(tmp_path: Path) -> None:
    found = read_examples(_saved(tmp_path, [0.1 * n for n in range(7)]))
    assert sorted(found.predictions) == [f"case{n:03d}" for n in range(7)]
    for number in range(7):
        prediction = found.predictions[f"case{number:03d}"]
        assert (prediction.shape, set(np.unique(prediction))) == ((6, 8), {number % 2})


def test_of_many_cases_the_same_evenly_spaced_ones_are_kept_for_every_method(tmp_path: Path) -> None:
    total = 3 * MOST_KEPT
    names = []
    for seed in range(2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        path = _saved(folder, np.random.default_rng(seed).uniform(0, 1, total).tolist())
        names.append(set(read_examples(path).predictions))
    assert names[0] == names[1]
    assert len(names[0]) == MOST_KEPT
    assert {"case000", f"case{total - 1:03d}"} <= names[0], "both ends of the list"


def test_of_a_volume_the_slice_with_most_foreground_is_kept_in_its_own_spacing(tmp_path: Path) -> None:
    # slice 3 of 5 is the fullest; the last is empty
    found = read_examples(_saved(tmp_path, [0.5], shape=(5, 6, 8), spacing=(10.0, 1.5, 1.2)))
    (example,) = found.shown
    assert (example.name, example.spacing) == ("case000 slice 3", (1.5, 1.2))
    assert example.label[:4].all()


def test_large_slices_are_thinned_out_and_keep_their_size_in_millimetres(tmp_path: Path) -> None:
    # every third of 3 · 512 pixels of .1 mm
    shape = (3 * LARGEST_SIDE, 30)
    (example,) = read_examples(_saved(tmp_path, [0.5], shape=shape, spacing=(0.1, 0.1))).shown
    assert example.image.shape == (LARGEST_SIDE, 10)
    assert example.spacing == pytest.approx((0.3, 0.3))


def test_nothing_is_written_without_a_prediction(tmp_path: Path) -> None:
    assert not _saved(tmp_path, [None, None]).exists()


def test_a_case_whose_classes_are_in_neither_map_is_not_called_the_worst() -> None:
    examples = Examples(TASK, 2)
    for number, status in enumerate(("both_empty", "ok")):
        case = _case(number)
        assert case.label is not None
        examples.add(case, case.label, [score(case.key, dice=0.9, status=status)])
    ranked = best_median_worst(examples._slices)
    assert {rank: each.name for rank, each in ranked.items()} == {"best": "case000", "worst": "case001"}
