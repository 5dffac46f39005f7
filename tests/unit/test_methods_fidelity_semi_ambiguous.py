"""AC-MT: which pixels it learns from, against a slow reference, and who is shown what."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.base import Clock, Method
from methods.semi import ac_mt
from tests.reference import losses as reference
from tests.unit.semi_toys import END, MIDDLE, assert_terms, logits_of, method, moved, ramp, supervised, toy_batch


def taught(m: Method, answer: Tensor) -> Tensor:
    """The teacher says ``answer`` of every image, whatever it sees."""
    m.teach = lambda image: answer.repeat(len(image) // len(answer), *[1] * (answer.ndim - 1))
    return answer


def entropies(probs: np.ndarray) -> np.ndarray:
    """In nats, pixel by pixel."""
    found = np.zeros(probs[:, 0].shape)
    for n, *at in np.ndindex(*found.shape):
        found[(n, *at)] = -sum(p * math.log(p) for p in probs[(n, slice(None), *at)] if p > 0)
    return found


def expected_terms(m: Method, batch, teacher: np.ndarray, chosen: np.ndarray, weight: float) -> dict[str, float]:
    """Supervised terms, and ``weight`` times the mean over classes and chosen pixels of the squared difference."""
    student = reference.softmax(logits_of(m.network, batch.unlabelled.image))
    assert 0 < chosen.sum() < chosen.size
    difference = reference.squared_difference(student, teacher, chosen)
    return supervised(logits_of(m.network, batch.labelled.image), batch.labelled.label) | {
        "consistency": weight * difference
    }


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("classes", [2, 3])
def test_ac_mt_learns_from_its_teacher_where_the_student_is_torn(ndim: int, classes: int):
    m = method("ac_mt", ndim=ndim, classes=classes, weight=3.0, ramp=1.0)
    batch = toy_batch(ndim=ndim, classes=classes)
    answer = taught(m, torch.softmax(2 * torch.randn(3, classes, *(16,) * ndim), dim=1))
    student = reference.softmax(logits_of(m.network, batch.unlabelled.image))
    threshold = 0.75 + 0.2 * math.exp(-5 / 4)  # at half of training, in ln 2 whatever the number of classes
    torn = entropies(student) >= threshold * math.log(2)
    assert_terms(m.losses(batch, MIDDLE), expected_terms(m, batch, answer.double().numpy(), torn, 3.0 * ramp()))


@pytest.mark.parametrize(("progress", "threshold"), [(0, 0.7513476), (50, 0.8073010), (100, 0.95)])
def test_the_threshold_of_ac_mt_rises_from_three_quarters_to_nineteen_twentieths_of_ln_2(
    progress: int, threshold: float
):
    # 0.75 + 0.2 exp(-5 (1 - t)²): exp(-5) = 0.0067379 at 0, exp(-5/4) = 0.2865048 at half
    m, batch = method("ac_mt"), toy_batch()
    moved(m.teacher)
    found = []
    for entropy in (threshold - 1e-4, threshold + 1e-4):
        m._entropy = lambda probs, image, e=entropy: torch.full(image[:, 0].shape, e * math.log(2))
        found.append(m.losses(batch, Clock(progress, 101))["consistency"].item())
    assert found[0] == 0
    assert found[1] > 0


def test_with_a_threshold_of_zero_ac_mt_is_a_mean_teacher():
    batch = toy_batch()
    found = []
    for name, hyper in (("ac_mt", {"start": 0.0, "end": 0.0}), ("mean_teacher", {})):
        torch.manual_seed(3)
        m = method(name, ramp=0.75, **hyper)
        moved(m.teacher)
        torch.manual_seed(4)
        found.append(m.losses(batch, MIDDLE))
    assert_terms(found[0], {term: value.item() for term, value in found[1].items()})


def test_ac_mt_shows_noise_to_the_teacher_alone_and_clean_images_to_the_student():
    m, batch = method("ac_mt", noise=0.5, noise_clip=0.1), toy_batch()
    shown: dict[str, list[Tensor]] = {"network": [], "teacher": []}
    for part, images in shown.items():
        getattr(m, part).register_forward_pre_hook(lambda _, given, images=images: images.append(given[0]))
    m.losses(batch, END)
    assert len(shown["network"]) == len(shown["teacher"]) == 1
    assert torch.equal(shown["network"][0], batch.images)
    noise = shown["teacher"][0] - batch.unlabelled.image
    assert noise.abs().max().item() == pytest.approx(0.1, abs=1e-6)
    assert noise.std() > 0.05


def test_the_choice_of_pixels_sends_no_gradient_and_the_difference_sends_it_where_the_choice_fell():
    m, batch = method("ac_mt"), toy_batch()
    taught(m, torch.softmax(2 * torch.randn(3, 3, 16, 16), dim=1))
    logits: list[Tensor] = []
    m.network.register_forward_hook(lambda *given: logits.append(given[2]))
    term = m.losses(batch, END)["consistency"]
    (gradient,) = torch.autograd.grad(term, logits)
    student = reference.softmax(logits[0].detach().numpy()[2:])
    torn = entropies(student) >= 0.95 * math.log(2)
    assert not gradient[:2].any()  # of labelled images
    assert np.array_equal(gradient[2:].abs().sum(dim=1).numpy() > 0, torn)


# under dropout --------------------------------------------------------------------------------------------------------
def test_under_dropout_the_teachers_mean_prediction_chooses_what_ua_mt_leaves_out():
    answer = torch.softmax(2 * torch.randn(3, 2, 16, 16), dim=1)
    batch, terms = toy_batch(classes=2), []
    m = method("ac_mt", classes=2, rule="dropout", start=0.9, end=0.9, weight=1.0, ramp=0.0)
    taught(m, answer)
    teacher = answer.double().numpy()
    torn = entropies(teacher) >= 0.9 * math.log(2)
    terms.append(m.losses(batch, END))
    assert_terms(terms[0], expected_terms(m, batch, teacher, torn, 1.0))


def test_under_dropout_ac_mt_takes_the_target_and_eight_noisy_passes_of_the_teacher():
    m, batch = method("ac_mt", rule="dropout"), toy_batch()
    seen: list[Tensor] = []
    m.teacher.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    m.losses(batch, MIDDLE)
    assert [len(image) for image in seen] == [3, 6, 6, 6, 6]
    noises = [copy - batch.unlabelled.image for image in seen for copy in image.split(3)]
    assert len({noise.sum().item() for noise in noises}) == 9  # each its own


# the control ----------------------------------------------------------------------------------------------------------
def chosen_by(m: Method, batch, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The mask that reaches the loss."""
    masks: list[Tensor] = []
    kept = ac_mt.squared_difference
    monkeypatch.setattr(
        ac_mt, "squared_difference", lambda probs, target, mask: (masks.append(mask), kept(probs, target, mask))[1]
    )
    m.losses(batch, MIDDLE)
    monkeypatch.undo()
    return masks[0].numpy()


