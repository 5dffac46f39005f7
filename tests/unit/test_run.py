"""One cell from its settings to its record: failures are records, finished cells stay, test labels are sealed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark import receipt, record
from benchmark import run as running
from benchmark.plan import Cell
from benchmark.prepare import Prepared, prepare
from benchmark.record import Record
from benchmark.run import run_cell
from benchmark.state import state_of
from datasets.types import Batch
from methods.base import Clock, Terms
from methods.family import TeacherStudent
from methods.semi.supervised import Supervised

from .report_records import score
from .tiny_cells import places_in, scores_of, tiny_cell, tiny_plan


@pytest.fixture(scope="module", autouse=True)
def _on_the_cpu() -> Iterator[None]:
    """Equality to the last bit is promised there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DEVICE", "cpu")
        yield


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def raising(error: Exception) -> Callable[..., Terms]:
    def losses(self: Supervised, batch: Batch, clock: Clock) -> Terms:
        raise error

    return losses


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cell, Path, Record]:
    """A cell that was run, its folder and its record."""
    cell, places = tiny_cell("mean_teacher"), places_in(tmp_path_factory.mktemp("finished"))
    return cell, places.folder(cell), run_cell(cell, places)


# What it was made of -------------------------------------------------------------------------------------------------
def test_a_file_that_is_edited_while_the_cell_trains_is_not_what_trained_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = receipt.source("supervised")
    losses, edited = Supervised.losses, []

    def later(self: Supervised, batch: Batch, clock: Clock) -> Terms:
        edited.append("edited since")
        return losses(self, batch, clock)

    monkeypatch.setattr(Supervised, "losses", later)
    monkeypatch.setattr("benchmark.receipt.source", lambda method: edited[0] if edited else before)
    data = "datasets.catalogue.phantom_2d.Phantom2D.manifest"
    monkeypatch.setattr(data, lambda self: edited[0] if edited else "data")
    cell, places = tiny_cell(), places_in(tmp_path)
    found = run_cell(cell, places)
    assert (found.receipt["source"], found.receipt["data"]) == (before, "data")
    assert state_of(cell, places).why == "the file of supervised changed since it ran"


def test_the_receipt_knows_what_a_cell_read_beside_its_own_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, places = tiny_cell(), places_in(tmp_path)
    assert {"shapes_data", "weights"}.isdisjoint(run_cell(cell, places).receipt)
    beside = {"shapes_data": "of others", "weights": "of a file"}
    monkeypatch.setattr("benchmark.prepare.beside_hashes", lambda cells, places: [beside])
    other = tiny_cell(steps=5)
    assert beside.items() <= run_cell(other, places).receipt.items()
    assert state_of(other, places, None, beside | {"weights": "of another file"}).state == "stale"


def test_a_loss_term_that_was_0_throughout_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = Supervised.losses

    def with_more(self: Supervised, batch: Batch, clock: Clock) -> Terms:
        terms = losses(self, batch, clock)
        (loss, *_) = terms.values()
        return terms | {"idle": 0.0 * loss, "late": loss * float(clock.step == 3)}

    monkeypatch.setattr(Supervised, "losses", with_more)
    found = run_cell(tiny_cell(), places_in(tmp_path))
    assert found.notes == ["loss term 'idle' was 0 in all 4 rows of train.csv: it seems to have taught nothing"]


def test_code_that_changed_since_the_runner_started_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.receipt.loaded", lambda: "0123456789ab")
    (note,) = run_cell(tiny_cell(), places_in(tmp_path)).notes
    assert "changed between the start of the runner and of this cell" in note
    assert "tree 0123456789ab" in note


def test_the_receipt_and_the_peak_of_memory_are_of_the_device_that_the_cell_runs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt, "hardware", lambda device=None: {"cpu": "a processor", "of": str(device)})
    monkeypatch.setattr(running, "_peak_memory_mib", lambda device: {"cpu": 7.0}[str(device)])
    found = run_cell(tiny_cell(), places_in(tmp_path))
    assert (found.receipt["hardware"]["of"], found.memory_mib) == ("cpu", 7.0)


def test_each_gpu_is_asked_for_its_own_name_and_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = {"cuda:0": 2**20, "cuda:1": 2**22}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device="cuda:0": peaks[str(device)])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {getattr(device, 'index', device)}")
    assert [running._peak_memory_mib(torch.device(name)) for name in peaks] == [1, 4]
    hardware = receipt.hardware.__wrapped__  # what is known of this machine is kept
    assert [hardware(torch.device(name))["gpu"] for name in (*peaks, "cpu")] == ["GPU 0", "GPU 1", "GPU 0"]
    assert hardware()["gpu"] == "GPU 0"


