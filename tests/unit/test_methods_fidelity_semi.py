"""Semi-supervised methods: each term against a slow reference of its formula, and who learns from what.

In eval mode the networks have neither dropout nor batch statistics, so a loss can be recomputed from their outputs.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import SGD

from datasets.types import Batch, Unlabelled
from methods.base import Clock, Method, Terms
from tests.reference import losses as reference
from tests.unit.semi_toys import MIDDLE, assert_terms, logits_of, method, ramp, toy_batch

RAMP = ramp()


def supervised(logits: np.ndarray, label: Tensor) -> tuple[float, float]:
    """½ cross-entropy and ½ Dice."""
    return (
        reference.cross_entropy(logits, label.numpy()) / 2,
        reference.dice_loss(reference.softmax(logits), label.numpy()) / 2,
    )


# supervised ----------------------------------------------------------------------------------------------------------
def test_supervised_is_half_cross_entropy_and_half_dice_of_the_labelled_images():
    m, batch = method("supervised"), toy_batch()
    ce, dice = supervised(logits_of(m.network, batch.labelled.image), batch.labelled.label)
    assert_terms(m.losses(batch, MIDDLE), {"ce": ce, "dice": dice})
    assert_terms(m.losses(Batch(batch.labelled), MIDDLE), {"ce": ce, "dice": dice})


# mean teacher --------------------------------------------------------------------------------------------------------
def test_mean_teacher_adds_the_ramped_squared_difference_to_its_teacher_on_unlabelled_images():
    m, batch = method("mean_teacher", noise=0.0, weight=2.0), toy_batch()
    with torch.no_grad():
        for p in m.teacher.parameters():
            p.mul_(1.1)  # another network than the student
    ce, dice = supervised(logits_of(m.network, batch.labelled.image), batch.labelled.label)
    student = reference.softmax(logits_of(m.network, batch.unlabelled.image))
    teacher = reference.softmax(logits_of(m.teacher, batch.unlabelled.image))
    consistency = 2.0 * RAMP * reference.squared_difference(student, teacher)
    assert consistency > 0
    assert_terms(m.losses(batch, MIDDLE), {"ce": ce, "dice": dice, "consistency": consistency})


def test_noise_reaches_the_teacher_and_never_the_student():
    batch = toy_batch()
    seen: dict[str, Tensor] = {}
    m = method("mean_teacher", noise=0.5, noise_clip=0.1)
    m.network.register_forward_pre_hook(lambda _, args: seen.update(student=args[0]))
    m.teacher.register_forward_pre_hook(lambda _, args: seen.update(teacher=args[0]))
    m.losses(batch, MIDDLE)
    assert torch.equal(seen["student"], batch.images)
    noise = seen["teacher"] - batch.unlabelled.image
    assert noise.abs().max().item() == pytest.approx(0.1, abs=1e-6)
    assert noise.std() > 0.05


def test_teacher_follows_the_student_with_the_published_decay():
    m = method("mean_teacher")
    start = [p.clone() for p in m.teacher.parameters()]
    with torch.no_grad():
        for p in m.network.parameters():
            p.add_(1.0)
    m.after_step(Clock(step=3, total=10))  # decay 1 - 1/4
    for was, now in zip(start, m.teacher.parameters(), strict=True):
        torch.testing.assert_close(now, was + 0.25)
    m.after_step(Clock(step=0, total=10))  # decay 0
    assert all(torch.equal(a, b) for a, b in zip(m.teacher.parameters(), m.network.parameters(), strict=True))


def test_mean_teacher_evaluates_the_student_unless_asked_for_the_teacher():
    image = torch.randn(1, 1, 16, 16)
    for evaluate in ("student", "teacher"):
        m = method("mean_teacher", evaluate=evaluate)
        with torch.no_grad():
            for p in m.teacher.parameters():
                p.mul_(1.5)
        chosen = m.network if evaluate == "student" else m.teacher
        expected = reference.softmax(logits_of(chosen, image))
        np.testing.assert_allclose(m.predict(image).detach().numpy(), expected, rtol=1e-4, atol=1e-6)


# cross pseudo supervision --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", ["intended", "released"])
def test_cps_networks_learn_from_each_others_most_probable_classes(variant: str):
    m, batch = method("cps", variant=variant, weight=3.0), toy_batch()
    first, second = logits_of(m.network, batch.images), logits_of(m.network2, batch.images)
    ce1, dice1 = supervised(first[:2], batch.labelled.label)
    ce2, dice2 = supervised(second[:2], batch.labelled.label)
    part = slice(2, None) if variant == "released" else slice(None)  # released: unlabelled images only
    expected = {"ce_1": ce1, "dice_1": dice1, "ce_2": ce2, "dice_2": dice2}
    for name, learner, guide in (("pseudo_1", first[part], second[part]), ("pseudo_2", second[part], first[part])):
        expected[name] = 3.0 * RAMP * reference.cross_entropy(learner, guide.argmax(axis=1))
    assert_terms(m.losses(batch, MIDDLE), expected)


def test_cps_pseudo_labels_teach_one_network_each():
    m = method("cps")
    m.losses(toy_batch(), MIDDLE)["pseudo_1"].backward()
    assert all(p.grad is None for p in m.network2.parameters())
    assert any(p.grad.abs().max() > 0 for p in m.network.parameters())


def test_cps_networks_start_different_and_the_first_predicts_unless_the_mean_is_asked_for():
    image = torch.randn(1, 1, 16, 16)
    m = method("cps")
    first, second = (reference.softmax(logits_of(n, image)) for n in (m.network, m.network2))
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_allclose(m.predict(image).detach().numpy(), first, rtol=1e-4, atol=1e-6)
    m.hyper = type(m.hyper)(evaluate="mean")
    np.testing.assert_allclose(m.predict(image).detach().numpy(), (first + second) / 2, rtol=1e-4, atol=1e-6)


# deep adversarial network --------------------------------------------------------------------------------------------
def test_dan_rewards_unlabelled_segmentations_that_the_critic_takes_for_labelled_ones():
    m, batch = method("dan", critic_width=4), toy_batch()
    ce, dice = supervised(logits_of(m.network, batch.labelled.image), batch.labelled.label)
    probs = reference.softmax(logits_of(m.network, batch.unlabelled.image)).astype(np.float32)
    with torch.no_grad():
        verdict = reference.softmax(m.critic(torch.from_numpy(probs), batch.unlabelled.image).numpy())
    adversarial = 0.1 * RAMP * -np.log(verdict[:, 1]).mean()  # class 1 = labelled
    assert_terms(m.losses(batch, MIDDLE), {"ce": ce, "dice": dice, "adversarial": float(adversarial)})


def steps_of(m: Method, batch: Batch) -> list[tuple[str, dict[str, float]]]:
    """One step with plain descent at rate 0.1; what each ``descend`` was given."""
    optimizers = m.optimizers(partial(SGD, lr=0.1))
    given = []

    def descend(terms: Terms, player: str = "main") -> None:
        given.append((player, {name: term.item() for name, term in terms.items()}))
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizers[player].step()

    m.step(batch, MIDDLE, descend)
    return given


def test_dan_critic_learns_after_the_segmenter_from_its_updated_segmentations_of_all_images():
    m, batch = method("dan", critic_width=4), toy_batch()
    m.network.train()
    m.critic.eval()  # no dropout in the critic, so that its loss can be recomputed
    before = [p.clone() for p in m.critic.parameters()]
    (first, _), (second, terms) = steps_of(m, batch)
    assert (first, second, list(terms)) == ("main", "critic", ["critic"])
    assert m.network.training  # back in its own mode
    updated = m.eval().network
    probs = torch.from_numpy(reference.softmax(logits_of(updated, batch.images)).astype(np.float32))
    after = [p.clone() for p in m.critic.parameters()]
    with torch.no_grad():
        for p, was in zip(m.critic.parameters(), before, strict=True):
            p.copy_(was)
        verdict = reference.softmax(m.critic(probs, batch.images).numpy())
    # two labelled images are class 1, three unlabelled class 0
    expected = -(np.log(verdict[:2, 1]).sum() + np.log(verdict[2:, 0]).sum()) / 5
    assert terms["critic"] == pytest.approx(expected, rel=1e-4)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_dan_critic_takes_no_gradient_from_the_segmenters_step_and_is_itself_again_afterwards():
    m = method("dan", critic_width=4).train()
    m.losses(toy_batch(), MIDDLE)["adversarial"].backward()
    assert all(p.grad is None for p in m.critic.parameters())
    assert any(p.grad.abs().max() > 0 for p in m.network.parameters() if p.grad is not None)
    assert m.critic.training
    assert all(p.requires_grad for p in m.critic.parameters())


def test_dan_players_hold_disjoint_parameters_that_together_are_all():
    m = method("dan", critic_width=4)
    optimizers = m.optimizers(partial(SGD, lr=0.1))
    held = {k: {id(p) for group in o.param_groups for p in group["params"]} for k, o in optimizers.items()}
    assert held["main"] & held["critic"] == set()
    assert held["main"] | held["critic"] == {id(p) for p in m.parameters()}
    assert optimizers["critic"].defaults["lr"] == 1e-4
    assert optimizers["critic"].defaults["betas"] == (0.9, 0.99)


# all of them ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["mean_teacher", "cps", "dan"])
def test_without_weight_the_labelled_images_alone_teach(name: str):
    m, batch = method(name, weight=0.0), toy_batch()
    other = Batch(batch.labelled, Unlabelled(torch.randn_like(batch.unlabelled.image)))
    gradients = []
    for b in (batch, other):
        m.zero_grad()
        torch.stack(list(m.losses(b, MIDDLE).values())).sum().backward()
        gradients.append([p.grad.clone() for p in m.network.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["mean_teacher", "cps", "dan"])
def test_one_labelled_and_one_unlabelled_image_are_enough(name: str):
    terms = method(name).train().losses(toy_batch(labelled=1, unlabelled=1), MIDDLE)
    assert all(term.isfinite() for term in terms.values())
