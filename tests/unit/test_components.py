"""Largest components of label maps: by hand and by a flood fill."""

from __future__ import annotations

import pytest
import torch

from methods.components import _by_boxes, _kept, largest_components
from tests.reference import shapes as reference


def drawn(*rows: str) -> torch.Tensor:
    return torch.tensor([[[int(c) for c in row] for row in rows]])


def test_the_largest_part_stays_and_corners_connect():
    label = drawn("110001", "001001", "000000", "100011")
    expected = drawn("110000", "001000", "000000", "000000")
    assert torch.equal(largest_components(label), expected)


def test_each_class_keeps_its_own_and_classes_do_not_connect():
    label = drawn("1122", "1000", "0002", "1002")
    expected = drawn("1122", "1000", "0000", "0000")
    # class 2: two parts of two pixels each, the first in raster order stays
    assert torch.equal(largest_components(label), expected)


def test_an_empty_map_stays_empty_and_the_input_as_it_was():
    empty = torch.zeros(2, 3, 4, dtype=torch.int64)
    assert torch.equal(largest_components(empty), empty)
    label = drawn("101")
    largest_components(label)
    assert torch.equal(label, drawn("101"))


@pytest.mark.parametrize("shape", [(3, 9, 8), (2, 5, 6, 4), (4, 40, 31), (2, 14, 9, 17), (1, 1, 7), (2, 3, 1, 5)])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.95])
def test_the_compiled_loop_finds_what_scipy_finds(shape: tuple[int, ...], share: float):
    pytest.importorskip("numba")
    for classes in (2, 5):
        label = torch.randint(0, classes, shape) * (torch.rand(shape) < share)
        assert torch.equal(largest_components(label), torch.from_numpy(_by_boxes(label.numpy())))
        assert largest_components(label.to(torch.uint8)).dtype == torch.uint8


@pytest.mark.skipif(not torch.cuda.is_available(), reason="labels on a GPU: no CUDA device here")
@pytest.mark.parametrize("shape", [(3, 9, 8), (2, 5, 6, 4), (12, 256, 256), (2, 112, 112, 80), (1, 1, 7)])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_gpu_finds_the_same_without_the_host_waiting(shape: tuple[int, ...], share: float):
    label = torch.randint(0, 4, shape) * (torch.rand(shape) < share)
    on_gpu = label.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = largest_components(on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(found.cpu(), largest_components(label))


@pytest.mark.parametrize("shape", [(3, 9, 8), (2, 5, 6, 4)])
def test_of_components_that_a_gpu_found_the_largest_are_kept(shape: tuple[int, ...]):
    label = torch.randint(0, 4, shape) * (torch.rand(shape) < 0.5)
    places = torch.arange(label.numel()).view(shape)
    root = places.clone()
    for n in range(shape[0]):
        for k in range(1, 4):
            for part in reference.components((label[n] == k).numpy()):
                at = tuple(torch.tensor(axis) for axis in zip(*part, strict=True))
                root[n][at] = places[n][at].min()
    assert torch.equal(_kept(label, root.flatten()), largest_components(label))


@pytest.mark.parametrize("shape", [(3, 9, 8), (2, 5, 6, 4)])
def test_components_equal_a_flood_fill(shape: tuple[int, ...]):
    label = torch.randint(0, 4, shape) * (torch.rand(shape) < 0.5)
    expected = torch.zeros_like(label)
    for n in range(shape[0]):
        for k in range(1, 4):
            parts = reference.components((label[n] == k).numpy())
            for at in max(parts, key=len, default=()):
                expected[(n, *at)] = k
    assert torch.equal(largest_components(label), expected)