# A finished cell -----------------------------------------------------------------------------------------------------
def test_a_finished_cell_leaves_record_scores_curves_examples_and_weights(finished: tuple[Cell, Path, Record]) -> None:
    cell, folder, found = finished
    assert {path.name for path in folder.iterdir()} == {
        "record.json", "scores.csv", "train.csv", "examples.npz", "last.pt",
    }  # fmt: skip
    assert record.read(folder) == found
    assert (found.status, found.id, found.reason, found.traceback) == ("finished", cell.id, "", "")


def test_the_record_says_what_was_run_on_what_with_what(finished: tuple[Cell, Path, Record]) -> None:
    cell, _, found = finished
    assert {key: found.cell[key] for key in ("plan", "label", "role", "title", "amount")} == {
        "plan": "tiny", "label": "mean_teacher", "role": "method", "title": cell.title, "amount": "34%",
    }  # fmt: skip
    assert found.cell["training"]["steps"] == 4
    # 6 patients of one case each: 2 test, 1 validates, 1 of 3 is labelled
    summary = {key: value for key, value in found.split.items() if key not in ("labelled_groups", "digest")}
    assert summary == {
        "train_groups": 3, "unlabelled_groups": 2, "labelled_cases": 1, "unlabelled_cases": 2, "val_groups": 1,
        "val_cases": 1, "test_groups": 2, "test_cases": 2, "ratio": 1 / 3, "folds": 1,
    }  # fmt: skip
    assert [v["step"] for v in found.validation] == [2, 4]
    assert found.receipt["openings"] == ["final evaluation"]
    assert found.receipt["precision"] == "float32"
    assert found.receipt["hyper"]["weight"] == 0.1
    assert set(found.receipt) >= {"commit", "dirty", "diff", "tree", "lock", "data", "split", "versions", "hardware"}
    assert all(found.receipt[key] for key in ("commit", "tree", "lock", "data", "split", "source", "annotation"))
    assert found.receipt["scores"] == record.digest((finished[1] / "scores.csv").read_bytes())
    assert 0 < found.seconds["predict"] * found.split["test_cases"] < found.seconds["evaluate"]
    assert found.seconds["total"] == pytest.approx(found.seconds["train"] + found.seconds["evaluate"])
    assert found.memory_mib > 1


def test_parameters_counted_are_those_that_are_trained(finished: tuple[Cell, Path, Record], tmp_path: Path) -> None:
    cell, _, found = finished
    network = prepare(cell, places_in(tmp_path), tmp_path).method.network
    assert found.parameters == sum(p.numel() for p in network.parameters())  # without the teacher's


def test_every_selection_rule_scores_every_test_case_and_class_once(finished: tuple[Cell, Path, Record]) -> None:
    _, folder, found = finished
    rows = [(row["selection"], row["case"], row["class"]) for row in rows_of(folder)]
    cases = sorted({case for _, case, _ in rows})
    assert len(cases) == 2
    assert sorted(rows) == sorted(
        (selection, case, name)
        for selection in ("last", "best_val", "oracle", "last_largest", "last_teacher")
        for case in cases
        for name in ("RV", "MYO", "LV")
    )
    assert set(found.selections) == {"last", "best_val", "oracle", "last_largest", "last_teacher"}
    assert found.selections["last"] == found.selections["last_largest"] == found.selections["last_teacher"] == 4


def test_the_weights_that_were_scored_as_last_are_the_weights_that_were_saved(
    finished: tuple[Cell, Path, Record], tmp_path: Path
) -> None:
    cell, folder, _ = finished
    prepared = prepare(cell, places_in(tmp_path), tmp_path)
    prepared.method.load_state_dict(torch.load(folder / "last.pt", weights_only=True))
    with prepared.vault.open("a test of the runner"):
        found = running.evaluate(
            prepared.method, prepared.vault, prepared.split.test, cell.training, "last", **prepared.on
        )
        rows = [row for _, _, scores in found for row in scores]
    saved = [row for row in rows_of(folder) if row["selection"] == "last"]
    assert [[str(value) for value in row.row()] for row in rows] == [list(row.values()) for row in saved]


def test_examples_show_image_reference_and_prediction_of_test_cases(finished: tuple[Cell, Path, Record]) -> None:
    _, folder, _ = finished
    with np.load(folder / "examples.npz") as found:
        assert list(found["classes"]) == ["background", "RV", "MYO", "LV"]
        for i in range(2):
            assert {found[f"{i}_{key}"].shape for key in ("image", "label", "prediction")} == {(32, 32)}
            assert found[f"{i}_spacing"].tolist() == [3.5, 3.5]  # 112 mm over 32 pixels
            assert (found[f"{i}_label"] > 0).any()
        tests = {row["case"] for row in rows_of(folder)}
        assert {str(found[f"{i}_name"]).split(" slice")[0] for i in range(2)} == tests


