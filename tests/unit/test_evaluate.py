"""Prediction in native geometry and its scores: a perfect predictor is perfect, whatever the grid of the patch."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil, isnan, nan, prod
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark import evaluate as evaluation
from benchmark.evaluate import BadPrediction, evaluate, predict_case, score_case, validation_dice, windows
from benchmark.record import METRICS, Score
from benchmark.training import Training
from datasets.base import SealedLabel, Vault
from datasets.types import Case, Task
from methods.base import Method

from .toy_data import intensity, toy

WHERE: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32}


class Predictor(Method):
    """A method whose predictions are a function of the image."""

    def __init__(self, rule: Callable[[Tensor], Tensor]) -> None:
        nn.Module.__init__(self)
        self.rule = rule
        self.seen: list[Tensor] = []

    def predict(self, image: Tensor) -> Tensor:
        self.seen.append(image.clone())
        return self.rule(image)


def reads_intensity(image: Tensor) -> Tensor:
    """One-hot of the class whose intensity in the toy data is nearest: 0.125, 0.375 or 0.625."""
    levels = torch.tensor(intensity(np.arange(3)))
    distance = (image[:, :1] - levels.view(1, 3, *[1] * (image.ndim - 2))).abs()
    return nn.functional.one_hot(distance.argmin(1), 3).movedim(-1, 1).float()


def values(score: Score) -> dict[str, float]:
    return dict(zip(METRICS, score.values, strict=True))


# A perfect predictor -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("ndim", "space", "patch"),
    [
        (2, (3, 12, 12), (12, 12)),  # a volume of slices
        (2, (12, 10), (12, 10)),  # an image
        (3, (9, 10, 11), (6, 6, 6)),  # a volume larger than the patch
        (3, (5, 6, 7), (8, 9, 16)),  # smaller: padded by odd and even numbers
        (3, (5, 12, 7), (8, 6, 7)),  # smaller, larger and equal
    ],
)
def test_a_perfect_predictor_has_dice_one_and_hd95_zero_in_native_space(
    ndim: int, space: tuple[int, ...], patch: tuple[int, ...]
) -> None:
    dataset = toy(ndim=ndim, space=space)
    keys = list(dataset.groups())[:2]
    found = list(evaluate(Predictor(reads_intensity), Vault(dataset, []), keys, Training(patch=patch), "last", **WHERE))
    assert [case.key for case, _, _ in found] == keys
    for case, prediction, rows in found:
        assert prediction is not None
        assert prediction.shape == space
        assert prediction.dtype == np.uint8
        assert np.array_equal(prediction, case.label)
        assert [(row.case, row.group, row.class_name, row.selection) for row in rows] == [
            (case.key, case.group, name, "last") for name in ("a", "b")
        ]
        for row in rows:
            measured = values(row)
            assert (row.status, measured["dice"], measured["hd95"], measured["nsd"]) == ("ok", 1.0, 0.0, 1.0)


def test_released_interpolation_gives_back_what_nearest_neighbours_shrank() -> None:
    # every 2x2 block has one class: nearest keeps one pixel of each, and repeats it on the way back
    dataset = toy(space=(2, 12, 12))
    blocks = np.random.default_rng(0).integers(0, 3, (2, 6, 6)).astype(np.uint8).repeat(2, 1).repeat(2, 2)
    case = replace(dataset.load("c0"), image=intensity(blocks)[None], label=blocks)
    training = Training(patch=(6, 6), interpolation="nearest")
    method = Predictor(reads_intensity)
    assert np.array_equal(predict_case(method, case, dataset.task, training, **WHERE), blocks)
    assert method.seen[0].shape == (2, 1, 6, 6)


def test_probabilities_are_interpolated_before_the_class_is_chosen() -> None:
    # class 1 has 0.4 and 1.0 on the patch of two columns. Four native columns read the patch at -1/4 (its border, 0),
    # 1/4, 3/4 and 5/4 (border, 1): 0.4, 0.55, 0.85, 1.0. Above one half from the second column on; nearest
    # neighbours of the chosen class would say 0, 0, 1, 1.
    share = torch.tensor([[0.4, 1.0], [0.4, 1.0]])
    method = Predictor(lambda image: torch.stack([1 - share, share])[None])
    task = Task("two", 2, 1, ("background", "a"), (2, 2), "px")
    case = Case("c", "p", np.zeros((1, 4, 4), np.float32))
    assert predict_case(method, case, task, Training(patch=(2, 2)), **WHERE).tolist() == [[0, 1, 1, 1]] * 4


# Sliding windows -----------------------------------------------------------------------------------------------------
def test_window_starts_are_those_of_the_published_protocol() -> None:
    # UA-MT on the left atrium: patch 112x112x80, strides 18, 18, 4. On a volume of 145x176x88, by hand:
    # ceil(33/18)+1 = 3 windows: 0, 18, then flush at 145-112 = 33; ceil(64/18)+1 = 5: 0, 18, 36, 54, flush at 64;
    # ceil(8/4)+1 = 3: 0, 4, 8
    assert windows(145, 112, 18) == [0, 18, 33]
    assert windows(176, 112, 18) == [0, 18, 36, 54, 64]
    assert windows(88, 80, 4) == [0, 4, 8]


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        # (ceil(36/18) + 1)(ceil(20/18) + 1)(ceil(8/4) + 1) = 3·3·3
        ((148, 132, 88), 27),
        # (ceil(132/18) + 1)(ceil(48/18) + 1)·3 = 9·4·3
        ((244, 160, 88), 108),
        # exactly two strides along the first axis, none along the second, less than a patch along the third
        ((148, 112, 60), 3),
    ],
)
def test_a_volume_of_the_left_atrium_takes_as_many_windows_as_the_formula_says(
    space: tuple[int, int, int], expected: int
) -> None:
    assert prod(len(windows(*each)) for each in zip(space, (112, 112, 80), (18, 18, 4), strict=True)) == expected


def test_every_window_is_predicted_once_and_several_at_a_time() -> None:
    # (ceil(12/3) + 1)(ceil(5/4) + 1)·1 = 5·3·1 windows of which four go through the network together
    seen = []

    def count(image: Tensor) -> Tensor:
        seen.append(len(image))
        return torch.zeros(len(image), 2, *image.shape[2:])

    task = Task("atrium", 3, 1, ("background", "atrium"), (8, 8, 8), "mm")
    training = Training(patch=(8, 8, 8), stride=(3, 4, 2))
    predict_case(Predictor(count), Case("c", "p", np.zeros((1, 20, 13, 6), np.float32)), task, training, **WHERE)
    assert seen == [4, 4, 4, 3]


@pytest.mark.parametrize("stride", [1, 2, 5, 16])
def test_windows_are_as_many_as_the_formula_says_cover_everything_and_end_flush(stride: int) -> None:
    for size, patch in itertools.product(range(1, 40), (1, 2, 7, 16)):
        starts = windows(size, patch, stride)
        if size <= patch:
            assert starts == [0]
            continue
        assert len(starts) == ceil((size - patch) / stride) + 1
        assert starts == sorted(set(starts))
        assert starts[-1] == size - patch
        assert {v for s in starts for v in range(s, s + patch)} == set(range(size)) or stride > patch


def own_mean(image: Tensor) -> Tensor:
    """Probabilities that depend on the whole window, so that neighbouring windows disagree."""
    voxel, mean = image[:, 0], image.mean(dim=(1, 2, 3, 4), keepdim=True)[:, 0]
    return torch.softmax(8 * torch.stack([voxel, mean.expand_as(voxel), -voxel], 1), 1)


def test_windows_are_averaged_evenly_where_they_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    space, patch, overlap = (7, 9, 10), (4, 6, 5), 0.5
    image = rng.normal(size=(1, *space)).astype(np.float32)
    total, count = np.zeros((3, *space)), np.zeros(space)
    for start in itertools.product([0, 2, 3], [0, 3], [0, 2, 4, 5]):  # strides 2, 3 and round(2.5) = 2
        box = tuple(slice(a, a + p) for a, p in zip(start, patch, strict=True))
        total[(slice(None), *box)] += own_mean(torch.from_numpy(image[(slice(None), *box)])[None])[0].numpy()
        count[box] += 1
    reference = (total / count).argmax(0)
    task = Task("three", 3, 1, ("background", "a", "b"), patch, "px")
    training = Training(patch=patch, overlap=overlap)
    case = Case("c", "p", image)
    assert np.array_equal(predict_case(Predictor(own_mean), case, task, training, **WHERE), reference)
    monkeypatch.setitem(evaluation.WINDOWS_PER_BATCH, 3, 1)
    assert np.array_equal(predict_case(Predictor(own_mean), case, task, training, **WHERE), reference)


def test_small_volumes_are_padded_with_the_minimum_of_their_channel() -> None:
    image = np.stack([np.full((2, 3, 4), 5.0), np.full((2, 3, 4), -7.0)]).astype(np.float32)
    image[:, 0, 0, 0] = [4.0, -9.0]
    method = Predictor(lambda x: torch.ones(len(x), 2, *x.shape[2:]) / 2)
    task = Task("two", 3, 2, ("background", "a"), (4, 4, 4), "px")
    predict_case(method, Case("c", "p", image), task, Training(patch=(4, 4, 4)), **WHERE)
    (seen,) = method.seen
    # two missing in front: one before, one after; one missing in the middle axis: after; nothing in the last
    assert torch.equal(seen[0, :, 1:3, :3], torch.from_numpy(image))
    for channel, low in ((0, 4.0), (1, -9.0)):
        assert seen[0, channel, 0].unique().tolist() == seen[0, channel, 3].unique().tolist() == [low]
        assert seen[0, channel, :, 3].unique().tolist() == [low]


@pytest.mark.parametrize("per_batch", [1, 2, 16])
def test_how_many_slices_go_through_at_a_time_changes_nothing(per_batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(evaluation.WINDOWS_PER_BATCH, 2, per_batch)
    dataset, method = toy(space=(5, 12, 12)), Predictor(reads_intensity)
    case = dataset.load("c1")
    assert np.array_equal(predict_case(method, case, dataset.task, Training(), **WHERE), case.label)
    assert len(method.seen) == ceil(5 / per_batch)


# Labels stay out of it -----------------------------------------------------------------------------------------------
class Poison:
    """Raises whatever is done with it."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"the label was looked at: {name}")


