"""What few labelled volumes bring with them: too few for a batch, too small, of long voxels, without some class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.evaluate import predict_case, score_case
from benchmark.plan import Cell
from benchmark.prepare import Prepared, prepare
from benchmark.record import METRICS
from benchmark.run import run_cell
from datasets.types import IGNORE, Case, Task

from .tiny_cells import places_in, tiny_cell

VOLUMES: dict[str, Any] = {
    "name": "phantom_3d",
    "options": {"patients": 6, "shape": [32, 16, 16], "patch": [32, 16, 16]},
}
CROP = {"patch": [32, 16, 16], "network": "vnet", "steps": 3, "validations": 1}


def ready(cell: Cell, root: Path) -> Prepared:
    (root / "cell").mkdir(exist_ok=True)
    return prepare(cell, places_in(root), root / "cell")


def volumes(method: str = "mean_teacher", **training: Any) -> Cell:
    return tiny_cell(method, datasets=[VOLUMES], ratios=[], labelled=[1], **(CROP | training))


@pytest.mark.parametrize("method", ["mean_teacher", "bcp"])
def test_one_labelled_volume_fills_a_batch_of_two_by_repetition_and_the_record_says_so_once(
    method: str, tmp_path: Path
) -> None:
    record = run_cell(volumes(method, labelled_batch=2), places_in(tmp_path))
    assert record.status == "finished", record.reason
    said = [note for note in record.notes if "1 labelled sample(s) for a batch of 2" in note]
    assert said == ["1 labelled sample(s) for a batch of 2: samples repeat within a batch"]


def test_volumes_smaller_than_the_crop_are_padded_trained_on_and_scored_at_their_own_size(tmp_path: Path) -> None:
    cell = volumes(patch=[32, 32, 16], augment="none")
    at_hand = ready(cell, tmp_path)
    batch = at_hand.feed.batch(0)
    assert batch.labelled.image.shape[2:] == (32, 32, 16)
    # sixteen of 32 rows are padding, half on each side, and no class is claimed there
    assert bool((batch.labelled.label[:, :, :8] == IGNORE).all())
    assert bool((batch.labelled.label[:, :, 24:] == IGNORE).all())
    assert bool((batch.labelled.label[:, :, 8:24] != IGNORE).all())
    at_hand.trainer.run()
    at_hand.method.eval()
    key = at_hand.split.val[0]
    case = at_hand.vault.case(key)
    found = predict_case(at_hand.method, case.without_label(), at_hand.dataset.task, cell.training, **at_hand.on)
    assert found.shape == case.label.shape == (32, 16, 16)


def test_distances_follow_the_longest_side_of_a_voxel() -> None:
    """Voxels of 1 x 2 x 5 mm: one plane apart along each axis is 1, 2 and 5 mm, and one voxel apart is one voxel."""
    task = Task("atrium", 3, 1, ("background", "atrium"), (8, 8, 8), "mm")
    label = np.zeros((8, 8, 8), np.uint8)
    label[4, 4, 4] = 1
    for axis, expected in enumerate((1.0, 2.0, 5.0)):
        case = Case("c", "p", np.zeros((1, 8, 8, 8), np.float32), label, None, (1.0, 2.0, 5.0))
        (row,) = score_case(np.roll(label, 1, axis=axis), case, task, "last")
        values = dict(zip(METRICS, row.values, strict=True))
        assert row.unit == "mm"
        assert values["hd95"] == values["asd_pred_to_gt"] == expected
        assert values["hd95_vox"] == 1


class TestAClassThatNoLabelShows:
    """Class 2 is taken out of every labelled volume."""

    @pytest.fixture
    def at_hand(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
        from datasets.catalogue.phantom_3d import Phantom3D

        load = Phantom3D.load

        def without(self: Phantom3D, key: str) -> Case:
            case = load(self, key)
            assert case.label is not None
            case.label[case.label == self.task.n_classes - 1] = 0
            return case

        monkeypatch.setattr(Phantom3D, "load", without)
        return ready(volumes("cvcl"), tmp_path)

    def test_is_named_in_the_record(self, at_hand: Prepared) -> None:
        last = at_hand.dataset.task.classes[-1]
        assert f"no labelled sample shows {last}: its labels cannot teach that" in at_hand.notes

    @pytest.mark.parametrize(
        "method", ["mean_teacher", "ua_mt", "cps", "sassnet", "dtc", "cpcl", "cvcl", "mc_net", "bcp"]
    )
    def test_leaves_training_finite(self, method: str, at_hand: Prepared, tmp_path: Path) -> None:
        hyper = {"critic_width": 2} if method == "sassnet" else {}
        cell = tiny_cell(method, datasets=[VOLUMES], ratios=[], labelled=[1], hyper=hyper, **CROP)
        other = ready(cell, tmp_path)
        other.trainer.run()
        assert all(bool(torch.isfinite(p).all()) for p in other.method.parameters())


def test_where_labels_show_every_class_nothing_is_said(tmp_path: Path) -> None:
    assert not [note for note in ready(volumes(), tmp_path).notes if "no labelled sample" in note]
