"""CAML: its terms and memory against a slow reference, what attends to what, what is remembered, and who learns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datasets.types import IGNORE, Batch, Labelled
from methods.base import Method
from methods.cross_sample import CrossSample, attend_across
from methods.features import with_last_map
from methods.losses.correlation import correlation_consistency
from methods.networks.base import SegmentationNetwork
from methods.semi import caml
from tests.reference import losses as reference
from tests.unit.semi_toys import (
    END,
    MIDDLE,
    assert_ramps_up_until_two_fifths,
    assert_terms,
    awake,
    logits_of,
    method,
    ramp,
    reached,
    toy_batch,
)

ALL = {"share": 1.0, "fresh": 10**6, "slots": 2 * 16**2}
"""Every voxel of two labelled images is remembered, and every unlabelled one correlated: nothing is left to chance."""


def prepared(*, ndim: int = 2, classes: int = 3, **hyper) -> tuple[Method, Batch]:
    """Labels follow the first network's opinion at two of three voxels; a stripe has none."""
    side = (16, 8)[ndim - 2]
    m = method("caml", ndim=ndim, side=side, classes=classes, **ALL | {"slots": 2 * side**ndim} | hyper)
    awake(m.network2, side)  # again, for its decoder is another one than it was
    batch = toy_batch(ndim=ndim, side=side, classes=classes)
    opinion = torch.from_numpy(logits_of(m.network, batch.labelled.image)).argmax(dim=1)
    label = torch.where(torch.rand(opinion.shape) < 2 / 3, opinion, batch.labelled.label)
    label[:, 2:5] = IGNORE
    return m, with_label(batch, label)


def with_label(batch: Batch, label: Tensor) -> Batch:
    return Batch(Labelled(batch.labelled.image, label), batch.unlabelled)


# The slow reference -------------------------------------------------------------------------------------------------
def layers(head: nn.Sequential, rows: np.ndarray) -> np.ndarray:
    """Linear, normalised by the rows, ReLU, linear."""
    first, norm, _, second = head
    hidden = rows @ first.weight.detach().double().numpy().T
    hidden = (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-5)
    hidden = hidden * norm.weight.detach().double().numpy() + norm.bias.detach().double().numpy()
    return np.maximum(hidden, 0) @ second.weight.detach().double().numpy().T + second.bias.detach().double().numpy()


def features_of(network: SegmentationNetwork, image: Tensor) -> np.ndarray:
    """Vectors of all voxels of all images, image by image."""
    with torch.no_grad():
        maps = with_last_map(network, image)[1].double().numpy()
    return np.stack([maps[(n, slice(None), *at)] for n in range(len(maps)) for at in np.ndindex(*maps.shape[2:])])


def correlations(vector: np.ndarray, memory: np.ndarray, temperature: float, cosine: bool) -> np.ndarray:
    products = memory @ vector / temperature
    if cosine:
        products = products / np.linalg.norm(vector) / np.linalg.norm(memory, axis=1)
    powers = np.exp(products - products.max())
    return powers / powers.sum()


def expected_correlation(m: Method, batch: Batch) -> tuple[float, list[list[np.ndarray]]]:
    """The consistency of correlations voxel by voxel, and what the memory must hold of each class."""
    networks, known = (m.network, m.network2), batch.labelled.label.numel()
    with torch.no_grad():
        first, second = (network(batch.images).argmax(dim=1).flatten().tolist() for network in networks)
    label = batch.labelled.label.flatten().tolist()
    projected = [
        layers(head, features_of(network, batch.images)) for head, network in zip(m.projections, networks, strict=True)
    ]
    memory: list[list[np.ndarray]] = [[] for _ in range(m.task.n_classes)]
    for i, k in enumerate(label):
        if first[i] == second[i] == k:
            memory[k].append((projected[0][i] + projected[1][i]) / 2)
    guessed = [layers(head, each[known:]) for head, each in zip(m.predictions, projected, strict=True)]
    remembered = np.stack([vector for of_class in memory for vector in of_class])
    cosine, total, count = m.hyper.variant == "intended", 0.0, 0
    for i, (one, other) in enumerate(zip(*guessed, strict=True)):
        if first[known + i] == second[known + i]:
            p, q = (correlations(vector, remembered, m.hyper.nearness, cosine) for vector in (one, other))
            total -= float(q @ np.log(np.maximum(p, 1e-300)))
            count += 1
    assert count > 20
    assert all(len(of_class) > 3 for of_class in memory)
    return total / count, memory