@pytest.mark.parametrize(("ndim", "patch"), [(2, (12, 12)), (3, (4, 12, 12))])
def test_prediction_never_looks_at_the_label(ndim: int, patch: tuple[int, ...]) -> None:
    dataset = toy(ndim=ndim, space=(4, 12, 12))
    case = dataset.load("c0")
    poisoned = replace(case, label=Poison(), scribble=Poison())  # type: ignore[arg-type]
    found = predict_case(Predictor(reads_intensity), poisoned, dataset.task, Training(patch=patch), **WHERE)
    assert np.array_equal(found, case.label)


def test_test_cases_are_not_scored_while_the_vault_is_closed() -> None:
    closed = Vault(toy(), ["c4"])
    with pytest.raises(SealedLabel, match="'c4' is sealed"):
        list(evaluate(Predictor(reads_intensity), closed, ["c4"], Training(), "last", **WHERE))


# Failures ------------------------------------------------------------------------------------------------------------
ACCELERATOR: dict[str, Any] = {"device": torch.device("meta"), "dtype": torch.float32}
"""Any device that is no CPU will do where predictions are made up."""


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], None], Callable[[str], None]], Any]:
    """Evaluates three toy cases with predictions of zeros; two listeners are told which is predicted, and scored."""

    def start(predicted: Callable[[str], None], scored: Callable[[str], None]) -> Any:
        dataset = toy(ndim=2, space=(12, 10))

        def predict(method: Method, case: Case, *others: Any, **where: Any) -> np.ndarray:
            predicted(case.key)
            return np.zeros(case.space, np.uint8)

        def score(prediction: np.ndarray, case: Case, *others: Any) -> list[Score]:
            scored(case.key)
            return []

        monkeypatch.setattr(evaluation, "predict_case", predict)
        monkeypatch.setattr(evaluation, "score_case", score)
        keys = list(dataset.groups())[:3]
        return keys, evaluate(Predictor(reads_intensity), Vault(dataset, []), keys, Training(), "", **ACCELERATOR)

    return start


