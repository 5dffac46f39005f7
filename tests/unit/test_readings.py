"""What is scored of the last step beside the headline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmark.evaluate import score_case
from benchmark.readings import cleaned_up
from benchmark.record import LARGEST, METRICS, Score
from datasets.types import Case, Task

TASK = Task("toy", 3, 1, ("background", "wall", "cavity"), (8, 8, 8), "mm")


def case(label: np.ndarray) -> Case:
    return Case("c", "p", np.zeros((1, *label.shape), np.float32), label, (1.0, 1.0, 1.0))


@pytest.fixture
def label() -> np.ndarray:
    found = np.zeros((8, 8, 8), np.uint8)
    found[1:5, 1:5, 1:5] = 1
    found[2:4, 2:4, 2:4] = 2
    return found


def by_class(scores: list[Score], metric: str) -> dict[str, float]:
    return {score.class_name: score.values[METRICS.index(metric)] for score in scores}


def test_only_the_largest_component_of_each_class_is_scored(label: np.ndarray):
    prediction = label.copy()
    prediction[7, 7, 7] = 1  # far away
    prediction[0, 0, 0] = 2  # smaller, and it does not touch the other
    of = case(label)
    whole = score_case(prediction, of, TASK, "last")
    found = cleaned_up(prediction, of, TASK, whole)
    assert {score.selection for score in found} == {LARGEST}
    assert by_class(found, "dice") == {"wall": 1.0, "cavity": 1.0}
    assert by_class(found, "hd95") == {"wall": 0.0, "cavity": 0.0}
    assert max(by_class(whole, "dice").values()) < 1
    assert max(by_class(whole, "hd").values()) > 3


def test_components_that_touch_by_a_corner_are_one(label: np.ndarray):
    prediction = label.copy()
    prediction[5, 5, 5] = 1
    of = case(label)
    whole = score_case(prediction, of, TASK, "last")
    assert cleaned_up(prediction, of, TASK, whole) == [replace(score, selection=LARGEST) for score in whole]


@pytest.mark.parametrize("shape", [(6, 7), (1, 6, 7)])
def test_a_single_image_is_cleaned_up_in_its_plane(shape: tuple[int, ...]):
    label = np.zeros(shape, np.uint8)
    label[..., 1:4, 1:4] = 1
    prediction = label.copy()
    prediction[..., 5, 6] = 1
    of = Case("c", "p", np.zeros((1, *shape), np.float32), label)
    task = replace(TASK, ndim=2, patch=(8, 8), unit="px", classes=("background", "tool"))
    (found,) = cleaned_up(prediction, of, task, score_case(prediction, of, task, "last"))
    assert found.values[METRICS.index("dice")] == 1


def test_a_failed_case_stays_one(label: np.ndarray):
    failed = score_case(None, case(label), TASK, "last")
    assert cleaned_up(None, case(label), TASK, failed) == [replace(score, selection=LARGEST) for score in failed]