def test_running_again_gives_the_same_scores_and_curves(finished: tuple[Cell, Path, Record], tmp_path: Path) -> None:
    cell, folder, _ = finished
    run_cell(cell, places_in(tmp_path))
    assert scores_of(places_in(tmp_path).folder(cell)) == scores_of(folder)


def test_a_finished_cell_is_not_run_again(finished: tuple[Cell, Path, Record], monkeypatch: pytest.MonkeyPatch) -> None:
    cell, folder, found = finished
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(running, "prepare", None)  # calling it would be an error
    assert run_cell(cell, places_in(folder.parents[2])) == found
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times


# Which weights -------------------------------------------------------------------------------------------------------
def selections(monkeypatch: pytest.MonkeyPatch, root: Path, validation: list[float]) -> tuple[Cell, Record]:
    """A cell whose validation Dice is as given, at steps 1, 2, 3 and 4."""
    measured = iter(validation)
    monkeypatch.setattr("benchmark.prepare.validation_dice", lambda *args, **where: next(measured))
    cell = tiny_cell(validations=4)
    return cell, run_cell(cell, places_in(root))


@pytest.mark.parametrize(
    ("validation", "best"),
    [([0.1, 0.4, 0.3, 0.2], 2), ([0.1, 0.2, 0.3, 0.4], 4), ([0.4, 0.4, 0.1, 0.1], 1), ([nan, 0.0, 0.3, nan], 3)],
)
def test_the_best_validation_chooses_among_all_points_and_undefined_ones_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validation: list[float], best: int
) -> None:
    _, found = selections(monkeypatch, tmp_path, validation)
    assert found.status == "finished"
    assert found.selections["best_val"] == best


def test_the_oracle_is_at_least_as_good_on_test_as_any_other_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, _ = selections(monkeypatch, tmp_path, [0.3, 0.2, 0.1, 0.0])
    rows = rows_of(places_in(tmp_path).folder(cell))

    def mean(rule: str) -> float:
        values = [float(row["dice"]) for row in rows if row["selection"] == rule]
        return sum(values) / len(values)

    assert mean("oracle") >= max(mean("last"), mean("best_val"))


def test_without_validation_there_is_one_rule(tmp_path: Path) -> None:
    cell = tiny_cell(validations=0)
    expected = {"last", "last_largest"}
    assert run_cell(cell, places_in(tmp_path)).selections == dict.fromkeys(expected, 4)
    assert {row["selection"] for row in rows_of(places_in(tmp_path).folder(cell))} == expected


def test_another_network_is_scored_beside_the_one_that_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_the_first_organ(image: Tensor) -> Tensor:
        return torch.tensor([0.0, 1, 0, 0]).view(1, 4, 1, 1).expand(len(image), 4, *image.shape[2:])

    monkeypatch.setattr(Supervised, "other_predictions", lambda self: {"teacher": only_the_first_organ})
    cell = tiny_cell(validations=0)
    found = run_cell(cell, places_in(tmp_path))
    assert found.selections == {"last": 4, "last_largest": 4, "last_teacher": 4}
    rows = [row for row in rows_of(places_in(tmp_path).folder(cell)) if row["selection"] == "last_teacher"]
    for row in rows:
        n_gt, n_pred = (int(float(row[name])) for name in ("n_gt", "n_pred"))
        assert float(row["tp"]) == (n_gt if row["class"] == "RV" else 0)
        assert (n_pred > n_gt) == (row["class"] == "RV")


def test_a_teacher_is_such_a_network(finished: tuple[Cell, Path, Record], tmp_path: Path) -> None:
    cell, _, _ = finished
    method = prepare(cell, places_in(tmp_path), tmp_path).method.eval()
    assert isinstance(method, TeacherStudent)
    image = torch.randn(1, 1, 32, 32)
    (teacher,) = method.other_predictions().values()
    torch.testing.assert_close(teacher(image), torch.softmax(method.teacher(image), dim=1))


