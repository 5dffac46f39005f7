"""Compiled rotation: the pixels that PyTorch's own takes, and when which of the two is used."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets import rotation
from datasets.types import IGNORE

pytest.importorskip("numba")

ROWS = np.array([0, 2, 3])


def sample(height: int, width: int, channels: int = 1) -> tuple[Tensor, list[Tensor]]:
    image = torch.randn(4, channels, height, width)
    return image, [torch.randint(0, high, (4, height, width), dtype=torch.uint8) for high in (4, 256)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(96, 96), (128, 128), (33, 70), (70, 33), (5, 4), (1, 7)])
def test_a_core_takes_the_pixels_that_pytorch_takes(height: int, width: int, channels: int):
    image, maps = sample(height, width, channels)
    for angles in ([20.0, 7, -13.3, 4.1], [90.0, 7, -180, 45], [1e-3, 7, -20, 19]):
        given = np.array(angles), ROWS, image, maps
        found, turned = rotation.rotate(*given, "linear")
        expected, labels = rotation._at_once(*given, "linear")
        assert found is not None
        assert expected is not None
        # a coordinate of `width` is rounded at width * 2**-24, and neighbours differ by up to 8 standard deviations
        assert (found - expected).abs().max() <= 8 * 4 * max(height, width) * 2**-24
        assert torch.equal(found[1], image[1])
        for one, other in zip(turned, labels, strict=True):
            assert one.dtype == torch.uint8
            assert (one != other).float().mean() < 1e-3  # a place between two pixels may be rounded to either


def test_what_was_given_is_changed_where_that_is_allowed_only():
    image, maps = sample(9, 9)
    before = [image.clone(), *(labels.clone() for labels in maps)]
    found, turned = rotation.rotate(np.full(4, 20.0), ROWS, image, maps, "linear")
    for one, other in zip([image, *maps], before, strict=True):
        assert torch.equal(one, other)
    same, changed = rotation.rotate(np.full(4, 20.0), ROWS, image, maps, "linear", in_place=True)
    assert same is image
    assert found is not None
    for one, other in zip([image, *maps], [found, *turned], strict=True):
        assert torch.equal(one, other)
    assert all(one is other for one, other in zip(maps, changed, strict=True))


def test_label_maps_alone_and_images_alone_may_be_rotated():
    image, maps = sample(9, 9)
    degrees = np.full(4, 20.0)
    both, together = rotation.rotate(degrees, ROWS, image, maps, "linear")
    nothing, alone = rotation.rotate(degrees, ROWS, None, maps, "linear")
    assert nothing is None
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
    assert (alone[0][0] == IGNORE).any()
    one, none = rotation.rotate(degrees, ROWS, image, [], "linear")
    assert none == []
    assert one is not None
    assert both is not None
    assert torch.equal(one, both)


@pytest.mark.parametrize(("labels", "interpolation"), [(torch.int64, "linear"), (torch.uint8, "nearest")])
def test_what_the_loops_were_not_made_for_is_left_to_pytorch(
    labels: torch.dtype, interpolation: str, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*args: object) -> NoReturn:
        raise AssertionError("not for compiled loops")

    monkeypatch.setattr(rotation, "_on_a_core", refuse)
    picture, maps = sample(9, 9)
    found, turned = rotation.rotate(np.full(4, 20.0), ROWS, picture, [maps[0].to(labels)], interpolation)
    assert found is not None
    assert turned[0].dtype == labels
    with pytest.raises(AssertionError, match="compiled loops"):
        rotation.rotate(np.full(4, 20.0), ROWS, picture, maps, "linear")
    monkeypatch.setattr(rotation, "_kernels", lambda: None)  # numba is not installed
    rotation.rotate(np.full(4, 20.0), ROWS, picture, maps, "linear")
