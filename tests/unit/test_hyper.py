"""What is declared oddly is one sentence that names the field, as soon as the method is read."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import Any

import pytest

from methods.hyper import HyperBase, hyper, misdeclared


def declared(kind: Any, default: Any, **given: Any) -> type[HyperBase]:
    field = ("weight", kind, hyper(default, "weight of a term", **given))
    return make_dataclass("Hyper", [field], bases=(HyperBase,), frozen=True)


@pytest.mark.parametrize(
    ("kind", "default", "given", "says"),
    [
        (
            float,
            1.0,
            {"search": [0.1, 1.0, 10.0]},
            'search must be (low, high) or (low, high, "log"), two numbers, got [',
        ),
        (float, 1.0, {"search": (0.1,)}, "got (0.1,); to search over single values, give choices=(...) and search=()"),
        (float, 1.0, {"search": ()}, "search must be"),
        (float, 1.0, {"search": ("low", "high")}, "search must be"),
        (float, 1.0, {"search": (0.1, 10, "logarithmic")}, "search must be"),
        (float, 1.0, {"search": (0.1, None)}, "search must be"),
        (str, "a", {"choices": ("a", "b"), "search": (0.1, 1)}, "search must be"),
        (float, 1.0, {"valid": (0,)}, "valid must be (low, high), two numbers, None = unbounded, got (0,)"),
        (float, 1.0, {"valid": 3}, "valid must be"),
        (float, 2.0, {"valid": (0, 1)}, "the default 2.0 must be in [0, 1]"),
        (str, "c", {"choices": ("a", "b")}, "the default 'c' must be one of 'a', 'b'"),
        (tuple[float, ...], (1.0, 0.5), {"valid": (0, None)}, "valid bounds one number, but the default is (1.0, 0.5)"),
        (float, None, {"valid": (0, None)}, "valid bounds one number, but the default is None"),
        (float, 1, {"valid": (0, None)}, "is of type float with the default 1: write 1.0"),
        ("float", 1, {}, "is of type float with the default 1: write 1.0"),
        (int, 0.5, {}, "is of type int with the default 0.5: declare it as float"),
    ],
)
def test_what_is_declared_oddly_is_one_sentence(kind: Any, default: Any, given: dict[str, Any], says: str) -> None:
    made = declared(kind, default, **given)
    assert misdeclared(made).startswith("hyper-parameter 'weight'")
    assert says in misdeclared(made)
    with pytest.raises(TypeError, match="hyper-parameter 'weight'"):
        made()


@pytest.mark.parametrize(
    ("kind", "default", "given"),
    [
        (float, 1.0, {"valid": (0, None), "search": (0.1, 10, "log")}),
        (float, 1.0, {"search": [0.1, 10]}),
        (int, 3, {"valid": (1, 8), "search": (1, 8)}),
        (str, "a", {"choices": ("a", "b"), "search": ()}),
        (bool, True, {}),
        (tuple[float, ...], (1.0, 0.5), {}),
        (float | None, None, {}),
    ],
)
def test_what_is_declared_as_asked_is_taken(kind: Any, default: Any, given: dict[str, Any]) -> None:
    assert misdeclared(declared(kind, default, **given)) == ""
    assert declared(kind, default, **given)().weight == default  # type: ignore[attr-defined]
