"""Rankings and their stability; slow references and cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from benchmark.report import blocks, evidence, ranks
from benchmark.report.ranks import OVERALL
from tests.unit.report_designs import noisy, study


def _keys(labels: str, dataset: str = "heart", amount: str = "10%") -> list[tuple[str, str, str, str]]:
    return [("method", label, dataset, amount) for label in labels]


def _blocks(tables: dict, **more) -> list[blocks.Block]:  # type: ignore[no-untyped-def, type-arg]
    return blocks.blocks(*study(tables, **more))


def _ladder(gap: float, *, seed: int = 0, dataset: str = "heart", amount: str = "10%", labels: str = "abcd") -> dict:
    """Methods ``gap`` apart, the first one best; .5 points of seed and of rest."""
    random = np.random.default_rng(seed)
    return {key: noisy(0.8 - gap * place, random) for place, key in enumerate(_keys(labels, dataset, amount))}


def test_resampled_means_are_those_of_a_slow_crossed_bootstrap() -> None:
    # same law, other draws: mean and deviation over resamples of one member agree within their Monte Carlo error
    (block,) = _blocks(_ladder(0.0))
    values = block.values["Dice"][0]
    random = np.random.default_rng(9)
    slow = [values[np.ix_(random.integers(0, 5, 5), random.integers(0, 12, 12))].mean() for _ in range(4000)]
    fast = ranks.resampled(block, "Dice", resamples=4000)[:, 0]
    assert fast.mean() == pytest.approx(np.mean(slow), abs=4 * np.std(slow) / 4000**0.5 * 2**0.5)
    assert fast.std() == pytest.approx(np.std(slow), rel=0.08)


def test_members_are_resampled_together() -> None:
    # two members with the same values can never be apart in a resample
    table = noisy(0.8, np.random.default_rng(1))
    (block,) = _blocks(dict.fromkeys(_keys("ab"), table))
    drawn = ranks.resampled(block, "Dice")
    assert np.array_equal(drawn[:, 0], drawn[:, 1])


def test_a_further_method_does_not_change_the_resamples_of_the_others() -> None:
    few, many = _ladder(0.01, labels="abc"), _ladder(0.01, labels="abcd")
    drawn = [ranks.resampled(_blocks(tables)[0], "Dice")[:, :3] for tables in (few, many)]
    assert np.allclose(drawn[0], drawn[1], atol=1e-12)


def test_methods_far_apart_have_certain_ranks_and_equal_ones_share_them() -> None:
    (found,) = ranks.rankings(_blocks(_ladder(0.1)), [])
    assert [label for _, label in found.members] == list("abcd")
    assert found.rank.tolist() == found.low.tolist() == found.high.tolist() == [1, 2, 3, 4]
    assert (found.first.tolist(), found.top.tolist()) == ([1, 0, 0, 0], [True, False, False, False])
    assert found.tau == (1.0, 1.0, 1.0)
    (tied,) = ranks.rankings(_blocks(dict.fromkeys(_keys("ab"), noisy(0.8, np.random.default_rng(1)))), [])
    assert (tied.rank.tolist(), tied.first.tolist(), tied.top.tolist()) == ([1, 1], [0.5, 0.5], [True, True])


def test_methods_that_cannot_be_told_apart_share_the_top_group() -> None:
    (found,) = ranks.rankings(
        _blocks(_ladder(0.0, labels="ab") | {_keys("z")[0]: noisy(0.5, np.random.default_rng(5))}), []
    )
    assert dict(zip((label for _, label in found.members), found.top, strict=True)) == {
        "a": True,
        "b": True,
        "z": False,
    }
    assert found.first.sum() == pytest.approx(1)
    assert found.high[-1] == 3


def test_taus_are_those_of_scipy() -> None:
    random = np.random.default_rng(3)
    scores = random.integers(0, 4, (30, 6)).astype(float)  # with ties
    reference = random.normal(size=6)
    expected = [kendalltau(row, reference).statistic for row in scores]
    assert ranks.taus(scores, reference) == pytest.approx(expected, nan_ok=True)


def test_other_choices_are_told_apart_by_their_tau() -> None:
    # a beats b on 11 of 12 patients by a point and loses 30 points on the last: ahead by ranks and in the median, but
    # behind in the mean, so that both τ are -1; HD95 is set to agree with the mean
    a, b = np.full((3, 12), 0.8), np.full((3, 12), 0.79)
    a[:, -1], b[:, -1] = 0.5, 0.8
    a, b = (table + 1e-4 * np.random.default_rng(place).normal(size=(3, 12)) for place, table in enumerate((a, b)))
    hd95 = dict(zip(_keys("ab"), (np.full((3, 12), 9.0), np.full((3, 12), 4.0)), strict=True))
    (found,) = ranks.rankings(_blocks(dict(zip(_keys("ab"), (a, b), strict=True)), hd95=hd95), [])
    assert [label for _, label in found.members] == ["b", "a"]
    assert found.sensitivity == {"rank, then aggregate": -1.0, "median patient": -1.0, "log(1 + HD95)": 1.0}


def test_overall_ranks_average_datasets_with_equal_weight_and_leave_each_out() -> None:
    # a leads by 4 points on heart; b by 1 on liver, by 1 on lung: the mean is a's; without heart it is b's
    tables = {}
    for place, (dataset, lead) in enumerate((("heart", 0.04), ("liver", -0.01), ("lung", -0.01))):
        random = np.random.default_rng(place)
        mine, other = _keys("ab", dataset)
        tables |= {mine: noisy(0.7 + lead, random), other: noisy(0.7, random)}
    columns = _blocks(tables)
    found = ranks.rankings(columns, blocks.over_amounts(columns))
    overall = found[-1]
    assert (overall.dataset, overall.datasets, len(found)) == (OVERALL, 3, 4)
    assert [label for _, label in overall.members] == ["a", "b"]
    assert overall.sensitivity["without heart"] == -1.0
    assert overall.sensitivity["without liver"] == 1.0


def test_amounts_of_a_dataset_are_averaged_before_they_are_ranked() -> None:
    # a is 3 points ahead at 5 %, b 1 point at 10 %: in the mean a leads by 1
    random = np.random.default_rng(4)
    tables = {
        key: noisy(mean, random)
        for amount, means in (("5%", (0.63, 0.60)), ("10%", (0.79, 0.80)))
        for key, mean in zip(_keys("ab", amount=amount), means, strict=True)
    }
    columns = _blocks(tables)
    (whole,) = blocks.over_amounts(columns)
    assert whole.values["Dice"].mean(axis=(1, 2)) == pytest.approx([0.71, 0.70], abs=0.006)
    first, second, both = ranks.rankings(columns, [whole])
    assert [each.members[0][1] for each in (first, second, both)] == ["a", "b", "a"]
    assert (both.dataset, both.amount) == ("heart", "")


def test_two_seeds_get_no_rank_and_take_none_away() -> None:
    tables = _ladder(0.1, labels="abc")
    short = _keys("z")[0]
    (block,) = _blocks(tables | {short: noisy(0.9, np.random.default_rng(8), seeds=2)})
    assert [label for _, label in block.members] == list("abc")
    assert block.left_out == {("method", "z"): "2 complete seeds; 3 are needed"}


def test_kinds_of_annotation_are_ranked_apart() -> None:
    found = _blocks(_ladder(0.1), scribble=("c", "d"))
    assert [(block.annotation, [label for _, label in block.members]) for block in found] == [
        ("dense", ["a", "b"]),
        ("scribble", ["c", "d"]),
    ]


def test_patients_that_a_rule_leaves_out_anywhere_are_left_out_for_all() -> None:
    tables = _ladder(0.1)
    tables[_keys("b")[0]][2, 4] = np.inf
    (block,) = _blocks(tables)
    assert (len(block.patients), "p04" in block.patients) == (11, False)


def test_a_single_entry_makes_no_block() -> None:
    assert _blocks(_ladder(0.1, labels="a")) == []


def test_rows_of_rankings_hold_what_a_table_needs() -> None:
    (found,) = ranks.rankings(_blocks(_ladder(0.1)), [])
    rows = evidence.ranking_rows([found])
    assert rows[["label", "rank", "rank_low", "rank_high", "p_first"]].iloc[0].tolist() == ["a", 1, 1, 1, 1.0]
    assert rows["tau_median patient"].tolist() == [1.0] * 4


def test_a_resample_in_which_all_are_equal_spoils_no_tau() -> None:
    values = np.full((5, 12), 0.8)
    tables = {key: values.copy() for key in _keys("ab")}
    (equal,) = ranks.rankings(_blocks(tables), [])
    assert np.isnan(equal.tau).all(), "nothing can be ranked"
    tables[_keys("a")[0]][0, 0] += 0.1  # most resamples hold seed 0 and patient 0, some do not
    (nearly,) = ranks.rankings(_blocks(tables), [])
    assert nearly.tau == (1.0, 1.0, 1.0)
