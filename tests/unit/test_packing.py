"""Images in fewer bytes: only where not a bit of any value is lost, whatever the device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.packing import _levels, packed, unpacked
from datasets.store import Canonical, Store
from datasets.types import Case

from .toy_data import toy

GREY = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
PHOTOGRAPH = GREY.astype(np.float32) / 255  # as the datasets of photographs normalise


def test_every_grey_level_comes_back_to_the_last_bit() -> None:
    (small,) = packed([torch.from_numpy(PHOTOGRAPH)])
    assert small.dtype == torch.uint8
    assert torch.equal(unpacked(small), torch.from_numpy(PHOTOGRAPH))
    # what other devices look up
    assert torch.equal(_levels(torch.device("cpu"))[small.long()], torch.from_numpy(PHOTOGRAPH))


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([0.0, 1 / 255, 1.0], torch.uint8),
        ([0.0, np.nextafter(np.float32(1 / 255), np.float32(1))], torch.float32),  # one bit beside a grey level
        ([0.0, 2.0], torch.float16),  # beyond the range of grey levels
        ([-1 / 255], torch.float32),
        ([0.5, 1.0], torch.float16),  # 0.5 is no 255th, and a power of two
        ([0.3], torch.float32),
        ([70000.0], torch.float32),  # infinite as float16
    ],
)
def test_only_what_loses_nothing_is_packed(values: list[float], kept: torch.dtype) -> None:
    image = torch.tensor(values, dtype=torch.float32)
    (small,) = packed([image])
    assert small.dtype == kept
    assert torch.equal(unpacked(small), image)


def test_one_image_that_does_not_fit_keeps_all_as_they_are() -> None:
    images = [torch.from_numpy(PHOTOGRAPH), torch.full((1, 16, 16), 0.3)]
    assert [one.dtype for one in packed(images)] == [torch.float32, torch.float32]


@pytest.mark.parametrize("cached", [False, True])
def test_a_store_of_photographs_takes_a_quarter_and_hands_out_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    dataset = toy(ndim=2, space=(16, 16))
    label = np.zeros((16, 16), np.uint8)
    monkeypatch.setattr(type(dataset), "load", lambda self, key: Case(key, key, PHOTOGRAPH, label))
    keys = list(dataset.groups())[:2]
    for patch, factor in (((16, 16), 1), ((8, 8), 4)):  # resizing makes values between grey levels
        store = Store.open(dataset, keys, Canonical(patch), cache=tmp_path if cached else None)
        pool = store.pool(keys, None)
        assert pool.nbytes == 2 * patch[0] * patch[1] * factor
        assert pool.images(np.arange(2)).dtype == torch.float32
    again = Store.open(dataset, keys, Canonical((16, 16)), cache=tmp_path if cached else None).pool(keys, None)
    assert torch.equal(again.images(np.array([1, 0])), torch.from_numpy(PHOTOGRAPH)[None].repeat(2, 1, 1, 1))
