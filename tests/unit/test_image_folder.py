from __future__ import annotations

from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

import datasets
from datasets.base import DataError, Dataset, MissingData
from datasets.io import read_image
from datasets.splits import make_split
from tests.miniatures import image_folder as miniature
from tests.miniatures.paired_images import save, toy_image

REAL = Path(__file__).parents[2].parent / "shared" / "data"


def opened(root: Path, **options: Any) -> Dataset:
    cls = datasets.get("image_folder")
    return cls(root, cls.Options(**(miniature.OPTIONS | options)))


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    miniature.write(tmp_path)
    return tmp_path


@pytest.fixture
def undivided(tmp_path: Path) -> Path:
    for number in range(10):
        image, label = toy_image(14)
        save(tmp_path / "mine" / "images" / f"v{number // 2}_f{number}.png", image)
        save(tmp_path / "mine" / "masks" / f"v{number // 2}_f{number}.png", label)
    return tmp_path


def test_the_division_is_that_of_the_folders_and_there_is_one_fold(divided: Path) -> None:
    dataset = opened(divided)
    assert dataset.partition(1).test == ("test/a03", "test/t01", "test/t02", "test/t03")
    assert len(dataset.partition(1).train) == 8
    assert dataset.folds == 1
    with pytest.raises(ValueError, match="fold must be 1, got 2"):
        dataset.partition(2)


def test_a_validation_folder_is_the_validation_set(divided: Path) -> None:
    miniature.write_pair(divided / "mine" / "val", "v01", height=14)
    assert opened(divided).partition(1).val == ("val/v01",)


@pytest.mark.parametrize("name", ["valid", "Dev", "validation"])
def test_a_validation_folder_of_another_common_name_is_not_lost(name: str, divided: Path) -> None:
    miniature.write_pair(divided / "mine" / name, "v01", height=14)
    assert opened(divided).partition(1).val == ("val/v01",)


def test_two_folders_of_one_part_are_refused(divided: Path) -> None:
    for name in ("val", "valid"):
        miniature.write_pair(divided / "mine" / name, "v01", height=14)
    with pytest.raises(DataError, match=r"mine/val and .*mine/valid are two folders of one kind"):
        opened(divided)


def test_pairs_in_a_part_beside_undivided_ones_are_not_left_out_silently(undivided: Path) -> None:
    miniature.write_pair(undivided / "mine" / "test", "t01", height=14)
    with pytest.raises(DataError, match=r"mine/images is read and .*mine/test/image is not; put all pairs into parts"):
        opened(undivided)


def test_undivided_pairs_make_five_folds_that_together_test_every_group_once(undivided: Path) -> None:
    dataset = opened(undivided, group_pattern=r"^(v\d+)_")
    assert set(dataset.groups().values()) == {"v0", "v1", "v2", "v3", "v4"}
    tested = [group for fold in range(1, 6) for group in dataset.partition(fold).test]
    assert sorted(tested) == ["v0", "v1", "v2", "v3", "v4"]


def test_without_a_pattern_every_image_is_its_own_group(undivided: Path) -> None:
    groups = opened(undivided).groups()
    assert list(groups) == list(groups.values())


def test_a_video_in_train_and_in_test_is_refused_by_name(divided: Path) -> None:
    # a01 and a02 train, a03 tests: they are one video under this pattern
    with pytest.raises(DataError, match="groups in both train and test: a;") as caught:
        opened(divided, group_pattern=r"^[a-z]").partition(1)
    assert caught.value.kind == "straddling_group"


def test_a_stem_that_the_pattern_does_not_find_is_named(divided: Path) -> None:
    with pytest.raises(DataError, match=r"'[a-z]\d\d' of case .* does not match group_pattern"):
        opened(divided, group_pattern=r"video\d+").groups()


