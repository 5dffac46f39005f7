"""Planted faults are found under their names, all at once, and a sound folder has none."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import datasets
from benchmark import data_verbs
from benchmark.config import ConfigError
from benchmark.seeding import derive
from datasets.base import DataError
from datasets.splits import make_split
from datasets.telling import told
from datasets.together import outlying, turned
from datasets.verify import KINDS, Finding, Report, kind_of, verify
from tests.miniatures import acdc, csv_manifest, mscmr, msd, nnunet
from tests.miniatures.paired_images import save

ALIKE = ("exact_duplicate", "near_duplicate")
"""Cases of the miniatures of volumes are."""
OPTIONS: dict[str, Any] = {"folder": "mine", "patch": (32, 32)}
STEMS = {"train": ("a0", "a1", "b0", "c0", "d0", "e0"), "test": ("x0", "y0", "z0")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Random blocks of 5 × 4 pixels, so that no two images are alike, with a square each."""
    for part, stems in STEMS.items():
        for stem in stems:
            blocks = np.random.default_rng(list(stem.encode())).integers(0, 256, (8, 11, 3)).astype(np.uint8)
            pixels = np.kron(blocks, np.ones((5, 4, 1), np.uint8))
            mask = np.zeros((40, 44), np.uint8)
            mask[5:20, 5:20] = 255
            save(tmp_path / "mine" / part / "image" / f"{stem}.png", pixels)
            save(tmp_path / "mine" / part / "mask" / f"{stem}.png", mask)
    return tmp_path


def place(root: Path, part: str, kind: str, stem: str) -> Path:
    return root / "mine" / part / kind / f"{stem}.png"


def looked_at(root: Path, name: str = "image_folder", **options: Any) -> Report:
    cls = datasets.get(name)
    return verify(cls, root, cls.Options(**((OPTIONS if name == "image_folder" else {}) | options)))


def found(report: Report) -> list[tuple[str, tuple[str, ...]]]:
    return [(finding.kind, finding.where) for finding in report.findings]


def test_a_sound_folder_has_no_finding_and_its_facts_are_counted(root: Path) -> None:
    report = looked_at(root)
    assert found(report) == []
    assert (report.cases, report.groups) == (9, 9)
    # each mask is a square of 15 × 15 on 40 × 44 pixels
    assert report.facts["class shares"]["foreground"] == pytest.approx(225 / 1760)
    assert (report.facts["smallest size"], report.facts["largest size"]) == ([40, 44], [40, 44])


def test_the_same_image_in_train_and_test_is_an_exact_duplicate_even_in_another_file_format(root: Path) -> None:
    place(root, "test", "image", "x0").unlink()
    Image.open(place(root, "train", "image", "b0")).save(root / "mine/test/image/x0.bmp")
    assert found(looked_at(root)) == [("exact_duplicate", ("test/x0", "train/b0"))]


def test_a_slightly_changed_copy_is_a_near_duplicate(root: Path) -> None:
    pixels = np.array(Image.open(place(root, "train", "image", "b0"))).astype(float)
    place(root, "test", "image", "y0").unlink()
    Image.fromarray((0.9 * pixels + 10).astype(np.uint8)).save(root / "mine/test/image/y0.jpg", quality=95)
    assert found(looked_at(root)) == [("near_duplicate", ("test/y0", "train/b0"))]


@pytest.mark.parametrize(("stem", "pattern", "warned"), [("c0", "", True), ("b9", r"^[a-z]", False)])
def test_copies_in_two_training_groups_are_warned_of_because_one_may_validate(
    root: Path, stem: str, pattern: str, warned: bool
) -> None:
    for kind in ("image", "mask"):
        save(place(root, "train", kind, stem), np.array(Image.open(place(root, "train", kind, "b0"))))
    report = looked_at(root, group_pattern=pattern)
    assert found(report) == [("training_duplicate", ("train/b0", f"train/{stem}"))] * warned
    assert report.faults() == []