# All terms ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", ["intended", "released"])
@pytest.mark.parametrize(("ndim", "classes"), [(2, 2), (2, 3), (3, 3)])
def test_caml_terms_and_memory_equal_the_slow_reference(ndim: int, classes: int, variant: str):
    m, batch = prepared(
        ndim=ndim, classes=classes, weight=3.0, correlation=0.7, temperature=0.5, nearness=0.3, width=8, ramp=1.0,
        variant=variant,
    )  # fmt: skip
    value, memory = expected_correlation(m, batch)
    z, z2 = logits_of(m.network, batch.images), logits_of(m.network2, batch.images)
    p, p2, sharp, sharp2 = (reference.softmax(each) for each in (z, z2, z / 0.5, z2 / 0.5))
    label = batch.labelled.label.numpy()
    dice = [
        reference.dice_losses(q[:2], label, power=1)[1] if classes == 2 else reference.dice_loss(q[:2], label)
        for q in (p, p2)
    ]
    differences = reference.squared_difference(p, sharp2) + reference.squared_difference(p2, sharp)
    assert_terms(
        m.losses(batch, MIDDLE),
        {"dice_1": dice[0] / 2, "dice_2": dice[1] / 2, "consistency": 3.0 * ramp() * differences}
        | {"correlation": 0.7 * ramp() * value},
    )
    for k, of_class in enumerate(memory):
        found = m.bank.vectors[k][m.bank.filled[k]].double().numpy()
        assert len(found) == len(of_class)
        by_first = np.argsort(found[:, 0]), np.argsort(np.stack(of_class)[:, 0])
        np.testing.assert_allclose(found[by_first[0]], np.stack(of_class)[by_first[1]], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["consistency", "correlation"])
def test_caml_ramps_up_what_needs_no_label(name: str):
    assert_ramps_up_until_two_fifths(prepared, name)


def test_the_share_of_caml_is_that_of_its_code_on_the_left_atrium():
    # 12 800 voxels per class of two unlabelled crops
    assert caml.Hyper().share == pytest.approx(12_800 / (2 * 112 * 112 * 80), rel=0.01)


# Correlations -------------------------------------------------------------------------------------------------------
def test_correlation_consistency_by_hand():
    # products with the memory are 0 and ln 3 of the first, ln 4 and 0 of the second: p = (1/4, 3/4), q = (4/5, 1/5)
    first, second = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[math.log(4), 0.0]])
    expected = -(4 / 5 * math.log(1 / 4) + 1 / 5 * math.log(3 / 4))
    memory, both, one = torch.eye(2), torch.tensor([True, True]), torch.tensor([True])
    assert correlation_consistency(first, second, memory, both, one, 1.0).item() == pytest.approx(expected)
    halved = correlation_consistency(first / 2, second / 2, memory, both, one, 0.5)
    assert halved.item() == pytest.approx(expected)
    # alike to every remembered vector: ln m
    nothing = torch.zeros(1, 2)
    assert correlation_consistency(nothing, nothing, memory, both, one, 1.0).item() == pytest.approx(math.log(2))


def test_what_is_not_remembered_or_does_not_count_changes_nothing():
    first, second, memory = torch.randn(5, 4), torch.randn(5, 4), torch.randn(6, 4)
    filled, counts = torch.tensor([True, False] * 3), torch.tensor([True, True, False, True, False])
    found = correlation_consistency(first, second, memory, filled, counts, 0.5)
    alone = correlation_consistency(
        first[counts], second[counts], memory[filled], torch.ones(3, dtype=torch.bool),
        torch.ones(3, dtype=torch.bool), 0.5,
    )  # fmt: skip
    torch.testing.assert_close(found, alone)


@pytest.mark.parametrize("missing", ["memory", "vectors"])
def test_without_anything_to_compare_the_cost_and_its_gradient_are_zero(missing: str):
    first, second = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    filled, counts = torch.full((6,), missing != "memory"), torch.full((3,), missing != "vectors")
    found = correlation_consistency(first, second, torch.randn(6, 4), filled, counts, 0.1)
    assert found.item() == 0
    assert all(g.abs().max() == 0 for g in torch.autograd.grad(found, [first, second]))


def test_the_surest_voxels_of_each_class_are_taken_from_where_both_networks_agree():
    score = torch.tensor([[0.9, 0.2, 0.8, 0.7, 0.95, 0.1]])
    label = torch.tensor([[0, 1, 0, 0, IGNORE, 1]])
    index, exists = caml._highest(score, label, 3, 2)
    assert index[0, 0].tolist() == [0, 2]
    assert index[0, 1].tolist() == [1, 5]
    assert exists[0].tolist() == [[True, True], [True, True], [False, False]]
    index, exists = caml._highest(score, label, 2, 3)
    assert exists[0].tolist() == [[True, True, True], [True, True, False]]


