"""What a plan declares beforehand, and what is refused of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark import plan_file
from benchmark.claims import Claims
from benchmark.config import ConfigError
from benchmark.report import frame
from benchmark.studies import studies, tuned_plan

from .tiny_cells import raw_plan, tiny_plan

TWO: dict[str, Any] = {"methods": ["cps", "mean_teacher"], "bounds": True, "seeds": 3}


def test_a_plan_declares_a_baseline_and_looks() -> None:
    plan = tiny_plan(**TWO, claims={"baseline": "cps", "looks": [3, 5], "spending": "quadratic"})
    assert plan.claims == Claims("cps", (3, 5), "quadratic")


def test_claims_change_no_cell() -> None:
    plain, claiming = tiny_plan(**TWO), tiny_plan(**TWO, claims={"baseline": "cps"})
    assert [cell.id for cell in plain.cells()] == [cell.id for cell in claiming.cells()]


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"baseline": "cpss"}, r"claims.baseline: no method is called 'cpss'; did you mean 'cps'\?"),
        ({"baseline": "supervised"}, "no method is called 'supervised'"),  # a bound is compared with anyway
        ({"looks": [5, 7]}, r"claims.looks must start at the plan's own 3 seeds, got \[5, 7\]"),
        ({"looks": [3, 3]}, "looks must rise"),
        ({"looks": [2, 4]}, "start at 3 seeds or more"),
        ({"spending": "pocock"}, "must be one of 'obrien_fleming', 'quadratic'"),
        ({"base": "cps"}, "unknown key 'base'; did you mean 'baseline'"),
    ],
)
def test_wrong_claims_are_refused(claims: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_plan(**TWO, claims=claims)


def test_a_baseline_must_be_one_method() -> None:
    twice = [{"name": "cps"}, {"name": "cps", "hyper": {"weight": 0.3}}]
    with pytest.raises(ConfigError, match="several methods are called 'cps'; give them labels"):
        tiny_plan(**TWO | {"methods": twice}, claims={"baseline": "cps"})


def test_the_tuned_plan_claims_the_tuned_baseline() -> None:
    plan = tiny_plan(**TWO, claims={"baseline": "cps"})
    best = [(study, study.default) for study in studies(plan)]
    tuned = plan_file.parse(tuned_plan(plan, best), default_name="x")
    assert tuned.claims.baseline == "cps (tuned)"
    assert "claims" not in tuned_plan(tiny_plan(**TWO), best)


def test_a_plan_without_claims_reads_as_before() -> None:
    assert plan_file.parse(raw_plan(), default_name="tiny").claims == Claims()


def test_declared_looks_count_before_anybody_has_run_until_decided(tmp_path: Path) -> None:
    """The report after a plain run is the first look, and spends what that look may spend."""
    plan = tiny_plan(**TWO, claims={"looks": [3, 6, 9]})
    found = frame.load(tmp_path / "tiny", plan).looks
    assert found is not None
    assert found.counts == (3, 6, 9)
    assert frame.load(tmp_path / "tiny", tiny_plan(**TWO)).looks is None