@pytest.mark.parametrize("part", ["", "val"])
def test_copies_in_training_are_only_warned_of_where_no_fold_parts_them_and_no_list_validates(
    root: Path, part: str
) -> None:
    save(place(root, "train", "image", "c0"), np.array(Image.open(place(root, "train", "image", "b0"))))
    stems = [f"{side}/image/{stem}" for side, names in STEMS.items() for stem in names]
    parts = {stem: stem.split("/")[0] if part else "" for stem in stems} | {"train/image/e0": part}
    lines = [f"{s},{s},{s}.png,{s.replace('image', 'mask')}.png,{p}" for s, p in parts.items()]
    (root / "mine/manifest.csv").write_text("\n".join(["case,group,image,label,part", *lines]))
    kinds = {f.kind for f in looked_at(root, "csv_manifest", **OPTIONS, values=(0, 255)).findings}
    assert kinds == (set() if part else {"exact_duplicate"})


def test_a_photograph_of_one_value_is_constant(root: Path) -> None:
    save(place(root, "train", "image", "c0"), np.full((40, 44, 3), 77, np.uint8))
    assert found(looked_at(root)) == [("constant", ("train/c0",))]


@pytest.mark.parametrize("column", ["image", "label"])
@pytest.mark.parametrize("path", ["{root}/mine/test/image/x0.png", "../elsewhere.png", "test/../../x0.png"])
def test_a_path_in_a_manifest_that_leaves_its_folder_is_refused_with_row_and_column(
    root: Path, column: str, path: str
) -> None:
    row = {"case": "x", "group": "x", "image": "test/image/x0.png", "label": "test/mask/x0.png"}
    row |= {column: path.format(root=root)}
    (root / "mine/manifest.csv").write_text("\n".join([",".join(row), ",".join(row.values())]))
    report = looked_at(root, "csv_manifest", **OPTIONS)
    assert [finding.kind for finding in report.findings] == ["layout"]
    message = report.findings[0].message
    assert f"case 'x' in {root / 'mine/manifest.csv'}: column {column} must be a path below" in message
    assert f"got {row[column]!r}; move or link" in message


def test_cases_with_scribbles_alone_are_said_to_have_no_dense_label(tmp_path: Path) -> None:
    csv_manifest.write(tmp_path)
    only = {"annotations": ("scribble",)}
    csv_manifest.describe(
        tmp_path, csv_manifest.PARTS, label=lambda case: f"drawn/{case}.nii.gz" * (csv_manifest.PARTS[case] != "train")
    )
    nnunet.write(tmp_path)
    (tmp_path / nnunet.FOLDER / "splits_final.json").unlink()
    shutil.rmtree(tmp_path / nnunet.FOLDER / "labelsTr_dense")
    training = [case for case, part in csv_manifest.PARTS.items() if part == "train"]
    for miniature, bare in ((csv_manifest, training), (nnunet, nnunet.TRAINING)):
        cls = datasets.get(miniature.__name__.rsplit(".", 1)[-1])
        dataset = cls(tmp_path, cls.Options(**(miniature.OPTIONS | only)))
        assert dataset.unannotated("dense") == set(bare)
        assert dataset.unannotated("scribble") == set()
        assert {key for key in dataset.groups() if dataset.load(key).label is None} == set(bare)
    with pytest.raises(DataError, match="none of the 6 training groups has a dense label"):
        make_split(dataset.groups(), dataset.partition(1), ratio=0.5, seed=0, unscored=dataset.unannotated("dense"))