def test_every_file_without_its_partner_is_named_at_once(divided: Path) -> None:
    (divided / "mine/train/mask/a02_mask.png").unlink()
    (divided / "mine/train/image/c03.png").unlink()
    with pytest.raises(DataError, match=r"a02\.png has no mask; .*c03_mask\.png has no image") as caught:
        opened(divided).groups()
    assert caught.value.kind == "unpaired"


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("train/image/z.gif", r"train/image/z\.gif: \.gif is not read; convert to PNG"),
        ("train/mask/a01.webp", r"train/mask/a01\.webp: \.webp is not read; convert to PNG"),
        ("test/image/z", r"test/image/z: a file without an ending is not read"),
        ("train/image/z.nii.gz", r"image/z\.nii\.gz: a scan, .* use csv_manifest \(scans: true\) or an nnU-Net folder"),
        ("train/mask/z.nrrd", r"mask/z\.nrrd: a scan, which is not read here; use csv_manifest"),
        ("test/image/sub/z.png", r"test/image/sub/ is not looked into; move its images up"),
    ],
)
def test_what_is_not_read_is_named(file: str, words: str, divided: Path) -> None:
    path = divided / "mine" / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    with pytest.raises(DataError, match=words):
        opened(divided).groups()


def test_what_nobody_would_miss_is_passed_over(divided: Path) -> None:
    before = opened(divided).groups()
    for name in (".DS_Store", "Thumbs.db", "notes.txt", "boxes.csv", "boxes.json", "README.md"):
        (divided / "mine/train/image" / name).write_bytes(b"x")
    (divided / "mine/train/image/empty").mkdir()
    assert opened(divided).groups() == before


def test_an_image_of_another_format_is_not_said_to_be_missing(divided: Path) -> None:
    image = divided / "mine/train/image/a02.png"
    image.rename(image.with_suffix(".webp"))
    with pytest.raises(DataError, match=r"a02\.webp: \.webp is not read") as caught:
        opened(divided).groups()
    assert "has no image" not in str(caught.value)


@pytest.mark.parametrize("names", ["Images Masks", "IMG GT", "images Annotations", "photos ground_truth"])
def test_folders_are_found_by_common_names_in_any_case(names: str, undivided: Path) -> None:
    before = opened(undivided).groups()
    for old, new in zip(("images", "masks"), names.split(), strict=True):
        (undivided / "mine" / old).rename(undivided / "mine" / f"{new}.new").rename(undivided / "mine" / new)
    assert opened(undivided).groups() == before


def test_annotations_beside_masks_are_not_taken_for_masks(undivided: Path) -> None:
    (undivided / "mine" / "annotations").mkdir()
    assert len(opened(undivided).groups()) == 10


def test_a_palette_photograph_is_to_become_rgb_and_not_a_label_map(divided: Path) -> None:
    path = divided / "mine/train/image/a01.png"
    Image.open(path).convert("P").save(path)
    with pytest.raises(DataError, match=r"a01\.png: a palette image .*convert it to RGB, or to grey") as caught:
        opened(divided).load("train/a01")
    assert "classes" not in str(caught.value)


def test_a_palette_mask_is_to_become_grey_and_not_rgb(divided: Path) -> None:
    path = divided / "mine/train/mask/a01_mask.png"
    Image.open(path).convert("P").save(path)
    with pytest.raises(DataError, match=r"a01_mask\.png: a palette image .*save it with one grey value") as caught:
        opened(divided).load("train/a01")
    assert "RGB" not in str(caught.value)


def test_pairs_of_other_names_are_told_of_the_table(divided: Path) -> None:
    path = divided / "mine/train/mask/a02_mask.png"
    path.rename(path.with_name("mask_02.png"))
    with pytest.raises(DataError, match="names can be listed in a table, for the dataset csv_manifest"):
        opened(divided).groups()


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_an_image_that_viewers_turn_is_refused_with_both_ways_out(ending: str, tmp_path: Path) -> None:
    path, tag = tmp_path / f"a.{ending}", Image.Exif()
    for orientation in range(10):
        tag[274] = orientation
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(path, exif=tag)
        if orientation in (0, 1, 9):  # the standard names 1 to 8, of which 1 turns nothing
            assert read_image(path).shape == (4, 5, 3)
            continue
        with pytest.raises(DataError, match=rf"a\.{ending}: .*orientation {orientation}.*-orient.*exiftool") as got:
            read_image(path)
        assert got.value.kind == "geometry"


