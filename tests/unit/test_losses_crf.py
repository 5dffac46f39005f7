"""The pairwise term: two pixels by hand, the naive double loop, finite differences, and what it keeps in memory."""

from __future__ import annotations

import math

import pytest
import torch

from methods.losses import crf
from methods.losses.crf import gated_crf, padding_constant
from tests.reference import oracles
from tests.reference import regularisers as reference

KERNEL = {"radius": 5, "sigma_xy": 6.0, "sigma_intensity": 0.1}
NARROW = {"radius": 2, "sigma_xy": 1.5, "sigma_intensity": 0.4}


@pytest.fixture(params=["loops", "slices"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As on one thread of a CPU, and as everywhere else."""
    if request.param == "loops":
        pytest.importorskip("numba")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1 if request.param == "loops" else 2)
    return request.param


def test_two_neighbours_that_disagree_by_hand():
    # one pair at distance 1 with contrast 0.1: k = exp(-½ (1/36 + 1)), seen from both ends and divided by 2 pixels
    probs = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None, :, None]
    image = torch.tensor([0.5, 0.6])[None, None, None]
    assert gated_crf(probs, image, **KERNEL).item() == pytest.approx(math.exp(-0.5 * (1 / 36 + 1)), rel=1e-5)
    # those that agree cost nothing, and half and half costs half
    assert gated_crf(torch.eye(2)[:1, :, None, None].expand(1, 2, 1, 2), image, **KERNEL).item() == pytest.approx(0)
    half = torch.full((1, 2, 1, 2), 0.5)
    assert gated_crf(half, image, **KERNEL).item() == pytest.approx(0.5 * math.exp(-0.5 * (1 / 36 + 1)), rel=1e-5)


@pytest.mark.parametrize("kernel", [KERNEL, NARROW])
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_the_naive_double_loop(kernel: dict, channels: int):
    probs, image = torch.rand(2, 3, 6, 6).softmax(dim=1), 0.3 * torch.rand(2, channels, 6, 6)
    expected = reference.gated_crf(probs.numpy(), image.numpy(), **kernel)
    assert gated_crf(probs, image, **kernel).item() == pytest.approx(expected, rel=1e-5)


def test_the_window_may_be_larger_than_the_image():
    # a radius of 5 in 2 x 3 pixels: every pair of pixels, the slow reference agrees
    probs, image = torch.rand(1, 2, 2, 3).softmax(dim=1), 0.2 * torch.rand(1, 1, 2, 3)
    expected = reference.gated_crf(probs.numpy(), image.numpy(), **KERNEL)
    assert gated_crf(probs, image, **KERNEL).item() == pytest.approx(expected, rel=1e-5)


def test_gradient_is_that_of_finite_differences():
    logits = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    image = 0.3 * torch.rand(2, 1, 6, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: 3 * gated_crf(z.softmax(dim=1), image, **NARROW), logits)


def test_a_kernel_in_which_no_neighbour_counts_is_refused():
    probs, image = torch.rand(1, 2, 4, 4).softmax(dim=1), torch.rand(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"sigma_xy = 0.1 pixels leaves the nearest neighbour no weight"):
        gated_crf(probs, image, radius=2, sigma_xy=0.1, sigma_intensity=0.1)
    assert gated_crf(probs, image, radius=2, sigma_xy=0.3, sigma_intensity=0.5) > 0


def test_a_volume_of_one_slice_is_that_slice():
    probs, image = torch.rand(2, 3, 6, 6).softmax(dim=1), torch.rand(2, 1, 6, 6)
    flat = gated_crf(probs, image, **NARROW)
    for axis in (2, 3, 4):
        assert gated_crf(probs.unsqueeze(axis), image.unsqueeze(axis), **NARROW).item() == pytest.approx(flat.item())


def test_gradient_in_a_volume_is_that_of_finite_differences():
    logits = torch.randn(1, 2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    image = 0.3 * torch.rand(1, 1, 3, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: gated_crf(z.softmax(dim=1), image, **NARROW), logits)


def value_and_gradient(
    way, probs: torch.Tensor, image: torch.Tensor, kernel: dict
) -> tuple[torch.Tensor, torch.Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 1 if way == "loops" else 2)
        probs = probs.detach().requires_grad_()
        term = gated_crf(probs, image, **kernel)
        (gradient,) = torch.autograd.grad(3 * term, probs)
        return term.detach(), gradient


def everywhere(probs: torch.Tensor, image: torch.Tensor, kernel: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and gradient in float64, from all kernels at once."""
    places = torch.cartesian_prod(*(torch.arange(side) for side in probs.shape[2:])).double()
    apart = places[:, None] - places
    near = (apart.abs().amax(dim=-1) <= kernel["radius"]) & (apart != 0).any(dim=-1)
    flat, grey = probs.detach().double().flatten(2).requires_grad_(), image.double().flatten(2)
    contrast = (grey[..., :, None] - grey[..., None, :]).square().sum(dim=1)
    distance = apart.square().sum(dim=-1)
    kernels = near * torch.exp(-0.5 * (distance / kernel["sigma_xy"] ** 2 + contrast / kernel["sigma_intensity"] ** 2))
    term = (kernels * (1 - flat.transpose(1, 2) @ flat)).sum() / kernels.shape[:2].numel()
    (gradient,) = torch.autograd.grad(3 * term, flat)
    return term.detach(), gradient.view(probs.shape)


LARGE = {"radius": 30, "sigma_xy": 4.0, "sigma_intensity": 0.2}
SHARP = {"radius": 3, "sigma_xy": 6.0, "sigma_intensity": 0.003}


@pytest.mark.parametrize("kernel", [KERNEL, NARROW, LARGE, SHARP])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "shape",
    [(2, 4, 19, 37), (1, 2, 40, 3), (2, 3, 1, 25), (2, 3, 25, 1), (1, 2, 1, 1), (2, 2, 5, 7, 6), (1, 3, 9, 2, 1)],
)
def test_value_and_gradient_are_those_of_all_pairs_in_double(
    shape: tuple[int, ...], channels: int, kernel: dict, way: str
):
    probs, image = torch.randn(shape).softmax(dim=1), 0.4 * torch.rand(shape[0], channels, *shape[2:])
    value, gradient = value_and_gradient(way, probs, image, kernel)
    exact, gradient_exact = everywhere(probs, image, kernel)
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-9)
    largest = gradient_exact.abs().max().item()
    torch.testing.assert_close(gradient.double(), gradient_exact, rtol=1e-5, atol=1e-6 * largest + 1e-30)