def test_several_faults_of_several_files_are_found_in_one_pass(root: Path) -> None:
    whole = place(root, "train", "image", "a0").read_bytes()
    place(root, "train", "image", "a0").write_bytes(whole[: len(whole) // 2])
    mask = np.array(Image.open(place(root, "train", "mask", "b0")))
    save(place(root, "train", "mask", "b0"), np.where(mask, 200, 0).astype(np.uint8))
    save(place(root, "train", "mask", "c0"), mask[:-1])
    Image.fromarray(mask).convert("P").save(place(root, "test", "mask", "z0"))
    save(place(root, "test", "mask", "x0"), mask * 0)
    assert set(found(looked_at(root))) == {
        ("truncated", ("train/a0",)),
        ("unknown_label", ("train/b0",)),
        ("geometry", ("train/c0",)),
        ("palette", ("test/z0",)),
        ("empty_label", ("test/x0",)),
    }


def test_a_group_on_both_sides_is_named(root: Path) -> None:
    for part, stem in (("train", "a1"), ("test", "x0")):
        for kind in ("image", "mask"):
            place(root, part, kind, stem).rename(place(root, part, kind, f"v7-{part}"))
    report = looked_at(root, group_pattern=r"^(v\d)-|^[a-z]\d")
    assert found(looked_at(root)) == []
    assert [finding.kind for finding in report.findings] == ["straddling_group"]
    assert "v7" in report.findings[0].message


@pytest.mark.parametrize(
    ("damage", "kind"),
    [("label_missing", "unpaired"), ("image_missing", "unpaired"), ("listed_twice", "repeated_case")],
)
def test_a_volume_without_its_partner_hides_no_other_case(damage: str, kind: str, tmp_path: Path) -> None:
    msd.write(tmp_path)
    msd.DAMAGES[damage](tmp_path)
    msd.save(tmp_path, "imagesTr", "hippocampus_003", np.zeros((15, 18, 11), np.int16))
    report = looked_at(tmp_path, "msd", **msd.OPTIONS)
    assert [finding.kind for finding in report.faults(ALIKE)] == [kind, "constant"]
    assert report.cases == (7 if kind == "repeated_case" else 6)


def test_channels_and_labels_that_are_missing_hide_no_other_case(tmp_path: Path) -> None:
    nnunet.write(tmp_path)
    nnunet.DAMAGES["channel_missing"](tmp_path)
    (tmp_path / nnunet.FOLDER / "labelsTs" / "heart_102.nii.gz").unlink()
    mscmr.move(tmp_path / nnunet.FOLDER / "labelsTr" / "heart_004.nii.gz", mm=30)
    report = looked_at(tmp_path, "nnunet", **nnunet.OPTIONS)
    kinds = [finding.kind for finding in report.findings]
    assert kinds[:2] == ["unpaired", "unpaired"]
    assert ("geometry", ("heart_004",)) in found(report)
    assert report.cases == 6
    for fold in (1, 2):  # heart_001 is in splits_final.json, and its files are not whole
        assert any(f"fold {fold} lists heart_001" in finding.message for finding in report.findings)


def test_rows_and_subjects_without_a_file_hide_no_other_case(tmp_path: Path) -> None:
    for name, miniature in (("csv_manifest", csv_manifest), ("mscmr", mscmr)):
        miniature.write(tmp_path)
        miniature.DAMAGES["label_missing"](tmp_path)
        report = looked_at(tmp_path, name, **miniature.OPTIONS)
        assert [finding.kind for finding in report.faults(ALIKE)] == ["unpaired"]
        assert report.cases == {"csv_manifest": 7, "mscmr": 8}[name]


def test_scans_that_the_descriptor_does_not_list_are_said(tmp_path: Path) -> None:
    msd.write(tmp_path)
    assert "oddity" not in dict(found(looked_at(tmp_path, "msd", **msd.OPTIONS)))
    msd.write_case(tmp_path, "hippocampus_099", width=13)
    [finding] = [f for f in looked_at(tmp_path, "msd", **msd.OPTIONS).findings if f.kind == "oddity"]
    assert "2 file(s) of imagesTr and labelsTr are not listed" in finding.message
    assert "hippocampus_099.nii.gz" in finding.message


def test_masks_of_1_among_masks_of_255_are_said_with_a_first_of_each(root: Path) -> None:
    path = place(root, "train", "mask", "c0")
    save(path, np.array(Image.open(path)) // 255)
    [finding] = looked_at(root).findings
    assert finding.kind == "oddity"
    assert f"mark with 1 (first {path})" in finding.message
    assert f"with 255 (first {place(root, 'test', 'mask', 'x0')})" in finding.message
    assert found(looked_at(root, threshold=127)) == [("empty_label", ("train/c0",))]


def test_unpaired_files_hide_no_other_fault_and_a_missing_folder_ends_the_search(root: Path, tmp_path: Path) -> None:
    place(root, "train", "mask", "d0").unlink()
    report = looked_at(root)
    assert [finding.kind for finding in report.findings] == ["unpaired"]
    assert "d0.png has no mask" in report.findings[0].message
    assert report.cases == 8
    save(place(root, "train", "mask", "c0"), np.zeros((3, 4), np.uint8))
    assert found(looked_at(root)) == [("unpaired", ()), ("geometry", ("train/c0",))]
    assert [finding.kind for finding in looked_at(tmp_path, folder="elsewhere").findings] == ["missing"]


def test_labels_that_are_all_empty_are_a_fault_of_the_dataset(root: Path) -> None:
    for part, stems in STEMS.items():
        for stem in stems:
            save(place(root, part, "mask", stem), np.zeros((40, 44), np.uint8))
    report = looked_at(root)
    assert [finding.kind for finding in report.faults()] == ["absent_class"]
    assert "no label holds foreground: all labels are empty" in report.faults()[0].message
    assert len(report.findings) == 1 + 9


@pytest.mark.parametrize(
    ("damage", "kind"),
    [("not_a_number", "not_finite"), ("different_spacing", "geometry"), ("constant", "constant"),
     ("truncated", "truncated"), ("negative_label", "unknown_label"), ("no_voxel_size", "spacing"),
     ("negative_voxel_size", "spacing"), ("label_shifted", "geometry"), ("label_flipped", "geometry")],
)  # fmt: skip
def test_faults_of_volumes_keep_their_names_through_the_messages_that_wrap_them(
    damage: str, kind: str, tmp_path: Path
) -> None:
    msd.write(tmp_path)
    msd.DAMAGES[damage](tmp_path)
    assert (kind, ("hippocampus_012",)) in found(looked_at(tmp_path, "msd", **msd.OPTIONS))


def test_a_voxel_size_of_nothing_is_a_fault_of_spacing(tmp_path: Path) -> None:
    acdc.write(tmp_path)
    for number, patient in enumerate(acdc.PATIENTS):
        for frame in (1, 9):
            acdc.write_volume(tmp_path, patient, frame, height=17, spacing=(10.0, 1.5, 0.0 if number == 2 else 1.5))
    wrong = [finding for finding in looked_at(tmp_path, "acdc", partial=True).findings if finding.kind == "spacing"]
    assert [finding.where for finding in wrong] == [("patient021_frame01",), ("patient021_frame09",)]


def rewritten(path: Path, alter: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> None:
    stored = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(*alter(np.asarray(stored.dataobj), np.array(stored.affine))), path)


@pytest.mark.parametrize(("times", "warned"), [(1000, True), (9, False), (1 / 1000, True)])
def test_voxels_far_larger_or_smaller_than_in_other_cases_are_warned_of_by_case(
    tmp_path: Path, times: float, warned: bool
) -> None:
    msd.write(tmp_path)
    for kind in ("imagesTr", "labelsTr"):
        rewritten(tmp_path / msd.FOLDER / kind / "hippocampus_012.nii.gz", lambda v, a: (v, a * times))
    report = looked_at(tmp_path, "msd", **msd.OPTIONS)
    said = [f.message for f in report.findings if f.kind == "outlying_spacing"]
    assert [f.where for f in report.findings if f.kind == "outlying_spacing"] == [("hippocampus_012",)] * warned
    assert all("but 0.8 × 1 × 1.5 mm is the median of the cases" in words for words in said)
    assert report.faults(ALIKE) == []


@pytest.mark.parametrize(("times", "warned"), [(16, True), (257, False)])
def test_photographs_of_12_bits_in_16_bit_files_are_warned_of_with_their_range(
    root: Path, times: int, warned: bool
) -> None:
    for path in sorted(root.glob("mine/*/image/*.png")):
        pixels = np.array(Image.open(path))[..., 0].astype(np.uint16) * times
        pixels[0, :2] = 0, 255 * times
        save(path, pixels)
    report = looked_at(root, colour="grey")
    assert report.faults() == []
    said = [f.message for f in report.findings if f.kind == "narrow_range"]
    assert len(said) == warned
    assert all("between 0 and 0.0623: " in words for words in said)  # 16 × 255 / 65535


def test_volumes_of_another_number_of_axes_have_a_median_of_their_own() -> None:
    planes, volumes = {f"p{n}": (1.0, 1.0) for n in range(3)}, {f"v{n}": (30.0, 1.0, 1.0) for n in range(2)}
    assert outlying(planes | volumes) == {}
    assert list(outlying(planes | volumes | {"p9": (1.0, 0.09)})) == ["p9"]


@pytest.mark.parametrize("name", ["msd", "nnunet"])
def test_slices_of_another_plane_of_the_body_are_warned_of_with_a_file_of_each(tmp_path: Path, name: str) -> None:
    miniature = {"msd": msd, "nnunet": nnunet}[name]
    miniature.write(tmp_path)
    case = {"msd": "hippocampus_012", "nnunet": "heart_004"}[name]
    looked = {"name": name, **miniature.OPTIONS}
    assert "turned_slices" not in dict(found(looked_at(tmp_path, **looked)))
    files = sorted((tmp_path / miniature.FOLDER).glob(f"*Tr*/{case}*"))
    for path in files:  # the last axis becomes the first; header and voxels stay consistent
        rewritten(path, lambda v, a: (v.transpose(2, 0, 1), a[:, [2, 0, 1, 3]]))
    [finding] = [f for f in looked_at(tmp_path, **looked).findings if f.kind == "turned_slices"]
    assert re.search(rf"go feet-head in .* but back-front in .*{case}.* in {len(files)} of", finding.message)


def test_oblique_slices_and_files_without_a_place_are_not_warned_of(tmp_path: Path) -> None:
    msd.write(tmp_path)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(0.9), -np.sin(0.9)], [np.sin(0.9), np.cos(0.9)]]  # 0.9 rad are 52 degrees
    folder = tmp_path / msd.FOLDER / "imagesTr"
    rewritten(folder / "hippocampus_012.nii.gz", lambda v, a: (v, tilt @ a))
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), None), folder / "nowhere.nii")
    (folder / "broken.nii").write_bytes(b"x")
    paths = [tmp_path / "a.png", *sorted(folder.iterdir())]
    assert turned(paths) == ""
    rewritten(folder / "hippocampus_012.nii.gz", lambda v, a: (v, tilt @ a))  # 103 degrees
    assert "hippocampus_012" in turned(paths)


