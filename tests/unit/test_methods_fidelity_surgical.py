"""Methods of two labelled views: each term against a slow reference, who learns from what, and what is released.

In eval mode the networks and heads have no batch statistics, so a loss can be recomputed from their outputs.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import SGD

from datasets.types import IGNORE, Batch, Labelled, Unlabelled
from methods.base import Method, Terms
from methods.losses.overlap import one_hot
from methods.views import two_views
from tests.reference import losses
from tests.reference import two_views as reference
from tests.unit.semi_toys import MIDDLE, assert_terms, method, reached

NAMES = ("min_max_similarity", "duo_segnet", "deep_co_training")


def toy_batch(per_view: int = 2, unlabelled: int = 3) -> Batch:
    label = torch.randint(0, 3, (2 * per_view, 16, 16))
    return Batch(Labelled(torch.randn(2 * per_view, 1, 16, 16), label), Unlabelled(torch.randn(unlabelled, 1, 16, 16)))


def outputs(m: Method, batch: Batch) -> list[np.ndarray]:
    """Logits of the first network on its view, the second on its, and of both on the unlabelled images."""
    n = len(batch.labelled.image) // 2
    image = batch.unlabelled.image
    given = ((m.network, batch.labelled.image[:n]), (m.network2, batch.labelled.image[n:]))
    with torch.no_grad():
        return [network(x).numpy() for network, x in (*given, (m.network, image), (m.network2, image))]


def supervised(logits: np.ndarray, label: Tensor) -> tuple[float, float]:
    """½ cross-entropy and ½ Dice."""
    label = label.numpy()
    return losses.cross_entropy(logits, label) / 2, losses.dice_loss(losses.softmax(logits), label) / 2


# all of them ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_each_network_sees_labels_of_its_own_half_only(name: str):
    m, batch = method(name), toy_batch()
    found = m.losses(batch, MIDDLE)
    label = batch.labelled.label.clone()
    label[2:] = (label[2:] + 1) % 3
    other = m.losses(Batch(Labelled(batch.labelled.image, label), batch.unlabelled), MIDDLE)
    own = [k for k in found if k.endswith("_1") and k.split("_")[0] in ("structure", "ce", "dice")]
    theirs = [k.replace("_1", "_2") for k in own]
    assert own
    assert all(torch.equal(found[k], other[k]) for k in own)
    assert all(not torch.equal(found[k], other[k]) for k in theirs)
    for k, mine, second in zip(own, [m.network] * len(own), [m.network2] * len(own), strict=True):
        assert reached(found[k], mine)
        assert not reached(found[k], second)


@pytest.mark.parametrize("name", NAMES)
def test_shared_labels_are_those_of_both_halves_for_both_networks(name: str):
    m, batch = method(name, share_labels=True), toy_batch()
    found = m.losses(batch, MIDDLE)
    image, label = batch.labelled.image, batch.labelled.label
    for k, network in ((1, m.network), (2, m.network2)):
        with torch.no_grad():
            logits = network(image).numpy()
        if name == "min_max_similarity":
            expected = {"structure": reference.structure(logits, one_hot(label, 3).numpy()) / 4}
        else:
            expected = dict(zip(("ce", "dice"), supervised(logits, label), strict=True))
        for term, value in expected.items():
            assert found[f"{term}_{k}"].item() == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_of_both_networks_predicts_unless_one_is_asked_for(name: str):
    image = torch.randn(1, 1, 16, 16)
    m = method(name)
    with torch.no_grad():
        first, second = (losses.softmax(network(image).numpy()) for network in (m.network, m.network2))
        assert not np.allclose(first, second, atol=1e-3)
        for evaluate, expected in (("mean", (first + second) / 2), ("first", first), ("second", second)):
            chosen = method(name, evaluate=evaluate)
            chosen.load_state_dict(m.state_dict())
            np.testing.assert_allclose(chosen.predict(image).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_an_odd_labelled_batch_has_no_two_views():
    with pytest.raises(ValueError, match="even labelled batch, got 3"):
        two_views(Labelled(torch.zeros(3, 1, 4, 4), torch.zeros(3, 4, 4, dtype=torch.int64)))


# min-max similarity --------------------------------------------------------------------------------------------------
def features(m: Method, batch: Batch) -> list[np.ndarray]:
    """Of the classifiers on the labelled logits, then of the projectors on the unlabelled ones."""
    heads = (m.classifier, m.classifier2, m.projector, m.projector2)
    with torch.no_grad():
        return [head(torch.from_numpy(z)).numpy() for head, z in zip(heads, outputs(m, batch), strict=True)]


def test_min_max_similarity_is_a_quarter_of_each_of_four_terms():
    m, batch = method("min_max_similarity", grid=0.0), toy_batch()
    labelled, labelled2, free, free2 = outputs(m, batch)
    c, c2, p, p2 = features(m, batch)
    target = one_hot(batch.labelled.label, 3).numpy()
    agreement = reference.structure(free, losses.softmax(free2)) + reference.structure(free2, losses.softmax(free))
    contrast = reference.position_contrast(p, p2, 0.07) + reference.position_contrast(p2, p, 0.07)
    repulsion = reference.repulsion(c, c2, 0.07) + reference.repulsion(c2, c, 0.07)
    expected = {
        "structure_1": reference.structure(labelled, target[:2]) / 4,
        "structure_2": reference.structure(labelled2, target[2:]) / 4,
        "agreement": agreement / 4,
        "contrast": contrast / 8,
        "repulsion": repulsion / 8,
    }
    assert_terms(m.losses(batch, MIDDLE), expected)


def test_released_min_max_similarity_has_one_key_unit_l1_length_and_no_diagonal():
    m, batch = method("min_max_similarity", grid=0.0, variant="released"), toy_batch()
    c, c2, p, p2 = features(m, batch)
    found = m.losses(batch, MIDDLE)
    assert found["contrast"].item() == pytest.approx(reference.position_contrast(p, p2, 0.07, 1) / 4, rel=1e-4)
    assert found["repulsion"].item() == pytest.approx(reference.repulsion(c, c2, 0.07, 1, False) / 4, rel=1e-4)


@pytest.mark.parametrize("variant", ["intended", "released"])
def test_what_min_max_similarity_teaches_whom(variant: str):
    m, batch = method("min_max_similarity", variant=variant), toy_batch()
    found = m.losses(batch, MIDDLE)
    parts = {name: getattr(m, name) for name in ("network", "network2")}
    parts |= {name + k: getattr(m, name + k) for name in ("projector", "classifier") for k in ("", "2")}
    taught = {term: {name for name, part in parts.items() if reached(found[term], part)} for term in found}
    both, released = {"network", "network2"}, variant == "released"
    assert taught == {
        "structure_1": {"network"},
        "structure_2": {"network2"},
        "agreement": set() if released else both,
        "contrast": {"network"} if released else both | {"projector", "projector2"},
        "repulsion": {"network"} if released else both | {"classifier", "classifier2"},
    }


def test_both_networks_see_one_grid_on_unlabelled_images_and_none_on_labelled_ones():
    m, batch = method("min_max_similarity", grid=1.0), toy_batch()
    seen: dict[str, list[Tensor]] = {"network": [], "network2": []}
    for name, calls in seen.items():
        getattr(m, name).register_forward_pre_hook(lambda _, given, calls=calls: calls.append(given[0]))
    image = torch.rand(3, 1, 16, 16)
    kept = image.clone()
    m.losses(Batch(batch.labelled, Unlabelled(image)), MIDDLE)
    (labelled, gridded), (labelled2, gridded2) = (torch.cat(calls).split([2, 3]) for calls in seen.values())
    assert torch.equal(labelled, batch.labelled.image[:2])
    assert torch.equal(labelled2, batch.labelled.image[2:])
    assert torch.equal(gridded, gridded2)
    hidden = (gridded != image).float().mean()
    assert 0 < hidden < 1
    assert torch.equal(image, kept)


def test_a_bound_on_positions_pools_the_features():
    # 4 x 4 positions of a projector on 16 x 16 pixels; four are left, the means of 2 x 2
    m, batch = method("min_max_similarity", grid=0.0, positions=4), toy_batch()
    p, p2 = (f.reshape(3, 16, 2, 2, 2, 2).mean(axis=(3, 5)) for f in features(m, batch)[2:])
    expected = (reference.position_contrast(p, p2, 0.07) + reference.position_contrast(p2, p, 0.07)) / 8
    assert m.losses(batch, MIDDLE)["contrast"].item() == pytest.approx(expected, rel=1e-4)


def test_heads_put_out_16_channels_at_a_quarter_and_32_at_an_eighth_of_the_side():
    m = method("min_max_similarity")
    logits = torch.randn(1, 3, 32, 16)
    assert m.projector(logits).shape == (1, 16, 8, 4)
    assert m.classifier(logits).shape == (1, 32, 4, 2)


# duo-segnet ----------------------------------------------------------------------------------------------------------
def verdict(m: Method, maps: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return m.critic(torch.from_numpy(maps.astype(np.float32))).numpy().astype(np.float64)


def to_real(logits: np.ndarray) -> float:
    """Mean of -ln sigmoid."""
    return float(np.log1p(np.exp(-logits)).mean())


def test_duo_segnet_adds_agreement_and_the_verdicts_on_all_maps():
    m, batch = method("duo_segnet", critic_width=4), toy_batch()
    labelled, labelled2, free, free2 = outputs(m, batch)
    ce, dice = supervised(labelled, batch.labelled.label[:2])
    ce2, dice2 = supervised(labelled2, batch.labelled.label[2:])
    p, p2, q, q2 = (losses.softmax(z) for z in (labelled, labelled2, free, free2))
    expected = {
        "ce_1": ce,
        "dice_1": dice,
        "ce_2": ce2,
        "dice_2": dice2,
        "agreement": 0.4 * (reference.soft_cross_entropy(free, q2) + reference.soft_cross_entropy(free2, q)),
        "adversarial_labelled": 0.2 * (to_real(verdict(m, p)) + to_real(verdict(m, p2))),
        "adversarial_unlabelled": 0.2 * (to_real(verdict(m, q)) + to_real(verdict(m, q2))),
    }
    assert_terms(m.losses(batch, MIDDLE), expected)


@pytest.mark.parametrize("variant", ["intended", "released"])
def test_what_duo_segnet_teaches_whom(variant: str):
    m, batch = method("duo_segnet", critic_width=4, variant=variant), toy_batch()
    found = m.losses(batch, MIDDLE)
    taught = {k: tuple(reached(found[k], part) for part in (m.network, m.network2, m.critic)) for k in found}
    live = variant == "intended"
    assert taught == {
        "ce_1": (True, False, False),
        "dice_1": (live, False, False),
        "ce_2": (False, True, False),
        "dice_2": (False, live, False),
        "agreement": (live, live, False),
        "adversarial_labelled": (live, live, False),
        "adversarial_unlabelled": (True, True, False),
    }


@pytest.mark.parametrize("variant", ["intended", "released"])
def test_duo_segnet_critic_compares_labels_with_the_maps_that_were_made(variant: str):
    m, batch = method("duo_segnet", critic_width=4, variant=variant), toy_batch()
    batch.labelled.label[0, :4] = IGNORE
    known = batch.labelled.label.where(batch.labelled.label != IGNORE, torch.tensor(0))  # outside is background
    maps = [losses.softmax(z) for z in outputs(m, batch)]
    shown: list[tuple[str, Terms]] = []
    m.step(batch, MIDDLE, lambda terms, player="main": shown.append((player, terms)))
    assert [player for player, _ in shown] == ["main", "critic"]
    made = np.concatenate(maps if variant == "intended" else maps[:2])
    real = to_real(verdict(m, one_hot(known, 3).numpy()))
    assert_terms(shown[1][1], {"critic_real": real, "critic_made": to_real(-verdict(m, made))})
    assert all(reached(term, m.critic) and not reached(term, m.network) for term in shown[1][1].values())


def test_duo_segnet_critic_sees_single_pixels_and_has_its_own_optimizer():
    m = method("duo_segnet")
    probs = torch.rand(1, 3, 8, 8)
    other = probs.clone()
    other[..., 5, 2] += 0.5
    changed = (m.critic(probs) != m.critic(other)).nonzero().tolist()
    assert changed == [[0, 0, 5, 2]]
    optimizers = m.optimizers(partial(SGD, lr=0.1))
    held = {k: {id(p) for group in o.param_groups for p in group["params"]} for k, o in optimizers.items()}
    assert held["main"] & held["critic"] == set()
    assert held["main"] | held["critic"] == {id(p) for p in m.parameters()}
    assert isinstance(optimizers["critic"], torch.optim.RMSprop)
    assert optimizers["critic"].defaults["lr"] == 5e-5


def test_duo_segnet_takes_a_critic_of_patches():
    m = method("duo_segnet", critic="patch", critic_width=2)
    image, label = torch.randn(2, 1, 32, 32), torch.zeros(2, 32, 32, dtype=torch.int64)
    found = m.losses(Batch(Labelled(image, label), Unlabelled(torch.randn(1, 1, 32, 32))), MIDDLE)
    assert reached(found["adversarial_unlabelled"], m.network2)