def test_caml_correlates_a_share_of_the_unlabelled_voxels_and_renews_a_part_of_the_memory(monkeypatch):
    m, batch = prepared(share=0.01, fresh=4, slots=12)
    seen = []

    def spy(own, other, memory, filled, counts, temperature):
        seen.append((own.shape, memory.shape, counts.shape))
        return correlation_consistency(own, other, memory, filled, counts, temperature)

    monkeypatch.setattr(caml, "correlation_consistency", spy)
    m.losses(batch, END)
    # 1 % of 3 * 256 voxels is 8 per class; 12 slots of each of 3 classes
    assert seen == [((24, 64), (36, 64), (24,))]
    assert m.bank.filled.sum(dim=1).tolist() == [8, 8, 8]  # 4 of each of two images
    first = m.bank.vectors.clone()
    m.losses(batch, END)
    assert m.bank.filled.all()
    assert (m.bank.vectors[:, 4:8] == first[:, 4:8]).all()  # the second eight fill the rest and go round
    assert (m.bank.vectors[:, :4] != first[:, :4]).any()


def test_voxels_that_either_network_predicts_wrong_never_reach_the_memory():
    m, batch = prepared()
    opinions = [torch.from_numpy(logits_of(n, batch.labelled.image)).argmax(dim=1) for n in (m.network, m.network2)]
    assert (opinions[0] != opinions[1]).any()
    apart = [torch.where(opinions[0] != opinions[1], opinion, IGNORE) for opinion in opinions]
    for label in ((opinions[0] + 1) % 3, *apart):
        term = m.losses(with_label(batch, label), END)["correlation"]
        assert not m.bank.filled.any()
        assert term.item() == 0
        assert not reached(term, m)


def test_correlations_train_both_networks_and_all_heads_and_the_memory_is_constant():
    m, batch = prepared()
    term = m.losses(batch, END)["correlation"]
    for part in (m.network, m.network2, *m.projections, *m.predictions):
        assert reached(term, part)
    assert not m.bank.vectors.requires_grad


# Attention ----------------------------------------------------------------------------------------------------------
def attended(layer: nn.TransformerEncoderLayer, tokens: np.ndarray) -> np.ndarray:
    """One sequence ``(s, d)`` through attention, head by head, and perceptron, each added to its input, normalised."""
    p = {name: value.detach().double().numpy() for name, value in layer.named_parameters()}
    s, d = tokens.shape
    q, k, v = np.split(tokens @ p["self_attn.in_proj_weight"].T + p["self_attn.in_proj_bias"], 3, axis=1)
    size = d // layer.self_attn.num_heads
    mixed = np.zeros((s, d))
    for start in range(0, d, size):
        own = slice(start, start + size)
        for i in range(s):
            scores = [math.exp(q[i, own] @ k[j, own] / math.sqrt(size)) for j in range(s)]
            mixed[i, own] = sum(score * v[j, own] for j, score in enumerate(scores)) / sum(scores)
    tokens = tokens + mixed @ p["self_attn.out_proj.weight"].T + p["self_attn.out_proj.bias"]
    tokens = normalised(tokens, p["norm1.weight"], p["norm1.bias"])
    hidden = np.maximum(tokens @ p["linear1.weight"].T + p["linear1.bias"], 0)
    tokens = tokens + hidden @ p["linear2.weight"].T + p["linear2.bias"]
    return normalised(tokens, p["norm2.weight"], p["norm2.bias"])