def test_scribbles_that_contradict_the_labels_are_counted(tmp_path: Path) -> None:
    acdc.write(tmp_path)
    acdc.change(tmp_path, "scribble", lambda a: np.where(a == 3, 2, a))
    report = looked_at(tmp_path, "acdc", partial=True)
    label, row = acdc.toy_scan((3, 19, 14), 4, acdc.STAR)[1], 19 // 2
    wrong = int((label[:, row] == 3).sum())  # one line through all classes is scribbled
    assert wrong > 0
    [finding] = [finding for finding in report.findings if finding.kind == "scribble_disagreement"]
    assert finding.message.startswith(f"{wrong} of ")


@pytest.mark.parametrize(("rows", "warned"), [(1, False), (14, False), (17, True)])
def test_scribbles_that_mark_nearly_all_pixels_are_warned_of(rows: int, warned: bool, tmp_path: Path) -> None:
    csv_manifest.write(tmp_path)
    for case in csv_manifest.PARTS:
        path = tmp_path / "mine" / "strokes" / f"{case}.nii.gz"
        label = np.asarray(nibabel.load(tmp_path / "mine" / "drawn" / f"{case}.nii.gz").dataobj).transpose(2, 1, 0)
        drawn = np.arange(label.shape[1])[:, None] < rows  # of 16, 17 or 18
        csv_manifest.save(path, np.where(drawn, label, 255).astype(np.uint8))
    report = looked_at(tmp_path, "csv_manifest", **csv_manifest.OPTIONS)
    odd = [finding.message for finding in report.findings if finding.kind == "oddity"]
    assert any("scribbles mark 9" in words and "option unlabelled" in words for words in odd) == warned