@pytest.mark.parametrize("shape", [(3, 4, 64, 50), (2, 3, 12, 20, 14)])  # more pixels than are looked at together
def test_loops_agree_with_slices_whatever_the_layout(shape: tuple[int, ...]):
    pytest.importorskip("numba")
    probs, image = torch.randn(shape).softmax(dim=1), torch.rand(shape[0], 2, *shape[2:])
    expected, gradient = value_and_gradient("slices", probs, image, KERNEL)
    _, again = value_and_gradient("loops", probs, image, KERNEL)
    last = probs.movedim(1, -1).contiguous().movedim(-1, 1)
    turned = probs.transpose(-1, -2).contiguous().transpose(-1, -2)
    for given, seen in ((probs, image), (last, image.transpose(0, 1).contiguous().transpose(0, 1)), (turned, image)):
        value, found = value_and_gradient("loops", given, seen, KERNEL)
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
        torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-6 * gradient.abs().max().item())
        assert torch.equal(found, again)


def test_loops_are_called_where_they_fit_and_only_there(way: str, monkeypatch: pytest.MonkeyPatch):
    called, real = [], crf._pulled_by_loops
    monkeypatch.setattr(crf, "_pulled_by_loops", lambda *given: (called.append(1), real(*given))[1])
    probs, image = torch.rand(1, 2, 4, 4), torch.rand(1, 1, 4, 4)
    gated_crf(probs, image, **NARROW)
    assert bool(called) == (way == "loops")
    gated_crf(probs.double(), image, **NARROW)
    gated_crf(probs.expand(2, -1, -1, -1), image, **NARROW)  # one image for all
    monkeypatch.setattr(crf, "_compiled", lambda: None)  # numba is not installed
    gated_crf(probs, image, **NARROW)
    assert len(called) == (way == "loops")


def test_backward_keeps_one_map_and_nothing_per_neighbour():
    kept = []
    probs = torch.rand(2, 3, 12, 12, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        gated_crf(probs, torch.rand(2, 1, 12, 12), **KERNEL)
    assert kept == [probs.numel()]


def test_the_layout_of_memory_does_not_matter():
    probs, image = torch.rand(2, 3, 8, 8).softmax(dim=1), torch.rand(2, 3, 8, 8)
    last = {"memory_format": torch.channels_last}
    expected = gated_crf(probs, image, **NARROW)
    assert gated_crf(probs.to(**last), image.to(**last), **NARROW).item() == pytest.approx(expected.item())


def test_half_precision_is_computed_in_float32():
    probs, image = torch.rand(1, 2, 8, 8).bfloat16(), torch.rand(1, 1, 8, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = gated_crf(probs, image, **KERNEL)
    assert value.dtype == torch.float32
    assert value.item() == gated_crf(probs.float(), image.float(), **KERNEL).item()


def test_the_released_padding_adds_a_constant():
    probs, image = torch.rand(2, 3, 6, 7).softmax(dim=1), 0.3 * torch.rand(2, 1, 6, 7)
    padded = reference.gated_crf(probs.numpy(), image.numpy(), **KERNEL, padded=True)
    ours = gated_crf(probs, image, **KERNEL) + padding_constant(image, **KERNEL)
    assert ours.item() == pytest.approx(padded, rel=1e-5)


def test_the_released_constant_of_a_black_pixel_by_hand():
    # 1 x 1 pixel at coordinates (0, 0): all 120 neighbours are outside, k = 1 for each
    assert padding_constant(torch.zeros(1, 1, 1, 1), **KERNEL).item() == pytest.approx(120)


def test_agrees_with_the_released_code_in_value_and_gradient():
    logits, image, value, gradient = oracles.load("logits_square", "image_square", "gated_crf", "grad_gated_crf")
    logits.requires_grad_()
    term = gated_crf(logits.softmax(dim=1), image, **KERNEL) + padding_constant(image, **KERNEL)
    oracles.close_with_gradient(term, logits, value, gradient)