def test_chance_takes_as_many_pixels_of_every_image_as_entropy_does_and_other_ones(monkeypatch: pytest.MonkeyPatch):
    batch = toy_batch(unlabelled=4)
    masks = []
    for rule in ("entropy", "random", "random"):
        torch.manual_seed(5)
        m = method("ac_mt", rule=rule)
        torch.manual_seed(len(masks))
        masks.append(chosen_by(m, batch, monkeypatch))
    entropy, first, second = masks
    counts = entropy.sum(axis=(1, 2))
    assert len(set(counts.tolist())) > 1  # so that images are not mixed up
    assert first.sum(axis=(1, 2)).tolist() == second.sum(axis=(1, 2)).tolist() == counts.tolist()
    assert not np.array_equal(first, second)
    # by chance a share q² is in both of two masks of q; over 256 pixels the standard error is q (1 - q) / 16 < 0.016
    share = entropy.mean(axis=(1, 2))
    overlap = (entropy & first).mean(axis=(1, 2))
    assert np.all(np.abs(overlap - share**2) < 0.06)


def test_chance_takes_every_pixel_as_often():
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 0, :2] = True  # two of sixteen
    drawn = torch.stack([ac_mt._elsewhere(mask) for _ in range(2000)]).float().mean(dim=0)
    # the standard error of a share of 1/8 in 2000 draws is sqrt(1/8 * 7/8 / 2000) = 0.0074; five of them
    assert (drawn - 1 / 8).abs().max() < 0.037