def test_slices_and_scribbled_pixels_are_counted_by_part(tmp_path: Path) -> None:
    acdc.write(tmp_path)
    facts = looked_at(tmp_path, "acdc", partial=True).facts
    depth = 3
    assert facts["slices"] == depth * 2 * len(acdc.PATIENTS)
    tests = sum(patient <= 20 for patient in acdc.PATIENTS)  # of fold 1
    assert facts["test in fold 1"] == f"{2 * tests} cases, {2 * tests * depth} slices"
    assert facts["contradicting scribble pixels"] == 0
    assert 0 < facts["scribbled"] < 0.1  # one row of some 17
    assert sum(facts["scribble shares"].values()) == pytest.approx(1)
    assert facts["scribble shares"] != facts["class shares"]


@pytest.mark.parametrize("cut", [0, 1])
def test_a_copy_of_all_cases_but_other_slices_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    acdc.write(tmp_path)
    cls, cases = datasets.get("acdc"), 2 * len(acdc.PATIENTS)
    monkeypatch.setattr(cls, "card", replace(cls.card, counts={"cases": cases, "slices": 3 * cases + cut}))
    said = [f.message for f in looked_at(tmp_path, "acdc", partial=True).findings if "published copy" in f.message]
    words = f"{3 * cases} slices in all, but {3 * cases + 1} in the published copy: some volume is another"
    assert said == [words] * cut


