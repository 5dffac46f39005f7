"""Dense contrasts: hand-derived values, a slow reference, the released numbers, and what gradient does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from methods.losses import pixel_contrast
from methods.losses.pixel_contrast import pooled, position_contrast, repulsion
from tests.reference import two_views as reference
from tests.reference.oracles import load

TAU = 0.07


def orthogonal(n: int, space: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Random vectors of which those of one map have no channel in common with those of the other."""
    query, key = (torch.rand(n, 3, *space) for _ in range(2))
    return torch.cat([query, torch.zeros_like(query)], dim=1), torch.cat([torch.zeros_like(key), key], dim=1)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("space", [(5, 4), (3, 2, 4)])
def test_identical_features_cost_the_logarithm_of_their_number(space: tuple[int, ...], order: int):
    maps = torch.rand(1, 6, *[1] * len(space)).expand(2, 6, *space)
    assert position_contrast(maps, maps, TAU, order=order).item() == pytest.approx(math.log(math.prod(space)), rel=1e-6)


@pytest.mark.parametrize("space", [(5, 4), (3, 2, 4)])
def test_orthogonal_features_cost_the_logarithm_of_one_more_than_their_number(space: tuple[int, ...]):
    query, key = orthogonal(2, space)
    n = math.prod(space)  # every product is 0: ln (1 + N e^0), and one pair less without the diagonal
    assert repulsion(query, key, TAU).item() == pytest.approx(math.log(1 + n), rel=1e-6)
    assert repulsion(query, key, TAU, diagonal=False).item() == pytest.approx(math.log(n), rel=1e-6)


def test_two_positions_that_match_themselves_only():
    # cosines are the unit matrix; tau 1/2: -ln [e²/(e² + 1)] = ln (1 + e^-2), and ln (1 + e² + 1)
    maps = torch.tensor([[[[2.0, 0.0]], [[0.0, 5.0]]]])
    assert position_contrast(maps, maps, 0.5).item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-6)
    assert repulsion(maps, maps, 0.5).item() == pytest.approx(math.log(2 + math.exp(2)), rel=1e-6)
    assert repulsion(maps, maps, 0.5, diagonal=False).item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_both_agree_with_the_slow_reference(order: int):
    query, key = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    given = query.numpy(), key.numpy(), 0.2, order
    assert position_contrast(query, key, 0.2, order=order).item() == pytest.approx(
        reference.position_contrast(*given), rel=1e-4
    )
    for diagonal in (True, False):
        expected = reference.repulsion(*given, diagonal)
        assert repulsion(query, key, 0.2, order=order, diagonal=diagonal).item() == pytest.approx(expected, rel=1e-4)


def test_the_released_contrast_is_reproduced():
    query, key, expected = load("mms_q_12x12", "mms_k_12x12", "mms_info_nce_released")
    assert position_contrast(query, key, TAU, order=1).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_released_repulsion_is_reproduced():
    query, key, expected = load("mms_sup_q", "mms_sup_k", "mms_all_negative_released_48x48")
    assert repulsion(query, key, TAU, order=1, diagonal=False).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("term", [position_contrast, repulsion])
def test_the_key_is_constant(term):
    query, key = (torch.randn(1, 4, 3, 3, requires_grad=True) for _ in range(2))
    term(query, key, TAU).backward()
    assert query.grad.abs().max() > 0
    assert key.grad is None


def test_a_step_against_the_gradient_attracts_the_same_place_and_repels_labelled_ones():
    query, key = torch.randn(1, 4, 3, 3, requires_grad=True), torch.randn(1, 4, 3, 3)
    cosine = torch.cosine_similarity
    (gradient,) = torch.autograd.grad(position_contrast(query, key, 0.5), query)
    moved = query - 0.5 * gradient
    assert cosine(moved, key, dim=1).mean() > cosine(query, key, dim=1).mean()
    (gradient,) = torch.autograd.grad(repulsion(query, key, 0.5), query)
    vectors, other = (query - 0.5 * gradient).flatten(2)[..., None], key.flatten(2)[:, :, None]
    assert cosine(vectors, other, dim=1).mean() < cosine(query.flatten(2)[..., None], other, dim=1).mean()


def test_samples_do_not_meet():
    query, key = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    for term in (position_contrast, repulsion):
        alone = [term(query[i : i + 1], key[i : i + 1], TAU) for i in range(2)]
        torch.testing.assert_close(term(query, key, TAU), torch.stack(alone).mean())


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ((64, 36), (64, 36)),  # 2304 as they are
        ((128, 72), (64, 36)),  # the code's 512 x 288 at a quarter of the side: 9216
        ((28, 28, 20), (14, 14, 10)),
        ((3000, 1), (1500, 1)),
        ((50, 50), (25, 25)),
    ],
)
def test_pooling_keeps_the_shape_and_the_bound(space: tuple[int, ...], expected: tuple[int, ...]):
    maps = torch.rand(1, 2, *space)
    found = pooled(maps, 2304)
    assert tuple(found.shape[2:]) == expected
    # both are means over cells of equal size
    torch.testing.assert_close(found.flatten(2).mean(dim=2), maps.flatten(2).mean(dim=2))


def test_one_position_is_the_least():
    assert pooled(torch.rand(1, 2, 5, 3), 1).shape[2:] == (1, 1)


@pytest.mark.parametrize("temperature", [0.1, 0.01])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("side", [5, 19])
@pytest.mark.parametrize("kind", ["contrast", "repulsion", "repulsion without diagonal"])
@pytest.mark.parametrize("way", ["as a CPU does it", "as an accelerator does it"])
def test_values_and_gradients_are_those_of_all_pairs_at_once_in_double(
    way: str, kind: str, side: int, order: int, temperature: float, monkeypatch: pytest.MonkeyPatch
):
    """19² positions are more than one block of rows."""
    if way == "as an accelerator does it":
        monkeypatch.setattr(pixel_contrast._Blockwise, "apply", pixel_contrast._at_once)
    query, key = torch.randn(2, 3, 6, side, side)
    exact = query.double().requires_grad_()
    query.requires_grad_()
    unit, other = (F.normalize(maps.flatten(2), p=order, dim=1) for maps in (exact, key.double()))
    pairs = unit.transpose(1, 2) @ other / temperature
    if kind == "contrast":
        found = position_contrast(query, key, temperature, order=order)
        expected = (torch.logsumexp(pairs, dim=2) - pairs.diagonal(dim1=1, dim2=2)).mean()
    else:
        diagonal = kind == "repulsion"
        found = repulsion(query, key, temperature, order=order, diagonal=diagonal)
        if not diagonal:
            pairs = pairs.masked_fill(torch.eye(side**2, dtype=torch.bool), -torch.inf)
        expected = torch.logsumexp(F.pad(pairs, (1, 0)), dim=2).mean()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    (2 * found).backward()
    (2 * expected).backward()
    torch.testing.assert_close(query.grad.double(), exact.grad, rtol=1e-3, atol=1e-5 * exact.grad.abs().max().item())


def test_a_single_position_is_refused():
    with pytest.raises(ValueError, match=r"needs two or more, got maps of \(1, 1\): compare more positions"):
        position_contrast(torch.randn(2, 4, 1, 1), torch.randn(2, 4, 1, 1), 0.5)
