"""AD-MT: its pseudo labels against a slow reference, its views and boxes, and whose turn it is."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.base import Clock, Method
from methods.semi import ad_mt
from tests.reference import losses as reference
from tests.unit.semi_toys import END, MIDDLE, assert_terms, logits_of, method, moved, ramp, supervised, toy_batch

CONFLICT, STUDENT_WINS, PASTED, UNSURE = range(4)
"""What pixels can be, so that a test can ask for some of each."""


def answers(ndim: int, classes: int = 3, n: int = 3) -> tuple[Tensor, Tensor]:
    """What two teachers say of some images: unsure of many pixels, and not of one mind."""
    made = [torch.softmax(1.5 * torch.randn(n, classes, *(16,) * ndim), dim=1) for _ in range(2)]
    return made[0], made[1]


def turn_of(m: Method, *, first: bool) -> None:
    m.first.fill_(first)


def pseudo_labels(
    p: np.ndarray,
    q: np.ndarray,
    own: np.ndarray,
    source: np.ndarray,
    threshold: float,
    *,
    entropy: bool = True,
    aligned: bool = True,
) -> tuple[np.ndarray, set[int]]:
    """Pixel by pixel: the label that is learnt or IGNORE, and which kinds of pixel there were.

    Args:
        p, q, own: probabilities ``(n, c, *space)`` of the teachers and of the student on plain images.
        source: ``(n, *space)``, the image that each pixel of the strong view is of.
        entropy: whether the surer teacher weighs more.
        aligned: whether the student's map is of the same image as the pixel.
    """
    label, kinds = np.full(source.shape, reference.IGNORE), set()
    for index in np.ndindex(*source.shape):
        n, at = index[0], index[1:]
        here = (int(source[index]), slice(None), *at)
        one, other = p[here], q[here]
        mine = own[here if aligned else (n, slice(None), *at)]
        bits = [-sum(x * math.log2(x) for x in probs) for probs in (one, other)]
        weights = [math.exp(-b) for b in bits] if entropy else [1.0, 1.0]
        fused = (weights[0] * one + weights[1] * other) / sum(weights)
        chosen, confidence = int(fused.argmax()), fused.max()
        if source[index] != n:
            kinds.add(PASTED)
        if one.argmax() != other.argmax():
            kinds.add(CONFLICT)
            if mine.argmax() != chosen and mine.max() > confidence:
                kinds.add(STUDENT_WINS)
                chosen, confidence = int(mine.argmax()), mine.max()
        if confidence >= threshold:
            label[index] = chosen
        else:
            kinds.add(UNSURE)
    return label, kinds


def watched(m: Method) -> list[Tensor]:
    shown: list[Tensor] = []
    m.network.register_forward_pre_hook(lambda _, given: shown.append(given[0].detach().clone()))
    return shown


def check_pseudo(m: Method, batch, source: np.ndarray, strong: Tensor, teachers: tuple[Tensor, Tensor], found) -> set:
    """The terms of one step, and the kinds of pixels that they are of."""
    h = m.hyper
    logits = logits_of(m.network, torch.cat([batch.images, strong]))
    released = h.variant == "released"
    label, kinds = pseudo_labels(
        *(answer.double().numpy() for answer in teachers),
        reference.softmax(logits[2:5]),
        source,
        h.threshold,
        entropy=not (released and m.task.ndim == 2),
        aligned=not released,
    )
    if h.loss == "ce":
        cost = reference.cross_entropy(logits[5:], label)
    else:
        cost = reference.dice_loss(reference.softmax(logits[5:]), label)
    expected = supervised(logits[:2], batch.labelled.label) | {"pseudo": h.weight * ramp() * cost}
    assert_terms(found, expected)
    return kinds


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("variant", ["intended", "released"])
@pytest.mark.parametrize("loss", ["ce", "dice"])
def test_in_the_first_teachers_turn_the_student_learns_jittered_images(
    ndim: int, variant: str, loss: str, monkeypatch: pytest.MonkeyPatch
):
    m = method("ad_mt", ndim=ndim, variant=variant, loss=loss, ramp=1.0, threshold=0.6)
    batch, teachers = toy_batch(ndim=ndim), answers(ndim)
    m.teach, m.teach2 = (lambda image, k=k: teachers[k] for k in range(2))
    turn_of(m, first=True)
    monkeypatch.setattr(ad_mt, "_strong", lambda image: 0.5 - image)
    source = np.broadcast_to(np.arange(3).reshape(-1, *[1] * ndim), (3, *(16,) * ndim))
    kinds = check_pseudo(m, batch, source, 0.5 - batch.unlabelled.image, teachers, m.losses(batch, MIDDLE))
    assert kinds == {CONFLICT, STUDENT_WINS, UNSURE}


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("variant", ["intended", "released"])
@pytest.mark.parametrize("loss", ["ce", "dice"])
def test_in_the_second_teachers_turn_it_learns_boxes_of_other_images_with_everything_said_of_them(
    ndim: int, variant: str, loss: str, monkeypatch: pytest.MonkeyPatch
):
    m = method("ad_mt", ndim=ndim, variant=variant, loss=loss, ramp=1.0, threshold=0.6)
    batch, teachers = toy_batch(ndim=ndim), answers(ndim)
    m.teach, m.teach2 = (lambda image, k=k: teachers[k] for k in range(2))
    turn_of(m, first=False)
    box = torch.zeros(3, *(16,) * ndim, dtype=torch.bool)
    for n in range(3):
        box[n, n : n + 9, 2 + n : 12] = True
    monkeypatch.setattr(ad_mt, "_boxes", lambda *_: box)
    shown = watched(m)
    torch.manual_seed(1)
    found = m.losses(batch, MIDDLE)
    image, strong = batch.unlabelled.image, shown[0][5:]
    inside = [[bool((strong[n] == image[k])[:, box[n]].all()) for k in range(3)] for n in range(3)]
    partner = [row.index(True) for row in inside]
    assert sorted(partner) == [0, 1, 2]  # each is pasted once
    assert partner != [0, 1, 2]
    source = np.empty(box.shape, dtype=int)
    for n in range(3):
        source[n] = np.where(box[n].numpy(), partner[n], n)
    expected = torch.stack([torch.where(box[n], image[partner[n]], image[n]) for n in range(3)])
    kinds = check_pseudo(m, batch, source, expected, teachers, found)
    assert kinds == {CONFLICT, STUDENT_WINS, PASTED, UNSURE}


def test_the_student_sees_labelled_plain_and_strong_images_at_once_and_teachers_plain_ones():
    m, batch = method("ad_mt"), toy_batch()
    turn_of(m, first=True)
    shown: dict[str, list[Tensor]] = {"network": [], "teacher": [], "teacher2": []}
    for part, images in shown.items():
        getattr(m, part).register_forward_pre_hook(lambda _, given, images=images: images.append(given[0].clone()))
    torch.manual_seed(0)
    m.losses(batch, END)
    assert [len(images) for images in shown.values()] == [1, 1, 1]
    assert torch.equal(shown["network"][0][:5], batch.images)
    assert not torch.equal(shown["network"][0][5:], batch.unlabelled.image)
    for teacher in ("teacher", "teacher2"):
        assert torch.equal(shown[teacher][0], batch.unlabelled.image)


def test_pseudo_labels_send_gradient_through_the_strong_view_alone():
    m, batch = method("ad_mt", threshold=0.0), toy_batch()
    logits: list[Tensor] = []
    m.network.register_forward_hook(lambda *given: logits.append(given[2]))
    (gradient,) = torch.autograd.grad(m.losses(batch, END)["pseudo"], logits)
    assert not gradient[:5].any()
    assert (gradient[5:].abs().sum(dim=1) > 0).all()  # every pixel counts at a threshold of 0
    assert all(p.grad is None for part in (m.teacher, m.teacher2) for p in part.parameters())


def test_no_sure_pixel_no_loss():
    m, batch = method("ad_mt", threshold=1.0), toy_batch()
    assert m.losses(batch, END)["pseudo"].item() == 0


# turns ---------------------------------------------------------------------------------------------------------------
def test_turns_last_from_one_step_to_the_period_each_as_often_and_the_first_teacher_begins(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(ad_mt, "average_parameters", lambda *_: None)
    firsts, begun = [], []
    for _ in range(30):
        m = method("ad_mt", period=4)
        begun.append(int(m.left))
        assert bool(m.first)
    assert set(begun) == {1, 2, 3, 4}
    length = begun[-1]
    for step in range(4000):
        firsts.append(bool(m.first))
        m.after_step(Clock(step, 4000))
    turns = [len(list(group)) for _, group in groupby(firsts)]
    assert turns[0] == length
    counts = np.bincount(turns[1:-1], minlength=5)
    assert counts[0] == 0
    assert len(counts) == 5
    # some 1600 turns, 400 of each length: five standard errors are 5 sqrt(1600 * 3/16) = 87
    assert np.all(np.abs(counts[1:] - counts.sum() / 4) < 90)


@pytest.mark.parametrize(
    ("first", "moving", "resting"), [(True, "teacher", "teacher2"), (False, "teacher2", "teacher")]
)
@pytest.mark.parametrize(("step", "share"), [(1, 2 / 3), (18, 1 / 10), (400, 1 / 100)])
def test_the_teacher_whose_turn_it_is_follows_by_half_of_the_steps_and_the_other_rests(
    first: bool, moving: str, resting: str, step: int, share: float
):
    # a share of 1 / (step / 2 + 1), and one of a hundred at least
    m = method("ad_mt")
    turn_of(m, first=first)
    moved(m.network, by=1.5)
    goal = [p.clone() for p in m.network.parameters()]
    before = {part: [p.clone() for p in getattr(m, part).parameters()] for part in (moving, resting)}
    statistics = [b.clone() for part in (m.teacher, m.teacher2) for b in part.buffers()]
    m.after_step(Clock(step, 501))
    for was, now, there in zip(before[moving], getattr(m, moving).parameters(), goal, strict=True):
        torch.testing.assert_close(now, was + share * (there - was))
    assert all(torch.equal(a, b) for a, b in zip(before[resting], getattr(m, resting).parameters(), strict=True))
    kept = [b for part in (m.teacher, m.teacher2) for b in part.buffers()]
    assert all(torch.equal(a, b) for a, b in zip(statistics, kept, strict=True))


def test_both_teachers_become_the_student_of_the_first_step():
    m = method("ad_mt")
    moved(m.network, by=1.5)
    m.after_step(Clock(0, 101))
    for part in (m.teacher, m.teacher2):
        assert all(torch.equal(a, b) for a, b in zip(part.parameters(), m.network.parameters(), strict=True))


def test_both_teachers_are_tested():
    m, image = method("ad_mt"), torch.randn(2, 1, 16, 16)
    moved(m.teacher, by=1.1)
    moved(m.teacher2, by=0.9)
    found = {name: predict(image).numpy() for name, predict in m.other_predictions().items()}
    assert list(found) == ["teacher", "teacher2"]
    for name, probs in found.items():
        np.testing.assert_allclose(probs, reference.softmax(logits_of(getattr(m, name), image)), rtol=1e-4, atol=1e-6)


# views ---------------------------------------------------------------------------------------------------------------
def test_images_are_jittered_and_blurred_as_released(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(ad_mt, "jittered", lambda image, **how: (asked.append(how), image + 1)[1])
    monkeypatch.setattr(ad_mt, "blurred", lambda image, **how: (asked.append(how), image * 2)[1])
    image = torch.randn(2, 1, 8, 8)
    assert torch.equal(ad_mt._strong(image), (image + 1) * 2)
    assert asked == [{"p": 0.8, "brightness": 0.5, "contrast": 0.5}, {"p": 0.2, "sigma": (0.1, 2.0)}]


def test_volumes_are_jittered_and_a_fifth_of_them_gets_noise_of_its_own_strength(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(ad_mt, "jittered", lambda image, **how: (asked.append(how), image)[1])
    image = torch.zeros(1000, 1, 8, 8, 8)
    noise = ad_mt._strong(image).flatten(1)
    assert asked == [{"p": 0.8, "brightness": 0.5, "contrast": 0.5}]
    noised = noise[noise.abs().amax(dim=1) > 0]
    assert len(noised) / 1000 == pytest.approx(0.2, abs=0.065)  # five standard errors of sqrt(0.16 / 1000)
    assert (noised != 0).all()
    # clipped at two standard deviations, a normal number deviates by 0.9594, and of 512 one reaches an end, or nearly
    std = noised.abs().amax(dim=1) / 2
    assert 0.09 < std.min() < 0.15
    assert 0.95 < std.max() <= 1.0
    torch.testing.assert_close(noised.std(dim=1) / std, torch.full_like(std, 0.9594), rtol=0.15, atol=0.0)


def test_boxes_are_of_one_size_around_centres_from_an_eighth_of_a_side_on(monkeypatch: pytest.MonkeyPatch):
    asked = []

    class Fixed:
        def __init__(self, a: Tensor, b: Tensor, validate_args: bool) -> None:
            asked.append((float(a), float(b)))

        def sample(self) -> Tensor:
            return torch.tensor(0.36)

    monkeypatch.setattr(ad_mt, "Beta", Fixed)
    # a share of sqrt(0.64) = 0.8: of 40 pixels 32, 16 to each side; of 21 pixels 16.8, 8 to each side
    found = ad_mt._boxes(3000, (40, 21), 4.0, torch.device("cpu"))
    assert asked == [(4.0, 4.0)]
    rows, columns = found.any(dim=2), found.any(dim=1)
    assert torch.equal(found, rows.unsqueeze(2) & columns.unsqueeze(1))
    for seen, side, half in ((rows, 40, 16), (columns, 21, 8)):
        ends = {(int(one.int().argmax()), int(one.sum())) for one in seen.unique(dim=0)}
        centres = range(side // 8, side)
        assert ends == {(max(0, c - half), min(side, c + half) - max(0, c - half)) for c in centres}
    assert len(torch.cat([rows, columns], dim=1).unique(dim=0)) > 400  # the two axes are drawn apart: 35 times 19 pairs


def test_boxes_are_of_volumes_too():
    found = ad_mt._boxes(4, (16, 12, 8), 4.0, torch.device("cpu"))
    assert found.shape == (4, 16, 12, 8)
    edges = [found.flatten(2).any(dim=2), found.flatten(3).any(dim=3).any(dim=1), found.any(dim=1).any(dim=1)]
    box = edges[0][:, :, None, None] & edges[1][:, None, :, None] & edges[2][:, None, None, :]
    assert found.any()
    assert torch.equal(found, box)
