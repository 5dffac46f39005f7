"""Pixels of no class (the option ``ignore``): read as unknown, never learnt or scored, never marked by an annotator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import datasets
from benchmark import plan_file
from benchmark.evaluate import score_case, validation_dice
from benchmark.examples import Examples
from benchmark.execute.local import run_cells
from benchmark.plan import Training
from benchmark.prepare import Places
from benchmark.record import METRICS, Score
from benchmark.report import build
from datasets.base import DataError, Dataset, canonical_options
from datasets.export import to_nnunet
from datasets.types import IGNORE, Case, Task
from datasets.weak import Weak, Weakened
from tests.miniatures.paired_images import save

TASK = Task("toy", 2, 1, ("background", "cup", "disc"), (8, 8), "px")
CLASSES: Mapping[str, Any] = {"folder": "mine", "patch": (16, 16), "classes": ("background", "cup", "disc")}


def values(score: Score) -> dict[str, float]:
    return dict(zip(METRICS, score.values, strict=True))


def label_with_void(side: int = 16) -> np.ndarray:
    """Two classes, the second on the first, and a band of no class across all of them."""
    label = np.zeros((side, side), np.uint8)
    label[2:12, 3:13] = 1
    label[5:9, 5:11] = 2
    label[:, 9] = IGNORE
    return label


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(10):
        label = np.roll(label_with_void(), number % 3, axis=0)
        image = (np.where(label == IGNORE, 0, label) * 80 + rng.integers(0, 40, label.shape)).astype(np.uint8)
        save(tmp_path / "mine" / "images" / f"e{number}.png", image)
        save(tmp_path / "mine" / "masks" / f"e{number}.png", label)
    rows = [f"e{number},e{number},images/e{number}.png,masks/e{number}.png" for number in range(10)]
    (tmp_path / "mine" / "manifest.csv").write_text("\n".join(["case,group,image,label", *rows]))
    return tmp_path


def opened(root: Path, name: str = "image_folder", **options: Any) -> Dataset:
    cls = datasets.get(name)
    return cls(root, cls.Options(**(CLASSES | options)))


# Reading -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["image_folder", "csv_manifest"])
def test_only_a_plan_that_says_so_reads_a_value_as_no_class(root: Path, name: str) -> None:
    dataset = opened(root, name, ignore=255)
    case = dataset.check(dataset.load("e0"))
    assert np.array_equal(case.label, label_with_void())
    with pytest.raises(DataError, match=r"e0.*unknown label value\(s\) \[255\]"):
        opened(root, name).load("e0")
    assert "pixels of value 255" in type(dataset).caveat({"ignore": 255})
    assert "no class" not in type(dataset).caveat({"ignore": None})


def test_of_two_classes_255_is_the_second_unless_it_is_none(root: Path) -> None:
    save(root / "mine" / "masks" / "e0.png", np.array([[0, 255], [1, 1]], np.uint8).repeat(8, 0).repeat(8, 1))
    save(root / "mine" / "images" / "e0.png", np.zeros((16, 16), np.uint8))
    two = {"classes": ("background", "cup")}
    with pytest.raises(DataError, match="either may be the foreground"):
        opened(root, **two).load("e0")
    label = opened(root, **two, ignore=255).load("e0").label
    assert label is not None
    assert sorted(np.unique(label)) == [0, 1, IGNORE]


@pytest.mark.parametrize(
    "wrong", [{"ignore": 2}, {"ignore": -1}, {"ignore": 7, "values": (0, 3, 7)},
              {"ignore": 255, "threshold": 127, "classes": ("background", "cup")}]
)  # fmt: skip
def test_a_value_that_is_a_class_or_lies_beside_a_threshold_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="ignore must be a value in masks that is no class's"):
        datasets.get("image_folder").Options(**(CLASSES | wrong))


def test_a_dataset_without_the_option_may_not_hold_unknown_pixels(root: Path) -> None:
    dataset = opened(root)
    image = np.zeros((3, 16, 16), np.float32)
    with pytest.raises(DataError, match="label holds unknown value"):
        dataset.check(Case("e0", "e0", image, label_with_void()))


def test_identities_are_what_they_were_where_nothing_is_ignored() -> None:
    options = datasets.get("image_folder").Options
    assert "ignore" not in canonical_options(options())
    assert canonical_options(options(ignore=255))["ignore"] == 255
    plans = [
        plan_file.parse(
            {"title": "t", "protocol": "p", "datasets": [{"name": "image_folder", "options": more}],
             "methods": ["supervised"], "ratios": [1.0], "training": {"steps": 1}},
            default_name="t",
        )
        for more in ({}, {"ignore": 255})
    ]  # fmt: skip
    first, second = ([cell.id for cell in plan.cells()] for plan in plans)
    assert first != second
    assert "ignore" not in next(iter(plans[0].cells())).canonical()["options"]


# Scoring -------------------------------------------------------------------------------------------------------------
def test_what_is_predicted_where_nothing_is_known_changes_no_score() -> None:
    label = label_with_void()
    case = Case("e0", "e0", np.zeros((1, 16, 16), np.float32), label)
    prediction = np.roll(np.where(label == IGNORE, 1, label), 1, axis=0)
    scores = []
    for there in (0, 1, 2):
        guessed = np.where(label == IGNORE, there, prediction).astype(np.uint8)
        scores.append(score_case(guessed, case, TASK, "last"))
    assert scores[0] == scores[1] == scores[2]
    known = label != IGNORE
    for score, k in zip(scores[0], (1, 2), strict=True):
        both = ((prediction == k) & (label == k))[known].sum()
        sizes = (prediction == k)[known].sum() + (label == k)[known].sum()
        assert values(score)["dice"] == pytest.approx(2 * both / sizes)
        assert 0.5 < values(score)["dice"] < 1
    failed = score_case(None, case, TASK, "last")
    assert [values(score)["dice"] for score in failed] == [0, 0]


class _Vault:
    def __init__(self, case: Case) -> None:
        self.dataset = type("", (), {"task": TASK})
        self._case = case

    def case(self, key: str) -> Case:
        return self._case


class _Cups:
    def eval(self) -> None:
        pass

    def name(self) -> str:
        return "cups"

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(image), 3, *image.shape[2:])
        found[:, 1] = 1
        return found


def test_validation_leaves_it_out_as_well() -> None:
    label = np.zeros((8, 8), np.uint8)
    label[:4], label[6:] = 1, IGNORE
    case = Case("e0", "e0", np.zeros((1, 8, 8), np.float32), label)
    where: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32}
    dice = validation_dice(_Cups(), _Vault(case), ["e0"], Training(patch=(8, 8)), **where)  # type: ignore[arg-type]
    assert dice == pytest.approx(2 * 32 / (32 + 48))  # of 48 known pixels all are predicted, 32 are right


def test_pictures_show_background_there(tmp_path: Path) -> None:
    case = Case("e0", "e0", np.zeros((1, 16, 16), np.float32), label_with_void())
    examples = Examples(TASK, 1)
    examples.add(case, np.full((16, 16), 2, np.uint8), score_case(np.zeros((16, 16), np.uint8), case, TASK, "last"))
    examples.save(tmp_path / "examples.npz")
    with np.load(tmp_path / "examples.npz") as kept:
        assert not kept["0_label"][:, 9].any()
        assert not kept["0_prediction"][:, 9].any()
        assert set(np.unique(kept["0_label"])) == {0, 1, 2}


# Weak labels ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["skeleton", "curves", "points", "boxes"])
def test_no_annotator_marks_what_is_of_no_class(root: Path, kind: Any) -> None:
    dataset = Weakened(opened(root, ignore=255), Weak(kind))
    for key in ("e0", "e1"):
        case = dataset.check(dataset.load(key))
        assert case.label is not None
        assert case.scribble is not None
        marked = case.scribble != IGNORE
        assert marked.any()
        assert not marked[case.label == IGNORE].any()
        assert (case.scribble == case.label)[marked].all()


def test_slices_of_no_class_alone_show_no_structure(root: Path) -> None:
    dense = opened(root, ignore=255)
    volume = np.full((6, 16, 16), IGNORE, np.uint8)
    volume[2] = label_with_void()
    case = Case("v", "v", np.zeros((3, 6, 16, 16), np.float32), volume)
    marks, _ = Weakened(dense, Weak("slices", slices=1)).simulate(case)
    assert (marks[2] != IGNORE).any()
    assert (np.delete(marks, 2, axis=0) == IGNORE).all()


def test_an_export_that_could_not_say_so_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="e0' has pixels of no class, which cannot be written"):
        to_nnunet(Weakened(opened(root, ignore=255), Weak("points")), root / "out")
    assert not (root / "out").exists()


# A whole plan --------------------------------------------------------------------------------------------------------
def test_a_plan_runs_on_it_and_its_table_says_so(root: Path, tmp_path: Path) -> None:
    raw = {
        "title": "Void", "protocol": "none", "methods": ["mean_teacher", "dtc"], "ratios": [0.5], "bounds": False,
        "datasets": [{"name": "image_folder", "options": {k: list(v) if isinstance(v, tuple) else v
                                                          for k, v in CLASSES.items()} | {"ignore": 255}}],
        "training": {"steps": 3, "width": 2, "labelled_batch": 2, "unlabelled_batch": 2, "validations": 1},
    }  # fmt: skip
    plan = plan_file.parse(raw, default_name="void")
    places = Places(results=tmp_path / "results", data=root, cache=tmp_path / "cache")
    summary = run_cells(list(plan.cells()), places, workers=1)
    assert not summary.failed, summary.reasons
    folder = build("void", tmp_path / "results", plan=plan)
    assert "pixels of value 255 in labels are of no class" in (folder / "table.md").read_text()
