"""CPCL: its prototype terms against full-resolution features, and what of them is a gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from datasets.types import IGNORE, Batch, Labelled
from methods.base import Method
from tests.reference import contrast
from tests.reference import losses as reference
from tests.unit.semi_toys import END, assert_terms, blobs, logits_of, method, moved, reached, supervised

SIDE = 16


def raised(network: torch.nn.Module, image: Tensor) -> np.ndarray:
    """The deepest features at full resolution."""
    with torch.no_grad():
        deepest = network.encode(image)[-1]
    return F.interpolate(deepest, size=(SIDE, SIDE), mode="bilinear", align_corners=False).double().numpy()


def weights(probs: np.ndarray, label: np.ndarray) -> np.ndarray:
    return np.stack([probs[:, k] * (label == k) for k in range(3)], axis=1)


def cosines(features: np.ndarray, prototypes: np.ndarray, pairs: list[int]) -> np.ndarray:
    """20 x cosine of each pixel to the prototypes of the paired image; 0 to a prototype of 0."""
    logits = np.zeros((len(features), 3, SIDE, SIDE))
    for n, k, y, x in np.ndindex(*logits.shape):
        if np.any(prototypes[pairs[n], k]):
            logits[n, k, y, x] = 20 * contrast.cosine(features[n, :, y, x], prototypes[pairs[n], k])
    return logits


def prepared(variant: str = "intended", **hyper) -> tuple[Method, Batch]:
    """A method whose teacher differs from its student."""
    hyper = {"noise": 0.0, "weight": 2.0, "ramp": 0.5} | hyper
    m, batch = method("cpcl", variant=variant, **hyper), blobs(labelled=2, unlabelled=3)
    moved(m.teacher, by=1.2)
    return m, batch


@pytest.mark.parametrize("variant", ["intended", "released"])
def test_cpcl_terms_equal_those_of_full_resolution_features(variant: str):
    m, batch = prepared(variant)
    label, unlabelled = batch.labelled.label.numpy(), batch.unlabelled.image
    student = logits_of(m.network, batch.images)
    target = reference.softmax(logits_of(m.teacher, unlabelled))
    known = raised(m.network, batch.labelled.image)
    guessed = raised(m.network if variant == "intended" else m.teacher, unlabelled)
    annotated = weights(reference.softmax(student[:2]), label)
    confident = weights(target, target.argmax(axis=1))
    l2u = cosines(guessed, contrast.prototypes(known, annotated), [0, 1, 0])  # paired in order, over and over
    u2l = cosines(known, contrast.prototypes(guessed, confident), [0, 1])
    if variant == "released":  # a cross-entropy of probabilities, and classes without a prototype at cosine 0
        u2l_loss = reference.cross_entropy(reference.softmax(u2l), label)
        l2u_loss = reference.squared_difference(reference.softmax(l2u), target)
    else:
        seen, possible = annotated.max(axis=(2, 3)) > 0, confident.max(axis=(2, 3)) > 0
        l2u[~seen[[0, 1, 0]]] = -1e4
        u2l[~possible[:2]] = -1e4
        learnable = np.stack([np.isin(label[n], np.flatnonzero(possible[n])) for n in range(2)])
        u2l_loss = reference.cross_entropy(u2l, np.where(learnable, label, IGNORE))
        comparable = np.stack([np.isin(target[n].argmax(axis=0), np.flatnonzero(seen[[0, 1, 0][n]])) for n in range(3)])
        l2u_loss = reference.squared_difference(reference.softmax(l2u), target, comparable)
    expected = supervised(student[:2], batch.labelled.label) | {
        "l2u": 2.0 * l2u_loss,
        "u2l": 20.0 * u2l_loss,
        "stability": 2.0 * reference.squared_difference(student, logits_of(m.teacher, batch.images)),
    }
    assert_terms(m.losses(batch, END), expected)


def test_cpcl_prototype_terms_train_the_encoder_and_nothing_at_all_as_released():
    for variant in ("intended", "released"):
        m, batch = prepared(variant)
        terms = m.losses(batch, END)
        for name in ("l2u", "u2l"):
            assert reached(terms[name], m.network.encoder) is (variant == "intended")
            assert not reached(terms[name], m.network.decoder)
        assert reached(terms["stability"], m.network.encoder)


def test_cpcl_gradient_through_prototypes_is_a_choice():
    gradients = []
    for through in (True, False):
        torch.manual_seed(1)
        m, batch = prepared(prototype_gradient=through)
        m.losses(batch, END)["u2l"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in m.network.encoder.parameters() if p.grad is not None]))
    assert all(g.abs().max() > 0 for g in gradients)
    assert not torch.allclose(*gradients)


def test_cpcl_a_class_that_no_label_shows_is_neither_offered_nor_compared():
    m, batch = method("cpcl", noise=0.0), blobs()
    label = torch.where(batch.labelled.label == 2, 0, batch.labelled.label)
    batch = Batch(Labelled(batch.labelled.image, label), batch.unlabelled)
    features = m.network.encode(batch.labelled.image)[-1]
    annotated = torch.zeros(2, 3, SIDE, SIDE)
    annotated[:, :2] = 1.0
    logits, present = m._classified(features, features, annotated)
    assert present.tolist() == [[True, True, False]] * 2
    assert (torch.softmax(logits, dim=1)[:, 2] == 0).all()
    # where the teacher sees that class, nothing is compared: with it everywhere, the term is 0
    with torch.no_grad():
        m.teacher.head.bias.copy_(torch.tensor([0.0, 0.0, 99.0]))
    assert m.losses(batch, END)["l2u"].item() == 0


def test_cpcl_without_any_label_has_finite_terms_and_gradients():
    m, batch = method("cpcl"), blobs()
    batch = Batch(Labelled(batch.labelled.image, torch.full_like(batch.labelled.label, IGNORE)), batch.unlabelled)
    terms = m.losses(batch, END)
    sum(terms.values()).backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(p.grad.isfinite().all() for p in m.network.parameters() if p.grad is not None)
