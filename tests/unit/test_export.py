"""Weak labels as files: what ``data weaken`` writes opens as an nnU-Net folder and holds the same marks."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import datasets
from benchmark import data_verbs
from benchmark.config import ConfigError
from datasets.base import DataError, Dataset
from datasets.export import options_of, to_nnunet
from datasets.io import read_image
from datasets.weak import Weak, Weakened
from tests.miniatures import acdc, brats, csv_manifest, medsegbench, msd, nnunet
from tests.miniatures import image_folder as folders


def opened(name: str, root: Path, **options: Any) -> Dataset:
    cls = datasets.get(name)
    return cls(root, cls.Options(**{key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}))


def written(weak: Weakened, root: Path) -> Dataset:
    """The folder that the export wrote, opened as a plan would open it."""
    folder = root / "Dataset501_Weak"
    to_nnunet(weak, folder)
    return opened("nnunet", root, **options_of(weak, folder))


def test_volumes_come_back_with_their_marks_labels_grid_and_folds(tmp_path: Path) -> None:
    msd.write(tmp_path)
    weak = Weakened(opened("msd", tmp_path, patch=(16, 16)), Weak("points", radius=1))
    back = written(weak, tmp_path / "out")
    assert list(back.groups()) == list(weak.groups())
    for key in weak.groups():
        ours, theirs = weak.load(key), back.check(back.load(key))
        assert ours.scribble is not None
        assert theirs.scribble is not None
        assert np.array_equal(ours.scribble, theirs.scribble)
        assert ours.label is not None
        assert theirs.label is not None
        assert np.array_equal(ours.label, theirs.label)
        assert theirs.spacing == pytest.approx(ours.spacing)
    assert [back.partition(fold) for fold in range(1, 6)] == [weak.partition(fold) for fold in range(1, 6)]


def test_volumes_that_are_kept_from_left_to_right_are_written_slices_first(tmp_path: Path) -> None:
    msd.write(tmp_path)
    weak = Weakened(opened("msd", tmp_path, patch=(16, 16, 32)), Weak("points", radius=1))
    back = written(weak, tmp_path / "out")
    assert back.task.patch == (32, 16, 16)
    for key in weak.groups():
        ours, theirs = weak.load(key), back.load(key)
        for mine, other in ((ours.label, theirs.label), (ours.scribble, theirs.scribble)):
            assert mine is not None
            assert other is not None
            assert np.array_equal(mine.transpose(2, 1, 0), other)
        assert ours.spacing is not None
        assert theirs.spacing == pytest.approx(ours.spacing[::-1])


def test_photographs_come_back_with_their_marks_their_pixels_and_their_test_set(tmp_path: Path) -> None:
    folders.write(tmp_path)
    options = {key: tuple(v) if isinstance(v, list) else v for key, v in folders.OPTIONS.items()}
    weak = Weakened(opened("image_folder", tmp_path, **options), Weak("skeleton"))
    back = written(weak, tmp_path / "out")
    assert set(back.partition(1).test) == {group.replace("/", "_") for group in weak.partition(1).test}
    for key in weak.groups():
        ours, theirs = weak.load(key), back.load(key.replace("/", "_"))
        np.testing.assert_allclose(ours.image, theirs.image, atol=0.5 / 255 + 1e-6)
        assert (theirs.scribble is None) == key.startswith("test/")
        if theirs.scribble is not None:
            assert ours.scribble is not None
            assert np.array_equal(ours.scribble, theirs.scribble)


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_images_of_12_bits_in_16_bit_files_come_back_with_every_level(colour: str, tmp_path: Path) -> None:
    folders.write(tmp_path)
    for number, path in enumerate(sorted(tmp_path.glob("mine/*/image/*"))):
        height, width = read_image(path).shape[:2]
        levels = np.random.default_rng(number).integers(0, 2**12, (height, width)).astype(np.uint16)
        path.unlink()
        Image.fromarray(levels).save(path.with_suffix(".png"))
    weak = Weakened(opened("image_folder", tmp_path, **folders.OPTIONS | {"colour": colour}), Weak("skeleton"))
    back = written(weak, tmp_path / "out")
    assert back.task.channels == {"grey": 1, "rgb": 3}[colour]
    for key in weak.groups():
        np.testing.assert_allclose(back.load(key.replace("/", "_")).image, weak.load(key).image, atol=1e-7)


def test_patients_with_several_scans_stay_together(tmp_path: Path) -> None:
    acdc.write(tmp_path)
    weak = Weakened(opened("acdc", tmp_path, partial=True), Weak("slices", slices=1))
    back = written(weak, tmp_path / "out")
    assert set(back.groups().values()) == set(weak.groups().values())
    assert len(back.groups()) == len(weak.groups())
    assert "patient021__patient021_frame01" in back.groups()
    for fold in range(1, 6):
        assert set(back.partition(fold).test) == set(weak.partition(fold).test)


@pytest.mark.parametrize(
    ("miniature", "options"),
    [(acdc, {"protocol": "maag"}), (acdc, {"protocol": "ssl4mis"}), (brats, {}), (csv_manifest, {}), (folders, {}),
     (medsegbench, {}), (nnunet, {})],
)  # fmt: skip
def test_published_validation_and_test_sets_come_back_as_they_are(
    miniature: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    miniature.write(tmp_path)
    if miniature is folders:
        folders.write_pair(tmp_path / "mine" / "val", "v01", height=15)
    name = miniature.__name__.rsplit(".", 1)[-1]
    weak = Weakened(opened(name, tmp_path, **miniature.OPTIONS | options), Weak("points", radius=1))
    back = written(weak, tmp_path / "out")
    assert back.folds == weak.folds
    for fold in range(1, weak.folds + 1):
        ours, theirs = weak.partition(fold), back.partition(fold)
        for part in ("train", "val", "test"):
            groups = [group.replace("/", "_") for group in getattr(ours, part)]
            assert sorted(groups) == sorted(getattr(theirs, part)) != [], part
    tests = {path.name.removesuffix("".join(path.suffixes)) for path in (back.root / "labelsTs").iterdir()}
    assert {back.groups()[key] for key in tests} == set(back.partition(1).test)


def test_where_no_case_tests_validation_cases_are_held_out_and_that_is_said(tmp_path: Path) -> None:
    csv_manifest.write(tmp_path)
    csv_manifest.describe(tmp_path, {case: part.replace("test", "val") for case, part in csv_manifest.PARTS.items()})
    weak, said = Weakened(opened("csv_manifest", tmp_path, **csv_manifest.OPTIONS), Weak("points", radius=1)), []
    to_nnunet(weak, tmp_path / "out", say=said.append)
    assert said == ["no case tests: where Scant opens the folder as nnunet, the validation cases do"]
    (fold,) = json.loads((tmp_path / "out" / "splits_final.json").read_text())
    assert fold["val"] == ["p2__p2_a", "p4__p4_a", "p4__p4_b"]
    assert len(fold["train"]) == 5
    back = opened("nnunet", tmp_path, **options_of(weak, tmp_path / "out"))
    assert set(back.partition(1).test) == {"p2", "p4"}


def test_costs_and_provenance_lie_beside_the_labels(tmp_path: Path) -> None:
    msd.write(tmp_path)
    weak = Weakened(opened("msd", tmp_path, patch=(16, 16)), Weak("skeleton", seed=4))
    total = to_nnunet(weak, tmp_path / "out")
    with (tmp_path / "out" / "costs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    assert sum(int(row["strokes"]) for row in rows) == total.strokes
    assert sum(int(row["pixels"]) for row in rows) == total.pixels
    about = json.loads((tmp_path / "out" / "weak.json").read_text())
    assert about["recipe"] == {"kind": "skeleton", "version": "1", "seed": 4}
    assert about["fingerprint"] == weak.dense.fingerprint()
    assert about["cost"] == total.as_json()
    assert "CC BY-SA" in about["licence"]


def test_images_outside_what_png_holds_are_refused_by_name(tmp_path: Path) -> None:
    folders.write(tmp_path)
    options = {key: tuple(v) if isinstance(v, list) else v for key, v in folders.OPTIONS.items()}
    weak = Weakened(opened("image_folder", tmp_path, **options), Weak("skeleton"))
    key = next(iter(weak.groups()))
    case = weak.dense.load(key)
    case.image[...] = 2.0
    weak.dense.load = lambda _: case  # type: ignore[method-assign]
    with pytest.raises(DataError, match=rf"case '{key}': only images .* in \[0, 1\]"):
        to_nnunet(weak, tmp_path / "out")


def test_a_refused_case_leaves_no_folder_behind(tmp_path: Path) -> None:
    folders.write(tmp_path)
    options = {key: tuple(v) if isinstance(v, list) else v for key, v in folders.OPTIONS.items()}
    weak = Weakened(opened("image_folder", tmp_path, **options), Weak("slices", slices=1))  # images have no slices
    with pytest.raises(DataError, match=r"weak\.slices chooses slices of a volume"):
        to_nnunet(weak, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_labels_is_left_as_it_is(tmp_path: Path) -> None:
    msd.write(tmp_path)
    out, dense = tmp_path / "out", opened("msd", tmp_path, patch=(16, 16))
    to_nnunet(Weakened(dense, Weak("points", radius=1)), out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for weak in (Weakened(dense, Weak("skeleton")), Weakened(opened("msd", tmp_path, patch=(32, 32)), Weak("points"))):
        with pytest.raises(DataError, match=rf"{out}: is not empty .*choose another folder, or remove it"):
            to_nnunet(weak, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_the_same_labels_are_written_again_but_not_into_a_strange_folder(tmp_path: Path) -> None:
    msd.write(tmp_path)
    weak = Weakened(opened("msd", tmp_path, patch=(16, 16)), Weak("points", radius=1))
    total = to_nnunet(weak, tmp_path / "out")
    (tmp_path / "out" / "dataset.json").unlink()  # as an interruption leaves it
    assert to_nnunet(weak, tmp_path / "out") == total
    assert (tmp_path / "out" / "dataset.json").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(DataError, match=r"is not empty and has no weak\.json"):
        to_nnunet(weak, tmp_path / "mine")


def called(*words: object) -> Result:
    return CliRunner().invoke(data_verbs.app, [str(word) for word in words])


def test_the_verb_writes_a_folder_and_says_how_a_plan_opens_it(tmp_path: Path) -> None:
    msd.write(tmp_path)
    out = tmp_path / "Dataset502_Toy"
    result = called("weaken", "msd", "--data", tmp_path, "-o", "patch=[16, 16]", "--kind", "points", "--out", out)
    assert result.exit_code == 0, result.exception
    assert "strokes, about" in result.stdout
    options = json.loads(result.stdout[result.stdout.index("options: ") + 9 : result.stdout.rindex("}")])
    assert len(opened("nnunet", tmp_path, **options).groups()) == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--kind", "skeletn"), "did you mean 'skeleton'"),
        (("--kind", "skeleton", "--radius", "4"), "weak.radius belongs to points"),
        (("--kind", "slices"), "weak.slices must say how many"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_before_anything_is_written(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    msd.write(tmp_path)
    error = called("weaken", "msd", "--data", tmp_path, "--out", tmp_path / "out", *words).exception
    assert isinstance(error, ConfigError)
    assert message in str(error)
    assert not (tmp_path / "out").exists()