def test_weights_that_were_lost_on_the_way_end_no_cell_and_are_chosen_by_no_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([0.1, 0.4, 0.3, 0.2])
    monkeypatch.setattr("benchmark.prepare.validation_dice", lambda *args, **where: next(measured))
    cell, places = tiny_cell(validations=4), places_in(tmp_path)
    own = running._final_evaluation

    def evaluated(*args: Any) -> Any:
        assert not (places.folder(cell) / "snapshot-2.pt").exists()
        return own(*args)

    lost = running._lost
    monkeypatch.setattr(running, "_lost", lambda ready: (ready.trainer.snapshot(2).unlink(), lost(ready))[1])
    monkeypatch.setattr(running, "_final_evaluation", evaluated)
    found = run_cell(cell, places)
    assert found.status == "finished"
    assert found.selections["best_val"] == 3
    assert [v["step"] for v in found.validation] == [1, 3, 4]
    assert "the weights of step 2 were lost: no selection rule chose among them" in found.notes


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[: len(whole) // 2], lambda whole: whole[:9]])
def test_weights_that_a_power_cut_damaged_are_lost_and_end_no_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    def broken(ready: Prepared) -> list[str]:
        path = ready.trainer.snapshot(2)
        path.write_bytes(damage(path.read_bytes()))
        return lost(ready)

    lost = running._lost
    monkeypatch.setattr(running, "_lost", broken)
    found = run_cell(tiny_cell(validations=4), places_in(tmp_path))
    assert (found.status, found.reason) == ("finished", "")
    assert [v["step"] for v in found.validation] == [1, 3, 4]
    assert "the weights of step 2 were lost: no selection rule chose among them" in found.notes


# Failures ------------------------------------------------------------------------------------------------------------
def test_a_method_that_raises_ends_its_own_cell_with_reason_and_traceback_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tiny_plan(methods=["supervised", "pce"]).cells()
    monkeypatch.setattr(Supervised, "losses", raising(RuntimeError("the sky fell")))
    records = [run_cell(cell, places_in(tmp_path)) for cell in (first, second)]
    assert [found.status for found in records] == ["failed", "finished"]
    assert records[0].reason == "RuntimeError: the sky fell"
    assert "in losses\n" in records[0].traceback
    assert records[0].cell["title"] == first.title
    kept = record.read(places_in(tmp_path).folder(first))
    assert kept is not None
    assert (kept.status, kept.reason, kept.traceback) == ("failed", records[0].reason, records[0].traceback)
    assert not (places_in(tmp_path).folder(first) / "scores.csv").exists()


def test_a_cell_that_diverges_says_which_term_and_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = Supervised.losses
    monkeypatch.setattr(Supervised, "losses", lambda self, b, c: losses(self, b, c) | {"extra": torch.tensor(nan)})
    found = run_cell(tiny_cell(), places_in(tmp_path))
    assert found.status == "failed"
    assert found.reason == "Diverged: loss term 'extra' is nan at step 1; lower the learning rate or its weight"


def test_a_failed_cell_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell, places = tiny_cell(), places_in(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(Supervised, "losses", raising(RuntimeError("mended soon")))
        assert run_cell(cell, places).status == "failed"
    assert run_cell(cell, places).status == "finished"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_being_stopped_is_no_failure_and_leaves_the_checkpoint(tmp_path: Path, stop: type[BaseException]) -> None:
    cell, places = tiny_cell(), places_in(tmp_path)

    def stopped(phase: str, step: int) -> None:
        if step == 3:
            raise stop

    with pytest.raises(stop):
        run_cell(cell, places, heartbeat=stopped, checkpoint_seconds=0)
    assert record.read(places.folder(cell)) is None
    assert (places.folder(cell) / "checkpoint.pt").exists()
    again = run_cell(cell, places)
    assert again.status == "finished"
    elsewhere = places_in(tmp_path / "elsewhere")
    run_cell(cell, elsewhere)
    assert scores_of(places.folder(cell)) == scores_of(elsewhere.folder(cell))


def test_being_stopped_while_evaluating_loses_no_training_and_no_score(tmp_path: Path) -> None:
    cell, places = tiny_cell(), places_in(tmp_path)

    def stopped(phase: str, step: int) -> None:
        if phase == "evaluate":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, places, heartbeat=stopped, checkpoint_seconds=0)
    heard: list[tuple[str, int]] = []
    assert run_cell(cell, places, heartbeat=lambda phase, step: heard.append((phase, step))).status == "finished"
    assert heard[0] == ("train", 4)  # from the checkpoint of step 3
    elsewhere = places_in(tmp_path / "elsewhere")
    run_cell(cell, elsewhere)
    assert scores_of(places.folder(cell)) == scores_of(elsewhere.folder(cell))


def test_predictions_of_nan_are_scores_of_a_finished_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def predict(self: Supervised, image: Tensor) -> Tensor:
        return torch.full((len(image), 4, *image.shape[2:]), nan)

    monkeypatch.setattr(Supervised, "predict", predict)
    cell = tiny_cell()
    assert run_cell(cell, places_in(tmp_path)).status == "finished"
    rows = rows_of(places_in(tmp_path).folder(cell))
    assert {row["status"] for row in rows} == {"failed"}
    assert {float(row["dice"]) for row in rows} == {0.0}
    assert not any(isnan(float(row["diagonal"])) for row in rows)


def test_a_record_of_a_newer_checkout_is_not_overwritten(finished: tuple[Cell, Path, Record], tmp_path: Path) -> None:
    cell, _, found = finished
    places = places_in(tmp_path)
    record.write(places.folder(cell), Record(**{**vars(found), "schema": record.SCHEMA + 1}))
    before = (places.folder(cell) / "record.json").read_bytes()
    with pytest.raises(record.NewerRecord):
        run_cell(cell, places)
    assert (places.folder(cell) / "record.json").read_bytes() == before


# The seal ------------------------------------------------------------------------------------------------------------
def spying(monkeypatch: pytest.MonkeyPatch, act: Callable[[Prepared], Any]) -> list[Prepared]:
    """Let a cell be prepared and then tampered with."""
    seen: list[Prepared] = []

    def tampered(*args: Any, **settings: Any) -> Prepared:
        seen.append(prepare(*args, **settings))
        act(seen[-1])
        return seen[-1]

    monkeypatch.setattr(running, "prepare", tampered)
    return seen


def test_validation_that_reads_a_test_label_fails_the_cell_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peek(prepared: Prepared) -> None:
        prepared.trainer.validate = lambda method: float(prepared.vault.case(prepared.split.test[0]).label.mean())  # type: ignore[union-attr]

    spying(monkeypatch, peek)
    found = run_cell(tiny_cell(), places_in(tmp_path))
    assert found.status == "failed"
    assert found.reason.startswith("SealedLabel: method supervised in plan tiny: the label of test case")


def test_a_method_that_finds_the_vault_gets_no_test_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hand_it_the_vault(prepared: Prepared) -> None:
        def losses(batch: Batch, clock: Clock) -> Terms:
            return {"cheat": torch.tensor(float(prepared.vault.case(prepared.split.test[0]).label.mean()))}  # type: ignore[union-attr]

        prepared.method.losses = losses  # type: ignore[method-assign]

    spying(monkeypatch, hand_it_the_vault)
    found = run_cell(tiny_cell(), places_in(tmp_path))
    assert found.status == "failed"
    assert found.reason.startswith("SealedLabel: ")


@pytest.mark.parametrize("hook", ["losses", "predict"])
def test_a_method_that_opens_the_dataset_by_itself_is_caught_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    def peek(prepared: Prepared) -> None:
        again = type(prepared.dataset)(tmp_path, prepared.dataset.options)

        def reads_the_answer(*_: Any) -> Any:
            return {"cheat": torch.tensor(float(again.load(prepared.split.test[0]).label.sum()))}  # type: ignore[union-attr]

        setattr(prepared.method, hook, reads_the_answer)
        if hook == "predict":
            prepared.trainer.validate = None  # so that the final evaluation is where it peeks

    spying(monkeypatch, peek)
    found = run_cell(tiny_cell(), places_in(tmp_path))
    assert found.status == "failed"
    assert found.reason.startswith("SealedLabel: method supervised in plan tiny loaded test case ")


def test_an_early_look_at_the_test_labels_makes_the_final_evaluation_impossible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(prepared: Prepared) -> None:
        with prepared.vault.open("one early look"):
            pass

    spying(monkeypatch, look)
    found = run_cell(tiny_cell(), places_in(tmp_path))
    assert found.status == "failed"
    assert "already opened for 'one early look'; a cell opens them once" in found.reason


def test_the_final_evaluation_opens_once_and_after_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    def watch(prepared: Prepared) -> None:
        opened = prepared.vault.open
        prepared.vault.open = lambda reason: (steps.append(prepared.trainer.step), opened(reason))[1]  # type: ignore[method-assign]

    spying(monkeypatch, watch)
    assert run_cell(tiny_cell(), places_in(tmp_path)).status == "finished"
    assert steps == [4]


def test_the_oracle_weighs_patients_alike_as_tables_do() -> None:
    one = [score("a1", group="a", dice=0.0), score("a2", group="a", dice=0.2), score("a3", group="a", dice=0.1)]
    other = [score("b1", group="b", dice=0.9), score("b1", group="b", class_name="wall", dice=0.7)]
    nowhere = [score("b1", group="b", class_name="cavity", status="both_empty")]
    assert running._mean_dice([*one, *other, *nowhere]) == pytest.approx((0.1 + 0.8) / 2)
