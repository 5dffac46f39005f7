"""Somebody's own folder: what it is told to be, the plan that is written for it, and what a wrong one is told."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmark import own, plan_file, preflight, session
from benchmark.__main__ import app
from benchmark.config import ConfigError
from benchmark.prepare import open_dataset, split_of
from datasets.base import DataError
from datasets.catalogue.image_folder import ImageFolder, ImageFolderOptions
from datasets.guess import guess
from tests.miniatures import msd, nnunet
from tests.miniatures.paired_images import save

from .tiny_cells import places_in

HEIGHT, WIDTH = 40, 52


def pictures(
    folder: Path,
    count: int = 12,
    *,
    values: tuple[int, ...] = (0, 255),
    colour: bool = True,
    names: str = "images masks",
    seed: int = 0,
) -> Path:
    """Pairs of a random image and a mask with a square of each value."""
    images, masks = names.split()
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for place, value in enumerate(values[1:]):
            mask[5:15, 5 + 12 * place : 15 + 12 * place] = value
        shape = (HEIGHT, WIDTH, 3) if colour else (HEIGHT, WIDTH)
        save(folder / images / f"p{number:02d}.png", rng.integers(0, 256, shape).astype(np.uint8))
        save(folder / masks / f"p{number:02d}_mask.png", mask)
    return folder


def written(folder: Path, root: Path) -> tuple[Any, tuple[str, ...]]:
    path, remarks = own.plan_for(folder, places_in(root))
    return plan_file.load(str(path)), remarks


def varied(write: Callable[[Path], None], root: Path) -> None:
    """A miniature of volumes, whose images are copies of each other, with an image of its own in every case."""
    write(root)
    for number, path in enumerate(sorted(root.glob("*/images*/*.nii.gz"))):
        image = nibabel.load(path)
        noise = np.random.default_rng(number).integers(0, 1000, image.shape).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(noise, image.affine, image.header), path)


def test_a_folder_of_images_and_masks_becomes_a_plan_that_passes_every_check_before_training(tmp_path: Path) -> None:
    plan, remarks = written(pictures(tmp_path / "my tools"), tmp_path)
    assert plan.name == "my_tools"
    # 12 images in five folds: fold 1 tests 3 (every fifth of the order, from the first), 9 train, of which 1 validates;
    # 5 % of 8 would be no image, 20 % are 2, 50 % are 4
    assert plan.ratios == (0.2, 0.5)
    assert {cell.method for cell in plan.cells()} == {"supervised", "mean_teacher", "cps", "bcp"}
    places = dataclasses.replace(places_in(tmp_path), data=tmp_path)
    cells = list(plan.cells())
    preflight.check(cells[:4], places)
    # 40 × 52 in steps of 16: 2.5 and 3.25 steps, rounded to the even 2 and to 3
    assert open_dataset(cells[0], places).task.patch == (32, 48)
    assert "group_pattern" in remarks[0]


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, {"colour": "rgb"}),
        ({"colour": False}, {"colour": "grey"}),
        ({"values": (0, 1)}, {"colour": "rgb"}),
        ({"values": (0, 1, 2)}, {"classes": ["background", "value 1", "value 2"], "values": [0, 1, 2]}),
        ({"values": (0, 128, 255)}, {"classes": ["background", "value 128", "value 255"], "values": [0, 128, 255]}),
        ({"names": "img gt"}, {"folder": "mine"}),
    ],
)
def test_channels_classes_and_folders_are_read_off_the_files(
    settings: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    found = guess(pictures(tmp_path / "mine", **settings))
    assert found.dataset == "image_folder"
    assert {key: found.options[key] for key in options} == options
    assert ("classes" in found.options) == ("classes" in options)


def test_where_some_images_have_no_masks_the_plan_counts_those_that_have(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "few")
    pictures(tmp_path / "more", 20, seed=1)
    (tmp_path / "more" / "images").rename(folder / "unlabelled")
    plan, _ = written(folder, tmp_path)
    # 12 with masks: in the fold that tests most 3 of them, 9 train, of which 1 validates: 8, and 20 without
    assert plan.labelled == (4, 8)
    assert {cell.amount for cell in plan.cells() if cell.role == "method"} == {"4 labelled", "8 labelled"}
    places = dataclasses.replace(places_in(tmp_path), data=tmp_path)
    for cell in plan.cells():
        split = split_of(cell, open_dataset(cell, places))
        assert len(split.labelled) == (8 if cell.role == "upper" else cell.count)
        assert {f"unlabelled/p{n:02d}" for n in range(20)} <= set(split.unlabelled)


def test_a_divided_folder_keeps_its_division(tmp_path: Path) -> None:
    pictures(tmp_path / "mine" / "train", 8)
    pictures(tmp_path / "mine" / "test", 3, seed=1)
    plan, _ = written(tmp_path / "mine", tmp_path)
    assert "The folder's own division." in plan.protocol
    assert "# When this was written: 8 groups train, 3 test." in (tmp_path / "results/plans/mine.yaml").read_text()


def test_an_nnunet_folder_becomes_a_plan_with_the_methods_that_its_labels_allow(tmp_path: Path) -> None:
    varied(nnunet.write, tmp_path)
    plan, remarks = written(tmp_path / nnunet.FOLDER, tmp_path)
    read = {"folder": nnunet.FOLDER, "patch": [32, 32], "channels": 2, "foreground": 3}
    assert plan.datasets[0].options == read | {"annotations": ["dense", "scribble"]}
    assert {"mean_teacher", "wsl4mis"} <= {cell.method for cell in plan.cells()}
    assert next(m.hyper for m in plan.methods if m.name == "pce_gated_crf") == {"sigma_intensity": 0.5}
    preflight.check(list(plan.cells())[:2], dataclasses.replace(places_in(tmp_path), data=tmp_path))
    assert any("slice by slice" in remark for remark in remarks)


def test_a_decathlon_folder_becomes_a_plan(tmp_path: Path) -> None:
    varied(msd.write, tmp_path)
    plan, _ = written(tmp_path / msd.FOLDER, tmp_path)
    assert (plan.datasets[0].name, plan.datasets[0].options["task_folder"]) == ("msd", msd.FOLDER)
    assert next(plan.cells()).training.patch == (32, 32)


def test_the_protocol_repeats_no_number_that_a_person_may_change_in_the_plan(tmp_path: Path) -> None:
    plan, _ = written(pictures(tmp_path / "mine"), tmp_path)
    assert re.findall(r"\d+", plan.protocol) == ["5"]  # folds of the folder, which no plan changes
    assert "in px, with the last weights" in plan.protocol
    text = (tmp_path / "results" / "plans" / "mine.yaml").read_text()
    assert re.search(r"# .*too little to rank methods\ntraining:\n  steps: 500\n", text)


def test_a_plan_that_a_person_changed_is_not_written_over(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "mine")
    path, _ = own.plan_for(folder, places_in(tmp_path))
    path.write_text(path.read_text().replace("steps: 500", "steps: 7"))
    again, remarks = own.plan_for(folder, places_in(tmp_path))
    assert again == path
    assert plan_file.load(str(path)).training["steps"] == 7
    assert "used as it is" in remarks[0]


def test_what_was_read_off_the_masks_is_said_with_files_and_pixels(tmp_path: Path) -> None:
    # 12 masks of 40 × 52 = 24960 pixels, in each a square of 10 × 10
    (remark,) = (r for r in guess(pictures(tmp_path / "mine")).remarks if "values of the 12 masks" in r)
    assert "0 (12 files, 23760 pixels), 255 (12 files, 1200 pixels); the first is taken for the background" in remark


def test_jpeg_masks_of_two_clean_values_are_taken(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "mine")
    for path in sorted((folder / "masks").iterdir()):
        # blocks of 8 × 8 of one value survive JPEG
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[8:16, 8:24] = 255
        Image.fromarray(mask).save(path.with_suffix(".jpg"), quality=100)
        path.unlink()
    assert "values" not in guess(folder).options


def test_near_copies_on_two_sides_are_remarked_with_their_names_and_exact_ones_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "mine" / "train", 8).parent
    pictures(folder / "test", 3, seed=1)
    source = np.array(Image.open(folder / "train" / "images" / "p02.png"))
    save(folder / "test" / "images" / "p01.png", np.clip(source.astype(int) + 2, 0, 255).astype(np.uint8))
    _, remarks = written(folder, tmp_path)
    (remark,) = (r for r in remarks if "nearly the same image on two sides" in r)
    assert "test/p01 (test) and train/p02 (train)" in remark
    assert remark in (tmp_path / "results" / "plans" / "mine.yaml").read_text()
    save(folder / "test" / "images" / "p01.png", source)
    with pytest.raises(DataError, match=r"test/p01 \(test\) and train/p02 \(train\) are the same image"):
        written(folder, tmp_path)


def test_labels_of_background_only_are_remarked_once_with_the_names_of_the_cases(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "mine")
    for place in (2, 4, 7):
        changed(folder, place, lambda mask: mask.fill(0))
    _, remarks = written(folder, tmp_path)
    assert "p02: the label is background only (likewise p04, p07)" in remarks


# What is wrong ------------------------------------------------------------------------------------------------------
def lose(folder: Path) -> None:
    (folder / "masks" / "p03_mask.png").unlink()


def shrink(folder: Path) -> None:
    save(folder / "masks" / "p04_mask.png", np.zeros((30, WIDTH), np.uint8))


def colour(folder: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    mask[..., 0] = 7
    save(folder / "masks" / "p05_mask.png", mask)


def blur(folder: Path) -> None:
    save(folder / "masks" / "p06_mask.png", np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1)))


def index(folder: Path) -> None:
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).convert("P").save(folder / "masks" / "p07_mask.png")


def cut(folder: Path) -> None:
    path = folder / "images" / "p08.png"
    path.write_bytes(path.read_bytes()[:200])


def mix(folder: Path) -> None:
    path = folder / "masks" / "p09_mask.png"
    save(path, (np.array(Image.open(path)) > 0).astype(np.uint8))


def changed(folder: Path, number: int, alter: Callable[[np.ndarray], Any]) -> None:
    path = folder / "masks" / f"p{number:02d}_mask.png"
    mask = np.array(Image.open(path))
    alter(mask)
    save(path, mask)


def pixel(value: int) -> Callable[[np.ndarray], Any]:
    return lambda mask: mask.__setitem__((0, 0), value)


def stray(folder: Path) -> None:
    changed(folder, 3, pixel(7))


def rare(folder: Path) -> None:
    """Two pixels of 12 × 40 × 52 = 24960 are 0.8 of ten thousandths."""
    changed(folder, 1, pixel(9))
    changed(folder, 5, pixel(9))


def number(folder: Path) -> None:
    """Mask k shows 3 + k objects, each 2 × 2 pixels."""
    for place in range(12):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for thing in range(1, 4 + place):
            mask[2:4, 3 * thing : 3 * thing + 2] = thing
        save(folder / "masks" / f"p{place:02d}_mask.png", mask)


def grade(folder: Path) -> None:
    """Two values a mask, 24 in all, none from 1 on in every mask."""
    for place in range(12):
        mask = np.full((HEIGHT, WIDTH), 2 * place, np.uint8)
        mask[:9] = 2 * place + 1
        save(folder / "masks" / f"p{place:02d}_mask.png", mask)


def jpeg(folder: Path) -> None:
    for path in sorted((folder / "masks").iterdir()):
        mask = Image.open(path)
        path.unlink() if mask.load() else None
        mask.save(path.with_suffix(".jpg"), quality=95)


def unmarked(folder: Path) -> None:
    for path in sorted((folder / "masks").iterdir()):
        save(path, np.where(np.array(Image.open(path)) > 0, 2, 1).astype(np.uint8))


def smooth(folder: Path) -> None:
    """Halved, then doubled with interpolation: 64 and 191 along every border, 16, 48 and 143 in its corners."""
    for path in sorted((folder / "masks").iterdir()):
        small = Image.open(path).resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.NEAREST)
        small.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR).save(path)


def void(folder: Path) -> None:
    """Classes 0, 1 and 2, and a frame of 255."""
    for place in range(12):
        mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
        mask[2:-2, 2:-2] = 0
        mask[5:10, 5:10], mask[20:30, 20:30] = 1, 2
        save(folder / "masks" / f"p{place:02d}_mask.png", mask)


def colours(folder: Path) -> None:
    path = folder / "images" / "p07.png"
    Image.open(path).quantize(16).save(path)


def copy(folder: Path) -> None:
    """In some fold one of the two trains and the other tests."""
    (folder / "images" / "p01.png").write_bytes((folder / "images" / "p00.png").read_bytes())


def twice(folder: Path) -> None:
    (folder / "masks").rename(folder / "gt")
    (folder / "labels").mkdir()


def empty(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        save(path, np.zeros((HEIGHT, WIDTH), np.uint8))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lose, ("p03.png has no mask", "add the missing files")),
        (shrink, ("p04_mask.png has 30 × 52 pixels", "p04.png has 40 × 52", "must be equal")),
        (colour, ("p05_mask.png", "channels differ", "one grey value per class")),
        (blur, ("p06_mask.png", "52 distinct values", "without lossy compression")),
        (index, ("p07_mask.png", "palette image")),
        (cut, ("p08.png", "truncated or damaged")),
        (mix, ("p09_mask.png holds 1, ", "p00_mask.png holds 255", "use one value")),
        (stray, ("p03_mask.png holds 7 (no other mask does, 1 of 24960 pixels", "options classes and values")),
        (rare, ("p01_mask.png holds 9 (2 masks do, 2 of 24960 pixels", "options classes and values")),
        (number, ("numbered objects", "p11_mask.png holds 1 to 14", "p00_mask.png 1 to 3", "if they are classes")),
        (jpeg, ("p00_mask.jpg", "a JPEG mask of ", "threshold: 127")),
        (unmarked, ("no mask holds 0", "p00_mask.png holds 1", "p00_mask.png holds 2")),
        (grade, ("the masks hold 24 distinct values in all", "p00_mask.png holds 0", "p11_mask.png holds 23")),
        (smooth, ("values between 0 and 255 (16, ", "on borders only", "p00_mask.png", "threshold: 127")),
        (void, ("p00_mask.png holds 255 beside 0 to 2", "no class", "if 255 is a class", "classes and values")),
        (colours, ("p07.png: a palette image", "convert it to RGB, or to grey")),
        (copy, ("p00 (", "and p01 (", "are the same image in fold", "keep one")),
        (twice, ("labels", "gt", "two folders of one kind; remove one")),
        (empty, ("every mask holds the value [0] only",)),
    ],
)
def test_a_wrong_folder_is_told_which_file_and_why(
    spoil: Callable[[Path], None], words: tuple[str, ...], tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "mine")
    spoil(folder)
    with pytest.raises(DataError) as caught:
        own.plan_for(folder, places_in(tmp_path))
    assert [word for word in words if word not in str(caught.value)] == []
    assert not (tmp_path / "results").exists()


def test_many_classes_inside_each_other_are_not_taken_for_interpolated(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "mine")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for value in range(1, 8):  # rings two pixels wide: their outer pixels touch no higher value, their inner no lower
        mask[2 * value : HEIGHT - 2 * value, 2 * value : WIDTH - 2 * value] = value
    for path in (folder / "masks").iterdir():
        save(path, mask)
    assert guess(folder).options["values"] == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_folder_of_nnunet_v1_is_told_how_to_convert(tmp_path: Path) -> None:
    msd.write(tmp_path)
    for path in sorted((tmp_path / msd.FOLDER / "imagesTr").iterdir()):
        path.rename(path.with_name(path.name.replace(".nii", "_0000.nii")))
    with pytest.raises(DataError, match=r"hippocampus_001.*nnU-Net v1: convert it with `nnUNetv2_conv") as caught:
        guess(tmp_path / msd.FOLDER)
    assert "fetch it" not in str(caught.value)


def test_a_folder_of_no_known_layout_is_told_what_it_holds_and_what_is_wanted(tmp_path: Path) -> None:
    save(tmp_path / "mine" / "photos" / "a.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "mine" / "train" / "image").mkdir(parents=True)
    with pytest.raises(DataError, match=r"mine: holds train/image/\. Wanted: a folder of images"):
        guess(tmp_path / "mine")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="bare: holds nothing"):
        guess(tmp_path / "bare")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        guess(tmp_path / "nowhere")
    (tmp_path / "bare" / "manifest.csv").write_text("case\n")
    with pytest.raises(DataError, match="write a plan with the dataset csv_manifest"):
        guess(tmp_path / "bare")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "neither 'file_ending'"),
        ("[", "cannot be read as JSON"),
        ('{"training": ["a.nii"]}', "'training' must list"),
    ],
)
def test_a_wrong_descriptor_is_named(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=rf"dataset\.json.*{words}"):
        guess(tmp_path)


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ("labelsTs/heart_105.nii.gz", "labelsTs/heart_105.nii.gz"),
        (
            "labelsTr/heart_003.nii.gz",
            r"labelsTr/heart_003\.nii\.gz; .*, or move the image to imagesUn, where it trains",
        ),
    ],
)
def test_a_missing_file_of_an_nnunet_folder_is_named_by_its_path(gone: str, named: str, tmp_path: Path) -> None:
    nnunet.write(tmp_path)
    (tmp_path / nnunet.FOLDER / gone).unlink()
    with pytest.raises(DataError, match=named):
        guess(tmp_path / nnunet.FOLDER)


def test_images_without_their_label_file_are_told_which_image_is_missing(tmp_path: Path) -> None:
    nnunet.write(tmp_path)
    for channel in (0, 1):
        (tmp_path / nnunet.FOLDER / "imagesTr" / f"heart_004_000{channel}.nii.gz").unlink()
    with pytest.raises(DataError, match=r"imagesTr/heart_004_0000\.nii\.gz; add it"):
        guess(tmp_path / nnunet.FOLDER)


def test_every_case_of_an_nnunet_folder_is_read_before_a_plan_is_written(tmp_path: Path) -> None:
    varied(nnunet.write, tmp_path)
    label = tmp_path / nnunet.FOLDER / "labelsTr_dense" / "heart_010.nii.gz"
    label.write_bytes(label.read_bytes()[:60])
    with pytest.raises(DataError, match=r"heart_010\.nii\.gz.*truncated or damaged"):
        own.plan_for(tmp_path / nnunet.FOLDER, places_in(tmp_path))
    assert not (tmp_path / "results").exists()


def leak(folder: Path) -> None:
    folds = json.loads((folder / "splits_final.json").read_text())
    folds[0]["train"].append(folds[0]["val"][0])
    (folder / "splits_final.json").write_text(json.dumps(folds))


def scribbles_only(folder: Path) -> None:
    shutil.rmtree(folder / "labelsTr_dense")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(leak, "groups in both train and test: heart_003"), (scribbles_only, "nnunet: nothing to test on")],
)
def test_what_is_wrong_with_a_division_is_not_called_too_few_images(
    spoil: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    varied(nnunet.write, tmp_path)
    folder = tmp_path / nnunet.FOLDER
    for name in ("imagesTs", "labelsTs"):
        shutil.rmtree(folder / name)
    spoil(folder)
    with pytest.raises(DataError, match=f"^{words}"):
        own.plan_for(folder, places_in(tmp_path))


def test_too_few_images_are_refused_with_their_number(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="few: too few images or patients: 5 folds need at least as many groups, got 4"
    ):
        own.plan_for(pictures(tmp_path / "few", 4), places_in(tmp_path))
    pictures(tmp_path / "divided" / "train", 3)
    pictures(tmp_path / "divided" / "test", 2, seed=1)
    with pytest.raises(ConfigError, match=r"divided: 2 training image"):  # three train, of which one validates
        own.plan_for(tmp_path / "divided", places_in(tmp_path))


# A plan that is there already ---------------------------------------------------------------------------------------
def test_another_folder_of_the_same_name_has_a_plan_of_its_own(tmp_path: Path) -> None:
    one, other = pictures(tmp_path / "x" / "mine"), pictures(tmp_path / "y" / "mine", 9, seed=1)
    places = places_in(tmp_path)
    first, _ = own.plan_for(one, places)
    before = first.read_text()
    second, remarks = own.plan_for(other, places)
    assert (first.stem, second.stem[:5], first.read_text()) == ("mine", "mine_", before)
    assert f"{first} is for another folder of this name, {one}" in remarks[0]
    assert [plan_file.load(str(p)).images for p in (first, second)] == [str(one), str(other)]
    again = [own.plan_for(folder, places)[0] for folder in (one, other, one.parent / ".." / "x" / "mine")]
    assert again == [first, second, first]
    first.unlink()
    assert own.plan_for(other, places)[0] == second


def test_folders_named_in_other_letters_have_plans_of_their_own(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    heart, lung = (
        own.plan_for(pictures(tmp_path / name, seed=n), places)[0] for n, name in enumerate(("心脏", "肺脏"))
    )
    assert heart != lung
    assert re.fullmatch(r"images_[0-9a-f]{6}", heart.stem)
    plan = plan_file.load(str(heart))
    assert (plan.name, plan.images) == (heart.stem, str(tmp_path / "心脏"))
    assert own.plan_for(tmp_path / "心脏", places)[0] == heart


def test_a_plan_that_does_not_say_its_folder_is_refused_with_the_line_to_add(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "mine")
    path, _ = own.plan_for(folder, places_in(tmp_path))
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("images:")))
    with pytest.raises(ConfigError, match=r"mine\.yaml: does not say which folder .* add the line images: \".*mine\""):
        own.plan_for(folder, places_in(tmp_path))


def third(folder: Path) -> None:
    for place in range(12):
        changed(folder, place, lambda mask: mask[30:35, 30:35].fill(128))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (third, ("unknown label value(s) [128]", "p00")),
        (mix, ("p09_mask.png holds 1",)),
        (stray, ("p03_mask.png holds 7",)),
        (copy, ("are the same image",)),
    ],
)
def test_a_folder_that_its_plan_no_longer_fits_is_refused_with_plan_and_file(
    spoil: Callable[[Path], None], words: tuple[str, ...], tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "mine")
    own.plan_for(folder, places_in(tmp_path))
    spoil(folder)
    with pytest.raises(DataError) as caught:
        own.plan_for(folder, places_in(tmp_path))
    told = ("plans/mine.yaml: its options no longer fit", "delete the plan", *words)
    assert [word for word in told if word not in str(caught.value)] == []


def test_what_a_person_states_in_the_plan_is_not_guessed_again(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "mine")
    path, _ = own.plan_for(folder, places_in(tmp_path))
    jpeg(folder)
    path.write_text(path.read_text().replace('"colour": "rgb"', '"colour": "grey", "threshold": 127'))
    _, remarks = own.plan_for(folder, places_in(tmp_path))
    assert "the plan says colour: grey, the images are rgb" in remarks


def test_a_folder_that_was_looked_through_is_not_read_again_until_it_changes(tmp_path: Path, monkeypatch: Any) -> None:
    def read(*_: Any) -> None:
        raise AssertionError("read again")

    folder = pictures(tmp_path / "mine")
    _, first = own.plan_for(folder, places_in(tmp_path))
    monkeypatch.setattr(own, "guess", read)
    assert own.plan_for(folder, places_in(tmp_path))[1][1:] == first
    pictures(folder, 13)
    with pytest.raises(AssertionError, match="read again"):
        own.plan_for(folder, places_in(tmp_path))


def test_a_plan_without_a_dataset_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "mine")
    path, _ = own.plan_for(folder, places_in(tmp_path))
    path.write_text(path.read_text().replace('"folder": "mine"', '"folder": "other"'))
    with pytest.raises(ConfigError, match=r"mine\.yaml: no dataset of this plan reads the folder"):
        own.plan_for(folder, places_in(tmp_path))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("v{video}_{number:03d}", '(by their names perhaps "^(.+)_", 3 groups, such as v0)'),
        ("v{video}.f{number}", '(by their names perhaps "^(.+)[.]", 3 groups, such as v0)'),
        ("frame_{number}", ""),  # one group
        ("v{number}_{video}", ""),  # as many as there are images
        ("v{number}", ""),
    ],
)
def test_a_pattern_that_makes_groups_of_the_names_is_proposed_and_makes_them(
    name: str, words: str, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "mine")
    for number in range(12):
        for old in (folder / "images" / f"p{number:02d}.png", folder / "masks" / f"p{number:02d}_mask.png"):
            old.rename(old.with_name(f"{name.format(video=number // 4, number=number)}.png"))
    (said,) = (remark for remark in guess(folder).remarks if "stands for itself" in remark)
    assert f"set group_pattern{' ' * bool(words)}{words}, or they" in said
    if words:
        options = ImageFolderOptions(folder="mine", group_pattern=words.split('"')[1])
        assert set(ImageFolder(tmp_path, options).groups().values()) == {"v0", "v1", "v2"}


# The command line ---------------------------------------------------------------------------------------------------
def test_one_command_writes_the_plan_and_runs_it_on_the_folder(tmp_path: Path, monkeypatch: Any) -> None:
    folder, seen = pictures(tmp_path / "mine"), {}
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))

    class Done:
        failed = 0

    monkeypatch.setattr(session, "bench_plan", lambda name, **settings: seen.update(name=name, **settings) or Done())
    result = CliRunner().invoke(
        app, ["bench", "--images", str(folder), "--results", str(tmp_path / "results"), "--redo-stale"]
    )
    assert result.exit_code == 0, result.exception
    assert seen["name"] == str(tmp_path / "results" / "plans" / "mine.yaml")
    assert (seen["data"], seen["redo_stale"]) == (str(tmp_path), True)
    assert "mind: every image stands for itself" in result.stdout


def test_a_folder_and_a_plan_at_once_are_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "mine")
    for words in (["acdc_scribble_small", "--images", str(folder)], ["--images", str(folder), "--data", "x"]):
        result = CliRunner().invoke(app, ["bench", *words, "--results", str(tmp_path)])
        assert isinstance(result.exception, ConfigError)
        assert "leave out the other one" in str(result.exception)
