"""The published tables hold the numbers of their sources, digit by digit: rows and sums of columns."""

from __future__ import annotations

import pytest

from benchmark import ROOT
from benchmark.report.published.numbers import load, shown

SETS = ("la", "brats", "acdc", "pancreas_ct")
COLUMNS = ("dice", "jaccard", "hd95", "asd")

# Added up when every number had been found in its source; 0 = the column is not printed.
SUMS = {
    "Left atrium, 8 labelled and 72 unlabelled scans, as first printed": (8, 685.99, 604.63, 95.73, 24.75),
    "Left atrium, 16 labelled and 64 unlabelled scans, as first printed": (7, 623.48, 563.63, 57.34, 15.93),
    "Left atrium, 8 labelled and 72 unlabelled scans, as re-run later": (14, 1214.69, 1081.60, 179.42, 45.50),
    "Left atrium, 16 labelled and 64 unlabelled scans, as re-run later": (12, 1074.78, 975.84, 99.27, 25.88),
    "Left atrium, 4 labelled and 76 unlabelled scans, each method's own files": (6, 530.31, 238.22, 24.66, 5.75),
    "Left atrium, 8 labelled and 72 unlabelled scans, each method's own files": (10, 897.31, 651.55, 54.98, 14.85),
    "Left atrium, 16 labelled and 64 unlabelled scans, each method's own files": (6, 547.57, 420.19, 27.75, 8.31),
    "Left atrium, all 80 scans labelled": (2, 182.76, 0, 0, 0),
    "BraTS 2019, 25 labelled and 225 unlabelled scans": (5, 424.57, 375.78, 48.79, 11.98),
    "BraTS 2019, 50 labelled and 200 unlabelled scans": (5, 429.05, 383.07, 42.99, 9.80),
    "BraTS 2019, 25 labelled scans, another family": (4, 323.2, 218.8, 38.8, 6.5),
    "BraTS 2019, 50 labelled scans, another family": (4, 331.7, 222.1, 33.8, 6.5),
    "ACDC, 3 labelled and 67 unlabelled patients": (10, 646.33, 541.89, 135.09, 45.57),
    "ACDC, 7 labelled and 63 unlabelled patients": (10, 850.85, 754.29, 59.29, 17.93),
    "ACDC, 3 labelled and 67 unlabelled patients, as TraCoCo lists them": (4, 351.60, 316.76, 13.11, 5.53),
    "ACDC, 7 labelled and 63 unlabelled patients, as TraCoCo lists them": (5, 447.77, 408.18, 17.77, 5.33),
    "ACDC, 14 labelled and 56 unlabelled patients, as TraCoCo lists them": (5, 451.16, 413.14, 14.63, 4.41),
    "ACDC, 3 labelled patients, each method's own files": (2, 174.71, 156.66, 8.23, 2.75),
    "ACDC, 7 labelled patients, each method's own files": (4, 351.44, 316.66, 16.12, 4.41),
    "ACDC, 14 labelled patients, each method's own files": (2, 177.70, 161.27, 7.06, 2.00),
    "ACDC, all 70 patients labelled": (1, 91.44, 84.59, 4.30, 0.99),
    "ACDC, 1 labelled patient, scored on validation and test patients together": (3, 198.56, 0, 0, 0),
    "ACDC, 3 labelled patients, scored on validation and test patients together": (11, 692.33, 0, 0, 0),
    "ACDC, 7 labelled patients, scored on validation and test patients together": (12, 975.93, 0, 0, 0),
    "Pancreas-CT, 6 labelled and 56 unlabelled scans": (5, 362.17, 291.81, 79.49, 18.75),
    "Pancreas-CT, 12 labelled and 50 unlabelled scans": (5, 394.90, 330.73, 42.58, 9.06),
    "Pancreas-CT, 6 labelled and 56 unlabelled scans, each method's own files": (1, 81.34, 68.97, 5.40, 1.69),
    "Pancreas-CT, 12 labelled and 50 unlabelled scans, each method's own files": (1, 82.89, 71.17, 4.54, 1.23),
    "Pancreas-CT, the best checkpoint as BCP selects it": (3, 245.94, 209.36, 21.36, 5.88),
}

SCRIBBLES = "ACDC, scribbles of 80 patients, five folds, "

