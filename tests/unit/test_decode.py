"""Decoding ahead: in several processes, once, and from where it was stopped; the same samples as decoding in a run."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import datasets
from benchmark import data_verbs, preflight
from benchmark.config import ConfigError
from benchmark.prepare import open_dataset, open_store, split_of
from datasets import decode as decoding
from datasets.base import DataError, Dataset
from datasets.canonical import Canonical
from datasets.decode import decode_apart, piece_file, pieces_of, stem_of
from datasets.store import Store
from tests.miniatures import msd as miniature

from .tiny_cells import PHANTOM, places_in, tiny_plan

GRID = Canonical((16, 16, 16))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    miniature.write(tmp_path)
    return tmp_path


@pytest.fixture
def one_thread(monkeypatch: Any) -> None:
    """A thread of this process in place of others: as correct, and it needs no second to begin."""

    def pool(workers: int, context: object, begin: Any, arguments: Any) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, initializer=begin, initargs=arguments)

    monkeypatch.setattr(decoding, "ProcessPoolExecutor", pool)


def opened(root: Path) -> Dataset:
    cls = datasets.get("msd")
    return cls(root, cls.Options(**miniature.OPTIONS))


def apart(root: Path, keys: list[str], others: list[str] | None = None, opener: Any = None) -> int:
    return decode_apart(opener or partial(opened, root), keys, others or [], GRID, root / "cache", workers=2)


def same(one: Store, other: Store, keys: list[str]) -> bool:
    first, second = one.pool(keys, "dense"), other.pool(keys, "dense")
    starts = np.zeros((len(first), 3), int)
    rows = np.arange(len(first))
    return (
        first.sample_keys == second.sample_keys
        and first.groups == second.groups
        and torch.equal(first.images(rows, starts), second.images(rows, starts))
        and torch.equal(first.labels(rows, starts), second.labels(rows, starts))
    )


@pytest.mark.usefixtures("one_thread")
def test_a_store_of_pieces_holds_what_a_store_that_decodes_holds_and_the_pieces_go(root: Path) -> None:
    dataset, cache = opened(root), root / "cache"
    keys = list(dataset.groups())[:4]
    assert apart(root, keys) == 4
    pieces = pieces_of(stem_of(dataset, keys, GRID, cache))
    assert len(list(pieces.iterdir())) == 4
    assert not Store.kept(dataset, keys, GRID, cache)
    made = Store.open(dataset, keys, GRID, cache=cache)
    assert same(made, Store.open(dataset, keys, GRID, cache=None), keys)
    assert Store.kept(dataset, keys, GRID, cache)
    assert not pieces.exists()


@pytest.mark.usefixtures("one_thread")
def test_the_store_takes_the_pieces_and_does_not_read_their_files_again(root: Path) -> None:
    dataset = opened(root)
    keys = list(dataset.groups())[:3]
    apart(root, keys)
    dataset.load = lambda key: pytest.fail(f"{key} was decoded again")  # type: ignore[method-assign]
    Store.open(dataset, keys, GRID, cache=root / "cache")


@pytest.mark.usefixtures("one_thread")
def test_what_was_decoded_before_a_stop_is_left_alone(root: Path) -> None:
    keys = list(opened(root).groups())
    damaged = miniature.DAMAGES["truncated"]
    whole = (root / miniature.FOLDER / "imagesTr" / "hippocampus_012.nii.gz").read_bytes()
    damaged(root)  # hippocampus_012, the fifth of seven: the search ends there
    with pytest.raises(DataError, match="hippocampus_012"):
        apart(root, keys)
    path = root / miniature.FOLDER / "imagesTr" / "hippocampus_012.nii.gz"
    stem = stem_of(opened(root), keys, GRID, root / "cache")
    done = {key for key in keys if piece_file(pieces_of(stem), key).exists()}
    assert {"hippocampus_001", "hippocampus_003"} <= done < set(keys)
    stat = path.stat()
    path.write_bytes(whole)  # mended: other content, so that everything is decoded anew
    assert path.stat().st_size != stat.st_size
    assert apart(root, keys) == 7
    assert apart(root, keys) == 0
    piece_file(pieces_of(stem_of(opened(root), keys, GRID, root / "cache")), keys[2]).unlink()  # as if killed
    assert apart(root, keys) == 1


@pytest.mark.usefixtures("one_thread")
def test_cases_of_no_store_are_checked_too(root: Path) -> None:
    keys = list(opened(root).groups())
    miniature.DAMAGES["unknown_label"](root)
    kept = [key for key in keys if key != "hippocampus_012"]
    assert apart(root, kept[:3], kept[3:]) == 6
    with pytest.raises(DataError, match="unknown label"):
        apart(root, kept[:3], [*kept[3:], "hippocampus_012"])


class _Interrupted:
    """Opens the dataset so that a run makes the whole entry while one case is being read."""

    def __init__(self, root: Path, keys: list[str], at: str) -> None:
        self.root, self.keys, self.at = root, keys, at

    def __call__(self) -> Dataset:
        dataset = opened(self.root)
        load = dataset.load

        def watched(key: str) -> Any:
            if key == self.at:
                Store.open(opened(self.root), self.keys, GRID, cache=self.root / "cache")
            return load(key)

        dataset.load = watched  # type: ignore[method-assign]
        return dataset


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("at", range(7))
def test_a_run_that_makes_the_entry_meanwhile_stops_nothing_and_leaves_no_piece(at: int, root: Path) -> None:
    keys, cache = list(opened(root).groups()), root / "cache"
    stored, others = keys[:4], keys[4:]
    assert apart(root, stored, others, _Interrupted(root, stored, keys[at])) == 7
    made = Store.open(opened(root), stored, GRID, cache=cache)  # as at the end of decoding ahead
    assert not pieces_of(stem_of(opened(root), stored, GRID, cache)).exists()
    assert same(made, Store.open(opened(root), stored, GRID, cache=None), stored)


@pytest.mark.usefixtures("one_thread")
def test_a_piece_whose_folder_goes_while_it_is_written_is_lost_and_stops_nothing(root: Path, monkeypatch: Any) -> None:
    dataset, cache = opened(root), root / "cache"
    keys = list(dataset.groups())[:3]
    pieces = pieces_of(stem_of(dataset, keys, GRID, cache))
    replace, gone = os.replace, []

    def late(source: str, target: Path) -> None:
        if Path(target).parent == pieces and not gone:
            shutil.rmtree(pieces)
            gone.append(target)
        replace(source, target)

    monkeypatch.setattr("datasets.cache.os.replace", late)
    assert apart(root, keys) == 3
    assert gone == [piece_file(pieces, keys[0])]
    assert len(list(pieces.iterdir())) == 2
    assert same(Store.open(dataset, keys, GRID, cache=cache), Store.open(dataset, keys, GRID, cache=None), keys)


@pytest.mark.usefixtures("one_thread")
def test_pieces_left_beside_a_whole_entry_go_when_it_is_opened(root: Path) -> None:
    dataset, cache = opened(root), root / "cache"
    keys = list(dataset.groups())[:2]
    Store.open(dataset, keys, GRID, cache=cache)
    apart(root, keys)  # whoever decoded ahead was killed after that
    Store.open(dataset, keys, GRID, cache=cache)
    assert not pieces_of(stem_of(dataset, keys, GRID, cache)).exists()


@pytest.mark.slow
def test_several_processes_decode_the_same(root: Path) -> None:
    dataset = opened(root)
    keys = list(dataset.groups())
    assert apart(root, keys[:5], keys[5:]) == 7
    made = Store.open(dataset, keys[:5], GRID, cache=root / "cache")
    assert same(made, Store.open(dataset, keys[:5], GRID, cache=None), keys[:5])


# Cells and the verb -------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("one_thread")
def test_cells_find_decoded_what_was_decoded_ahead_and_all_cases_checked(tmp_path: Path, monkeypatch: Any) -> None:
    places, said = places_in(tmp_path), []
    weak = PHANTOM | {"weak": "points"}
    cells = list(tiny_plan(datasets=[PHANTOM, weak], methods=["pce"], ratios=[0.34, 1.0], seeds=[0, 1]).cells())
    # six phantoms: two test, one validates, three train, of each seed and ratio alike; then the three with points
    assert preflight.decode_ahead(cells, places, workers=1, say=said.append) == 6 + 3
    assert said == [f"phantom_2d: 3 cases of fold 1 decoded for {(32, 32)}"] * 2
    assert preflight.decode_ahead(cells, places, workers=1) == 0
    monkeypatch.setattr(decoding, "decode", lambda *_: pytest.fail("decoded again"))
    for cell in cells:
        dataset = open_dataset(cell, places)
        open_store(cell, dataset, split_of(cell, dataset), places.cache)
    preflight.check(cells, places, lambda line: pytest.fail(line) if "checking" in line else None)


@pytest.mark.usefixtures("one_thread")
def test_a_dataset_or_a_plan_is_prepared_by_its_name(root: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(root / "cache"))
    words = ["prepare", "msd", "--data", str(root), "-o", "patch=[16, 16, 16]", "--workers", "1"]
    first, again = (CliRunner().invoke(data_verbs.app, words) for _ in range(2))
    assert (first.exit_code, again.exit_code) == (0, 0), first.exception
    assert "7 cases read" in first.stdout
    assert "nothing left to do" in again.stdout
    plan = root / "mine.yaml"
    plan.write_text(
        "protocol: none\nmethods: [supervised]\nratios: [1.0]\nbounds: false\n"
        "datasets: [{name: msd, options: {patch: [16, 16]}}]\ntraining: {steps: 2}\n"
    )
    done = CliRunner().invoke(data_verbs.app, ["prepare", str(plan), "--data", str(root), "--workers", "1"])
    assert done.exit_code == 0, done.exception
    assert "decoded for (16, 16)" in done.stdout
    refused = CliRunner().invoke(data_verbs.app, ["prepare", str(plan), "-o", "channel=1"])
    assert isinstance(refused.exception, ConfigError)