def test_subjects_that_are_missing_hide_no_other_case(tmp_path: Path) -> None:
    mscmr.write(tmp_path)
    report = looked_at(tmp_path, "mscmr", patch=(32, 32))
    assert [finding.kind for finding in report.faults(ALIKE)] == ["missing"]
    assert "36 of the 45 listed subjects are not in" in report.findings[0].message
    assert report.cases == report.facts["read"] == 9


def test_every_kind_that_is_raised_anywhere_is_explained() -> None:
    package = Path(datasets.__file__).parent
    named = {part.split('"')[0] for path in package.rglob("*.py") for part in path.read_text().split('.of("')[1:]}
    assert named <= set(KINDS)
    assert len(named) > 5


def test_the_kind_of_a_wrapped_error_is_that_of_its_cause() -> None:
    outer = DataError("case 3: broken")
    outer.__cause__ = DataError("broken").of("truncated")
    assert kind_of(outer) == "truncated"
    assert kind_of(ValueError("nothing known")) == "layout"


def test_warnings_and_allowed_kinds_are_no_faults() -> None:
    findings = [Finding("empty_label", (), ""), Finding("near_duplicate", (), ""), Finding("truncated", (), "")]
    report = Report("toy", findings=findings)
    assert [finding.kind for finding in report.faults(("near_duplicate",))] == ["truncated"]


# The command line ---------------------------------------------------------------------------------------------------
def called(*words: object) -> Result:
    return CliRunner().invoke(data_verbs.app, [str(word) for word in words])


def on(root: Path, *more: str) -> Iterable[object]:
    return ("image_folder", "--data", root, "-o", "folder=mine", "-o", "patch=[32, 32]", *more)


def test_the_exit_code_says_whether_the_data_are_sound(root: Path) -> None:
    sound = called("verify", *on(root))
    assert (sound.exit_code, "sound" in sound.stdout) == (0, True)
    save(place(root, "test", "image", "x0"), np.array(Image.open(place(root, "train", "image", "b0"))))
    assert called("verify", *on(root)).exit_code == 1
    assert called("verify", *on(root, "--allow", "exact_duplicate")).exit_code == 0


def test_what_is_wrong_with_many_cases_alike_is_said_once_with_their_names(root: Path) -> None:
    for stem in ("b0", "c0", "d0", "e0"):
        mask = np.array(Image.open(place(root, "train", "mask", stem)))
        save(place(root, "train", "mask", stem), np.where(mask, 201 if stem == "d0" else 200, 0).astype(np.uint8))
    said = called("verify", *on(root)).stdout
    assert said.count("State the values of the classes") == 2  # of 200 and of 201
    assert "(likewise train/c0, train/e0)" in said
    assert "train/mask/d0.png: unknown label value(s) [201]" in said
    assert "unknown_label (4)" in said


def test_cases_of_one_message_are_told_once_and_a_pair_of_images_once_whatever_the_fold() -> None:
    empty = [Finding("empty_label", (f"t/p{n}",), f"t/p{n}: the label is background only") for n in (1, 10, 2, 3)]
    pair = [Finding("exact_duplicate", ("a", "b"), f"a and b are the same image in fold {n}") for n in (1, 2)]
    whole = [Finding("oddity", (), "10 files are not listed"), Finding("oddity", (), "1 file is not listed")]
    assert told([*empty, *pair, *whole], names=2) == [
        "t/p1: the label is background only (likewise t/p10, t/p2 and 1 more)",
        "a and b are the same image in fold 1",
        "10 files are not listed",
        "1 file is not listed",
    ]


