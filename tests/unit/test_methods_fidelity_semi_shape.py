"""DTC and SASSNet: distance heads, their targets and the critic against slow references."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.optim import SGD

from datasets.types import Batch, Labelled
from methods.base import Method, Terms
from methods.semi import dtc
from tests.reference import losses as reference
from tests.reference import shapes
from tests.unit.semi_toys import MIDDLE, assert_terms, blobs, method, ramp, reached, toy_batch


def outputs(m: Method, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and signed distances of all images, in evaluation mode."""
    with torch.no_grad():
        features = m.network.decode(m.network.encode(batch.images))
        probs = reference.softmax(m.network.head(features).numpy())
        return probs, np.tanh(m.distance_head(features).double().numpy())


def targets(batch: Batch, absent: float = 1.0) -> np.ndarray:
    label = batch.labelled.label.numpy()
    return np.stack([[shapes.signed_distances(one == k, absent) for k in (1, 2)] for one in label])


def without_class_two(batch: Batch) -> Batch:
    label = batch.labelled.label
    return Batch(Labelled(batch.labelled.image, torch.where(label == 2, 0, label)), batch.unlabelled)


def foreground_dice(probs: np.ndarray, batch: Batch) -> float:
    n = len(batch.labelled.image)
    return sum(reference.dice_losses(probs[:n], batch.labelled.label.numpy())[1:]) / 2


# dual-task consistency -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("variant", "absent"), [("intended", 1.0), ("released", 0.0)])
def test_dtc_regresses_distances_and_compares_the_tasks_on_all_images(variant: str, absent: float):
    m, batch = method("dtc", variant=variant, weight=2.0, steepness=5.0), without_class_two(blobs())
    probs, distance = outputs(m, batch)
    inside = 1 / (1 + np.exp(5.0 * distance))  # negative distances are inside
    expected = {
        "dice": foreground_dice(probs, batch),
        "distance": 0.3 * reference.squared_difference(distance[:2], targets(batch, absent)),
        "consistency": 2.0 * ramp() * reference.squared_difference(inside, probs[:, 1:]),
    }
    assert_terms(m.losses(batch, MIDDLE), expected)


def test_dtc_turns_distances_into_a_segmentation_whose_gradient_lives_at_the_boundary():
    # sigmoid(-1500 s): 1/2 at 0, saturated a hundredth away, with the sign of inside negative
    distance = torch.tensor([-1.0, -0.02, 0.0, 0.02, 1.0], requires_grad=True)
    inside = dtc._inside(distance, 1500.0)
    inside.sum().backward()
    torch.testing.assert_close(inside.detach(), torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0]))
    assert distance.grad.isfinite().all()
    assert distance.grad[2].item() == pytest.approx(-1500 / 4)
    assert distance.grad[[0, 1, 3, 4]].abs().max() < 1e-6


def test_dtc_consistency_moves_both_heads():
    m = method("dtc", steepness=5.0)
    term = m.losses(toy_batch(), MIDDLE)["consistency"]
    assert reached(term, m.network.head)
    assert reached(term, m.distance_head)


# shape-aware adversarial ---------------------------------------------------------------------------------------------
def test_sassnet_rewards_unlabelled_shapes_that_the_critic_takes_for_labelled_ones():
    m, batch = method("sassnet", critic_width=4, weight=0.5), blobs()
    probs, distance = outputs(m, batch)
    with torch.no_grad():
        verdict = m.critic(torch.from_numpy(distance[2:]).float(), batch.unlabelled.image)
    adversarial = -np.log(reference.softmax(verdict.numpy())[:, 1]).mean()  # class 1 = labelled
    expected = {
        "dice": foreground_dice(probs, batch),
        "distance": 0.3 * reference.squared_difference(distance[:2], targets(batch)),
        "adversarial": 0.5 * ramp() * float(adversarial),
    }
    assert_terms(m.losses(batch, MIDDLE), expected)


def test_sassnet_released_takes_an_absent_class_for_boundary_everywhere():
    batch = without_class_two(blobs())
    for variant, absent in (("intended", 1.0), ("released", 0.0)):
        m = method("sassnet", critic_width=4, variant=variant)
        _, distance = outputs(m, batch)
        expected = 0.3 * reference.squared_difference(distance[:2], targets(batch, absent))
        assert m.losses(batch, MIDDLE)["distance"].item() == pytest.approx(expected, rel=1e-4)


def test_sassnet_critic_learns_after_the_segmenter_from_its_updated_shapes_of_all_images():
    m, batch = method("sassnet", critic_width=4), blobs(labelled=2, unlabelled=3)
    m.network.train()
    critic = [p.clone() for p in m.critic.parameters()]
    players = m.optimizers(partial(SGD, lr=0.1))
    given: list[tuple[str, dict[str, float]]] = []

    def descend(terms: Terms, player: str = "main") -> None:
        given.append((player, {name: term.item() for name, term in terms.items()}))
        for optimizer in players.values():
            optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        players[player].step()

    m.step(batch, MIDDLE, descend)
    assert [(player, list(terms)) for player, terms in given][1:] == [("critic", ["critic"])]
    assert m.network.training  # back in its own mode
    shapes_now = torch.from_numpy(outputs(m.eval(), batch)[1]).float()
    with torch.no_grad():
        for p, was in zip(m.critic.parameters(), critic, strict=True):
            p.copy_(was)
        verdict = reference.softmax(m.critic(shapes_now, batch.images).numpy())
    expected = -(np.log(verdict[:2, 1]).sum() + np.log(verdict[2:, 0]).sum()) / 5
    assert given[1][1]["critic"] == pytest.approx(expected, rel=1e-4)


def test_sassnet_players_hold_disjoint_parameters_that_together_are_all():
    m = method("sassnet", critic_width=4)
    players = m.optimizers(partial(SGD, lr=0.1))
    held = {k: {id(p) for group in o.param_groups for p in group["params"]} for k, o in players.items()}
    assert held["main"] & held["critic"] == set()
    assert held["main"] | held["critic"] == {id(p) for p in m.parameters()}


def test_an_empty_and_a_full_crop_are_finite_for_both():
    batch = blobs()
    for value in (0, 1):
        label = torch.full_like(batch.labelled.label, value)
        for name in ("dtc", "sassnet"):
            terms = method(name).losses(Batch(Labelled(batch.labelled.image, label), batch.unlabelled), MIDDLE)
            assert all(math.isfinite(term.item()) for term in terms.values())