def test_names_that_only_unicode_tells_apart_are_one(undivided: Path) -> None:
    for number in range(10):
        for kind, form in (("images", "NFC"), ("masks", "NFD")):
            path = undivided / "mine" / kind / f"v{number // 2}_f{number}.png"
            path.rename(path.with_name(normalize(form if number % 2 else "NFC", f"Müller{number // 2}_{number}.png")))
    dataset = opened(undivided, group_pattern=normalize("NFD", "^(Müller[0-9])_"))
    assert list(dataset.groups()) == [normalize("NFC", f"Müller{number // 2}_{number}") for number in range(10)]
    assert len(set(dataset.groups().values())) == 5


def test_two_files_of_one_stem_are_refused(divided: Path) -> None:
    save(divided / "mine/train/image/a02.bmp", toy_image(14)[0])
    with pytest.raises(DataError, match=r"a02\.bmp and .*a02\.png are two files of one case"):
        opened(divided).groups()


def test_two_masks_of_one_image_are_refused(divided: Path) -> None:
    save(divided / "mine/train/mask/a02.png", toy_image(14)[1])
    with pytest.raises(DataError, match=r"a02\.png and .*a02_mask\.png are two files of one case"):
        opened(divided).groups()


def test_two_folders_of_images_are_refused(divided: Path) -> None:
    (divided / "mine/train/images").mkdir()
    with pytest.raises(DataError, match="two folders of one kind"):
        opened(divided)


def test_a_folder_without_pairs_is_missing_data(divided: Path) -> None:
    for kind in ("image", "mask"):
        for path in (divided / "mine/test" / kind).iterdir():
            path.unlink()
    with pytest.raises(MissingData, match=r"no image .*test/image"):
        opened(divided).groups()


def test_three_classes_are_read_by_their_stated_values(divided: Path) -> None:
    label = toy_image(15, classes=3)[1]
    save(divided / "mine/train/mask/a01_mask.png", np.array([10, 130, 250], np.uint8)[label])
    classes = ("background", "nucleus", "border")
    case = opened(divided, classes=classes, values=(10, 130, 250)).load("train/a01")
    assert np.array_equal(case.label, label)
    with pytest.raises(
        DataError, match=r"a01_mask\.png: unknown label value\(s\) \[10, 130, 250\]; allowed are 0 back"
    ):
        opened(divided, classes=classes).load("train/a01")


def test_lossy_masks_are_cut_only_where_a_threshold_is_asked_for(divided: Path) -> None:
    label = toy_image(15)[1]
    save(divided / "mine/train/mask/a01_mask.png", np.where(label, 250, 3).astype(np.uint8))
    with pytest.raises(DataError, match=r"\[3, 250\].*threshold"):
        opened(divided).load("train/a01")
    assert np.array_equal(opened(divided, threshold=127).load("train/a01").label, label)


def test_one_and_255_in_one_mask_are_not_guessed_to_be_the_same(divided: Path) -> None:
    mask = toy_image(15)[1] * 255
    mask[0, 0] = 1
    save(divided / "mine/train/mask/a01_mask.png", mask)
    with pytest.raises(DataError, match=r"a01_mask\.png: \[0, 1, 255\] hold both 1 and 255"):
        opened(divided).load("train/a01")


