"""Figures: looks, names, what is missing, captions; drawn, but looked at by their numbers and texts."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import methods
from benchmark.report import (
    blocks,
    build,
    captions,
    costs,
    economics,
    frame,
    plots,
    stat_figures,
    style,
    summary,
    verdicts,
    worth,
)
from benchmark.report.evidence import gather
from benchmark.report.remarks import seed_marks, unfinished
from tests.unit.report_records import score, write_cell


@pytest.fixture(autouse=True)
def _drawing() -> Iterator[None]:
    with style.settings():
        yield


def _pictures(results: Path, *, told: bool = False) -> dict[str, style.Picture]:
    loaded = frame.load(results / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    entries, designs = summary.entries(loaded, patients), verdicts.designs(loaded, patients)
    fronts = costs.on_front(loaded, entries, blocks.blocks(loaded, designs))
    curves = economics.curves(loaded, entries, designs)
    made = [
        *plots.pictures(loaded, entries, patients, rule="penalised", fronts=fronts, curves=curves),
        *stat_figures.pictures(gather(loaded, designs), entries),
    ]
    whole = captions.told(made, loaded, entries, patients, rule="penalised") if told else made
    return {picture.name: picture for picture in whole}


def _legend(picture: style.Picture) -> list[str]:
    return [text.get_text() for legend in picture.figure.legends for text in legend.get_texts()]


# Looks ---------------------------------------------------------------------------------------------------------------
def test_no_two_methods_nor_variants_look_the_same_without_their_lines() -> None:
    looks = style.looks([*methods.names(), *(f"variant {i}" for i in range(40))])
    assert len({(look.colour, look.marker, look.filled) for look in looks.values()}) == len(methods.names()) + 40


def test_a_method_looks_the_same_in_every_report() -> None:
    assert style.looks(["cps", "urpc"])["urpc"] == style.looks(["bcp", "urpc", "a variant"])["urpc"]
    assert style.looks(["a"], ["pce"])["pce"] == style.looks(["a"], ["pce", "supervised"])["pce"]


# Names ---------------------------------------------------------------------------------------------------------------
def test_long_names_are_cut_in_the_middle_and_stay_apart() -> None:
    names = ["cvcl [voxels=random, contrast=both]", "cvcl [voxels=hard, contrast=both]"]
    short = style.shortened(names, 20)
    assert len(set(short)) == 2
    assert all(len(name) <= 28 and "…" in name for name in short)
    assert style.shortened(["short"], 20) == ["short"]


def test_long_names_leave_room_for_the_panels(tmp_path: Path) -> None:
    for seed in range(3):
        for number in range(4):
            rows = [score(patient, dice=0.5 + 0.1 * number + 0.01 * seed) for patient in "ABCD"]
            for ratio in (0.1, 0.2):
                label = f"cvcl [contrast=both, voxels=random, weights=published, temperature=0.0{number}, more]"
                write_cell(tmp_path, rows, method=f"m{number}", label=label, seed=seed, ratio=ratio)
    for picture in _pictures(tmp_path).values():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            style.png(picture.figure)
        width = picture.figure.bbox.width
        boxes = [text.get_window_extent() for legend in picture.figure.legends for text in legend.get_texts()]
        boxes += [text.get_window_extent() for axes in picture.figure.axes for text in axes.texts]
        assert all(box.x0 >= 0 and box.x1 <= width for box in boxes), f"{picture.name}: a name is cut off"


# What is missing -----------------------------------------------------------------------------------------------------
def _half_failed(results: Path) -> None:
    for seed in range(3):
        for ratio in (0.1, 0.2):
            write_cell(results, [score("A"), score("B")], method="whole", seed=seed, ratio=ratio)
            if (seed, ratio) == (2, 0.1):
                write_cell(results, method="part", seed=seed, ratio=ratio, status="failed")
            else:
                write_cell(results, [score("A"), score("B")], method="part", seed=seed, ratio=ratio)
            write_cell(results, method="none", seed=seed, ratio=ratio, status="failed")


def test_rows_with_failed_seeds_are_marked_and_those_without_a_seed_are_named(tmp_path: Path) -> None:
    _half_failed(tmp_path)
    made = _pictures(tmp_path, told=True)
    assert "part, 2/3 seeds at 10%" in _legend(made["curves_phantom_2d"])
    assert "whole" in _legend(made["curves_phantom_2d"])
    assert "part, 2/3 seeds" in _legend(made["pareto"])
    labels = [text.get_text() for text in made["patients_phantom_2d"].figure.axes[0].get_yticklabels()]
    assert "part, 2/3 seeds at 10%" in labels
    for name in ("curves_phantom_2d", "patients_phantom_2d", "pareto"):
        assert "Means of fewer seeds than planned: part at 10% (2/3)." in made[name].caption
        assert "without a complete seed: none at 10% (3 failed); none at 20% (3 failed)." in made[name].caption


def test_complete_rows_have_no_mark(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")])
    loaded = frame.load(tmp_path / "toy")
    entries = summary.entries(loaded, summary.patient_values(summary.class_values(loaded)))
    assert set(seed_marks(entries).values()) == {""}
    assert unfinished(entries) == []


def test_patients_have_a_dot_per_seed(tmp_path: Path) -> None:
    for seed in range(3):
        write_cell(tmp_path, [score("A", dice=0.2 + 0.1 * seed), score("B")], seed=seed)
    (dots, _) = _pictures(tmp_path)["patients_phantom_2d"].figure.axes[0].collections[-2:]
    assert sorted(np.round(dots.get_offsets()[:, 0], 6)) == [20, 30, 40, 50, 50, 50]


# Values that cannot be -----------------------------------------------------------------------------------------------
def test_arms_of_error_bars_stay_within_what_a_metric_can_be() -> None:
    assert style.within(14, 20).tolist() == [[14], [20]]
    assert style.within([90, 50], [20, 20], 100).tolist() == [[20, 20], [10, 20]]
    assert style.within(3, float("nan")).tolist() == [[0], [0]]


def test_an_interval_of_the_area_holds_no_dice_above_one(tmp_path: Path) -> None:
    for seed in range(3):
        for ratio in (0.1, 0.2):
            rows = [score(patient, dice=0.99 if seed else 0.3) for patient in "ABCD"]
            write_cell(tmp_path, rows, seed=seed, ratio=ratio)
    loaded = frame.load(tmp_path / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    entries = summary.entries(loaded, patients)
    found = worth.quantities(entries, economics.curves(loaded, entries, verdicts.designs(loaded, patients)))
    area = found[found["quantity"] == worth.AREA].iloc[0]
    assert (area["low"], area["high"]) == (0, 1)


# Many rows -----------------------------------------------------------------------------------------------------------
def test_many_curves_get_a_panel_each(tmp_path: Path) -> None:
    for number in range(9):
        for ratio in (0.1, 0.2):
            write_cell(tmp_path, [score("A", dice=0.5 + 0.01 * number)], method=f"m{number}", ratio=ratio)
    made = _pictures(tmp_path)
    assert {"curves_phantom_2d", "curves_hd95_phantom_2d"} <= set(made)
    figure = made["curves_phantom_2d"].figure
    assert [axes.get_title(loc="left") for axes in figure.axes[:9]] == [f"m{number}" for number in range(8, -1, -1)]
    assert _legend(made["curves_phantom_2d"]) == ["the other rows"]


def test_maps_have_a_key_and_every_rank(tmp_path: Path) -> None:
    for seed in range(3):
        for number in range(12):
            rows = [score(patient, dice=0.3 + 0.05 * number + 0.001 * seed) for patient in "ABCD"]
            write_cell(tmp_path, rows, method=f"m{number:02}", seed=seed)
    made = _pictures(tmp_path)
    (axes,) = made["map_phantom_2d_dense"].figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == [str(rank) for rank in range(1, 13)]
    assert _legend(made["map_phantom_2d_dense"]) == ["row better", "row worse", "row equivalent", "not separable"]
    shares = [text.get_text() for text in made["ranks_dense"].figure.axes[0].texts]
    assert shares == ["100%", *["0%"] * 11, "first"]


def test_kinds_of_labels_are_named_on_their_axis(tmp_path: Path) -> None:
    for method, kind in (("pce", "skeleton"), ("pce", "points")):
        folder = write_cell(tmp_path, [score("A")], method=method, annotation="scribble", ratio=0.5, seed=len(kind))
        record = (folder / "record.json").read_text().replace('"amount": "50%"', f'"amount": "50% {kind}"')
        (folder / "record.json").write_text(record)
    axes = _pictures(tmp_path)["kinds_phantom_2d"].figure.axes[0]
    assert axes.get_xlabel() == "Amount and kind of labels"


# Captions ------------------------------------------------------------------------------------------------------------
def test_captions_say_seeds_patients_weights_and_the_rule(tmp_path: Path) -> None:
    for seed in range(3):
        write_cell(tmp_path, [score("A"), score("B")], seed=seed, validation=[{"step": s, "dice": 0.5} for s in (1, 2)])
    made = _pictures(tmp_path, told=True)
    tail = (
        "Procedural short-axis hearts: 3 seeds, 2 test patients. Weights of the last step. Failures, by the rule "
        "penalised: Missed, spurious and failed: overlap 0, distance = image diagonal."
    )
    assert tail in made["methods_phantom_2d"].caption
    assert made["validation"].caption.endswith("hearts: 3 seeds."), "no test patient was looked at"
    assert made["methods_phantom_2d"].title == "Methods on Procedural short-axis hearts"
    assert made["methods_phantom_2d"].figure.get_suptitle() == "Procedural short-axis hearts, 10%"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_figures_compile_in_latex(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A"), score("B")], method="odd", label="a_b & 50% ≈ $x$ ☃")
    report = build("toy", tmp_path)
    names = sorted(path.stem for path in report.glob("figures/*.tex"))
    assert "methods_phantom_2d" in names
    text = (report / "figures" / "methods_phantom_2d.tex").read_text()
    assert r"\label{fig:toy-methods_phantom_2d}" in text
    assert r"\includegraphics[width=\linewidth" in text
    inputs = "\n".join(rf"\input{{figures/{name}}}" for name in names)
    (report / "all.tex").write_text(
        "\\documentclass{article}\n\\usepackage[utf8]{inputenc}\n\\usepackage[T1]{fontenc}\n"
        f"\\usepackage{{graphicx}}\n\\begin{{document}}\n{inputs}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=report, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