def test_json_on_standard_output_names_each_fault_and_its_cases(root: Path) -> None:
    save(place(root, "test", "image", "x0"), np.array(Image.open(place(root, "train", "image", "b0"))))
    content = json.loads(called("verify", *on(root, "--json")).stdout)
    assert content["sound"] is False
    assert [(fault["kind"], fault["where"]) for fault in content["faults"]] == [
        ("exact_duplicate", ["test/x0", "train/b0"])
    ]


def test_a_split_is_written_with_where_it_comes_from_and_equals_that_of_a_plans_cell(root: Path) -> None:
    out = root / "lists" / "split.json"
    assert called("split", *on(root, "--ratio", "0.5", "--seed", "3", "--out", str(out))).exit_code == 0
    content = json.loads(out.read_text())
    cls = datasets.get("image_folder")
    dataset = cls(root, cls.Options(**OPTIONS))
    expected = make_split(dataset.groups(), dataset.partition(1), ratio=0.5, seed=derive(3, "split"))
    assert content["labelled"] == list(expected.labelled)
    assert content["test"] == ["test/x0", "test/y0", "test/z0"]
    provenance = content["provenance"]
    assert provenance["digest"] == expected.digest()
    assert provenance["fingerprint"] == dataset.fingerprint()
    assert (provenance["rule"]["seed"], provenance["rule"]["ratio"], provenance["version"]) == (3, 0.5, cls.version)


def test_a_folder_with_scribbles_alone_is_split_by_those(tmp_path: Path) -> None:
    nnunet.write(tmp_path)
    shutil.rmtree(tmp_path / nnunet.FOLDER / "labelsTr_dense")
    (tmp_path / nnunet.FOLDER / "splits_final.json").unlink()
    options = ("folder=Dataset007_Toy", "patch=[32, 32]", "channels=2", "foreground=3", "annotations=[scribble]")
    words = [part for option in options for part in ("-o", option)]
    shared = (
        "split",
        "nnunet",
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path / "split.json"),
        "--ratio",
        "0.5",
        *words,
    )
    result = called(*shared, "--val-share", "0")
    assert result.exit_code == 0, result.exception
    assert len(json.loads((tmp_path / "split.json").read_text())["labelled"]) == 3
    assert "set val_share: 0" in str(called(*shared, "--val-share", "0.2").exception), "nothing could be scored"


def test_what_is_wrong_on_the_command_line_is_said_with_the_nearest_name(root: Path) -> None:
    for words, message in (
        (("verify", "image_foldr"), "did you mean 'image_folder'"),
        (("verify", *on(root, "-o", "fodler=x")), "unknown key 'fodler'; did you mean 'folder'"),
        (("verify", *on(root, "-o", "folder")), "name=value"),
        (("verify", *on(root, "-o", "patch=32,32")), "write [32,32]; on the command line -o 'patch=[32,32]'"),
        (("verify", *on(root, "--allow", "near_duplicates")), "did you mean 'near_duplicate'"),
        (("split", *on(root, "--out", "x.json", "--ratio", "20")), "ratio must be in"),
    ):
        error = called(*words).exception
        assert isinstance(error, ConfigError)
        assert message in str(error)


@pytest.mark.parametrize("name", datasets.names())
def test_every_card_says_what_a_person_must_know(name: str) -> None:
    result = called("card", name)
    assert result.exit_code == 0, result.exception
    headings = ("source", "licence", "how to get", "layout", "spacing", "protocol", "classes", "samples", "annotations")
    for heading in headings:
        assert any(
            line.startswith(f"{heading}: ") and len(line) > len(heading) + 3 for line in result.stdout.splitlines()
        )
    assert ("known issues:" in result.stdout) == bool(datasets.get(name).card.known_issues)
    assert datasets.get(name).card.known_issues


def test_a_card_is_told_in_words_and_as_json() -> None:
    assert "WSL4MIS" in called("card", "acdc").stdout
    content = json.loads(called("card", "acdc", "--json").stdout)
    assert content["folds"] == 5
    assert content["options"]["protocol"] == "folds"
    assert content["task"]["classes"] == ["background", "RV", "MYO", "LV"]
    assert content["licence"]