def normalised(tokens: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    mean, var = tokens.mean(axis=1, keepdims=True), tokens.var(axis=1, keepdims=True)
    return (tokens - mean) / np.sqrt(var + 1e-5) * weight + bias


@pytest.mark.parametrize("space", [(2, 3), (2, 1, 3)])
def test_attention_is_among_positions_then_among_images(space: tuple[int, ...]):
    attention, maps = CrossSample(8, dropout=0.0), torch.randn(4, 8, *space)
    tokens = maps.movedim(1, -1).flatten(1, -2).double().numpy()
    tokens = np.stack([attended(attention.positions, image) for image in tokens])
    tokens = np.stack([attended(attention.images, tokens[:, at]) for at in range(tokens.shape[1])], axis=1)
    found = attention(maps)
    assert found.shape == maps.shape
    np.testing.assert_allclose(found.detach().movedim(1, -1).flatten(1, -2), tokens, rtol=1e-4, atol=1e-5)
    assert (attention.positions.self_attn.num_heads, attention.positions.linear1.out_features) == (4, 32)
    assert attention.eval()(maps) is maps


@pytest.mark.parametrize("threads", [1, 2])
def test_what_attention_looks_at_is_dropped_while_it_is_trained(threads: int, monkeypatch: pytest.MonkeyPatch):
    """With nothing else dropped and constant values, an answer is the share of looks that stayed over what stays."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    layer = CrossSample(8, dropout=0.25).positions
    for dropout in (layer.dropout, layer.dropout1, layer.dropout2):
        dropout.p = 0.0
    with torch.no_grad():
        weight, bias = layer.self_attn.in_proj_weight.zero_(), layer.self_attn.in_proj_bias.zero_()
        bias[16:] = 1.0  # values
        layer.self_attn.out_proj.weight.copy_(torch.eye(8))
        layer.self_attn.out_proj.bias.zero_()
    assert weight.shape == (24, 8)
    found = layer._sa_block(torch.randn(5, 400, 8), None, None)
    looks = found[..., ::2].detach()  # two channels a head
    torch.testing.assert_close(found[..., 1::2].detach(), looks)
    kept = looks * 400 * 0.75  # of 400 looks of equal weight
    torch.testing.assert_close(kept, kept.round(), rtol=0, atol=1e-2)
    assert kept.mean().item() == pytest.approx(300, abs=2)
    assert kept.std().item() == pytest.approx((400 * 0.25 * 0.75) ** 0.5, rel=0.1)


def test_the_second_network_alone_attends_and_only_while_it_is_trained():
    m, batch = method("caml", dropout=0.0), toy_batch()
    other = torch.cat([batch.images[:1], torch.randn_like(batch.images[1:])])

    def changed(network: SegmentationNetwork) -> float:
        with torch.no_grad():
            return float((network(batch.images)[0] - network(other)[0]).abs().max())

    for network in (m.network, m.network2):
        assert changed(network) == 0
    for module in m.modules():
        module.training = isinstance(module, CrossSample | nn.TransformerEncoderLayer)
    assert changed(m.network) == 0
    assert changed(m.network2) > 1e-6
    assert [type(each).__name__ for each in m.network2.encoder.levels[-2]][1:] == ["CrossSample"]
    assert m.network2.encoder.levels[-2][1].positions.norm1.weight.shape == (m.network.channels[-2],)


def test_an_encoder_without_levels_ends_in_attention():
    network = method("caml").network
    encoder = network.encoder
    network.encoder = nn.Sequential(encoder)  # one that says nothing of its levels
    encoder.levels, levels = nn.Sequential(*encoder.levels), encoder.levels
    attend_across(network, 0.0)
    image = torch.randn(2, 1, 16, 16)
    network.train()
    features = network.encode(image)
    assert len(features) == len(levels)
    mean = features[-1].mean(dim=1)  # what normalised layers put out
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)


def test_attention_learns_from_every_term_of_the_second_network():
    m, batch = prepared()
    m.train()
    terms = m.losses(batch, END)
    attention = m.network2.encoder.levels[-2][1]
    assert {name: reached(term, attention) for name, term in terms.items()} == {
        "dice_1": False, "dice_2": True, "consistency": True, "correlation": True,
    }  # fmt: skip


# Networks -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("network", ["unet", "vnet", "transunet", "unet_plus_plus"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_second_decoder_raises_the_resolution_otherwise(network: str, ndim: int):
    m = method("caml", ndim=ndim, network=network)

    def raising(decoder: nn.Module) -> set[str]:
        found = {type(x).__name__ for x in decoder.modules() if "ConvTranspose" in type(x).__bases__[0].__name__}
        return found | {x.mode for x in decoder.modules() if isinstance(x, nn.Upsample)}

    first, second = raising(m.network.decoder), raising(m.network2.decoder)
    assert first
    assert second == ({("bilinear", "trilinear")[ndim - 2]} if "_ConvUp" in "".join(first) else {"nearest"})


def test_the_first_network_predicts():
    m = method("caml")
    image = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(m.predict(image), torch.softmax(m.network(image), dim=1))
    assert m.other_predictions() == {}


def test_the_voxels_of_which_the_first_network_is_surest_are_correlated_and_chance_chooses_the_memory(
    monkeypatch: pytest.MonkeyPatch,
):
    m, batch = prepared(share=0.01, fresh=4, slots=12)
    asked, known = [], caml._highest

    def noted(scores: Tensor, *others: Any) -> Any:
        asked.append(scores)
        return known(scores, *others)

    monkeypatch.setattr(caml, "_highest", noted)
    m.losses(batch, END)
    with torch.no_grad():
        sure = torch.softmax(m.network(batch.images), dim=1).amax(dim=1)[2:]
    torch.testing.assert_close(asked[1][0], sure)
    assert asked[0].unique().numel() > 100