def test_a_mask_of_three_equal_channels_is_grey_and_a_coloured_one_is_refused(divided: Path) -> None:
    label, path = toy_image(15)[1], divided / "mine/train/mask/a01_mask.png"
    save(path, np.stack([label * 255] * 3, axis=-1))
    assert np.array_equal(opened(divided).load("train/a01").label, label)
    save(path, np.stack([label * 255, label * 0, label * 0], axis=-1))
    with pytest.raises(DataError, match="a coloured mask"):
        opened(divided).load("train/a01")


def test_colours_become_luminance_and_grey_becomes_three_channels_where_asked(divided: Path) -> None:
    path = divided / "mine/train/image/a01.png"
    pixels = np.zeros((15, 17, 3), np.uint8)
    pixels[0, 0] = (255, 0, 0)
    pixels[0, 1] = (255, 255, 255)
    save(path, pixels)
    grey = opened(divided, colour="grey").load("train/a01").image
    assert grey.shape == (1, 15, 17)
    np.testing.assert_allclose(grey[0, 0, :3], [0.299, 1.0, 0.0], atol=1e-6)  # weights of ITU-R BT.601
    save(path, pixels[..., 0])
    rgb = opened(divided).load("train/a01").image
    assert rgb.shape == (3, 15, 17)
    assert rgb[:, 0, 0].tolist() == [1.0, 1.0, 1.0]


def test_sixteen_bit_images_are_scaled_by_their_own_range(divided: Path) -> None:
    path = divided / "mine/train/image/a01.png"
    Image.fromarray(np.full((15, 17), 65535 // 5, np.uint16)).save(path)
    np.testing.assert_allclose(opened(divided).load("train/a01").image, 0.2, rtol=1e-6)  # 13107 / 65535


def test_transparency_is_dropped_only_where_nothing_is_transparent(tmp_path: Path) -> None:
    pixels = np.full((4, 5, 4), 255, np.uint8)
    pixels[1, 2] = (9, 8, 7, 255)
    grey = np.ascontiguousarray(pixels[..., 2:])  # Pillow takes two channels for grey and transparency
    assert np.array_equal(read_image(save(tmp_path / "a.png", pixels)), pixels[..., :3])
    assert np.array_equal(read_image(save(tmp_path / "b.png", grey)), grey[..., 0])
    assert read_image(save(tmp_path / "c.png", pixels[:1])).shape == (1, 5, 3)
    for name, some in {"a": pixels, "b": grey}.items():
        some[0, 0, -1] = 7
        with pytest.raises(DataError, match=rf"{name}\.png: 1 page.*RGBA or LA where nothing is transparent"):
            read_image(save(tmp_path / f"{name}.png", some))


def test_several_pages_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 5), value, np.uint8)) for value in (1, 2)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"stack\.tif: 2 page\(s\)"):
        read_image(tmp_path / "stack.tif")


def test_a_png_cut_anywhere_is_refused_with_its_name(tmp_path: Path) -> None:
    path = save(tmp_path / "case.png", np.random.default_rng(0).integers(0, 255, (20, 20, 3)).astype(np.uint8))
    whole = path.read_bytes()
    for length in range(0, len(whole) - 16, len(whole) // 12):  # the last 16 bytes hold no pixel
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"case\.png: cannot be read as an image.*truncated or damaged"):
            read_image(path)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("folder", "a/b"), ("folder", ""), ("patch", (32,)), ("patch", (0, 32)), ("colour", "blue"),
        ("classes", ("background",)), ("classes", ("a", "a")), ("values", (0,)), ("values", (3, 3)), ("threshold", -1),
        ("threshold", 2**16), ("group_pattern", "("),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        datasets.get("image_folder").Options(**{option: value})


@pytest.mark.data
def test_the_real_nuclei_open_as_they_lie() -> None:
    if not (REAL / "nuclei").is_dir():
        pytest.skip(f"no real nuclei in {REAL / 'nuclei'}")
    dataset = opened(REAL, folder="nuclei", patch=(128, 128))
    part = dataset.partition(1)
    assert (len(part.train), len(part.test)) == (425, 113)
    case = dataset.check(dataset.load("train/00071198d059ba7f"))
    assert case.image.shape[0] == 3
    assert 0 <= case.image.min() < case.image.max() <= 1
    assert case.label is not None
    assert 0 < case.label.mean() < 0.9


