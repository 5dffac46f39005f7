"""What a reader sees of the statistics: words, notes and figures, from tables that are known in advance."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmark.looks import Looks
from benchmark.report import components, evidence, stat_figures, stat_tables, style, verdict_tables, verdicts
from benchmark.report.evidence import Evidence
from benchmark.report.frame import Results
from benchmark.report.tables import Table
from benchmark.report.verdicts import Design, Key
from tests.unit.report_designs import noisy, study


def entries_of(results: Results) -> pd.DataFrame:
    """What the tables ask of `summary.entries`."""
    keys = ["role", "label", "dataset", "amount"]
    grouped = results.cells.groupby(keys, sort=False)
    more = {name: (name, "first") for name in ("annotation", "level", "is_share")}
    table = grouped.agg(ids=("id", tuple), n=("seed", "nunique"), **more).reset_index()
    table = table.assign(planned=table["n"], failure_rate_mean=0.0, share=table["level"])
    return table.assign(dice_mean=[{"a": 0.85, "b": 0.8}.get(label, 0.75) for label in table["label"]])


def _made(datasets: tuple[str, ...] = ("heart", "liver"), **more) -> tuple[Results, dict[Key, Design], Evidence]:  # type: ignore[no-untyped-def]
    tables = {}
    for place, dataset in enumerate(datasets):
        random = np.random.default_rng(place)
        tables |= {
            ("lower", "supervised", dataset, "10%"): noisy(0.75, random),
            ("method", "a", dataset, "10%"): noisy(0.85, random),
            ("method", "b", dataset, "10%"): noisy(0.80, random),
        }
    results, designs = study(tables, **more)
    return results, designs, evidence.gather(results, designs)


def _row(table: Table, label: str) -> list[str]:
    (row,) = (row for row in table.rows if row.label == label)
    return [number.text for number in row.numbers]


def test_intervals_that_hold_over_all_looks_are_not_called_by_the_level_of_one() -> None:
    results, _, found = _made()
    same = found.judged.assign(verdict="equivalent")
    of_results = entries_of(results)
    once, often = (verdict_tables.verdict_tables(of_results, same, looked=looked) for looked in (False, True))
    assert not any("level of its look" in table.notes[0] for table in (*once, *often[2:])), (
        "rivals are picked at the end"
    )
    once, often = once[0], often[0]
    assert "at the level of its look, so that it holds over all looks" in often.notes[0]
    assert "level of its look" not in once.notes[0]
    assert all("] (90 %)\n" in text for text in _row(once, "a"))
    assert all("] (equivalence)\n" in text for text in _row(often, "a"))


def test_verdict_tables_say_whom_they_compare_with_and_how_many_comparisons_share_the_error() -> None:
    results, _, found = _made()
    tables = verdict_tables.verdict_tables(entries_of(results), found.judged)
    assert [table.key for table in tables] == [
        "verdicts-dice", "verdicts-hd95", "verdicts-strongest-dice", "verdicts-strongest-hd95",
    ]  # fmt: skip
    lower, rival = tables[0], tables[2]
    assert "over the 4 planned comparisons of this endpoint" in lower.notes[0]
    assert "exploratory" in rival.notes[0]
    assert all(text.endswith("better") for text in _row(lower, "a"))
    assert all("\nto b\n" in text and text.endswith("better") for text in _row(rival, "a"))


@pytest.mark.parametrize(
    ("points", "text"), [(3.14, "3.1"), (100.0, "100.0"), (100.1, "> 100"), (487.9, "> 100"), (np.inf, "> 100")]
)
def test_no_mde_of_dice_is_more_than_all_its_points(points: float, text: str) -> None:
    assert verdict_tables.least(points / 100, verdicts.ENDPOINTS[0]) == text


@pytest.mark.parametrize(
    ("ratio", "text"), [(1.35, "×1.35"), (99.99, "×99.99"), (12078.0, "> ×100"), (1e300, "> ×100")]
)
def test_an_mde_of_distances_ends_at_a_hundredfold(ratio: float, text: str) -> None:
    assert verdict_tables.least(float(np.log(ratio)), verdicts.ENDPOINTS[1]) == text


def test_a_table_never_prints_a_difference_that_cannot_be() -> None:
    # three seeds that swing by 20 points, over nine methods: what would be found is beyond what Dice can differ by
    random = np.random.default_rng(1)
    swings = {
        ("method", f"m{i}", "heart", "5%"): np.clip(0.5 + 0.2 * random.normal(size=(3, 1)) + np.zeros(9), 0, 1)
        + 0.01 * random.normal(size=(3, 9))
        for i in range(9)
    }
    distances = {key: np.exp(10 * table) for key, table in swings.items()}
    bound = ("lower", "supervised", "heart", "5%")
    results, designs = study(
        swings | {bound: noisy(0.5, random, seeds=3, patients=9)}, hd95=distances | {bound: np.full((3, 9), 9.0)}
    )
    found = evidence.gather(results, designs)
    assert (found.judged["detectable"] > 1).any(), "verdicts.csv says what was computed"
    dice, hd95, *_ = verdict_tables.verdict_tables(entries_of(results), found.judged)
    texts = {
        table.key: " ".join(text for row in table.rows for text in _row(table, row.label)) for table in (dice, hd95)
    }
    assert "not separable (MDE > 100)" in texts["verdicts-dice"]
    assert "not separable (MDE > ×100)" in texts["verdicts-hd95"]
    for printed in re.findall(r"MDE ×?([\d.]+)", " ".join(texts.values())):
        assert float(printed) <= 100


def test_few_seeds_are_for_screening() -> None:
    # five seeds at 10 % are enough for a claim, at 5 % ten are
    results, _, found = _made()
    table = entries_of(results)
    assert verdict_tables.screening(table, found.judged) == []
    (sentence,) = verdict_tables.screening(table.assign(share=0.05), found.judged)
    assert "are less rare: heart 10%, liver 10%. If no method differed, " in sentence
    some = 1 - np.prod(1 - found.judged["misleading"])
    assert f"{100 * some:.0f} % of studies like this one would have at least one" in sentence


def test_a_declared_baseline_gets_a_table_in_the_same_family() -> None:
    results, _, found = _made(baseline="b")
    tables = {table.key: table for table in verdict_tables.verdict_tables(entries_of(results), found.judged)}
    assert set(tables) == {"verdicts-dice", "verdicts-hd95", "verdicts-baseline-dice", "verdicts-baseline-hd95"}
    assert tables["verdicts-baseline-dice"].title == "Against the baseline b: difference in Dice points"
    assert "over the 6 planned comparisons" in tables["verdicts-baseline-dice"].notes[0], "2 × 2 to bounds, 2 to b"
    assert _row(tables["verdicts-baseline-dice"], "b") == ["–", "–"]


def test_the_overall_table_gives_effect_probability_and_claim() -> None:
    results, _, found = _made()
    lower, rival = verdict_tables.overall_tables(entries_of(results), found)
    texts = _row(lower, "a")
    assert float(texts[0].split(" ")[0]) == pytest.approx(10, abs=0.5)
    assert texts[1:6] == ["< .001", "100 %", "2/0/0", "< .001", "better"]
    assert _row(rival, "a")[0].endswith("\nto b")
    assert lower.rows[0].numbers[0].ids == tuple(
        f"method-a-{name}-10%-s{i}" for name in ("heart", "liver") for i in range(5)
    )


def test_one_column_needs_no_overall_table() -> None:
    results, _, found = _made(("heart",))
    assert verdict_tables.overall_tables(entries_of(results), found) == []


def test_rank_tables_show_intervals_top_group_and_other_choices() -> None:
    results, _, found = _made()
    ranks, stability = stat_tables.rank_tables(entries_of(results), found.rankings)
    assert [column.dataset for column in ranks.columns] == ["heart", "liver", "all datasets"]
    assert _row(ranks, "a") == ["1* [1–1]\n100 %"] * 3
    assert _row(ranks, "supervised") == ["3 [3–3]\n0 %"] * 3
    assert stability.head == "Ranking by"
    assert _row(stability, "median patient") == ["1.00"] * 3
    assert _row(stability, "without heart") == ["–", "–", "1.00"]


def test_who_is_not_ranked_is_named_with_the_reason() -> None:
    random = np.random.default_rng(3)
    tables = {("method", label, "heart", "10%"): noisy(0.8, random) for label in "ab"}
    tables["method", "z", "heart", "10%"] = noisy(0.9, random, seeds=2)
    results, designs = study(tables)
    found = evidence.gather(results, designs)
    ranks, _ = stat_tables.rank_tables(entries_of(results), found.rankings, found.columns)
    assert ranks.notes[-1] == "Not ranked: z (2 complete seeds; 3 are needed) in heart 10%."
    assert len(stat_tables.rank_tables(entries_of(_made()[0]), _made()[2].rankings, _made()[2].columns)[0].notes) == 1


def test_the_table_of_variance_adds_up_and_says_what_seeds_draw() -> None:
    results, designs, _ = _made(("heart",))
    (table,) = stat_tables.component_tables(entries_of(results), components.decomposition(results, designs))
    shares = [float(row.numbers[0].text.split("(")[1].split(" %")[0]) for row in table.rows]
    assert (sum(shares[:3]), sum(shares[3:])) == (pytest.approx(100, abs=1.5), pytest.approx(100, abs=1.5))
    assert "labelled subset, initialisation, order (heart 10%)" in table.notes[1]


def test_the_table_of_looks_is_there_after_looks_only() -> None:
    results, *_ = _made()
    assert stat_tables.look_tables(results) == []
    told = {"open": ["x"], "decided": [], "added": ["y", "z"]}
    looked = replace(results, looks=Looks((5, 10), tuple(range(10)), history=(told,)))
    (table,) = stat_tables.look_tables(looked)
    assert [number.text for number in table.rows[0].numbers] == ["5", "0.0031", "0.31 %", "1", "0", "2"]
    assert [number.text for number in table.rows[1].numbers] == ["10", "0.049", "5 %", "–", "–", "–"]


@pytest.fixture
def drawing() -> Iterator[None]:
    with style.settings():
        yield


@pytest.mark.usefixtures("drawing")
def test_figures_say_in_words_what_they_show() -> None:
    results, _, found = _made()
    ranks, heart, liver = stat_figures.pictures(found, entries_of(results))
    assert (ranks.name, heart.name, liver.name) == ("ranks_dense", "map_heart_dense", "map_liver_dense")
    assert "all datasets: a 1 [1 to 1]; b 2 [2 to 2]; supervised (lower bound) 3 [3 to 3]." in ranks.alt
    assert "at 10% a over b" in heart.alt
    assert len(ranks.figure.axes) == 3


@pytest.mark.usefixtures("drawing")
def test_a_map_is_ordered_by_rank_and_turned_signs_mirror_each_other() -> None:
    results, _, found = _made(("heart",))
    _, heart = stat_figures.pictures(found, entries_of(results))
    (axes,) = heart.figure.axes
    written = [text.get_text() for text in axes.texts]
    assert [name for name in written if "  " in name] == ["a  1", "b  2", "supervised (lower bound)  3"]
    kinds = axes.images[0].get_array()
    assert kinds.tolist() == [[0, 1, 1], [2, 0, 1], [2, 2, 0]], "1: row better, 2: row worse"


def test_nothing_to_compare_makes_no_figure_and_no_table() -> None:
    results, designs = study({("method", "a", "heart", "10%"): noisy(0.8, np.random.default_rng(0))})
    found = evidence.gather(results, designs)
    table = entries_of(results)
    assert list(stat_figures.pictures(found, table)) == []
    assert [*verdict_tables.verdict_tables(table, found.judged), *verdict_tables.overall_tables(table, found)] == []
    assert stat_tables.rank_tables(table, found.rankings) == []