def test_an_accelerator_predicts_the_next_case_while_this_one_is_scored(made_up: Any) -> None:
    begun: dict[str, threading.Event] = {}

    def scored(key: str) -> None:
        following = keys[keys.index(key) + 1 :][:1]
        # would end the test if the next prediction waited for this score
        assert all(begun.setdefault(name, threading.Event()).wait(timeout=30) for name in following)

    keys, found = made_up(lambda key: begun.setdefault(key, threading.Event()).set(), scored)
    assert [case.key for case, _, _ in found] == keys


def test_a_processor_scores_a_case_before_it_predicts_the_next(made_up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACCELERATOR, "device", torch.device("cpu"))
    told: list[str] = []
    keys, found = made_up(lambda key: told.append(f"predict {key}"), lambda key: told.append(f"score {key}"))
    list(found)
    assert told == [f"{what} {key}" for key in keys for what in ("predict", "score")]


def test_an_error_while_a_case_is_scored_ends_the_evaluation(made_up: Any) -> None:
    def scored(key: str) -> None:
        if key == keys[1]:
            raise ZeroDivisionError(key)

    keys, found = made_up(lambda key: None, scored)
    assert next(found)[0].key == keys[0]
    with pytest.raises(ZeroDivisionError, match=keys[1]):
        list(found)


