"""Prototypes and cosine maps without full-resolution features equal those computed with them, gradients included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from datasets.types import IGNORE
from methods.losses.prototypes import (
    class_prototypes,
    confidence_weights,
    cosine_maps,
    upsampled,
    upsampled_at,
    upsampled_squared_norm,
)
from tests.reference import contrast as reference
from tests.reference import oracles

SIZES = [((3, 4), (9, 13)), ((2, 3, 2), (7, 8, 5)), ((1, 2), (4, 4)), ((5, 4), (5, 4)), ((2, 2, 2), (4, 4, 1))]
"""Coarse and fine sizes: enlarged by factors that are no integers, one coarse pixel, the same size, one fine pixel."""


def naive(features: Tensor, space: tuple[int, ...], *, align_corners: bool = False) -> Tensor:
    """The field that is not made: every channel at full resolution; by default edges on edges, as CPCL's code."""
    mode = ("bilinear", "trilinear")[len(space) - 2]
    return F.interpolate(features, size=space, mode=mode, align_corners=align_corners)


@pytest.mark.parametrize(("coarse", "space"), SIZES)
def test_prototypes_equal_those_pooled_from_upsampled_features(coarse: tuple[int, ...], space: tuple[int, ...]):
    features, weight = torch.randn(2, 6, *coarse, requires_grad=True), torch.rand(2, 3, *space)
    found = class_prototypes(features, weight)
    expected = reference.prototypes(naive(features, space).detach().numpy(), weight.numpy())
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("coarse", "space"), SIZES)
def test_cosine_maps_equal_those_of_upsampled_features_and_so_do_their_gradients(
    coarse: tuple[int, ...], space: tuple[int, ...]
):
    features, prototypes = torch.randn(2, 6, *coarse), torch.randn(2, 3, 6)
    gradients = []
    maps = []
    for cosines in (
        lambda f, p: cosine_maps(f, p, space),
        lambda f, p: F.cosine_similarity(naive(f, space)[:, None], p.view(2, 3, 6, *[1] * len(space)), dim=2),
    ):
        f, p = features.clone().requires_grad_(), prototypes.clone().requires_grad_()
        maps.append(cosines(f, p))
        weight = torch.linspace(-1, 1, maps[-1].numel()).view_as(maps[-1])
        gradients.append(torch.autograd.grad((maps[-1] * weight).sum(), (f, p)))
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-4, atol=1e-5)
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize(("coarse", "space"), SIZES)
def test_norms_and_single_pixels_equal_those_of_upsampled_features(
    coarse: tuple[int, ...], space: tuple[int, ...], align: bool
):
    features = torch.randn(2, 6, *coarse)
    field = naive(features, space, align_corners=align)
    torch.testing.assert_close(upsampled(features, space, align_corners=align), field, rtol=1e-4, atol=1e-5)
    norms = upsampled_squared_norm(features, space, align_corners=align)
    torch.testing.assert_close(norms, field.square().sum(1), rtol=1e-4, atol=1e-5)
    index = torch.randint(0, field[0, 0].numel(), (7,))
    expected = field[1].flatten(1)[:, index].T
    found = upsampled_at(features[1], space, index, align_corners=align)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_coarse_position_stands_over_the_pixels_that_it_is_made_of():
    """Of four by four positions each covers four by four pixels; the class of the first is nearest there."""
    features = torch.zeros(1, 2, 4, 4)
    features[:, 0], features[:, :, 0, 0] = 1.0, torch.tensor([0.0, 1.0])
    nearest = cosine_maps(features, torch.eye(2).unsqueeze(0), (16, 16)).argmax(dim=1)[0]
    assert (nearest[:3, :3] == 1).all()
    assert nearest[4:].sum() == nearest[:, 4:].sum() == 0


def test_the_norm_between_two_neighbours_by_hand():
    # along one axis a = (1, 0) and b = (0, 2); halfway (½, 1): squared norm 1.25
    features = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    found = upsampled_squared_norm(features, (1, 3), align_corners=True)
    torch.testing.assert_close(found, torch.tensor([[[1.0, 1.25, 4.0]]]))


def test_prototypes_and_distances_are_the_released_ones():
    names = ("cpcl_features", "cpcl_mask", "cpcl_confidence", "cpcl_prototypes", "cpcl_distance_class1")
    features, mask, confidence, prototypes, distance = oracles.load(*names)
    found = class_prototypes(features, torch.stack([(mask == k) * confidence for k in (0, 1)], dim=1))
    # released: one tensor per class, here one per sample
    torch.testing.assert_close(found.transpose(0, 1).double(), prototypes.double(), rtol=1e-4, atol=1e-6)
    maps = 20 * cosine_maps(features, found, mask.shape[1:])
    torch.testing.assert_close(maps[:, 1].double(), distance.double(), rtol=1e-4, atol=1e-4)


def test_an_absent_class_has_the_prototype_zero_and_cosine_zero_with_a_finite_gradient():
    features = torch.randn(1, 4, 2, 2, requires_grad=True)
    weight = torch.stack([torch.ones(1, 4, 4), torch.zeros(1, 4, 4)], dim=1)
    prototypes = class_prototypes(features, weight)
    assert (prototypes[:, 1] == 0).all()
    maps = cosine_maps(features, prototypes, (4, 4))
    assert (maps[:, 1] == 0).all()
    maps.sum().backward()
    assert features.grad.isfinite().all()


def test_features_of_zero_have_cosine_zero_with_a_finite_gradient():
    features = torch.zeros(1, 4, 2, 2, requires_grad=True)
    maps = cosine_maps(features, torch.ones(1, 2, 4), (4, 4))
    assert (maps == 0).all()
    maps.sum().backward()
    assert features.grad.isfinite().all()


def test_autocast_does_not_coarsen_norms():
    features, prototypes = torch.randn(1, 64, 3, 3), torch.randn(1, 2, 64)
    with torch.autocast("cpu", torch.bfloat16):
        found = cosine_maps(features, prototypes, (6, 6))
    assert torch.equal(found, cosine_maps(features, prototypes, (6, 6)))


def test_confidence_is_the_probability_of_the_label_or_of_the_most_probable_class():
    probs = torch.tensor([0.2, 0.5, 0.3]).view(1, 3, 1, 1).expand(1, 3, 1, 3)
    found = confidence_weights(probs, torch.tensor([[[0, 2, IGNORE]]]))
    assert found[0, :, 0].T.tolist() == [
        pytest.approx([0.2, 0, 0]),
        pytest.approx([0, 0, 0.3]),
        pytest.approx([0, 0, 0]),
    ]
    assert confidence_weights(probs)[0, :, 0, 0].tolist() == pytest.approx([0, 0.5, 0])
