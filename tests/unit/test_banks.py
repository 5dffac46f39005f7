"""Moving prototypes, the bank and what a guide says: by hand."""

from __future__ import annotations

import math

import pytest
import torch

from datasets.types import IGNORE
from methods.banks import Bank, MovingPrototypes, PrototypeGuide

EAST, NORTH = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
BOTH = torch.tensor([True, True])


def test_prototypes_start_with_the_first_sight_and_then_move_with_a_weight_that_warms_up():
    # weight of the past: 0, then 1/2, then 2/3, at most the momentum
    prototypes = MovingPrototypes(2, 2, momentum=0.6)
    prototypes.update(torch.stack([5 * EAST, 3 * NORTH]), BOTH)
    torch.testing.assert_close(prototypes.vectors, torch.stack([EAST, NORTH]))
    prototypes.update(torch.stack([NORTH, NORTH]), BOTH)
    torch.testing.assert_close(prototypes.vectors[0], torch.tensor([0.5, 0.5]))
    prototypes.update(torch.stack([NORTH, NORTH]), BOTH)
    torch.testing.assert_close(prototypes.vectors[0], torch.tensor([0.3, 0.7]))  # 0.6 of the past
    torch.testing.assert_close(prototypes.vectors[1], NORTH)


def test_an_absent_class_stays_as_it_is_and_one_never_seen_is_like_nothing():
    prototypes = MovingPrototypes(2, 2, momentum=0.9)
    prototypes.update(torch.stack([EAST, NORTH]), torch.tensor([True, False]))
    vectors = torch.stack([EAST, 2 * NORTH, -3 * EAST])[None]
    assert prototypes.similarity(vectors)[0].tolist() == [[1, 0, -1], [-2, -2, -2]]
    prototypes.update(torch.stack([NORTH, NORTH]), torch.tensor([False, True]))
    assert prototypes.similarity(vectors)[0].tolist() == [[1, 0, -1], [0, 1, 0]]


def test_bank_replaces_the_oldest_class_by_class():
    bank = Bank(2, slots=3, width=1)
    for k in range(4):  # class 1 is absent from the batches 0 and 3
        present = torch.tensor([[True, k in (1, 2)]])
        bank.push(torch.full((1, 2, 1), float(k)), present)
    assert bank.vectors[0].flatten().tolist() == [3, 1, 2]
    assert bank.filled[0].tolist() == [True] * 3
    assert bank.vectors[1].flatten().tolist() == [0, 1, 2]
    assert bank.filled[1].tolist() == [False, True, True]
    assert bank.cursor == 1


def test_bank_takes_the_last_of_more_vectors_than_it_holds():
    bank = Bank(1, slots=2, width=1)
    bank.push(torch.arange(5.0).view(5, 1, 1), torch.ones(5, 1, dtype=torch.bool))
    assert sorted(bank.vectors.flatten().tolist()) == [3, 4]


def test_everything_remembered_is_in_the_checkpoint():
    guide = PrototypeGuide(2, 2, confidence=0.8, margin=0.1)
    expected = {"prototypes.vectors", "prototypes.batches", "bank.vectors", "bank.filled", "bank.cursor"}
    assert set(guide.state_dict()) == expected


def test_a_label_counts_where_the_teacher_is_confident_or_one_prototype_leads():
    guide = PrototypeGuide(2, 2, confidence=0.8, margin=0.5)
    diagonal = torch.tensor([1.0, 1.0]) / math.sqrt(2)
    known = torch.stack([3 * EAST, NORTH])[None]  # two labelled pixels, one of each class, of any length
    annotated = torch.eye(2)[None, :, None]  # (1, c, 1, v)
    guessed = torch.stack([EAST, NORTH, 2 * diagonal, diagonal])[None]
    confident = torch.tensor([[0.3, 0.0, 0.0, 0.9], [0.0, 0.3, 0.3, 0.0]])[None, :, None]
    found = guide.update(known, annotated, guessed, confident)
    # prototypes: class 0 ∝ east + 0.3 east + 0.9 diagonal, class 1 ∝ north + 0.3 north + 0.3 diagonal, both unit
    zero = torch.nn.functional.normalize(1.3 * EAST + 0.9 * diagonal, dim=0)
    one = torch.nn.functional.normalize(1.3 * NORTH + 0.3 * diagonal, dim=0)
    torch.testing.assert_close(guide.prototypes.vectors, torch.stack([zero, one]))
    # pixel 0 leads to class 0 by zero_x - one_x, pixel 1 to class 1; the diagonals' leads are below 0.5, but the
    # teacher is confident of the last one, whose nearest prototype is class 0
    assert (zero - one)[0] > 0.5
    assert (one - zero)[1] > 0.5
    assert (zero - one).dot(diagonal).item() == pytest.approx(0.1, abs=0.1)
    assert found.label.tolist() == [[[0, 1, IGNORE, 0]]]
    # the image's own prototypes go to the bank, as unit vectors
    torch.testing.assert_close(found.keys[0, 0], 0.3 * EAST + 0.9 * diagonal)
    torch.testing.assert_close(guide.bank.vectors[0, 0], torch.nn.functional.normalize(found.keys[0, 0], dim=0))
    assert found.present.tolist() == [[True, True]]
