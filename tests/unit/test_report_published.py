"""Numbers from papers: read strictly, shown beside ours, never called comparable lightly, never shown from memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import methods
from benchmark import plan_file
from benchmark.config import ConfigError
from benchmark.plan import nominal_task
from benchmark.prepare import network_settings
from benchmark.record import LARGEST, METRICS, Record, Score
from benchmark.report import frame, published, summary
from benchmark.report.published.numbers import Protocol, Published, Row, Values, load, shown
from benchmark.report.published.ours import Ours, tags
from benchmark.report.published.pairing import Pair
from benchmark.run import describe
from methods import networks
from tests.unit.report_records import score, write_cell

PROTOCOL = Protocol(
    dataset="la", annotation="dense", split="80/0/20", folds=(1,), labelled="8", subset="first",
    grid="112×112×80 windows every 18×18×4", network="vnet 16", steps=6000, unit="px", selection="last",
    components="all",
)  # fmt: skip


def results_of(folder: Path, *cells: dict[str, Any]) -> tuple[frame.Results, Any]:
    for cell in cells:
        write_cell(folder, [score("a", dice=0.5), score("b", dice=0.7)], **cell)
    results = frame.load(folder / "toy")
    return results, summary.entries(results, summary.patient_values(summary.class_values(results)))


def row(name: str = "UA-MT", *, method: str | None = "ua_mt", dice: float = 84.25, **more: Any) -> Row:
    return Row(name, Values(dice), "a paper", more.pop("mark", "read"), more.pop("protocol", PROTOCOL), method, **more)


def table(*rows: Row, **more: Any) -> Published:
    return Published("A table", rows, **more)


# What comes with the project -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "method", "family", "labelled", "expected"),
    [
        ("UA-MT", "ua_mt", "A", "8", (84.25, 73.48, 13.84, 3.36)),
        ("UA-MT", "ua_mt", "B", "8", (85.81, 75.41, 18.25, 5.04)),
        ("MC-Net+", "mc_net", "P", "16", (91.07, 83.67, 5.84, 1.67)),
        ("TraCoCo", "tracoco", "A", "25", (85.71, 76.39, 9.20, 2.27)),
        ("DTC", "dtc", "B", "3", (56.90, 45.67, 23.36, 7.39)),
    ],
)
def test_numbers_of_the_sources_are_there_by_family(
    name: str, method: str | None, family: str, labelled: str, expected: tuple[float, ...]
) -> None:
    found = [
        (r.values.dice, r.values.jaccard, r.values.hd95, r.values.asd)
        for t in load()
        if t.family == family
        for r in t.rows
        if (r.name, r.method, r.protocol.labelled) == (name, method, labelled) and r.mark == "read"
    ]
    assert expected in found


def test_every_number_says_where_it_was_read_and_every_method_named_has_its_hyper_parameters() -> None:
    rows = [r for t in load() for r in t.rows]
    assert len(rows) > 200
    for r in rows:
        assert r.source
        if r.method:
            known = {f.name for f in dataclasses.fields(methods.get(r.method).Hyper)}
            assert set(r.hyper) <= known, r.name
        else:
            assert not r.hyper, r.name


def test_means_of_classes_are_the_printed_means() -> None:
    # printed to a tenth of a per cent, so classes and mean may be off by half of that each, and copied tables by more
    checked = 0
    for r in (r for t in load() for r in t.rows if len(r.classes) == 3 and r.mark == "image"):
        mean = sum(one.dice for one in r.classes.values()) / 3
        assert mean == pytest.approx(r.values.dice, abs=0.11), r.name
        checked += 1
    assert checked > 15


def test_reading_is_deterministic() -> None:
    assert load() == load()


# Memory --------------------------------------------------------------------------------------------------------------
def test_what_is_from_memory_is_kept_and_never_shown(tmp_path: Path) -> None:
    """In no form, whatever the plan ran; a table of nothing else is not even named."""
    remembered = [r for t in load() for r in t.rows if r.mark == "memory"]
    assert len(remembered) > 30
    assert not [r for t in shown(load()) for r in t.rows if r.mark == "memory"]
    results, entries = results_of(tmp_path, {"method": "ua_mt", "dataset": "la", "ratio": 0.2})
    secret = table(row("Forgotten", dice=12.34, mark="memory"), row("Known", dice=56.78))
    only = dataclasses.replace(table(row("Lost", dice=43.21, mark="memory")), title="A lost table")
    found = published.beside(results, entries, [secret, only])
    for text in (published.markdown(found), published.html(found), published.csv(found)):
        assert "56.78" in text
        assert not [word for word in ("12.34", "Forgotten", "43.21", "Lost", "lost") if word in text]


# Comparable or not ---------------------------------------------------------------------------------------------------
def test_numbers_are_comparable_if_all_tags_are_equal_and_stated() -> None:
    assert PROTOCOL.differing(PROTOCOL) == ()
    other = {
        "dataset": "brats", "annotation": "scribble", "split": "72/8/20", "folds": (1, 2), "labelled": "16",
        "subset": "random", "grid": "64×64×64 windows every 32×32×32", "network": "unet 16", "steps": 100,
        "unit": "mm", "selection": "best on test", "components": "largest",
    }  # fmt: skip
    assert list(other) == [f.name for f in dataclasses.fields(Protocol)]
    for tag, value in other.items():
        assert PROTOCOL.differing(dataclasses.replace(PROTOCOL, **{tag: value})) == (tag,)
        silent = dataclasses.replace(PROTOCOL, **{tag: () if tag == "folds" else None})
        assert silent.differing(PROTOCOL) == silent.differing(silent) == (tag,)


def record(**training: Any) -> Record:
    settings = {"patch": [112, 112, 80], "network": "vnet", "width": 16, "steps": 6000, "subset": "first"}
    settings |= {"overlap": 0.5, "stride": [18, 18, 4]} | training
    cell = {"dataset": "la", "annotation": "dense", "fold": 1, "training": settings}
    split = {"train_groups": 80, "val_groups": 0, "test_groups": 20, "unlabelled_groups": 72}
    return Record("x", cell, "finished", split=split | {"labelled_groups": [str(i) for i in range(8)]})


def test_our_protocol_is_derived_from_the_record() -> None:
    assert tags(record(), "px") == PROTOCOL
    assert tags(record(), "mm").unit == "mm"
    # half of 112 and of 80
    assert tags(record(stride=None), "px").grid == "112×112×80 windows every 56×56×40"
    assert tags(record(patch=[256, 256]), "px").grid == "256×256, scored natively"
    full = record()
    full.split["unlabelled_groups"] = 0
    assert (tags(full, "px").labelled, tags(full, "px").subset) == ("all", "all")


def test_a_network_with_other_options_is_another_network() -> None:
    assert tags(record(network_options={"norm": "instance", "dropout": 0.1}), "px").network == (
        "vnet 16 (dropout 0.1, norm instance)"
    )
    assert tags(record(network_options={}), "px").network == "vnet 16"


@pytest.mark.parametrize(
    ("plan", "parameters"),
    [
        ("la_semi", 9_448_866),
        ("pancreas_semi", 9_448_866),
        ("brats_semi", 5_884_050),
        ("acdc_semi", 1_813_764),
        ("acdc_scribble", 1_944_324),
    ],
)
def test_published_plans_train_the_published_network(plan: str, parameters: int) -> None:
    loaded = plan_file.load(plan)
    cell = next(iter(loaded.cells()))
    network = networks.make(cell.training.network, **network_settings(cell.training, nominal_task(loaded.datasets[0])))
    assert sum(weights.numel() for weights in network.parameters()) == parameters


def test_the_plan_acdc_semi_has_the_network_of_the_published_tables() -> None:
    rows = [
        r.protocol for t in load() for r in t.rows if (r.protocol.dataset, r.protocol.split) == ("acdc", "70/10/20")
    ]
    (tag,) = {protocol.network for protocol in rows if protocol.network}
    cell = next(c for c in plan_file.load("acdc_semi").cells() if c.count == 3)
    assert tags(Record(cell.id, describe(cell), "finished", split={}), "px").network == tag


def test_the_plan_la_semi_follows_the_published_protocol_but_for_the_unit() -> None:
    split = {"train_groups": 80, "val_groups": 0, "test_groups": 20}
    for labelled in (8, 16):
        (row,) = [
            r for t in load() if t.family == "A" for r in t.rows
            if (r.method, r.protocol.dataset, r.protocol.labelled) == ("ua_mt", "la", str(labelled))
        ]  # fmt: skip
        cell = next(c for c in plan_file.load("la_semi").cells() if (c.method, c.count) == ("ua_mt", labelled))
        drawn = {"unlabelled_groups": 80 - labelled, "labelled_groups": [str(i) for i in range(labelled)]}
        ours = tags(Record(cell.id, describe(cell), "finished", split=split | drawn), "mm")
        assert row.protocol.differing(ours) == ("unit",)


def test_the_plan_pancreas_semi_follows_what_is_known_of_the_published_protocol() -> None:
    split = {"train_groups": 62, "val_groups": 0, "test_groups": 20}
    for labelled in (6, 12):
        (row,) = [
            r for t in load() for r in t.rows
            if (r.method, r.protocol.dataset, r.protocol.labelled) == ("ua_mt", "pancreas_ct", str(labelled))
        ]  # fmt: skip
        cell = next(c for c in plan_file.load("pancreas_semi").cells() if (c.method, c.count) == ("ua_mt", labelled))
        drawn = {"unlabelled_groups": 62 - labelled, "labelled_groups": [str(i) for i in range(labelled)]}
        ours = tags(Record(cell.id, describe(cell), "finished", split=split | drawn), "px")
        # its source says neither for how many steps others were trained, nor which of their weights were scored
        assert row.protocol.differing(ours) == ("steps", "selection", "components")


def test_points_are_compared_with_as_many_points_and_never_with_scribbles(tmp_path: Path) -> None:
    found = {}
    for cell in plan_file.load("acdc_points").cells():
        if cell.method == "mask_mix_adv":
            found[cell.amount] = tags(Record(cell.id, describe(cell), "finished", split={}), "px").annotation
    assert found == {"100% points": "1 point", "100% points count=2": "2 points", "100% points count=3": "3 points"}
    rows = {r.name: r.protocol.annotation for t in load() for r in t.rows if "per class" in r.name}
    assert {"1 point per class": "1 point", "3 points per class": "3 points"}.items() <= rows.items()
    results, entries = results_of(tmp_path, {"method": "mask_mix_adv", "dataset": "la", "ratio": 0.2})
    scribbled = row("Scribbled", method="mask_mix_adv", protocol=dataclasses.replace(PROTOCOL, annotation="scribble"))
    dense = row("Dense", method="mask_mix_adv")
    (one,) = published.beside(results, entries, [table(scribbled, dense)])
    assert [(pair.row.name, pair.ours is None) for pair in one.pairs] == [("Scribbled", True), ("Dense", False)]


def test_a_verdict_names_the_tags_that_differ_and_the_notes_say_how(tmp_path: Path) -> None:
    # the toy record: 40 groups train, 4 validate, 8 test; 100 steps; neither grid nor network
    results, entries = results_of(tmp_path, {"method": "ua_mt", "dataset": "la", "ratio": 0.2})
    in_mm = row(protocol=dataclasses.replace(PROTOCOL, unit="mm"))
    text = published.markdown(published.beside(results, entries, [table(in_mm)]))
    assert "| UA-MT | 84.25 | – | ua_mt, 20% | 60.0 | 4.00 mm |" in text
    assert "not comparable: split, subset, grid, network, steps |" in text
    assert "- split, groups that train / validate / test: 80/0/20 there, 40/4/8 here." in text
    assert "- steps: 6000 there, 100 here." in text
    assert "- network: vnet 16 there, not stated here." in text


def test_our_hd95_is_the_pooled_percentile_that_papers_print(tmp_path: Path) -> None:
    rows = [in_voxels(score("a", hd95=9.0), hd95_pooled=7.25)]
    write_cell(tmp_path, rows, method="ua_mt", dataset="la", ratio=0.2)
    results, entries = results_of(tmp_path)
    in_mm = row(protocol=dataclasses.replace(PROTOCOL, unit="mm"))
    assert "| 7.25 mm |" in published.markdown(published.beside(results, entries, [table(in_mm)]))


def in_voxels(one: Score, **values: float) -> Score:
    """A row whose distances in voxels are not those in mm."""
    known = dict(zip(METRICS, one.values, strict=True)) | values
    return dataclasses.replace(one, diagonal_vox=40.0, values=tuple(known.values()))


def test_a_distance_published_in_voxels_stands_beside_ours_in_voxels(tmp_path: Path) -> None:
    """Also where classes were missed: they count for the diagonal in voxels."""
    for seed, (first, second) in enumerate([(2.0, 4.0), (4.0, 8.0)]):
        rows = [in_voxels(score(case, hd95=9.0), hd95_pooled_vox=d) for case, d in (("a", first), ("b", second))]
        rows.append(in_voxels(score("c", status="missed")))
        write_cell(tmp_path, rows, method="ua_mt", dataset="la", ratio=0.2, seed=seed)
    results, entries = results_of(tmp_path)
    text = published.markdown(published.beside(results, entries, [table(row())]))
    # seeds: (2 + 4 + 40) / 3 = 15.33 and (4 + 8 + 40) / 3 = 17.33; their mean 16.33, their deviation 2 / √2
    assert "| 16.33 ± 1.41 px |" in text
    assert "unit of distances" not in text
    only = published.beside(results, entries, [table(row())], rule="successes")
    assert "| 4.50 ± 2.12 px |" in published.markdown(only)  # seeds: 3 and 6
    silent = row(protocol=dataclasses.replace(PROTOCOL, unit=None))
    assert "| 39.33 ± 0.00 mm |" in published.markdown(published.beside(results, entries, [table(silent)]))


FOUR = Values(84.25, jaccard=73.48, hd95=13.84, asd=3.36)


@pytest.mark.parametrize("sides", [(2.5, 2.5), (2.5, 1.0)], ids=["cubes", "no cubes"])
def test_jaccard_and_asd_stand_beside_those_of_a_source_that_has_them(tmp_path: Path, sides: tuple[float, ...]) -> None:
    """ASD from prediction to reference; in voxels where they are cubes, as the two HD95 of every case say."""
    for seed in range(2):
        rows = [
            in_voxels(
                score(case, hd95=9.0), hd95_pooled=side * far, hd95_pooled_vox=far, asd_pred_to_gt=5.0 * (seed + 1)
            )
            for case, side, far in (("a", sides[0], 2.0), ("b", sides[1], 4.0))
        ]
        rows.append(in_voxels(score("c", status="missed")))
        write_cell(tmp_path, rows, method="ua_mt", dataset="la", ratio=0.2, seed=seed)
    results, entries = results_of(tmp_path)
    one = dataclasses.replace(row(), values=FOUR)
    found = published.beside(results, entries, [table(one)])
    text = published.markdown(found)
    assert "| Dice / Jaccard (%) | HD95 / ASD | Ours | Our Dice / Jaccard (%) | Our HD95 / ASD |" in text
    assert "| 84.25 / 73.48 | 13.84 / 3.36 px |" in text
    assert "| 33.3 ± 0.0 / 22.2 ± 0.0 |" in text  # two cases of 0.5 and 1 / 3, one missed
    # in voxels (2 + 2 + 40) / 3 and (4 + 4 + 40) / 3; a third of the diagonals of both HD95 is that of (2 + 4 + 40)
    mine = "15.33 ± 0.00 / 15.33 ± 0.94 px" if sides[0] == sides[1] else "15.33 ± 0.00 / – px"
    assert f"| {mine} |" in text
    assert mine in published.html(found)
    assert "Both ASD are the mean distance from the predicted surface" in text
    in_mm = dataclasses.replace(one, protocol=dataclasses.replace(PROTOCOL, unit="mm"))
    text = published.markdown(published.beside(results, entries, [table(in_mm)]))
    assert " / 38.33 ± 2.36 mm |" in text  # (5 + 5 + 100) / 3 and (10 + 10 + 100) / 3
    (columns,) = {each.columns for each in published.tables(found)}
    assert [column.amount for column in columns][:2] == ["Dice / Jaccard (%)", "HD95 / ASD"]


def test_a_row_without_the_further_numbers_of_its_table_has_dashes(tmp_path: Path) -> None:
    results, entries = results_of(tmp_path, {"method": "ua_mt", "dataset": "la", "ratio": 0.2})
    full, none = dataclasses.replace(row(), values=FOUR), dataclasses.replace(row("Other", method=None))
    text = published.markdown(published.beside(results, entries, [table(full, none)]))
    assert "| Other | 84.25 / – | – | – | – | – | not run here |" in text
    plain = published.markdown(published.beside(results, entries, [table(row())]))
    assert "Jaccard" not in plain
    assert "ASD" not in plain


def test_a_number_of_largest_components_stands_beside_ours_of_largest_components(tmp_path: Path) -> None:
    for seed in range(2):
        rows = [in_voxels(score("a", dice=0.5, hd95=9.0), hd95_pooled_vox=6.0)]
        rows.append(in_voxels(score("a", dice=0.6 + 0.1 * seed, hd95=4.0, selection=LARGEST), hd95_pooled_vox=2.0))
        write_cell(tmp_path, rows, method="ua_mt", dataset="la", ratio=0.2, seed=seed)
    results = frame.load(tmp_path / "toy")
    entries = summary.entries(results, summary.patient_values(summary.class_values(results)))
    cleaned = row(protocol=dataclasses.replace(PROTOCOL, components="largest"))
    text = published.markdown(published.beside(results, entries, [table(cleaned)]))
    assert "| 65.0 ± 7.1 |" in text
    assert "| 2.00 ± 0.00 px |" in text
    assert "components" not in text.split("Comparable", 1)[1]
    whole = published.markdown(published.beside(results, entries, [table(row())]))
    assert "| 50.0 ± 0.0 |" in whole


def test_millimetres_cannot_be_made_of_voxels() -> None:
    ours = Ours("ua_mt", "8 labelled", "ua_mt", {}, 84.0, 0.5, 8.0, 1.0, 3, 80, PROTOCOL, voxels={"hd95": 8.0})
    in_mm = dataclasses.replace(PROTOCOL, unit="mm")
    assert ours.beside(in_mm) == ours.beside(PROTOCOL) == ours


def test_another_unit_alone_leaves_dice_comparable() -> None:
    ours = Ours("ua_mt", "8 labelled", "ua_mt", {}, 84.0, 0.5, 8.0, 1.0, 3, 80, PROTOCOL)
    one = row(protocol=dataclasses.replace(PROTOCOL, unit="mm"))
    verdict = Pair(one, ours, one.protocol.differing(ours.protocol)).verdict
    assert verdict == "Dice comparable; distances not comparable: unit"


def test_equal_protocols_are_called_comparable_in_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, entries = results_of(tmp_path, {"method": "ua_mt", "dataset": "la", "ratio": 0.2})
    one = Ours("ua_mt", "8 labelled", "ua_mt", {}, 84.0, 0.5, 13.0, 1.0, 3, 80, PROTOCOL)
    monkeypatch.setattr("benchmark.report.published.pairing.ours_of", lambda results, entries, rule: [one])
    found = published.beside(results, entries, [table(row())])
    assert found[0].pairs[0].verdict == "comparable"
    assert "| 13.00 ± 1.00 px | comparable |" in published.markdown(found)
    assert ">comparable</td>" in published.html(found)
    assert ",comparable," in published.csv(found)


# Which of ours, which tables -----------------------------------------------------------------------------------------
def test_a_row_meets_the_nearest_labelled_amount_of_its_method_and_setting(tmp_path: Path) -> None:
    cells = [
        {"method": "mc_net", "dataset": "la", "ratio": ratio, "hyper": {"decoders": 3}, "label": "MC-Net+"}
        for ratio in (0.1, 0.25, 1.0)  # 4 and 10 of 40 groups, and all
    ]
    results, entries = results_of(tmp_path, *cells, {"method": "mc_net", "dataset": "la", "ratio": 0.2, "hyper": {}})
    plus = {"method": "mc_net", "hyper": {"decoders": 3}}
    tens = dataclasses.replace(PROTOCOL, labelled="all")
    rows = table(row("MC-Net+", **plus), row("MC-Net+ of all", protocol=tens, **plus), row("Elsewhere", method=None))
    (found,) = published.beside(results, entries, [rows])
    # 8 is nearer to 10 than to 4
    assert [(p.row.name, p.ours and p.ours.amount) for p in found.pairs] == [
        ("MC-Net+", "25%"),
        ("MC-Net+ of all", "100%"),
        ("Elsewhere", None),
    ]
    assert found.pairs[2].verdict == "not run here"


def test_tables_of_other_amounts_step_back_behind_one_of_the_same(tmp_path: Path) -> None:
    results, entries = results_of(tmp_path, {"method": "ua_mt", "dataset": "la", "ratio": 0.2})
    eight = dataclasses.replace(table(row()), title="Eight")
    sixteen = table(row(protocol=dataclasses.replace(PROTOCOL, labelled="16")))
    sixteen = dataclasses.replace(sixteen, title="Sixteen")
    assert [c.table.title for c in published.beside(results, entries, [sixteen, eight])] == ["Eight"]
    assert [c.table.title for c in published.beside(results, entries, [sixteen])] == ["Sixteen"]


def test_a_table_that_does_not_state_its_amounts_stays_beside_one_of_ours(tmp_path: Path) -> None:
    results, entries = results_of(tmp_path, {"method": "ua_mt", "dataset": "la", "ratio": 0.2})
    eight = dataclasses.replace(table(row()), title="Eight")
    silent = dataclasses.replace(table(row(protocol=dataclasses.replace(PROTOCOL, labelled=None))), title="Silent")
    assert [c.table.title for c in published.beside(results, entries, [eight, silent])] == ["Eight", "Silent"]


@pytest.mark.parametrize(
    ("tags", "stays"),
    [({}, True), ({"labelled": None}, True), ({"annotation": "scribble"}, False), ({"labelled": "16"}, False)],
    ids=str,
)
def test_a_table_of_our_data_without_our_methods_stays(tmp_path: Path, tags: dict[str, Any], stays: bool) -> None:
    results, entries = results_of(tmp_path, {"method": "ua_mt", "dataset": "la", "ratio": 0.2})
    elsewhere = table(row("Elsewhere", method=None, protocol=dataclasses.replace(PROTOCOL, **tags)))
    found = published.beside(results, entries, [elsewhere])
    assert ("| Elsewhere | 84.25 | – | – | – | – | not run here |" in published.markdown(found)) is stays


def test_nothing_is_shown_where_no_table_is_about_the_plans_data(tmp_path: Path) -> None:
    results, entries = results_of(tmp_path, {"method": "cps"})
    assert published.beside(results, entries) == ()
    assert published.markdown(()) == published.html(()) == ""


def test_families_are_named_and_stay_apart(tmp_path: Path) -> None:
    results, entries = results_of(tmp_path, {"method": "ua_mt", "dataset": "la", "ratio": 0.2})
    found = published.beside(results, entries)
    families = [one.table.family for one in found]
    assert families[:2] == ["A", "B"]
    assert "### Left atrium, 8 labelled and 72 unlabelled scans, as re-run later (family B)" in published.markdown(
        found
    )


# Strictness ----------------------------------------------------------------------------------------------------------
GOOD = """
tables:
  - title: A table
    source: a paper
    mark: read
    protocol: {dataset: la, labelled: "8"}
    rows:
      - {name: UA-MT, method: ua_mt, dice: 84.25, jaccard: 73.48, hd95: 13.84}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dice: 84.25", "dice: 842.5", r"dice must be a percentage in \[0, 100\], got 842.5"),
        ("hd95: 13.84", "hd95: -1", r"hd95 must not be negative, got -1"),
        ("jaccard: 73.48", "jaccard: 94.0", r"jaccard 94.0 is above dice 84.25"),
        ("method: ua_mt", "method: uamt", r"row 'UA-MT': unknown method 'uamt'; did you mean 'ua_mt'"),
        ("dataset: la,", "dataset: lah,", r"unknown dataset 'lah'"),
        ("mark: read", "mark: rumour", r"mark: must be one of 'read', 'image', 'text', 'memory', got 'rumour'"),
        ("hd95:", "hd59:", r"unknown key 'hd59'; did you mean 'hd95'"),
        ("labelled:", "labeled:", r"protocol: unknown key 'labeled'; did you mean 'labelled'"),
        ("source: a paper", "source: ' '", r"source must say where the numbers were read"),
        ("    source: a paper\n", "", r"missing key\(s\) source"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    assert load(tmp_path)[0].rows[0].values.dice == 84.25
    assert old in GOOD
    (tmp_path / "good.yaml").write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load(tmp_path)
