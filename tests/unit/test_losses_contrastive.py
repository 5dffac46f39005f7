"""Contrast of vectors and of prototypes: published values, slow references, the released number, and edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from datasets.types import IGNORE
from methods.losses.contrastive import prototype_contrast, supervised_contrast
from tests.reference import contrast as reference
from tests.reference import oracles

HALVES = torch.tensor([1] * 100 + [0] * 100)


def test_two_hundred_equal_vectors_cost_the_logarithm_of_one_and_all_negatives():
    # each positive pair: -ln[e^s / (e^s + 100 e^s)] = ln 101
    assert supervised_contrast(torch.ones(200, 16), HALVES, 0.1).item() == pytest.approx(math.log(101), rel=1e-5)


def test_opposite_vectors_of_two_classes_cost_almost_nothing():
    # s = ±10: ln(1 + 100 e^-20) = 2.06e-7, or 1.03e-8 after the released division by 20
    vectors = torch.where(HALVES[:, None] == 1, 1.0, -1.0) * torch.ones(200, 16)
    assert supervised_contrast(vectors, HALVES, 0.1).item() / 20 == pytest.approx(1.03e-8, rel=1e-2)


@pytest.mark.parametrize(
    ("width", "rectified", "low", "high"),
    [(16, False, 0.350, 0.375), (256, False, 0.239, 0.242), (16, True, 0.300, 0.325)],
)  # rectified: as features after a ReLU, about 0.314
def test_random_unit_vectors_cost_what_theory_says(width: int, rectified: bool, low: float, high: float):
    vectors = torch.randn(200, width)
    vectors = vectors.relu() if rectified else vectors
    found = supervised_contrast(vectors, HALVES, 0.1).item() / 20
    assert low < found < high


def test_contrast_is_the_released_one_where_the_background_is_its_own_positive():
    anchors, value, gradient = oracles.load(
        "cvcl_anchors", "cvcl_contrast_released", "grad_cvcl_contrast_released"
    )  # per sample 50 positives, then 50 negatives
    label = torch.tensor([1] * 50 + [0] * 50).repeat(2)
    anchors.requires_grad_()
    loss = supervised_contrast(anchors.flatten(0, 1), label, 0.1, narcissists=label == 0) / 20
    oracles.close_with_gradient(loss, anchors, value, gradient)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hardness": 2.0},
        {"importance": torch.rand(12)},
        {"anchors": torch.arange(12) % 2 == 0},
        {"narcissists": torch.arange(12) < 6},
        {"hardness": 0.5, "importance": torch.rand(12), "anchors": torch.arange(12) > 3},
    ],
    ids=lambda options: "+".join(options) or "plain",
)
def test_contrast_equals_the_slow_reference(options: dict):
    vectors, label = torch.randn(12, 5), torch.randint(0, 3, (12,))
    label[4] = IGNORE
    slow = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    expected = reference.supervised_contrast(vectors.double().numpy(), label.numpy(), 0.3, **slow)
    assert expected > 0
    assert supervised_contrast(vectors, label, 0.3, **options).item() == pytest.approx(expected, rel=1e-4)


def test_hardness_shifts_weight_to_the_positive_that_is_less_similar():
    # the anchor's positives are at cosine 1 and 0; weights e^-β and 1: with a large β only the far one counts
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    label, first = torch.tensor([1, 1, 1, 0]), torch.tensor([True, False, False, False])
    near, far = math.log(1 + math.exp(-2)), math.log(1 + math.exp(-1))  # ln(1 + e^(s_n - s_p)), s_n = -1
    for hardness in (0.0, 1.0, 50.0):
        weight = math.exp(-hardness)
        expected = (weight * near + far) / (weight + 1)
        found = supervised_contrast(vectors, label, 1.0, hardness=hardness, anchors=first)
        assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "label", [[IGNORE] * 4, [0, 1, 2, 3], [1, IGNORE, IGNORE, 0]], ids=["nothing", "no positive", "two strangers"]
)
def test_without_a_pair_of_one_label_there_is_no_loss(label: list[int]):
    vectors = torch.randn(4, 3, requires_grad=True)
    loss = supervised_contrast(vectors, torch.tensor(label), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert (vectors.grad == 0).all()


def test_one_label_alone_has_nothing_to_repel():
    vectors = torch.randn(4, 3, requires_grad=True)
    loss = supervised_contrast(vectors, torch.ones(4, dtype=torch.int64), 0.1)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert vectors.grad.isfinite().all()


def test_vectors_of_length_zero_have_a_finite_gradient():
    vectors = torch.zeros(4, 3, requires_grad=True)
    supervised_contrast(vectors, torch.tensor([0, 0, 1, 1]), 0.1).backward()
    assert vectors.grad.isfinite().all()


def test_prototype_contrast_by_hand_leaves_the_own_class_and_empty_slots_of_the_bank_out():
    # q = k for both classes, cosine 1; of the other class the bank holds one vector at cosine 0, temperature ½:
    # ln(1 + e^(0 - 2)) for each
    query = torch.eye(2)[None]
    bank = torch.stack([torch.tensor([[1.0, 0.0], [9.0, 9.0]]), torch.tensor([[0.0, 3.0], [9.0, 9.0]])])
    filled = torch.tensor([[True, False], [True, False]])
    found = prototype_contrast(query, 2 * query, torch.ones(1, 2, dtype=torch.bool), bank, filled, 0.5)
    assert found.item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)


def test_prototype_contrast_equals_the_slow_reference():
    n, c, slots, d, tau = 2, 3, 4, 5, 0.2
    query, key, bank = torch.randn(n, c, d), torch.randn(n, c, d), torch.randn(c, slots, d)
    filled, present = torch.rand(c, slots) < 0.6, torch.tensor([[True, False, True], [True, True, True]])
    losses = []
    for b in range(n):
        for k in range(c):
            if present[b, k]:
                positive = math.exp(F.cosine_similarity(query[b, k], key[b, k], dim=0).item() / tau)
                negatives = sum(
                    math.exp(F.cosine_similarity(query[b, k], bank[other, s], dim=0).item() / tau)
                    for other in range(c)
                    for s in range(slots)
                    if other != k and filled[other, s]
                )
                losses.append(-math.log(positive / (positive + negatives)))
    found = prototype_contrast(query, key, present, bank, filled, tau)
    assert found.item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_the_gradient_of_prototype_contrast_counts_the_nearest_vector_of_the_bank():
    # key at cosine 1, bank at cosines 0 and -1; along the sphere only the nearest pulls: e^0 / (e^1 + e^0 + e^-1)
    query = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    bank = torch.tensor([[[9.0, 9.0], [9.0, 9.0]], [[0.0, 1.0], [-1.0, 0.0]]])
    filled, present = torch.ones(2, 2, dtype=torch.bool), torch.tensor([[True, False]])
    prototype_contrast(query, query.detach(), present, bank, filled, 1.0).backward()
    assert query.grad[0, 0].tolist() == pytest.approx([0, 1 / (math.e + 1 + 1 / math.e)], abs=1e-6)


def test_prototype_contrast_of_nothing_present_or_of_an_empty_bank_is_zero():
    query = torch.randn(1, 2, 3, requires_grad=True)
    bank, empty = torch.randn(2, 4, 3), torch.zeros(2, 4, dtype=torch.bool)
    for present, filled in ((False, ~empty), (True, empty)):
        loss = prototype_contrast(query, query.detach(), torch.full((1, 2), present), bank, filled, 0.1)
        loss.backward()
        assert loss.item() == pytest.approx(0, abs=1e-6)
    assert query.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [0.1, 0.01])
@pytest.mark.parametrize("options", [(), ("hardness",), ("importance", "anchors"), ("narcissists", "hardness")])
def test_the_compiled_contrast_and_its_gradient_are_the_plain_ones(
    options: tuple[str, ...], temperature: float, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("numba")
    vectors, label = torch.randn(150, 8, requires_grad=True), torch.randint(0, 4, (150,))
    label[::7] = IGNORE
    label[label == 3] = torch.where(torch.arange(len(label[label == 3])) == 0, 3, IGNORE)  # one without a positive
    given = {
        "hardness": 0.7,
        "importance": torch.rand(150),
        "anchors": torch.rand(150) < 0.5,
        "narcissists": torch.rand(150) < 0.5,
    }
    options_given = {name: given[name] for name in options}
    costs, gradients = [], []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        cost = supervised_contrast(vectors, label, temperature, **options_given)
        costs.append(cost.item())
        gradients.append(torch.autograd.grad(2 * cost, vectors)[0])
    assert costs[0] == pytest.approx(costs[1], rel=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_contrast_without_anchors_or_of_what_is_not_finite(threads: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    vectors = torch.randn(6, 3, requires_grad=True)
    cost = supervised_contrast(vectors, torch.arange(6), 0.1)
    (gradient,) = torch.autograd.grad(cost, vectors)
    assert cost.item() == 0
    assert (gradient == 0).all()
    with torch.no_grad():
        vectors[2] = math.nan
    assert math.isnan(supervised_contrast(vectors, torch.tensor([0, 0, 1, 1, 0, 1]), 0.1).item())


def test_the_contrast_is_the_same_to_the_last_bit_wherever_its_arrays_lie_in_memory():
    vectors, label = torch.randn(792, 8), torch.arange(3).repeat_interleave(264)
    lengths, held, found = np.random.default_rng(0), [], set()
    for _ in range(100):
        held += [torch.empty(lengths.integers(1, 300)), np.empty(lengths.integers(1, 300), np.float32)]
        held.pop(lengths.integers(len(held)))
        own = vectors.clone().requires_grad_()
        supervised_contrast(own, label, 0.1).backward()
        found.add(own.grad.numpy().tobytes())
    assert len(found) == 1