# Dice, its deviation, HD95 and its deviation, of the mean and of each class.
SCRIBBLE_SUMS = {
    f"{SCRIBBLES}as MaskMixAdv's Table 1 lists them": (
        15,
        {
            "mean": (1243.0, 141.8, 442.5, 329.6),
            "RV": (1239.2, 161.8, 363.4, 294.0),
            "MYO": (1190.2, 110.6, 444.3, 304.8),
            "LV": (1300.0, 161.1, 520.2, 403.6),
        },
    ),
    f"{SCRIBBLES}ablation of MaskMixAdv": (
        5,
        {"mean": (351.4, 0, 567.7, 0), "RV": (339.9, 0, 0, 0), "MYO": (328.0, 0, 0, 0), "LV": (386.1, 0, 0, 0)},
    ),
    f"{SCRIBBLES}perturbations compared by MaskMixAdv": (18, {"mean": (1437.0, 0, 0, 0)}),
    "ACDC, scribbles, other anchors": (8, {"mean": (674.43, 0, 0, 0)}),
}


@pytest.mark.parametrize("title", SUMS)
def test_a_semi_supervised_table_adds_up_to_what_its_sources_print(title: str) -> None:
    (table,) = [table for table in load() if table.title == title]
    rows, *sums = SUMS[title]
    assert len(table.rows) == rows
    values = [[getattr(row.values, name) or 0 for name in COLUMNS] for row in table.rows]
    assert [round(sum(column), 2) for column in zip(*values, strict=True)] == sums


def test_no_semi_supervised_table_is_left_out() -> None:
    protocols = [(table.title, table.rows[0].protocol) for table in load()]
    densely = [(title, p) for title, p in protocols if (p.annotation, p.folds) == ("dense", (1,))]
    assert sorted(title for title, p in densely if p.dataset in SETS) == sorted(SUMS)


@pytest.mark.parametrize("title", SCRIBBLE_SUMS)
def test_a_table_of_scribbles_adds_up_to_what_its_sources_print(title: str) -> None:
    (table,) = [table for table in load() if table.title == title]
    rows, sums = SCRIBBLE_SUMS[title]
    assert len(table.rows) == rows
    for name in ("mean", "RV", "MYO", "LV"):
        values = [row.values if name == "mean" else row.classes.get(name) for row in table.rows]
        printed = [[getattr(one, f) or 0 for f in ("dice", "dice_sd", "hd95", "hd95_sd")] for one in values if one]
        assert tuple(round(sum(column), 2) for column in zip(*printed, strict=True)) == sums.get(name, ())


def test_no_table_of_scribbles_is_left_out() -> None:
    titles = [t.title for t in load() if t.rows[0].protocol.annotation == "scribble" and t.title[:5] != "MSCMR"]
    assert sorted(titles) == sorted(SCRIBBLE_SUMS)


def test_rows_of_another_division_of_the_patients_state_nothing_that_is_not_known() -> None:
    rows = {r.name: r for t in load() for r in t.rows if r.protocol.annotation == "scribble" and r.mark != "memory"}
    for name in ("Puzzle Mix", "ShapePU", "ZScribbleSeg", "SDT-Net"):
        one = rows[name].protocol
        assert (one.split, one.folds, one.labelled, one.subset) == (None, (), None, None), name
    wsl4mis = rows["USTM"].protocol
    assert (wsl4mis.grid, wsl4mis.unit, wsl4mis.selection) == ("256×256, scored natively", "mm", "last")


def test_tables_of_ctbct_state_neither_grid_nor_network_but_the_last_step() -> None:
    tables = [t for t in load() if "validation and test patients together" in t.title]
    rows = [row for table in tables for row in table.rows if row.name != "UniMatch"]
    assert len(rows) > 15
    assert {(r.protocol.grid, r.protocol.network, r.protocol.selection) for r in rows} == {(None, None, "last")}


def test_rows_of_mc_net_say_neither_length_nor_selection_that_no_source_states() -> None:
    rows = [r for t in load() for r in t.rows if (r.name, r.protocol.dataset) == ("MC-Net", "la")]
    assert len(rows) == 4
    assert {(r.protocol.steps, r.protocol.selection) for r in rows} == {(None, None)}


def test_the_docs_name_every_method_that_is_compared_and_not_here() -> None:
    text = (ROOT / "docs" / "protocols.md").read_text().split("**Compared methods that are not in Scant.**")[1]
    section = text.split("\n\n")[0]
    names = {
        r.name.removeprefix("BCP with ") for t in shown(load()) for r in t.rows if not r.method and ":" not in r.name
    }
    assert len(names) >= 12
    assert sorted(name for name in names if name.partition("-1")[0] not in section) == []
