"""CauSSL: terms against slow references, the dependence by hand and by least squares, and who moves what."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from datasets.types import IGNORE, Batch, Labelled
from methods.base import Clock, Method, Terms
from methods.losses.dependence import filters, linear_dependence, products
from tests.reference import losses as reference
from tests.unit.semi_toys import END, MIDDLE, assert_terms, logits_of, method, ramp, reached, supervised, toy_batch


def dependence(own: list[np.ndarray], others: list[np.ndarray], mixing: list[np.ndarray]) -> float:
    """Layer by layer, filter by filter."""
    layers = []
    for w, v, a in zip(own, others, mixing, strict=True):
        squares = []
        for i in range(len(w)):
            mixture = sum(a[i, j] * v[j] for j in range(len(v)))
            squares.append((w[i] @ mixture / np.linalg.norm(w[i]) / np.linalg.norm(mixture)) ** 2)
        layers.append(sum(squares) / len(squares))
    return sum(layers) / len(layers)


def arrays(parts) -> list[np.ndarray]:
    return [part.detach().double().numpy() for part in parts]


def stepped(m: Method, batch: Batch, clock: Clock) -> list[tuple[str, Terms]]:
    """One step as the trainer takes it; the descents in order."""
    players, made = m.optimizers(partial(SGD, lr=0.05)), []

    def descend(terms: Terms, player: str = "main") -> None:
        made.append((player, {name: term.detach().clone() for name, term in terms.items()}))
        for optimizer in players.values():
            optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        players[player].step()

    m.step(batch, clock, descend)
    return made


# The terms ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("network", ["unet", "vnet"])
@pytest.mark.parametrize(("ndim", "classes"), [(2, 2), (2, 3), (3, 3)])
def test_caussl_terms_are_those_of_the_definition(ndim: int, classes: int, network: str):
    side = (16, 8)[ndim - 2]
    m = method(
        "caussl", ndim=ndim, side=side, classes=classes, network=network, weight=2.0, ramp=1.0, dependence=5.0
    )  # fmt: skip
    batch = toy_batch(ndim=ndim, side=side, classes=classes)
    batch.labelled.label[0, 0] = IGNORE
    z, z2 = logits_of(m.network, batch.images), logits_of(m.network2, batch.images)
    label, w, w2 = batch.labelled.label, arrays(filters(m.network)), arrays(filters(m.network2))
    expected = {f"{name}_{k}": x for k, y in ((1, z), (2, z2)) for name, x in supervised(y[:2], label).items()}
    expected |= {
        "pseudo_1": 2.0 * ramp() * reference.cross_entropy(z[2:], z2[2:].argmax(axis=1)),
        "pseudo_2": 2.0 * ramp() * reference.cross_entropy(z2[2:], z[2:].argmax(axis=1)),
        "dependence_1": 5.0 * dependence(w, w2, arrays(m.mixing)),
        "dependence_2": 5.0 * dependence(w2, w, arrays(m.mixing2)),
    }
    assert_terms(m.losses(batch, MIDDLE), expected)


def test_pseudo_labels_ramp_up_beyond_the_end_of_training_and_dependence_counts_from_a_tenth_of_it_on():
    m, batch = method("caussl"), toy_batch()
    found = [m.losses(batch, Clock(step, 1001)) for step in (0, 99, 100, 1000)]
    full = found[3]["pseudo_1"] / math.exp(-5 * (1 - 1 / 1.2) ** 2)  # 5000 of 6000 steps
    assert full > 0
    assert found[0]["pseudo_1"].item() == pytest.approx(full.item() * math.exp(-5), rel=1e-4)
    for name in ("dependence_1", "dependence_2"):
        assert found[0][name] == found[1][name] == 0
        assert found[2][name] == found[3][name] > 0


def test_labels_concern_labelled_images_and_pseudo_labels_the_others():
    m, batch, other = method("caussl"), toy_batch(), toy_batch()
    before = m.losses(batch, END)
    after = m.losses(replace(batch, unlabelled=other.unlabelled), END)
    changed = {name for name in before if not torch.isclose(before[name], after[name], rtol=1e-4)}
    assert changed == {"pseudo_1", "pseudo_2"}
    relabelled = m.losses(Batch(Labelled(batch.labelled.image, other.labelled.label), batch.unlabelled), END)
    changed = {name for name in before if not torch.isclose(before[name], relabelled[name], rtol=1e-5)}
    assert changed == {"ce_1", "ce_2", "dice_1", "dice_2"}


def test_every_term_trains_one_network_and_none_the_coefficients():
    m = method("caussl")
    for name, term in m.losses(toy_batch(), END).items():
        first = name.endswith("1")
        parts = (m.network, m.network2, m.mixing, m.mixing2)
        assert [reached(term, part) for part in parts] == [first, not first, False, False], name


# Dependence ---------------------------------------------------------------------------------------------------------
def test_dependence_by_hand():
    # of (1, 0) and (1, 1): cos² = 1/2; of (0, 2) and (1, 1) - (1, -1) = (0, 2): 1; the mean of two filters is 3/4
    own, others = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    mixing = torch.tensor([[1.0, 0.0], [1.0, -1.0]])
    assert linear_dependence([own], [others], [mixing]).item() == pytest.approx(3 / 4)
    # lengths and signs do not matter, and a second layer counts as much as the first, whatever its size
    one, far = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 3.0, 4.0]])
    found = linear_dependence([-7 * own, one], [2 * others, far], [-3 * mixing, torch.ones(1, 1)])
    assert found.item() == pytest.approx((3 / 4 + 0) / 2)


def test_coefficients_climb_to_the_best_mixture_that_least_squares_finds():
    own, others, mixing = torch.randn(3, 7), torch.randn(3, 7), nn.Parameter(1e-3 * torch.randn(3, 3))
    optimizer = Adam([mixing], lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        (-linear_dependence([own], [others], [mixing])).backward()
        optimizer.step()
    w, v = own.double().numpy(), others.double().numpy()
    fitted = (np.linalg.lstsq(v.T, w.T, rcond=None)[0].T) @ v  # the projection of each filter onto the others' span
    best = ((fitted**2).sum(axis=1) / (w**2).sum(axis=1)).mean()
    assert best < 0.9
    assert linear_dependence([own], [others], [mixing]).item() == pytest.approx(best, abs=0.01)


def test_gradients_of_dependence_are_those_of_its_definition_and_products_at_hand_change_nothing():
    def numbers(*sides: int) -> list[torch.Tensor]:
        return [torch.randn(*sides, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)]

    def asked(parts: list[torch.Tensor]) -> list[torch.Tensor]:
        return [part.clone().requires_grad_() for part in parts]

    own, others = numbers(3, 5), numbers(3, 5)
    mixing = [torch.randn(len(w), len(w), dtype=torch.float64) for w in own]

    def plain(own: list[torch.Tensor], mixing: list[torch.Tensor]) -> torch.Tensor:
        parts = zip(own, others, mixing, strict=True)
        cosines = [torch.cosine_similarity(w, a @ v, dim=1).square().mean() for w, v, a in parts]
        return torch.stack(cosines).mean()

    w, a = asked(own), asked(mixing)
    expected = torch.autograd.grad(plain(w, a), [*w, *a])
    for known in (None, products(own, others), products(others, own).turned()):
        w, a = asked(own), asked(mixing)
        found = linear_dependence(w, others, a, known)
        torch.testing.assert_close(found, plain(own, mixing))
        torch.testing.assert_close(torch.autograd.grad(found, [*w, *a]), expected)


def test_filters_without_length_depend_on_nothing_and_pull_nowhere():
    own, others = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 0.0]]), torch.zeros(2, 3)
    own.requires_grad_(), (mixing := torch.ones(2, 2)).requires_grad_()
    found = linear_dependence([own], [others], [mixing])
    assert found == 0
    for gradient in torch.autograd.grad(found, [own, mixing]):
        assert gradient.eq(0).all()


def test_filters_are_rows_of_convolutions_that_are_longer_than_there_are_rows():
    network = nn.Sequential(
        nn.Conv2d(1, 9, 3),  # 9 rows of 9 numbers: any such row is a mixture of the others
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.Linear(4, 2),
        nn.ConvTranspose2d(8, 4, 2),
        nn.Conv3d(2, 3, 1),
        nn.ConvTranspose3d(2, 5, 2),
    )
    assert [tuple(weight.shape) for weight in filters(network)] == [(8, 9), (8, 16), (2, 40)]
    filters(network)[0].sum().backward()
    assert network[1].weight.grad is not None


# The two players ----------------------------------------------------------------------------------------------------
def test_a_step_seeks_better_coefficients_and_then_lowers_the_dependence_that_they_show():
    m, batch = method("caussl", weight=0.0, dice_share=0.5, dependence=50.0), toy_batch()
    before = {name: value.clone() for name, value in m.state_dict().items()}
    (player, sought), (main, terms) = stepped(m, batch, END)
    assert (player, main) == ("mixing", "main")
    assert list(sought) == ["independence_1", "independence_2"]
    for k in "12":  # the second descent sees the coefficients that the first has moved
        assert terms[f"dependence_{k}"] / 50.0 > -sought[f"independence_{k}"] > 0
    moved = {name.split(".")[0] for name, value in m.state_dict().items() if not value.equal(before[name])}
    assert moved == {"network", "network2", "mixing", "mixing2"}
    after = m.losses(batch, END)
    for k in "12":
        assert after[f"dependence_{k}"] < terms[f"dependence_{k}"]


def test_the_search_moves_coefficients_alone_and_they_keep_their_own_optimizer():
    m = method("caussl")
    players = m.optimizers(partial(SGD, lr=0.1))
    assert type(players["mixing"]) is Adam
    assert {key: players["mixing"].defaults[key] for key in ("lr", "weight_decay")} == {"lr": 0.02, "weight_decay": 0}
    held = {id(p) for group in players["mixing"].param_groups for p in group["params"]}
    assert held == {id(p) for p in [*m.mixing.parameters(), *m.mixing2.parameters()]}
    assert [tuple(p.shape) for p in m.mixing] == [(len(f), len(f)) for f in filters(m.network)]
    stds = torch.cat([p.detach().flatten() for p in m.mixing])
    assert stds.std().item() == pytest.approx(1e-3, rel=0.1)


def test_the_first_network_predicts_and_the_second_is_scored_beside_it():
    m, image = method("caussl"), torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        first, second = (torch.softmax(network(image), dim=1) for network in (m.network, m.network2))
        torch.testing.assert_close(m.predict(image), first)
        torch.testing.assert_close(m.other_predictions()["second"](image), second)
    assert not torch.allclose(first, second)
