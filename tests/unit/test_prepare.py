"""A cell made ready: places, splits and feeds are the same for every method."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmark import ROOT
from benchmark.prepare import (
    Places,
    _never_relabelled,
    beside_hashes,
    default_places,
    make_feed,
    open_dataset,
    open_store,
    prepare,
    split_of,
)
from datasets.base import MissingData, SealedLabel

from .scribble_toys import method
from .tiny_cells import PHANTOM, places_in, tiny_cell


def test_places_are_the_argument_else_the_environment_else_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BENCH_RESULTS", "BENCH_CACHE", "BENCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    assert default_places() == Places(ROOT / "results", Path("data"), ROOT / ".bench_cache")
    monkeypatch.setenv("BENCH_RESULTS", "/r")
    monkeypatch.setenv("BENCH_CACHE", "/c")
    monkeypatch.setenv("BENCH_DATA", "/d")
    assert default_places() == Places(Path("/r"), Path("/d"), Path("/c"))
    assert default_places("/here", "/there") == Places(Path("/there"), Path("/here"), Path("/c"))


def test_a_place_may_begin_with_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    for name in ("BENCH_RESULTS", "BENCH_CACHE", "BENCH_DATA"):
        monkeypatch.setenv(name, f"~/{name}")
    home = Path("/home/somebody")
    assert default_places() == Places(home / "BENCH_RESULTS", home / "BENCH_DATA", home / "BENCH_CACHE")
    assert default_places("~/d", "~/r") == Places(home / "r", home / "d", home / "BENCH_CACHE")


def test_a_cells_folder_is_its_plan_and_id() -> None:
    cell = tiny_cell()
    assert Places(Path("/r"), Path("/d"), Path("/c")).folder(cell) == Path("/r/tiny") / cell.id


def test_the_split_depends_on_data_amount_seed_and_fold_and_not_on_the_method(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    cell = tiny_cell(ratios=[0.67])
    split = split_of(cell, open_dataset(cell, places))
    for same in (tiny_cell("cps", ratios=[0.67]), tiny_cell("pce", ratios=[0.67]), tiny_cell(ratios=[0.67], steps=9)):
        assert split_of(same, open_dataset(same, places)) == split
    fewer = split_of(tiny_cell(ratios=[0.34]), open_dataset(cell, places))
    assert set(fewer.labelled_groups) < set(split.labelled_groups)
    assert (fewer.val, fewer.test) == (split.val, split.test)
    drawn = {split_of(tiny_cell(seeds=[seed]), open_dataset(cell, places)).labelled_groups for seed in range(12)}
    assert len(drawn) == 3  # each of the three training patients is drawn by some of twelve seeds


def test_everything_before_the_first_step_reads_no_test_label(tmp_path: Path) -> None:
    prepared = prepare(tiny_cell("mean_teacher"), places_in(tmp_path), tmp_path)
    assert prepared.vault.openings == []
    for key in prepared.split.test:
        with pytest.raises(SealedLabel):
            prepared.vault.case(key)


def test_a_method_without_a_validation_case_is_trained_without_validation(tmp_path: Path) -> None:
    assert prepare(tiny_cell(val_share=0), places_in(tmp_path), tmp_path).trainer.validate is None


def test_semi_supervision_without_unlabelled_cases_is_refused_by_name(tmp_path: Path) -> None:
    cell = tiny_cell("cps", ratios=[], labelled=[3])
    dataset, places = open_dataset(cell, places_in(tmp_path)), places_in(tmp_path)
    split = split_of(cell, dataset)
    store = open_store(cell, dataset, split, places.cache)
    with pytest.raises(ValueError, match="cps needs unlabelled cases, but at 3 labelled none is left; lower the ratio"):
        make_feed(cell, dataset, store, split, places, torch.device("cpu"))


def test_the_network_is_the_plans(tmp_path: Path) -> None:
    def parameters(**training: object) -> int:
        method = prepare(tiny_cell(**training), places_in(tmp_path), tmp_path).method
        return sum(p.numel() for p in method.parameters())

    # a network of twice the width has close to four times the weights of its convolutions
    assert 3 < parameters(width=8) / parameters(width=4) < 4


def test_a_training_too_short_for_any_pseudo_label_says_so() -> None:
    released = method("scribble2label", variant="released", period=100)
    assert _never_relabelled(released, 101) == []
    (note,) = _never_relabelled(released, 100)
    assert note.startswith("scribble2label makes no pseudo labels within 100 steps")
    assert _never_relabelled(method("pce"), 1) == [], "it never makes any"
    assert _never_relabelled(method("pce_random_walker"), 1) == [], "before the first step"


def test_a_record_says_where_the_published_first_validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(**training: object) -> list[str]:
        cell = tiny_cell(ratios=[], labelled=[2], **training)
        return [note for note in prepare(cell, places_in(tmp_path), tmp_path).notes if "published list" in note]

    assert said(subset="first") == []  # patients 1 and 2 of the training patients 1, 2, 4 and 5, of whom 4 validates
    cls = type(open_dataset(tiny_cell(), places_in(tmp_path)))
    monkeypatch.setattr(cls, "published_order", lambda self: sorted(set(self.groups().values()), reverse=True))
    (note,) = said(subset="first")
    assert "not the first 2 of the published list: patient004 of them validates" in note
    assert said(subset="first", val_share=0) == said() == []


# What a cell reads beside its own data -------------------------------------------------------------------------------
def test_the_data_that_lend_shapes_are_known_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = places_in(tmp_path)
    lent, held = (
        tiny_cell("mask_mix_adv", datasets=[PHANTOM | {"shapes": shapes}]) for shapes in ("phantom_3d", "held-out")
    )
    before = beside_hashes([tiny_cell(), lent, held], places)
    assert [list(found) for found in before] == [[], ["shapes_data"], []]
    monkeypatch.setattr("datasets.catalogue.phantom_3d.Phantom3D.fingerprint", lambda self: "of other files")
    assert beside_hashes([lent], places) == [{"shapes_data": "of other files"}] != before[1:2]


def test_a_dataset_that_lends_shapes_may_lack_in_a_survey_only(tmp_path: Path) -> None:
    cell, places = tiny_cell("mask_mix_adv", datasets=[PHANTOM | {"shapes": "mscmr"}]), places_in(tmp_path)
    assert beside_hashes([cell], places, may_lack=True) == [{}]
    with pytest.raises(MissingData):
        beside_hashes([cell], places)


def test_weights_that_an_encoder_starts_from_are_known_by_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [tiny_cell(network=f"encoder:toy{end}") for end in ("@pretrained", "")]
    monkeypatch.delenv("BENCH_WEIGHTS", raising=False)
    assert beside_hashes(cells, places_in(tmp_path)) == [{}, {}]  # timm names them
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    found = []
    for content in (b"weights", b"others"):
        (tmp_path / "toy.pth").write_bytes(content)
        pretrained, scratch = beside_hashes(cells, places_in(tmp_path))
        assert (list(pretrained), scratch) == (["weights"], {})
        found.append(pretrained["weights"])
    assert found[0] != found[1]
