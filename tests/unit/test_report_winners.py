"""Who is bold: the best mean and the next best ones, down to the first that can be told apart from it."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmark.report.winners import Standing, legend, standings

PLACE = {"dataset": "d", "amount": "10%"}
OPEN, CLEAR = (-1.0, 1.0), (0.2, 1.0)
"""Intervals of a difference: with and without 0."""


def _role(label: str) -> str:
    return "lower" if label == "bound" else "method"


def _judged(*, against: str = "lower bound", **verdicts: str) -> pd.DataFrame:
    reference = "bound" if against == "lower bound" else against
    rows = [
        PLACE
        | {"endpoint": "Dice", "role": "method", "label": label, "verdict": verdict, "reference": reference}
        | {"against": "lower bound" if against == "lower bound" else "baseline"}
        for label, verdict in verdicts.items()
    ]
    return pd.DataFrame(rows, columns=[*PLACE, "endpoint", "role", "label", "against", "reference", "verdict"])


def _pairs(
    *found: tuple[str, str, str, tuple[float, float]], annotation: str = "dense", endpoint: str = "Dice"
) -> pd.DataFrame:
    rows = [
        PLACE
        | {"endpoint": endpoint, "annotation": annotation, "verdict": verdict, "low": interval[0], "high": interval[1]}
        | {"role": _role(first), "label": first, "other_role": _role(second), "other": second}
        for first, verdict, second, interval in found
    ]
    columns = [*PLACE, "endpoint", "annotation", "verdict", "low", "high", "role", "label", "other_role", "other"]
    return pd.DataFrame(rows, columns=columns)


def _table(order: str) -> pd.DataFrame:
    """Means that fall in the order of the labels; distances rise."""
    labels = ["bound" if label == "0" else label for label in order]
    rows = [
        PLACE | {"role": _role(label), "label": label, "dice_mean": 0.9 - 0.1 * i, "hd95_mean": 1.0 + i}
        for i, label in enumerate(labels)
    ]
    return pd.DataFrame(rows)


def _bold(judged: pd.DataFrame, pairs: pd.DataFrame, order: str = "abc0") -> set[str]:
    return {key[2] for key, standing in standings(judged, pairs, _table(order)).items() if standing.winner}


def test_one_that_all_others_can_be_told_apart_from_is_bold_alone() -> None:
    pairs = _pairs(("a", "better", "b", CLEAR), ("a", "better", "c", CLEAR), ("b", "not separable", "c", OPEN))
    assert _bold(_judged(), pairs) == {"a"}


def test_whoever_cannot_be_told_apart_from_the_best_mean_shares_the_bold() -> None:
    pairs = _pairs(("a", "not separable", "b", OPEN), ("a", "better", "c", CLEAR), ("b", "not separable", "c", OPEN))
    assert _bold(_judged(), pairs) == {"a", "b"}


def test_an_interval_without_0_ends_the_bold_though_no_corrected_test_does() -> None:
    pairs = _pairs(("a", "not separable", "b", CLEAR), ("a", "not separable", "c", CLEAR))
    assert _bold(_judged(), pairs) == {"a"}


def test_noise_earns_no_bold_below_a_row_that_has_none() -> None:
    # c has so wide an interval that nothing is known of it, and a lower mean than b, which is told apart
    pairs = _pairs(("a", "better", "b", CLEAR), ("a", "not separable", "c", OPEN), ("b", "not separable", "c", OPEN))
    assert _bold(_judged(), pairs) == {"a"}


@pytest.mark.parametrize(("label", "verdict"), [("a", "better"), ("b", "better")])
def test_a_lower_bound_that_a_bold_row_is_declared_better_than_is_not_bold(label: str, verdict: str) -> None:
    # the family of † is another one than that of the map: there nobody beats the lower bound
    pairs = _pairs(
        ("a", "not separable", "b", OPEN), ("a", "not separable", "bound", OPEN), ("b", "not separable", "bound", OPEN)
    )
    assert _bold(_judged(**{label: verdict}), pairs, "ab0") == {"a", "b"}


def test_a_row_that_is_worse_than_a_bold_lower_bound_or_baseline_is_not_bold() -> None:
    pairs = _pairs(("bound", "not separable", "a", OPEN), ("bound", "not separable", "b", OPEN))
    assert _bold(_judged(a="worse"), pairs, "0ab") == {"bound"}
    pairs = _pairs(("a", "not separable", "b", OPEN), ("a", "not separable", "c", OPEN))
    assert _bold(_judged(against="b", c="worse"), pairs) == {"a", "b"}


def test_nobody_is_bold_where_nobody_could_be_told_apart() -> None:
    open_pairs = _pairs(("a", "not separable", "b", OPEN), ("a", "equivalent", "c", OPEN))
    assert _bold(_judged(), open_pairs) == set()
    assert _bold(_judged(), _pairs(("a", "", "b", (float("nan"), float("nan"))))) == set(), "too few seeds"


def test_the_shortest_distance_is_the_best() -> None:
    pairs = _pairs(("b", "worse", "a", (0.2, 1.0)), endpoint="log(1 + HD95)")
    assert _bold(_judged(), pairs, "ab") == {"a"}


def test_a_lower_bound_that_nobody_beats_shares_the_bold() -> None:
    pairs = _pairs(("a", "not separable", "bound", OPEN), ("a", "better", "b", CLEAR), ("b", "worse", "bound", CLEAR))
    assert _bold(_judged(), pairs, "a0b") == {"a", "bound"}


def test_kinds_of_labels_do_not_compete() -> None:
    # the scribble methods have a winner of their own, although dense labels are better
    dense = _pairs(("a", "better", "b", CLEAR))
    scribble = _pairs(("s", "better", "t", CLEAR), annotation="scribble")
    assert _bold(_judged(), pd.concat([dense, scribble]), "abst") == {"a", "s"}


def test_signs_say_the_verdict_against_the_lower_bound() -> None:
    judged = _judged(a="better", b="worse", c="equivalent", d="not separable", e="")
    found = standings(judged, _pairs(), _table("abcde0"))
    assert {key[2]: standing.sign for key, standing in found.items()} == {"a": "†", "b": "‡", "c": "≈", "d": ""}
    assert {key[0] for key in found} == {"dice"}


def test_the_legend_says_what_is_there_and_no_more() -> None:
    one = ("dice",)
    assert legend({}) == (
        "Nothing is bold and no sign is given: no two rows of a column have three seeds and three test patients, "
        "which a test takes."
    )
    assert legend({one: Standing()}).startswith("Nothing is bold: no row of any column could be told apart")
    assert "†" not in legend({one: Standing(winner=True)})
    assert "† better" in legend({one: Standing("†")})
    assert "same kind of labels" not in legend({one: Standing(winner=True)})
    assert "same kind of labels" in legend({one: Standing(winner=True)}, mixed=True)
    assert "HD95 both compare log(1 + HD95)" in legend({one: Standing(winner=True)})
