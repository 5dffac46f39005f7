"""Who is bold: nobody by a mean alone, and everybody who cannot be told apart from the best."""

from __future__ import annotations

import pandas as pd

from benchmark.report.winners import Standing, legend, standings

PLACE = {"dataset": "d", "amount": "10%"}


def _judged(**verdicts: str) -> pd.DataFrame:
    rows = [
        PLACE | {"endpoint": "Dice", "role": "method", "label": label, "against": "lower bound", "verdict": verdict}
        for label, verdict in verdicts.items()
    ]
    return pd.DataFrame(rows, columns=[*PLACE, "endpoint", "role", "label", "against", "verdict"])


def _pairs(*found: tuple[str, str, str], annotation: str = "dense") -> pd.DataFrame:
    def role(label: str) -> str:
        return "lower" if label == "bound" else "method"

    rows = [
        PLACE
        | {"endpoint": "Dice", "annotation": annotation, "verdict": verdict}
        | {"role": role(first), "label": first, "other_role": role(second), "other": second}
        for first, verdict, second in found
    ]
    columns = [*PLACE, "endpoint", "annotation", "verdict", "role", "label", "other_role", "other"]
    return pd.DataFrame(rows, columns=columns)


def _bold(judged: pd.DataFrame, pairs: pd.DataFrame) -> set[str]:
    return {key[2] for key, standing in standings(judged, pairs).items() if standing.winner}


def test_one_better_than_all_others_is_bold_alone() -> None:
    pairs = _pairs(("a", "better", "b"), ("a", "better", "c"), ("b", "not separable", "c"))
    assert _bold(_judged(), pairs) == {"a"}


def test_whoever_cannot_be_told_apart_from_the_winner_shares_the_bold() -> None:
    # b is not separable from a nor from c: to leave b out would say that a is better than b
    pairs = _pairs(("a", "not separable", "b"), ("a", "better", "c"), ("b", "not separable", "c"))
    assert _bold(_judged(), pairs) == {"a", "b"}


def test_nobody_is_bold_where_nobody_could_be_told_apart() -> None:
    assert _bold(_judged(), _pairs(("a", "not separable", "b"), ("a", "equivalent", "c"))) == set()
    assert _bold(_judged(), _pairs(("a", "", "b"))) == set(), "too few seeds"


def test_a_lower_bound_that_nobody_beats_shares_the_bold() -> None:
    pairs = _pairs(("a", "not separable", "bound"), ("a", "better", "b"), ("b", "worse", "bound"))
    assert _bold(_judged(), pairs) == {"a", "bound"}


def test_kinds_of_labels_do_not_compete() -> None:
    # the scribble methods have a winner of their own, although dense labels are better
    dense = _pairs(("a", "better", "b"))
    scribble = _pairs(("s", "better", "t"), annotation="scribble")
    assert _bold(_judged(), pd.concat([dense, scribble])) == {"a", "s"}


def test_signs_say_the_verdict_against_the_lower_bound() -> None:
    found = standings(_judged(a="better", b="worse", c="equivalent", d="not separable"), _pairs())
    assert {key[2]: standing.sign for key, standing in found.items()} == {"a": "†", "b": "‡", "c": "≈", "d": ""}
    assert {key[0] for key in found} == {"dice"}


def test_the_legend_says_what_is_there_and_no_more() -> None:
    assert legend({}).startswith("Nothing is bold")
    assert "†" not in legend({("dice",): Standing(winner=True)})
    assert "† better" in legend({("dice",): Standing("†")})
