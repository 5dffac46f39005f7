"""Entropy minimisation, UA-MT, ICT and BCP: each term against a slow reference, and who is shown what."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.types import IGNORE, Batch, Labelled, Unlabelled
from methods.base import Clock
from methods.semi import bcp
from tests.reference import losses as reference
from tests.reference import shapes
from tests.unit.semi_toys import END, MIDDLE, assert_terms, logits_of, method, moved, ramp, supervised, toy_batch


# entropy minimisation ------------------------------------------------------------------------------------------------
def test_entropy_is_minimised_on_all_images_labelled_ones_too():
    m, batch = method("entropy_minimisation", weight=2.0), toy_batch()
    logits = logits_of(m.network, batch.images)
    expected = supervised(logits[:2], batch.labelled.label) | {"entropy": 2.0 * ramp() * reference.entropy(logits)}
    assert_terms(m.losses(batch, MIDDLE), expected)


# uncertainty-aware mean teacher --------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", ["intended", "released"])
def test_ua_mt_learns_from_its_teacher_where_that_is_certain(variant: str):
    m, batch = method("ua_mt", variant=variant, noise=0.0, weight=3.0), toy_batch()
    answer = torch.softmax(2 * torch.randn(3, 3, 16, 16), dim=1)  # sure of some pixels and not of others
    m.teach = lambda image: answer.repeat(len(image) // 3, 1, 1, 1)
    student = reference.softmax(logits_of(m.network, batch.unlabelled.image))
    teacher = answer.double().numpy()
    classes = 3 if variant == "intended" else 2
    entropy = -(teacher * np.log(teacher)).sum(axis=1)  # all passes agree here
    certain = entropy < (0.75 + 0.25 * ramp()) * np.log(classes)
    assert 0 < certain.sum() < certain.size
    squares = sum(((student - teacher) ** 2)[:, k][certain].sum() for k in range(3))
    expected = supervised(logits_of(m.network, batch.labelled.image), batch.labelled.label)
    expected["consistency"] = 3.0 * ramp() * squares / (classes * certain.sum())
    assert_terms(m.losses(batch, MIDDLE), expected)


@pytest.mark.parametrize(
    ("progress", "threshold"), [(0, 0.52103), (25, 0.53027), (50, 0.56951), (75, 0.64664), (100, 0.69315)]
)
def test_ua_mt_passes_through_the_published_thresholds_of_two_classes(progress: int, threshold: float):
    m, batch = method("ua_mt", variant="released"), toy_batch()
    moved(m.teacher)
    found = []
    for uncertainty in (threshold - 1e-4, threshold + 1e-4):
        m._uncertainty = lambda image, u=uncertainty: torch.full(image[:, 0].shape, u)
        found.append(m.losses(batch, Clock(progress, 101))["consistency"].item())
    assert found[0] > 0
    assert found[1] == 0


def test_ua_mt_takes_eight_noisy_passes_two_copies_of_the_batch_at_a_time_and_another_as_target():
    m, batch = method("ua_mt"), toy_batch()
    seen: list[Tensor] = []
    m.teacher.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    m.losses(batch, MIDDLE)
    assert [len(image) for image in seen] == [3, 6, 6, 6, 6]
    copies = [copy for image in seen for copy in image.split(3)]
    noises = [copy - batch.unlabelled.image for copy in copies]
    assert all(0.05 < noise.std() < 0.15 and noise.abs().max() <= 0.2 + 1e-6 for noise in noises)
    assert len({noise.sum().item() for noise in noises}) == 9  # each its own


def test_ua_mt_uncertainty_is_the_entropy_of_the_mean_over_passes_not_the_mean_of_entropies():
    m, image = method("ua_mt", passes=3), torch.randn(2, 1, 16, 16)
    answers = torch.softmax(3 * torch.randn(3, 2, 3, 16, 16), dim=2)  # of the three passes; the last comes alone
    calls = iter([answers[:2].flatten(0, 1), answers[2]])
    m.teach = lambda _: next(calls)
    mean = answers.mean(dim=0)
    expected = -(mean * mean.log()).sum(dim=1)
    torch.testing.assert_close(m._uncertainty(image), expected, rtol=1e-4, atol=1e-5)


# interpolation consistency -------------------------------------------------------------------------------------------
def test_ict_predicts_the_mixture_of_the_teachers_predictions_on_the_mixture_of_images():
    m, batch = method("ict", weight=2.0), toy_batch(unlabelled=3)
    moved(m.teacher)
    share = torch.tensor([0.25, 0.9]).view(2, 1, 1, 1)
    m._shares = lambda pairs: share
    seen: list[Tensor] = []
    m.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    found = m.losses(batch, MIDDLE)
    u = batch.unlabelled.image
    first, second = u[:2], u[1:]  # three images make two pairs: the middle one is in both
    mixed = share * first + (1 - share) * second
    torch.testing.assert_close(seen[0], torch.cat([batch.labelled.image, mixed]))
    teach = [reference.softmax(logits_of(m.teacher, half)) for half in (first, second)]
    s = share.numpy()
    student = reference.softmax(logits_of(m.network, mixed))
    expected = supervised(logits_of(m.network, batch.labelled.image), batch.labelled.label)
    difference = reference.squared_difference(student, s * teach[0] + (1 - s) * teach[1])
    assert_terms(found, expected | {"consistency": 2.0 * ramp() * difference})


def test_ict_shares_are_drawn_per_pair_from_a_beta_distribution_that_favours_the_ends():
    # Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)) = 0.1786 for a = 0.2
    shares = method("ict")._shares(torch.zeros(4000, 1, 1, 1))
    assert shares.shape == (4000, 1, 1, 1)
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / 5.6, abs=0.01)


# bidirectional copy-paste --------------------------------------------------------------------------------------------
@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """A box at a known place instead of a random one."""
    fixed = torch.zeros(16, 16, dtype=torch.bool)
    fixed[3:11, 5:15] = True
    monkeypatch.setattr(bcp, "random_box", lambda space, share, device: fixed)
    return fixed


def summed(*parts: dict[str, float]) -> dict[str, float]:
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def test_bcp_pastes_labelled_images_into_each_other_first(box: Tensor):
    m, batch = method("bcp", pretrain=0.6), toy_batch(labelled=4)
    image, label = batch.labelled.image, batch.labelled.label
    mixed = torch.where(box, image[2:], image[:2])
    expected = supervised(logits_of(m.network, mixed), torch.where(box, label[2:], label[:2]))
    assert_terms(m.losses(batch, MIDDLE), expected | {"pseudo_ce": 0, "pseudo_dice": 0})


def test_bcp_pastes_both_ways_with_pseudo_labels_of_half_weight_afterwards(box: Tensor):
    m, batch = method("bcp"), toy_batch(labelled=4, unlabelled=4)
    moved(m.teacher, by=1.3)
    (a, b), (la, lb) = batch.labelled.image.split(2), batch.labelled.label.split(2)
    u, v = batch.unlabelled.image.split(2)
    pseudo = [torch.from_numpy(logits_of(m.teacher, half).argmax(axis=1)) for half in (u, v)]
    kept = [_largest(one) for one in pseudo]
    assert any(not torch.equal(one, other) for one, other in zip(pseudo, kept, strict=True))
    parts = []
    for mixed, known, guessed in (
        (torch.where(box, u, a), torch.where(box, IGNORE, la), torch.where(box, kept[0], IGNORE)),
        (torch.where(box, b, v), torch.where(box, lb, IGNORE), torch.where(box, IGNORE, kept[1])),
    ):
        logits = logits_of(m.network, mixed)
        weak = {f"pseudo_{name}": 0.5 * value for name, value in supervised(logits, guessed).items()}
        parts.append(supervised(logits, known) | weak)
    assert_terms(m.losses(batch, END), summed(*parts))


def test_bcp_takes_batches_of_any_size_and_the_middle_one_of_an_odd_number_twice(box: Tensor):
    m, batch = method("bcp"), toy_batch(labelled=1, unlabelled=3)
    seen: list[Tensor] = []
    m.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    m.losses(batch, END)
    one, u = batch.labelled.image, batch.unlabelled.image
    expected = torch.cat((torch.where(box, u[:2], one), torch.where(box, one, u[1:])))
    torch.testing.assert_close(torch.cat(seen), expected)


def test_bcp_teacher_is_the_student_until_the_second_phase_and_then_a_slow_average():
    m = method("bcp", pretrain=0.5)
    for clock, share in ((Clock(3, 101), 1.0), (Clock(60, 101), 0.01), (Clock(100, 101), 0.01)):
        with torch.no_grad():
            for p in m.network.parameters():
                p.add_(1.0)
        before = [p.clone() for p in m.teacher.parameters()]
        m.after_step(clock)
        for was, now, goal in zip(before, m.teacher.parameters(), m.network.parameters(), strict=True):
            torch.testing.assert_close(now, was + share * (goal - was))
        if share == 1.0:
            assert all(torch.equal(a, b) for a, b in zip(m.teacher.parameters(), m.network.parameters(), strict=True))


def test_bcp_learns_nothing_of_an_unlabelled_image_outside_of_what_is_pasted(box: Tensor):
    m, batch = method("bcp"), toy_batch(labelled=2, unlabelled=2)
    u = batch.unlabelled.image.clone()
    u[0][:, ~box] += 100.0  # shown to the teacher only
    other = Batch(Labelled(batch.labelled.image, batch.labelled.label), Unlabelled(u))
    m._pseudo = lambda *images: [torch.zeros_like(image[:, 0], dtype=torch.int64) for image in images]
    for name, term in m.losses(batch, END).items():
        assert torch.equal(term, m.losses(other, END)[name])


def _largest(label: Tensor) -> Tensor:
    kept = torch.zeros_like(label)
    for n in range(len(label)):
        for k in (1, 2):
            for at in max(shapes.components((label[n] == k).numpy()), key=len, default=()):
                kept[(n, *at)] = k
    return kept
