"""Numbers in the shapes of other tools, and the text that receipts can write by themselves."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.report import exports, frame, setup_text, summary, verdicts
from tests.unit.report_records import score, write_cell


def _files(results: Path) -> dict[str, bytes]:
    loaded = frame.load(results / "toy")
    patients = summary.patient_values(summary.class_values(loaded))
    return exports.exports(verdicts.designs(loaded, patients))


def _study(results: Path) -> None:
    """Two methods, two amounts, two seeds, two patients; Dice = .5 + .1 for cps + .2 at 20 % + .01 seed + .02 for B."""
    for method, gain in (("cps", 0.1), ("dan", 0.0)):
        for ratio, more in ((0.1, 0.0), (0.2, 0.2)):
            for seed in range(2):
                base = 0.5 + gain + more + 0.01 * seed
                rows = [score("A", dice=base, hd95=4.0), score("B", dice=base + 0.02, hd95=6.0)]
                write_cell(results, rows, method=method, ratio=ratio, seed=seed)
    write_cell(results, [score("A", dice=0.9)], method="supervised", role="upper", ratio=1.0)


# Exports -------------------------------------------------------------------------------------------------------------
def test_challenger_gets_every_algorithm_on_every_case_of_a_task_averaged_over_seeds(tmp_path: Path) -> None:
    _study(tmp_path)
    table = pd.read_csv(io.BytesIO(_files(tmp_path)["challengeR_phantom_2d.csv"]))
    assert list(table.columns) == ["task", "algorithm", "case", "dice", "hd95"]
    assert len(table) == 2 * 2 * 2, "tasks, algorithms, cases; the upper bound does not compete"
    assert not table.duplicated(["task", "algorithm", "case"]).any()
    # cps at 20 %, patient B: .5 + .1 + .2 + .02 + mean(0, .01)
    row = table[(table["task"] == "20%") & (table["algorithm"] == "cps") & (table["case"] == "B")]
    assert row["dice"].item() == pytest.approx(0.825)
    assert row["hd95"].item() == pytest.approx(6.0)


def test_rliable_gets_runs_by_tasks(tmp_path: Path) -> None:
    _study(tmp_path)
    with np.load(io.BytesIO(_files(tmp_path)["rliable.npz"])) as found:
        assert set(found.files) == {"tasks", "cps", "dan"}
        assert found["tasks"].tolist() == ["phantom_2d 10%", "phantom_2d 20%"]
        # rows are seeds; the mean over both patients is .01 above A
        assert found["dan"] == pytest.approx(np.array([[0.51, 0.71], [0.52, 0.72]]))


def test_an_algorithm_that_lacks_a_task_or_a_seed_is_left_out_where_the_tool_cannot_have_gaps(tmp_path: Path) -> None:
    _study(tmp_path)
    write_cell(tmp_path, [score("A"), score("B")], method="once", ratio=0.1, seed=0)
    files = _files(tmp_path)
    with np.load(io.BytesIO(files["rliable.npz"])) as found:
        assert "once" not in found.files
    assert "once" not in pd.read_csv(io.BytesIO(files["autorank.csv"]), index_col=0).columns
    table = pd.read_csv(io.BytesIO(files["challengeR_phantom_2d.csv"]))
    # of the task that has it, all algorithms are shown on the one seed that all have
    values = table[table["task"] == "10%"].groupby("algorithm")["dice"].mean()
    assert values["dan"] == pytest.approx(0.51)


def test_autorank_gets_one_row_per_task_and_one_column_per_algorithm(tmp_path: Path) -> None:
    _study(tmp_path)
    table = pd.read_csv(io.BytesIO(_files(tmp_path)["autorank.csv"]), index_col=0)
    assert table.index.tolist() == ["phantom_2d 10%", "phantom_2d 20%"]
    assert table["cps"].tolist() == [pytest.approx(0.615), pytest.approx(0.815)]


def test_tasks_that_share_no_algorithm_have_files_of_their_own(tmp_path: Path) -> None:
    _study(tmp_path)
    for method in ("pce", "wsl4mis"):
        for seed in range(2):
            write_cell(tmp_path, [score("A"), score("B")], method=method, ratio=0.3, seed=seed)
    files = _files(tmp_path)
    assert {name for name in files if name[:8] in ("rliable_", "autorank")} == {
        "rliable_1.npz", "rliable_2.npz", "autorank_1.csv", "autorank_2.csv",
    }  # fmt: skip
    found = [set(pd.read_csv(io.BytesIO(files[f"autorank_{k}.csv"]), index_col=0).columns) for k in (1, 2)]
    assert found == [{"cps", "dan"}, {"pce", "wsl4mis"}]


def test_nothing_finished_exports_nothing(tmp_path: Path) -> None:
    write_cell(tmp_path, status="failed", reason="out of memory")
    assert _files(tmp_path) == {}


# Set-up and checklist ------------------------------------------------------------------------------------------------
def _draft(results: Path) -> tuple[str, dict[str, bool | None]]:
    loaded = frame.load(results / "toy")
    entries = summary.entries(loaded, summary.patient_values(summary.class_values(loaded)))
    text = " ".join(setup_text.paragraphs(loaded, entries, rule="penalised"))
    return text, {sentence.split(":")[0]: met for met, sentence in setup_text.checklist(loaded)}


def _write(results: Path, *, training: dict[str, Any] | None = None, **more: Any) -> None:
    receipt = {
        "commit": "0123456789abcdef", "dirty": False, "data": "5ca1ab1e", "split": "d1ge57", "precision": "float32",
        "lock": {"digest": "10c4", "differs": []}, "openings": ["final evaluation"], "scores": "given below",
        "versions": {"python": "3.11.2", "torch": "2.13.0"}, "hardware": {"cpu": "a processor", "cores": 2},
    }  # fmt: skip
    receipt |= more.pop("receipt", {})
    settings = {"network": "unet", "width": 16, "steps": 100, "optimizer": "sgd", "lr": 0.01, "patch": [64, 64]}
    write_cell(results, [score("A")], receipt=receipt, training=settings | (training or {}), **more)


def test_the_draft_states_what_all_cells_share(tmp_path: Path) -> None:
    for seed in range(3):
        _write(tmp_path, seed=seed)
    text, _ = _draft(tmp_path)
    assert "network (unet of width 16), patches of 64×64, 100 optimiser steps with sgd (learning rate 0.01" in text
    assert "over 3 seeds" in text
    assert "overlap 0, distance = image diagonal" in text
    assert "on a processor, 2 cores, with Python 3.11.2 and PyTorch 2.13.0 (commit 0123456789ab)" in text
    assert setup_text.OPEN in text, "this record does not know its weight decay"


def test_the_draft_says_what_seeds_draw_and_which_cases_validate(tmp_path: Path) -> None:
    for seed in range(3):
        _write(tmp_path, seed=seed)
    text, _ = _draft(tmp_path)
    assert "Validation cases (4 patients) are those that a dataset publishes, or else" in text
    loaded = frame.load(tmp_path / "toy")
    (runs,) = (sentence for _, sentence in setup_text.checklist(loaded) if sentence.startswith("Runs"))
    drawn = "each seed draws the initialisation and the order of batches."
    assert runs.endswith(drawn), "all have the same labelled patients"
    for made in loaded.records.values():
        made.split["val_groups"] = 0
    entries = summary.entries(loaded, summary.patient_values(summary.class_values(loaded)))
    assert "No validation cases are set aside." in " ".join(setup_text.paragraphs(loaded, entries, rule="penalised"))


def test_what_differs_is_said_to_differ(tmp_path: Path) -> None:
    _write(tmp_path, dataset="one", training={"steps": 100})
    _write(tmp_path, dataset="two", training={"steps": 200})
    assert "100 (one) and 200 (two) optimiser steps" in _draft(tmp_path)[0]
    _write(tmp_path, dataset="one", method="dan", training={"steps": 300})
    assert "100, 200 and 300 (differs between methods) optimiser steps" in _draft(tmp_path)[0]


def test_the_checklist_is_answered_by_the_receipts(tmp_path: Path) -> None:
    for seed in range(3):
        _write(tmp_path, seed=seed)
    found = _draft(tmp_path)[1]
    assert {name for name, met in found.items() if not met and met is not None} == {"Hyper-parameters"}
    assert {name for name, met in found.items() if met is None} == {
        "Licences, ethics approval and consent of the data", "Code, weights and records published at",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("receipt", "item"),
    [
        ({"dirty": True}, "Code"),
        ({"commit": "unknown"}, "Code"),
        ({"lock": {"digest": "10c4", "differs": ["numpy 2.1"]}}, "Environment"),
        ({"data": ""}, "Data"),
        ({"split": ""}, "Splits"),
        ({"openings": ["final evaluation", "one more look"]}, "Test labels"),
    ],
)
def test_one_cell_that_falls_short_leaves_its_item_unmet(tmp_path: Path, receipt: dict[str, Any], item: str) -> None:
    for seed in range(3):
        _write(tmp_path, seed=seed, receipt=receipt if seed == 1 else {})
    assert _draft(tmp_path)[1][item] is False


def test_without_a_finished_cell_there_is_no_draft(tmp_path: Path) -> None:
    write_cell(tmp_path, status="failed", reason="out of memory")
    assert _draft(tmp_path)[0] == ""