def test_a_prediction_of_nan_fails_its_case_and_no_other() -> None:
    dataset = toy()
    broken = dataset.load("c0").image.sum()

    def breaks_on_the_first(image: Tensor) -> Tensor:
        probs = reads_intensity(image)
        return probs * nan if image.sum() == broken else probs

    method, vault = Predictor(breaks_on_the_first), Vault(dataset, [])
    (_, none, failed), (_, some, fine) = evaluate(method, vault, ["c0", "c1"], Training(), "last", **WHERE)
    assert none is None
    assert some is not None
    assert [row.status for row in failed] == ["failed", "failed"]
    assert [values(row)["dice"] for row in failed] == [0.0, 0.0]
    assert all(row.diagonal == pytest.approx(np.sqrt(3**2 + 12**2 + 12**2)) for row in failed)
    assert [row.status for row in fine] == ["ok", "ok"]


def test_one_nan_in_one_window_is_enough_to_fail() -> None:
    def breaks_once(image: Tensor) -> Tensor:
        probs = torch.ones(len(image), 3, *image.shape[2:]) / 3
        probs[-1, 0, 0, 0, 0] = nan
        return probs

    task = replace(toy(ndim=3, space=(4, 6, 6)).task, patch=(4, 4, 4))
    with pytest.raises(BadPrediction, match="returned NaN"):
        predict_case(Predictor(breaks_once), toy(ndim=3, space=(4, 6, 6)).load("c0"), task, Training(), **WHERE)


# Scores --------------------------------------------------------------------------------------------------------------
def test_distances_are_in_mm_where_the_task_says_so_and_in_pixels_elsewhere() -> None:
    # one pixel each, two columns apart: 2 pixels, or 2 * 1.5 mm
    label, prediction = np.zeros((2, 5, 5), np.uint8)
    label[2, 1], prediction[2, 3] = 1, 1
    case = Case("c", "p", np.zeros((1, 5, 5), np.float32), label, None, (4.0, 1.5))
    for unit, distance in (("px", 2.0), ("mm", 3.0)):
        task = Task("t", 2, 1, ("background", "a"), (5, 5), unit)  # type: ignore[arg-type]
        (row,) = score_case(prediction, case, task, "last")
        assert (row.unit, values(row)["hd95"], values(row)["hd95_vox"]) == (unit, distance, 2.0)


