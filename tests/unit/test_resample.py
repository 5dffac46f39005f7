"""One convention for images and label maps: half-pixel centres."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.resample import resize, resize_labels

sides = st.integers(1, 9)


def slow_nearest(values: np.ndarray, n_out: int) -> np.ndarray:
    """Output pixel i covers [i, i + 1) / n_out of the extent; take the input pixel that holds the middle of that."""
    n_in = len(values)
    return np.array(
        [values[next(k for k in range(n_in) if (2 * i + 1) * n_in < 2 * n_out * (k + 1))] for i in range(n_out)]
    )


def slow_linear(values: np.ndarray, n_out: int) -> np.ndarray:
    """``np.interp`` between pixel centres at (k + 1/2) / n, constant beyond the first and last."""
    centres = (np.arange(len(values)) + 0.5) / len(values)
    return np.interp((np.arange(n_out) + 0.5) / n_out, centres, values)


@settings(deadline=None)
@given(sides, sides)
def test_nearest_takes_the_pixel_that_holds_the_point(n_in: int, n_out: int) -> None:
    values = np.arange(n_in)
    assert resize_labels(torch.from_numpy(values)[None], (n_out,))[0].tolist() == slow_nearest(values, n_out).tolist()


@settings(deadline=None)
@given(sides, sides)
def test_linear_is_interpolation_between_pixel_centres(n_in: int, n_out: int) -> None:
    values = np.random.default_rng(n_in).random(n_in)
    resized = resize(torch.from_numpy(values)[None, None], (n_out,))[0, 0]
    np.testing.assert_allclose(resized, slow_linear(values, n_out), atol=1e-12)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_axes_are_resized_independently_in_2d_and_3d(mode: str) -> None:
    # Both maps are products of one-axis maps, so resizing a product of two lines gives the product of resized lines.
    rng = np.random.default_rng(0)
    lines, sizes = [rng.random(n) for n in (5, 4, 7)], (3, 6, 9)
    slow = slow_linear if mode == "linear" else slow_nearest
    for ndim in (2, 3):
        volume = lines[0][:, None] * lines[1] if ndim == 2 else lines[0][:, None, None] * lines[1][:, None] * lines[2]
        expected = [slow(line, size) for line, size in zip(lines[:ndim], sizes, strict=False)]
        outer = expected[0][:, None] * expected[1]
        outer = outer if ndim == 2 else outer[..., None] * expected[2]
        resized = resize(torch.from_numpy(volume)[None, None], sizes[:ndim], mode)[0, 0]
        np.testing.assert_allclose(resized, outer, atol=1e-12)


def test_label_maps_keep_their_type_and_gain_no_value() -> None:
    labels = torch.tensor([[[0, 255], [2, 1]]], dtype=torch.uint8)
    resized = resize_labels(labels, (5, 3))
    assert resized.dtype == torch.uint8
    assert set(resized.unique().tolist()) == {0, 1, 2, 255}


def test_the_same_size_gives_the_same_tensor() -> None:
    image = torch.rand(1, 1, 4, 5)
    assert resize(image, (4, 5)) is image


def test_a_linear_image_and_its_nearest_label_stay_within_half_a_pixel() -> None:
    # Image and label both hold the pixel's own position; shrunk or grown, they must point to the same place.
    position = torch.arange(10)
    for size in (4, 7, 10, 23):
        image = resize(position[None, None].double(), (size,))[0, 0]
        label = resize_labels(position[None], (size,))[0]
        assert (image - label).abs().max() <= 0.5


@pytest.mark.parametrize("size", [(4,), (4, 0), (4, 4, 4)])
def test_sizes_that_do_not_fit_are_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="give 2 sizes >= 1"):
        resize(torch.rand(1, 1, 3, 3), size)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'cubic'"):
        resize(torch.rand(1, 1, 3, 3), (4, 4), "cubic")