# Images without masks -------------------------------------------------------------------------------------------------
def lone(folder: Path, *names: str) -> None:
    for name in names:
        save(folder / f"{name}.png", toy_image(14)[0])


def test_images_in_a_folder_unlabelled_train_without_a_mask_in_every_fold(undivided: Path) -> None:
    before = opened(undivided, group_pattern=r"^(v\d+)_")
    tests = [before.partition(fold).test for fold in range(1, 6)]
    lone(undivided / "mine" / "Unlabeled", "v7_f1", "v7_f2", "v8_f1")
    dataset = opened(undivided, group_pattern=r"^(v\d+)_")
    keys = ("unlabelled/v7_f1", "unlabelled/v7_f2", "unlabelled/v8_f1")
    assert dataset.unannotated("dense") == frozenset(keys)
    assert len(dataset.groups()) == 10 + 3
    assert [dataset.partition(fold).test for fold in range(1, 6)] == tests
    assert all({"v7", "v8"} <= set(dataset.partition(fold).train) for fold in range(1, 6))
    case = dataset.check(dataset.load("unlabelled/v7_f2"))
    assert case.label is None
    assert case.image.shape[1:] == (14, 17)
    assert dataset.fingerprint() != before.fingerprint()


@pytest.mark.parametrize("where", [".", "train"])
def test_beside_a_division_they_train(where: str, divided: Path) -> None:
    before = opened(divided).partition(1)
    lone(divided / "mine" / where / "unlabelled", "a01")
    part = opened(divided).partition(1)
    assert (part.test, part.val) == (before.test, before.val)
    assert set(part.train) - set(before.train) == {"unlabelled/a01"}


def test_they_cannot_test_and_have_one_folder(divided: Path) -> None:
    lone(divided / "mine" / "test" / "unlabelled", "a01")
    with pytest.raises(DataError, match=r"test/unlabelled: images without masks only train; move the folder to .*mine"):
        opened(divided).groups()
    (divided / "mine" / "test" / "unlabelled").rename(divided / "mine" / "unlabelled")
    lone(divided / "mine" / "train" / "unlabeled", "a02")
    with pytest.raises(DataError, match="are two folders of one kind; remove one"):
        opened(divided).groups()


def test_an_image_whose_mask_is_missing_is_not_taken_for_one_of_them(undivided: Path) -> None:
    (undivided / "mine" / "masks" / "v0_f0.png").unlink()
    with pytest.raises(
        DataError, match=r"v0_f0.png has no mask.*to train without a mask belong into a folder unlabelled"
    ):
        opened(undivided).groups()


def test_a_video_of_which_some_frames_are_annotated_teaches_by_these_and_trains_by_the_others(undivided: Path) -> None:
    videos = sorted({path.stem.split("_")[0] for path in (undivided / "mine" / "images").iterdir()})
    lone(undivided / "mine" / "unlabelled", *(f"{video}_f{n}" for video in videos for n in (8, 9)))
    dataset = opened(undivided, group_pattern=r"^(v\d+)_")
    for fold in range(1, 6):
        part = dataset.partition(fold)
        bare = {"unannotated": dataset.unannotated("dense"), "unscored": dataset.unannotated("dense")}
        split = make_split(dataset.groups(), part, ratio=1, seed=0, val_share=0, **bare)
        assert split.labelled_groups == part.train
        assert split.unlabelled == tuple(sorted(f"unlabelled/{video}_f{n}" for video in part.train for n in (8, 9)))
        assert all(dataset.load(key).label is not None for key in (*split.labelled, *split.test))
        assert {dataset.groups()[key] for key in split.test} == set(part.test)
