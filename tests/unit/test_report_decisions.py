"""Where a verdict turns: levels, margins, families, looks, and who is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.looks import Looks
from benchmark.report import blocks, evidence, frame, overall, pairs, sequential, summary, verdicts
from benchmark.report.crossed import Crossed, crossed, holm, superiority
from benchmark.report.verdicts import ENDPOINTS, verdict

from .report_designs import study
from .report_records import score, write_cell
from .test_report_pairs import MEANS, _row, _tables


def test_what_later_looks_added_counts_in_its_own_verdict_only() -> None:
    looks = Looks((3, 5), tuple(range(5)))
    tables = _tables({"a": 0.76, "b": 0.78}, "heart") | _tables({"a": 0.76, "b": 0.78}, "liver", seed=3)
    first = {key: table[:3] for key, table in tables.items()}
    (late, early) = (overall.overall(*study(given, looks=looks)) for given in (tables, first))
    assert late["difference"].tolist() == pytest.approx(early["difference"].tolist())
    assert all(block.seeds == (0, 1, 2) for block in blocks.blocks(*study(tables, looks=looks)))
    # b stopped after the first look: the baseline a against it is judged on three seeds, though a has five
    results, designs = study(tables, looks=looks)
    gone = (results.cells["label"] == "supervised") & (results.cells["seed"] > 2)
    results.cells.loc[gone, "status"] = "missing"
    lower = {key: {m: t.iloc[:4] for m, t in d.items()} if key[0] == "lower" else d for key, d in designs.items()}
    row = _row(verdicts.judge(results, lower), endpoint="Dice", label="a", dataset="heart")
    ahead = tables["method", "a", "heart", "10%"][:3] - tables["lower", "supervised", "heart", "10%"][:3]
    assert (row.look, row.seeds, row.superiority) == (1, 3, pytest.approx(superiority(ahead)))
    assert row.difference == pytest.approx(ahead.mean())


def test_equivalence_asks_for_the_ninety_per_cent_interval_and_no_more() -> None:
    # t at 29 degrees of freedom: 1.699 (90 %) and 2.045 (95 %); 0.0027 se: .00459 < .005 < .00552
    found = Crossed(0.0, 0.0027, 29.0, 30, 30)
    assert verdict(found, 1.0, ENDPOINTS[0]) == "equivalent"
    assert verdict(Crossed(0.0, 0.0030, 29.0, 30, 30), 1.0, ENDPOINTS[0]) == "not separable"
    # a mean at 0 on one side only: below -margin by its lower end
    assert verdict(Crossed(-0.003, 0.0027, 29.0, 30, 30), 1.0, ENDPOINTS[0]) == "not separable"


def test_significance_is_below_the_level_and_the_margin_itself_is_worth_having() -> None:
    clear = Crossed(0.005, 0.0001, 29.0, 30, 30)
    assert verdict(clear, 0.049, ENDPOINTS[0]) == "better"
    assert verdict(clear, 0.05, ENDPOINTS[0]) != "better"


def test_an_mde_is_at_the_strictest_step_of_the_correction() -> None:
    tables = _tables()
    row = _row(verdicts.judge(*study(tables)), endpoint="Dice", label="c")
    test = crossed(tables["method", "c", "heart", "10%"] - tables["lower", "supervised", "heart", "10%"])
    assert row.detectable == pytest.approx(test.detectable(0.05 / 3, ENDPOINTS[0].margin))


def test_predicting_nothing_where_nothing_is_counts_as_right_where_the_other_predicts_something() -> None:
    """Patient 4: silent in one seed of the method; 5: always silent, the bound never; 6: nobody predicts anything."""
    tables = _tables({"a": 0.8})
    mine, bound = ("method", "a", "heart", "10%"), ("lower", "supervised", "heart", "10%")
    tables = {key: table.copy() for key, table in tables.items()}
    tables[mine][2, 4] = np.nan
    tables[mine][:, 5:7] = np.nan
    tables[bound][:, 6] = np.nan
    row = _row(verdicts.judge(*study(tables)), endpoint="Dice")
    filled = np.where(np.isnan(tables[mine]), 1.0, tables[mine])
    kept = np.delete(filled - tables[bound], 6, axis=1)
    assert (row.patients, row.difference) == (11, pytest.approx(kept.mean()))
    (block,) = blocks.blocks(*study(tables))
    assert len(block.patients) == 11


def test_what_is_spurious_everywhere_is_not_equivalent_to_silence(tmp_path: Path) -> None:
    """Five patients have the organ and five have none; one of two methods finds it in all of them."""
    for seed in range(5):
        random = np.random.default_rng(seed)
        for name, role, status in (("supervised", "lower", "both_empty"), ("cps", "method", "spurious")):
            rows = [score(f"p{i}", dice=0.9 + 0.001 * random.normal()) for i in range(5)]
            write_cell(
                tmp_path, [*rows, *(score(f"e{i}", status=status) for i in range(5))], method=name, role=role, seed=seed
            )
    results = frame.load(tmp_path / "toy")
    patients = summary.patient_values(summary.class_values(results))
    row = _row(verdicts.judge(results, verdicts.designs(results, patients)), endpoint="Dice")
    assert (row.patients, row.verdict != "equivalent") == (10, True)
    assert row.difference == pytest.approx(-0.5, abs=0.01)
    patients = summary.patient_values(summary.class_values(results, "successes"))
    row = _row(verdicts.judge(results, verdicts.designs(results, patients, "successes")), endpoint="Dice")
    assert row.patients == 5  # this rule asks for nothing else


def test_a_seed_with_an_unfinished_fold_enters_no_verdict(tmp_path: Path) -> None:
    for seed in range(3):
        for fold in (1, 2):
            failed = (seed, fold) == (2, 2)
            write_cell(
                tmp_path,
                [] if failed else [score(f"p{fold}", dice=0.5)],
                seed=seed,
                fold=fold,
                status="failed" if failed else "finished",
            )
    results = frame.load(tmp_path / "toy")
    (design,) = verdicts.designs(results, summary.patient_values(summary.class_values(results))).values()
    assert design["dice"].index.tolist() == [0, 1]


def test_predictions_that_failed_are_failures(tmp_path: Path) -> None:
    write_cell(
        tmp_path,
        [score("p1"), score("p2", status="failed"), score("p3", status="missed"), score("p4", status="spurious")],
    )
    results = frame.load(tmp_path / "toy")
    (entry,) = summary.entries(results, summary.patient_values(summary.class_values(results))).itertuples()
    assert entry.failure_rate_mean == 0.75


def test_equivalence_after_looks_asks_for_the_interval_of_its_look() -> None:
    looks, noise = Looks((5, 7), tuple(range(7))), np.random.default_rng(0).normal(size=(5, 12))
    lower, mine = ("lower", "supervised", "heart", "10%"), ("method", "a", "heart", "10%")
    wide, narrow = (sequential.levels(alpha, (5, 7))[0] for alpha in (0.05, 0.1))
    for scale in np.geomspace(1e-4, 0.1, 200):
        tables = {lower: np.full((5, 12), 0.75), mine: 0.75 + scale * (noise - noise.mean())}
        ends = [crossed(tables[mine] - tables[lower]).interval(1 - level)[1] for level in (narrow, wide)]
        if ends[0] < 0.0049 and ends[1] > 0.0051:
            row = _row(verdicts.judge(*study(tables, looks=looks)), endpoint="Dice")
            assert row.verdict == "equivalent"
            return
    pytest.fail("no table lies between the two")


def test_a_rule_that_leaves_out_what_was_missed_leaves_out_its_dice(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("p1", dice=0.8), score("p2", status="missed")])
    results = frame.load(tmp_path / "toy")
    assert summary.class_values(results, "successes")["dice"].tolist() == pytest.approx([0.8, np.nan], nan_ok=True)


def test_few_patients_lend_no_degrees_of_freedom_that_only_seeds_have() -> None:
    # 10 seeds x 3 patients that differ, seeds that do not: the error is that of three patients, with 2 degrees
    random = np.random.default_rng(0)
    values = 2 * random.normal(size=(4000, 1, 3)) + 0.5 * random.normal(size=(4000, 10, 3))
    assert (crossed(values).p_value() < 0.05).mean() < 0.07


def test_a_pair_seen_from_the_other_side_is_its_mirror_image() -> None:
    turned = pairs.both_ways(pairs.all_pairs(blocks.blocks(*study(_tables({"a": 0.802, "b": 0.80})))))
    one, other = (_row(turned, endpoint="Dice", label=x, other=y) for x, y in (("a", "b"), ("b", "a")))
    assert one.superiority != 0.5
    assert (other.difference, other.low, other.high, other.superiority) == pytest.approx(
        (-one.difference, -one.high, -one.low, 1 - one.superiority)
    )


def test_over_datasets_who_is_ahead_is_averaged_and_the_rival_found_is_paid_for() -> None:
    tables = _tables(MEANS, "heart") | _tables({"a": 0.79, "b": 0.80, "c": 0.70}, "liver", seed=7)
    results, designs = study(tables)
    columns = blocks.blocks(results, designs)
    whole = pairs.overall_pairs(blocks.over_amounts(columns))
    each = pairs.all_pairs(columns)
    ahead = [_row(each, endpoint="Dice", dataset=name, label="a", other="b").superiority for name in ("heart", "liver")]
    assert _row(whole, endpoint="Dice", label="a", other="b").superiority == pytest.approx(np.mean(ahead))
    assert ahead[0] != ahead[1]
    row = _row(pairs.against_strongest(each, columns), endpoint="Dice", dataset="heart", label="a")
    test = crossed(tables["method", "a", "heart", "10%"] - tables["method", "b", "heart", "10%"])
    assert row.detectable == pytest.approx(test.detectable(0.05 / 6, ENDPOINTS[0].margin))  # three pairs × two columns
    found = evidence.gather(results, designs).overall
    of = found[(found["endpoint"] == "Dice") & (found["against"] == pairs.STRONGEST)]
    assert (of["p_holm"] > of["p"]).any()
    assert of["false_claim"].tolist() == pytest.approx((of["p"] / 2).tolist())


def test_an_overall_comparison_that_is_not_finished_belongs_to_the_family() -> None:
    results, designs = study(_tables(MEANS, "heart") | _tables(MEANS, "liver", seed=7))
    for name in ("heart", "liver"):
        del designs["method", "c", name, "10%"]
    of = overall.overall(results, designs)
    of = of[of["endpoint"] == "Dice"]
    assert of["p_holm"].tolist() == pytest.approx(holm(of["p"], 3))


def test_a_shorter_distance_is_ahead_over_all_datasets_too() -> None:
    tables = _tables({"a": 0.8}, "heart") | _tables({"a": 0.8}, "liver", seed=3)
    hd95 = {key: np.full(table.shape, 9.0 if key[0] == "lower" else 4.0) for key, table in tables.items()}
    assert _row(overall.overall(*study(tables, hd95=hd95)), endpoint=ENDPOINTS[1].name).superiority == 1.0
