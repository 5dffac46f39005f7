"""All pairs, the strongest rival, declared baselines, and effects over datasets."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from benchmark.report import blocks, evidence, overall, pairs, verdicts
from benchmark.report.crossed import crossed, holm
from benchmark.report.verdicts import BASELINE, ENDPOINTS, LOWER
from tests.unit.report_designs import noisy, study

DICE, HD95 = ENDPOINTS
MEANS = {"a": 0.85, "b": 0.80, "c": 0.799}


def _tables(
    means: dict[str, float] = MEANS, dataset: str = "heart", amount: str = "10%", *, seed: int = 0, seeds: int = 5
) -> dict:  # type: ignore[type-arg]
    """Methods of these means and a lower bound of 75 points."""
    random = np.random.default_rng(seed)
    tables = {("method", label, dataset, amount): noisy(mean, random, seeds=seeds) for label, mean in means.items()}
    return {("lower", "supervised", dataset, amount): noisy(0.75, random, seeds=seeds)} | tables


def _row(frame, **where):  # type: ignore[no-untyped-def]
    for name, value in where.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_every_pair_is_the_crossed_test_of_its_differences() -> None:
    tables = _tables()
    found = pairs.all_pairs(blocks.blocks(*study(tables)))
    assert len(found) == 2 * 6
    row = _row(found, endpoint="Dice", label="a", other="b")
    alone = crossed(tables["method", "a", "heart", "10%"] - tables["method", "b", "heart", "10%"])
    assert (row.difference, row.se, row.df, row.p) == pytest.approx((alone.mean, alone.se, alone.df, alone.p_value()))
    assert (row.low, row.high) == pytest.approx(alone.interval())
    of = found[found["endpoint"] == "Dice"]
    assert of["p_holm"].tolist() == pytest.approx(holm(of["p"]))
    assert (row.verdict, _row(found, endpoint="Dice", label="supervised", other="a").verdict) == ("better", "worse")


def test_a_smaller_distance_is_better_for_pairs_too() -> None:
    tables = _tables({"a": 0.8, "b": 0.8})
    hd95 = {key: np.full(table.shape, 4.0 if key[1] == "a" else 9.0) for key, table in tables.items()}
    row = _row(pairs.all_pairs(blocks.blocks(*study(tables, hd95=hd95))), endpoint=HD95.name, label="a", other="b")
    assert (exp(row.difference), row.superiority, row.verdict) == (pytest.approx(0.5), 1.0, "better")


def test_many_pairs_are_compared_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = blocks.blocks(*study(_tables()))
    whole = pairs.all_pairs(columns)
    monkeypatch.setattr(pairs, "MOST_VALUES", 100)  # one table is 60 values: one pair at a time
    assert pairs.all_pairs(columns).equals(whole)


def test_the_strongest_rival_of_the_best_method_is_the_second_one() -> None:
    columns = blocks.blocks(*study(_tables()))
    every = pairs.all_pairs(columns)
    found = pairs.against_strongest(every, columns)
    of = found[found["endpoint"] == "Dice"].set_index("label")
    assert of["reference"].to_dict() == {"a": "b", "b": "a", "c": "a"}
    assert of["verdict"].to_dict() == {"a": "better", "b": "worse", "c": "worse"}
    # three methods are three pairs, lower bounds are not among them
    three = every[(every["endpoint"] == "Dice") & (every["role"] == "method") & (every["other_role"] == "method")]
    assert of.loc["a", "p_holm"] == pytest.approx(
        dict(zip(zip(three["label"], three["other"], strict=True), holm(three["p"]), strict=True))["a", "b"]
    )


def test_a_declared_baseline_joins_the_family_of_the_lower_bound() -> None:
    results, designs = study(_tables(), baseline="b")
    found = verdicts.judge(results, designs)
    of = found[found["endpoint"] == "Dice"]
    assert {(row.label, row.against, row.reference) for row in of.itertuples()} == {
        ("a", LOWER, "supervised"), ("b", LOWER, "supervised"), ("c", LOWER, "supervised"),
        ("a", BASELINE, "b"), ("c", BASELINE, "b"),
    }  # fmt: skip
    assert of["p_holm"].tolist() == pytest.approx(holm(of["p"])), "five comparisons, one family"
    assert _row(of, label="a", against=BASELINE).verdict == "better"
    assert _row(of, label="c", against=BASELINE).verdict in ("equivalent", "not separable")
    assert set(evidence.gather(results, designs).judged["against"]) == {LOWER, BASELINE}


def test_without_a_baseline_the_strongest_rival_stands_below_in_a_family_of_its_own() -> None:
    results, designs = study(_tables())
    found = evidence.gather(results, designs).judged
    assert set(found["against"]) == {LOWER, pairs.STRONGEST}
    of = found[(found["endpoint"] == "Dice") & (found["against"] == LOWER)]
    assert of["p_holm"].tolist() == pytest.approx(holm(of["p"])), "as if nobody had looked for rivals"


def test_identical_methods_are_equivalent_not_better() -> None:
    table = noisy(0.8, np.random.default_rng(0))
    tables = {("method", "a", "heart", "10%"): table, ("method", "b", "heart", "10%"): table.copy()}
    row = _row(pairs.all_pairs(blocks.blocks(*study(tables))), endpoint="Dice")
    assert (row.difference, row.p, row.verdict) == (0.0, 1.0, "equivalent")


def test_an_overall_effect_averages_amounts_then_datasets() -> None:
    # a is ahead by 10 and 2 points on heart, by 6 on liver: (6 + 6)/2; b by 5, 5 and 5
    tables = _tables({"a": 0.85, "b": 0.80}, "heart", "5%") | _tables({"a": 0.77, "b": 0.80}, "heart", "10%", seed=1)
    tables |= _tables({"a": 0.81, "b": 0.80}, "liver", "5%", seed=2)
    results, designs = study(tables)
    found = overall.overall(results, designs)
    a, b = (_row(found, endpoint="Dice", label=label) for label in "ab")
    assert (a.difference, b.difference) == (pytest.approx(0.06, abs=0.01), pytest.approx(0.05, abs=0.01))
    assert (a.datasets, a.columns, a.wins, a.ties, a.losses) == (2, 3, 3, 0, 0)
    assert (a.verdict, a.superiority) == ("better", pytest.approx(1, abs=0.02))
    heart = np.mean(
        [
            tables["method", "a", "heart", amount] - tables["lower", "supervised", "heart", amount]
            for amount in ("5%", "10%")
        ],
        axis=0,
    )
    liver = tables["method", "a", "liver", "5%"] - tables["lower", "supervised", "liver", "5%"]
    parts = [crossed(heart), crossed(liver)]
    assert a.difference == pytest.approx((parts[0].mean + parts[1].mean) / 2)
    half = (a.high - a.low) / 2
    assert half > 1.96 * (parts[0].se ** 2 + parts[1].se ** 2) ** 0.5 / 2
    assert a.false_claim == pytest.approx(a.p / 2)


def test_wins_need_the_margin_and_smaller_distances_win() -> None:
    tables = _tables({"a": 0.753}, "heart") | _tables({"a": 0.70}, "liver", seed=3)
    hd95 = {key: np.full(table.shape, 9.0 if key[0] == "lower" else 8.9) for key, table in tables.items()}
    found = overall.overall(*study(tables, hd95=hd95))
    dice, distance = (_row(found, endpoint=endpoint.name) for endpoint in ENDPOINTS)
    assert (dice.wins, dice.ties, dice.losses) == (0, 1, 1), ".3 points on heart are within the margin"
    assert (distance.wins, distance.ties) == (0, 2), "log(9.9/10) = -.01, the margin is log 1.05"
    assert distance.difference == pytest.approx(log(9.9 / 10))


def test_a_method_without_enough_seeds_somewhere_has_no_overall_effect() -> None:
    tables = _tables({"a": 0.8, "b": 0.8}, "heart") | _tables({"a": 0.8}, "liver", seed=1)
    tables |= {("method", "b", "liver", "10%"): noisy(0.8, np.random.default_rng(2), seeds=2)}
    found = overall.overall(*study(tables))
    assert set(found["label"]) == {"a"}


def test_the_strongest_rival_overall_is_corrected_over_all_pairs() -> None:
    tables = _tables(MEANS, "heart") | _tables(MEANS, "liver", seed=7)
    results, designs = study(tables)
    found = evidence.gather(results, designs).overall
    row = _row(found, endpoint="Dice", against=pairs.STRONGEST, label="a")
    assert (row.reference, row.verdict, row.wins, row.columns) == ("b", "better", 2, 2)
    back = _row(found, endpoint="Dice", against=pairs.STRONGEST, label="b")
    assert (back.reference, back.difference, back.losses) == ("a", -row.difference, 2)


def test_two_views_of_the_same_patients_are_no_two_datasets() -> None:
    """As two amounts: the same patients and the same errors say nothing more the second time."""
    one = _tables(dataset="heart [side=32]")
    again = {(*key[:2], "heart [side=64]", key[3]): table for key, table in one.items()}
    alone, twice = (evidence.gather(*study(tables)) for tables in (one, one | again))
    apart = evidence.gather(*study(one | {(*key[:2], "liver", key[3]): table for key, table in one.items()}))
    for against in (LOWER, pairs.STRONGEST):
        first, second, third = (
            _row(found.overall, endpoint="Dice", label="a", against=against) for found in (alone, twice, apart)
        )
        assert second.high - second.low == pytest.approx(first.high - first.low)
        assert third.high - third.low < 0.8 * (first.high - first.low), "of two datasets it is narrower"
    assert _row(twice.overall, endpoint="Dice", label="a", against=LOWER).datasets == 1


def test_views_without_a_patient_in_common_are_datasets_of_their_own() -> None:
    names = ["own [root=a]", "own [root=b]", "own [root=c]", "heart"]
    patients = [("p1", "p2"), ("q1", "q2"), ("q2", "q3"), ("p1",)]
    assert blocks.same_patients(names, patients) == [[0], [1, 2], [3]]


def test_a_comparison_that_is_not_finished_belongs_to_the_family() -> None:
    """Else a verdict that stood in a partial report could fall when the rest is in."""
    results, designs = study(_tables())
    del designs["method", "c", "heart", "10%"]
    found = verdicts.judge(results, designs)
    of = found[found["endpoint"] == "Dice"]
    assert set(of["family"]) == {3}
    low, high = sorted(of["p"])
    assert sorted(of["p_holm"]) == pytest.approx([3 * low, max(3 * low, 2 * high)])


def test_no_difference_has_no_sign() -> None:
    table = noisy(0.8, np.random.default_rng(0))
    tables = {("method", "a", "heart", "10%"): table, ("method", "b", "heart", "10%"): table.copy()}
    turned = pairs.both_ways(pairs.all_pairs(blocks.blocks(*study(tables))))
    assert not np.signbit(turned[["difference", "low", "high"]].to_numpy(np.float64)).any()


def test_seeds_are_paired_between_methods_that_have_different_ones() -> None:
    tables = _tables({"a": 0.8})
    results, designs = study(tables)
    mine = designs["method", "a", "heart", "10%"]
    designs["method", "a", "heart", "10%"] = {name: table.iloc[1:] for name, table in mine.items()}
    (row, _) = verdicts.judge(results, designs).itertuples()
    expected = tables["method", "a", "heart", "10%"][1:] - tables["lower", "supervised", "heart", "10%"][1:]
    assert (row.seeds, row.difference) == (4, pytest.approx(expected.mean()))
