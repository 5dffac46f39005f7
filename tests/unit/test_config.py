"""Strict configuration: what is refused, and what the message says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from benchmark.config import ConfigError, convert, from_mapping, nearest


@dataclass(frozen=True)
class Inner:
    """A nested part."""

    depth: int = 1


@dataclass(frozen=True)
class Settings:
    """One field of every kind that plans use."""

    name: str
    steps: int = 10
    rate: float = 0.1
    fast: bool = False
    kind: Literal["sgd", "adam"] = "sgd"
    shape: tuple[int, ...] = ()
    limit: float | None = None
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()
    free: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be 1 or more, got {self.steps}")


def made(**values: Any) -> Settings:
    return from_mapping(Settings, {"name": "x"} | values, "plan p")


def test_every_kind_of_field_is_taken_as_it_is_written() -> None:
    found = made(
        steps=3,
        rate=0.5,
        fast=True,
        kind="adam",
        shape=[4, 5],
        limit=2.5,
        inner={"depth": 2},
        inners=[{"depth": 3}, {}],
    )
    assert found == Settings("x", 3, 0.5, True, "adam", (4, 5), 2.5, Inner(2), (Inner(3), Inner(1)))


def test_an_int_serves_as_a_float_and_becomes_one() -> None:
    assert isinstance(made(rate=1).rate, float)
    assert isinstance(made(limit=1).limit, float)
    assert made(limit=None).limit is None


def test_a_mapping_is_copied_so_that_the_caller_cannot_change_it_later() -> None:
    given = {"a": 1}
    found = made(free=given)
    given["a"] = 2
    assert found.free == {"a": 1}


def test_a_dataclass_that_is_built_already_is_taken() -> None:
    assert made(inner=Inner(7)).inner == Inner(7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, r"plan p: unknown key 'stepz'; did you mean 'steps'\? \(known: name, steps, "),
        ({"qqq": 3}, r"plan p: unknown key 'qqq' \(known: name"),
        ({3: 3}, r"plan p: unknown key 3"),
        ({"steps": "3"}, r"plan p: steps: must be of type int, got str '3'"),
        ({"rate": "1e-3"}, r"plan p: rate: must be of type float, got str '1e-3'; write 0.001 or 1.0e-3$"),
        ({"limit": "2.5E2"}, r"plan p: limit: must be of type float, got str '2.5E2'; write 250 or 2.5e\+2$"),
        ({"rate": "0.5"}, r"got str '0.5'; write 0.5$"),
        ({"rate": "1e-999999"}, r"got str '1e-999999'$"),
        ({"rate": "inf"}, r"got str 'inf'$"),
        ({"steps": "1e3"}, r"plan p: steps: must be of type int, got str '1e3'; write 1000$"),
        ({"steps": "2.5"}, r"plan p: steps: must be of type int, got str '2.5'$"),
        ({"steps": 3.0}, r"plan p: steps: must be of type int, got float 3.0"),
        ({"steps": True}, r"plan p: steps: must be of type int, got bool True"),
        ({"rate": True}, r"plan p: rate: must be of type float, got bool True"),
        ({"rate": "fast"}, r"plan p: rate: must be of type float, got str 'fast'"),
        ({"fast": 1}, r"plan p: fast: must be of type bool, got int 1"),
        ({"name": None}, r"plan p: name: must be of type str, got NoneType None"),
        ({"kind": "adamw"}, r"plan p: kind: must be one of 'sgd', 'adam', got 'adamw'; did you mean 'adam'\?"),
        ({"shape": "1,2"}, r"plan p: shape: must be a list, got '1,2'; write \[1,2\]$"),
        ({"shape": 12}, r"plan p: shape: must be a list, got 12; write \[12\]$"),
        ({"shape": [1, 2.5]}, r"plan p: shape\[1\]: must be of type int, got float 2.5"),
        ({"limit": "none"}, r"plan p: limit: must be of type float, got str 'none'"),
        ({"inner": 3}, r"plan p: inner: expected a mapping, got int 3"),
        ({"inner": {"dept": 1}}, r"plan p: inner: unknown key 'dept'; did you mean 'depth'\?"),
        ({"inners": [{}, {"depth": "1"}]}, r"plan p: inners\[1\]: depth: must be of type int, got str '1'"),
        ({"free": [1]}, r"plan p: free: must be a mapping, got \[1\]"),
        ({"steps": 0}, r"plan p: steps must be 1 or more, got 0"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_with_what_is_allowed(values: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(Settings, {"name": "x"} | values, "plan p")


def test_a_key_without_a_default_must_be_given() -> None:
    with pytest.raises(ConfigError, match=r"plan p: missing key\(s\) name"):
        from_mapping(Settings, {}, "plan p")


def test_a_list_instead_of_a_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"plan p: expected a mapping, got list"):
        from_mapping(Settings, ["name"], "plan p")  # type: ignore[arg-type]


def test_a_value_that_fits_no_form_of_a_union_names_every_form() -> None:
    with pytest.raises(ConfigError, match=r"w: 'a' fits none.*type int.*; or .*type float"):
        convert("a", int | float, "w")


def test_the_first_form_of_a_union_that_fits_is_taken() -> None:
    assert convert(3, int | str, "w") == 3
    assert convert("a", int | str, "w") == "a"


def test_nothing_similar_is_not_guessed() -> None:
    assert nearest("zzz", ["steps"]) == " (known: steps)"
    assert nearest("step", ["steps", "rate"]) == "; did you mean 'steps'? (known: steps, rate)"
