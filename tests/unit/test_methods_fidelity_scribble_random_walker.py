"""Random-walker labels: a chain by hand, a dense reference, the rules for missing scribbles, and training on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from datasets.types import IGNORE
from methods.scribble.pce_random_walker import random_walker_labels
from tests.reference import losses as reference
from tests.reference import random_walks

from .scribble_toys import MIDDLE, logits_of, method, scribbled

STRETCH = 2 / 1.7
CHAIN = np.array([[[0.0, 0.0, 0.0, 0.0, 1.0, 1.0]]])
ENDS = np.array([[1, IGNORE, IGNORE, IGNORE, IGNORE, 2]])


def test_an_edge_holds_walkers_back_and_without_one_the_nearer_scribble_wins():
    # the chain breaks between pixels 3 and 4, though pixel 3 is nearer to the right end
    assert random_walker_labels(CHAIN, ENDS, beta=100.0).tolist() == [[1, 1, 1, 1, 2, 2]]
    # at a beta of 0.01 all edges are alike: the probability of the right end grows by 1/5 per pixel
    assert random_walker_labels(CHAIN, ENDS, beta=0.01).tolist() == [[1, 1, 1, 2, 2, 2]]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("beta", [1.0, 100.0])
def test_labels_are_those_of_a_dense_solution(channels: int, beta: float):
    draw = np.random.default_rng(channels)
    image = 0.3 * draw.random((channels, 7, 6))
    scribble = np.full((7, 6), IGNORE)
    scribble[0, 0], scribble[3, 4:], scribble[6, 1] = 0, 1, 3
    arrival = random_walks.arrival(image * STRETCH, scribble, beta=beta)
    probs = np.stack([arrival[k] for k in (0, 1, 3)])
    first, second = np.sort(probs, axis=0)[:-3:-1]
    assert (first - second).min() > 1e-4  # no ties that rounding could decide
    expected = np.array([0, 1, 3])[probs.argmax(axis=0)]
    assert random_walker_labels(image, scribble, beta=beta).tolist() == expected.tolist()


def banded(*classes: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy image and one scribbled row per class."""
    scribble = np.full((9, 8), IGNORE)
    for row, k in enumerate(classes):
        scribble[2 * row] = k
    return np.random.default_rng(0).random((1, 9, 8)), scribble


def test_scribbles_keep_their_class_and_no_pixel_is_left_over():
    image, scribble = banded(0, 2, 3)
    label = random_walker_labels(image, scribble, beta=100.0)
    assert label.dtype == np.int64
    assert set(np.unique(label)) == {0, 2, 3}
    assert (label[scribble != IGNORE] == scribble[scribble != IGNORE]).all()


def test_only_background_scribbled_is_all_background():
    image, scribble = banded(0)
    assert (random_walker_labels(image, scribble, beta=100.0) == 0).all()


@pytest.mark.parametrize("classes", [(), (2,)])
def test_nothing_or_one_foreground_class_alone_stays_as_it_is(classes: tuple[int, ...]):
    image, scribble = banded(*classes)
    assert (random_walker_labels(image, scribble, beta=100.0) == scribble).all()


def test_an_image_without_contrast_or_without_unknown_pixels_stays_as_it_is():
    image, scribble = banded(0, 1, 2)
    assert (random_walker_labels(np.zeros_like(image), scribble, beta=100.0) == scribble).all()
    full = np.tile([[0], [1], [2]], (3, 8))
    assert (random_walker_labels(image, full, beta=100.0) == full).all()


def test_a_required_class_that_is_missing_makes_everything_background():
    image, scribble = banded(0, 1, 2)
    assert (random_walker_labels(image, scribble, beta=100.0, required=(1, 2, 3)) == 0).all()
    complete = random_walker_labels(image, scribble, beta=100.0, required=(1, 2))
    assert (complete == random_walker_labels(image, scribble, beta=100.0)).all()


def test_relabelling_walks_on_every_sample_by_the_rule_of_the_variant():
    samples = scribbled(n=2).labelled
    label = samples.label.clone()
    label[1][label[1] == 2] = IGNORE  # the second sample lacks a class
    samples = replace(samples, label=label)
    made = {v: method("pce_random_walker", variant=v).relabel(samples, None) for v in ("intended", "released")}
    walked = [
        random_walker_labels(image, scribble, beta=100.0)
        for image, scribble in zip(samples.image.numpy(), label.numpy(), strict=True)
    ]
    assert (made["intended"].label.numpy() == np.stack(walked)).all()
    assert (made["released"].label[0].numpy() == walked[0]).all()
    assert made["released"].label[1].abs().max() == 0
    assert made["intended"].memory is None


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch):
    samples = scribbled(n=4).labelled
    m = method("pce_random_walker")
    alone = m.relabel(samples, None).label
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(m.relabel(samples, None).label, alone)


def test_labels_are_made_once_before_training():
    m = method("pce_random_walker")
    assert [step for step in range(1000) if m.relabel_at(step)] == [0]


def with_labels(seed: int = 0):
    batch = scribbled()
    draw = torch.Generator().manual_seed(seed)
    pseudo = torch.randint(0, 3, (2, 16, 16), generator=draw)
    return replace(batch, labelled=replace(batch.labelled, pseudo=pseudo))


def test_the_loss_is_half_cross_entropy_and_half_dice_on_the_labels():
    m, batch = method("pce_random_walker"), with_labels()
    logits, pseudo = logits_of(m.network, batch.labelled.image).numpy(), batch.labelled.pseudo.numpy()
    terms = m.losses(batch, MIDDLE)
    assert {name: term.item() for name, term in terms.items()} == {
        "ce": pytest.approx(0.5 * reference.cross_entropy(logits, pseudo), rel=1e-4),
        "dice": pytest.approx(0.5 * reference.dice_loss(reference.softmax(logits), pseudo), rel=1e-4),
    }


def test_the_scribbles_can_be_learnt_from_too():
    batch = with_labels()
    m = method("pce_random_walker", scribble_weight=2.0, dice_share=0.0)
    terms = m.losses(batch, MIDDLE)
    logits, label = logits_of(m.network, batch.labelled.image).numpy(), batch.labelled.label.numpy()
    assert terms["partial_ce"].item() == pytest.approx(2 * reference.cross_entropy(logits, label), rel=1e-4)


def test_training_without_labels_is_refused():
    batch = scribbled()
    with pytest.raises(ValueError, match="relabel"):
        method("pce_random_walker").losses(batch, MIDDLE)