def test_a_volume_of_one_slice_is_measured_as_the_image_that_it_is() -> None:
    # as a volume every voxel of one slice is surface; as an image the centre of a 3x3 square is not: prediction without
    # it has all distances to the reference surface at most 1, and Dice 16/17
    label = np.zeros((1, 7, 7), np.uint8)
    label[0, 2:5, 2:5] = 1
    prediction = label.copy()
    prediction[0, 3, 3] = 0
    task = Task("t", 2, 1, ("background", "a"), (7, 7), "mm")
    case = Case("c", "p", np.zeros((1, 1, 7, 7), np.float32), label, None, (9.0, 2.0, 2.0))
    (volume,) = score_case(prediction, case, task, "last")
    flat = replace(case, image=case.image[:, 0], label=label[0], spacing=(2.0, 2.0))
    (image,) = score_case(prediction[0], flat, task, "last")
    assert volume == image
    assert values(volume)["dice"] == pytest.approx(16 / 17)
    assert volume.diagonal == pytest.approx(np.hypot(14, 14))


def test_classes_that_are_missing_somewhere_are_told_apart() -> None:
    label, prediction = np.zeros((2, 6, 6), np.uint8)
    label[0, 0], prediction[5, 5] = 1, 2
    task = Task("t", 2, 1, ("background", "a", "b", "c"), (6, 6), "px")
    rows = score_case(prediction, Case("c", "p", np.zeros((1, 6, 6), np.float32), label), task, "last")
    assert [row.status for row in rows] == ["missed", "spurious", "both_empty"]
    assert isnan(values(rows[2])["dice"])


# Validation ----------------------------------------------------------------------------------------------------------
def validated(pairs: Sequence[tuple[Any, Any]], classes: int = 3, **settings: Any) -> float:
    """Validation Dice of (prediction, label) pairs of one row each; a prediction None is NaN."""
    labels = [np.array([label], np.uint8) for _, label in pairs]
    cases = [Case(str(i), "p", np.full((1, 1, 4), i, np.float32), label) for i, label in enumerate(labels)]

    def rule(image: Tensor) -> Tensor:
        prediction = pairs[int(image[0, 0, 0, 0])][0]
        if prediction is None:
            return torch.full((1, classes, 1, 4), nan)
        return nn.functional.one_hot(torch.tensor([[prediction]]), classes).movedim(-1, 1).float()

    task = Task("t", 2, 1, ("background", "a", "b", "c")[:classes], (1, 4), "px")
    vault = SimpleNamespace(dataset=SimpleNamespace(task=task), case=lambda key: cases[int(key)])
    keys = [case.key for case in cases]
    return validation_dice(Predictor(rule), vault, keys, Training(), **settings, **WHERE)  # type: ignore[arg-type]


def test_validation_dice_is_the_mean_over_classes_then_over_cases() -> None:
    # case 0: class 1 overlaps in 1 of 2 + 1 -> 2/3; class 2 in 1 of 1 + 2 -> 2/3; mean 2/3
    # case 1: class 1 is perfect -> 1; class 2 is in neither map and left out; mean 1
    # case 2: class 1 is missed -> 0; class 2 likewise in neither; mean 0
    pairs = [([1, 1, 2, 0], [1, 2, 2, 0]), ([1, 1, 0, 0], [1, 1, 0, 0]), ([0, 0, 0, 0], [0, 0, 0, 1])]
    assert validated(pairs) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_validation_cases_without_any_class_do_not_count_and_nan_counts_as_nothing_right() -> None:
    empty = ([0, 0, 0, 0], [0, 0, 0, 0])
    perfect = ([1, 1, 2, 2], [1, 1, 2, 2])
    assert validated([empty, perfect]) == 1.0
    assert validated([(None, [1, 1, 2, 2]), perfect]) == 0.5
    assert isnan(validated([empty]))


def test_every_validation_case_says_that_it_goes_on() -> None:
    told: list[int] = []
    row = [1, 1, 2, 2]
    validated([(None, row), (row, row), (row, row)], heartbeat=lambda: told.append(1))
    assert len(told) == 3
